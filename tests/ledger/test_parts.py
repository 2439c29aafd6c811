"""A manifest in parts: the same record, whatever is cut, killed, merged, forged or joined again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from seedream_jobs.errors import FindingsError, LedgerError, SeedreamError
from seedream_jobs.ledger import journal, ledger, manifest
from seedream_jobs.ledger.ledger import Ledger
from seedream_jobs.ledger.parts import file_of, find_files, part_names
from seedream_jobs.ledger.paths import LedgerPaths
from seedream_jobs.ledger.state import Resolved, State

Open = Callable[..., Ledger]
Peek = Callable[..., Ledger]
COUNT = 17
"""Requests on record at first: one part has two."""


@pytest.fixture
def make(make: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Requests whose keys lie in all parts."""
    monkeypatch.setattr(type(make), "key", staticmethod(lambda number: f"v1:{number % 16:x}{number:063x}"))
    return make


def record(opened: Ledger, make: Any, numbers: range) -> list[Any]:
    """Submit, each acknowledged: what was."""
    done = []
    for number in numbers:
        for event in (make.intended(number), make.accepted(number)):
            opened.record_sync(event)
            done.append(event)
    return done


def on_disk(disk: Any, make: Any, open_ledger: Open, parts: int = 16) -> Any:
    """A disk with a record in so many parts."""
    with open_ledger(fs=disk) as opened:
        record(opened, make, range(COUNT))
        # A doubt that was settled: joined with its line of before it would be one again.
        opened.record_sync(make.intended(99))
    with open_ledger(fs=disk) as opened:
        opened.record_sync(Resolved(key=make.key(99), at=1, resolution="not_charged", reason="the console"))
        opened.reshape(parts)
    return disk.after_kill()


def session(disk: Any, make: Any, open_ledger: Open, numbers: range, run: str | None = None) -> list[Any]:
    """A command that may be cut anywhere: what of it was acknowledged."""
    done: list[Any] = []
    try:
        with open_ledger(fs=disk, run=run) as opened:
            opened.announce(len(numbers))
            for number in numbers:
                for event in (make.intended(number), make.accepted(number)):
                    opened.record_sync(event)
                    done.append(event)
            opened.record_sync(make.intended(numbers[-1] + 1))
    except LedgerError:
        pass
    return done


def problems(disk: Any, make: Any, open_ledger: Open, peek: Peek, acknowledged: list[Any]) -> list[str]:
    """What a look, and then the next command, does not find; the record must be in one form afterwards."""
    try:
        looked = {key: entry.state for key, entry in peek(fs=disk).entries.items()}
        with open_ledger(fs=disk, run="next") as opened:
            opened.announce(1)
            entries = dict(opened.entries.items())
            opened.record_sync(make.intended(500))
        again = peek(fs=disk)
    except FindingsError as error:
        return [f"refused: {error.diagnostics[0].message}"]
    except SeedreamError as error:
        return [f"refused: {error}"]
    found = [f"{key} looks {state}" for key, state in looked.items() if entries[key].state is not state]
    for event in acknowledged:
        entry = entries.get(event.key)
        if entry is None or (hasattr(event, "task_id") and entry.task_id != event.task_id):
            found.append(f"{event.key} lost")
    if entries[make.key(99)].state is not State.NEW:
        found.append(f"what was settled is {entries[make.key(99)].state} again")
    if again.open_runs():
        found.append("a run that was folded is open")
    names = {"", *part_names(again.parts)} if again.parts else {""}
    files = find_files(disk, again.paths.manifest)
    told = {note.code for note in again.notes} - {"manifest-older"}
    if files is None or set(files.files) != names or told:
        found.append(f"it lies in {sorted(files.files if files else ())}: {again.notes}")
    return found


def cut_everywhere(
    start: Any, act: Callable[[Any], list[Any]], check: Callable[[Any, list[Any]], list[str]], seeds: int
) -> Iterator[str]:
    """Do something with a power cut, and with a kill, before each of its operations."""
    whole = start.after_kill()
    acknowledged = act(whole)
    yield from check(whole.after_kill(), acknowledged)
    for cut in range(len(whole.operations) - 1, 0, -1):  # the fold comes last
        disk = start.after_kill()
        disk.dead_at = cut
        acknowledged = act(disk)
        for survivor in (disk.after_kill(), *(disk.after_power_cut(cut + seed) for seed in range(seeds))):
            for one in check(survivor, acknowledged):
                yield f"cut before {cut} ({whole.operations[cut]}): {one}"


@pytest.fixture
def cut(
    new_disk: type[Any], make: Any, open_ledger: Open, peek: Peek, paths: LedgerPaths
) -> Callable[..., Iterator[str]]:
    """Cuts a run that folds, or what writes the record in another form."""

    def do(*, parts: int = 16, to: int | None = None, run: str | None = "r1", seeds: int = 1) -> Iterator[str]:
        start = on_disk(new_disk(), make, open_ledger, parts)
        first = [event for number in range(COUNT) for event in (make.intended(number), make.accepted(number))]

        def act(disk: Any) -> list[Any]:
            # What this machine notes beside the fake disk is not cut with it.
            paths.journal.with_suffix(".serial").unlink(missing_ok=True)
            if to is None:
                return first + session(disk, make, open_ledger, range(40, 43), run)
            try:
                with open_ledger(fs=disk) as opened:
                    opened.reshape(to)
            except LedgerError:
                pass
            return first

        def check(disk: Any, acknowledged: list[Any]) -> list[str]:
            return problems(disk, make, open_ledger, peek, acknowledged)

        return cut_everywhere(start, act, check, seeds)

    return do


@pytest.mark.parametrize(("parts", "to"), [(16, None), (0, 16), (16, 0)])
def test_a_cut_at_any_operation_loses_nothing_and_mixes_nothing(
    cut: Callable[..., Iterator[str]], parts: int, to: int | None
) -> None:
    """Of a run and its fold, and of a change of form."""
    assert list(cut(parts=parts, to=to)) == []


@pytest.mark.slow
@pytest.mark.parametrize(("parts", "to"), [(0, 16), (16, 0), (16, 256), (16, None), (256, 16), (256, None), (0, None)])
def test_cuts_in_many_ways_of_forgetting(cut: Callable[..., Iterator[str]], parts: int, to: int | None) -> None:
    for run in ("r1", None):
        assert list(cut(parts=parts, to=to, run=run, seeds=6)) == []


def first_file_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """The manifest itself takes its name before its parts."""
    whole = journal.write_together

    def wrong(files: Mapping[Path, Any], **rest: Any) -> None:
        whole(dict(reversed(files.items())), **rest)

    monkeypatch.setattr(journal, "write_together", wrong)


def no_digests(monkeypatch: pytest.MonkeyPatch) -> None:
    """The journal does not say which parts it is folded into."""
    monkeypatch.setattr(journal.Contents, "parts_folded", lambda self, present: None)


def all_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """The journal is applied to parts that hold it already."""
    apply = manifest.apply_journal
    monkeypatch.setattr(ledger, "apply_journal", lambda one, left, folder, folded: apply(one, left, folder))


def none_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """A part that was folded stands for all of them."""
    every = frozenset(part_names(16))
    monkeypatch.setattr(
        ledger,
        "apply_journal",
        lambda one, left, folder, folded: manifest.apply_journal(one, left, folder, every if folded else folded),
    )


def journal_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """The journal goes before the parts have their names."""
    fold = journal.Pair.fold

    def wrong(self: Any, new: Any, seq: int, append: Any) -> Any:
        def announced(line: bytes) -> None:
            append(line)
            self.remove_journal()

        return fold(self, new, seq, announced)

    monkeypatch.setattr(journal.Pair, "fold", wrong)


def old_parts_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is no part any more goes before the lines in it have another place."""
    write = journal.Pair.write_manifest

    def wrong(self: Any, new: Any, announce: Any = lambda digests: None) -> Any:
        for name in new.removed:
            self._fs.remove(file_of(self._manifest, name))
        return write(self, new, announce)

    monkeypatch.setattr(journal.Pair, "write_manifest", wrong)


@pytest.mark.parametrize(
    ("fault", "change"),
    [
        (first_file_first, {"parts": 0, "to": 16}),
        (no_digests, {}),
        (all_anew, {}),
        (none_anew, {}),
        (journal_first, {}),
        (old_parts_first, {"parts": 16, "to": 0}),
    ],
)
def test_the_cuts_catch(
    fault: Callable[[pytest.MonkeyPatch], None],
    change: dict[str, Any],
    cut: Callable[..., Iterator[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each of these faults is seen by the harness."""
    fault(monkeypatch)
    assert next(cut(**change), None) is not None
