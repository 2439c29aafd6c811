"""Reads ``strace`` logs: which system calls touch the record or the network, and in which order they were durable."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

CALLS = ("openat", "write", "fsync", "rename", "connect", "sendto", "recvfrom")
"""Where a process is killed: each call that changes the record, or that the service can see."""

_LINE = re.compile(r"^(\d+) +(.*)$")
_RESUMED = re.compile(r"^<\.\.\. (\w+) resumed>(.*)$")
_KEY = re.compile(r"idempotency_key\\*\":\\*\"(sj-[0-9a-f]+)")
_WORKING_FOLDER = re.compile(r"AT_FDCWD<[^>]*>")
_HEADER = re.compile(r"Idempotency-Key: (sj-[0-9a-f]+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Call:
    """One system call. ``number`` counts the calls of this name in its thread, from 1.

    :param began: the line on which it began
    :param returned: the line on which it returned
    """

    thread: str
    name: str
    text: str
    number: int
    began: int
    returned: int

    @property
    def succeeded(self) -> bool:
        return re.search(r"= -1 ", self.text[-200:]) is None


def calls(log: Path) -> list[Call]:
    """Every call that returned, by the line on which it began."""
    found: list[Call] = []
    counts: Counter[tuple[str, str]] = Counter()
    open_calls: dict[str, tuple[str, str, int, int]] = {}
    for place, line in enumerate(log.read_text(errors="replace").splitlines()):
        match = _LINE.match(line)
        if match is None:
            continue
        thread, text = match.groups()
        if resumed := _RESUMED.match(text):
            if thread in open_calls:
                name, beginning, number, began = open_calls.pop(thread)
                found.append(Call(thread, name, beginning + resumed[2], number, began, place))
            continue
        name, parenthesis, _ = text.partition("(")
        if not parenthesis or not name.isidentifier():
            continue
        counts[thread, name] += 1
        number = counts[thread, name]
        if text.endswith("<unfinished ...>"):
            open_calls[thread] = (name, text.removesuffix("<unfinished ...>"), number, place)
        else:
            found.append(Call(thread, name, text, number, place, place))
    return sorted(found, key=lambda call: call.began)


def points(log: Path, folder: Path) -> list[tuple[str, int]]:
    """(call, number) of each call that concerns the folder's files or the network."""
    concerns = (f"{folder}/", f"<{folder}>", "<TCP:")
    found = {
        (call.name, call.number)
        for call in calls(log)
        if call.name in CALLS and any(mark in _WORKING_FOLDER.sub("", call.text) for mark in concerns)
    }
    return sorted(found)


def unannounced(log: Path) -> list[str]:
    """POSTs whose first byte left before an fsync of the journal that covers their intent had returned."""
    written: dict[str, int] = {}  # idempotency key → line on which the write of its intent returned
    durable: dict[str, int] = {}  # … on which an fsync that began after that returned
    violations = []
    for call in calls(log):
        on_journal = ".journal>" in call.text.partition(",")[0].partition(")")[0]
        if call.name in ("write", "writev") and on_journal and call.succeeded:
            for key in _KEY.findall(call.text):
                written.setdefault(key, call.returned)
        elif call.name in ("fsync", "fdatasync") and on_journal and call.succeeded:
            for key, since in written.items():
                if since < call.began:
                    durable.setdefault(key, call.returned)
        elif call.name in ("sendto", "sendmsg", "write", "writev") and '"POST ' in call.text:
            header = _HEADER.search(call.text)
            key = header[1] if header else "a POST without a key"
            if durable.get(key, call.began) >= call.began:
                violations.append(f"{key} was sent before its intent was durable")
    return violations


def posts(log: Path) -> int:
    """How many POSTs began."""
    return sum(1 for call in calls(log) if call.name in ("sendto", "sendmsg", "writev") and '"POST ' in call.text)


def unsafe_replacements(log: Path, folder: Path) -> list[str]:
    """Files of the folder that got their name before their bytes were durable, and journals removed too soon."""
    synced: set[str] = set()
    violations = []
    pending: set[str] = set()
    for call in calls(log):
        if not call.succeeded or str(folder) not in call.text:
            continue
        target = next(_paths(call.text), "")
        if call.name in ("fsync", "fdatasync"):
            synced.add(target)
            pending = {name for name in pending if str(Path(name).parent) != target}
        elif call.name in ("write", "writev"):
            synced.discard(target)
        elif call.name == "rename":
            source, name = re.findall(r'"([^"]+)"', call.text)[:2]
            if source not in synced:
                violations.append(f"{name} was replaced before its bytes were durable")
            pending.add(name)
        elif call.name == "unlink" and ".journal" in call.text and pending:
            violations.append(f"the journal was removed before {', '.join(sorted(pending))} was durable")
    return violations


def _paths(text: str) -> Iterator[str]:
    yield from re.findall(r"\d+<([^>]+)>", text.partition(",")[0])
