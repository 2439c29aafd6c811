"""``plan --base``: what merging would submit, read out of git without a checkout, a key or a socket."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from seedream_jobs.ledger.ledger import Ledger, ids_of
from seedream_jobs.ledger.lock import lock_file
from seedream_jobs.ledger.paths import paths_for
from seedream_jobs.plans.review import _TreeDisk
from seedream_jobs.plans.revisions import Repository
from tests.canary import CANARY

Run = Callable[..., Any]


def document(command: Run, *arguments: str) -> dict[str, Any]:
    """The plan as data."""
    ended = command("plan", "--format", "json", *arguments)
    assert ended.code == 0, ended.err
    found: dict[str, Any] = json.loads(ended.out)
    return found


def against(command: Run, *arguments: str) -> dict[str, Any]:
    """The numbers of the only job."""
    (job,) = document(command, "--base", "main", *arguments)["jobs"]
    return {name: job["against"][name] for name in ("new", "changed", "pending", "removed")}


def test_nothing_changed_is_nothing_to_review(campaign: Any, command: Run) -> None:
    """A tree held against itself has no job to show, and says so."""
    ended = command("plan", "--base", "main")
    assert (ended.code, ended.out) == (0, "main → work tree\nPlan: nothing to submit.\n")


def test_a_job_that_is_named_is_compared_even_if_nothing_changed(campaign: Any, command: Run) -> None:
    """Its four requests are in the base, and were never submitted."""
    assert against(command, "garden.yaml") == {"new": 0, "changed": 0, "pending": 4, "removed": 0}


def test_a_new_axis_value_is_new_and_its_cause_has_a_line(campaign: Any, command: Run) -> None:
    """Said once for both requests, with the place in the job file."""
    campaign.edit("garden.yaml", "  style:", "  style:\n    - {id: oil, text: oil painting}")
    ended = command("plan", "--base", "main")
    assert "  + 2 new           axis style gained 'oil' (garden.yaml:6)\n" in ended.out
    assert "  + 4 pending       in the base already, not submitted so far\n" in ended.out


def test_other_words_behind_the_same_name_are_a_change(campaign: Any, command: Run) -> None:
    """Same address, other payload: a pair, whose differing words are marked."""
    campaign.edit("garden.yaml", "text: ink painting", "text: fine ink drawing")
    assert against(command) == {"new": 0, "changed": 2, "pending": 2, "removed": 0}
    ended = command("plan", "--base", "main")
    assert "  ~ 2 changed       axis style: 'ink' changed (garden.yaml:7)\n" in ended.out
    ended = command("plan", "--base", "main", "--format", "markdown")
    assert "- a heron in a garden, ink [-painting-]" in ended.out
    assert "+ a heron in a garden, {+fine +}ink {+drawing+}" in ended.out


@pytest.mark.parametrize(
    ("old", "new", "cause"),
    [
        ("in a garden", "in a meadow", "prompt changed (garden.yaml:2)"),
        ("resolution: 2K", "resolution: 3K", "resolution changed from '2K' to '3K' (garden.yaml:2)"),
        ("resolution: 2K", "resolution: 2K, watermark: true", "watermark changed from nothing to true (garden.yaml:2)"),
    ],
)
def test_a_change_of_the_request_is_named(campaign: Any, command: Run, old: str, new: str, cause: str) -> None:
    """What was edited stands there once, not per request."""
    campaign.edit("garden.yaml", old, new)
    assert f"  ~ 4 changed       {cause}\n" in command("plan", "--base", "main").out


def test_a_changed_variable_is_named(campaign: Any, command: Run) -> None:
    """Also where the prompt's own words stayed."""
    campaign.edit("garden.yaml", "request:", "vars: {camera: 35mm}\nrequest:")
    campaign.edit("garden.yaml", "in a garden", "in a garden, {{ camera }}")
    campaign.commit()
    campaign.edit("garden.yaml", "35mm", "50mm")
    assert "  ~ 4 changed       variable camera changed (garden.yaml:2)\n" in command("plan", "--base", "main").out


def test_what_is_no_longer_made_is_removed(campaign: Any, command: Run) -> None:
    """A value taken away; nothing of it was ever paid."""
    campaign.edit("garden.yaml", "[a heron, a tabby cat]", "[a heron]")
    assert against(command) == {"new": 0, "changed": 0, "pending": 2, "removed": 2}
    assert "  - 2 removed       never submitted\n" in command("plan", "--base", "main").out


def test_rewriting_the_file_changes_nothing(campaign: Any, command: Run) -> None:
    """Compared by request key: another layout, other names of axes and another job name are no change."""
    text = """\
# the same requests, written otherwise
version: 1
name: park
matrix:
  technique: [{id: ink, text: ink painting}, {id: photo, text: photography}]
  animal: [a tabby cat, a heron]
request:
  resolution: 2K
  prompt: "{{ animal }} in a garden, {{ technique.text }}"
"""
    campaign.write("garden.yaml", text)
    assert against(command) == {"new": 0, "changed": 0, "pending": 4, "removed": 0}


def test_what_was_paid_is_done_and_not_spent_again(campaign: Any, command: Run) -> None:
    """The manifest has its say: images and money are those of the rest."""
    assert command("run", "garden.yaml", "--emulator", "--detach").code == 0
    campaign.edit("garden.yaml", "[a heron, a tabby cat]", "[a heron, a fox]")
    ended = command("plan", "--base", "main", "--emulator")
    assert "  + 2 new           axis subject gained 'a fox' (garden.yaml:4)\n" in ended.out
    assert "  > 2 running " in ended.out
    assert "  - 2 removed       2 of them in the manifest (kept)\n" in ended.out
    assert "Plan: 2 to submit. At most 2 images, 0.0456 USD" in ended.out


def test_a_job_is_found_by_the_files_it_reads(campaign: Any, command: Run, png: Callable[..., bytes]) -> None:
    """An axis file or a reference image that changed concerns the jobs that read it, and no others."""
    campaign.write("prompts/a.txt", "a fox\n")
    campaign.write("refs/dog.png", png())
    campaign.write(
        "jobs/axis.yaml", 'version: 1\nrequest: {prompt: "{{ p }}"}\nmatrix: {p: {from: ../prompts/a.txt}}\n'
    )
    campaign.write("jobs/image.yaml", "version: 1\nrequest: {prompt: a dog, image_urls: [../refs/dog.png]}\n")
    campaign.write(
        "jobs/glob.yaml",
        'version: 1\nrequest: {prompt: x, image_urls: ["{{ f }}"]}\nmatrix: {f: {glob: "../refs/*.png"}}\n',
    )
    campaign.commit()
    campaign.write("notes.txt", "nothing to do with it")
    assert document(command, "--base", "main")["jobs"] == []
    campaign.write("prompts/a.txt", "a fox\nan owl\n")
    assert [job["path"] for job in document(command, "--base", "main")["jobs"]] == ["jobs/axis.yaml"]
    campaign.git("checkout", "-q", "prompts")
    campaign.write("refs/dog.png", png(80))
    paths = [job["path"] for job in document(command, "--base", "main")["jobs"]]
    assert paths == ["jobs/glob.yaml", "jobs/image.yaml"]
    assert "the image refs/dog.png changed (jobs/image.yaml:2)" in command("plan", "--base", "main").out


def test_both_revisions_are_read_from_git(campaign: Any, command: Run) -> None:
    """With --head the work tree does not matter: neither its job files nor its axis files nor its manifests."""
    campaign.write("animals.txt", "a fox\n")
    campaign.edit("garden.yaml", "[a heron, a tabby cat]", "{from: animals.txt}")
    head = campaign.commit()
    campaign.write("garden.yaml", "broken: [")
    campaign.write("animals.txt", "an owl\n")
    campaign.write("garden.manifest.jsonl", "broken")
    found = document(command, "--base", f"{head}~1", "--head", head)
    assert found["head"] == {"commit": head, "name": head}
    (job,) = found["jobs"]
    assert (job["against"]["new"], job["against"]["removed"]) == (2, 4)
    assert {change["payload"]["prompt"] for change in job["changes"]} == {
        "a fox in a garden, photography",
        "a fox in a garden, ink painting",
    }


def test_a_manifest_of_the_head_revision_counts(campaign: Any, command: Run) -> None:
    """What the head's manifest records as paid is not to be submitted, whatever lies on disk."""
    assert command("run", "garden.yaml", "--emulator", "--detach").code == 0
    made = (campaign.folder / ".seedream/emulator/garden.manifest.jsonl").read_text(encoding="utf-8")
    made = re.sub('"crc":"[0-9a-f]{8}",', "", made)  # a line that is edited has no checksum any more
    campaign.write("garden.manifest.jsonl", made.replace('"origin":"emulator"', '"origin":"https://api.apimart.ai"'))
    head = campaign.commit()
    (campaign.folder / "garden.manifest.jsonl").unlink()
    (job,) = document(command, "garden.yaml", "--base", head, "--head", head)["jobs"]
    assert job["counts"] == {"resume": 4}


def test_a_job_renamed_with_its_record_is_neither_loss_nor_claim(campaign: Any, command: Run) -> None:
    """The same lines under another name pass, and the plan says so; a line that is lost on the way does not."""
    assert command("run", "garden.yaml", "--emulator", "--detach").code == 0
    made = (campaign.folder / ".seedream/emulator/garden.manifest.jsonl").read_text(encoding="utf-8")
    made = re.sub('"crc":"[0-9a-f]{8}",', "", made)
    campaign.write("garden.manifest.jsonl", made.replace('"origin":"emulator"', '"origin":"https://api.apimart.ai"'))
    before = campaign.commit()
    campaign.git("mv", "garden.yaml", "park.yaml")
    for named in ("plan", "status", "gallery"):  # only a half is renamed: each says which one is missing
        ended = command(named, "park.yaml")
        assert "park.yaml" in ended.err
        assert "git mv garden.manifest.jsonl park.manifest.jsonl" in ended.err
    campaign.git("mv", "garden.manifest.jsonl", "park.manifest.jsonl")
    for head in ((), ("--head", campaign.commit())):
        ended = command("plan", "--base", before, *head)
        assert ended.code == 0, ended.err
        assert "  renamed from garden.yaml, with its record\n" in ended.out
        assert "Plan: nothing to submit.\n" in ended.out
        assert ended.err == ""
    (job,) = document(command, "--base", before)["jobs"]
    assert {name: job["against"][name] for name in ("new", "changed", "removed")} == dict.fromkeys(
        ("new", "changed", "removed"), 0
    )
    lines = (campaign.folder / "park.manifest.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    campaign.write("park.manifest.jsonl", "".join(lines[:-1]))
    ended = command("plan", "--base", before)
    assert ended.code == 1
    assert "the next run would pay for it again" in ended.err
    campaign.git("checkout", "-q", "HEAD", "park.manifest.jsonl")
    campaign.git("mv", "park.manifest.jsonl", "other.manifest.jsonl")  # the record alone
    assert "git mv other.manifest.jsonl park.manifest.jsonl" in command("plan", "park.yaml").err


def test_a_pointer_in_place_of_an_image_is_a_finding(campaign: Any, command: Run, png: Callable[..., bytes]) -> None:
    """Git holds the pointer; at the head it is an error of its own, in the base a reason not to compare."""
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 12345\n"
    campaign.write("dog.png", pointer)
    campaign.write("dog.yaml", "version: 1\nrequest: {prompt: a dog, image_urls: [dog.png]}\n")
    head = campaign.commit()
    ended = command("plan", "dog.yaml", "--base", "main~1", "--head", head)
    assert ended.code == 1
    assert "is a Git LFS pointer, not an image" in ended.err
    campaign.write("dog.png", png())
    ended = command("plan", "--base", "main")
    assert ended.code == 0
    assert "is a Git LFS pointer, not an image): nothing to compare with, every request is new" in ended.out


def test_errors_in_the_base_are_said_and_do_not_block_the_repair(campaign: Any, command: Run) -> None:
    """One line; everything is new then."""
    good = (campaign.folder / "garden.yaml").read_text(encoding="utf-8")
    campaign.edit("garden.yaml", "resolution: 2K", "resolution: 9K")
    campaign.commit()
    campaign.write("garden.yaml", good)
    ended = command("plan", "--base", "main")
    assert ended.code == 0
    (line,) = [line for line in ended.out.splitlines() if "main:garden.yaml" in line]
    assert line.startswith("  main:garden.yaml:2:")
    assert line.endswith("nothing to compare with, every request is new")
    assert "  + 4 new\n" in ended.out


def test_errors_at_the_head_are_findings(campaign: Any, command: Run) -> None:
    """With their places; those of a revision that is not on disk say which one."""
    campaign.edit("garden.yaml", "resolution: 2K", "resolution: 9K")
    ended = command("plan", "--base", "main")
    assert ended.code == 1
    assert "\ngarden.yaml:2:" in "\n" + ended.err
    head = campaign.commit()
    ended = command("plan", "--base", "main~1", "--head", head[:12])
    assert ended.code == 1
    assert f"{head[:12]}:garden.yaml:2:" in ended.err


def test_a_new_and_a_removed_job_file(campaign: Any, command: Run) -> None:
    """Absent in one tree: everything is new, or everything is removed, each in one line."""
    campaign.git("mv", "garden.yaml", "park.yaml")
    campaign.edit("park.yaml", "garden,", "park,")
    ended = command("plan", "--base", "main")
    assert "  park.yaml is not in main: every request is new\n" in ended.out
    assert "  garden.yaml was removed; its manifest and images are kept\n" in ended.out
    assert "  - 4 removed       never submitted\n" in ended.out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--base", "nowhere"], "unknown revision 'nowhere'"),
        (["--base", "main", "--head", "nowhere"], "unknown revision 'nowhere'"),
        (["--base", "--help-all"], "unknown revision '--help-all'"),
        (["--base", ""], "unknown revision ''"),
        (["--base", "HEAD:garden.yaml"], "unknown revision 'HEAD:garden.yaml'"),
        (["absent.yaml", "--base", "main"], "absent.yaml is neither in 'main' nor the work tree"),
        (["absent.yaml", "--base", "main", "--head", "main"], "absent.yaml is neither in 'main' nor 'main'"),
        (["../elsewhere.yaml", "--base", "main"], "is not in a git repository"),
        (["--head", "main"], "--head needs --base"),
    ],
)
def test_bad_input_is_one_line(campaign: Any, command: Run, arguments: list[str], said: str) -> None:
    """What is wrong, and a hint; exit code 2."""
    ended = command("plan", *arguments)
    assert ended.code == 2
    errors = [line for line in ended.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert said in errors[0]
    assert len(ended.err.splitlines()) <= 2


def test_outside_git_there_is_nothing_to_compare(campaign: Any, command: Run) -> None:
    """One line that says so."""
    shutil.rmtree(campaign.folder / ".git")
    ended = command("plan", "garden.yaml", "--base", "main")
    assert ended.code == 2
    assert "is not in a git repository, so there is no revision to compare with" in ended.err


def test_a_shallow_clone_without_the_base_says_how_to_get_it(
    campaign: Any, command: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As CI checks out unless it is told otherwise."""
    base = campaign.git("rev-parse", "HEAD")
    campaign.commit("second")
    clone = tmp_path / "clone"
    campaign.git("clone", "-q", "--depth", "1", campaign.folder.as_uri(), str(clone))
    monkeypatch.chdir(clone)
    ended = command("plan", "garden.yaml", "--base", base)
    assert ended.code == 2
    assert "is not in this shallow clone" in ended.err
    assert "fetch-depth: 0" in ended.err


def test_a_change_is_held_against_the_policy_of_the_base(campaign: Any, command: Run) -> None:
    """A pull request that loosens the policy is still held against the old one."""
    campaign.write("policy.yaml", "version: 1\nmax_requests: 4\n")
    campaign.commit()
    campaign.write("policy.yaml", "version: 1\nmax_requests: 400\n")
    campaign.edit("garden.yaml", "[a heron, a tabby cat]", "[a heron, a tabby cat, a fox]")
    ended = command("plan", "--base", "main")
    assert ended.code == 1
    assert "error[policy-max-requests]" in ended.err
    assert "main:policy.yaml:2:1" in ended.err


def test_planning_opens_no_socket_and_needs_no_key(campaign: Any) -> None:
    """Not even a look-up: an audit hook ends the process at the first socket."""
    campaign.edit("garden.yaml", "a heron", "a fox")
    script = (
        "import sys\n"
        "def forbid(event, arguments):\n"
        "    if event.startswith('socket.') and event != 'socket.gethostname': __import__('os')._exit(99)\n"
        "sys.addaudithook(forbid)\n"
        "from seedream_jobs.cli.main import run_command\n"
        "sys.exit(run_command(['plan', '--base', 'main', '-o', 'plan.json']))\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script], cwd=campaign.folder, capture_output=True, text=True, check=False, timeout=60
    )
    assert (ended.returncode, "Plan: 4 to submit." in ended.stdout) == (0, True), ended.stderr


def test_a_pointer_in_place_of_an_axis_file_is_a_finding(campaign: Any, command: Run) -> None:
    """Its lines would else be prompts, and be paid for."""
    campaign.write("animals.txt", f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 12\n")
    campaign.edit("garden.yaml", "[a heron, a tabby cat]", "{from: animals.txt}")
    ended = command("plan", "garden.yaml")
    assert ended.code == 1
    assert "'animals.txt' is a Git LFS pointer, not the file itself" in ended.err


def test_several_jobs_are_summed_up(campaign: Any, command: Run) -> None:
    """Per job, and in all."""
    campaign.write("park.yaml", (campaign.folder / "garden.yaml").read_text(encoding="utf-8").replace("garden", "park"))
    campaign.edit("garden.yaml", "[a heron, a tabby cat]", "[a heron, a fox]")
    ended = command("plan", "--base", "main")
    assert "\nIn all: 6 new, 2 pending, 2 removed.\nPlan: 8 to submit." in ended.out
    assert "\nIn all: 6 new, 2 pending, 2 removed.\n" in command("plan", "--base", "main", "--format", "markdown").out


def test_two_files_of_one_record_are_refused(campaign: Any, command: Run) -> None:
    """As without --base."""
    campaign.write("garden.yml", (campaign.folder / "garden.yaml").read_text(encoding="utf-8"))
    ended = command("plan", "garden.yaml", "garden.yml", "--base", "main")
    assert (ended.code, "would share garden.manifest.jsonl" in ended.err) == (2, True)


def test_from_a_folder_below_files_are_named_from_there(
    campaign: Any, command: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A person reads paths from where they are; annotations name them from the top."""
    campaign.edit("garden.yaml", "a heron", "a fox")
    (campaign.folder / "sub").mkdir()
    monkeypatch.chdir(campaign.folder / "sub")
    assert "axis subject gained 'a fox' (../garden.yaml:4)" in command("plan", "--base", "main").out
    ended = command("plan", "../garden.yaml", "--base", "main", "--format", "github")
    assert ended.out.startswith("::notice file=garden.yaml,line=4,")


def test_an_empty_plan_can_be_saved_and_run(campaign: Any, command: Run) -> None:
    """So that CI needs no exception for a change that submits nothing."""
    assert command("plan", "--base", "main", "--emulator", "-o", "plan.json").code == 0
    assert command("run", "plan.json", "--emulator").code == 0


def test_a_set_value_only_matters_to_the_jobs_of_the_change(campaign: Any, command: Run) -> None:
    """An untouched job without the variable does not stand in the way; one that is concerned does."""
    campaign.write("camera.yaml", 'version: 1\nvars: {camera: 35mm}\nrequest: {prompt: "a fox, {{ camera }}"}\n')
    ended = command("plan", "--base", "main", "--set", "camera=50mm")
    assert (ended.code, "camera: 1 request" in ended.out) == (0, True), ended.err
    campaign.edit("garden.yaml", "a heron", "a fox")
    ended = command("plan", "--base", "main", "--set", "camera=50mm")
    assert (ended.code, "camera" in ended.err) == (2, True)


def test_a_record_that_git_ignores_is_refused_before_anything_is_paid(
    campaign: Any, command: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its line is named, by the plan as a warning; once it is tracked, or the line negated, nothing is said."""
    monkeypatch.setenv("APIMART_API_KEY", CANARY)
    monkeypatch.setenv("APIMART_BASE_URL", "http://127.0.0.1:9")
    campaign.write(".gitignore", "out/\n*.jsonl\n")
    warned = command("plan", "garden.yaml")
    assert (warned.code, ".gitignore:2:1: warning[record-ignored]" in warned.err) == (0, True)
    refused = command("run", "garden.yaml", "--yes")
    assert (refused.code, ".gitignore:2:1: error[record-ignored]" in refused.err) == (1, True)
    assert "remove the line '*.jsonl' there" in refused.err
    assert not (campaign.folder / "garden.manifest.jsonl").exists()
    assert "record-ignored" not in command("plan", "garden.yaml", "--emulator").err
    campaign.write(".gitignore", "*.jsonl\n!*.manifest.jsonl\n")
    assert "record-ignored" not in command("plan", "garden.yaml").err


@pytest.mark.parametrize("without", ["blob:none", "tree:0"])
@pytest.mark.parametrize("head", [[], ["--head", "HEAD"]])
def test_a_partial_clone_without_the_objects_says_how_to_get_them(
    campaign: Any, command: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, without: str, head: list[str]
) -> None:
    """Nothing is fetched, no job and no record goes unseen; after the command that it names the plan is made."""
    campaign.edit("garden.yaml", "a heron", "a fox")
    campaign.commit("second")
    campaign.git("config", "uploadpack.allowFilter", "true")
    clone = tmp_path / "clone"
    campaign.git("clone", "-q", f"--filter={without}", campaign.folder.as_uri(), str(clone))
    monkeypatch.chdir(clone)
    ended = command("plan", "--base", "HEAD~1", *head)
    assert (ended.code, "is not in this clone (a partial one)" in ended.err) == (2, True), ended.err
    assert "git fetch --refetch --no-filter" in ended.err
    campaign.git("-C", str(clone), "fetch", "-q", "--refetch", "--no-filter")
    ended = command("plan", "--base", "HEAD~1", *head)
    assert (ended.code, "2 to submit" in ended.out or "2 new" in ended.out) == (0, True), ended.out + ended.err


def test_a_git_that_breaks_off_hides_no_job(campaign: Any, command: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error, not a file that is not there: the job would be left out of the review."""
    campaign.edit("garden.yaml", "a heron", "a fox")
    reader = Repository._reader

    def dying(repository: Repository) -> Any:
        found = reader(repository)
        found.kill()
        found.wait()
        return found

    monkeypatch.setattr(Repository, "_reader", dying)
    ended = command("plan", "--base", "main")
    assert (ended.code, "git broke off" in ended.err) == (2, True), ended.out + ended.err


def test_a_run_on_disk_does_not_hold_the_record_of_a_commit(campaign: Any, command: Run) -> None:
    """The plan of a revision is of what it holds, whatever is locked in the work tree."""
    assert command("plan", "garden.yaml", "-o", "plan.json").code == 0  # makes the manifest
    (campaign.folder / "plan.json").unlink()
    campaign.commit("record")
    paths = paths_for(campaign.folder / "garden.yaml")
    for lock in (paths.lock, paths.lock_of(ids_of(paths.manifest)[0])):
        assert lock is not None
        held = lock_file(lock, command="run", now=1)
        tree = Repository(campaign.folder)
        found = Ledger.peek(
            paths, root=campaign.folder, fs=_TreeDisk(tree.tree(tree.revision("HEAD")), campaign.folder)
        )
        assert found.held_by is None
        held.release()
        tree.close()
