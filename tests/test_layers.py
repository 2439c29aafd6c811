"""The house: imports only point upward in the list of docs/architecture.md, and the core is pure."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "seedream_jobs"

ORDER = (
    "diagnostics",
    "errors",
    "characters",
    "foreign_text",
    "resources",
    "model_profile",
    "image_header",
    "inside",
    "confinement",
    "atomic_file",
    "object_store",
    "job",
    "expand",
    "ledger",
    "claims",
    "emulator",
    "plans",
    "records",
    "api",
    "run",
    "sharing",
    "results",
    "report",
    "pipeline",
    "open_tasks",
    "resolution",
    "library",
    "cli",
)
"""From the first that knows nothing of the others to the face."""

PURE = (
    "job",
    "expand",
    "plans",
    "ledger.state",
    "ledger.transitions",
    "run.retry",
    "api.outcomes",
)
IMPURE = frozenset(
    "anyio asyncio click httpcore httpx random secrets socket ssl starlette time uvicorn".split()  # noqa: SIM905
)


def modules() -> Iterator[tuple[str, ast.Module]]:
    """(dotted name below the package, syntax tree) of every module."""
    for file in sorted(PACKAGE.rglob("*.py")):
        name = ".".join(file.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")
        yield name, ast.parse(file.read_text(encoding="utf-8"))


def imports(tree: ast.Module, *, top_level: bool = False) -> Iterator[str]:
    """Every imported module, dotted; those for type checking count, too: they are knowledge all the same."""
    for node in ast.iter_child_nodes(tree) if top_level else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room(name: str) -> str | None:
    """The entry of ``ORDER`` a module belongs to."""
    head = name.split(".")[0]
    return head if head in ORDER else None


MODULES = dict(modules())


@pytest.mark.parametrize("name", [name for name in MODULES if room(name)])
def test_imports_point_upward(name: str) -> None:
    """A module knows only what stands above it."""
    mine = room(name)
    assert mine is not None
    for imported in imports(MODULES[name]):
        theirs = room(imported.removeprefix("seedream_jobs.")) if imported.startswith("seedream_jobs.") else None
        if theirs is not None:
            assert ORDER.index(theirs) <= ORDER.index(mine), f"{name} imports {imported}"


@pytest.mark.parametrize("name", [name for name in MODULES if name.startswith(PURE)])
def test_the_core_is_pure(name: str) -> None:
    """No network, clock, environment or chance in the core."""
    passed_in = {"random.Random"}  # a source of chance may be an argument, so its type may be named
    used = set(imports(MODULES[name])) - passed_in
    if "random" in used and passed_in & set(imports(MODULES[name])):
        used.discard("random")
    found = {imported.split(".")[0] for imported in used} & IMPURE
    assert not found, f"{name} imports {found}"


def test_one_seam_to_the_network() -> None:
    """Only the client's own modules import httpx or httpcore."""
    users = {
        name
        for name, tree in MODULES.items()
        if {imported.split(".")[0] for imported in imports(tree)} & {"httpx", "httpcore"}
    }
    assert users
    assert users <= {"api.client", "api.connection", "api.network", "api.downloads"}


def test_the_emulator_knows_nothing_of_the_client() -> None:
    """So that the two can be held against each other."""
    for name, tree in MODULES.items():
        if name.startswith("emulator"):
            for imported in imports(tree):
                if imported.startswith("seedream_jobs."):
                    assert imported.startswith(
                        ("seedream_jobs.emulator", *(f"seedream_jobs.{name}" for name in ORDER[:7]))
                    ), f"{name} imports {imported}"


def test_the_checker_sees_a_violation() -> None:
    """A checker that has never failed proves nothing."""
    tree = ast.parse("from seedream_jobs.cli.run import run\nimport httpx")
    assert "seedream_jobs.cli.run" in set(imports(tree))
    assert ORDER.index(room("cli.run") or "") > ORDER.index(room("job.spec") or "")
    assert {"httpx"} & {imported.split(".")[0] for imported in imports(tree)} & IMPURE
