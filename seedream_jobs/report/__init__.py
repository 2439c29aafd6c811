"""Shows plans, findings and statuses as text, JSON, Markdown and in the formats of CI systems."""
