"""A killed run, then what git or a hand does, then the same run again: nothing is paid twice in silence.

The state of the killed run is made once for each kind of campaign, by really killing one, and copied for each case.
The service is one process for all of them; its books are compared before and after.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.canary import CANARY

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"
REQUESTS = 8
KINDS = [(later, ignoring) for later in (False, True) for ignoring in (True, False)]
FAST = (
    ("git clean -fdx", False, True, 1),
    ("rm of the journal", True, True, 1),
    ("rm of the manifest", False, False, 1),
    ("git stash -u", False, False, 1),
    ("commit, git switch of another branch", True, True, 1),
    ("commit, git clone", False, True, 1),
    ("git worktree add", False, True, 2),
    ("job and manifest renamed", True, False, 1),
    ("git reset --hard", True, True, 2),
)


SPLIT = (
    ("git clean -fdx", "goes on"),
    ("git stash -u", "goes on"),
    ("git restore of the manifest", "goes on"),
    ("rm of the manifest", "refused, 1"),
    ("commit, git merge", "goes on"),
    ("commit, git clone", "refused, 6"),
    ("job and manifest renamed", "refused, 1"),
)
"""Rows of a later run whose record is split, and what comes of them."""
IN_THE_FOLD = (
    ("nothing", 0),
    ("git stash -u", 0),
    ("git reset --hard", 0),
    ("rm of the journal", 6),
    ("commit, git clone", 6),
    ("commit, git merge", 0),
    ("mv of the folder", 0),
)
"""Rows of a run that was killed when some parts of its record had their names, and its exit code."""


@dataclass(frozen=True)
class Seen:
    """What came of one case: how the run after the operation ended, and what was charged twice."""

    code: int
    said: str
    twice: int
    sent: int

    @property
    def word(self) -> str:
        """The cell of the table."""
        if self.twice:
            return f"**paid twice: {self.twice}**"
        return "goes on" if self.code in (0, 6) and self.sent else f"refused, {self.code}"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, harness: ModuleType) -> Iterator[Any]:
    with harness.emulating(tmp_path_factory.mktemp("operations")) as emulator:
        yield emulator


@dataclass(frozen=True)
class Killed:
    """A repository after a killed run.

    :param subject: how its prompts begin
    :param paid: what was charged until then, by prompt
    """

    top: Path
    subject: str
    paid: Counter[str]

    def again(self) -> Path:
        """The repository as the kill left it, at the very place where the run was: its journal names that."""
        shutil.rmtree(self.top.parent)
        shutil.copytree(self.top.parent.with_name("kept"), self.top, symlinks=True)
        return self.top


@pytest.fixture(scope="module")
def killed(service: Any, harness: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Killed]:
    """A repository after a killed run, made once for each kind: a first run or a later one, with ``init`` or bare."""
    made: dict[tuple[bool, bool, str], Killed] = {}

    def make(later: bool, ignoring: bool, split: str = "") -> Killed:
        if (later, ignoring, split) not in made:
            top = tmp_path_factory.mktemp("killed") / "room" / "repo"
            made[later, ignoring, split] = _killed(top, service, harness, later=later, ignoring=ignoring, split=split)
        return made[later, ignoring, split]

    return make


def _killed(top: Path, service: Any, harness: ModuleType, *, later: bool, ignoring: bool, split: str = "") -> Killed:
    """
    :param split: ``run`` for a record in parts, ``fold`` for one whose run is killed as it folds
    """
    (top / "c").mkdir(parents=True)
    mine = harness.Campaign(
        folder=top / "c", base_url=service.url, subject=f"kind {'later' if later else 'first'} {ignoring}{split} "
    )
    git(top, "init", "-q", "-b", "main")
    git(top, "config", "user.name", "a")
    git(top, "config", "user.email", "a@example.org")
    if ignoring:
        scaffold = Path(sys.modules["seedream_jobs"].__file__ or "").parent / "scaffold" / "campaign"
        for name in ("gitignore", "gitattributes"):
            (top / f".{name}").write_bytes((scaffold / name).read_bytes())
    mine.write(3)
    git(top, "add", "-A")
    git(top, "commit", "-qm", "job")
    if later:
        assert mine.run("--detach").code == 0
        if split:
            words = [*mine.arguments("manifest")[:3], "manifest", "split", mine.job]
            subprocess.run(words, cwd=mine.folder, env=mine.environment(), check=True, capture_output=True)
        git(top, "add", "-A", "c")
        git(top, "commit", "-qm", "the record")
    git(top, "branch", "elsewhere")
    mine.write(REQUESTS)
    git(top, "commit", "-qam", "more")
    git(top, "switch", "-q", "elsewhere")
    mine.write(REQUESTS)
    (top / "note").write_text("x")
    git(top, "add", "-A", "c/job.yaml", "note")
    git(top, "commit", "-qm", "other")
    git(top, "switch", "-q", "main")
    before = service.count(mine.subject)
    if split == "fold":  # the mark, the count of writes, and two parts have their names
        inject = ("-e", "trace=rename", "-e", "inject=rename:signal=KILL:when=5")
        ended = mine.run("--detach", prefix=("strace", "-f", "-qq", "-o", "/dev/null", *inject))
        if ended.code != -signal.SIGKILL:
            pytest.skip(f"strace may not trace here: {ended.said}")
        assert list((top / ".git" / "seedream-jobs").glob("*.journal"))
    else:
        command = mine.start("run", "--yes", "--detach", "--concurrency", "2", "--rate", "4/s")
        harness.until(lambda: service.count(mine.subject) >= before + 3, command)
        command.signal(signal.SIGKILL)
        command.wait()
        assert before + 3 <= service.count(mine.subject) < REQUESTS, "it was killed in time"
    shutil.copytree(top, top.parent.with_name("kept"), symlinks=True)
    return Killed(top, mine.subject, prompts(service, mine.subject))


def prompts(service: Any, subject: str) -> Counter[str]:
    """How often each prompt that begins so was charged."""
    return Counter(charge["prompt"] for charge in service.charges(subject))


def git(folder: Path, *words: str) -> None:
    """A git command that must succeed."""
    subprocess.run(["git", *words], cwd=folder, check=True, capture_output=True, env=_environment())


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG", "PYTHONPATH")}
    return {**kept, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}


@pytest.fixture(scope="session")
def operations() -> dict[str, str]:
    """The rows of the table (``operations.py``)."""
    spec = importlib.util.spec_from_file_location("operations", Path(__file__).with_name("operations.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return dict(module.OPERATIONS)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """The command in this process: its exit code, and everything it said."""

    def run(folder: Path, *words: str) -> tuple[int, str]:
        from seedream_jobs.cli.main import run_command

        capfd.readouterr()
        with monkeypatch.context() as patch:
            patch.chdir(folder)
            patch.setenv("APIMART_API_KEY", CANARY)
            code = run_command(list(words))
        said = capfd.readouterr()
        assert "Traceback" not in said.err
        return code, said.out + said.err

    return run


@pytest.fixture
def case(
    killed: Callable[..., Killed],
    service: Any,
    operations: dict[str, str],
    quick: Callable[..., tuple[int, str]],
) -> Callable[..., Seen]:
    """Does one operation and runs the job again: in the same worktree, or in a second one and then in the first."""

    def run(folder: Path) -> tuple[int, str]:
        jobs = sorted(path.name for path in folder.glob("*.yaml") if path.name != "policy.yaml")
        assert jobs, f"no job in {folder}"
        return quick(folder, "run", jobs[0], "--yes", "--detach", "--base-url", service.url)

    def do(name: str, later: bool, ignoring: bool, worktrees: int, split: str = "") -> Seen:
        source = killed(later, ignoring, split)
        repo = source.again()
        room = repo.parent
        before = prompts(service, source.subject)
        places = [repo]
        if worktrees == 2:
            git(repo, "worktree", "add", "-q", str(room / "second"), "-b", "second")
            places = [room / "second", repo]
        script = operations[name]
        done = subprocess.run(
            ["bash", "-euc", script], cwd=repo, capture_output=True, text=True, check=False, env=_environment()
        )
        assert done.returncode == 0, done.stderr
        went = re.findall(r"^GO: (.*)$", done.stdout, re.MULTILINE)
        if went:
            places = [Path(os.path.normpath(repo / went[-1])), *places[: worktrees - 1]]
        ends = []
        for place in places:
            folder = place / "c" if (place / "c").is_dir() else place
            if any(path.name != "policy.yaml" for path in folder.glob("*.yaml")):
                ends.append(run(folder))
        fresh = prompts(service, source.subject) - before
        twice = sum(1 for prompt, times in fresh.items() if times + source.paid[prompt] > 1)
        code, said = max(ends, key=lambda end: (end[0] not in (0, 6), end[0]))
        return Seen(code=code, said=said, twice=twice, sent=sum(fresh.values()))

    return do


def held(name: str, seen: Seen) -> list[str]:
    """The law: nothing is charged twice, and a refusal names the next step."""
    found = []
    if seen.twice:
        found.append(f"{name}: {seen.twice} paid twice, exit {seen.code}: {seen.said[-400:]}")
    if "refused" in seen.word and not re.search(r"seedream-jobs \w+|git \w+|run the same command|bring", seen.said):
        found.append(f"{name}: no next step in: {seen.said}")
    return found


def drawn(cells: dict[tuple[str, bool, int], set[str]]) -> str:
    """The table of docs/reliability.md."""
    lines = ["| between the killed run and the next | first run | two worktrees | later run | two worktrees |"]
    lines.append("| --- | --- | --- | --- | --- |")
    for name in dict.fromkeys(name for name, _, _ in cells):
        row = (" or ".join(sorted(cells[name, later, trees])) for later in (False, True) for trees in (1, 2))
        lines.append(f"| {name} | {' | '.join(row)} |")
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize(("name", "later", "ignoring", "worktrees"), FAST)
def test_no_operation_makes_the_next_run_pay_twice(
    name: str, later: bool, ignoring: bool, worktrees: int, case: Callable[..., Seen]
) -> None:
    """Some of the table, also as the page draws it."""
    seen = case(name, later, ignoring, worktrees)
    assert held(name, seen) == []
    row = next(line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith(f"| {name} |"))
    assert seen.word in row.split(" | ")[1 + 2 * later + worktrees - 1].removesuffix(" |").split(" or ")


@pytest.mark.parametrize(("name", "word"), SPLIT)
def test_no_operation_on_a_split_record_makes_the_next_run_pay_twice(
    name: str, word: str, case: Callable[..., Seen]
) -> None:
    """As of one file; where one of its files is taken away, the next run is refused."""
    seen = case(name, True, True, 1, "run")
    assert held(name, seen) == []
    assert seen.word == word, seen.said


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed: no run is killed as it folds")
@pytest.mark.parametrize(("name", "code"), IN_THE_FOLD)
def test_no_operation_on_a_record_that_is_folded_in_part_makes_the_next_run_pay_twice(
    name: str, code: int, case: Callable[..., Seen]
) -> None:
    """All of the run was paid, and some of it is in parts: with the journal it goes on, without it is refused."""
    seen = case(name, True, True, 1, "fold")
    assert (seen.twice, seen.sent) == (0, 0), seen.said
    assert seen.code == code, seen.said


@pytest.mark.slow
def test_the_whole_table(case: Callable[..., Seen], operations: dict[str, str]) -> None:
    """Every operation, after a first run and a later one, with and without ``init``, in one worktree and in two."""
    found: list[str] = []
    cells: dict[tuple[str, bool, int], set[str]] = {}
    for name in operations:
        for later, ignoring in KINDS:
            for worktrees in (1, 2):
                seen = case(name, later, ignoring, worktrees)
                found += held(f"{name} (later: {later}, init: {ignoring}, worktrees: {worktrees})", seen)
                cells.setdefault((name, later, worktrees), set()).add(seen.word)
    assert len(operations) >= 25
    assert not found, "\n".join(found)
    page = PAGE.read_text(encoding="utf-8")
    if os.environ.get("UPDATE_DOCS"):
        page = re.sub(r"\| between the killed run.*?\n\n", lambda _: drawn(cells) + "\n", page, flags=re.DOTALL)
        PAGE.write_text(page, encoding="utf-8")
    assert drawn(cells) in page


def test_a_journal_beside_the_manifest_would_be_paid_twice(
    case: Callable[..., Seen], monkeypatch: pytest.MonkeyPatch, killed: Callable[..., Killed]
) -> None:
    """The seeded fault: where the next run looks for the journal only beside the manifest, the harness sees it."""
    killed(False, True)
    from seedream_jobs.ledger import campaign, ledger, manifest

    monkeypatch.setattr(ledger, "_journals", lambda paths, header: [paths.journal])
    monkeypatch.setattr(campaign, "left_behind", lambda shared: [])
    monkeypatch.setattr(manifest.Manifest, "open_runs", lambda self: ())
    seen = case("nothing", False, True, 1)
    assert seen.twice >= 2
    assert held("nothing", seen) != []


def test_a_run_whose_journal_is_lost_is_told_and_settled(
    killed: Callable[..., Killed], service: Any, tmp_path: Path, quick: Callable[..., tuple[int, str]]
) -> None:
    """In a clone every view says so and ``run`` refuses; each way out leads on, and none pays twice unasked."""
    source = killed(True, True)
    repo = source.again()
    git(repo, "commit", "-qam", "marked")
    journal = next((repo / ".git" / "seedream-jobs").glob("*.journal"))
    run = ("run", "job.yaml", "--yes", "--detach", "--base-url", service.url)
    places = []
    for name in ("bring", "leave", "again"):
        git(repo, "clone", "-q", str(repo), str(tmp_path / name))
        places.append(tmp_path / name / "c")
    bring, leave, again = places
    told = "may have paid up to 5 requests that are not on record"
    for words, code in (
        (("plan", "job.yaml", "--base-url", service.url), 0),
        (("status", "job.yaml", "--offline"), 6),
        (("resolve", "job.yaml"), 6),
        (run, 6),
    ):
        ended = quick(bring, *words)
        assert (ended[0], told in ended[1]) == (code, True), ended
        assert "seedream-jobs resolve job.yaml --journal FILE" in ended[1]
    before = prompts(service, source.subject)

    assert quick(bring, "resolve", "job.yaml", "--journal", str(journal))[0] in (0, 6)
    assert journal.exists(), "it is another repository's"
    assert quick(bring, *run)[0] in (0, 6)
    paid = prompts(service, source.subject)
    assert max((paid - before + source.paid).values()) == 1

    assert quick(leave, "resolve", "job.yaml", "--run", "--abandon")[0] == 2  # no reason is given
    assert quick(leave, "resolve", "job.yaml", "--run", "--abandon", "--reason", "the disk broke")[0] == 0
    assert quick(leave, *run)[0] == 0
    assert prompts(service, source.subject) == paid
    record = (leave / "job.manifest.jsonl").read_text(encoding="utf-8")
    assert '"reason":"the disk broke","resolution":"abandoned","run":' in record
    assert record.count('"state":"abandoned"') == 5
    assert "run" not in record.splitlines()[0]

    assert quick(again, "resolve", "job.yaml", "--run", "--not-charged", "--reason", "looked")[0] == 0
    assert quick(again, "resolve", "job.yaml", "--run", "--not-charged", "--reason", "looked")[0] == 2
    assert quick(again, *run)[0] == 0
    assert sum((prompts(service, source.subject) - paid).values()) == 5
