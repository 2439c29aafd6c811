"""Start-up: whole processes in CPU seconds, beside the smallest click program and beside check-jsonschema."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import venv
from pathlib import Path

from bench.result import Goal, Result, Row, ratios
from bench.timing import ENVIRONMENT, PROGRAM, Cost, command, interleaved, real_folder

TITLE = "Start-up: CPU seconds of whole processes"
HELLO = '''import click


@click.command()
def hello():
    """Say hello."""
    click.echo("hello")


hello()
'''
JOB = """version: 1
request:
  prompt: "{{ subject }} in a garden, {{ season }}"
  resolution: 2K
matrix:
  subject: [a golden retriever, a tabby cat]
  season: [spring, autumn]
  size: [16:9, 1:1]
"""
SCHEMA = Path(__file__).resolve().parents[1] / "schemas" / "job.schema.json"


def check_jsonschema() -> Path | None:
    """check-jsonschema in an environment of its own, made once; None where it can't be installed."""
    folder = real_folder() / "check-jsonschema"
    program = folder / "bin" / "check-jsonschema"
    if not program.exists():
        venv.create(folder, with_pip=True)
        install = [str(folder / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check", "check-jsonschema"]
        if subprocess.run(install, capture_output=True, check=False).returncode:
            return None
    return program


def run(quick: bool) -> Result:
    """Twenty interleaved rounds."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        hello, job = folder / "hello.py", folder / "job.yaml"
        hello.write_text(HELLO, encoding="utf-8")
        job.write_text(JOB, encoding="utf-8")
        commands: dict[str, list[str | Path]] = {
            "python -c pass": [sys.executable, "-c", "pass"],
            "python -c 'import click'": [sys.executable, "-c", "import click"],
            "a click hello": [sys.executable, hello],
            "seedream-jobs --version": [PROGRAM, "--version"],
            "seedream-jobs --help": [PROGRAM, "--help"],
            "seedream-jobs validate (8 requests)": [PROGRAM, "validate", job],
            "seedream-jobs plan (8 requests)": [PROGRAM, "plan", "--emulator", job],
        }
        other = None if quick else check_jsonschema()
        if other is not None:
            commands["check-jsonschema, the same file"] = [other, "--schemafile", SCHEMA, job]

        def complete() -> Cost:
            asked = {"_SEEDREAM_JOBS_COMPLETE": "bash_complete", "COMP_WORDS": "seedream-jobs va", "COMP_CWORD": "1"}
            ENVIRONMENT.update(asked)
            try:
                return command([PROGRAM])
            finally:
                for variable in asked:
                    del ENVIRONMENT[variable]

        work = {
            what: lambda arguments=arguments: command(arguments, cwd=folder) for what, arguments in commands.items()
        }
        work["a press of the tab key"] = complete
        found = {what: [cost.cpu for cost in costs] for what, costs in interleaved(work, 3 if quick else 20).items()}
    hello_costs = found["a click hello"]
    validate = found["seedream-jobs validate (8 requests)"]
    goals = [
        Goal(what="--version / click hello", ratios=ratios(found["seedream-jobs --version"], hello_costs), goal=1.2),
        Goal(what="--help / click hello", ratios=ratios(found["seedream-jobs --help"], hello_costs), goal=1.2),
        Goal(what="tab key / click hello", ratios=ratios(found["a press of the tab key"], hello_costs), goal=1.2),
    ]
    if "check-jsonschema, the same file" in found:
        theirs = found["check-jsonschema, the same file"]
        goals.append(Goal(what="validate / check-jsonschema", ratios=ratios(validate, theirs), goal=0.8))
    return Result(
        stage="startup",
        title=TITLE,
        rows=tuple(
            Row(what=what, values=tuple(costs), unit="s", base=what == "a click hello") for what, costs in found.items()
        ),
        goals=tuple(goals),
        notes=("User and system time of the process; its bytecode is cached, as in an installation.",),
    )
