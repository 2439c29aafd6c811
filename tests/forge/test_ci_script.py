"""The script of CI, run as a runner runs it: outputs, the mark before spending, the record after it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest


def submitted(runner: Any) -> int:
    """How many tasks the service's books hold."""
    with urllib.request.urlopen(f"{runner.environment['APIMART_BASE_URL']}/emulator/books", timeout=60) as reply:
        return int(json.load(reply)["posts"]["accepted"])


def test_plan_sets_the_outputs_and_the_summary(runner: Any) -> None:
    """No key, and the numbers are those of the whole change; at the first push of a branch those of every job."""
    without = {name: value for name, value in runner.environment.items() if not name.startswith("APIMART")}
    runner.environment = without
    ended = runner.step("plan", SJ_BASE="base")
    assert ended.code == 0, ended.err
    assert ended.outputs["requests"] == "8"
    assert ended.outputs["images"] == "8"
    assert ended.outputs["max_usd"] == "0.1824"
    assert re.fullmatch("sha256:[0-9a-f]{64}", ended.outputs["digest"])
    assert ended.summary.startswith("<!-- seedream-jobs: plan -->\n")
    assert (runner.checkout / "seedream-plan.md").read_text(encoding="utf-8") == ended.summary
    assert "not in this plan" not in ended.summary
    ended = runner.step("plan", SJ_BASE="0" * 40)  # so the forge says that there was nothing before it
    assert ended.code == 0, ended.err
    assert ended.outputs["requests"] == "8"


def test_a_change_of_no_job_costs_nothing(runner: Any) -> None:
    """The step succeeds and says so; the run step is not for it."""
    ended = runner.step("plan", SJ_BASE="HEAD")
    assert ended.code == 0, ended.err
    assert (ended.outputs["requests"], ended.outputs["images"]) == ("0", "0")
    assert "not in this plan" in ended.summary  # the run of what was merged before never came about
    assert ended.summary.endswith("\n- `garden.yaml`: 8\n")


def test_hostile_names_and_prompts_are_no_commands(runner: Any) -> None:
    """A prompt, a file name and a job list full of shell and workflow commands do nothing."""
    name = "a$(touch pwned)`touch pwned`;touch pwned.yaml"
    prompt = "$(touch pwned) `touch pwned`\\n::set-output name=digest::evil\\n##[error]x"
    job = f'version: 1\nname: x\nrequest: {{prompt: "{prompt}"}}\n'
    (runner.checkout / name).write_text(job, encoding="utf-8")
    ended = runner.step("plan", SJ_BASE="base", SJ_JOBS=f"{name}\n", GITHUB_ACTIONS="true")
    assert ended.code == 0, ended.err
    assert ended.outputs["requests"] == "1"
    assert not list(runner.checkout.glob("pwned*"))
    assert not re.search(r"^(::set-output|##\[)", ended.out, re.MULTILINE)


def test_errors_end_the_step_and_leave_a_report(runner: Any) -> None:
    """The exit code is the program's; there is no digest to approve, and a stale plan is gone."""
    (runner.checkout / "seedream-plan.json").write_text("{}", encoding="utf-8")
    (runner.checkout / "garden.yaml").write_text("version: 1\nrequest: {promt: x}\n", encoding="utf-8")
    ended = runner.step("plan", SJ_BASE="base", GITHUB_ACTIONS="true", SJ_CODE_QUALITY="quality.json")
    assert ended.code == 1
    assert "garden.yaml:2:11: error[unknown-field]" in ended.err
    assert "::error file=garden.yaml,line=2," in ended.out
    assert ended.outputs == {}
    assert "unknown-field" in ended.summary
    assert (
        json.loads((runner.checkout / "quality.json").read_text(encoding="utf-8"))[0]["check_name"] == "unknown-field"
    )
    assert not (runner.checkout / "seedream-plan.json").exists()
    ended = runner.step("plan", SJ_BASE="no-such-revision")
    assert (ended.code, "There is no plan" in ended.summary) == (2, True)


def test_run_marks_spends_and_records(runner: Any, variables: Mapping[str, str]) -> None:
    """First the mark, then the manifest; both pushed, both fast-forward; the mark is gone at the end."""
    ended = runner.step("run", **variables)
    assert ended.code == 0, ended.err
    assert submitted(runner) == 8
    remote = runner.git("ls-remote", "origin", "refs/heads/main").split()[0]
    assert remote == runner.git("rev-parse", "HEAD")
    digest = variables["SJ_EXPECT"]
    assert runner.git("log", "--format=%s").splitlines() == [
        f"plan {digest}: the record",
        f"plan {digest} started",
        "change",
        "base",
    ]
    assert runner.git("ls-files", "*.manifest.jsonl", ".seedream-started") == "garden.manifest.jsonl"
    assert runner.git("log", "--format=%b", "-2").split("\n") == ["[skip ci]", "", "[skip ci]"]
    *mark, lock = runner.git("show", "HEAD~1:.seedream-started").split("\n")
    assert mark == [f"plan {digest} started", "https://ci.example/1"]
    assert re.fullmatch("lock [0-9a-f]{40}", lock)
    assert "refs/seedream-jobs/lock" not in runner.git("ls-remote", "origin"), "the record is pushed, the lock is free"
    manifest = runner.git("show", "HEAD:garden.manifest.jsonl").splitlines()
    assert sum('"state":"accepted"' in line for line in manifest) == 8
    assert ended.outputs == {"status": "0"}
    ended = runner.step("run", **variables)
    assert ended.code == 7, "a step that is run again on the recorded branch is refused by the used plan"
    assert submitted(runner) == 8


def test_a_split_record_is_pushed_with_all_of_its_files(runner: Any, variables: Mapping[str, str]) -> None:
    """Each part, and git's rules for them, and the next plan finds nothing to submit."""
    split = [sys.executable, "-m", "seedream_jobs", "manifest", "split", "garden.yaml"]
    subprocess.run(split, cwd=runner.checkout, env=runner.environment, check=True, capture_output=True)
    ended = runner.step("run", **variables)
    assert ended.code == 0, ended.err
    assert submitted(runner) == 8
    there = runner.git("ls-tree", "-r", "--name-only", "origin/main", "garden.manifest").splitlines()
    assert len(there) == 17
    assert sum(runner.git("show", f"origin/main:{one}").count('"state":"accepted"') for one in there) == 8
    assert runner.git("status", "--porcelain", "garden.manifest", "garden.manifest.jsonl") == ""
    ended = runner.step("plan", SJ_BASE="base", SJ_ALLOW_MANIFEST_ADDITIONS="true")
    assert (ended.code, ended.outputs.get("requests")) == (0, "0"), ended.err


def test_run_pays_nothing_whose_record_git_ignores(runner: Any, variables: Mapping[str, str]) -> None:
    """Else it would end well, and the next run would pay for the same once more."""
    with (runner.checkout / ".gitignore").open("a", encoding="utf-8") as file:
        file.write("*.jsonl\n")
    ended = runner.step("run", **variables)
    assert ended.code == 1
    assert "record-ignored" in ended.err
    assert submitted(runner) == 0


STUB = """printf '{"paid":true}\\n' >garden.manifest.jsonl
"""


def stand_in(runner: Any, folder: Path, script: str) -> None:
    """Have ``script`` in the place of ``seedream-jobs run``; whatever else is asked of Python, Python does."""
    tool = folder / "python"
    tool.write_text(
        f'#!/usr/bin/env bash\n[[ "$*" == "-I -m seedream_jobs run "* ]] || exec {sys.executable} "$@"\n{script}',
        encoding="utf-8",
    )
    tool.chmod(0o755)
    runner.environment["SJ_PYTHON"] = str(tool)


@pytest.mark.parametrize("kept_out", ["by a line of .gitignore", "by a hook"])
def test_run_ends_well_only_with_the_record_in_its_commit(
    kept_out: str, runner: Any, variables: Mapping[str, str], tmp_path: Path
) -> None:
    """Whatever keeps it out: it is added all the same, or the mark stays and the step fails."""
    stand_in(runner, tmp_path, STUB)
    (runner.checkout / ".git" / "info" / "exclude").write_text("*.jsonl\n", encoding="utf-8")
    if kept_out == "by a hook":
        hook = runner.checkout / ".git" / "hooks" / "pre-commit"
        hook.parent.mkdir(exist_ok=True)
        hook.write_text("#!/bin/sh\ngit rm -q --cached --ignore-unmatch garden.manifest.jsonl\n", encoding="utf-8")
        hook.chmod(0o755)
    ended = runner.step("run", **variables)
    runner.git("fetch", "-q", "origin")
    there = runner.git("ls-tree", "-r", "--name-only", "origin/main").splitlines()
    if kept_out == "by a hook":
        assert ended.code == 8
        assert "the record is not in the commit" in ended.err
        assert ".seedream-started" in there  # the next runner sees that something was paid
    else:
        assert ended.code == 0, ended.err
        assert "garden.manifest.jsonl" in there
        assert ".seedream-started" not in there


@pytest.mark.parametrize("left", ["nothing", "another record's journal", "a journal of this plan", "no record"])
def test_the_mark_stays_only_for_what_is_unsettled(
    left: str, runner: Any, variables: Mapping[str, str], tmp_path: Path
) -> None:
    """A journal of a record that this plan is not about stops nobody; a run that ended well has left a record."""
    planned = json.loads((runner.checkout / "seedream-plan.json").read_text(encoding="utf-8"))
    (manifest,) = (job["manifest"] for job in planned["jobs"])
    name = {"another record's journal": "m-other", "a journal of this plan": manifest}.get(left)
    lines = [] if left == "no record" else [STUB]
    if name is not None:
        lines.append(f"mkdir -p .git/seedream-jobs; printf x >.git/seedream-jobs/{name}.journal\n")
    else:
        lines.append("rm -f garden.manifest.jsonl\n" if left == "no record" else "")
    stand_in(runner, tmp_path, "".join(lines))
    ended = runner.step("run", **variables)
    there = runner.git("ls-tree", "-r", "--name-only", "origin/main").splitlines()
    assert ended.code == (8 if left == "no record" else 0), ended.err
    assert (".seedream-started" in there) == (left in ("a journal of this plan", "no record"))


def test_run_ends_well_only_once_the_record_is_on_the_branch(
    runner: Any, variables: Mapping[str, str], tmp_path: Path
) -> None:
    """A forge that takes the push and drops it, here by a hook of the remote."""
    hook = tmp_path / "remote" / "hooks" / "post-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(
        "#!/bin/sh\nread old new name\n"
        "git log -1 --format=%s $new | grep -q 'the record' && git update-ref $name $old || true\n",
        encoding="utf-8",
    )
    hook.chmod(0o755)
    ended = runner.step("run", **variables)
    assert ended.code == 8
    assert "the record on the branch is not the one that lies here" in ended.err
    assert submitted(runner) == 8


def test_links_that_a_change_brings_are_not_written_through(
    runner: Any, variables: Mapping[str, str], tmp_path: Path
) -> None:
    """A mark that leads nowhere is a mark; a report in a link's place is a new file."""
    outside = tmp_path / "outside"
    (runner.checkout / ".seedream-started").symlink_to(outside)
    assert runner.step("run", **variables).code == 6
    assert not outside.exists()
    (runner.checkout / ".seedream-started").unlink()
    report = runner.checkout / "seedream-plan.md"
    report.unlink()
    report.symlink_to(outside)
    assert runner.step("plan", SJ_BASE="base").code == 0
    assert not outside.exists()
    assert report.is_file()
    assert not report.is_symlink()


@pytest.mark.parametrize("name", ["SJ_PLAN", "SJ_REPORT", "SJ_CODE_QUALITY", "SJ_DOTENV"])
def test_no_file_of_the_script_is_written_through_a_link(runner: Any, tmp_path: Path, name: str) -> None:
    """Neither its last part nor a folder of it; a link in the place of the file gives way to the file."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "victim").write_text("precious")
    file = runner.checkout / "written.json"
    file.symlink_to(outside / "victim")
    assert runner.step("plan", SJ_BASE="base", **{name: "written.json"}).code == 0
    assert not file.is_symlink()
    assert file.stat().st_size
    (runner.checkout / "away").symlink_to(outside)
    ended = runner.step("plan", SJ_BASE="base", **{name: "away/written.json"})
    assert ended.code == 1
    assert "leads out of the checkout" in ended.err
    assert [(one.name, one.read_text()) for one in outside.iterdir()] == [("victim", "precious")]


def test_the_step_with_the_key_writes_through_no_link(
    runner: Any, variables: Mapping[str, str], tmp_path: Path
) -> None:
    """What it leaves for the next step is a file of its own, in the checkout; else nothing is sent."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "victim").write_text("precious")
    (runner.checkout / "away").symlink_to(outside)
    ended = runner.step("run", **variables, SJ_DOTENV="away/seedream.env")
    assert (ended.code, submitted(runner)) == (1, 0)
    assert "leads out of the checkout" in ended.err
    (runner.checkout / "seedream.env").symlink_to(outside / "victim")
    assert runner.step("run", **variables, SJ_DOTENV="seedream.env").code == 0
    assert "SEEDREAM_STATUS=0\n" in (runner.checkout / "seedream.env").read_text()
    assert not (runner.checkout / "seedream.env").is_symlink()
    assert [(one.name, one.read_text()) for one in outside.iterdir()] == [("victim", "precious")]


def test_what_was_left_out_is_named_in_code_of_markdown(runner: Any) -> None:
    """A name of another job is a stranger's: it stands as everywhere in the comment."""
    name = "a @someone.yaml"
    (runner.checkout / name).write_text("version: 1\nrequest: {prompt: left out}\n", encoding="utf-8")
    for words in (["add", "-A"], ["commit", "-q", "-m", "x"]):
        subprocess.run(["git", "-c", "user.name=x", "-c", "user.email=x@x", *words], cwd=runner.checkout, check=True)
    assert runner.step("plan", SJ_BASE="HEAD", SJ_JOBS="garden.yaml\n").code == 0
    assert "- `a @someone.yaml`: 1" in (runner.checkout / "seedream-plan.md").read_text("utf-8")


def test_records_of_a_change_are_refused_unless_somebody_says_a_run_wrote_them(
    runner: Any, variables: Mapping[str, str]
) -> None:
    """As where a person ran the job by hand, and pushed its manifest."""
    assert runner.step("run", **{**variables, "SJ_ARGS": ""}).code == 0
    ended = runner.step("plan", SJ_BASE="base")
    assert (ended.code, "error[manifest-added]" in ended.err) == (1, True)
    here = {"GITHUB_RUN_ID": "7", "GITHUB_SERVER_URL": "https://forge.example", "GITHUB_REPOSITORY": "o/r"}
    ended = runner.step("plan", SJ_BASE="base", SJ_ALLOW_MANIFEST_ADDITIONS="true", **here)
    assert ended.code == 0, ended.err
    report = (runner.checkout / "seedream-plan.md").read_text(encoding="utf-8")
    assert "<!-- seedream-jobs: compare -->" in report, "the images of that run are compared, too"
    assert "among [the artifacts](https://forge.example/o/r/actions/runs/7#artifacts)" in report
    assert (runner.checkout / "seedream-compare/compare.md").is_file()
    assert "`seedream-compare/page/index.html`" in report
    assert (runner.checkout / "seedream-compare/page/index.html").is_file()
    url = "https://store.example/7"
    assert runner.step("plan", SJ_BASE="base", SJ_ALLOW_MANIFEST_ADDITIONS="true", SJ_SHEETS_URL=url).code == 0
    report = (runner.checkout / "seedream-plan.md").read_text(encoding="utf-8")
    assert f"]({url}/garden.webp)" in report
    assert f"]({url}/page/index.html#open=garden%2F" in report


@pytest.mark.slow
def test_run_waits_for_the_images(runner: Any, variables: Mapping[str, str]) -> None:
    """Without --detach the record that is pushed says where each image is."""
    ended = runner.step("run", **{**variables, "SJ_ARGS": ""})
    assert ended.code == 0, ended.err
    assert runner.git("show", "origin/main:garden.manifest.jsonl").count('"state":"stored"') == 8
    assert len(list(runner.checkout.glob("out/garden/*.jpeg"))) == 8


def test_run_refuses_what_it_was_not_told(runner: Any, variables: Mapping[str, str]) -> None:
    """Nothing is marked, nothing is spent."""
    before = runner.git("rev-parse", "HEAD")
    for changes in (
        {"SJ_EXPECT": ""},
        {"SJ_EXPECT": "sha256:abc"},
        {"SJ_BRANCH": ""},
        {"SJ_BRANCH": "a b"},
        {"SJ_PLAN": "none.json"},
    ):
        assert runner.step("run", **{**variables, **changes}).code == 2, changes
    assert runner.git("rev-parse", "HEAD") == before
    assert submitted(runner) == 0
    ended = runner.step("run", **{**variables, "SJ_EXPECT": "sha256:" + "0" * 64})
    assert ended.code == 7, "the plan's file is not believed"
    assert submitted(runner) == 0
    assert runner.git("ls-files", ".seedream-started") == ""


def test_a_branch_that_moved_on_is_not_run_over(runner: Any, variables: Mapping[str, str], tmp_path: Path) -> None:
    """The mark is pushed fast-forward only: two runners can't both start."""
    other = tmp_path / "other"
    subprocess.run(["git", "clone", "-q", str(tmp_path / "remote"), str(other)], check=True, env=runner.environment)
    for words in (["commit", "-q", "--allow-empty", "-m", "meanwhile"], ["push", "-q", "origin", "main"]):
        subprocess.run(["git", *words], cwd=other, check=True, env=runner.environment)
    ended = runner.step("run", **variables)
    assert ended.code == 7
    assert "Nothing was submitted" in ended.err
    assert submitted(runner) == 0


def _until(condition: Any) -> None:
    for _ in range(600):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("it never came to that")


def _clone(runner: Any, tmp_path: Path) -> Any:
    """The next runner: a fresh checkout of the branch, with the plan's artifact."""
    checkout = tmp_path / "next"
    subprocess.run(["git", "clone", "-q", str(tmp_path / "remote"), str(checkout)], check=True, env=runner.environment)
    (checkout / "seedream-plan.json").write_bytes((runner.checkout / "seedream-plan.json").read_bytes())
    return type(runner)(checkout=checkout, environment=runner.environment, files=runner.files, children=runner.children)


def test_a_runner_that_died_is_seen_by_the_next(runner: Any, variables: Mapping[str, str], tmp_path: Path) -> None:
    """Killed while it spent: the next one refuses; with the journal it goes on, paying nothing twice."""
    child = runner.start("run", **{**variables, "SJ_ARGS": "--detach\n--rate\n120/m\n--concurrency\n1"})
    _until(lambda: submitted(runner) >= 2)
    os.killpg(child.pid, signal.SIGKILL)
    runner.end(child)
    following = _clone(runner, tmp_path)
    ended = following.step("run", **variables)
    assert ended.code == 6, ended.err
    assert "earlier run is unsettled" in ended.err
    assert submitted(runner) < 8
    (following.checkout / "garden.manifest.jsonl").write_bytes((runner.checkout / "garden.manifest.jsonl").read_bytes())
    (following.checkout / ".git" / "seedream-jobs").mkdir()
    for kept in (runner.checkout / ".git" / "seedream-jobs").glob("*.journal"):
        (following.checkout / ".git" / "seedream-jobs" / kept.name).write_bytes(kept.read_bytes())
    (runner.checkout / "garden.manifest.jsonl").unlink()  # that machine is gone
    ended = following.step("run", **variables, SJ_RESUME="true")
    in_doubt = ended.code == 6
    assert ended.code in (0, 6), ended.err
    assert submitted(runner) <= 8
    assert submitted(runner) == 8 or in_doubt
    assert following.git("ls-files", "*.manifest.jsonl") == "garden.manifest.jsonl"


def test_a_cancelled_job_gets_to_write_its_record(runner: Any, variables: Mapping[str, str]) -> None:
    """The forge signals the shell alone; the process hears it, what was submitted is pushed, the code says so."""
    child = runner.start("run", **{**variables, "SJ_ARGS": "--detach\n--rate\n60/m\n--concurrency\n1"})
    _until(lambda: submitted(runner) >= 1)
    os.kill(child.pid, signal.SIGTERM)
    ended = runner.end(child)
    assert ended.code == 143, ended.err
    paid = submitted(runner)
    assert 1 <= paid < 8
    manifest = runner.git("show", "origin/main:garden.manifest.jsonl")
    assert manifest.count('"task_id"') == paid
    assert runner.git("log", "--format=%s", "-1", "origin/main").endswith(": the record")


@pytest.mark.slow
def test_the_record_survives_a_branch_that_moves_meanwhile(
    runner: Any, variables: Mapping[str, str], tmp_path: Path
) -> None:
    """Somebody merges while images are made: the record is merged with that, never forced over it."""
    child = runner.start("run", **{**variables, "SJ_ARGS": "--detach\n--rate\n120/m\n--concurrency\n1"})
    _until(lambda: submitted(runner) >= 1)
    other = tmp_path / "other"
    subprocess.run(["git", "clone", "-q", str(tmp_path / "remote"), str(other)], check=True, env=runner.environment)
    (other / "note.txt").write_text("meanwhile\n", encoding="utf-8")
    for words in (["add", "."], ["commit", "-q", "-m", "meanwhile"], ["push", "-q", "origin", "main"]):
        subprocess.run(["git", *words], cwd=other, check=True, env=runner.environment)
    ended = runner.end(child)
    assert ended.code == 0, ended.err
    assert runner.git("show", "origin/main:note.txt") == "meanwhile"
    assert runner.git("show", "origin/main:garden.manifest.jsonl").count('"state":"accepted"') == 8


GH = """#!/usr/bin/env bash
printf '%s\\n' "$*" >>"$GH_LOG"
case "$*" in *--paginate*) [[ -z "$GH_KNOWN" ]] || printf '%s\\n' "$GH_KNOWN" ;; esac
"""


@pytest.mark.parametrize(
    ("known", "call"),
    [
        ("", "--method POST repos/o/r/issues/12/comments -F body=@seedream-plan.md"),
        ("345\n678", "--method PATCH repos/o/r/issues/comments/345 -F body=@seedream-plan.md"),
        ("345" + "\n678" * 20_000, "--method PATCH repos/o/r/issues/comments/345 -F body=@seedream-plan.md"),
        ("evil$(x)", "--method POST repos/o/r/issues/12/comments -F body=@seedream-plan.md"),
    ],
)
def test_one_comment_is_found_again(known: str, call: str, runner: Any, tmp_path: Path) -> None:
    """Written once, then edited; the text comes from the file, never from the command line."""
    tool = tmp_path / "bin" / "gh"
    tool.parent.mkdir()
    tool.write_text(GH, encoding="utf-8")
    tool.chmod(0o755)
    runner.environment["PATH"] = f"{tool.parent}{os.pathsep}{runner.environment['PATH']}"
    settings = {"GH_LOG": str(tmp_path / "calls"), "GH_KNOWN": known, "GITHUB_REPOSITORY": "o/r"}
    ended = runner.step("comment", SJ_PULL_REQUEST="12", **settings)
    assert ended.code == 0, ended.err
    calls = (tmp_path / "calls").read_text(encoding="utf-8").splitlines()
    assert calls[-1] == f"api --silent {call}"
    assert runner.step("comment", SJ_PULL_REQUEST="12; rm", **settings).code == 2


def test_a_changed_selection_is_held_against_the_rules_of_its_base(
    runner: Any, variables: Mapping[str, str], tmp_path: Path
) -> None:
    """Exit 9 names each group that lacks its image; a policy of the change itself lowers nothing."""
    job = runner.checkout / "garden.yaml"
    job.write_text(job.read_text(encoding="utf-8") + "select: {one_per: [season]}\n", encoding="utf-8")
    ended = runner.step("run", **{**variables, "SJ_ARGS": ""})
    assert ended.code == 0, ended.err
    policy = runner.checkout / "policy.yaml"
    strict = policy.read_text(encoding="utf-8") + "selection: {approvals: 2}\n"
    policy.write_text(strict, encoding="utf-8")
    runner.git("add", ".")
    runner.git("commit", "-q", "-m", "rules")
    runner.environment = {name: value for name, value in runner.environment.items() if not name.startswith("APIMART")}
    ended = runner.step("chosen", SJ_BASE="HEAD")
    assert (ended.code, "no selection differs" in ended.err) == (0, True), ended.err
    runner.git("tag", "rules")
    entries = list(map(json.loads, (runner.checkout / "garden.manifest.jsonl").read_text().splitlines()))
    images = {one["cell"]["season"]: one["images"][0]["sha256"] for one in entries if one.get("images")}
    choices = [
        {"address": f"garden/{season}", "sha256": sha256, "verdict": "chosen"} for season, sha256 in images.items()
    ]
    assert len(choices) == 2
    policy.write_text(strict.replace("approvals: 2", "approvals: 1"), encoding="utf-8")
    for who, code in (("Ana", 9), ("Ben", 0)):
        export = {"format": 2, "job": "garden", "reviewer": who, "ratings": [], "choices": choices}
        (tmp_path / "ratings.json").write_text(json.dumps(export), encoding="utf-8")
        command = [sys.executable, "-m", "seedream_jobs", "choose", "garden.yaml", str(tmp_path / "ratings.json")]
        subprocess.run(command, cwd=runner.checkout, env=runner.environment, check=True)
        runner.git("add", ".")
        runner.git("commit", "-q", "-m", f"{who} chose")
        ended = runner.step("chosen", SJ_BASE="rules", GITHUB_ACTIONS="true")
        assert ended.code == code, ended.out + ended.err
        assert ended.out.count("1 of 2 approvals") == (4 if code else 0)  # as annotations, and as lines of the log
        assert ended.summary.count("1 of 2 approvals") == (2 if code else 0)
    (runner.checkout / "selections" / "garden.yaml").write_text("version: 1\nchosen: 7\n", encoding="utf-8")
    runner.git("commit", "-q", "-a", "-m", "damaged")
    ended = runner.step("chosen", SJ_BASE="rules")
    assert (ended.code, "selections/garden.yaml:2" in ended.err) == (1, True), ended.err
    (runner.checkout / "selections" / "park.yaml").write_text("version: 1\n", encoding="utf-8")
    runner.git("rm", "-q", "--cached", "selections/garden.yaml")
    runner.git("add", "selections/park.yaml")
    runner.git("commit", "-q", "-m", "of no job")
    ended = runner.step("chosen", SJ_BASE="rules")
    assert (ended.code, "no job has the name" in ended.err) == (9, True), ended.err


SECRETS = {"AWS_SECRET_ACCESS_KEY": "of-the-store", "AWS_ENDPOINT_URL": "", "PGPASSWORD": "of-the-database"}


def use_claims(runner: Any, store: Path) -> None:
    """The campaign's policy names a store, which somebody has prepared on a machine of their own."""
    store.mkdir()
    policy = runner.checkout / "policy.yaml"
    policy.write_text(f'version: 1\nshared: {{claims: "file://{store}"}}\n', encoding="utf-8")
    runner.git("commit", "-qam", "shared claims")
    runner.git("push", "-q", "origin", "main")
    command = [sys.executable, "-m", "seedream_jobs", "shared", "init"]
    subprocess.run(command, cwd=runner.checkout, env=runner.environment, check=True, capture_output=True)
    (runner.checkout / ".git" / "seedream-jobs" / "shared.json").unlink()


def test_a_run_lets_the_store_of_claims_race_where_it_has_not(
    runner: Any, variables: Mapping[str, str], tmp_path: Path
) -> None:
    """So a campaign with claims runs from the scaffold; only the run, and what asks the store, sees its credentials."""
    pytest.importorskip("obstore")
    use_claims(runner, tmp_path / "store")
    seen = tmp_path / "seen"
    python = tmp_path / "python"
    python.write_text(
        '#!/bin/sh\nprintf "%s %s%s:%s\\n" "$*" "$AWS_SECRET_ACCESS_KEY" "$PGPASSWORD" "${AWS_ENDPOINT_URL-none}" '
        f'>>{seen}\nexec {sys.executable} "$@"\n',
        encoding="utf-8",
    )
    python.chmod(0o755)
    for times in (1, 2):
        ended = runner.step("run", **variables, **SECRETS, SJ_PYTHON=str(python))
        assert (ended.code, submitted(runner)) == (0 if times == 1 else 7, 8), ended.err
        assert ended.err.count("8 at once, 20 times") == (times == 1), "the verdict is kept in this clone"
    with_secrets = {line.split()[2:4][-1] for line in seen.read_text(encoding="utf-8").splitlines() if "of-the" in line}
    assert with_secrets == {"--stores", "doctor", "run"}
    assert ":\n" not in seen.read_text(encoding="utf-8"), "what is empty is not there"
    assert len(list((tmp_path / "store").glob("*/claims/v1-*"))) >= 8


def test_a_store_that_is_refused_stops_the_run_before_its_mark(
    runner: Any, variables: Mapping[str, str], tmp_path: Path
) -> None:
    pytest.importorskip("obstore")
    use_claims(runner, tmp_path / "store")
    (tmp_path / "store" / "format.json").unlink()
    before = runner.git("rev-parse", "HEAD")
    ended = runner.step("run", **variables)
    assert (ended.code, "is not prepared for claims" in ended.err) == (2, True), ended.err
    assert (submitted(runner), runner.git("rev-parse", "HEAD")) == (0, before)


def test_the_client_of_a_store_is_installed_by_its_hashes(
    runner: Any, variables: Mapping[str, str], tmp_path: Path
) -> None:
    """Without the store's credentials and the token that pushes; pip is the only part that this test replaces."""
    pytest.importorskip("obstore")
    use_claims(runner, tmp_path / "store")
    seen, python = tmp_path / "seen", tmp_path / "python"
    python.write_text(
        "#!/bin/sh\n"
        "secrets=$AWS_SECRET_ACCESS_KEY$SEEDREAM_PUSH_TOKEN\n"
        f'case "$*" in *" pip "*) printf "%s %s\\n" "$*" "$secrets" >>{seen}; exit 0;; esac\n'
        f'case "$*" in *--stores) echo "install /the/lock/cloud.txt";; esac\nexec {sys.executable} "$@"\n',
        encoding="utf-8",
    )
    python.chmod(0o755)
    ended = runner.step("run", **variables, **SECRETS, SEEDREAM_PUSH_TOKEN="pushes", SJ_PYTHON=str(python))
    assert ended.code == 0, ended.err
    assert seen.read_text(encoding="utf-8") == "-I -m pip install --quiet --require-hashes -r /the/lock/cloud.txt \n"
