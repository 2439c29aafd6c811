"""A split record under git, and in the commands: merged by part, and held against its base as one file would be."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from seedream_jobs import pipeline
from seedream_jobs.errors import UsageError
from seedream_jobs.expand.request_builder import Request
from seedream_jobs.ledger.ledger import Ledger
from seedream_jobs.ledger.parts import manifest_of, part_names
from seedream_jobs.ledger.paths import check_output_name
from seedream_jobs.ledger.state import State
from seedream_jobs.plans.load import Job, Target, load_job
from tests.campaign import history, record, requests_of

ORIGIN = "https://api.apimart.ai"
HEAD, PARTS = "garden.manifest.jsonl", "garden.manifest"
Run = Callable[..., Any]


def garden(campaign: Any, count: int, *more: str) -> Job:
    """A job of so many requests."""
    lines = ["version: 1", 'request: {prompt: "heron {{ i }}"}', f"matrix: {{i: {{range: [1, {count}]}}}}", *more]
    file = campaign.write("garden.yaml", "\n".join(lines) + "\n")
    return load_job(file, shown="garden.yaml", target=Target(origin=ORIGIN, emulator=False), sets={})


def pay(job: Job, numbers: range, state: State = State.ACCEPTED) -> list[Request]:
    """Put some of its requests on record."""
    some = list(requests_of(job))[numbers.start : numbers.stop]
    record(job, [event for one in some for event in history(one, state)], origin=ORIGIN)
    return some


@pytest.fixture
def split(campaign: Any, command: Run) -> Any:
    """A campaign whose record of 30 requests is split and committed."""
    pay(garden(campaign, 30), range(30))
    ended = command("manifest", "split", "garden.yaml")
    assert (ended.code, ended.out) == (
        0,
        "garden.yaml: its record is written in 16 files in garden.manifest (30 requests)\n",
    )
    assert "git add -A -- garden.manifest.jsonl garden.manifest" in ended.err
    campaign.commit("the record")
    return campaign


def known(campaign: Any) -> Ledger:
    job = load_job(
        campaign.folder / "garden.yaml",
        shown="garden.yaml",
        target=Target(origin=ORIGIN, emulator=False),
        sets={},
    )
    return Ledger.peek(job.paths, root=campaign.folder)


def test_split_and_join(split: Any, command: Run) -> None:
    """Said again nothing is written; joined, it is the file that it was."""
    assert split.git("status", "--porcelain") == ""
    assert "already in 16 files" in command("manifest", "split", "garden.yaml").out
    assert split.git("status", "--porcelain") == ""
    assert "30 running" in command("plan", "garden.yaml").out
    assert command("manifest", "join", HEAD).code == 0
    assert not (split.folder / PARTS).exists()
    assert len(known(split).entries) == 30
    assert command("manifest", "split", "nothing.yaml").code == 2


def test_branches_that_ran_different_requests_are_merged_by_part(split: Any, command: Run) -> None:
    """By git's union of each part: nothing is lost, nothing is noted, and the next write is canonical."""
    split.git("switch", "-q", "-c", "topic")
    pay(garden(split, 60), range(30, 45))
    split.commit("ran here")
    split.git("switch", "-q", "main")
    pay(garden(split, 60), range(45, 60))
    pay(garden(split, 60), range(1), State.ACCEPTED) if False else None
    split.commit("ran there")
    split.git("merge", "-q", "--no-edit", "topic")
    found = known(split)
    assert (len(found.entries), found.notes) == (60, ())
    assert command("plan", "garden.yaml").code == 0
    assert command("plan", "--base", "HEAD~1", "garden.yaml").code in (0, 1)


def test_a_branch_that_split_is_merged_with_one_that_did_not(campaign: Any, command: Run) -> None:
    """Both forms are read as one; the next write leaves the split one."""
    pay(garden(campaign, 40), range(20))
    campaign.commit("the record")
    campaign.git("switch", "-q", "-c", "topic")
    assert command("manifest", "split", "garden.yaml").code == 0
    campaign.commit("split")
    campaign.git("switch", "-q", "main")
    pay(garden(campaign, 40), range(20, 40))
    campaign.git("commit", "-qam", "ran")
    campaign.write(".gitattributes", "*.manifest.jsonl merge=union\n")
    campaign.git("merge", "-q", "--no-edit", "topic")
    found = known(campaign)
    assert len(found.entries) == 40
    assert found.parts == 16
    told = command("plan", "garden.yaml")
    assert (told.code, "nothing to submit" in told.out) == (0, True)
    pay(garden(campaign, 41), range(40, 41))
    assert [note.code for note in known(campaign).notes] == []
    assert len((campaign.folder / HEAD).read_bytes().splitlines()) == 1


def test_two_branches_that_both_split_are_merged(campaign: Any, command: Run) -> None:
    """Files that both have made are merged, too."""
    pay(garden(campaign, 40), range(20))
    campaign.commit("the record")
    for branch, numbers in (("topic", range(20, 30)), ("other", range(30, 40))):
        campaign.git("switch", "-q", "-c", branch, "main")
        assert command("manifest", "split", "garden.yaml").code == 0
        pay(garden(campaign, 40), numbers)
        campaign.commit(branch)
    campaign.git("merge", "-q", "--no-edit", "topic")
    found = known(campaign)
    assert (len(found.entries), found.notes) == (40, ())


def line_of(campaign: Any, key: str) -> tuple[Path, dict[str, Any]]:
    path = campaign.folder / PARTS / f"{key[3]}.jsonl"
    return path, next(line for line in map(json.loads, path.read_text().splitlines()) if line.get("key") == key)


def rewritten(path: Path, lines: Iterable[Any]) -> None:
    path.write_text("".join(json.dumps(one, separators=(",", ":"), sort_keys=True) + "\n" for one in lines))


def edited(campaign: Any, change: Callable[[dict[str, Any]], dict[str, Any] | None]) -> str:
    """One line of a part is changed, or removed; the part's name."""
    key = min(known(campaign).entries)
    path, _ = line_of(campaign, key)
    lines = []
    for one in map(json.loads, path.read_text().splitlines()):
        if one.get("key") == key:
            one.pop("crc")
            one = change(one)
        lines += [] if one is None else [one]
    rewritten(path, lines)
    return path.name


def edits(command: Run) -> list[tuple[str, str]]:
    """(code, path) of what a review finds, against the last commit."""
    ended = command("plan", "--base", "HEAD", "--format", "json")
    data = json.loads(ended.out) if ended.out else {}
    return [(one["code"], one["path"]) for one in data.get("findings", ())]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda line: None, "manifest-removed"),
        (lambda line: {**line, "task_id": "task_other"}, "manifest-changed-id"),
        (lambda line: {**line, "state": "new"}, "manifest-unpaid"),
        (lambda line: {**line, "max_cost_usd": "0"}, "manifest-cost"),
    ],
)
def test_a_part_is_held_against_its_base(change: Any, code: str, split: Any, command: Run) -> None:
    """As a manifest in one file is, and the finding names the part."""
    name = edited(split, change)
    found = edits(command)
    assert (code, HEAD if code == "manifest-removed" else f"{PARTS}/{name}") in found


def test_a_part_that_is_gone_or_a_link_or_misspelled_is_found(split: Any, command: Run) -> None:
    """Whatever a change does to the files themselves."""
    part = split.folder / PARTS / "3.jsonl"
    kept = part.read_bytes()
    part.unlink()
    assert ("manifest-part", f"{PARTS}/3.jsonl") in edits(command)
    part.symlink_to("4.jsonl")
    assert ("record-link", f"{PARTS}/3.jsonl") in edits(command)
    part.unlink()
    part.write_bytes(kept)
    split.write(f"{PARTS}/A.jsonl", kept)
    assert ("record-spelling", f"{PARTS}/A.jsonl") in edits(command)
    (split.folder / PARTS / "A.jsonl").unlink()
    assert edits(command) == []
    shutil.move(split.folder / PARTS, split.folder / "moved")
    (split.folder / PARTS).symlink_to("moved")
    assert ("record-link", PARTS) in edits(command)


def test_new_lines_of_a_part_are_claims(split: Any, command: Run) -> None:
    """And what a run may have written is allowed where that is said."""
    pay(garden(split, 32), range(30, 32))
    found = edits(command)
    assert {code for code, _ in found} == {"manifest-added"}
    assert all(path.startswith(f"{PARTS}/") for _, path in found)
    assert command("plan", "--base", "HEAD", "--allow-manifest-additions").code == 0


def test_parts_beside_a_record_in_one_file_are_claims(campaign: Any, command: Run) -> None:
    """A change may not say that something is paid by a file at another place."""
    job = garden(campaign, 31)
    pay(job, range(31))
    assert command("manifest", "split", "garden.yaml").code == 0
    shutil.copytree(campaign.folder / PARTS, campaign.folder / "kept")
    assert command("manifest", "join", "garden.yaml").code == 0
    (campaign.folder / HEAD).unlink()
    for file in (campaign.folder / ".git" / "seedream-jobs").glob("*"):
        file.unlink()
    pay(job, range(30))
    kept = campaign.folder.parent / "kept"
    shutil.move(campaign.folder / "kept", kept)
    campaign.commit("the record")
    shutil.copytree(kept, campaign.folder / PARTS)
    found = {code for code, _ in edits(command)}
    assert {"manifest-added", "manifest-both-forms"} <= found


def test_a_record_that_is_split_says_the_same_to_a_review(campaign: Any, command: Run) -> None:
    """To split a record is no edit of it."""
    pay(garden(campaign, 30), range(30))
    campaign.commit("the record")
    assert command("manifest", "split", "garden.yaml").code == 0
    assert edits(command) == []
    assert command("plan", "--base", "HEAD", "garden.yaml").code == 0
    campaign.commit("split")
    assert command("plan", "--base", "HEAD~1", "--head", "HEAD", "garden.yaml").code == 0
    assert command("compare", "--base", "HEAD~1", "--head", "HEAD", "garden.yaml").code in (0, 1)


def test_an_attribute_by_which_parts_would_be_lost_is_found(split: Any, command: Run) -> None:
    split.write(f"{PARTS}/.gitattributes", "*.jsonl merge=ours\n")
    assert ("record-attributes", f"{PARTS}/.gitattributes") in edits(command)


def test_parts_that_git_ignores_are_told(split: Any, command: Run) -> None:
    """What is paid would be in no commit."""
    split.git("rm", "-q", "--cached", "-r", PARTS)
    split.write(".gitignore", "*.manifest/\n")
    garden(split, 31)
    told = command("plan", "garden.yaml", "--format", "json")
    codes = [one["code"] for one in json.loads(told.out)["jobs"][0]["warnings"]]
    assert codes.count("record-ignored") == 1


def test_a_job_renamed_without_its_parts_is_refused(split: Any, command: Run) -> None:
    """Nothing of it is paid again."""
    split.git("mv", "garden.yaml", "heron.yaml")
    split.git("mv", HEAD, "heron.manifest.jsonl")
    ended = command("plan", "heron.yaml")
    assert ended.code == 1
    assert "heron.manifest/0.jsonl" in ended.out + ended.err
    split.git("mv", PARTS, "heron.manifest")
    ended = command("plan", "heron.yaml")
    assert (ended.code, "nothing to submit" in ended.out) == (0, True)


def test_no_output_takes_the_name_of_a_part() -> None:
    for name in ("garden.manifest/0.jsonl", "garden.manifest/FF.jsonl"):
        with pytest.raises(UsageError):
            check_output_name(Path(name))
    check_output_name(Path("garden.manifest/notes.jsonl"))


def test_a_plan_of_many_requests_warns_until_its_record_is_split(
    split: Any, command: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the next step; not of a rehearsal, which no forge ever sees, nor where the job asks for it."""
    monkeypatch.setattr(pipeline, "MANY", 30)

    def codes(*words: str) -> list[str]:
        told = command("plan", "garden.yaml", "--format", "json", *words)
        return [one["code"] for one in json.loads(told.out)["jobs"][0]["warnings"]]

    assert codes() == []
    assert command("manifest", "join", "garden.yaml").code == 0
    assert codes() == ["manifest-large"]
    assert "seedream-jobs manifest split garden.yaml" in command("plan", "garden.yaml").err
    assert codes("--emulator") == []
    garden(split, 30, "limits: {split: true}")
    assert codes() == []
    garden(split, 29)
    assert codes() == ["manifest-large"], "what is on record counts"


def test_a_saved_plan_leaves_the_form_that_the_job_asks_for(campaign: Any, command: Run) -> None:
    """As a run of the job does, by the job file that lies beside the record; without it the form stays."""
    folder = campaign.folder / ".seedream" / "emulator" / PARTS
    for count, more, files in ((4, (), 0), (5, ("limits: {split: true}",), 16), (6, (), 16)):
        garden(campaign, count, *more)
        assert command("plan", "garden.yaml", "--emulator", "-o", "plan.json").code == 0
        assert command("run", "plan.json", "--emulator", "--no-gallery").code == 0
        assert len(list(folder.glob("*.jsonl"))) == files
    assert "nothing to submit" in command("plan", "garden.yaml", "--emulator").out


def test_a_job_may_ask_for_parts(campaign: Any, command: Run) -> None:
    """Its runs leave a split record; one that does not ask leaves the record as it is."""
    garden(campaign, 5, "limits: {split: true}")
    assert command("run", "garden.yaml", "--emulator", "--no-gallery").code == 0
    folder = campaign.folder / ".seedream" / "emulator" / PARTS
    assert {path.stem for path in folder.glob("*.jsonl")} == set(part_names(16))
    garden(campaign, 6)
    assert command("run", "garden.yaml", "--emulator", "--no-gallery").code == 0
    assert len(list(folder.glob("*.jsonl"))) == 16
    assert command("validate", "garden.yaml").code == 0
    campaign.edit("garden.yaml", "matrix", "limits: {split: 3}\nmatrix")
    assert "split is true or false" in command("validate", "garden.yaml").out
    assert manifest_of(folder / "0.jsonl") == folder.with_name(HEAD)
