"""Fixtures: a service process, a campaign that speaks to it, and the harness' own vocabulary."""

from __future__ import annotations

import importlib.util
import itertools
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

HERE = Path(__file__).parent
_numbers = itertools.count(1)


def _module(name: str) -> ModuleType:
    """A plain module beside this file: harness code is no package."""
    full = f"reliability_{name}"
    if full not in sys.modules:
        spec = importlib.util.spec_from_file_location(full, HERE / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        sys.modules[full] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return sys.modules[full]


@pytest.fixture(scope="session")
def harness() -> ModuleType:
    """Processes, campaigns and the audit (``harness.py``)."""
    return _module("harness")


@pytest.fixture(scope="session")
def traces() -> ModuleType:
    """Reading system call traces (``traces.py``)."""
    return _module("traces")


@pytest.fixture
def emulator(tmp_path: Path, harness: ModuleType) -> Iterator[Callable[..., Any]]:
    """Starts the service with the given options."""
    with ExitStack() as stack:
        yield lambda *options, state="state": stack.enter_context(harness.emulating(tmp_path / state, *options))


@pytest.fixture(scope="session")
def shared_emulator(tmp_path_factory: pytest.TempPathFactory, harness: ModuleType) -> Iterator[Any]:
    """One well-behaved service for tests that look only at their own campaign's charges."""
    # The slow lane tries hundreds of points, each with a campaign of its own: the account must not run empty.
    with harness.emulating(tmp_path_factory.mktemp("shared"), "--balance", "1000000") as service:
        yield service


@pytest.fixture
def campaign(tmp_path: Path, harness: ModuleType) -> Callable[..., Any]:
    """Makes a campaign that speaks to an emulator; ``git``: in a repository, which then holds journal and locks."""

    def make(emulator: Any, requests: int, *lines: str, name: str = "campaign", git: bool = False) -> Any:
        folder = tmp_path / name
        folder.mkdir()
        if git:
            subprocess.run(["git", "init", "-q", str(folder)], check=True)
        made = harness.Campaign(folder=folder, base_url=emulator.url, subject=f"heron {next(_numbers)} ")
        made.write(requests, *lines)
        return made

    return make
