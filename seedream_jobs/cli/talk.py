"""How commands speak: data to stdout, talk to stderr, colours where a person looks."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from seedream_jobs.diagnostics import Diagnostic


EXCERPT_FROM = 64 * 1024 * 1024
"""Bytes: of a larger file, or of what is no file, no line is shown."""


def colored(*, err: bool) -> bool:
    """Whether to colour: a terminal, and neither ``NO_COLOR`` nor a dumb one."""
    stream = sys.stderr if err else sys.stdout
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def show_findings(diagnostics: Iterable[Diagnostic], *, err: bool, read: Mapping[str, str] | None = None) -> None:
    """Findings with their excerpts and a line of summary.

    :param read: the texts that were read, where they are not those on disk
    """
    from seedream_jobs.report.findings import render_findings

    found = list(diagnostics)
    texts: dict[str, str] = dict(read or {})
    for name in {diagnostic.path for diagnostic in found} | {one.path for d in found for one in d.related}:
        if name in texts:
            continue
        try:
            file = Path(name)
            if file.is_file() and file.stat().st_size <= EXCERPT_FROM:
                texts[name] = file.read_text(encoding="utf-8-sig", errors="replace")
        except OSError:
            continue
    click.echo(render_findings(found, texts, color=colored(err=err)), err=err, nl=False)


def flush_stdout() -> None:
    """Hand over what was written, so that it stands before what stderr says next."""
    sys.stdout.flush()
