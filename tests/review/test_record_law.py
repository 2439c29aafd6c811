"""Laws of records that somebody edits: nothing said of a request changes unseen, and nothing read can't be written."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import PurePosixPath
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seedream_jobs.errors import FindingsError
from seedream_jobs.ledger import journal
from seedream_jobs.ledger.codec import canonical, encode, seal
from seedream_jobs.ledger.manifest import Manifest, alone, read_manifest
from seedream_jobs.ledger.state import spent_usd
from seedream_jobs.plans.record_edits import record_edits
from tests.review.test_record_edits import HEADER, line

Said = dict[str, Any]
GARDEN, MEADOW = PurePosixPath("garden.manifest.jsonl"), PurePosixPath("meadow.manifest.jsonl")
PAID = {"cost_usd": "0.0228", "images": [{"file": "out/a.jpeg", "sha256": "0" * 64, "bytes": 5}]}
FAILURE = {"status": 400, "code": "400", "message": "content policy"}
LINES = [
    HEADER | {"serial": 3, "run": {"id": "r1", "intents": 4, "since": "2027-01-15T08:00:00Z"}},
    line(1, state="stored", **PAID),
    line(2, max_cost_usd="0.0456", max_images=2),
    line(3, state="in_doubt", doubt="no response", since="2027-01-15T08:00:00Z", task_id=None, replays=1),
    line(4, state="failed", error=FAILURE, cost_usd="0.01"),
    line(5, state="new", task_id=None, submitted_at=None, idempotency_key=None),
    line(6, state="abandoned", generation=2, earlier=[{"generation": 1, "state": "expired", "task_id": "t1", **PAID}]),
    {"plan": "p-1", "digest": "sha256:00", "used_at": "2027-01-15T08:00:00Z"},
    {"key": line(6)["key"], "resolution": "abandoned", "reason": "given up", "at": "2027-01-15T08:00:00Z"},
]
OTHERS = [HEADER | {"id": "m-2", "job": "meadow.yaml"}, line(11, state="stored", **PAID), line(12)]
STATES = ["new", "intent", "accepted", "completed", "stored", "in_doubt", "rejected", "failed", "expired", "abandoned"]
VALUES = st.one_of(
    st.sampled_from(
        [*STATES, "-1000", "0", "0.0001", "9999", "task_9", "2031-01-15T08:00:00Z", "", None, True, -1, 0, 2]
    ),
    st.sampled_from([10**30, 1e308, "1e9", "../../x", "/etc/x", [], {}, ["task_1", "task_9"], [{}], {"a": 1}, "m-9"]),
    st.sampled_from([one for said in (*LINES, *OTHERS) for one in said.values()]),
    st.text(max_size=5),
)


class Tree:
    """Manifests in memory."""

    def __init__(self, files: dict[PurePosixPath, list[str]]) -> None:
        self.files = {path: "".join(f"{one}\n" for one in lines).encode() for path, lines in files.items()}

    def read(self, path: PurePosixPath, *, limit: int) -> bytes:
        if path not in self.files:
            raise FileNotFoundError(2, "No such file or directory")
        return self.files[path][:limit]

    def glob(self, folder: PurePosixPath, pattern: str) -> list[PurePosixPath]:
        raise NotImplementedError

    def said(self) -> Any:
        """What the record says of each request: all that counts in a plan or a budget. None where it says nothing."""
        found = {}
        for path, data in self.files.items():
            manifest = read_manifest(data, str(path), trusted=lambda line: False)
            for entry in manifest.entries.values():
                attempts = [
                    (one.generation, one.state, one.task_ids, one.cost_usd, one.max_cost_usd) for one in entry.attempts
                ]
                found[path, entry.key] = (attempts, entry.replays, entry.max_images, dict(entry.request))
        return found


def written(said: Said, *, sealed: bool = True) -> str:
    return seal(canonical(said)).decode() if sealed else json.dumps(said)


@st.composite
def edited(draw: st.DrawFn) -> Tree:
    """One edit of one line of the base."""
    # Copied whole: a value that is drawn may be a list of the very lines that are edited.
    files = {GARDEN: deepcopy(LINES), MEADOW: deepcopy(OTHERS)}
    lines = files[GARDEN]
    at = draw(st.integers(0, len(lines) - 1))
    sealed = draw(st.booleans())
    match draw(
        st.sampled_from(["value", "value", "value", "removed", "doubled", "moved", "swapped", "field", "inner"])
    ):
        case "value":
            lines[at][draw(st.sampled_from(sorted({*LINES[1], *lines[at]})))] = draw(VALUES)
        case "inner":
            inner = draw(st.sampled_from([6]))
            lines[inner]["earlier"][0] = {
                **lines[inner]["earlier"][0],
                draw(st.sampled_from(["state", "cost_usd", "task_id", "generation"])): draw(VALUES),
            }
        case "removed":
            del lines[at]
        case "doubled":
            twin = dict(lines[at])
            if draw(st.booleans()):
                twin[draw(st.sampled_from(sorted(twin)))] = draw(VALUES)
            lines.append(twin)
        case "moved":
            files[MEADOW].append(lines.pop(at))
        case "swapped":
            other = draw(st.integers(1, len(OTHERS) - 1))
            lines[at], files[MEADOW][other] = files[MEADOW][other], lines[at]
        case "field":
            lines[at].pop(draw(st.sampled_from(sorted(lines[at]))))
    return Tree({path: [written(one, sealed=sealed) for one in held] for path, held in files.items()})


BASE = Tree({GARDEN: [written(one) for one in LINES], MEADOW: [written(one) for one in OTHERS]})


@pytest.mark.parametrize("allowed", [False, True])
@settings(max_examples=120, deadline=None)
@given(head=edited())
def test_no_edit_of_a_line_goes_unseen(head: Tree, allowed: bool) -> None:
    """A finding, or each request's state, tasks and costs are what they were."""
    found = record_edits(BASE, head, [GARDEN, MEADOW], shown=str, allow_additions=allowed)
    try:
        said = head.said()
    except FindingsError:
        said = None
    assert found or said == BASE.said()
    if said is None:
        assert any(one.severity == "error" for one in found)
    else:  # whatever counts less is an error, unless somebody says that a run wrote it
        lost = {place for place in BASE.said() if place not in said}
        assert not lost or any(one.severity == "error" for one in found)


EVENTS: list[Said] = [
    {
        "event": "intended",
        **{
            name: line(1)[name]
            for name in (
                "address",
                "cell",
                "generation",
                "idempotency_key",
                "max_cost_usd",
                "max_images",
                "output",
                "repeat",
                "request",
            )
        },
    },
    {"event": "in_doubt", "doubt": "no response"},
    {"event": "accepted", "task_id": "task_1"},
    {"event": "completed", "images": [{"url": "https://img/1", "expires_at": 1800000000}], "cost_usd": "0.0228"},
    {"event": "stored", "images": [{"file": "out/a.jpeg", "sha256": "0" * 64, "bytes": 5, "width": 1, "height": 1}]},
    {"event": "expired"},
    {"event": "resolved", "resolution": "accepted", "reason": "console", "task_id": "task_2"},
    {"plan": "p-1", "digest": "sha256:00", "used_at": "2027-01-15T08:00:00Z"},
]


@settings(max_examples=120, deadline=None)
@given(data=st.data())
def test_a_journal_is_refused_or_can_be_written(data: st.DataObject) -> None:
    """Whatever stands in a record with a good checksum: a finding with its line, or a manifest that is read again."""
    header: Said = {
        "journal": 1,
        "manifest": "m-1",
        "base": "none",
        "job": "garden.yaml",
        "path": "garden.manifest.jsonl",
    }
    records = [
        header,
        *(
            {"key": line(1)["key"], "at": 1800000000, **event} if "plan" not in event else dict(event)
            for event in EVENTS
        ),
    ]
    at = data.draw(st.integers(0, len(records) - 1))
    place = records[at]
    if "images" in place and data.draw(st.booleans()):
        place["images"] = [dict(place["images"][0])]
        place = place["images"][0]
    name = data.draw(st.sampled_from(sorted({*place, "run", "cost_usd", "x"})))
    if data.draw(st.booleans()) and name in place:
        del place[name]
    else:
        place[name] = data.draw(VALUES)
    file = b"".join(journal.record(number, one) for number, one in enumerate(records))
    refused: FindingsError | None = None
    try:
        left = journal.read_journal(file, "left.journal")
        assert left is not None
        made = alone(left)
    except FindingsError as error:
        refused = error
    if refused is not None:
        assert {one.code for one in refused.diagnostics} <= {"journal-damaged", "journal-version"}
        return
    whole = written(HEADER) + "\n" + b"".join(made.entries.lines()).decode()
    again = read_manifest(whole.encode(), "m")
    assert list(again.entries.values()) == list(made.entries.values())


TOKENS = [
    b'"cost_usd":"-1"',
    b'"state":"new"',
    b"1e999",
    b"[[[[",
    b"null",
    b"true",
    b'"\\ud800"',
    b"\xff",
    b"\0",
    b"\r",
    b'"earlier":[{}]',
    b'"run":[[]]',
    b'"task_ids":[1,2]',
    b'"images":[5]',
    b'"format":1',
    b'"fold":[]',
    b"9" * 40,
]
NAMES = sorted(
    {name for said in (*LINES, *EVENTS) for name in said}
    | {"more_task_ids", "task_ids", "earlier", "runs", "fold", "seq", "crc"}
)
WILD: list[Any] = [
    *STATES,
    None,
    True,
    -1,
    0,
    10**30,
    1.5,
    "",
    "x",
    "-1",
    "\ud800",
    [],
    [[]],
    {},
    {"a": []},
    ["x"],
    [{}],
    "../x",
    "\0",
]


def mutated(random: Random, lines: list[Said]) -> bytes:
    """Some lines of a record with a few of their values and bytes exchanged; most have a good checksum."""
    written = []
    for said in random.choices(lines, k=random.randint(1, 6)) if random.random() < 0.3 else lines:
        line = dict(said)
        for _ in range(random.choice([0, 0, 1, 1, 2])):
            line[random.choice(NAMES)] = random.choice(WILD)
        raw = canonical(line)
        if random.random() < 0.1:
            at = random.randrange(len(raw))
            raw = raw[:at] + random.choice(TOKENS) + raw[at + random.randrange(4) :]
        written.append(seal(raw) if random.random() < 0.9 and raw.startswith(b"{") else raw)
    return b"\n".join(written) + b"\n"


def read_all(data: bytes, *, as_journal: bool) -> None:
    """Everything that a command may do with a record that it was given."""
    if as_journal:
        left = journal.read_journal(data, "left.journal")
        made = Manifest() if left is None else alone(left)
    else:
        made = read_manifest(data, "m")
        made.open_runs()
        b"".join(made.chunks())
    entries = made.entries
    list(entries.prices())
    entries.shared_tasks()
    assert entries.former is not None
    for entry in entries.values():
        spent_usd(entry)
        canonical(encode(entry))


@pytest.mark.parametrize("count", [2_000, pytest.param(200_000, marks=pytest.mark.slow)])
def test_no_bytes_crash_a_reader(count: int) -> None:
    """A finding, whatever stands in a manifest or a journal."""
    random, refused = Random(count), 0
    header: Said = {"journal": 1, "manifest": "m-1", "base": "none"}
    events: list[Said] = [{"key": line(1)["key"], "at": 1800000000, **event} for event in EVENTS[:-1]]
    records: list[Said] = [{**one, "seq": number} for number, one in enumerate([header, *events, EVENTS[-1]])]
    for _ in range(count // 2):
        for as_journal in (False, True):
            data = mutated(random, records if as_journal else LINES)
            try:
                read_all(data, as_journal=as_journal)
            except FindingsError:
                refused += 1
            except Exception as error:
                raise AssertionError(data) from error
    assert count * 0.3 < refused < count
