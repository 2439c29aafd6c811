"""This package speaks to the service: the client, downloads, and what each reply means."""
