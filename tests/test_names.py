"""Names: a public class name is unique in the package, the glossary is true, imports stand at the top of their file."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "seedream_jobs"

DUPLICATES: frozenset[str] = frozenset()
"""Names that are still defined twice. This list only shrinks: remove a name once it is unique."""

MAX_IMPORTS_IN_FUNCTIONS = 40
"""How many imports stand inside functions; lower it when some move to the top. The goal is 40: the table of commands,
and libraries that take long to import."""

MAX_GLOSSARY = 30


def trees() -> dict[str, ast.Module]:
    """The syntax tree of every module, by its path below the package."""
    return {
        file.relative_to(PACKAGE).as_posix(): ast.parse(file.read_text(encoding="utf-8"))
        for file in sorted(PACKAGE.rglob("*.py"))
    }


def classes_of(modules: dict[str, ast.Module]) -> dict[str, list[str]]:
    """The modules that define each public class name."""
    found: dict[str, list[str]] = defaultdict(list)
    for name, tree in modules.items():
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found[node.name].append(name)
    return found


def imports_in_functions(modules: dict[str, ast.Module]) -> list[str]:
    """``module:line`` of each import inside a function."""
    found: set[str] = set()
    for name, tree in modules.items():
        for function in ast.walk(tree):
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                for node in ast.walk(function):
                    if isinstance(node, ast.Import | ast.ImportFrom):
                        found.add(f"{name}:{node.lineno}")
    return sorted(found)


def test_a_public_class_name_is_unique() -> None:
    """A reader who meets a name in one module knows it in every other."""
    twice = {name: files for name, files in classes_of(trees()).items() if len(files) > 1}
    assert not {name: files for name, files in twice.items() if name not in DUPLICATES}
    assert set(twice) == DUPLICATES, "take a name that is unique now off the list"


def test_imports_stand_at_the_top() -> None:
    """The bound is today's number, so that it never rises."""
    found = imports_in_functions(trees())
    assert len(found) <= MAX_IMPORTS_IN_FUNCTIONS, "\n".join(found)


def test_the_checks_see_a_violation() -> None:
    """A check that has never failed proves nothing."""
    modules = {
        "a.py": ast.parse("class Plan: ...\nclass _Own: ..."),
        "b.py": ast.parse("class Plan: ...\nclass _Own: ...\ndef go():\n    import httpx"),
    }
    assert {name for name, files in classes_of(modules).items() if len(files) > 1} == {"Plan"}
    assert imports_in_functions(modules) == ["b.py:4"]


def test_each_word_of_the_glossary_has_its_module() -> None:
    """At most thirty words; the module is there and uses the word."""
    table = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| \*\*(.+?)\*\* \|.*\| `([^`]+)` \|$", table, re.MULTILINE)
    assert 20 <= len(rows) <= MAX_GLOSSARY
    assert len({word for word, _ in rows}) == len(rows)
    assert table.count("\n|") == len(rows) + 2, "a row that the test does not read"
    for word, module in rows:
        assert (PACKAGE / f"{module}.py").is_file(), f"{word}: there is no {module}.py"
