"""``import seedream_jobs``: what the commands say, as values; nothing is written, paid or connected to."""

from __future__ import annotations

import doctest
import json
import os
import re
import shutil
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import seedream_jobs
from seedream_jobs import images, load, plan, read_manifest
from seedream_jobs.errors import FindingsError, HeldError, UsageError

ROOT = Path(__file__).parents[2]


def seedream(*words: str, cwd: Path) -> str:
    """What a command writes to stdout."""
    command = [sys.executable, "-m", "seedream_jobs", *words]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where ``seedream-jobs demo`` was run."""
    folder = tmp_path_factory.mktemp("demo")
    seedream("demo", cwd=folder)
    return folder


@pytest.fixture
def here(demo: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The campaign that the demo made, as the current folder."""
    monkeypatch.chdir(demo / "seedream-demo")
    return demo / "seedream-demo"


@pytest.mark.parametrize("emulator", [False, True])
def test_a_plan_is_the_commands(here: Path, emulator: bool) -> None:
    """Requests, images and money, of the paid run and of the rehearsal."""
    option = ["--emulator"] if emulator else []
    said = json.loads(seedream("plan", "quickstart.yaml", *option, "--limit", "5", "--format", "json", cwd=here))
    made = plan(load("quickstart.yaml", emulator=emulator), limit=5)
    assert (made.submit, made.images) == (said["requests_to_submit"], said["max_images"])
    assert made.cost == Decimal(said["max_usd"])
    assert made.submit == (0 if emulator else 5)


def test_rows_are_those_of_the_export(here: Path) -> None:
    """The same columns and values; money and times are values and not text, and the file is where it is."""
    lines = seedream("export", "quickstart.yaml", "--emulator", "--format", "jsonl", cwd=here).splitlines()
    rows = images(load("quickstart.yaml", emulator=True))
    assert len(rows) == len(lines) == 12
    for row, said in zip(rows, map(json.loads, lines), strict=True):
        assert list(row) == list(said)
        assert Path(row["file"]) == here / said["file"]
        assert Path(row["file"]).stat().st_size == row["bytes"]
        assert row["cost_usd"] == Decimal(said["cost_usd"])
        assert f"{row['submitted_at']:%Y-%m-%dT%H:%M:%SZ}" == said["submitted_at"]
        same = said.keys() - {"file", "cost_usd", "submitted_at"}
        assert {name: row[name] for name in same} == {name: said[name] for name in same}


def test_a_record_has_its_entries(here: Path) -> None:
    """By its manifest, also that of a rehearsal."""
    record = read_manifest(here / ".seedream/emulator/quickstart.manifest.jsonl")
    assert {entry.key for entry in record.values()} == set(record)
    assert {str(entry.state) for entry in record.values()} == {"stored"}


def test_other_sets_and_prices(here: Path) -> None:
    """``sets`` are ``--set``, ``price`` is ``--price``."""
    job = load(here / "quickstart.yaml", sets={"camera": "pinhole"})
    (first, *_) = plan(job, price=Decimal("0.1"), limit=1).jobs[0].submits
    assert first.request is not None
    assert "pinhole" in first.request.payload["prompt"]
    assert plan(job, price=Decimal("0.1")).cost == Decimal("1.2")


def test_what_is_wrong_is_an_exception_with_the_findings(tmp_path: Path, here: Path) -> None:
    """The findings are shown below the traceback, and the campaign's policy counts."""
    bad = tmp_path / "bad.yaml"
    bad.write_text("version: 1\nrequest: {prompt: a heron, resolution: 3K}\n")
    (tmp_path / "policy.yaml").write_text("version: 1\nresolutions: [2K]\n")
    with pytest.raises(FindingsError) as caught:
        load(bad)
    assert "error[policy-resolution]" in caught.value.__notes__[0]
    with pytest.raises(UsageError, match="no such file"):
        load(tmp_path / "none.yaml")
    with pytest.raises(UsageError, match="no record"):
        read_manifest(here / "quickstart.yaml")
    with pytest.raises(UsageError, match="no job"):
        plan()
    with pytest.raises(TypeError, match="'camera' must be a text"):
        load("quickstart.yaml", sets={"camera": 3})  # type: ignore[dict-item]
    with pytest.raises(UsageError, match="limit is -1"):
        plan(load("quickstart.yaml"), limit=-1)
    for price in (Decimal(-1), Decimal("NaN"), 0.5):
        with pytest.raises(UsageError, match="price is "):
            plan(load("quickstart.yaml"), price=price)  # type: ignore[arg-type]
    paid = _paid(here, tmp_path)
    with pytest.raises(HeldError):
        plan(paid)
    with pytest.raises(UsageError, match="some of the jobs are rehearsals"):
        plan(load("quickstart.yaml", emulator=True), paid)


def _paid(here: Path, folder: Path) -> Any:
    """A job whose record says that another service was paid."""
    shutil.copy(here / "quickstart.yaml", folder)
    record = (here / ".seedream/emulator/quickstart.manifest.jsonl").read_text()
    head, *lines = record.splitlines(keepends=True)
    header = {**json.loads(head), "origin": "https://api.example"}
    del header["crc"]
    (folder / "quickstart.manifest.jsonl").write_text("".join([json.dumps(header) + "\n", *lines]))
    return load(folder / "quickstart.yaml")


READ_ONLY = """
import sys

def refuse(event, arguments):
    path, mode, *_ = (*arguments, None, None)
    if event == "open" and isinstance(path, str) and isinstance(mode, str) and set(mode) & set("wax+"):
        raise AssertionError(f"opened for writing: {arguments[0]}")
    if event in ("os.mkdir", "os.remove", "os.rename", "socket.connect", "socket.bind", "socket.getaddrinfo"):
        raise AssertionError(f"{event} {arguments}")

import seedream_jobs
assert not [name for name in sys.modules if name.startswith("seedream_jobs.")], "import seedream_jobs imports nothing"
sys.addaudithook(refuse)
seedream_jobs.plan(seedream_jobs.load("quickstart.yaml"))
job = seedream_jobs.load("quickstart.yaml", emulator=True)
assert seedream_jobs.images(job) and seedream_jobs.plan(job).submit == 0
assert seedream_jobs.read_manifest(".seedream/emulator/quickstart.manifest.jsonl")
assert not {"httpx", "httpcore", "anyio", "ssl", "PIL"} & set(sys.modules)
if sys.argv[1:]:
    open("seeded", "w")
"""


def test_a_path_in_place_of_a_job_is_told(here: Path) -> None:
    wrong: list[Any] = ["quickstart.yaml", here / "quickstart.yaml", [load(here / "quickstart.yaml")]]
    for one in wrong:
        for function in (plan, images):
            with pytest.raises(
                TypeError, match=rf"a job is needed, not a {type(one).__name__}: load\(PATH\) reads one"
            ):
                function(one)


def test_paid_jobs_and_rehearsals_are_not_planned_together(here: Path) -> None:
    """What a rehearsal has done would count as paid: 0 requests, 0 USD."""
    job = here / "quickstart.yaml"
    with pytest.raises(UsageError, match="some of the jobs are rehearsals"):
        plan(load(job), load(job, emulator=True))


def test_nothing_is_written_and_no_socket_is_opened(demo: Path, tmp_path: Path) -> None:
    """Under git, too; the files are the same afterwards. A seeded write is noticed."""
    folder = tmp_path / "campaign"
    shutil.copytree(demo / "seedream-demo", folder)
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    before = tree(folder)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    for seeded in ([], ["seeded"]):
        ended = subprocess.run(
            [sys.executable, "-B", "-c", READ_ONLY, *seeded],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert ended.returncode == len(seeded), ended.stderr
    assert tree(folder) == before


def tree(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Every file below a folder with its time and content."""
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return {str(file): (file.stat().st_mtime_ns, file.read_bytes()) for file in files}


def test_what_is_offered() -> None:
    """Four functions; another name is no attribute."""
    assert set(seedream_jobs.__all__) == {"__version__", "images", "load", "plan", "read_manifest"}
    with pytest.raises(AttributeError, match="'imagess'"):
        _ = seedream_jobs.imagess  # type: ignore[attr-defined]


def test_the_page_says_what_happens(demo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """docs/python.md is run, block by block."""
    monkeypatch.chdir(demo)
    text = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    blocks = "\n".join(re.findall(r"^```pycon\n(.*?)^```", text, re.MULTILINE | re.DOTALL))
    test = doctest.DocTestParser().get_doctest(blocks, {}, "docs/python.md", "docs/python.md", 0)
    said: list[str] = []
    ended = doctest.DocTestRunner(verbose=False).run(test, out=said.append)
    (demo / "seedream-demo" / "bad.yaml").unlink(missing_ok=True)
    assert ended.failed == 0, "".join(said)
    assert ended.attempted > 15


def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Top to bottom, beside the examples that it uses: what it prints is what it says; it is kept without outputs."""
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    for needed in ("ipykernel", "pandas"):
        pytest.importorskip(needed)
    notebook = nbformat.read(ROOT / "examples" / "notebook.ipynb", as_version=4)
    kept = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell for cell in kept if cell.outputs or cell.execution_count] == []
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent) + os.pathsep + os.environ["PATH"])
    for name in ("JUPYTER_RUNTIME_DIR", "JUPYTER_DATA_DIR", "IPYTHONDIR"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    nbclient.NotebookClient(
        notebook, timeout=120, resources={"metadata": {"path": str(tmp_path / "examples")}}
    ).execute()
    said = "".join(output.get("text", "") for cell in kept for output in cell.outputs)
    assert "12 requests, at most 12 images, 0.2736 USD\n" in said
    assert "0 requests are left to submit\n" in said
    assert "12 stored jpeg 0.0228\n" in said


def test_the_public_names_are_typed(tmp_path: Path) -> None:
    """``pyright --verifytypes``: at least 99 %, and each of what ``import seedream_jobs`` offers."""
    pyright = Path(sys.executable).with_name("pyright")
    if not pyright.exists():
        pytest.skip("pyright is not installed")
    command = [str(pyright), "--verifytypes", "seedream_jobs", "--ignoreexternal", "--outputjson"]
    environment = {**os.environ, "PATH": str(pyright.parent) + os.pathsep + os.environ["PATH"]}
    ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert ended.stdout.startswith("{"), ended.stdout + ended.stderr
    found = json.loads(ended.stdout)["typeCompleteness"]
    known = {symbol["name"]: symbol["isTypeKnown"] for symbol in found["symbols"]}
    assert found["completenessScore"] >= 0.99, [name for name, typed in known.items() if not typed]
    for name in ("images", "load", "plan", "read_manifest"):
        assert known[f"seedream_jobs.library.{name}"], name
