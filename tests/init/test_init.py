"""``init``: a campaign that validates, plans and runs at once, and never a file of somebody's overwritten."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
import yaml

from seedream_jobs import __version__
from seedream_jobs.cli.main import run_command
from seedream_jobs.errors import ExitCode
from seedream_jobs.resources import resource
from seedream_jobs.scaffold import CI_SCRIPT, FOLDER, pieces


@pytest.fixture
def campaign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Path:
    """A new campaign in a git repository, the current folder."""
    assert run_command(["init", str(tmp_path / "new")]) == ExitCode.OK
    monkeypatch.chdir(tmp_path / "new")
    subprocess.run(["git", "init", "-q"], check=True)
    capfd.readouterr()
    return tmp_path / "new"


def test_a_new_campaign_validates_plans_and_runs(campaign: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Without a key, without a word changed, without a warning."""
    assert run_command(["validate", "garden.yaml", "policy.yaml"]) == ExitCode.OK
    said = capfd.readouterr()
    assert (said.out, said.err) == ("", "policy.yaml: valid policy\ngarden.yaml: valid, 8 requests\n")
    assert run_command(["plan", "garden.yaml"]) == ExitCode.OK
    assert run_command(["run", "garden.yaml", "--emulator"]) == ExitCode.OK
    images = list(campaign.glob(".seedream/emulator/out/garden/*.jpeg"))
    assert len(images) == 8
    assert run_command(["plan", "garden.yaml", "--emulator", "--detailed-exitcode"]) == ExitCode.OK


def test_git_sees_the_record_and_not_the_rest(campaign: Path) -> None:
    """Keys, images, journals and rehearsals are ignored; manifests are committed and merged line by line."""
    for name in (
        ".env",
        "out/garden/a.jpeg",
        "garden.manifest.journal",
        "garden.manifest.lock",
        ".seedream/x",
        "ratings.json",
    ):
        assert subprocess.run(["git", "check-ignore", "-q", name]).returncode == 0, name
    for name in ("garden.manifest.jsonl", ".env.example", "garden.yaml", "policy.yaml"):
        assert subprocess.run(["git", "check-ignore", "-q", name]).returncode == 1, name
    said = subprocess.run(
        ["git", "check-attr", "merge", "--", "a/garden.manifest.jsonl"], capture_output=True, text=True, check=True
    )
    assert said.stdout.strip().endswith("merge: union")


def test_what_exists_is_kept(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Each file by itself, a link that leads nowhere, too; a second time nothing is new."""
    (tmp_path / "garden.yaml").write_text("mine\n", encoding="utf-8")
    (tmp_path / "policy.yaml").symlink_to(tmp_path / "elsewhere.yaml")
    assert run_command(["init", str(tmp_path)]) == ExitCode.OK
    assert (tmp_path / "garden.yaml").read_text(encoding="utf-8") == "mine\n"
    assert not (tmp_path / "elsewhere.yaml").exists()
    said = capfd.readouterr().out
    assert f"  kept  {tmp_path / 'garden.yaml'}" in said
    before = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    assert run_command(["init", str(tmp_path)]) == ExitCode.OK
    assert "  new " not in capfd.readouterr().out
    assert before == {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}


def test_a_folder_that_can_t_be_written_is_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A file in the way of a folder."""
    (tmp_path / ".github").write_text("", encoding="utf-8")
    assert run_command(["init", str(tmp_path)]) == ExitCode.USAGE
    assert "can't be written" in capfd.readouterr().err


def test_the_modelines_lead_to_the_schemas_beside_them(campaign: Path) -> None:
    """An editor finds the schema by the first line of each file, and it is the program's own."""
    for name, schema in (("garden.yaml", "job.schema.json"), ("policy.yaml", "policy.schema.json")):
        first = (campaign / name).read_text(encoding="utf-8").splitlines()[0]
        assert first == f"# yaml-language-server: $schema=schemas/{schema}"
        assert (campaign / "schemas" / schema).read_bytes() == resource("schemas", schema).read_bytes()


def test_every_example_has_a_modeline_that_leads_to_the_schema() -> None:
    """The examples of the documentation help an editor, too."""
    examples = sorted(resource("examples").glob("*.yaml"))
    assert examples
    for example in examples:
        first = example.read_text(encoding="utf-8").splitlines()[0]
        assert first.startswith("# yaml-language-server: $schema="), example.name
        found = (example.parent / first.partition("$schema=")[2]).resolve()
        assert json.loads(found.read_text(encoding="utf-8"))["title"] == "seedream-jobs job file"


def test_the_workflow_pins_this_version(campaign: Path) -> None:
    """What CI installs is what wrote the workflow."""
    workflow = yaml.safe_load((campaign / ".github/workflows/campaign.yml").read_text(encoding="utf-8"))
    assert workflow["env"]["PACKAGE"] == f"seedream-jobs=={__version__}"
    assert "@VERSION@" not in "".join(piece.text for piece in pieces())


def test_the_scaffold_ships_whole() -> None:
    """Each file of the folder has its place in a campaign, and the script is where the module says."""
    names = {file.name for file in (FOLDER / "campaign").iterdir()}
    assert len(names) + 2 == len(list(pieces()))
    assert CI_SCRIPT.is_file()
