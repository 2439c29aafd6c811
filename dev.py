#!/usr/bin/env python3
"""The commands of the project: ``python3 dev.py demo``, ``python3 dev.py test`` (also: bench, check, lock, run …).

Makes ``.venv`` beside this file, installs into it the versions that ``requirements/`` has, and runs the rest of the
command line in it. Needs Python 3.11 or later with venv; nothing else.

    docs            builds the documentation site into site/ and checks its links; --serve shows it on a port
    test --newest   the suite without tests/reliability, on today's releases, in an environment that is removed again
    fuzz READER     coverage-guided fuzzing of a reader of files, with atheris (tests/hostile/fuzz_atheris.py)
    lock            writes uv.lock and requirements/ after a change of pyproject.toml; --upgrade takes today's releases
    mutate          tries mutants of the modules that decide over money and records, or of some: docs/mutation.md
    sbom            prints what the lock has as CycloneDX JSON: the program's dependencies, their files and hashes
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import tomllib
import uuid
import venv
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
LOCKS = {kind: ROOT / "requirements" / f"{kind}.txt" for kind in ("base", "docs", "cloud", "postgres", "dev")}
BIN = "Scripts" if os.name == "nt" else "bin"
PARALLEL = ("--numprocesses=auto", "--dist=loadfile")  # a file's tests share what its fixtures made
DEV = ("test", "bench", "check", "fuzz", "mutate")
KINDS = {"docs": "docs", **dict.fromkeys(DEV, "dev")}
"""What each command needs installed; the others need ``base``."""
BESIDE = {"fuzz": "atheris==3.0.0", "mutate": "mutmut==3.8.1"}
"""What one command needs and the suite does not: the lock has none of it. atheris: CPython 3.11 to 3.13, Linux."""

SITE = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}  # a notice about another program, in colour, at each build
UV = "uv==0.13.9"
INDEX = "https://pypi.org/simple"  # what the locks name, whatever index this machine is set up for
GROUPS = {"docs": ("--group=docs",), "dev": ("--extra=dev", "--group=docs")}  # of the others: the extra of their name
# New releases deprecate: seen in the summary of warnings, no failure. What is never closed or awaited still is one.
NEWEST = ("-W", "default", "-W", "error::ResourceWarning", "-W", "error::pytest.PytestUnraisableExceptionWarning")


READERS = ("datasets",)
"""What reads the exports and is too large for every fresh machine (it brings pandas): tests/export/test_folders.py."""


def python_in(folder: Path) -> str:
    """The Python of the environment in ``folder``, which is made where it is missing."""
    if not any((folder / BIN / name).exists() for name in ("python", "python.exe")):
        venv.create(folder, with_pip=True, symlinks=os.name != "nt")
    return str(folder / BIN / "python")


def pip(python: str, *arguments: str) -> None:
    """``pip install`` in an environment.

    :raises CalledProcessError: if pip fails
    """
    command = [python, "-m", "pip", "--quiet", "--disable-pip-version-check", "install", *arguments]
    subprocess.run(command, cwd=ROOT, check=True)


def install(kind: str) -> None:
    """Make the environment, once for each state of pyproject.toml and of the locks; ``kind`` is one of ``LOCKS``."""
    files = (ROOT / "pyproject.toml", *LOCKS.values())
    stamp = hashlib.sha256(b"\n".join(file.read_bytes() for file in files) + sys.version.encode()).hexdigest()
    installed = VENV / "installed"
    done = installed.read_text().split() if installed.exists() else []
    have = done[1:] if done[:1] == [stamp] else []
    if kind in have or "dev" in have or (kind == "base" and have):
        return
    print("Installing into .venv …", file=sys.stderr, flush=True)
    python = python_in(VENV)
    pip(python, "--require-hashes", "-r", str(LOCKS[kind]))
    pip(python, "--no-deps", "--no-build-isolation", "-e", ".")  # hatchling is locked with the rest
    installed.write_text(" ".join((stamp, *have, kind)))


def newest(arguments: list[str]) -> int:
    """The suite on today's releases; pytest's exit code."""
    with tempfile.TemporaryDirectory(prefix="seedream-jobs-newest-") as folder:
        print("Installing today's releases …", file=sys.stderr, flush=True)
        python = python_in(Path(folder))
        pip(python, "--upgrade", "-e", ".[dev]", *READERS)
        listed = subprocess.run([python, "-m", "pip", "freeze"], capture_output=True, text=True, check=True).stdout
        print("Other than in the lock:", *(differences(listed) or ["nothing"]), sep="\n  ", flush=True)
        suite = [python, "-m", "pytest", *PARALLEL, *NEWEST, "--ignore=tests/reliability", *arguments]
        return subprocess.run(suite, cwd=ROOT).returncode


def differences(freeze: str) -> list[str]:
    """The lines of ``pip freeze`` that the lock does not have."""
    versions = {line.split(" ")[0] for line in LOCKS["dev"].read_text().splitlines() if line[:1].isalnum()}
    found = (
        re.sub(r"[-_.]+", "-", name).lower() + "==" + at for name, at in re.findall(r"^(\S+)==(\S+)$", freeze, re.M)
    )
    return sorted(set(found) - versions)


def lock(arguments: list[str]) -> int:
    """Resolve pyproject.toml for every Python and system at once, into uv.lock; write requirements/ from it."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("UV_")}
    with tempfile.TemporaryDirectory() as folder:
        python = python_in(Path(folder))
        pip(python, UV)
        uv = [str(Path(folder) / BIN / "uv"), "--no-config", "--quiet"]
        resolve = [*uv, "lock", "--default-index", INDEX, "--python", sys.executable, *arguments]
        subprocess.run(resolve, cwd=ROOT, env=environment, check=True)
        for kind, file in LOCKS.items():
            chosen = [] if kind == "base" else GROUPS.get(kind, [f"--extra={kind}"])
            write = [*uv, "export", "--frozen", "--format=requirements-txt", "--no-emit-project", "--no-annotate"]
            write += ["--no-header", "--no-dev", "--group=build", *chosen]
            made = subprocess.run(write, cwd=ROOT, env=environment, check=True, capture_output=True, text=True).stdout
            file.parent.mkdir(exist_ok=True)
            file.write_text(f"# Written by `python3 dev.py lock` from uv.lock.\n{made}")
    return 0


def sbom() -> dict[str, Any]:
    """What ``requirements/base.txt`` installs, as a CycloneDX 1.6 document; the same lock makes the same bytes.

    https://cyclonedx.org/docs/1.6/json/
    """
    text = (ROOT / "uv.lock").read_bytes()
    wanted = set(re.findall(r"^([a-z0-9-]+)==([^ ;]+)", LOCKS["base"].read_text(), re.M))
    packages = [one for one in tomllib.loads(text.decode())["package"] if (one["name"], one.get("version")) in wanted]
    version = re.search(r'__version__ = "(.+)"', (ROOT / "seedream_jobs" / "__init__.py").read_text())
    assert version is not None
    own = f"pkg:pypi/seedream-jobs@{version[1]}"
    refs = {one["name"]: f"pkg:pypi/{one['name']}@{one['version']}" for one in packages}
    edges = {
        refs[one["name"]]: {refs[other["name"]] for other in one.get("dependencies", ()) if other["name"] in refs}
        for one in packages
    }
    direct = {re.split(r"[^A-Za-z0-9._-]", one)[0] for one in _declared()}
    edges[own] = {refs[name] for name in direct if name in refs}
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, hashlib.sha256(text).hexdigest())}",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": own,
                "name": "seedream-jobs",
                "version": version[1],
                "purl": own,
                "licenses": [{"license": {"id": "MIT"}}],
            }
        },
        "components": [
            {
                "type": "library",
                "bom-ref": refs[one["name"]],
                "name": one["name"],
                "version": one["version"],
                "purl": refs[one["name"]],
                "externalReferences": [
                    {
                        "type": "distribution",
                        "url": file["url"],
                        "hashes": [{"alg": "SHA-256", "content": file["hash"].removeprefix("sha256:")}],
                    }
                    for file in (*([one["sdist"]] if "sdist" in one else []), *one.get("wheels", ()))
                ],
            }
            for one in packages
        ],
        "dependencies": [{"ref": ref, "dependsOn": sorted(edges[ref])} for ref in sorted(edges)],
    }


def _declared() -> list[str]:
    project: list[str] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    return project


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
        if name == "lock":
            return lock(rest)
        if name == "sbom":
            print(json.dumps(sbom(), indent=2))
            return 0
        if name == "test" and "--newest" in rest:
            return newest([argument for argument in rest if argument != "--newest"])
        install(KINDS.get(name, "base"))
        if name in BESIDE:
            pip(python_in(VENV), BESIDE[name])
    except subprocess.CalledProcessError as error:
        print(f"error: {' '.join(error.cmd[:6])} … ended with {error.returncode}", file=sys.stderr)
        return 1
    python = python_in(VENV)
    if name == "docs" and rest == ["--serve"]:
        return subprocess.run([python, "-m", "mkdocs", "serve", "--strict"], cwd=ROOT, env=SITE).returncode
    commands = {
        "test": [[python, "-m", "pytest", *PARALLEL, *rest]],
        "fuzz": [[python, "-m", "tests.hostile.fuzz_atheris", *rest]],
        "bench": [[python, "-m", "bench", *rest]],
        "mutate": [[python, "-m", "tests.mutation", *rest]],
        "check": [
            [python, "-m", "ruff", "format", "--check", "."],
            [python, "-m", "ruff", "check", "."],
            [python, "-m", "mypy"],
        ],
        "docs": [
            [python, "-m", "mkdocs", "build", "--strict", *rest],
            [python, "-m", "tests.site.links", "site"],
        ],
        "demo": [[python, "-m", "seedream_jobs", "demo", *(rest or ["demo"])]],
    }
    for command in commands.get(name, [[python, "-m", "seedream_jobs", name, *rest]]):
        ended = subprocess.run(command, cwd=ROOT if name in KINDS else None, env=SITE)
        if ended.returncode:
            return ended.returncode
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
