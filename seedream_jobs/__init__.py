"""YAML job files under version control become paid, asynchronous image requests, each submitted once."""

__version__ = "0.1.0"  # a constant: importlib.metadata costs more than the rest of the start-up
