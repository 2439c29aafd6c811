"""The journal's bytes: cut at every place, flipped at every place."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import anyio
import pytest

from seedream_jobs.atomic_file import Snapshot
from seedream_jobs.diagnostics import Diagnostic
from seedream_jobs.errors import FindingsError, LedgerError
from seedream_jobs.ledger import journal
from seedream_jobs.ledger.codec import decode_event, encode, seal
from seedream_jobs.ledger.parts import NewFiles
from seedream_jobs.ledger.state import (
    Event,
    Expired,
    Failed,
    Image,
    InDoubt,
    NotSent,
    Rejected,
    Resolved,
    ServiceError,
    Stored,
)


def journal_of(events: Iterable[Event]) -> bytes:
    lines = [journal.header_line(journal.JournalHeader(manifest="m-1", base="sha256:00"))]
    lines += [journal.record(seq, encode(event)) for seq, event in enumerate(events, 1)]
    return b"".join(lines)


def read_events(data: bytes) -> list[Event] | None:
    contents = journal.read_journal(data, "j")
    return None if contents is None else [decode_event(record) for record in contents.records]


def check_cut(data: bytes, events: list[Event], length: int) -> None:
    """A cut journal gives every whole record, and says how much of the next it cut off."""
    cut = data[:length]
    contents = journal.read_journal(cut, "j")
    whole = cut.count(b"\n") + (data[length : length + 1] == b"\n")  # only the newline may be missing
    if whole == 0:
        assert contents is None
        return
    assert contents is not None
    assert [decode_event(record) for record in contents.records] == events[: whole - 1]
    assert contents.size + contents.torn == length
    assert contents.complete or contents.torn == 0


def check_flip(data: bytes, events: list[Event], place: int, mask: int) -> None:
    """A flipped byte is found, or changes nothing."""
    flipped = bytearray(data)
    flipped[place] ^= mask
    finding = None
    try:
        found = read_events(bytes(flipped))
    except FindingsError as error:
        finding = error.diagnostics[0]
    if finding is None:
        assert found == events, f"byte {place} ^ {mask:#x} went unnoticed"
    else:
        assert finding.code == "journal-damaged"
        assert finding.span is not None
        assert finding.span.start.offset <= place + 1


def test_every_sampled_cut_is_recovered(make: Any) -> None:
    events = make.lives(20)
    data = journal_of(events)
    for length in [*range(1000), *range(1000, len(data), 97), *range(len(data) - 400, len(data) + 1)]:
        check_cut(data, events, length)


def test_every_sampled_flip_is_found(make: Any) -> None:
    events = make.lives(10)
    data = journal_of(events)
    for place in [*range(600), *range(600, len(data) - 300, 11), *range(len(data) - 300, len(data))]:
        check_flip(data, events, place, 1 << (place % 8))


@pytest.mark.slow
def test_every_cut_of_200_records_is_recovered(make: Any) -> None:
    events = make.lives(80)
    assert len(events) == 200
    data = journal_of(events)
    for length in range(len(data) + 1):
        check_cut(data, events, length)


@pytest.mark.slow
def test_every_flip_of_200_records_is_found(make: Any) -> None:
    events = make.lives(80)
    data = journal_of(events)
    for place in range(len(data)):
        check_flip(data, events, place, 1 << (place % 8))


def test_the_flip_harness_catches_an_ignored_checksum(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import json

    def trusting(line: bytes) -> dict[str, Any] | None:
        try:
            body = json.loads(line)
        except ValueError:
            return None
        body.pop("crc", None)
        return body  # type: ignore[no-any-return]

    monkeypatch.setattr(journal, "_checked", trusting)
    events = make.lives(2)
    data = journal_of(events)
    place = data.index(b"task_1") + 5
    with pytest.raises(AssertionError, match="unnoticed"):
        check_flip(data, events, place, 1)


def test_a_record_that_is_missing_or_repeated_is_damage(make: Any) -> None:
    lines = journal_of(make.lives(3)).splitlines(keepends=True)
    for broken in (lines[:2] + lines[3:], [*lines[:3], lines[2], *lines[3:]], lines[1:]):
        with pytest.raises(FindingsError) as caught:
            journal.read_journal(b"".join(broken), "j")
        assert "missing before it" in caught.value.diagnostics[0].message


def test_a_whole_record_with_another_byte_for_its_newline_is_damage_not_torn(make: Any) -> None:
    data = journal_of(make.lives(3))
    with pytest.raises(FindingsError):
        journal.read_journal(data[:-1] + b"\x0b", "j")


def test_a_journal_of_another_version_says_so() -> None:
    data = journal.record(0, {"journal": 2, "manifest": "m-1", "base": "x"})
    with pytest.raises(FindingsError) as caught:
        journal.read_journal(data, "j")
    assert caught.value.diagnostics[0].code == "journal-version"


def test_every_kind_of_event_comes_back_as_it_went(make: Any) -> None:
    problem = ServiceError(status=None, code="x", message="坏 \ud800 \u2028")
    key = make.key(1)
    image = Image(file="out/a.jpeg", sha256="0" * 64, bytes=3, width=2, height=1, format="jpeg", warnings=("w",))
    events: list[Event] = [
        make.intended(1),
        make.accepted(1),
        make.completed(1),
        Rejected(key=key, at=1, error=problem),
        NotSent(key=key, at=1, reason="dns"),
        InDoubt(key=key, at=1, doubt="unreadable", detail="?", request_id="r", task_id="task_9"),
        Failed(key=key, at=1, error=problem),
        Stored(key=key, at=1, images=(image, Image(error="decode"))),
        Expired(key=key, at=1),
        Resolved(key=key, at=1, resolution="accepted", reason="seen", task_id="task_9"),
    ]
    assert read_events(journal_of(events)) == events


def test_the_reader_of_a_cut_is_held_to_its_law(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that drops one whole record more is caught."""
    events = make.lives(3)
    data = journal_of(events)
    reader: Callable[..., Any] = journal.read_journal
    monkeypatch.setattr(journal, "read_journal", lambda cut, path: reader(cut[: cut.rfind(b"\n", 0, -1) + 1], path))
    with pytest.raises(AssertionError):
        check_cut(data, events, len(data))


HEADER: dict[str, Any] = {"journal": 1, "manifest": "m-1", "base": "sha256:00"}


def header_of(**changes: Any) -> bytes:
    return journal.record(0, HEADER | changes)


def finding_of(data: bytes) -> Diagnostic:
    with pytest.raises(FindingsError) as caught:
        journal.read_journal(data, "j")
    (finding,) = caught.value.diagnostics
    return finding


def test_a_record_is_one_canonical_line_that_begins_with_its_checksum() -> None:
    """The format stays readable by later versions, so its bytes are held."""
    assert journal.record(7, {"b": 1, "a": "鹭"}) == '{"crc":"5ab44f20","a":"鹭","b":1,"seq":7}\n'.encode()
    header = journal.JournalHeader(manifest="m-1", base="none", run="r", origin="https://x.example")
    assert journal.header_line(header) == (
        b'{"crc":"0ff8351f","base":"none","journal":1,"manifest":"m-1","origin":"https://x.example","run":"r","seq":0}\n'
    )
    assert (journal.VERSION, journal.ABSENT) == (1, "none")


def test_what_a_journal_says_of_itself(make: Any) -> None:
    """Its header, its records with their places, the digests of its folds, and how much of it is whole."""
    full = {name: f"{name}-1" for name in ("file", "path", "job", "origin", "run")} | {"before": "none"}
    lines = [header_of(**full, later="?"), journal.record(1, {"a": 1}), journal.record(2, {"fold": "sha256:1"})]
    lines += [journal.record(3, {"b": 2}), journal.record(4, {"fold": "sha256:2"}), journal.record(5, {"c": 3})]
    data = b"".join(lines)
    for torn in (b"", b'{"crc":"0'):
        contents = journal.read_journal(data + torn, "j")
        assert contents is not None
        assert contents.header == journal.JournalHeader(manifest="m-1", base="sha256:00", **full)
        assert (contents.path, contents.folded, contents.size) == ("j", ("sha256:1", "sha256:2"), len(data))
        assert (contents.torn, contents.complete, contents.next_seq) == (len(torn), True, 6)
        assert len(contents.records) == 3
        starts = [sum(map(len, lines[:number])) for number in range(6)]
        assert [*contents.records.placed()] == [
            (2, starts[1], {"a": 1}),
            (4, starts[3], {"b": 2}),
            (6, starts[5], {"c": 3}),
        ]
        assert [*contents.records] == [{"a": 1}, {"b": 2}, {"c": 3}]
    contents = journal.read_journal(data[:-1], "j")
    assert contents is not None
    assert (contents.size, contents.torn, contents.complete) == (len(data) - 1, 0, False)
    assert [*contents.records][-1] == {"c": 3}


def test_a_journal_that_changes_while_it_is_read_is_not_believed() -> None:
    """It was found good, and is read again for its records."""

    class Changing(Snapshot):
        def pieces(self) -> Any:
            yield data.replace(b'"a":1', b'"a":2')

    data = header_of() + journal.record(1, {"a": 1})
    with pytest.raises(OSError, match="the journal") as caught:
        list(journal.Records(Changing(data), len(data), 1))
    assert caught.value.args == (errno.EIO, "the journal was changed while it was being read")


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"base": "sha256:xyz"}, "'base' must be 'none', or 'sha256:' and hex digits"),
        ({"base": "sha256:" + "0" * 65}, "'base' must be 'none', or 'sha256:' and hex digits"),
        ({"base": "nonee"}, "'base' must be 'none', or 'sha256:' and hex digits"),
        ({"before": "sha256:"}, "'before' must be 'none', or 'sha256:' and hex digits"),
        ({"path": "/etc"}, "'path' must be a path in the repository"),
        ({"path": "a/../b"}, "'path' must be a path in the repository"),
        ({"path": "a\0"}, "a path in it is none"),
        ({"file": "a\0"}, "a path in it is none"),
        ({"job": "a/b"}, "'job' must be a file's name, without a folder"),
        ({"manifest": 7}, None),
        ({"seq": 1}, "a record is missing before it"),
    ],
)
def test_a_header_is_read_as_strictly_as_a_manifest(changes: dict[str, Any], why: str | None) -> None:
    """It may come with a commit; what is wrong with it is a finding at its first line, and it names no manifest."""
    data = header_of(**changes) if "seq" not in changes else journal.record(1, HEADER)
    finding = finding_of(data)
    assert (finding.code, finding.path) == ("journal-damaged", "j")
    if why is not None:
        assert finding.message == f"the journal is damaged at byte 0 (record 1): {why}"
    if "seq" not in changes:
        assert journal.read_header(Snapshot(data)) is None


@pytest.mark.parametrize("path", ["a/..b/c", "a..b", "x/a.yaml", ""])
def test_paths_that_stay_in_the_repository(path: str) -> None:
    contents = journal.read_journal(header_of(path=path, base="none", before="sha256:" + "f" * 64), "j")
    assert contents is not None
    assert contents.header.path == path


def test_a_header_is_read_alone(make: Any) -> None:
    """Whatever comes after it, and also of a later version; None where there is none, or a damaged one."""
    data = header_of(journal=2) + b"rubbish\n"
    assert journal.read_header(Snapshot(data)) == journal.JournalHeader(manifest="m-1", base="sha256:00")
    assert journal.read_header(Snapshot(header_of()[:-1])) == journal.JournalHeader(manifest="m-1", base="sha256:00")
    header = journal.JournalHeader(manifest="m-1", base="none")
    assert [getattr(header, name) for name in ("before", "file", "path", "job", "origin", "run")] == [""] * 6
    for none in (b"", b"rubbish\n", header_of()[:-9], journal.record(0, {"journal": 1}), header_of(base=7)):
        assert journal.read_header(Snapshot(none)) is None


def test_each_damage_says_where_and_what_to_do(make: Any) -> None:
    """The byte, the record and the line; and how to go on."""
    head, one, two = header_of(), journal.record(1, {"a": 1}), journal.record(2, {"b": 2})
    cases = [
        (head + one.replace(b"1}", b"3}") + two, 2, len(head), "its checksum does not match"),
        (head + two, 2, len(head), "a record is missing before it"),
        (head + one + journal.record(2, {"fold": 7}), 3, len(head + one), "'fold' must be a string"),
        (head + one[:-1] + b" ", 2, len(head), "its checksum does not match"),
        (head + journal.record("1", {"a": 1}), 2, len(head), "a record is missing before it"),  # type: ignore[arg-type]
        (head + journal.record(True, {"a": 1}), 2, len(head), "a record is missing before it"),
        (head + seal(b'{"a":1}') + b"\n", 2, len(head), "a record is missing before it"),
        (b"\n" + head, 1, 0, "its checksum does not match"),
    ]
    for data, line, offset, why in cases:
        finding = finding_of(data)
        assert (finding.code, finding.severity, finding.path) == ("journal-damaged", "error", "j")
        assert finding.message == f"the journal is damaged at byte {offset} (record {line}): {why}"
        assert finding.span is not None
        assert finding.span.start == finding.span.end
        assert (finding.span.start.offset, finding.span.start.line, finding.span.start.column) == (offset, line, 1)
        assert finding.hint == (
            "restore the file from a backup; without one, keep a copy of it, look up the task ids it holds after that "
            "byte, cut it there, and settle what is then in doubt with `resolve`"
        )


def test_another_version_is_named_and_shortened() -> None:
    """It may be anything, of any length."""
    for version, shown in ((2, "2"), ("x" * 100, "'" + "x" * 58 + "…"), (None, "None")):
        finding = finding_of(journal.record(0, {"manifest": "m-1", "base": "x"} | {"journal": version}))
        assert finding.message == f"the journal has format {shown}, this program reads 1"
        assert (finding.code, finding.severity, finding.path) == ("journal-version", "error", "j")
        assert finding.hint == "finish the interrupted run with the version of seedream-jobs that began it"
    assert finding_of(journal.record(0, {"manifest": "m-1"})).message.startswith("the journal has format None,")


def test_the_other_findings_of_a_journal() -> None:
    """A torn end, another manifest, a journal that git tracks."""
    contents = journal.read_journal(header_of() + journal.record(1, {"a": 1}) + b"torn", "j")
    assert contents is not None
    torn = journal.torn("j", contents)
    assert (torn.code, torn.severity, torn.path) == ("journal-torn", "warning", "j")
    assert torn.message == "the journal ends in 4 bytes of a torn record, which are cut off"
    assert torn.span is not None
    assert torn.span.start == torn.span.end
    assert (torn.span.start.offset, torn.span.start.line, torn.span.start.column) == (contents.size, 3, 1)
    assert torn.hint == (
        "nothing to do: a crash came between the write and the sync, so that nothing was sent on its account"
    )
    foreign = journal.foreign("j", "garden.manifest.jsonl", "sha256:00")
    assert (foreign.code, foreign.severity, foreign.path, foreign.span) == ("journal-foreign", "error", "j", None)
    assert foreign.message == (
        "the journal of an interrupted run builds on another version of garden.manifest.jsonl (sha256:00)"
    )
    assert foreign.hint == (
        "bring that version back (`git stash`, or `git checkout` of the commit the run began on), run `fetch` to fold "
        "the journal into it, then merge; or merge the journal into this one: resolve JOB --journal j"
    )
    tracked = journal.tracked("j")
    assert (tracked.code, tracked.severity, tracked.path, tracked.span) == ("journal-tracked", "error", "j", None)
    assert tracked.message == "git tracks this journal: it came with a commit, and may claim or forget what was paid"
    assert tracked.hint == (
        "see who committed it (`git log -- FILE`), then git rm it; where a run of yours left it, merge it into the "
        "record before: resolve JOB --journal j"
    )


# -- writing -----------------------------------------------------------------------------------------------------------

MANIFEST, JOURNAL = Path("/d/m"), Path("/d/s/j")


def failing(disk: Any, operation: str, nth: int = 1) -> None:
    """Let the n-th operation of a kind fail."""
    seen: list[str] = []

    def fault(name: str, count: int) -> int | None:
        seen.append(name)
        if name == operation and seen.count(name) == nth:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return None

    disk.fault = fault


def test_a_new_journal_is_durable_with_its_name(new_disk: Any) -> None:
    """Whatever of that fails, no descriptor is left."""
    disk = new_disk()
    header = journal.JournalHeader(manifest="m-1", base="none")
    pair = journal.Pair(disk, MANIFEST, JOURNAL)
    descriptor = pair.begin_journal(header)
    assert disk.operations == ["create", "write", "sync", "sync_folder"]
    assert disk.open[descriptor].data == journal.header_line(header)
    for operation in ("write", "sync", "sync_folder"):
        disk = new_disk()
        failing(disk, operation)
        with pytest.raises(OSError, match="Input/output"):
            journal.Pair(disk, MANIFEST, JOURNAL).begin_journal(header)
        assert not disk.open


def test_a_marked_manifest_takes_its_name_after_its_journal_is_there(new_disk: Any) -> None:
    """The journal builds on the digest of that manifest; where the name can't be taken, nothing is left open."""
    disk = new_disk()
    made: list[str] = []

    def header(digests: Mapping[str, str]) -> journal.JournalHeader:
        made.append(digests[""])
        assert MANIFEST not in disk.names
        return journal.JournalHeader(manifest="m-1", base=digests[""])

    descriptor, digests = journal.Pair(disk, MANIFEST, JOURNAL).begin_marked(NewFiles(files={"": [b"a", b"b"]}), header)
    digest = digests[""]
    assert made == [digest]
    assert digest == Snapshot(b"ab").digest()
    assert bytes(disk.names[MANIFEST].data) == b"ab"
    assert journal.read_journal(bytes(disk.open[descriptor].data), "j").header.base == digest  # type: ignore[union-attr]
    disk = new_disk()
    failing(disk, "rename")
    with pytest.raises(OSError, match="Input/output"):
        journal.Pair(disk, MANIFEST, JOURNAL).begin_marked(NewFiles(files={"": [b"a"]}), header)
    assert not disk.open


def test_a_fold_is_announced_before_the_manifest_takes_its_name(new_disk: Any) -> None:
    """And the journal goes last, durably."""
    disk = new_disk()
    pair = journal.Pair(disk, MANIFEST, JOURNAL)
    pair.begin_journal(journal.JournalHeader(manifest="m-1", base="none"))
    told: list[tuple[bytes, bool]] = []
    digest = pair.fold(NewFiles(files={"": [b"all"]}), 5, lambda line: told.append((line, MANIFEST in disk.names)))
    assert digest == {"": Snapshot(b"all").digest()}
    assert told == [(journal.record(5, {"fold": digest[""]}), False)]
    assert set(disk.names) == {MANIFEST}
    assert disk.operations[-2:] == ["remove", "sync_folder"]


@pytest.mark.parametrize(
    ("cut", "torn", "operations"),
    [(0, b"", []), (0, b"torn", ["truncate"]), (1, b"", ["write"])],
    ids=["whole", "torn", "without its newline"],
)
def test_a_journal_that_was_left_is_mended_before_it_is_folded(
    new_disk: Any, cut: int, torn: bytes, operations: list[str]
) -> None:
    """A torn end is cut off, a missing newline written; then the fold stands in it as a record that can be read."""
    disk = new_disk()
    data = header_of() + journal.record(1, {"a": 1})
    left = data[: len(data) - cut] + torn
    descriptor = disk.create(JOURNAL)
    disk.write(descriptor, left)
    disk.close(descriptor)
    contents = journal.read_journal(left, "j")
    assert contents is not None
    disk.operations.clear()
    failing(disk, "remove")
    pair = journal.Pair(disk, MANIFEST, JOURNAL)
    with pytest.raises(OSError, match="Input/output"):
        pair.fold_left_behind(contents, NewFiles(files={"": [b"all"]}))
    assert not disk.open
    assert disk.operations[: 1 + len(operations)] == ["append", *operations]
    after = journal.read_journal(bytes(disk.names[JOURNAL].data), "j")
    assert after is not None
    assert (after.folded, [*after.records], after.torn) == ((Snapshot(b"all").digest(),), [{"a": 1}], 0)
    disk.fault = lambda operation, count: None
    assert pair.fold_left_behind(after, NewFiles(files={"": [b"all"]})) == {"": Snapshot(b"all").digest()}
    assert set(disk.names) == {MANIFEST}


def committed(disk: Any) -> tuple[journal.GroupCommit, int]:
    descriptor = disk.create(JOURNAL)
    return journal.GroupCommit(disk, descriptor, "garden.journal"), descriptor


def test_a_closed_journal_takes_nothing(new_disk: Any) -> None:
    """What was appended is in it; its thread has ended and its file is closed; to close it again is no error."""
    disk = new_disk()
    group, descriptor = committed(disk)
    file = disk.open[descriptor]
    before = {thread for thread in threading.enumerate() if thread.name == "journal"}
    assert before
    assert all(thread.daemon for thread in before)
    group.append_sync(lambda: b"a\n")
    group.append_sync(lambda: b"b\n")
    assert not group.dead
    group.close()
    group.close()
    assert file.data == b"a\nb\n"
    assert not disk.open
    assert not any(thread.is_alive() for thread in before)
    with pytest.raises(LedgerError) as caught:
        group.append_sync(lambda: b"c\n")
    assert caught.value.message == "garden.journal is closed"


def test_an_event_that_can_not_be_made_leaves_no_trace(new_disk: Any) -> None:
    """The next one is recorded."""
    disk = new_disk()
    group, descriptor = committed(disk)
    file = disk.open[descriptor]

    def illegal() -> bytes:
        raise KeyError("illegal")

    with pytest.raises(KeyError):
        group.append_sync(illegal)
    group.append_sync(lambda: b"a\n")
    group.close()
    assert file.data == b"a\n"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device"),
        (OSError("odd"), "odd"),
        (RuntimeError("what"), "RuntimeError: what"),
    ],
)
def test_a_journal_that_failed_says_how_to_go_on_and_takes_nothing_more(
    new_disk: Any, error: Exception, said: str
) -> None:
    """Whatever kind of error it was; the file is closed all the same."""
    disk = new_disk()
    group, _ = committed(disk)

    def fault(operation: str, count: int) -> int | None:
        if operation == "sync":
            raise error
        return None

    disk.fault = fault
    for _ in range(2):
        with pytest.raises(LedgerError) as caught:
            group.append_sync(lambda: b"a\n")
        assert caught.value.message == f"garden.journal could not be written: {said}"
        assert caught.value.hint == (
            "make room or repair the disk, then run the same command again: it goes on from what was recorded"
        )
        assert group.dead
    group.close()
    assert not disk.open
    assert disk.operations.count("sync") == 1


def test_records_of_one_batch_stand_one_after_another(new_disk: Any) -> None:
    """They share a write, and nothing is between them."""
    disk = new_disk()
    group, descriptor = committed(disk)
    file = disk.open[descriptor]
    group.append_sync(lambda: b"a\n", lambda: b"b\n", lambda: b"c\n")
    group.close()
    assert file.data == b"a\nb\nc\n"


def test_what_gathers_while_a_sync_fails_fails_with_it(new_disk: Any) -> None:
    """Nobody takes for durable what no sync has seen."""
    disk = new_disk()
    group, _ = committed(disk)
    syncing, gathered = threading.Event(), threading.Event()
    said: list[str] = []

    def fault(operation: str, count: int) -> int | None:
        if operation == "sync":
            syncing.set()
            gathered.wait(30)
            raise OSError(errno.EIO, "Input/output error")
        return None

    disk.fault = fault

    def append(text: bytes) -> None:
        try:
            group.append_sync(lambda: text)
        except LedgerError as error:
            said.append(error.message)

    threads = [threading.Thread(target=append, args=(text,)) for text in (b"a\n", b"b\n")]
    threads[0].start()
    assert syncing.wait(30)
    threads[1].start()
    while not group._gathering.records:
        time.sleep(0.001)
    gathered.set()
    for thread in threads:
        thread.join(30)
    assert said == ["garden.journal could not be written: Input/output error"] * 2


def test_the_end_of_a_journal_is_no_error(new_disk: Any) -> None:
    """Its file can't be closed; whoever waited has left, and the loop they waited on has ended."""
    disk = new_disk()
    group, _ = committed(disk)

    def gone() -> None:
        raise RuntimeError("Event loop is closed")

    def append() -> bytes:
        group._gathering.events[0] = (anyio.Event(), gone)
        return b"a\n"

    group.append_sync(append)
    group.append_sync(lambda: b"b\n")  # the thread goes on
    disk.close = lambda descriptor: (_ for _ in ()).throw(OSError(errno.EIO, "Input/output error"))
    group.close()
    assert not group.dead
