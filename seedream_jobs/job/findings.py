"""Collects what is found in one document, so that a person hears of everything at once."""

from __future__ import annotations

from seedream_jobs.diagnostics import Diagnostic, Severity, in_order
from seedream_jobs.errors import FindingsError
from seedream_jobs.job.axis import DocumentPath
from seedream_jobs.job.source import Document


class Findings:
    """The findings of a document, those of its parser first. Readers of its parts share one and add to it."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self._found: list[Diagnostic] = list(document.warnings)

    def add(
        self,
        code: str,
        message: str,
        path: DocumentPath,
        *,
        key: bool = False,
        severity: Severity = "error",
        hint: str | None = None,
    ) -> None:
        """A finding at ``path``, or with ``key`` at its key."""
        self.put(self.document.finding(code, message, path, key=key, severity=severity, hint=hint))

    def put(self, finding: Diagnostic) -> None:
        """A finding whose place is known already."""
        self._found.append(finding)

    def warnings(self) -> tuple[Diagnostic, ...]:
        """What is worth saying and refuses nothing, in the file's order."""
        return in_order(finding for finding in self._found if finding.severity == "warning")

    def refuse_errors(self) -> None:
        """Nothing where no finding is an error.

        :raises FindingsError: with every finding, warnings too, in the file's order
        """
        if any(finding.severity == "error" for finding in self._found):
            raise FindingsError(in_order(self._found))
