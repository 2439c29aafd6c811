"""Whatever stands in a file, a command ends with findings or a refusal: never with a mistake of ours.

The files are good ones with a few edits, as people, merges and broken editors make them.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from seedream_jobs.cli.main import run_command
from tests.lanes import examples

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.yaml"))
PIECES = (
    *(
        "{",
        "}",
        "[",
        "]",
        ":",
        "- ",
        "\n",
        "  ",
        '"',
        "'",
        "{{",
        "}}",
        "{% if x %}",
        "&a ",
        "*a",
        "<<: ",
        "!!x ",
        "|",
        ">-",
    ),
    *(
        "null",
        "1.5",
        "-1",
        "1e400",
        ".inf",
        "true",
        "~",
        "\t",
        "\x00",
        "9" * 30,
        "0x10",
        "..",
        "/etc/passwd",
        "…",
        "\u2028",
    ),
    *("{from: x.csv}", "{range: [1, 1000000000]}", '{glob: "**"}', 'where: "a <"', "repeat: 0", "include: [{}]"),
)
VALUES: tuple[Any, ...] = (
    *(None, 0, -1, 1.5, True, "", "x", "v1:00", [], {}, [None], {"a": None}, float("inf"), 10**30),
    *(
        "../../x",
        "/etc/passwd",
        "a\nb",
        "\x1b[31m",
        "1e999",
        "NaN",
        "-5",
        "2026-13-45T99:99:99Z",
        "https://x",
        "\ud800",
    ),
)
FINE = {0, 1, 2, 3, 5, 6, 7, 8}
bounded = settings(
    max_examples=examples(40),
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@pytest.fixture(scope="module")
def rehearsed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A campaign with a record of three stored images and a saved plan for the fourth."""
    folder = tmp_path_factory.mktemp("campaign")
    (folder / "garden.yaml").write_text(
        'version: 1\nrequest: {prompt: "{{ s }} in a garden"}\nmatrix: {s: [a heron, a cat], size: [16:9, 1:1]}\n',
        encoding="utf-8",
    )
    before = Path.cwd()
    os.chdir(folder)
    assert outcome("run", "garden.yaml", "--emulator", "--no-gallery", "--limit", "3")[0] == 0
    assert outcome("plan", "garden.yaml", "--emulator", "-o", "plan.json")[0] == 0
    yield folder
    os.chdir(before)


def outcome(*arguments: str) -> tuple[int, str]:
    """Exit code and everything said."""
    out, err = io.TextIOWrapper(io.BytesIO(), encoding="utf-8"), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run_command(["-vv", *arguments])
    return code, err.getvalue()


def held(*arguments: str) -> None:
    """It ends as a command may end."""
    code, said = outcome(*arguments)
    assert code in FINE, said
    assert "Traceback" not in said


def edited(draw: st.DrawFn, text: str) -> str:
    """A text with one to four edits: a piece put in, a stretch taken out or doubled, two lines exchanged."""
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(text)))
        match draw(st.sampled_from(("put", "take", "double", "exchange"))):
            case "put":
                text = text[:at] + draw(st.sampled_from(PIECES)) + text[at:]
            case "take":
                text = text[:at] + text[at + draw(st.integers(1, 12)) :]
            case "double":
                text = text[:at] + text[at : at + draw(st.integers(1, 20))] + text[at:]
            case _:
                lines = text.split("\n")
                one, two = draw(st.integers(0, len(lines) - 1)), draw(st.integers(0, len(lines) - 1))
                lines[one], lines[two] = lines[two], lines[one]
                text = "\n".join(lines)
    return text


def changed(draw: st.DrawFn, whole: Any) -> Any:
    """A JSON value in which one to three places hold something else, or nothing."""
    whole = deepcopy(whole)
    for _ in range(draw(st.integers(1, 3))):
        holders = [part for part in parts(whole) if part]
        if not holders:
            break
        holder = holders[draw(st.integers(0, len(holders) - 1))]
        place = draw(st.sampled_from(sorted(holder) if isinstance(holder, dict) else range(len(holder))))
        if draw(st.booleans()):
            holder[place] = deepcopy(VALUES[draw(st.integers(0, len(VALUES) - 1))])
        else:
            del holder[place]
    return whole


def parts(value: Any) -> Iterator[Any]:
    """The mappings and lists of a JSON value."""
    if isinstance(value, dict | list):
        yield value
        for inner in value.values() if isinstance(value, dict) else value:
            yield from parts(inner)


@bounded
@given(data=st.data())
def test_edited_job_files(rehearsed: Path, data: st.DataObject) -> None:
    """validate, plan and expand, on every example of the project."""
    example = data.draw(st.sampled_from(EXAMPLES))
    text = data.draw(st.composite(edited)(example.read_text(encoding="utf-8")))
    Path("edited.yaml").write_text(text, encoding="utf-8", newline="")
    held("validate", "edited.yaml")
    held("plan", "edited.yaml", "--emulator")
    held("expand", "edited.yaml", "--limit", "5")


@bounded
@given(data=st.data())
def test_changed_manifests(rehearsed: Path, data: st.DataObject) -> None:
    """Every command that reads the record; what is refused stays as it is."""
    manifest = rehearsed / ".seedream/emulator/garden.manifest.jsonl"
    good = manifest.read_bytes()
    lines = data.draw(st.composite(changed)([json.loads(line) for line in good.splitlines()]))
    hostile = b"".join(json.dumps(line, sort_keys=True, separators=(",", ":")).encode() + b"\n" for line in lines)
    try:
        manifest.write_bytes(hostile)
        for arguments in (
            ("plan",),
            ("status", "--offline"),
            ("resolve",),
            ("gallery",),
            ("export", "--format", "csv"),
        ):
            held(*arguments, "garden.yaml", "--emulator")
        assert manifest.read_bytes() == hostile
    finally:
        manifest.write_bytes(good)


@bounded
@given(data=st.data())
def test_changed_plans(rehearsed: Path, data: st.DataObject) -> None:
    """A saved plan that was touched is shown and run by nobody."""
    plan = json.loads(Path("plan.json").read_bytes())
    hostile = data.draw(st.composite(changed)(plan))
    if hostile == plan:
        return
    Path("hostile.json").write_text(json.dumps(hostile), encoding="utf-8")
    for arguments in (("show", "hostile.json"), ("run", "hostile.json", "--emulator")):
        code, said = outcome(*arguments)
        assert code in (2, 7), said
