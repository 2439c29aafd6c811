#!/usr/bin/env python3
"""The two commands of the README: ``python3 dev.py demo`` and ``python3 dev.py test`` (also: bench, check, run …).

Makes ``.venv`` beside this file, installs the project into it when ``pyproject.toml`` has changed, and runs the rest
of the command line in it. Needs Python 3.11 or later with venv; nothing else.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
BIN = VENV / ("Scripts" if os.name == "nt" else "bin")
STAMP = VENV / "installed"
PARALLEL = ("--numprocesses=auto", "--dist=loadfile")  # a file's tests share what its fixtures made
DEV = ("test", "bench", "check")


def install(extras: str) -> None:
    """Make the environment, once for each state of pyproject.toml; ``extras`` is ``""`` or ``[dev]``."""
    stamp = hashlib.sha256((ROOT / "pyproject.toml").read_bytes() + sys.version.encode()).hexdigest()
    done = STAMP.read_text().split() if STAMP.exists() else []
    if done[:1] == [stamp] and (not extras or extras in done):
        return
    print("Installing into .venv …", file=sys.stderr, flush=True)
    if not (BIN / "python").exists() and not (BIN / "python.exe").exists():
        venv.create(VENV, with_pip=True)
    pip = [str(BIN / "python"), "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "install", "-e", f".{extras}"], cwd=ROOT, check=True)
    STAMP.write_text(f"{stamp} {extras}".strip())


def main(arguments: list[str]) -> int:
    """Run one command; its exit code."""
    if sys.version_info < (3, 11):  # noqa: UP036  (whoever runs this may have an older one)
        print("seedream-jobs needs Python 3.11 or later", file=sys.stderr)
        return 2
    if not arguments or arguments[0] in ("-h", "--help"):
        print(__doc__, file=sys.stderr)
        return 2
    name, *rest = arguments
    try:
        install("[dev]" if name in DEV else "")
    except subprocess.CalledProcessError as error:
        print(f"error: the installation failed (pip ended with {error.returncode})", file=sys.stderr)
        return 1
    python = str(BIN / "python")
    commands = {
        "test": [[python, "-m", "pytest", *PARALLEL, *rest]],
        "bench": [[python, "-m", "bench", *rest]],
        "check": [
            [python, "-m", "ruff", "format", "--check", "."],
            [python, "-m", "ruff", "check", "."],
            [python, "-m", "mypy"],
        ],
        "demo": [[python, "-m", "seedream_jobs", "demo", *(rest or ["demo"])]],
    }
    for command in commands.get(name, [[python, "-m", "seedream_jobs", name, *rest]]):
        ended = subprocess.run(command, cwd=ROOT if name in DEV else None)
        if ended.returncode:
            return ended.returncode
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
