"""This module finds the data files that ship with the program: schemas, model profiles, examples."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def resource(*parts: str) -> Path:
    """The path of a shipped file, such as ``resource("schemas", "job.schema.json")``.

    A wheel carries ``schemas`` and ``examples`` inside the package; an editable install sees only the checkout.
    """
    packaged = _PACKAGE.joinpath(*parts)
    return packaged if packaged.exists() else _PACKAGE.parent.joinpath(*parts)
