"""What can be wrong with a YAML document that parses: one method and one code for each, gathered in a list."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seedream_jobs.diagnostics import Diagnostic, Related, Severity
from seedream_jobs.job.positions import Lines

if TYPE_CHECKING:
    from seedream_jobs.job.unquoted import Template

SHOWN = 60
"""Characters of the file's own words that a message repeats."""


MAX_ERRORS = 200
"""Errors after which reading stops: they have one cause, or the file is not meant for us."""
MAX_WARNINGS = 100
"""Warnings that are listed one by one."""


class Stop(Exception):
    """Reading can't go on; the reason is among the findings."""


def shorten(text: str) -> str:
    """``text`` for a message: not longer than ``SHOWN`` characters."""
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"


class Findings:
    """The findings of one document, each with its place."""

    __slots__ = ("errors", "items", "lines", "path", "warnings")

    def __init__(self, path: str, lines: Lines) -> None:
        self.path, self.lines = path, lines
        self.items: list[Diagnostic] = []
        self.errors = self.warnings = 0

    def add(
        self,
        code: str,
        message: str,
        start: int,
        end: int,
        *,
        hint: str | None = None,
        severity: Severity = "error",
        related: tuple[Related, ...] = (),
    ) -> None:
        """One more finding, on the text between two offsets.

        :raises Stop: if it is an error too many
        """
        if severity == "error":
            self.errors += 1
        else:
            self.warnings += 1
        if self.errors > MAX_ERRORS:
            code, message, hint, related = (
                "too-many-errors",
                f"more than {MAX_ERRORS} errors; the rest is not read",
                None,
                (),
            )
        self.items.append(
            Diagnostic(
                code=code,
                severity=severity,
                message=message,
                path=self.path,
                span=self.lines.span(start, end),
                hint=hint,
                related=related,
            )
        )
        if self.errors > MAX_ERRORS:
            raise Stop

    def related(self, message: str, start: int, end: int) -> Related:
        """A second place in this document."""
        return Related(message=message, path=self.path, span=self.lines.span(start, end))

    # The document

    def second_document(self, start: int, end: int) -> None:
        self.add(
            "second-document",
            "a second document begins here; a file holds one",
            start,
            end,
            hint="move it to a file of its own, or remove the '---'",
        )

    def too_deep(self, start: int, depth: int) -> None:
        self.add("too-deep", f"more than {depth} mappings and lists within each other", start, start + 1)

    # Values

    def ambiguous(self, text: str, otherwise: str, start: int, end: int) -> None:
        if self.warnings > MAX_WARNINGS:
            return
        if self.warnings == MAX_WARNINGS:
            more = "more values like the ones above are read as text; they are not listed"
            self.add("ambiguous-scalar", more, start, end, severity="warning")
            return
        quoted = f'"{text}"'
        hint = f"quote it to say that it is text: {quoted}"
        if otherwise == "a boolean":
            plain = "true" if text.casefold() in ("yes", "on", "true") else "false"
            hint = f"write {plain} for the boolean, or {quoted} for the text"
        elif otherwise == "null":
            hint = f"write null for no value, or {quoted} for the text"
        self.add(
            "ambiguous-scalar",
            f"'{shorten(text)}' is read as text; other YAML readers take it for {otherwise}",
            start,
            end,
            hint=hint,
            severity="warning",
        )

    def out_of_range(self, text: str, start: int, end: int) -> None:
        self.add(
            "number-out-of-range",
            f"the number {shorten(text)} is too large to be kept exactly",
            start,
            end,
            hint="quote it if it is text; integers have at most 64 bits, other numbers the range of a double",
        )

    def tag(self, tag: str, start: int, end: int) -> None:
        short = "!!" + tag.removeprefix("tag:yaml.org,2002:") if tag.startswith("tag:yaml.org,2002:") else tag
        first = self.lines.text[start:end].split(maxsplit=1)[:1]
        self.add(
            "tag",
            f"the tag '{shorten(short)}' is not allowed",
            start,
            start + len(first[0]) if first else end,
            hint="remove it; if the '!' belongs to a text, quote the text",
        )

    def unquoted_template(self, start: int, in_flow: bool) -> bool:
        """Reports a mapping that begins with ``{{``: a template whose quotes are missing. Says whether it is one."""
        if not self.lines.text.startswith("{{", start):
            return False
        from seedream_jobs.job.unquoted import template_in_block, template_in_flow  # most files quote theirs

        self.report_template((template_in_flow if in_flow else template_in_block)(self.lines, start))
        return True

    def report_template(self, found: Template) -> None:
        """One finding for a template without quotes, with the line as it should be."""
        hint = "quote the value" if found.fixed is None else f"quote the value: {found.fixed}"
        self.add(
            "unquoted-template", "a value that begins with a template needs quotes", found.start, found.end, hint=hint
        )

    # Keys

    def duplicate_key(self, key: str, first: tuple[int, int], second: tuple[int, int]) -> None:
        self.add(
            "duplicate-key",
            f"the key '{shorten(key)}' is given twice",
            *second,
            hint="keep one of the two",
            related=(self.related(f"'{shorten(key)}' is given here first", *first),),
        )

    def complex_key(self, start: int, end: int) -> None:
        self.add("bad-key", "a key is a text, not a mapping or a list", start, end)

    def missing_key(self, start: int, end: int) -> None:
        self.add("bad-key", "a key is missing here", start, end, hint="write the key, or quotes around an empty one")

    def alias_as_key(self, start: int, end: int) -> None:
        self.add("bad-key", "a key can't be an alias", start, end, hint="write the key itself")

    # Anchors

    def undefined_alias(self, name: str, start: int, end: int, guess: str | None) -> None:
        hint = "define it before its use with '&', or quote the value if it is text"
        self.add(
            "undefined-alias",
            f"no anchor named '{shorten(name)}' above this line",
            start,
            end,
            hint=hint if guess is None else f"did you mean '*{guess}'?",
        )

    def cyclic_alias(self, name: str, start: int, end: int) -> None:
        self.add("cyclic-alias", f"'*{shorten(name)}' stands inside the value it stands for", start, end)

    def expands_too_far(self, name: str, start: int, end: int) -> None:
        self.add(
            "alias-expansion",
            f"with '*{shorten(name)}' written out, the file grows beyond what is read",
            start,
            end,
            hint="use fewer aliases of large values, or move the values to a file of their own",
        )

    def bad_merge(self, start: int, end: int) -> None:
        self.add("bad-merge", "'<<' takes a mapping or a list of mappings", start, end, hint="such as '<<: *defaults'")
