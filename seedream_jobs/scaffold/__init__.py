"""This module finds the files of a new campaign, which ``init`` copies, and the script ``ci.sh``, which CI runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from seedream_jobs import __version__
from seedream_jobs.resources import resource

FOLDER = Path(__file__).resolve().parent
CI_SCRIPT = FOLDER / "ci.sh"

_TARGETS = {
    "garden.yaml": "garden.yaml",
    "policy.yaml": "policy.yaml",
    "README.md": "README.md",
    "AGENTS.md": "AGENTS.md",
    "gitignore": ".gitignore",
    "gitattributes": ".gitattributes",
    "env.example": ".env.example",
    "pre-commit-config.yaml": ".pre-commit-config.yaml",
    "workflow.yml": ".github/workflows/campaign.yml",
}
"""A file of the scaffold, and where it goes in a campaign."""

_SCHEMAS = ("job.schema.json", "policy.schema.json")


class Piece(NamedTuple):
    """A file of a new campaign: its path in it, POSIX, and its content."""

    path: str
    text: str


def pieces() -> Iterator[Piece]:
    """Every file of a new campaign, in the order of their paths."""
    found = [
        Piece(target, (FOLDER / "campaign" / name).read_text(encoding="utf-8").replace("@VERSION@", __version__))
        for name, target in _TARGETS.items()
    ]
    # The schemas lie in the campaign, so that every editor of the team checks by the version the team agreed on.
    found += [Piece(f"schemas/{name}", resource("schemas", name).read_text(encoding="utf-8")) for name in _SCHEMAS]
    yield from sorted(found)
