"""A template's problem as a finding: at the exact word in the file where that is known, else at the whole scalar."""

from __future__ import annotations

import re
from dataclasses import replace

from seedream_jobs.diagnostics import Diagnostic, Span
from seedream_jobs.job.axis import DocumentPath
from seedream_jobs.job.source import Document
from seedream_jobs.job.template import TemplateProblem

_LINE = r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+"  # compiled when something is wrong, not at every start


def template_finding(
    document: Document, code: str, problem: TemplateProblem, source: str, path: DocumentPath, *, note: str = ""
) -> Diagnostic:
    """A template's problem as a finding at the exact word where that is known, else at the whole scalar."""
    finding = document.finding(code, problem.message + note, path, hint=problem.hint)
    start, word = _locate(source, problem)
    begin = document.text_position(path, start)
    end = document.text_position(path, start + len(word))
    if begin is None or end is None or (not word and problem.line in (None, 1)):
        return finding
    return replace(finding, span=Span(start=begin, end=end))


def _locate(source: str, problem: TemplateProblem) -> tuple[int, str]:
    """Offset and text in a template of what a problem points at: the word inside an expression, else the line."""
    lines = re.findall(_LINE, source) or [""]
    index = min((problem.line or 1) - 1, len(lines) - 1)
    start = sum(map(len, lines[:index]))
    if problem.word:
        field = re.compile(rf"(?<=[.'\"]){re.escape(problem.word)}(?!\w)")
        inside = re.compile(rf"(?<!\w){re.escape(problem.word)}(?!\w)")
        region_end = len(source) if problem.line is None else start + len(lines[index])
        opened = max(source.find("{", start, region_end), start)
        found = field.search(source, opened, region_end) if "no field" in problem.message else None
        found = found or inside.search(source, opened, region_end) or inside.search(source, start, region_end)
        if found:
            return found.start(), problem.word
    return start, lines[index].rstrip("\r\n")
