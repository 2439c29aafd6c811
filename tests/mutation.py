"""Mutation testing: one change at a time in a module of our own, and whether its tests fail; see docs/mutation.md.

Run by ``python3 dev.py mutate [MODULE…]``. What is changed and how is mutmut's choice (its operators). Its runner is
not used: that changes plain functions only, and half of what decides here stands in tables, bounds and patterns. Here
pytest collects a module's tests once, and each mutant is tried in a fork of it: within a function by exchanging its
code, elsewhere by importing everything of ours anew.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import difflib
import gc
import importlib
import importlib.util
import json
import os
import pickle
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import CodeType, FrameType, FunctionType
from typing import Any

import pytest
from hypothesis import Phase, settings

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "mutation.md"
FOUND = ROOT / ".bench" / "mutation"

MODULES = {
    "api/outcomes": ["tests/api/test_outcomes.py"],
    "inside": ["tests/job/test_inside.py"],
    "job/path_pattern": ["tests/job/test_path_pattern.py"],
    "job/template_rules": ["tests/job/test_template_rules.py"],
    "ledger/journal": ["tests/ledger/test_journal.py", "tests/ledger/test_durability.py"],
    "ledger/lock": ["tests/ledger/test_lock.py"],
    "run/rate_limiter": ["tests/run/test_rate_limiter.py"],
}
"""What decides over money, records and files, and the tests that hold it."""

OURS = ("seedream_jobs", "tests")

_GRACE = 10.0
"""Seconds that a test of a mutant may take beyond five times what it takes without it; then it hangs: killed."""


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """One change.

    :param where: the function, the method, or the name that is assigned
    :param function: the name of the outermost function it lies in, such as ``Bucket.take``; None outside of any
    """

    number: int
    line: int
    where: str
    function: str | None
    old: str
    new: str
    source: str = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What a test without a mutant took (seconds) and called (functions of the module)."""

    seconds: float
    called: frozenset[str]


def mutants(path: Path, every: int = 1) -> Iterator[Mutant]:
    """The changes that mutmut's operators make in a file, also in decorated functions and outside of functions.

    :param every: only each n-th of them
    """
    import libcst
    from mutmut.mutation import file_mutation

    class Everywhere(file_mutation.MutationVisitor):
        def _skip_node_and_children(self, node: libcst.CSTNode) -> bool:
            # mutmut leaves decorated functions out because its copies of them would be registered twice.
            if isinstance(node, libcst.FunctionDef) and node.name.value not in ("__new__", "__setattr__"):
                return False
            return bool(super()._skip_node_and_children(node))

    file_mutation.MutationVisitor = Everywhere  # type: ignore[misc]
    text = path.read_text()
    places = _places(text)
    module, found, *_ = file_mutation.create_mutations(str(path), text)
    types = {line for line, *_ in places if re.match(r"\w+ = Literal\[", text.splitlines()[line - 1])}
    # A statement is written anew, not the whole module: that takes longer than most tests.
    statements = [module.code_for_node(one) for one in module.body]
    begin = text.index("".join(statements))
    within = {id(node): at for at, one in enumerate(module.body) for node in _nodes(one)}
    for number, one in enumerate(found):
        if number % every:
            continue
        at = within[id(one.original_node)]
        changed = file_mutation.deep_replace(module.body[at], one.original_node, one.mutated_node)
        after = [*statements[:at], module.code_for_node(changed), *statements[at + 1 :]]
        source = text[:begin] + "".join(after) + text[begin + sum(map(len, statements)) :]
        line, old, new = _change(text, source)
        if line in types:
            continue  # mypy's matter, as annotations are, which mutmut leaves out
        where, function = next(
            ((name, inner) for first, last, name, inner in places if first <= line <= last), ("", None)
        )
        yield Mutant(number=number, line=line, where=where, function=function, old=old, new=new, source=source)


def _nodes(node: Any) -> Iterator[Any]:
    todo = [node]
    while todo:
        one = todo.pop()
        yield one
        todo.extend(one.children)


def _places(text: str) -> list[tuple[int, int, str, str | None]]:
    """(first line, last line, name, function) of what stands at the top of a module and of its classes."""
    found: list[tuple[int, int, str, str | None]] = []

    def look(body: list[ast.stmt], within: str) -> None:
        for one in body:
            last = one.end_lineno or one.lineno
            if isinstance(one, ast.ClassDef):
                look(one.body, f"{within}{one.name}.")
            elif isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef):
                found.append((one.lineno, last, within + one.name, within + one.name))
            else:
                names = [node.id for node in ast.walk(one) if isinstance(node, ast.Name)]
                found.append((one.lineno, last, within + (names[0] if names else "top"), None))

    look(ast.parse(text).body, "")
    return found


def _change(before: str, after: str) -> tuple[int, str, str]:
    """The first changed line's number, and what became of what; parts of a line that stay are left out."""
    old, new = before.splitlines(), after.splitlines()
    changes = [
        one for one in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes() if one[0] != "equal"
    ]
    _, start, end, begin, stop = changes[0]
    was, now = (" ".join(line.strip() for line in lines) for lines in (old[start:end], new[begin:stop]))
    return start + 1, was, now


# -- one mutant --------------------------------------------------------------------------------------------------------


def exchange(module: Any, mutant: Mutant) -> bool:
    """Make the change in a module that is imported already; False where it would be less than all of it."""
    if mutant.function is None:
        return _assign(module, mutant)
    target: Any = module
    for name in mutant.function.split("."):
        target = vars(target).get(name)
    for name in ("fget", "__func__", "__wrapped__"):
        target = getattr(target, name, target)
    if not isinstance(target, FunctionType):
        return False
    whole = compile(mutant.source, target.__code__.co_filename, "exec", dont_inherit=True)
    codes = [one for one in _codes(whole) if one.co_qualname == mutant.function]
    if len(codes) != 1 or codes[0] == target.__code__ or codes[0].co_freevars != target.__code__.co_freevars:
        return False
    target.__code__ = codes[0]
    return True


def _assign(module: Any, mutant: Mutant) -> bool:
    """Make an assignment at the module's top again, there and in whatever imported its value."""
    body = ast.parse(mutant.source).body
    changed = [one for one in body if one.lineno <= mutant.line <= (one.end_lineno or 0)]
    if not changed or not isinstance(changed[0], ast.Assign | ast.AnnAssign) or mutant.where not in vars(module):
        return False
    old = getattr(module, mutant.where)
    exec(compile(ast.Module(changed[:1], []), module.__file__, "exec", dont_inherit=True), vars(module))
    for one in [one for name, one in sys.modules.items() if name.split(".")[0] in OURS]:
        for name, value in list(vars(one).items()):
            if value is old and (name == mutant.where or not isinstance(value, int | str)):
                setattr(one, name, getattr(module, mutant.where))
    return True


def _codes(code: CodeType) -> Iterator[CodeType]:
    for one in code.co_consts:
        if isinstance(one, CodeType):
            yield one
            yield from _codes(one)


class _Mutated(SourceFileLoader):
    """Finds and loads one module from a text."""

    def __init__(self, name: str, path: Path, text: str) -> None:
        super().__init__(name, str(path))
        self._text = text

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        return importlib.util.spec_from_file_location(name, self.path, loader=self) if name == self.name else None

    def get_code(self, fullname: str) -> CodeType:
        code: CodeType = compile(self._text, self.path, "exec", dont_inherit=True)
        return code


def in_fork(work: Callable[[], Any], seconds: float) -> Any:
    """What ``work`` returns in a process of its own; ``"timeout"`` where it does not end, ``"died"`` where it dies."""
    scratch = tempfile.mkdtemp(prefix="mutant-")
    receiving, sending = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.setsid()
            nothing = os.open(os.devnull, os.O_RDWR)
            for standard in (0, 1, 2):
                os.dup2(nothing, standard)
            os.environ["PYTEST_DEBUG_TEMPROOT"] = os.environ["TMPDIR"] = tempfile.tempdir = scratch
            os.environ["HYPOTHESIS_STORAGE_DIRECTORY"] = scratch
            resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))  # a bound that is gone must not take the machine
            try:
                answer = pickle.dumps(work())
            except Exception:  # what the change makes of an import
                answer = pickle.dumps("killed")
            with os.fdopen(sending, "wb") as pipe:
                pipe.write(answer)
        finally:
            os._exit(0)
    os.close(sending)
    late = threading.Timer(seconds, lambda: os.killpg(child, signal.SIGKILL))
    began = time.monotonic()
    late.start()
    try:
        with os.fdopen(receiving, "rb") as pipe:
            answer = pipe.read()
    finally:
        late.cancel()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)  # and whatever its tests left behind
        _, status = os.waitpid(child, 0)
        shutil.rmtree(scratch, ignore_errors=True)
    if answer:
        return pickle.loads(answer)
    late_test = os.waitstatus_to_exitcode(status) == -signal.SIGALRM
    return "timeout" if late_test or time.monotonic() - began >= seconds else "died"


# -- within pytest -----------------------------------------------------------------------------------------------------


class Trial:
    """A plugin that, in place of the tests, runs them once as they are and then for each mutant."""

    def __init__(self, module: str, chosen: re.Pattern[str], every: int) -> None:
        self.path = ROOT / "seedream_jobs" / f"{module}.py"
        self.name = "seedream_jobs." + module.replace("/", ".")
        self.tests = MODULES[module]
        self.chosen, self.every = chosen, every
        self.failed = False
        self.survivors: list[Mutant] = []
        self.ended: dict[str, int] = {}

    @pytest.hookimpl(trylast=True)
    def pytest_configure(self) -> None:
        """Have hypothesis try the same examples for each mutant, and look for no smaller one."""
        phases = (Phase.explicit, Phase.generate)
        settings.register_profile(
            "mutants", settings.get_profile("suite"), database=None, phases=phases, report_multiple_bugs=False
        )
        settings.load_profile("mutants")

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Try each mutant."""
        random.seed(0)
        items = [item for item in session.items if not any(item.iter_markers("skip"))]
        times = in_fork(lambda: self._times(items), 600)
        if isinstance(times, str):
            raise pytest.UsageError(f"the tests fail without a mutant: {times}")
        called = in_fork(lambda: self._called(items), 600)
        seen = {name: Seen(seconds=times[name], called=called[name]) for name in times}
        gc.collect()
        gc.freeze()  # a fork that looks for garbage would copy all of it
        items.sort(key=lambda item: seen[item.nodeid].seconds)
        for mutant in mutants(self.path, self.every):
            if self.chosen.search(f"{mutant.where} {mutant.line}"):
                self._count(mutant, self._try(mutant, items, seen))
        return True

    def _count(self, mutant: Mutant, how: str) -> None:
        self.ended[how] = self.ended.get(how, 0) + 1
        if how == "survived":
            self.survivors.append(mutant)
            print(f"{self.path.relative_to(ROOT)}:{mutant.line} {mutant.where}\n  - {mutant.old}\n  + {mutant.new}")
        sys.stdout.flush()

    def _try(self, mutant: Mutant, items: list[pytest.Item], seen: dict[str, Seen]) -> str:
        chosen = [item for item in items if mutant.function is None or mutant.function in seen[item.nodeid].called]
        # Five times: what a mutant does may take longer without being an end.
        patience = _GRACE + 5 * sum(seen[item.nodeid].seconds for item in chosen)
        module = importlib.import_module(self.name)
        how = "elsewhere"  # a function that no test calls may have been called by an import
        if chosen:
            how = in_fork(lambda: self._run(chosen, seen) if exchange(module, mutant) else "elsewhere", patience)
        # What a test read while it was collected, or another module while it was imported, has the old value still.
        if how == "elsewhere" or (how == "survived" and mutant.function is None):
            names = [item.nodeid for item in items]
            how = in_fork(lambda: self._anew(mutant, names), patience + 5 * sum(one.seconds for one in seen.values()))
        return str(how)

    def _anew(self, mutant: Mutant, names: list[str]) -> str:
        for name in [name for name in sys.modules if name.split(".")[0] in OURS]:
            del sys.modules[name]
        sys.meta_path.insert(0, _Mutated(self.name, self.path, mutant.source))
        return "killed" if pytest.main([*ARGUMENTS, *names]) else "survived"

    def _run(self, items: list[pytest.Item], seen: dict[str, Seen] | None = None) -> str:
        for item, following in zip(items, [*items[1:], None], strict=True):
            if seen is not None:  # a test that hangs ends this fork, and need not wait for all others' time
                signal.setitimer(signal.ITIMER_REAL, _GRACE + 5 * seen[item.nodeid].seconds)
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            if self.failed:
                return "killed"
        return "survived"

    def _times(self, items: list[pytest.Item]) -> dict[str, float] | str:
        """The seconds that each test takes; or one that fails."""
        found: dict[str, float] = {}
        for item in items:
            began = time.monotonic()
            if self._run([item]) != "survived":
                return item.nodeid
            found[item.nodeid] = time.monotonic() - began
        return found

    def _called(self, items: list[pytest.Item]) -> dict[str, frozenset[str]]:
        """The functions of the module that each test calls; a test may fail for being looked at, as that takes time."""
        called: set[str] = set()
        file = str(self.path)

        def profile(frame: FrameType, event: str, argument: object) -> None:
            code = frame.f_code
            if event == "call" and code.co_filename == file:
                called.add(code.co_qualname.split(".<")[0])

        threading.setprofile(profile)
        found: dict[str, frozenset[str]] = {}
        for item in items:
            called.clear()
            sys.setprofile(profile)
            self._run([item])
            sys.setprofile(None)
            found[item.nodeid] = frozenset(called)
        return found

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Remember a failure."""
        self.failed = self.failed or report.failed


ARGUMENTS = [
    "-q",
    "-x",
    "-s",
    "-p",
    "no:cacheprovider",
    "-p",
    "no:xdist",
    "--hypothesis-seed=0",
    "--tb=no",
    "--no-header",
]
ARGUMENTS += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]  # plugins are there already


# -- the page ----------------------------------------------------------------------------------------------------------


def accepted(page: str) -> set[tuple[str, str, str]]:
    """(where, old, new) of each survivor that the page argues; a row may have several new texts of one old one."""
    rows = re.findall(r"^\| `(.+?)` \| `(.+?)` → `(.*?)` \|", page.replace("\\|", "\0"), re.M)
    return {
        (where, old.replace("\0", "|"), new.replace("\0", "|"))
        for where, old, news in rows
        for new in news.split("`, `")
    }


def report(trial: Trial, module: str) -> int:
    """Print the figures, keep the survivors in a file; how many of them the page does not know."""
    total = sum(trial.ended.values())
    killed = total - trial.ended.get("survived", 0)
    known = accepted(PAGE.read_text()) if PAGE.exists() else set()
    new = [one for one in trial.survivors if (f"{module}: {one.where}", one.old, one.new) not in known]
    FOUND.mkdir(parents=True, exist_ok=True)
    survivors = [{name: value for name, value in asdict(one).items() if name != "source"} for one in trial.survivors]
    (FOUND / f"{module.replace('/', '-')}.json").write_text(
        json.dumps({**trial.ended, "survivors": survivors}, indent=1)
    )
    late = trial.ended.get("timeout", 0)
    print(f"{module}: {total} mutants, {killed} killed ({late} by time), {100 * killed / total:.1f} %; ", end="")
    print(f"{len(trial.survivors)} survived, {len(new)} of them not in docs/mutation.md")
    return len(new)


def main(arguments: list[str]) -> int:
    """Try the mutants of modules; 1 where one survives that the page does not argue."""
    reader = argparse.ArgumentParser(prog="dev.py mutate", description=main.__doc__)
    reader.add_argument("modules", nargs="*", metavar="MODULE", help=f"{', '.join(MODULES)}; all by default")
    reader.add_argument("--only", metavar="PATTERN", default="", help="those whose function or line this finds")
    reader.add_argument("--every", metavar="N", type=int, default=1, help="a sample: each N-th")
    given = reader.parse_args(arguments)
    if wrong := [one for one in given.modules if one not in MODULES]:
        reader.error(f"no such module: {', '.join(wrong)}; there are {', '.join(MODULES)}")
    modules = given.modules or [*MODULES]
    if len(modules) > 1:  # each in a process of its own
        same = [sys.executable, "-m", "tests.mutation", f"--only={given.only}", f"--every={given.every}"]
        return max(subprocess.run([*same, one]).returncode for one in modules)
    trial = Trial(modules[0], re.compile(given.only), given.every)
    code = pytest.main([*ARGUMENTS, *trial.tests], plugins=[trial])
    return min(report(trial, modules[0]), 1) if trial.ended else int(code)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
