"""From text to a checked job: YAML with positions, schema, templates, axis data, the spec."""
