"""Start-up is what is imported: each command takes only what it needs (the figures are in docs/performance.md)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from seedream_jobs.cli.main import COMMANDS

HEAVY = {
    "PIL",
    "anyio",
    "asyncio",
    "httpcore",
    "httpx",
    "jinja2",
    "jsonschema",
    "jsonschema_rs",
    "multiprocessing",
    "pyarrow",
    "ssl",
    "starlette",
    "uvicorn",
    "yaml",
}
"""What costs more than ten milliseconds."""

OF_VALIDATE = {"jinja2", "jsonschema", "yaml"}
OF_HELP = {
    "seedream_jobs",
    "seedream_jobs.characters",
    "seedream_jobs.cli",
    "seedream_jobs.cli.main",
    "seedream_jobs.cli.streams",
    "seedream_jobs.errors",
    "seedream_jobs.foreign_text",
}

Modules = Callable[..., set[str]]


def ours(modules: set[str]) -> set[str]:
    """Those of this project."""
    return {name for name in modules if name.split(".")[0] == "seedream_jobs"}


@pytest.mark.parametrize("arguments", [("--help",), ("--version",)])
def test_help_imports_click_and_nothing_else(modules_after: Modules, arguments: tuple[str, ...]) -> None:
    """The whole list, so that an addition is a decision."""
    modules = modules_after(*arguments)
    assert ours(modules) <= OF_HELP
    assert not HEAVY & modules


def test_completion_imports_what_help_imports(modules_after: Modules) -> None:
    """A shell asks at every press of the key. The options of a command need that command's own file, not its work."""
    modules = modules_after("completion", "bash")
    assert ours(modules) <= OF_HELP
    assert not HEAVY & modules


def test_help_of_a_command_imports_no_heavy_library(modules_after: Modules) -> None:
    """Our own modules are imported at the top of each file and cost little; network and image libraries do not."""
    words = [word for name in COMMANDS for word in (name, "--help", "THEN")]
    assert HEAVY & modules_after(*words) <= OF_VALIDATE


def test_validate_of_a_valid_file(modules_after: Modules) -> None:
    """The YAML parser, templates, the schema's check; no network, no image library."""
    assert HEAVY & modules_after("validate", "garden.yaml") == OF_VALIDATE


@pytest.mark.parametrize("arguments", [("plan", "--emulator"), ("expand",)])
def test_plan_and_expand_open_nothing(modules_after: Modules, arguments: tuple[str, ...]) -> None:
    """Reading and reckoning need no network, no image library and no terminal library."""
    assert HEAVY & modules_after(arguments[0], "garden.yaml", *arguments[1:]) == OF_VALIDATE


def test_schema_reads_a_file(modules_after: Modules) -> None:
    assert not HEAVY & modules_after("schema", "job")
