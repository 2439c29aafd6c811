"""Saying it: the same facts as text, JSON, Markdown and the formats of the forges."""
