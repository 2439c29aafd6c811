"""Manifests that git merged: the join's laws, and what is kept."""

from __future__ import annotations

import functools
import json
import random
import subprocess
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seedream_jobs.atomic_file import FileSystem, Snapshot
from seedream_jobs.diagnostics import Span
from seedream_jobs.errors import FindingsError, HeldError, LedgerError
from seedream_jobs.ledger import manifest as manifest_module
from seedream_jobs.ledger import merge
from seedream_jobs.ledger.codec import canonical, encode, seal
from seedream_jobs.ledger.ledger import Ledger
from seedream_jobs.ledger.manifest import Manifest, read_manifest
from seedream_jobs.ledger.merge import in_order, join
from seedream_jobs.ledger.paths import LedgerPaths, paths_for
from seedream_jobs.ledger.state import (
    Accepted,
    Attempt,
    Completed,
    Entry,
    Failed,
    Header,
    Holder,
    Image,
    Intended,
    NotSent,
    PlanRecord,
    Rejected,
    ResolutionRecord,
    Resolved,
    ServiceError,
    State,
    Stored,
    paid_twice,
    spent_usd,
)
from seedream_jobs.ledger.transitions import evolve, settle_open_intent
from tests.lanes import examples

KEY = "v1:ab"
TASKS = st.sampled_from([None, "task_1", "task_2"])
TIMES = st.sampled_from([None, 1, 2])
AMOUNTS = st.sampled_from([None, Decimal("0.02"), Decimal("0.020"), Decimal("0.03")])
IMAGES = st.sampled_from(
    [
        (),
        (Image(url="https://a", expires_at=5),),
        (Image(file="out/a.jpeg", sha256="1" * 64), Image(url="https://b")),
        (Image(file="out/b.jpeg", sha256="2" * 64),),
    ]
)
SENT = st.builds(
    Attempt,
    generation=st.integers(1, 3),
    state=st.sampled_from([state for state in State if state is not State.NEW]),
    task_id=TASKS,
    cost_usd=AMOUNTS,
    images=IMAGES,
    error=st.sampled_from(
        [None, ServiceError(status=400, code="a", message="b"), ServiceError(status=None, code="a", message="c")]
    ),
    idempotency_key=st.sampled_from([None, "k1", "k2"]),
    request_id=st.sampled_from([None, "r1", "r2"]),
    doubt=st.sampled_from([None, "crash", "no response"]),
    max_cost_usd=AMOUNTS,
    submitted_at=TIMES,
    since=TIMES,
    run=st.sampled_from([None, "r1", "r2"]),
)

HOLDERS = st.builds(Holder, name=st.sampled_from(["mara@a", "noor@b"]), since=st.integers(0, 2), paid=st.booleans())
ATTEMPTS = SENT | st.builds(
    Attempt, generation=st.integers(1, 3), state=st.just(State.NEW), held_by=st.none() | HOLDERS
)


@st.composite
def entries(draw: st.DrawFn) -> Entry:
    """Any entry a manifest may hold, in the order in which a ledger keeps it."""
    current = draw(ATTEMPTS)
    earlier = draw(st.lists(ATTEMPTS, max_size=3))
    fields = {name: getattr(current, name) for name in Attempt.__slots__}
    entry = Entry(
        key=KEY,
        address=draw(st.sampled_from(["a#1", "b#1"])),
        cell={},
        request={"prompt": "p"},
        repeat=1,
        output=draw(st.sampled_from(["out/a", "out/b"])),
        max_images=1,
        replays=draw(st.integers(0, 2)),
        earlier=tuple(earlier),
        **fields,
    )
    return in_order(entry)


@given(entries(), entries(), entries())
@settings(max_examples=examples(150), deadline=None)
def test_joining_is_commutative_associative_and_idempotent(one: Entry, two: Entry, three: Entry) -> None:
    assert canonical(encode(join(one, two))) == canonical(encode(join(two, one)))
    assert canonical(encode(join(join(one, two), three))) == canonical(encode(join(one, join(two, three))))
    assert canonical(encode(join(one, one))) == canonical(encode(one))


@given(st.lists(entries(), min_size=3, max_size=5))
@settings(max_examples=examples(100), deadline=None)
def test_joining_all_at_once_is_joining_one_after_the_other(several: list[Entry]) -> None:
    assert canonical(encode(join(*several))) == canonical(encode(functools.reduce(join, several)))


@given(entries(), entries())
@settings(max_examples=examples(100), deadline=None)
def test_joining_loses_no_task_no_file_and_no_money(one: Entry, two: Entry) -> None:
    both = join(one, two)
    attempts = [both, *both.earlier]
    sides = [attempt for entry in (one, two) for attempt in (entry, *entry.earlier)]
    sent = [attempt for attempt in sides if attempt.state is not State.NEW]
    assert {attempt.task_id for attempt in sent} - {None} <= {attempt.task_id for attempt in attempts}
    costs = {(one.generation, one.submitted_at, one.run, one.task_id): one.cost_usd for one in attempts}
    for attempt in sent:
        if attempt.task_id is not None and attempt.cost_usd is not None:
            cost = costs[attempt.generation, attempt.submitted_at, attempt.run, attempt.task_id]
            assert cost is not None
            assert cost >= attempt.cost_usd
    files = {image.file for attempt in attempts for image in attempt.images}
    for attempt in sent:
        if attempt.task_id is not None and any(image.file is not None for image in attempt.images):
            assert files - {None}


def branch(*more: Any, at: int = 10, base: Entry | None = None) -> Entry:
    """An entry that a branch submitted at ``at`` and took further."""
    entry = base
    if entry is None:
        start = Intended(
            key=KEY,
            at=at,
            generation=1,
            address="a#1",
            cell={},
            request={},
            repeat=1,
            output="out/a",
            max_images=1,
            max_cost_usd=Decimal("0.02"),
            idempotency_key="k",
        )
        entry = evolve(None, start)
    for event in more:
        entry = evolve(entry, event)
    return settle_open_intent(entry, "crash")


def accepted(task_id: str) -> Accepted:
    return Accepted(key=KEY, at=11, task_id=task_id)


def test_two_branches_that_both_paid_are_both_kept_and_the_one_with_work_left_is_in_front() -> None:
    done = Completed(key=KEY, at=12, images=(Image(url="u"),), cost_usd=Decimal("0.01"))
    stored = branch(accepted("task_A"), done, Stored(key=KEY, at=13, images=(Image(file="out/a.jpeg"),)))
    running = branch(accepted("task_B"), at=20)
    both = join(stored, running)
    assert (both.state, both.task_id, both.other_task_ids) == (State.ACCEPTED, "task_B", ("task_A",))
    assert both.earlier[0].images == stored.images
    assert paid_twice(both)
    assert spent_usd(both) == Decimal("0.03")


@pytest.mark.parametrize(
    ("mine", "theirs", "state"),
    [
        ((), (accepted("task_A"),), State.ACCEPTED),
        ((accepted("task_A"),), (accepted("task_A"), Completed(key=KEY, at=12, images=())), State.COMPLETED),
        (
            (accepted("task_A"),),
            (accepted("task_A"), Failed(key=KEY, at=1, error=ServiceError(status=None, code="", message=""))),
            State.FAILED,
        ),
    ],
)
def test_one_submission_known_to_different_ends_is_one(mine: Any, theirs: Any, state: State) -> None:
    both = join(branch(*mine), branch(*theirs))
    assert (both.state, both.earlier, paid_twice(both)) == (state, (), False)


def test_doubt_outlasts_another_branchs_word_that_nothing_was_charged() -> None:
    settled = branch(Resolved(key=KEY, at=9, resolution="not_charged", reason="seen"), base=branch())
    assert settled.state is State.NEW
    assert join(branch(), settled).state is State.IN_DOUBT


def test_nothing_sent_says_nothing_beside_something_sent() -> None:
    unsent = branch(NotSent(key=KEY, at=10, reason="dns"), at=10, base=evolve(None, _intent(10)))
    assert join(unsent, branch(accepted("task_A"), at=20)) == branch(accepted("task_A"), at=20)


def test_a_retry_that_another_runner_had_sent_hides_nothing() -> None:
    """Rejected here, accepted there, and here asked for again in vain: what is to be fetched is in front."""
    refused = ServiceError(message="not allowed", code="x", status=500)
    rejected = branch(Rejected(key=KEY, at=11, error=refused), at=10)
    retried = evolve(rejected, replace(_intent(30), generation=2))
    lost = evolve(
        retried, NotSent(key=KEY, at=31, reason="claimed", held_by=Holder(name="mara@a", since=20, paid=True))
    )
    both = join(lost, branch(accepted("task_A"), at=20))
    assert (both.state, both.generation) == (State.ACCEPTED, 1)
    assert join(lost, rejected).held_by is not None, "alone it says who has it"


def _intent(at: int) -> Intended:
    return Intended(
        key=KEY,
        at=at,
        generation=1,
        address="a#1",
        cell={},
        request={},
        repeat=1,
        output="out/a",
        max_images=1,
        max_cost_usd=Decimal("0.02"),
        idempotency_key="k",
    )


def manifest_of(*entries: Entry, header: Header | None = None, plans: Any = (), resolutions: Any = ()) -> bytes:
    manifest = Manifest(header=header or Header(id="m-1", job="garden.yaml", origin="https://api"))
    for entry in entries:
        manifest.entries.put(entry)
    manifest.plans.update({plan.plan: plan for plan in plans})
    manifest.resolutions.update(resolutions)
    return b"".join(manifest.chunks())


def test_the_order_of_lines_does_not_matter() -> None:
    one = manifest_of(
        branch(accepted("task_A")),
        replace(branch(accepted("task_C")), key="v1:cd"),
        plans=[PlanRecord(plan="p-1", digest="d", used_at=5)],
        resolutions=[ResolutionRecord(key=KEY, resolution="abandoned", reason="r", at=3)],
    )
    other = manifest_of(
        branch(accepted("task_B"), at=20),
        header=Header(id="m-0", job="garden.yaml", origin="https://api"),
        plans=[PlanRecord(plan="p-1", digest="d", used_at=7, finished=True)],
    )
    lines = (one + other).splitlines(keepends=True)
    seen = set()
    for seed in range(20):
        random.Random(seed).shuffle(lines)
        manifest = read_manifest(b"".join(lines), "garden.manifest.jsonl")
        assert manifest.merged
        assert [note.code for note in manifest.notes] == ["manifest-paid-twice"]
        seen.add(b"".join(manifest.chunks()))
    (canon,) = seen
    again = read_manifest(canon, "garden.manifest.jsonl")
    assert not again.merged
    assert again.header == Header(id="m-0", job="garden.yaml", origin="https://api", other_ids=("m-1",))
    assert again.plans == {"p-1": PlanRecord(plan="p-1", digest="d", used_at=5, finished=True)}
    assert b"".join(again.chunks()) == canon


def test_a_line_that_is_repeated_costs_no_more_than_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each submission is looked at once, headers are joined once, and the first lines are found in one pass."""
    looked, passes, headers = [], [], []
    identity, pieces, joined = merge._identity, Snapshot.pieces, manifest_module.join_headers
    monkeypatch.setattr(merge, "_identity", lambda attempt: [looked.append(1), identity(attempt)][1])
    monkeypatch.setattr(Snapshot, "pieces", lambda self: [passes.append(1), pieces(self)][1])
    monkeypatch.setattr(manifest_module, "join_headers", lambda *all_: [headers.append(len(all_)), joined(*all_)][1])
    count = 50
    data = b"".join(
        manifest_of(
            *(replace(branch(accepted(f"task_{number}"), at=20), key=key) for key in (KEY, "v1:cd")),
            header=Header(id=f"m-{number}", job="garden.yaml", origin="https://api"),
        )
        for number in range(count)
    )
    manifest = read_manifest(data, "garden.manifest.jsonl")
    assert [len(manifest.entries[key].attempts) for key in manifest.entries] == [count, count]
    assert manifest.header is not None
    assert len(manifest.header.other_ids) == count - 1
    assert (len(looked), len(passes), headers) == (2 * count, 2, [count])
    assert [note.related[0].span for note in manifest.notes] == [Span.of_line(2), Span.of_line(3)]


def test_equal_lines_collapse() -> None:
    data = manifest_of(branch(accepted("task_A")))
    manifest = read_manifest(data + data, "m")
    assert not manifest.merged
    assert b"".join(manifest.chunks()) == data


def test_origins_do_not_merge() -> None:
    other = Header(id="m-2", job="garden.yaml", origin="http://127.0.0.1:1")
    with pytest.raises(FindingsError) as caught:
        read_manifest(manifest_of() + manifest_of(header=other), "m")
    assert caught.value.diagnostics[0].code == "manifest-origin"


def test_a_merged_manifest_is_written_in_order_by_the_next_writer(
    paths: LedgerPaths, open_ledger: Callable[..., Ledger]
) -> None:
    header = Header(id="m-1", job="garden.yaml", origin="https://api.example")
    mine, theirs = manifest_of(branch(accepted("task_A")), header=header), manifest_of(branch(accepted("task_B")))
    paths.manifest.write_bytes(mine + theirs.split(b"\n", 1)[1])
    with open_ledger() as ledger:
        assert ledger.entries[KEY].other_task_ids == ("task_B",)
    assert len(paths.manifest.read_bytes().splitlines()) == 2


def brought(paths: LedgerPaths, make: Any, *numbers: int, header: Header | None = None) -> None:
    """Put another branch's manifest in the place of this one, as git does: it has these requests."""
    manifest = Manifest(header=header or Header(id="m-1", job="garden.yaml", origin="https://api.example"))
    for number in numbers:
        manifest.entries.put(evolve(evolve(None, make.intended(number)), make.accepted(number)))
    pulled = paths.manifest.with_name("pulled")
    pulled.write_bytes(b"".join(manifest.chunks()))
    pulled.rename(paths.manifest)


def test_what_git_pulls_under_a_run_is_kept(
    open_ledger: Callable[..., Ledger], peek: Callable[..., Ledger], paths: LedgerPaths, make: Any
) -> None:
    """Two branches pay; one is pulled while the other's run goes on. Nobody pays for its requests again."""
    brought(paths, make, 1)
    with open_ledger() as ledger:
        ledger.record_sync(make.intended(2))
        brought(paths, make, 1, 3, header=Header(id="m-0", job="garden.yaml", origin="https://api.example"))
        with pytest.raises(HeldError, match="while a run is under way"):
            peek()
        ledger.record_sync(make.accepted(2))
        ledger.record_sync(make.completed(1))
    with open_ledger() as ledger:
        assert [ledger.entries[make.key(number)].task_id for number in (1, 2, 3)] == ["task_1", "task_2", "task_3"]
        assert ledger.entries[make.key(1)].state is State.COMPLETED
        expected = Header(id="m-0", job="garden.yaml", origin="https://api.example", other_ids=("m-1",), serial=1)
        assert ledger.header == expected
    assert not paths.journal.exists()


def test_nothing_is_recorded_upon_a_manifest_that_is_gone(
    open_ledger: Callable[..., Ledger], paths: LedgerPaths, make: Any
) -> None:
    """What was planned, and perhaps waited to be confirmed, may be paid for in the manifest that has come since."""
    brought(paths, make, 1)
    for replaced in (lambda: brought(paths, make, 1, 2), paths.manifest.unlink, lambda: brought(paths, make, 3)):
        with open_ledger() as ledger:
            replaced()
            with pytest.raises(LedgerError, match="was changed after it was read"):
                ledger.record_sync(make.intended(2))
        assert not paths.journal.exists()
    with open_ledger() as ledger:
        assert ledger.entries.keys() == {make.key(3)}


@pytest.mark.parametrize("came", ["conflict", "other origin"])
def test_a_manifest_that_cant_be_taken_in_is_not_written_over(
    open_ledger: Callable[..., Ledger], paths: LedgerPaths, make: Any, came: str
) -> None:
    """The journal keeps what was recorded until the manifest it builds on is back."""
    brought(paths, make, 1)
    before = paths.manifest.read_bytes()
    ledger = open_ledger()
    ledger.record_sync(make.intended(2))
    ledger.record_sync(make.accepted(2))
    if came == "conflict":
        paths.manifest.write_bytes(b"<<<<<<< HEAD\n" + before + b"=======\n>>>>>>> other\n")
    else:
        brought(paths, make, 1, header=Header(id="m-1", job="garden.yaml", origin="emulator"))
    after = paths.manifest.read_bytes()
    with pytest.raises(LedgerError, match=r"was changed while it was in use, and (a merge|its origin)"):
        ledger.close()
    assert paths.manifest.read_bytes() == after
    paths.manifest.write_bytes(before)
    with open_ledger() as ledger:
        assert ledger.entries[make.key(2)].task_id == "task_2"


def test_a_run_that_ends_while_it_is_looked_at_leaves_no_doubts(
    open_ledger: Callable[..., Ledger], peek: Callable[..., Ledger], make: Any
) -> None:
    """What was read was in flight, and not left behind by a crash."""
    ledger = open_ledger()
    ledger.record_sync(make.intended(1))

    class Slow(FileSystem):
        def snapshot(self, path: Path) -> Snapshot:
            found = super().snapshot(path)
            if path == ledger.paths.journal:
                ledger.record_sync(make.accepted(1))
                ended.append(True)
            elif ended:
                ledger.paths.lock.write_bytes(b"")  # as one that leaves in order does
            return found

    ended: list[bool] = []
    assert peek(fs=Slow()).entries.summary(make.key(1)) == (State.INTENT, 1)
    ledger.close()


def test_two_clones_that_pay_in_one_second_have_paid_twice(tmp_path: Path, make: Any) -> None:
    """Neither knows a task id, and the time is the same: the token of the run tells the two apart."""
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false"]

    def git(folder: Path, *words: str) -> None:
        subprocess.run(["git", *identity, *words], cwd=folder, check=True, capture_output=True)

    def opened(folder: Path, run: str) -> Ledger:
        return Ledger.open(
            paths_for(folder / "garden.yaml"),
            job="garden.yaml",
            origin="https://api.example",
            new_id=lambda: "m-1",
            root=folder,
            command="run",
            now=make.now,
            run=run,
        )

    origin, mine, theirs = tmp_path / "origin", tmp_path / "mine", tmp_path / "theirs"
    origin.mkdir()
    git(origin, "init", "-q", "-b", "main")
    (origin / ".gitattributes").write_text("*.manifest.jsonl merge=union\n")
    with opened(origin, "first") as ledger:
        ledger.record_sync(make.intended(1))
        ledger.record_sync(make.accepted(1))
    git(origin, "add", ".gitattributes", "garden.manifest.jsonl")
    git(origin, "commit", "-qm", "one")
    for clone in (mine, theirs):
        git(tmp_path, "clone", "-q", str(origin), str(clone))
        with opened(clone, clone.name) as ledger:
            ledger.record_sync(make.intended(2))
            ledger.record_sync(make.intended(3))
            if clone == mine:
                ledger.record_sync(make.accepted(3))
        git(clone, "commit", "-qam", "paid")
    git(mine, "pull", "-q", "--no-rebase", "--no-edit", str(theirs), "main")
    with opened(mine, "later") as ledger:
        assert [note.code for note in ledger.notes] == ["manifest-paid-twice"] * 2
        both, once = ledger.entries[make.key(2)], ledger.entries[make.key(1)]
        assert {both.run, both.earlier[0].run} == {"mine", "theirs"}
        assert (spent_usd(both), spent_usd(once)) == (2 * Decimal("0.0228"), Decimal("0.0228"))
        half = ledger.entries[make.key(3)]
        assert {(one.run, one.task_id) for one in (half, *half.earlier)} == {("mine", "task_3"), ("theirs", None)}
        assert ledger.header is not None
        before = ledger.header.serial
    with opened(mine, "later") as ledger:
        assert ledger.header is not None
        assert ledger.header.serial == before + 1


@pytest.mark.parametrize("in_git", [True, False], ids=["in a repository", "outside git"])
def test_an_older_version_that_comes_back_is_told(
    in_git: bool, tmp_path: Path, open_ledger: Callable[..., Ledger], make: Any
) -> None:
    """A checkout or a backup brings it; what was paid since is not in it. Looking at it remembers nothing."""
    if in_git:
        subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    paths = paths_for(tmp_path / "garden.yaml")

    def told(ledger: Ledger) -> list[str]:
        return [note.message for note in ledger.notes if note.code == "manifest-older"]

    def pay(number: int) -> None:
        with Ledger.open(
            paths,
            job="garden.yaml",
            origin="https://api.example",
            new_id=lambda: "m-1",
            root=tmp_path,
            command="run",
            now=make.now,
        ) as ledger:
            assert told(ledger) == []
            ledger.record_sync(make.intended(number))

    pay(1)
    before = paths.manifest.read_bytes()
    pay(2)
    after = paths.manifest.read_bytes()
    paths.manifest.write_bytes(before)
    (said,) = told(Ledger.peek(paths, root=tmp_path))
    assert said.startswith("garden.manifest.jsonl is an older version: it was written 2 times")
    paths.manifest.write_bytes(after.replace(b"\n", b"\n" + before, 1))  # the two merged
    assert told(Ledger.peek(paths, root=tmp_path)) == []
    newer = json.loads(after.splitlines()[0]) | {"serial": 9}
    del newer["crc"]
    paths.manifest.write_bytes(seal(canonical(newer)) + b"\n" + after.split(b"\n", 1)[1])
    Ledger.peek(paths, root=tmp_path)
    paths.manifest.write_bytes(after)
    assert told(Ledger.peek(paths, root=tmp_path)) == []
    pay(3)
