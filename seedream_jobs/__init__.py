"""YAML job files under version control become paid, asynchronous image requests, each submitted once."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from seedream_jobs.library import images, load, plan, read_manifest

__all__ = ["__version__", "images", "load", "plan", "read_manifest"]

__version__ = "0.1.0"  # a constant: importlib.metadata costs more than the rest of the start-up


def __getattr__(name: str) -> object:
    # The library is imported once it is used: ``seedream-jobs --help`` imports this package, too.
    if name in __all__:
        return getattr(import_module("seedream_jobs.library"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
