"""The manifest: what is refused, what is written, and where it lies."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path, PurePosixPath
from typing import Any

import jsonschema
import pytest

from seedream_jobs.errors import FindingsError, HeldError, LedgerError, UsageError
from seedream_jobs.expand.identity import key_of
from seedream_jobs.ledger.codec import canonical, decode, encode, is_sealed, parse, parse_checked, seal
from seedream_jobs.ledger.ledger import Ledger
from seedream_jobs.ledger.manifest import read_manifest
from seedream_jobs.ledger.paths import LedgerPaths, paths_for
from seedream_jobs.ledger.state import Entry, Image, InDoubt, PlanRecord, Resolved, State, Stored
from seedream_jobs.resources import resource

HEADER = '{"format":1,"id":"m-1","job":"garden.yaml","origin":"https://api"}\n'
LINE: dict[str, Any] = {
    "address": "a#1",
    "cell": {},
    "cost_usd": "0.0228",
    "generation": 1,
    "images": [{"expires_at": 1700259240, "file": "out/a.jpeg", "height": 1344, "sha256": "a" * 64, "width": 3136}],
    "key": key_of({"prompt": "p"}, "", 1),
    "max_images": 1,
    "output": "out/a",
    "repeat": 1,
    "request": {"prompt": "p"},
    "state": "stored",
    "submitted_at": "2026-08-02T10:11:12Z",
    "task_id": "task_1",
}

OTHER = LINE | {"key": key_of({"prompt": "q"}, "", 1), "request": {"prompt": "q"}}


def changed(path: str, value: Any) -> dict[str, Any]:
    line = json.loads(json.dumps(LINE))
    target = line
    *steps, last = path.split(".")
    for step in steps:
        target = target[int(step)] if step.isdigit() else target[step]
    if value is ...:
        del target[last]
    else:
        target[last] = value
    return line  # type: ignore[no-any-return]


BAD = {
    "unknown field": changed("colour", 1),
    "key without version": changed("key", "9f31"),
    "key as number": changed("key", 3),
    "missing key": changed("key", ...),
    "missing request": changed("request", ...),
    "task id with a slash": changed("task_id", "../x"),
    "task id too long": changed("task_id", "x" * 129),
    "empty task id": changed("task_id", ""),
    "unknown state": changed("state", "paid"),
    "generation 0": changed("generation", 0),
    "generation 1.0": changed("generation", 1.0),
    "generation true": changed("generation", True),
    "cost as number": changed("cost_usd", 0.0228),
    "cost in words": changed("cost_usd", "NaN"),
    "time in seconds": changed("submitted_at", 1700259240),
    "time that does not exist": changed("submitted_at", "2026-02-30T10:11:12Z"),
    "time in another zone": changed("submitted_at", "2026-08-02T10:11:12+02:00"),
    "request as list": changed("request", []),
    "images as object": changed("images", {}),
    "image with unknown field": changed("images.0.colour", "x"),
    "image without height": changed("images.0.height", 0),
    "image digest": changed("images.0.sha256", "A" * 64),
    "earlier without state": changed("earlier", [{"generation": 1}]),
    "doubt in own words": changed("doubt", "perhaps"),
    "error without code": changed("error", {"message": "m"}),
}
OUTSIDE = {
    "absolute file": changed("images.0.file", "/etc/passwd"),
    "file that climbs out": changed("images.0.file", "../../x.jpeg"),
    "file with a backslash": changed("images.0.file", "..\\x"),
    "output that climbs out": changed("output", "out/../../../x"),
    "absolute output": changed("output", "/x"),
}


def read(*lines: Any, folder: str = "jobs") -> Any:
    data = HEADER + "".join(line if isinstance(line, str) else json.dumps(line) + "\n" for line in lines)
    return read_manifest(data.encode(), "garden.manifest.jsonl", folder=PurePosixPath(folder))


@pytest.mark.parametrize("first", [True, False], ids=["as the first line", "behind good lines"])
@pytest.mark.parametrize("name", BAD)
def test_a_damaged_line_is_refused_with_its_number(name: str, first: bool) -> None:
    lines = [BAD[name]] if first else [LINE, OTHER, BAD[name]]
    with pytest.raises(FindingsError) as caught:
        list(read(*lines).entries.values())
    (finding,) = caught.value.diagnostics
    assert (finding.code, finding.place) == ("manifest-damaged", f"garden.manifest.jsonl:{len(lines) + 1}:1")
    assert finding.hint


@pytest.mark.parametrize("first", [True, False], ids=["as the first line", "behind good lines"])
@pytest.mark.parametrize("name", OUTSIDE)
def test_a_path_out_of_the_campaign_is_refused(name: str, first: bool) -> None:
    with pytest.raises(FindingsError) as caught:
        read(*([OUTSIDE[name]] if first else [OTHER, OUTSIDE[name]]))
    assert caught.value.diagnostics[0].code == "manifest-path"


def test_a_path_may_climb_as_far_as_the_root() -> None:
    assert len(read(changed("images.0.file", "../out/a.jpeg"), folder="jobs").entries) == 1


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("<<<<<<< HEAD\n", "manifest-conflict"),
        ("=======\n", "manifest-conflict"),
        (">>>>>>> theirs\n", "manifest-conflict"),
        ("{\n", "manifest-damaged"),
        ("[]\n", "manifest-damaged"),
        ("{}{}\n", "manifest-damaged"),
        ('{"a":NaN}\n', "manifest-damaged"),
        ("[" * 100_000 + "\n", "manifest-damaged"),
        ('{"format":3,"id":"m-2"}\n', "manifest-format"),
    ],
)
def test_what_is_no_line_of_a_manifest_is_refused(line: str, code: str) -> None:
    with pytest.raises(FindingsError) as caught:
        read(LINE, line)
    assert [finding.code for finding in caught.value.diagnostics] == [code]


def test_a_record_that_git_lfs_keeps_elsewhere_is_said_to_be_that() -> None:
    """One finding for the pointer's three lines, with the command that brings the record back."""
    with pytest.raises(FindingsError) as caught:
        read("version https://git-lfs.github.com/spec/v1\n", "oid sha256:aa\n", "size 13\n")
    (finding,) = caught.value.diagnostics
    assert (finding.code, finding.hint is not None and finding.hint[:12]) == ("manifest-damaged", "git lfs pull")


@pytest.mark.parametrize("data", [b"", b"\n", b'{"state":"new"', b"\xff\xfe\n"])
def test_an_empty_or_binary_manifest_is_refused(data: bytes) -> None:
    with pytest.raises(FindingsError):
        read_manifest(data, "m")


def test_every_damaged_line_is_reported_at_once() -> None:
    with pytest.raises(FindingsError) as caught:
        read(BAD["unknown state"], LINE, BAD["generation 0"])
    assert [finding.place.split(":")[1] for finding in caught.value.diagnostics] == ["2", "4"]


def test_a_text_that_goes_on_in_the_next_line_is_damage() -> None:
    """Two lines that would be a good one if texts could hold a newline."""
    with pytest.raises(FindingsError) as caught:
        read_manifest((HEADER + canonical(LINE).decode().replace("a#1", "a\n#1") + "\n").encode(), "m")
    assert [finding.span.start.line for finding in caught.value.diagnostics if finding.span] == [2, 3]


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_checksum_vouches_for_no_path(name: str) -> None:
    """Whoever changes a record on purpose can make a checksum, too."""
    with pytest.raises(FindingsError) as caught:
        read(seal(canonical(OUTSIDE[name])).decode() + "\n")
    assert caught.value.diagnostics[0].code == "manifest-path"


@pytest.mark.parametrize("name", BAD)
def test_a_damaged_line_with_a_checksum_is_refused_when_it_is_read_or_looked_at(name: str) -> None:
    with pytest.raises(FindingsError):
        list(read(seal(canonical(BAD[name])).decode() + "\n").entries.values())


def test_the_same_history_gives_the_same_bytes_in_any_order(
    tmp_path: Path, open_ledger: Callable[..., Ledger], paths: LedgerPaths, make: Any
) -> None:
    written = []
    for order in (range(5), reversed(range(5))):
        paths.manifest.unlink(missing_ok=True)
        with open_ledger() as ledger:
            for number in order:
                for event in (make.intended(number), make.accepted(number), make.completed(number)):
                    ledger.record_sync(event)
        written.append(paths.manifest.read_bytes())
        assert not paths.journal.exists()
    assert written[0] == written[1]
    keys = [json.loads(line)["key"] for line in written[0].splitlines()[1:]]
    assert keys == sorted(keys)


def test_a_link_is_kept_only_until_the_image_is_stored(open_ledger: Callable[..., Ledger], make: Any) -> None:
    with open_ledger() as ledger:
        for event in (make.intended(1), make.accepted(1), make.completed(1)):
            ledger.record_sync(event)
        assert ledger.entries[make.key(1)].images[0].url == "https://img/1"
        image = replace(make.completed(1).images[0], file="out/garden/heron-1.jpeg", sha256="0" * 64)
        ledger.record_sync(Stored(key=make.key(1), at=make.now, images=(image,)))
        assert ledger.entries[make.key(1)].images == (replace(image, url=None),)


def test_reading_without_recording_changes_nothing(
    open_ledger: Callable[..., Ledger], paths: LedgerPaths, make: Any
) -> None:
    with open_ledger() as ledger:
        ledger.record_sync(make.intended(1))
    before = paths.manifest.stat()
    with open_ledger():
        pass
    after = paths.manifest.stat()
    assert (after.st_mtime_ns, after.st_ino) == (before.st_mtime_ns, before.st_ino)


def test_a_run_that_records_nothing_leaves_no_manifest(open_ledger: Callable[..., Ledger], paths: LedgerPaths) -> None:
    with open_ledger() as ledger:
        assert ledger.id == "m-1"
    assert not paths.manifest.exists()
    with open_ledger() as ledger:
        ledger.ensure_created()
    header = {"format": 1, "id": "m-1", "job": "garden.yaml", "origin": "https://api.example", "serial": 1}
    assert paths.manifest.read_bytes() == seal(canonical(header)) + b"\n"


def test_plans_and_resolutions_are_recorded(open_ledger: Callable[..., Ledger], make: Any) -> None:
    with open_ledger() as ledger:
        ledger.use_plan(PlanRecord(plan="p-1", digest="sha256:1", used_at=5, options={"set": {"camera": "50mm"}}))
        ledger.record_sync(make.intended(1))
        ledger.record_sync(InDoubt(key=make.key(1), at=6, doubt="no response"))
        ledger.record_sync(Resolved(key=make.key(1), at=7, resolution="not_charged", reason="console shows no charge"))
        ledger.finish_plan("p-1")
    with open_ledger() as ledger:
        assert ledger.plans["p-1"].finished
        assert ledger.plans["p-1"].options == {"set": {"camera": "50mm"}}
        (resolution,) = ledger.resolutions
        assert (resolution.resolution, resolution.reason, resolution.at) == (
            "not_charged",
            "console shows no charge",
            7,
        )
        assert ledger.entries.summary(make.key(1)) == (State.NEW, 1)


def test_a_manifest_is_tied_to_its_origin(open_ledger: Callable[..., Ledger], make: Any) -> None:
    with open_ledger() as ledger:
        ledger.record_sync(make.intended(1))
    with pytest.raises(HeldError, match=r"was written against another service than http://127"):
        open_ledger(origin="http://127.0.0.1:1")
    with open_ledger(origin=None) as ledger:  # the lock was released by the refusal
        assert len(ledger.entries) == 1


def test_a_command_without_a_service_makes_no_manifest(open_ledger: Callable[..., Ledger]) -> None:
    with pytest.raises(UsageError):
        open_ledger(origin=None)


def test_every_line_a_ledger_writes_is_in_its_schema(
    open_ledger: Callable[..., Ledger], paths: LedgerPaths, make: Any
) -> None:
    schema = json.loads(resource("schemas", "manifest.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft7Validator.check_schema(schema)
    validator = jsonschema.Draft7Validator(schema)
    with open_ledger() as ledger:
        ledger.use_plan(PlanRecord(plan="p-1", digest="sha256:1", used_at=5, finished=True, options={"a": 1}))
        for number in range(3):
            for event in (make.intended(number), make.accepted(number), make.completed(number)):
                ledger.record_sync(event)
        ledger.record_sync(make.accepted(0, "task_other"))
        ledger.record_sync(make.intended(9))
        ledger.record_sync(InDoubt(key=make.key(9), at=6, doubt="no response"))
        ledger.record_sync(Resolved(key=make.key(9), at=7, resolution="abandoned", reason="gone"))
    for line in paths.manifest.read_text(encoding="utf-8").splitlines():
        validator.validate(json.loads(line))
    validator.validate(LINE)
    for name in ("unknown field", "task id with a slash", "unknown state", "cost as number", "generation 0"):
        assert not validator.is_valid(BAD[name]), name


def test_every_property_of_the_schema_is_described_with_an_example() -> None:
    schema = json.loads(resource("schemas", "manifest.schema.json").read_text(encoding="utf-8"))
    for definition in schema["definitions"].values():
        for name, rule in definition.get("properties", {}).items():
            assert rule.get("description"), name
            assert rule.get("examples"), name


def test_the_record_of_a_job_lies_beside_it(tmp_path: Path) -> None:
    paths = paths_for(tmp_path / "jobs" / "garden.yaml")
    assert paths.manifest == tmp_path / "jobs" / "garden.manifest.jsonl"
    assert paths.journal.name == "garden.manifest.journal"
    assert paths.lock.name == "garden.manifest.lock"
    assert paths_for(paths.manifest) == paths


def test_a_rehearsal_lies_apart_and_never_enters_git(tmp_path: Path, make: Any) -> None:
    job = tmp_path / "jobs" / "garden.yaml"
    job.parent.mkdir()
    paths = paths_for(job, emulator_root=tmp_path)
    assert paths.manifest == tmp_path / ".seedream" / "emulator" / "jobs" / "garden.manifest.jsonl"
    assert paths_for(paths.manifest, emulator_root=tmp_path) == paths
    with Ledger.open(
        paths, job="garden.yaml", origin="emulator", new_id=lambda: "m-1", root=tmp_path, command="run", now=1
    ) as ledger:
        ledger.record_sync(make.intended(1))
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    status = subprocess.run(
        ["git", "status", "--porcelain", "-uall"], cwd=tmp_path, check=True, capture_output=True, text=True
    )
    assert status.stdout == ""
    assert not (tmp_path / "jobs" / "garden.manifest.jsonl").exists()


def test_a_folder_that_cannot_be_written_is_one_clear_refusal(tmp_path: Path) -> None:
    (tmp_path / "jobs").write_text("a file where the folder should be")
    with pytest.raises(LedgerError) as caught:
        Ledger.open(
            paths_for(tmp_path / "jobs" / "garden.yaml"),
            job="garden.yaml",
            origin="x",
            new_id=lambda: "m-1",
            root=tmp_path,
            command="run",
            now=1,
        )
    assert caught.value.hint


def test_a_line_is_what_was_known() -> None:
    entry = decode(Entry, LINE)
    assert encode(entry) == LINE
    assert entry.cost_usd == Decimal("0.0228")
    assert entry.images == (Image(expires_at=1700259240, file="out/a.jpeg", height=1344, sha256="a" * 64, width=3136),)
    assert parse(canonical(LINE)) == LINE


def test_no_changed_character_passes_in_silence(
    open_ledger: Callable[..., Ledger], paths: LedgerPaths, make: Any
) -> None:
    """Each is damage, with its line, or means the same: a changed prompt would be paid again, a changed state lost."""
    with open_ledger(run="r1") as ledger:
        ledger.use_plan(PlanRecord(plan="p-1", digest="sha256:1", used_at=5))
        for event in (make.intended(1), make.accepted(1), make.completed(1), make.accepted(1, "task_other")):
            ledger.record_sync(event)
        ledger.record_sync(make.intended(2))
        ledger.record_sync(InDoubt(key=make.key(2), at=6, doubt="no response"))
        ledger.record_sync(Resolved(key=make.key(2), at=7, resolution="abandoned", reason="gone"))
    data = paths.manifest.read_bytes()
    known = b"".join(read_manifest(data, "m").chunks())
    silent, told = [], 0
    for place in range(len(data)):
        old = data[place : place + 1]
        ways = (b"", b" ", b"0" if old != b"0" else b"1", bytes([old[0] ^ 1]), old + old, b'"' if old != b'"' else b"'")
        for new in {ways[place % 6], ways[(place // 6 + 3) % 6]}:
            changed = data[:place] + new + data[place + 1 :]
            try:
                same = b"".join(read_manifest(changed, "m").chunks()) == known
            except FindingsError as error:
                lines = [finding.span.start.line for finding in error.diagnostics if finding.span]
                same = data.count(b"\n", 0, place) + 1 in lines
                told += 1
            if not same:
                silent.append((place, old, new))
    assert silent == []
    assert told > len(data)


def test_a_key_that_is_not_its_requests_is_damage_in_a_line_without_a_checksum() -> None:
    """Older versions wrote none; a line retyped by hand has none."""
    assert len(read(LINE, OTHER).entries) == 2
    renamed = LINE | {"request": {"model": "seedream-5.0-lite", "prompt": "p"}}
    for line in (changed("request.prompt", "q"), changed("repeat", 2), changed("key", OTHER["key"]), renamed):
        with pytest.raises(FindingsError) as caught:
            read(OTHER if line["key"] != OTHER["key"] else LINE, line)
        (finding,) = caught.value.diagnostics
        assert (finding.code, finding.place) == ("manifest-damaged", "garden.manifest.jsonl:3:1")
        assert "its key is not that of its request" in finding.message


def test_lines_of_older_versions_get_their_checksum_with_the_next_write(
    open_ledger: Callable[..., Ledger], paths: LedgerPaths, make: Any
) -> None:
    paths.manifest.write_bytes(HEADER.replace("//api", "//api.example").encode() + canonical(LINE) + b"\n")
    with open_ledger() as ledger:
        ledger.record_sync(make.intended(1))
    lines = paths.manifest.read_bytes().splitlines()
    assert len(lines) == 3
    assert all(map(is_sealed, lines))
    assert {parse_checked(line)[0].get("serial") for line in lines} == {1, None}
