"""Documentation is checked like code: its YAML validates, its commands exist, its tables are drawn from the program."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import click
import pytest

import seedream_jobs
from seedream_jobs.cli.main import COMMANDS, NEVER_FROM_ENVIRONMENT, group
from seedream_jobs.report.progress import FIELDS

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [*ROOT.glob("README*.md"), ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")]
)
UPDATE = bool(os.environ.get("UPDATE_DOCS"))


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of one language."""
    text = page.read_text(encoding="utf-8")
    return [match[1] for match in re.finditer(rf"^```{language}(?: .*)?\n(.*?)^```", text, re.MULTILINE | re.DOTALL)]


JOBS = [(page, block) for page in PAGES for block in blocks(page, "yaml") if re.search(r"^version: 1$", block, re.M)]


@pytest.mark.parametrize(("page", "block"), JOBS, ids=[f"{page.name}-{index}" for index, (page, _) in enumerate(JOBS)])
def test_every_job_in_the_documentation_validates(page: Path, block: str, tmp_path: Path) -> None:
    """A whole job file in a page (it says ``version: 1``) is one that a reader can copy."""
    for example in (ROOT / "examples").iterdir():
        if example.suffix != ".yaml":
            (tmp_path / example.name).symlink_to(example)  # the axis files and references that blocks name
    job = tmp_path / ("policy.yaml" if "policy.schema.json" in block else "garden.yaml")
    job.write_text(block, encoding="utf-8")
    ended = subprocess.run(
        [sys.executable, "-m", "seedream_jobs", "validate", str(job)], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_there_are_jobs_in_the_documentation() -> None:
    """The test above is not vacuous."""
    assert JOBS


def test_every_command_that_a_page_names_exists() -> None:
    """``seedream-jobs WORD`` in a page is a command."""
    found = set()
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        found |= set(re.findall(r"(?:^\$ |`)seedream-jobs ([a-z]+)\b", text, re.MULTILINE))
    assert found
    assert found <= set(COMMANDS)


def links(page: Path) -> list[tuple[Path, str]]:
    """The relative links of a page: (file, anchor or "")."""
    found = re.findall(r"\]\(([^)#\s]*)(?:#([^)]*))?\)", page.read_text(encoding="utf-8"))
    return [((page.parent / path if path else page).resolve(), anchor) for path, anchor in found if "://" not in path]


def anchors(page: Path) -> set[str]:
    """What GitHub makes of a page's headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_links_between_pages_lead_somewhere() -> None:
    """A relative link names a file that is there, and a heading that it has."""
    broken = []
    for page in PAGES:
        for target, anchor in links(page):
            if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors(target)):
                broken.append(f"{page.relative_to(ROOT)}: {target.name}#{anchor}")
    assert broken == []


def test_every_page_is_found_from_the_readme() -> None:
    """A page that nothing leads to is read by nobody."""
    reached, todo = set[Path](), [ROOT / "README.md"]
    while todo:
        page = todo.pop()
        if page in PAGES and page not in reached:
            reached.add(page)
            todo += [target for target, _ in links(page)]
    assert set(PAGES) == reached


def test_every_page_is_in_the_navigation_of_the_site() -> None:
    """Once, and nothing else is: mkdocs.yml. The site itself is built by tests/site."""
    nav = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:\n")[2]
    named = re.findall(r": (\S+\.md)$", nav, re.MULTILINE)
    assert sorted(named) == sorted(page.relative_to(ROOT / "docs").as_posix() for page in (ROOT / "docs").rglob("*.md"))


def test_every_module_that_a_page_names_exists() -> None:
    """``job/template.py``, ``ledger.transitions.evolve``: code that moves takes its page along."""
    package = ROOT / "seedream_jobs"
    folders = "|".join(sorted(folder.name for folder in package.iterdir() if (folder / "__init__.py").exists()))
    missing = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        named = set(re.findall(rf"(?<![\w/.])(?:seedream_jobs/)?((?:{folders})/[a-z_]+\.py)\b", text))
        named |= {f"{a}/{b}.py" for a, b in re.findall(rf"`({folders})\.([a-z_]+)(?:\.[A-Za-z_]+)?`", text)}
        named -= {"api/apimart.py", "plan/schema.py"}  # api.apimart.ai, plan.schema.json
        missing += [f"{page.name}: {name}" for name in sorted(named) if not (package / name).exists()]
    assert missing == []


def test_the_version_is_the_changelogs_top() -> None:
    """One of them is never forgotten."""
    top = re.search(r"^## (\d+\.\d+\.\d+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert top is not None
    assert top[1] == seedream_jobs.__version__


FROM_THE_ENVIRONMENT = """\
Options can also be given as `SEEDREAM_JOBS_<OPTION>`, but for consent (`--yes`, `--again`, `--rejected`, `--replay`),
for what settles a doubt (`--accepted`, `--not-charged`, `--abandon`, `--import`) and for the service (`--base-url`;
its variable is `APIMART_BASE_URL`). `SEEDREAM_JOBS_BUDGET` does not stand for `--budget`: both hold. A variable that
is set and empty is refused (exit 2), but for flags: a budget or digest that CI failed to define is no permission. An
empty JOB is refused, too: `run "$JOB"` is no run of all jobs in the folder."""

FOLDERS = """\
Where several can be named (`JOB…`), a folder stands for all job files below it, in order: files that end in `.yaml` or
`.yml` and have `version:` and `request:` at the top level. Left out are `policy.yaml`, what is hidden, what git
ignores, and what a symbolic link brings in from outside. A folder without a job file is an error. With `--base` the
folder is looked for in both revisions."""

TERMINAL = """\
**On a terminal** plans, runs and statuses have their marks (`+ ~ - ! ? =`) in colour, and lines are broken between
words. `NO_COLOR` and `TERM=dumb` switch colours off, `FORCE_COLOR` switches them on without a terminal, too. While
`run` or `fetch` is under way, a bar shows how many requests are finished, how fast, how long, and the money of its
maximum; without a terminal the same stands on a line every 30 seconds."""

EVENTS = """\
**Events for programs.** `run --json` and `fetch --json` write progress to stderr as JSON Lines, an object for each
event. The last line is the event `end`, also where the command was refused; before it stand errors in words, if there
are any. Every event has `event`, `time` and the counts from `finished` on, and of the other fields those that belong to
it. A later version may add fields and events: pass over what you don't know."""


def reference() -> str:
    """docs/commands.md, drawn from the commands themselves."""
    lines = [
        "# Commands",
        "",
        "Drawn from the program (`UPDATE_DOCS=1 python3 dev.py test tests/docs`). stdout is data, stderr is progress",
        "and talk. JOB is a job file or its manifest.",
        "",
        *FOLDERS.splitlines(),
        "",
        *FROM_THE_ENVIRONMENT.splitlines(),
        "",
    ]
    context = click.Context(group, info_name="seedream-jobs")
    lines += ["Before the command stand:", "", *_options(group, context, others=False)]
    lines += [*TERMINAL.splitlines(), "", *EVENTS.splitlines(), "", "| field | |", "| --- | --- |"]
    lines += [*(f"| `{name}` | {_cell(text)} |" for name, text in FIELDS.items()), ""]
    for name in COMMANDS:
        command = group.get_command(context, name)
        assert command is not None
        lines += _section(name, command, context)
    return "\n".join(lines).rstrip() + "\n"


def _section(name: str, command: click.Command, parent: click.Context) -> list[str]:
    """A command, and what stands below it."""
    context = click.Context(command, info_name=name, parent=parent)
    usage = " ".join(f"{context.command_path} {' '.join(command.collect_usage_pieces(context))}".split())
    below = sorted(command.commands.items()) if isinstance(command, click.Group) else []
    lines = [f"## {context.command_path.removeprefix('seedream-jobs ')}", "", *_help(command), ""]
    lines += ["```", usage, "```", "", *_options(command, context)]
    for inner, one in below:
        lines += _section(inner, one, context)
    return lines


def test_what_no_environment_decides_is_said() -> None:
    """Each option that only a command line gives is named."""
    named = set(re.findall(r"`--([a-z-]+)`", FROM_THE_ENVIRONMENT))
    assert named == set(NEVER_FROM_ENVIRONMENT) - {"help"}


def _help(command: click.Command) -> list[str]:
    import inspect

    text, _, examples = inspect.cleandoc(command.help or "").partition("\n\n\b\nExamples:\n")
    block = [f"$ {line.strip()}" for line in examples.splitlines()]
    return [*text.splitlines(), *(["", "```console", *block, "```"] if block else [])]


def _options(command: click.Command, context: click.Context, *, others: bool = True) -> list[str]:
    """A table of the options; arguments stand in the usage, and the text says what they are."""
    rows: list[tuple[str, str]] = []
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record is not None and record[1] and "--help" not in record[0]:
            rows.append((record[0], " ".join(record[1].split())))
    if isinstance(command, click.Group) and others:
        rows += [(name, inner.get_short_help_str(200)) for name, inner in sorted(command.commands.items())]
    if not rows:
        return []
    body = [f"| `{_cell(option)}` | {_cell(text)} |" for option, text in rows]
    return ["| option | |", "| --- | --- |", *body, ""]


def _cell(text: Any) -> str:
    return str(text).replace("|", "\\|")


def test_the_command_reference_is_current() -> None:
    """docs/commands.md says what ``--help`` says."""
    page = ROOT / "docs" / "commands.md"
    if UPDATE:
        page.write_text(reference(), encoding="utf-8")
    assert page.read_text(encoding="utf-8") == reference()


def codes() -> dict[str, str]:
    """Code to the page below docs/diagnostics that explains it."""
    found: dict[str, str] = {}
    for page in sorted((ROOT / "docs" / "diagnostics").glob("*.md")):
        for code in re.findall(r"^### ([a-z0-9-]+)$", page.read_text(encoding="utf-8"), re.MULTILINE):
            found.setdefault(code, page.stem)
    return found


def test_the_index_of_findings_is_current() -> None:
    """docs/diagnostics.md lists every code, with a link to its section."""
    page = ROOT / "docs" / "diagnostics.md"
    head = page.read_text(encoding="utf-8").partition("| --- | --- |\n")[0]
    rows = [f"| [{code}](diagnostics/{name}.md#{code}) | {name} |\n" for code, name in sorted(codes().items())]
    drawn = head + "| --- | --- |\n" + "".join(rows)
    if UPDATE:
        page.write_text(drawn, encoding="utf-8")
    assert page.read_text(encoding="utf-8") == drawn


def test_every_code_of_the_program_has_a_section() -> None:
    """Whatever is passed as a finding's code is explained somewhere."""
    used: set[str] = set()
    for file in (ROOT / "seedream_jobs").rglob("*.py"):
        text = file.read_text(encoding="utf-8")
        used |= set(
            re.findall(r"(?:finding|findings\.add|problem|template_finding)\(\s*\"([a-z]+(?:-[a-z]+)+)\"", text)
        )
        used |= set(re.findall(r"\bcode=\"([a-z]+(?:-[a-z]+)+)\"", text))
    assert len(used) > 40
    assert used <= set(codes())


def test_the_way_of_the_money_is_the_one_the_readme_names() -> None:
    """Each step of the README's chain calls the next: whoever follows it arrives at the POST."""
    chain = "`pipeline.run` → `pipeline.apply` → `run/session.py` → `run/submit.py`"
    assert chain in (ROOT / "README.md").read_text(encoding="utf-8")
    calls = {
        "cli/run.py": "return pipeline.run(",
        "pipeline.py": "run_session(",
        "run/session.py": "submitter.run(job.submissions)",
        "run/submit.py": "self._service.submit(worker, body,",
    }
    for name, call in calls.items():
        assert call in (ROOT / "seedream_jobs" / name).read_text(encoding="utf-8"), f"{name} does not call {call}"


def named_by_threat() -> dict[str, list[str]]:
    """What each line of the table of threats in docs/security.md names in its last column: files, cases, functions."""
    page = (ROOT / "docs" / "security.md").read_text(encoding="utf-8").partition("## Threats")[2]
    lines = [line.strip("| ").split(" | ") for line in page.splitlines() if line.startswith("| ")][2:]
    return {cells[0]: re.findall(r"`([^`]+)`", cells[-1]) for cells in lines}


def patterns(named: str) -> list[str]:
    """``a-{b,c}-*`` as the names that it stands for, below ``tests`` or its folder of cases."""
    start, _, rest = named.removeprefix("tests/").removeprefix("hostile/cases/").partition("{")
    choices, _, end = rest.partition("}")
    return [start + one + end for one in choices.split(",")]


def there_is(named: str, functions: str) -> bool:
    """Whether a test file, a case or a test function of this name, or any that matches it, exists."""
    tests = ROOT / "tests"
    if named.startswith("test_") and "." not in named:
        return f"def {named}(" in functions
    for pattern in patterns(named):
        if not any(tests.glob(pattern)) and not any((tests / "hostile" / "cases").glob(f"{pattern}.yaml")):
            return False
    return True


def test_every_test_of_a_threat_exists() -> None:
    """Each class of the table names a test, and what it names is there; an invented name is not."""
    functions = "".join(file.read_text(encoding="utf-8") for file in (ROOT / "tests").rglob("test_*.py"))
    told = named_by_threat()
    assert len(told) > 30
    assert [threat for threat, named in told.items() if not named] == []
    missing = [one for named in told.values() for one in named if not there_is(one, functions)]
    assert missing == []
    assert not any(there_is(one, functions) for one in ("tests/job/test_x.py", "no-case-*", "test_of_nothing"))


def test_every_hostile_case_belongs_to_a_threat() -> None:
    """What is tried and kept is named in the table; a case of another kind is a threat that the page does not know."""
    named = [pattern for cells in named_by_threat().values() for one in cells for pattern in patterns(one)]
    cases = {file.stem for file in (ROOT / "tests" / "hostile" / "cases").glob("*.yaml")}
    assert {case for case in cases if not any(fnmatchcase(case, pattern) for pattern in named)} == set()
