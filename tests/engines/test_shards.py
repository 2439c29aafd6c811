"""Several machines fetch one job's images: each its share, and together what one machine fetches."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedream_jobs.errors import FindingsError, HeldError, UsageError
from seedream_jobs.ledger import shards
from seedream_jobs.ledger.codec import canonical, seal
from seedream_jobs.ledger.ledger import Ledger
from seedream_jobs.ledger.lock import lock_file
from seedream_jobs.ledger.paths import paths_for
from seedream_jobs.ledger.shards import Shard, ShardLedger, collect, find_shard
from seedream_jobs.ledger.state import Completed, Expired, Image, State, Stored
from tests.campaign import NOW, TARGET, Folder, history, record, requests_of
from tests.engines.machines import Machine, ended

Machines = Callable[[str], Machine]


# -- real machines -----------------------------------------------------------------------------------------------------


def test_three_machines_together_fetch_what_one_does(machine: Machines, images: Any) -> None:
    """Byte by byte, the manifest and every image; a missing shard is named, and collecting twice changes nothing."""
    alone, home = machine("alone"), machine("home")
    alone.run("fetch", "garden.yaml", "--no-gallery")
    before = home.manifest.read_bytes()
    others = [machine(f"m{number}") for number in (1, 2, 3)]
    indexes = [{"JOB_COMPLETION_INDEX": str(number)} for number in range(3)]
    running = [
        one.start("fetch", "garden.yaml", "--shard", "auto/3", **index)
        for one, index in zip(others, indexes, strict=True)
    ]
    said = [ended(process) for process in running]
    assert "once all 3 shards are fetched: seedream-jobs collect garden.yaml records" in said[0]
    for number, one in enumerate(others, 1):
        assert one.manifest.read_bytes() == before
        if number != 2:
            shutil.copytree(one.folder / "records", home.folder / "records", dirs_exist_ok=True)
        shutil.copytree(one.folder / "out", home.folder / "out", dirs_exist_ok=True)
    told = home.run("collect", "garden.yaml", "records", code=8)
    assert "warning[shard-missing]: the record of shard 2/3 is missing" in told
    assert "seedream-jobs fetch garden.yaml --shard 2/3, then collect again" in told
    shutil.copy(others[1].folder / "records" / "2-of-3.jsonl", home.folder)
    told = home.run("collect", "garden.yaml", "records", "2-of-3.jsonl")
    assert "3 records collected" in told
    assert without_serial(home.manifest) == without_serial(alone.manifest)
    assert images(home.folder) == images(alone.folder)
    assert len(images(home.folder)) == 24
    kept = home.manifest.read_bytes()
    assert "nothing new" in home.run("collect", "garden.yaml", "2-of-3.jsonl", "records")
    assert home.manifest.read_bytes() == kept
    assert "nothing to do" in home.run("fetch", "garden.yaml", "--no-gallery", "--verify")


def test_machines_fetch_a_record_in_parts(machine: Machines, images: Any) -> None:
    """Shards leave each part as it is; collected, with the missing one named first, each is what one machine writes."""
    home = machine("home")
    home.run("manifest", "split", "garden.yaml")
    alone = Machine(shutil.copytree(home.folder, home.folder.parent / "alone"), home.url)
    alone.run("fetch", "garden.yaml", "--no-gallery")

    def parts(one: Machine) -> dict[str, Path]:
        found = {path.name: path for path in (one.folder / "garden.manifest").glob("*.jsonl")}
        assert len(found) == 16
        return {**found, "": one.manifest}

    before = {name: path.read_bytes() for name, path in parts(home).items()}
    for number in (1, 3):
        home.run("fetch", "garden.yaml", "--shard", f"{number}/3")
    assert {name: path.read_bytes() for name, path in parts(home).items()} == before
    told = home.run("collect", "garden.yaml", "records", code=8)
    assert "warning[shard-missing]: the record of shard 2/3 is missing" in told
    home.run("fetch", "garden.yaml", "--shard", "2/3")
    told = home.run("collect", "garden.yaml", "records")
    assert "3 records collected" in told
    for name, path in parts(home).items():
        assert without_serial(path)[1:] == without_serial(parts(alone)[name])[1:]
    assert images(home.folder) == images(alone.folder)
    assert len(images(home.folder)) == 24
    kept = {name: path.read_bytes() for name, path in parts(home).items()}
    assert "nothing new" in home.run("collect", "garden.yaml", "records")
    assert {name: path.read_bytes() for name, path in parts(home).items()} == kept


def without_serial(manifest: Path) -> list[bytes]:
    """The lines of a manifest; the first one counts how often it was written, and two of these were written twice."""
    first, *lines = manifest.read_bytes().splitlines()
    header = json.loads(first)
    assert header.pop("serial") > 0
    assert header.pop("crc")
    return [json.dumps(header).encode(), *lines]


def test_a_killed_shard_goes_on(machine: Machines, images: Any) -> None:
    """Shards of one folder, one of them killed: collect names it; repeated, every image is there once."""
    home = machine("home")
    file = home.folder / "records" / "1-of-2.jsonl"
    process = home.start("fetch", "garden.yaml", "--shard", "1/2", "--concurrency", "1")
    while process.poll() is None and (not file.exists() or file.read_bytes().count(b"\n") < 4):
        time.sleep(0.005)
    process.kill()
    process.communicate()
    if process.returncode < 0:
        file.write_bytes(file.read_bytes() + b'{"crc":"0')  # what a crash may leave of a line
        assert "the record of shard 1/2 ends early" in home.run("collect", "garden.yaml", "records", code=8)
    home.run("fetch", "garden.yaml", "--shard", "2/2")
    home.run("fetch", "garden.yaml", "--shard", "1/2")
    home.run("collect", "garden.yaml", "records")
    assert {json.loads(line)["state"] for line in home.manifest.read_bytes().splitlines()[1:-1]} <= {"stored"}
    assert len(images(home.folder)) == 24
    assert not list((home.folder / "out").rglob("*.part"))
    assert not [name for name in images(home.folder) if name.endswith("-2.jpeg")]


# -- which share -------------------------------------------------------------------------------------------------------


@given(st.integers(1, 50), st.lists(st.integers(0, 2**256 - 1), max_size=50))
def test_every_request_is_in_one_shard(count: int, digests: list[int]) -> None:
    keys = [f"v1:{digest:064x}" for digest in digests]
    for key in keys:
        assert sum(Shard(number=number, count=count).has(key) for number in range(1, count + 1)) == 1


SLURM = {"SLURM_ARRAY_TASK_MIN": "0", "SLURM_ARRAY_TASK_MAX": "7", "SLURM_ARRAY_TASK_COUNT": "8"}


@pytest.mark.parametrize(
    ("text", "environment", "shard"),
    [
        ("2/8", {}, "2/8"),
        ("auto/8", {"JOB_COMPLETION_INDEX": "0"}, "1/8"),
        ("auto", {"CI_NODE_INDEX": "8", "CI_NODE_TOTAL": "8"}, "8/8"),
        ("auto", {"SLURM_ARRAY_TASK_ID": "0", **SLURM}, "1/8"),
        (
            "auto",
            {"SLURM_ARRAY_TASK_ID": "10", **SLURM, "SLURM_ARRAY_TASK_MIN": "3", "SLURM_ARRAY_TASK_MAX": "10"},
            "8/8",
        ),
        (
            "auto/3",
            {
                "SLURM_ARRAY_TASK_ID": "8",
                "SLURM_ARRAY_TASK_MIN": "4",
                "SLURM_ARRAY_TASK_MAX": "12",
                "SLURM_ARRAY_TASK_COUNT": "3",
            },
            "2/3",
        ),
    ],
)
def test_a_shard_is_named_or_taken_from_the_environment(text: str, environment: dict[str, str], shard: str) -> None:
    """Kubernetes counts from 0, GitLab from 1, Slurm as --array says."""
    assert str(find_shard(text, environment)) == shard


@pytest.mark.parametrize(
    ("text", "environment", "said"),
    [
        ("0/8", {}, "there is no shard 0/8"),
        ("9/8", {}, "there is no shard 9/8"),
        ("1", {}, "'1' is not a shard"),
        ("-1/2", {}, "is not a shard"),
        ("auto", {}, "none of JOB_COMPLETION_INDEX, SLURM_ARRAY_TASK_ID, CI_NODE_INDEX is set"),
        ("auto", {"JOB_COMPLETION_INDEX": "0"}, "does not say how many"),
        ("auto/4", {"CI_NODE_INDEX": "1", "CI_NODE_TOTAL": "8"}, "counts 8 shards"),
        ("auto", {"CI_NODE_INDEX": "one", "CI_NODE_TOTAL": "8"}, "CI_NODE_INDEX is no number"),
        ("auto", {"CI_NODE_INDEX": "1"}, "CI_NODE_TOTAL is no number"),
        ("auto", {"CI_NODE_INDEX": "1", "CI_NODE_TOTAL": "2", "JOB_COMPLETION_INDEX": "1"}, "and CI_NODE_INDEX is set"),
        ("auto", {"SLURM_ARRAY_TASK_ID": "3", **SLURM, "SLURM_ARRAY_TASK_COUNT": "2"}, "the array has gaps"),
        (
            "auto/8",
            {"SLURM_ARRAY_TASK_ID": "3", **dict.fromkeys(SLURM, "3"), "SLURM_ARRAY_TASK_COUNT": "1"},
            "counts 1",
        ),
    ],
)
def test_what_is_no_shard_is_refused(text: str, environment: dict[str, str], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        find_shard(text, environment)
    assert said in caught.value.message
    assert caught.value.hint


# -- records -----------------------------------------------------------------------------------------------------------

JOB = """\
version: 1
request: {prompt: "{{ subject }}"}
matrix: {subject: [a, b, c, d, e, f]}
"""


class World:
    """A job of which all requests are completed, or were accepted, and the records of its shards."""

    def __init__(self, path: Path) -> None:
        folder = Folder(path)
        self.job = folder.load(JOB)
        self.requests = list(requests_of(self.job))
        for number, request in enumerate(self.requests):
            state = State.ACCEPTED if number == 1 else State.COMPLETED
            record(self.job, history(request, state))
        self.root, self.folder = self.job.expansion.spec.root, path / "records"

    def shard(self, number: int, count: int = 2) -> ShardLedger:
        shard = Shard(number=number, count=count)
        return ShardLedger.open_shard(
            self.job.paths, shard, self.folder, root=self.root, origin=TARGET.origin, command="t", now=NOW
        )

    def fetch(self, number: int, count: int = 2, *, only: int | None = None) -> Path:
        """The record of a shard that found a request expired, and stored the others."""
        with self.shard(number, count) as ledger:
            for key in list(ledger.entries)[:only]:
                images = (Image(file=f"out/{key[3:9]}.jpeg", sha256="ab" * 32, bytes=9, format="jpeg"),)
                if ledger.entries[key].state is State.ACCEPTED:
                    ledger.record_sync(Completed(key=key, at=NOW, images=(Image(url="https://img/x"),)))
                    ledger.record_sync(Expired(key=key, at=NOW))
                elif ledger.entries[key].state is State.COMPLETED:
                    ledger.record_sync(Stored(key=key, at=NOW, images=images))
            if only is None:
                ledger.end()
        return ledger.file

    def open(self) -> Ledger:
        return Ledger.open(
            self.job.paths, job="job.yaml", origin=None, new_id=str, root=self.root, command="t", now=NOW
        )

    def collect(self, *files: Path) -> shards.Collected:
        with self.open() as ledger:
            return collect(ledger, files, job="job.yaml")

    @property
    def states(self) -> list[str]:
        with self.open() as ledger:
            return [ledger.entries[request.key].state.value for request in self.requests]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_what_is_collected_in_any_order_is_the_same(world: World) -> None:
    """The manifest's bytes; and what is on record already stays."""
    files = [world.fetch(number) for number in (1, 2)]
    fresh = world.job.paths.manifest.read_bytes()
    first = world.collect(*files)
    assert first.states == {State.STORED: 5, State.EXPIRED: 1}
    assert not first.missing
    made = world.job.paths.manifest.read_bytes()
    assert world.collect(*files, files[0]).states == {}
    assert world.job.paths.manifest.read_bytes() == made
    world.job.paths.manifest.write_bytes(fresh)
    assert world.collect(*reversed(files)).states == first.states
    assert world.job.paths.manifest.read_bytes() == made


def test_a_missing_and_an_unfinished_shard_are_named(world: World) -> None:
    files = [world.fetch(1, 3), world.fetch(3, 3, only=1)]
    found = world.collect(*files).missing
    assert [(one.code, one.message) for one in found] == [
        ("shard-missing", "the record of shard 2/3 is missing"),
        ("shard-missing", "the record of shard 3/3 ends early: it was interrupted, or is still being written"),
    ]
    world.fetch(2, 3)
    world.fetch(3, 3)
    assert not world.collect(*sorted(world.folder.glob("*.jsonl"))).missing
    assert set(world.states) == {"stored", "expired"}


def test_a_torn_line_is_cut_off(world: World) -> None:
    """At every byte: what stands before it counts, and the shard is named as unfinished; it goes on from there."""
    whole = world.fetch(1).read_bytes()
    file = world.folder / "1-of-2.jsonl"
    for size in range(len(whole) - 1, 0, -97):
        file.write_bytes(whole[:size])
        found = world.collect(file)
        assert found.records <= 1
        assert len(found.missing) == 2 * found.records
    file.write_bytes(whole[: len(whole) // 2])
    world.fetch(1)
    assert [one.message for one in world.collect(file).missing] == ["the record of shard 2/2 is missing"]


def reseal(line: bytes, **changes: Any) -> bytes:
    """A line as a forger writes it: the checksum is good."""
    raw = {**json.loads(line), **changes}
    raw.pop("crc")
    return seal(canonical({name: value for name, value in raw.items() if value is not None}))


def forged() -> Iterator[tuple[str, Callable[[list[bytes], World], list[bytes]], str, int]]:
    """Name, the edit of a record's lines, code and line of the finding."""

    def edit(at: int, **changes: Any) -> Callable[[list[bytes], World], list[bytes]]:
        return lambda lines, world: [*lines[:at], reseal(lines[at], **changes), *lines[at + 1 :]]

    yield "another task", edit(1, task_id="task_mine"), "shard-claim", 2
    yield "another generation", edit(1, generation=2), "shard-claim", 2
    yield "not charged", edit(1, state="new", task_id=None), "shard-claim", 2
    yield "in doubt", edit(1, state="in_doubt"), "shard-claim", 2
    yield "other price", edit(1, max_cost_usd="0.0001"), "shard-claim", 2
    yield "fewer images", edit(1, max_images=2), "shard-claim", 2
    yield "another prompt", edit(1, request={"model": "doubao-seedream-5-0-lite", "prompt": "x"}), "shard-damaged", 2
    out = [{"file": "../../etc/passwd", "sha256": "ab" * 32, "bytes": 9}]
    yield "out of the campaign", edit(1, images=out), "shard-claim", 2
    yield "an unknown field", edit(1, paid=True), "shard-damaged", 2
    yield (
        "a byte",
        lambda lines, _: [lines[0], lines[1].replace(b'"repeat":1', b'"repeat":2'), *lines[2:]],
        "shard-damaged",
        2,
    )
    yield "a line less", lambda lines, _: [lines[0], *lines[2:]], "shard-damaged", 0
    yield "another record", edit(0, manifest="m-2"), "shard-foreign", 1
    yield "another service", edit(0, origin="https://evil.example"), "shard-foreign", 1
    yield "another share", edit(0, shard=2), "shard-claim", 2
    yield "no share", edit(0, shard=3), "shard-damaged", 1
    yield "no checksum", lambda lines, _: [lines[0], b"{" + lines[1][18:], *lines[2:]], "shard-damaged", 2
    yield "a manifest", lambda _, world: world.job.paths.manifest.read_bytes().splitlines(), "shard-damaged", 1


@pytest.mark.parametrize(("edit", "code", "line"), [one[1:] for one in forged()], ids=[one[0] for one in forged()])
def test_a_record_that_no_fetch_wrote_is_a_finding(edit: Any, code: str, line: int, world: World) -> None:
    """Whoever wrote it can compute checksums; nothing is merged, of the good record beside it neither."""
    good, file = world.fetch(2), world.fetch(1)
    file.write_bytes(b"\n".join(edit(file.read_bytes().splitlines(), world)) + b"\n")
    before = world.job.paths.manifest.read_bytes()
    with pytest.raises(FindingsError) as caught:
        world.collect(good, file)
    (found,) = caught.value.diagnostics
    assert (found.code, found.path) == (code, str(file))
    assert found.span is not None
    assert not line or found.span.start.line == line
    assert world.job.paths.manifest.read_bytes() == before


def test_the_forgeries_would_count(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A seeded fault: without the look at what a line claims, another task gets on record."""
    file = world.fetch(1)
    first, line, *rest = file.read_bytes().splitlines()
    file.write_bytes(b"\n".join([first, reseal(line, task_id="task_mine"), *rest]) + b"\n")
    monkeypatch.setattr(shards, "_claim", lambda *_: None)
    world.collect(file)
    assert b"task_mine" in world.job.paths.manifest.read_bytes()


def test_a_link_is_not_followed(world: World, tmp_path: Path) -> None:
    """Neither where a record is read, nor where one is written, nor for the folder."""
    file = world.fetch(1)
    moved = file.rename(tmp_path / "elsewhere.jsonl")
    file.symlink_to(moved)
    before = moved.read_bytes()
    with pytest.raises(UsageError, match="symbolic link"):
        world.collect(file)
    with pytest.raises(UsageError, match="symbolic link"):
        world.fetch(1)
    shutil.rmtree(world.folder)
    world.folder.symlink_to(tmp_path / "out", target_is_directory=True)
    with pytest.raises(UsageError, match="symbolic link"):
        world.fetch(1)
    assert moved.read_bytes() == before


def test_shards_share_a_record_and_keep_a_run_out(world: World) -> None:
    """Two shards at once; the same shard not twice; a run waits for them, and they for a run."""
    with world.shard(1), world.shard(2):
        with pytest.raises(HeldError):
            world.shard(1)
        with pytest.raises(HeldError):
            world.open()
        assert Ledger.peek(world.job.paths, root=world.root).held_by is None
    with world.open(), pytest.raises(HeldError):
        world.shard(1)


def test_another_service_is_refused(world: World) -> None:
    with pytest.raises(HeldError, match="another service"):
        ShardLedger.open_shard(
            world.job.paths,
            Shard(number=1, count=2),
            world.folder,
            root=world.root,
            origin="https://evil.example",
            command="t",
            now=NOW,
        )


def test_the_record_of_another_manifest_is_not_gone_on_with(world: World) -> None:
    """One that was written on an older manifest is begun anew; another job's is refused."""
    file = world.fetch(1)
    world.collect(file)
    lines = file.read_bytes().splitlines()
    with world.shard(1) as ledger:
        assert not ledger.entries.keys_in(State.COMPLETED)
        ledger.end()
    assert file.read_bytes().count(b"\n") == 2
    file.write_bytes(b"\n".join([reseal(lines[0], manifest="m-2"), *lines[1:]]) + b"\n")
    with pytest.raises(UsageError, match="of another job"):
        world.fetch(1)


def test_a_split_manifest_is_divided_and_collected(world: World) -> None:
    """The same states, and the same bytes again, as with a manifest of one file."""
    with world.open() as ledger:
        assert ledger.reshape(16)
    files = [world.fetch(number) for number in (1, 2)]
    assert world.collect(*files).states == {State.STORED: 5, State.EXPIRED: 1}
    assert world.states.count("stored") == 5
    parts = {file: file.read_bytes() for file in world.root.rglob("*.jsonl") if file.parent != world.folder}
    assert len(parts) > 2
    assert world.collect(*files).states == {}
    assert parts == {file: file.read_bytes() for file in parts}


def test_records_of_two_divisions_are_not_mixed(world: World) -> None:
    with pytest.raises(FindingsError) as caught:
        world.collect(world.fetch(1, 2), world.fetch(1, 3))
    assert [one.code for one in caught.value.diagnostics] == ["shard-foreign"]


def test_a_record_older_than_the_manifest_takes_nothing_back(world: World) -> None:
    """What was fetched since, or submitted again since, stays."""
    file = world.fetch(1, 1)
    with world.open() as ledger:
        for key in ledger.entries:
            if ledger.entries[key].state is State.COMPLETED:
                images = (Image(file=f"out/{key[3:9]}.jpeg", sha256="ab" * 32, bytes=9, format="jpeg"),)
                ledger.record_sync(Stored(key=key, at=NOW, images=images))
        again = world.requests[0]
        ledger.record_all(history(again, State.ACCEPTED, generation=2, at=NOW + 9))
    world.collect(file)
    with world.open() as ledger:
        entry = ledger.entries[again.key]
        assert (entry.generation, entry.state) == (2, State.ACCEPTED)
        assert [one.state for one in entry.earlier] == [State.STORED]


def test_paths_are_the_records(tmp_path: Path) -> None:
    """The lock that shards share is the one that a run takes."""
    paths = paths_for(tmp_path / "job.yaml")
    held = [lock_file(paths.lock, command="t", now=NOW, shared=True) for _ in range(2)]
    with pytest.raises(HeldError):
        lock_file(paths.lock, command="t", now=NOW)
    for lock in held:
        lock.release()
    lock_file(paths.lock, command="t", now=NOW).release()
