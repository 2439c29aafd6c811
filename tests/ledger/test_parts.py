"""A manifest in parts: the same record, whatever is cut, killed, merged, forged or joined again."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from seedream_jobs.atomic_file import DISK
from seedream_jobs.errors import FindingsError, LedgerError, SeedreamError, UsageError
from seedream_jobs.ledger import journal, ledger, manifest
from seedream_jobs.ledger.codec import canonical, encode, seal
from seedream_jobs.ledger.ledger import Ledger
from seedream_jobs.ledger.manifest import Manifest, read_manifest
from seedream_jobs.ledger.parts import (
    file_of,
    find_files,
    is_spelled_well,
    manifest_of,
    part_names,
    part_of,
    parts_folder,
)
from seedream_jobs.ledger.paths import LedgerPaths
from seedream_jobs.ledger.state import Header, Resolved, State

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


# -- what may stand in parts ------------------------------------------------------------------------------------------


@pytest.fixture
def parted(paths: LedgerPaths, make: Any, open_ledger: Open) -> LedgerPaths:
    """A record of some requests in 16 parts, on a real disk."""
    with open_ledger() as opened:
        record(opened, make, range(40))
        opened.reshape(16)
    return paths


def part(paths: LedgerPaths, name: str) -> Path:
    return file_of(paths.manifest, name)


def test_a_split_record_is_the_same_record(parted: LedgerPaths, peek: Peek, make: Any, open_ledger: Open) -> None:
    """Each line in its file; only the parts that a run touched are written; joined again it is as it was."""
    states = dict(peek().entries.items())
    assert len(states) == 40
    assert sorted(path.name for path in parts_folder(parted.manifest).iterdir()) == sorted(
        [".gitattributes", *(f"{name}.jsonl" for name in part_names(16))]
    )
    head, *rest = parted.manifest.read_bytes().splitlines()
    assert rest == []
    assert json.loads(head)["parts"] == 16
    before = {name: part(parted, name).stat().st_ino for name in part_names(16)}
    with open_ledger(run="r1") as opened:
        opened.announce(2)
        record(opened, make, range(64, 66))
    assert {name for name in before if part(parted, name).stat().st_ino != before[name]} == {"0", "1"}
    with open_ledger() as opened:
        opened.reshape(256)
        assert not part(parted, "0").exists()
        opened.reshape(0)
    assert not parts_folder(parted.manifest).exists()
    found = peek()
    assert len(found.entries) == 42
    assert {key: found.entries[key] for key in states} == states
    assert b'"closed"' not in parted.manifest.read_bytes()


def test_a_version_that_knows_no_parts_does_not_take_the_record_for_empty(parted: LedgerPaths) -> None:
    """What stays at the manifest's place has another format number, which every version so far refuses."""
    line = json.loads(parted.manifest.read_bytes().splitlines()[0])
    assert line["format"] == 2
    released = 1  # ``if line.get("format") != FORMAT: raise Malformed`` in the codec of 0.1
    assert line["format"] != released


def forged(make: Any, number: int, **changes: Any) -> bytes:
    """A line with a good checksum."""
    entry = {**encode(make.entry(number)), **changes}
    return seal(canonical(entry)) + b"\n"


def removed(paths: LedgerPaths, make: Any) -> None:
    part(paths, "7").unlink()


def emptied(paths: LedgerPaths, make: Any) -> None:
    part(paths, "7").write_bytes(b"")


def headless(paths: LedgerPaths, make: Any) -> None:
    part(paths, "7").write_bytes(b"".join(part(paths, "7").read_bytes().splitlines(keepends=True)[1:]))


def elsewhere(paths: LedgerPaths, make: Any) -> None:
    with part(paths, "7").open("ab") as file:
        file.write(forged(make, 8))


def renamed(paths: LedgerPaths, make: Any) -> None:
    lines = part(paths, "7").read_bytes().splitlines(keepends=True)
    part(paths, "7").write_bytes(part(paths, "6").read_bytes().splitlines(keepends=True)[0] + b"".join(lines[1:]))


def strangers(paths: LedgerPaths, make: Any) -> None:
    lines = part(paths, "7").read_bytes().splitlines(keepends=True)
    header = seal(canonical({"format": 2, "id": "m-other", "part": "7", "serial": 1})) + b"\n"
    part(paths, "7").write_bytes(header + b"".join(lines[1:]))


def a_plan(paths: LedgerPaths, make: Any) -> None:
    line = {"digest": "sha256:" + "0" * 64, "plan": "p-1", "used_at": "2026-08-02T10:11:12Z"}
    with part(paths, "7").open("ab") as file:
        file.write(seal(canonical(line)) + b"\n")


def conflict(paths: LedgerPaths, make: Any) -> None:
    with part(paths, "7").open("ab") as file:
        file.write(b"<<<<<<< ours\n")


def first_gone(paths: LedgerPaths, make: Any) -> None:
    paths.manifest.unlink()


def no_such_number(paths: LedgerPaths, make: Any) -> None:
    line = json.loads(paths.manifest.read_bytes())
    del line["crc"]
    paths.manifest.write_bytes(canonical({**line, "parts": 4}) + b"\n")


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize(
    ("fault", "code", "words"),
    [
        (removed, "manifest-part", "7.jsonl"),
        (emptied, "manifest-part", "no header"),
        (headless, "manifest-part", "no header"),
        (elsewhere, "manifest-part", "another part"),
        (renamed, "manifest-part", "written as 6.jsonl"),
        (strangers, "manifest-part", "another manifest"),
        (a_plan, "manifest-damaged", "digest"),
        (conflict, "manifest-conflict", "merge conflict"),
        (first_gone, "manifest-damaged", "no header"),
        (no_such_number, "manifest-damaged", "16 or 256"),
    ],
)
def test_a_forged_or_foreign_part_is_refused(
    fault: Callable[[LedgerPaths, Any], None],
    code: str,
    words: str,
    large: bool,
    parted: LedgerPaths,
    make: Any,
    peek: Peek,
    open_ledger: Open,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With its file and a next step, by what looks and by what writes; also where lines stay on the disk."""
    if large:
        monkeypatch.setattr(manifest, "LARGE", 0)
    fault(parted, make)
    for look in (peek, open_ledger):
        with pytest.raises(FindingsError) as caught:
            look()
        found = caught.value.diagnostics[0]
        assert found.code == code
        assert words in f"{found.path}: {found.message}"
        assert found.hint


@pytest.mark.parametrize("folder", [False, True])
def test_a_link_in_a_parts_place_is_refused(folder: bool, parted: LedgerPaths, peek: Peek, open_ledger: Open) -> None:
    at = parts_folder(parted.manifest) if folder else part(parted, "3")
    at.rename(at.with_name("moved"))
    at.symlink_to("moved")
    for look in (peek, open_ledger):
        with pytest.raises(UsageError, match="symbolic link"):
            look()


def test_both_forms_are_joined_told_and_written_in_one(
    parted: LedgerPaths, peek: Peek, make: Any, open_ledger: Open
) -> None:
    """A line behind the header of a split manifest, or parts beside one that is not split, count all the same."""
    whole = parted.manifest.read_bytes()
    with parted.manifest.open("ab") as file:
        file.write(forged(make, 72, state="stored", images=[], task_id="task_72"))
    found = peek()
    assert [note.code for note in found.notes] == ["manifest-both-forms"]
    assert found.entries.summary(make.key(72)) == (State.STORED, 1)
    head = json.loads(whole)
    for name in ("crc", "parts", "closed"):
        head.pop(name, None)
    parted.manifest.write_bytes(canonical({**head, "format": 1}) + b"\n" + forged(make, 73))
    found = peek()
    assert [note.code for note in found.notes] == ["manifest-both-forms"]
    assert len(found.entries) == 41
    with open_ledger() as opened:
        record(opened, make, range(80, 81))
    assert peek().notes == ()
    assert len(peek().entries) == 42


def test_an_earlier_part_is_told(parted: LedgerPaths, peek: Peek, make: Any, open_ledger: Open) -> None:
    """As an earlier manifest is: what was paid since is not in it."""
    before = part(parted, "4").read_bytes()
    with open_ledger() as opened:
        record(opened, make, range(68, 69))
    part(parted, "4").write_bytes(before)
    assert [note.code for note in peek().notes] == ["manifest-older"]


@pytest.mark.parametrize("gone", ["folder", "all"])
def test_what_a_checkout_takes_away_under_a_run_is_written_anew_or_the_journal_stays(
    gone: str, parted: LedgerPaths, peek: Peek, make: Any, open_ledger: Open
) -> None:
    opened = open_ledger(run="r1")
    opened.announce(2)
    record(opened, make, range(64, 66))
    shutil.rmtree(parts_folder(parted.manifest))
    if gone == "all":
        parted.manifest.unlink()
        opened.close()
        assert len(peek().entries) == 42
        return
    with pytest.raises(LedgerError, match="missing"):
        opened.close()
    assert parted.journal.exists()


def test_a_manifest_replaced_by_its_other_form_under_a_run_is_merged(
    parted: LedgerPaths, peek: Peek, make: Any, open_ledger: Open, tmp_path: Path
) -> None:
    """A checkout of a branch on which it is not split yet, and the other way round."""
    kept = tmp_path / "kept"
    shutil.copytree(parts_folder(parted.manifest), kept)
    head = parted.manifest.read_bytes()
    with open_ledger() as opened:
        opened.reshape(0)
        joined = parted.manifest.read_bytes()
    for number, form in enumerate(("split", "joined"), 1):
        with open_ledger(run=f"r{number}") as opened:
            opened.announce(1)
            record(opened, make, range(63 + number, 64 + number))
            if form == "split":
                shutil.copytree(kept, parts_folder(parted.manifest))
                parted.manifest.write_bytes(head)
            else:
                shutil.rmtree(parts_folder(parted.manifest))
                parted.manifest.write_bytes(joined)
        found = peek()
        assert (len(found.entries), found.parts) == (40 + number, 16)
        assert found.open_runs() == ()


# -- lines that stay on the disk --------------------------------------------------------------------------------------


def odd_entries(make: Any) -> list[Any]:
    """Requests of which a hasty reader would read something else."""
    accepted = replace(make.entry(1), submitted_at=1_785_665_472, task_id="task_T1", run="r")
    return [
        make.entry(2),
        accepted,
        replace(accepted, key=make.key(3), cell={"key": make.key(99), "state": "stored", "generation": 7}),
        replace(
            accepted,
            key=make.key(4),
            request={"prompt": 'a "state":"failed" and "key":"v1:00"', "extra": {"generation": 9}},
        ),
        replace(accepted, key=make.key(5), request={"prompt": "two lines\nand ../ a path ／ ﻿"}),
        replace(
            accepted,
            key=make.key(6),
            earlier=(replace(accepted.current, generation=1, state=State.FAILED),),
            generation=2,
        ),
        replace(accepted, key=make.key(7), state=State.IN_DOUBT, since=1_785_665_473, doubt="crash", task_id=None),
        replace(accepted, key=make.key(8), state=State.NEW, submitted_at=None, task_id=None),
        replace(accepted, key=make.key(9), generation=12, request={"key": make.key(9), "state": "new"}),
        replace(accepted, key=make.key(10), address="ü" * 40, cell={"s": "“state”:“x”"}),
    ]


@pytest.mark.parametrize("parts", [0, 16])
def test_a_line_that_stays_on_the_disk_says_the_same(
    parts: int, make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Entry, state, day, former keys, and what is written: as of a manifest that is kept in memory."""
    made = Manifest(header=Header(id="m-1", job="g.yaml", origin="https://api.example", parts=parts))
    for entry in odd_entries(make):
        made.entries.put(entry)
    path = tmp_path / "g.manifest.jsonl"
    new = made.new_files()
    parts_folder(path).mkdir()
    for name, chunks in new.files.items():
        file_of(path, name).write_bytes(b"".join(chunks))
    found = find_files(DISK, path)
    assert found is not None
    in_memory = read_manifest(found, "m")
    monkeypatch.setattr(manifest, "LARGE", 0)
    on_the_disk = read_manifest(found, "m")
    places = [known for known in on_the_disk.entries._known.values() if isinstance(known, int)]
    assert len(places) >= len(odd_entries(make)) - 1, "all but one with a history"
    for key in in_memory.entries:
        assert on_the_disk.entries[key] == in_memory.entries[key]
        assert on_the_disk.entries.line(key) == in_memory.entries.line(key)
        assert on_the_disk.entries.summary(key) == in_memory.entries.summary(key)
        assert on_the_disk.entries.submitted_day(key) == in_memory.entries.submitted_day(key)
    assert list(on_the_disk.entries) == list(in_memory.entries) or parts == 0
    assert on_the_disk.entries.former == in_memory.entries.former
    assert b"".join(on_the_disk.entries.lines()) == b"".join(in_memory.entries.lines())
    assert sorted(on_the_disk.entries.tasks()) == sorted(in_memory.entries.tasks())
    for state in State:
        assert sorted(on_the_disk.entries.keys_in(state)) == sorted(in_memory.entries.keys_in(state))


@pytest.mark.parametrize("change", [b'"stored"', b'"generation":3'])
def test_a_damaged_line_that_stays_on_the_disk_is_found(
    change: bytes, make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manifest, "LARGE", 0)
    made = Manifest(header=Header(id="m-1", job="g.yaml", origin="https://api.example"))
    made.entries.put(make.entry(1))
    data = b"".join(made.chunks())
    before = b'"accepted"' if b"stored" in change else b'"generation":1'
    with pytest.raises(FindingsError) as caught:
        read_manifest(data.replace(before, change), "m")
    assert "checksum" in caught.value.diagnostics[0].message


def test_a_large_manifest_that_is_written_over_in_place_is_refused_and_the_journal_stays(
    paths: LedgerPaths, make: Any, open_ledger: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lines are not in memory: whatever else stands in their places is not written down as theirs."""
    with open_ledger() as opened:
        for number in range(1300):
            opened.entries.put(replace(make.entry(number, "p" * 1000)))
        record(opened, make, range(2000, 2001))
    monkeypatch.setattr(manifest, "LARGE", 0)
    opened = open_ledger(run="r1")
    opened.announce(1)
    record(opened, make, range(3000, 3001))
    data = paths.manifest.read_bytes()
    with paths.manifest.open("r+b") as file:
        file.write(data.splitlines(keepends=True)[0] + data[5000:])
    with pytest.raises(LedgerError):
        opened.close()
    assert paths.journal.exists()
    paths.manifest.write_bytes(data)
    with open_ledger() as opened:
        assert len(opened.entries) == 1302


def test_names_of_parts() -> None:
    for name, found in {
        "c/g.manifest.jsonl": "c/g.manifest.jsonl",
        "c/g.manifest/0.jsonl": "c/g.manifest.jsonl",
        "c/g.manifest/ff.jsonl": "c/g.manifest.jsonl",
        "c/G.Manifest/A.jsonl": "c/G.Manifest.jsonl",
        "c/g.manifest/g.jsonl": None,
        "c/g.manifest/000.jsonl": None,
        "c/g.manifest/.0.jsonl.part": None,
        "c/g/0.jsonl": None,
        "g.yaml": None,
    }.items():
        assert manifest_of(Path(name)) == (None if found is None else Path(found))
        assert is_spelled_well(Path(name)) == (found is not None and "M" not in name)
    assert part_of("v1:", 2) == "00"
    assert part_of("v1:ab1", 1) == "a"
