"""``seedream-jobs explain``: what the pages on findings and exit codes say of one code, without a network."""

from __future__ import annotations

import re
import shutil
from functools import cache

import click
from click.formatting import wrap_text
from click.shell_completion import CompletionItem

from seedream_jobs.cli.streams import say, show
from seedream_jobs.diagnostics import did_you_mean, shorten
from seedream_jobs.errors import UsageError
from seedream_jobs.resources import resource

EXIT_CODES = "exit-codes"
WIDEST = 100
"""Columns: longer lines are hard to read."""


@cache
def sections() -> dict[str, list[tuple[str, str]]]:
    """Each code to what is said of it: (title of the page, Markdown). A few codes stand on two pages.

    :raises UsageError: the pages are not there
    """
    found: dict[str, list[tuple[str, str]]] = {}
    for page in sorted(resource("docs", "diagnostics").glob("*.md")):
        head, *parts = re.split(r"^### ", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
        title = head.partition("\n")[0].removeprefix("# Findings: ").removeprefix("# ")
        for code, _, text in (part.partition("\n") for part in parts):
            found.setdefault(code.strip(), []).append((title, text.strip()))
    try:
        page_of_codes = resource("docs", f"{EXIT_CODES}.md").read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UsageError("this installation has no pages", hint="install seedream-jobs again") from None
    rows = re.findall(r"^\| (\d+) \| (.+?) \| (.+?) \| (.+?) \|$", page_of_codes, re.MULTILINE)
    for number, name, meaning, example in rows:
        found[number] = [(f"Exit code, {name}", f"{meaning[0].upper()}{meaning[1:]}. For example: {example}.")]
    after = page_of_codes.rpartition(" |\n")[2].strip()
    found[EXIT_CODES] = [("all of them", "\n".join(f"- {row[0]}: {row[2]}" for row in rows) + f"\n\n{after}")]
    return found


def plain(markdown: str, width: int) -> str:
    """Markdown as text for a terminal: no marks, and lines of at most ``width`` columns.

    A code block keeps its lines.
    """
    shown = []
    for number, part in enumerate(re.split(r"^```.*\n", markdown, flags=re.MULTILINE)):
        if number % 2:
            shown.append("".join(f"    {line}\n" for line in part.splitlines()))
            continue
        for paragraph in filter(None, re.split(r"\n\s*\n|\n(?=- )", part.strip())):
            text = " ".join(paragraph.split())
            text = re.sub(r"\[([^\]]+)\]\([^)\s]+\)", r"\1", text)  # a link
            text = re.sub(r"(`+) ?(.+?) ?\1|\*\*(.+?)\*\*|\*(\w.*?)\*", lambda found: found[found.lastindex or 0], text)
            item = text.startswith("- ")
            lines = wrap_text(text, width, initial_indent="  " * item, subsequent_indent="    " * item)
            shown.append(f"{lines}\n")
    text = "\n".join(shown)
    return re.sub(r"^(  .*\n)\n(?=  - )", r"\1", text, flags=re.MULTILINE)  # the items of a list stand together


def _complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    return [CompletionItem(code) for code in sections() if code.startswith(incomplete)]


@click.command()
@click.argument("code", required=False, shell_complete=_complete)
def explain(code: str | None) -> None:
    """Print what a finding or an exit code means, and what to do.

    CODE is what stands in brackets in a finding, such as unknown-field; a number is an exit code. Without CODE: lists
    all of them. The texts are those of docs/diagnostics.md. Needs no key and no network.

    \b
    Examples:
      seedream-jobs explain unknown-field
      seedream-jobs explain 6
      seedream-jobs explain exit-codes
    """
    columns = min(shutil.get_terminal_size().columns, WIDEST)
    if code is None:
        _list(columns)
        return
    known = sections()
    # Whoever copies the code from a finding may take ``error[unknown-field]:`` along.
    wanted = code.rpartition("[")[2].rstrip("]:").lower()
    if wanted not in known:
        hint = did_you_mean(wanted, known, "seedream-jobs explain lists the codes")
        raise UsageError(f"there is no code {shorten(code)!r}", hint=hint)
    for number, (title, text) in enumerate(known[wanted]):
        show(f"{chr(10) * (number > 0)}{wanted}: {title}\n\n{plain(text, columns)}")


def _list(columns: int) -> None:
    """Every code with its first words, a line each, under the title of its page."""
    titles: dict[str, list[str]] = {}
    known = sections()
    widest = max(map(len, known))
    for code, found in known.items():
        title, text = found[0]
        if code == EXIT_CODES:
            continue
        first = plain(text, 10_000).removeprefix("A warning. ").partition("\n")[0].partition(". ")[0]
        titles.setdefault(title.partition(",")[0], []).append(
            f"  {code:{widest}}  {shorten(first, max(columns - widest - 4, 20))}"
        )
    for title, lines in titles.items():
        say(title)
        for line in lines:
            say(line)
        say()
    say("seedream-jobs explain CODE prints the whole text.")
