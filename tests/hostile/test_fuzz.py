"""Whatever a reader is given, it ends with findings or a refusal: soon, in little memory, never by a mistake of ours.

Templates and conditions come from a grammar of what Jinja takes, also of what is not allowed; the files are good ones
with edits (``tests/cli/test_hostile_files.py``), sealed again where a stranger would seal them. 2,000 inputs in the
default lane, 200,000 with ``--slow``; ``fuzz_atheris.py`` goes further, led by what the readers have run.
"""

from __future__ import annotations

import datetime
import json
import os
import re
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from seedream_jobs.atomic_file import Snapshot
from seedream_jobs.errors import SeedreamError
from seedream_jobs.image_header import read_header as read_image_header
from seedream_jobs.job.condition import compile_condition
from seedream_jobs.job.template import MAX_TEXT, TemplateProblem, compile_template, environment
from seedream_jobs.ledger.codec import Malformed, canonical, seal, unsealed
from seedream_jobs.ledger.journal import read_header, read_journal
from seedream_jobs.ledger.lock import who_holds
from seedream_jobs.ledger.manifest import Manifest, alone, read_manifest
from seedream_jobs.ledger.state import State
from seedream_jobs.plans import saved
from seedream_jobs.plans.load import Rules, Target, validate_jobs
from seedream_jobs.plans.policy import read_policy
from seedream_jobs.results.image_metadata import labels_in
from seedream_jobs.results.sidecar import FORMAT as SIDECAR
from seedream_jobs.results.sidecar import read_sidecars
from tests.cli.test_hostile_files import EXAMPLES, changed, edited
from tests.lanes import examples

GOLDEN = Path(__file__).parents[1] / "golden"
TARGET = Target(origin="https://api.example", emulator=False)
TODAY = datetime.date(2026, 8, 2)
IMAGES = sorted(file for file in (EXAMPLES[0].parent / "refs").iterdir() if file.suffix in (".png", ".jpg", ".jpeg"))
CPU_SECONDS = 5
MEMORY_MIB = 64


def bounded(many: int) -> settings:
    """``many`` inputs in the long lane, a hundredth of them in the other."""
    return settings(
        max_examples=examples(many, few=many // 100),
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


class Breach(BaseException):
    """A bound was passed. A BaseException, so that no product code can swallow it."""


def _out_of_time(*_: Any) -> None:
    raise Breach(f"more than {CPU_SECONDS} s")


def _peak() -> int:
    """The most memory in KiB that this process had since the last look at it, which begins it anew."""
    found = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
    assert found is not None
    Path("/proc/self/clear_refs").write_text("5")
    return int(found[1])


@contextmanager
def held(*allowed: type[BaseException]) -> Iterator[None]:
    """What runs in it ends within its bounds, by itself or by one of the errors ``allowed``."""
    _peak()
    before = _peak()
    usual = signal.signal(signal.SIGVTALRM, _out_of_time)
    signal.setitimer(signal.ITIMER_VIRTUAL, CPU_SECONDS)
    try:
        yield
    except allowed:
        pass
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, usual)
    more = (_peak() - before) // 1024
    if more > MEMORY_MIB:
        raise Breach(f"{more} MiB")


# -- templates ---------------------------------------------------------------------------------------------------------

DATA: dict[str, Any] = {
    "a": "a heron",
    "b": 7,
    "m": {"id": "ink", "text": "ink on paper", "items": [1, 2], "deep": {"er": [None, {"x": "é"}]}},
    "rows": [{"n": n, "t": "ab" * n} for n in range(30)],
    "long": "lorem ipsum %1000000000d {0:1000000000} " * 1000,
    "f": 0.5,
    "t": True,
    "none": None,
}
ATOMS = st.sampled_from(
    (
        *DATA,
        *("0", "1", "2", "-1", "999999999", "1e308", "0x7fffffff", "true", "none", "''", "'a'", "'a b-c'", "'%s'"),
        *("'%999999999d'", "'%(a)9999d'", "'%*d'", "'__class__'", "'n'", "'upper'", "'indent'", "[]", "{}", "()"),
        *("range(99999)", "range(9)", "namespace(x=9)", "joiner()", "ns", "loop", "self", "_x", "x", "'\\ud800'"),
        *("1e999", "9" * 30, "'x' * 99999", "rows | map(attribute='t')", "long[::-1]", "loop.cycle", "ns.x", "caller"),
    )
)
FILTERS = st.sampled_from([*sorted(environment().filters), "pprint", "random", "batch", "center"])
TESTS = st.sampled_from([name for name in sorted(environment().tests) if name.isalpha()] + ["callable", "sameas"])
FIELDS = st.sampled_from(("id", "items", "n", "x", "upper", "format", "__class__", "index", "append", "0", "_x"))
OPERATORS = ("+", "-", "*", "/", "//", "%", "**", "~", "==", "!=", "<", ">=", "in", "not in", "and", "or", "is")
BINARY = st.sampled_from(OPERATORS)


def _larger(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    arguments = st.lists(inner, max_size=3).map(", ".join)
    return st.one_of(
        st.builds("({} {} {})".format, inner, BINARY, inner),
        st.builds("{} | {}".format, inner, FILTERS),
        st.builds("{} | {}({})".format, inner, FILTERS, arguments),
        st.builds("({} | map({}, {}) | list)".format, inner, FILTERS.map(repr), arguments),
        st.builds("{} is {}".format, inner, TESTS),
        st.builds("{} is {}({})".format, inner, TESTS, arguments),
        st.builds("({}).{}".format, inner, FIELDS),
        st.builds("({}).{}({})".format, inner, FIELDS, arguments),
        st.builds("({})[{}]".format, inner, inner),
        st.builds("({})[{}:{}]".format, inner, inner, inner),
        st.builds("({} if {} else {})".format, inner, inner, inner),
        st.builds("[{}, {}]".format, inner, inner),
        st.builds("{{'k': {}, {}: 1}}".format, inner, inner),
        st.builds("(not {})".format, inner),
        st.builds("(-{})".format, inner),
        st.builds("range({})".format, arguments),
        st.builds("{}({})".format, inner, arguments),
        st.builds("({} * {})".format, inner, st.sampled_from(("99999", "long", "10 ** 9"))),
        st.builds("{}{}{}".format, st.just("(" * 40), inner, st.just(")" * 40)),
    )


EXPRESSIONS = st.recursive(ATOMS, _larger, max_leaves=8)


def _blocks(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.builds("{}{}".format, inner, inner),
        st.builds("{{% for x in {} %}}{}{{{{ loop.index }}}}{{% endfor %}}".format, EXPRESSIONS, inner),
        st.builds("{{% for x in range(999) %}}{}{{% endfor %}}".format, inner),
        st.builds("{{% for x, y in m | items if {} %}}{}{{% else %}}-{{% endfor %}}".format, EXPRESSIONS, inner),
        st.builds("{{% for x in {} recursive %}}{}{{{{ loop(x) }}}}{{% endfor %}}".format, EXPRESSIONS, inner),
        st.builds("{{% if {} %}}{}{{% elif {} %}}-{{% endif %}}".format, EXPRESSIONS, inner, EXPRESSIONS),
        st.builds("{{% set ns = namespace(x={}) %}}{}{{% set ns.x = {} %}}".format, EXPRESSIONS, inner, EXPRESSIONS),
        st.builds("{{% set ns.x = [ns.x, ns.x, {}] %}}{}".format, EXPRESSIONS, inner),
        st.builds("{{% set x %}}{}{{% endset %}}{{{{ x ~ x ~ x }}}}".format, inner),
        st.builds("{{% set x = {} %}}{}".format, EXPRESSIONS, inner),
        st.builds("{{% filter {} %}}{}{{% endfilter %}}".format, FILTERS, inner),
        st.builds("{{% with x = {} %}}{}{{% endwith %}}".format, EXPRESSIONS, inner),
        st.builds("{{% macro x() %}}{}{{{{ x() }}}}{{% endmacro %}}{{{{ x() }}}}".format, inner),
        st.builds("{{% raw %}}{}{{% endraw %}}{{# {} #}}".format, inner, inner),
        st.builds("{{% {} {} %}}".format, st.sampled_from(("include", "import", "block", "do", "endfor")), inner),
    )


TEMPLATES = st.recursive(
    st.one_of(
        st.builds("{{{{ {} }}}}".format, EXPRESSIONS), st.just(" of "), st.sampled_from(("{{", "%}", "é\n", "{#"))
    ),
    _blocks,
    max_leaves=6,
)


@bounded(100_000)
@given(TEMPLATES)
def test_templates(source: str) -> None:
    """A template is made into a text that a prompt may have, or there is a problem with it."""
    with held(TemplateProblem):
        assert len(compile_template(source).render(DATA)) <= MAX_TEXT


@bounded(25_000)
@given(EXPRESSIONS)
def test_conditions(source: str) -> None:
    """A condition holds or not, or there is a problem with it."""
    with held(TemplateProblem):
        assert compile_condition(source)(DATA) in (True, False)


# -- job files ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", autouse=True)
def campaign(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with the data of the examples, in which the readers run."""
    folder = tmp_path_factory.mktemp("fuzz")
    for name in ("data", "refs"):
        shutil.copytree(EXAMPLES[0].parent / name, folder / name)
    before = Path.cwd()
    os.chdir(folder)
    yield folder
    os.chdir(before)


def validated(text: str) -> None:
    Path("job.yaml").write_bytes(text.encode("utf-8", "surrogatepass"))
    with held(SeedreamError):
        validate_jobs([Path("job.yaml")], target=TARGET, sets={})


@bounded(10_000)
@given(st.data())
def test_job_files(data: st.DataObject) -> None:
    """An example with edits."""
    example = data.draw(st.sampled_from(EXAMPLES)).read_text(encoding="utf-8")
    validated(data.draw(st.composite(edited)(example)))


NUMBERS = st.one_of(st.integers(-3, 40), st.sampled_from((10**9, 10**18, -(10**30), 0.1, -1.7e308, 1.7e308)))
AXES = st.one_of(
    st.lists(st.one_of(NUMBERS, st.sampled_from(("x", "y", "{{ a }}", "", "é", None, True))), max_size=4),
    st.fixed_dictionaries({"range": st.lists(NUMBERS, min_size=1, max_size=4)}),
    st.lists(st.fixed_dictionaries({"id": st.sampled_from("xyz"), "t": st.text(max_size=3)}), max_size=3),
    st.sampled_from(({"from": "data/birds.txt"}, {"glob": "refs/*.png"}, {"glob": "**/*?*[a]*"}, {"from": ".."})),
)
MATRICES = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys("abcdefgh", AXES),
        "zip": st.dictionaries(st.sampled_from("stu"), AXES, max_size=3),
        "where": st.one_of(EXPRESSIONS, st.sampled_from(("a == b", "a < 2", "a is defined"))),
        "exclude": st.lists(st.dictionaries(st.sampled_from("abs"), NUMBERS, max_size=2), max_size=3),
        "include": st.lists(st.dictionaries(st.sampled_from("abs"), NUMBERS, max_size=2), max_size=3),
        "sample": st.fixed_dictionaries({"size": NUMBERS}, optional={"strategy": st.just("pairwise")}),
    },
)


@bounded(10_000)
@given(MATRICES, TEMPLATES, NUMBERS)
def test_matrices(matrix: Any, prompt: str, repeat: Any) -> None:
    """A matrix of any axes, a prompt of any template."""
    whole = {"version": 1, "repeat": repeat, "request": {"prompt": prompt}, "matrix": matrix}
    validated(yaml.safe_dump(whole, allow_unicode=True))


DATA_FILES = sorted(file for file in (EXAMPLES[0].parent / "data").iterdir())
AXIS_FILES = (
    *("{from: FILE}", "{from: FILE, column: name}", "{from: FILE, limit: 2}", "{from: FILE, where: row.name != 'x'}"),
    *("{from: FILE, types: {name: number}}", "{from: FILE, types: {name: string}, column: name}"),
)


@bounded(10_000)
@given(st.data())
def test_axis_files(data: st.DataObject) -> None:
    """Each format with edits: of text, or of bytes."""
    file = data.draw(st.sampled_from(DATA_FILES))
    raw = file.read_bytes()
    if data.draw(st.booleans()):
        raw = data.draw(st.composite(edited)(raw.decode())).encode("utf-8", "surrogatepass")
    else:
        raw = byte_edits(data, raw)
    Path(f"edited{file.suffix}").write_bytes(raw)
    axis = data.draw(st.sampled_from(AXIS_FILES)).replace("FILE", f"edited{file.suffix}")
    validated(f'version: 1\nrequest: {{prompt: "{{{{ x }}}}"}}\nmatrix: {{x: {axis}}}\n')


POLICY = """\
version: 1
budget_usd: 25.00
max_requests: 500
models: [doubao-seedream-5-0-lite]
resolutions: [2K, 3K]
watermark: true
forbidden_words: [gun*, {word: Acme, reason: a trademark}]
waivers:
  - {word: Acme, jobs: ["a/*/**/*.yaml"], reason: the client, until: "2026-12-31"}
extra: {allow: [style_strength]}
reference_hosts: [cdn.example.com, "*.example.org"]
ignored_files: ["out/garden/*.jpeg"]
"""


@bounded(5_000)
@given(st.data())
def test_policies(data: st.DataObject) -> None:
    """A policy with edits, which a job is then held against."""
    text = data.draw(st.composite(edited)(POLICY))
    with held(SeedreamError):
        policy = read_policy(text.encode("utf-8", "surrogatepass"), "policy.yaml", today=TODAY)
        rules = Rules(policy_of=lambda root: policy)
        validate_jobs([EXAMPLES[0]], target=TARGET, sets={}, rules=rules)


@bounded(10_000)
@given(st.data())
def test_small_files(data: st.DataObject) -> None:
    """What lies beside a record: a lock's words, a sidecar, and the images that a job refers to."""
    sidecar = {
        "format": SIDECAR,
        "key": "v1:ab",
        "generation": 1,
        "image": {"file": "a.png", "number": 1, "format": "png"},
    }
    image = data.draw(st.sampled_from(IMAGES)).read_bytes()[:4096]
    with held(SeedreamError):
        image = byte_edits(data, image)
        read_image_header(image)
        labels_in(image)
        Path("small.json").write_bytes(byte_edits(data, json.dumps(sidecar).encode()))
        who_holds(Path("small.json"))
        read_sidecars(Path(), Path())


# -- records and plans -------------------------------------------------------------------------------------------------


def altered(data: st.DataObject, raw: bytes) -> bytes:
    """Lines of a record with changes, most of them sealed again."""
    if data.draw(st.integers(0, 3)) == 0:
        edited_lines = byte_edits(data, b"\n".join(map(unsealed, raw.splitlines()))).split(b"\n")
        return b"\n".join(seal(line) if line[:1] == b"{" else line for line in edited_lines) + b"\n"
    lines = [json.loads(unsealed(line)) for line in raw.splitlines()]
    lines = data.draw(st.composite(changed)(lines))
    if data.draw(st.integers(0, 9)) == 0:
        return b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    made = []
    for line in lines:
        try:
            made.append(seal(canonical(line)))
        except (TypeError, ValueError, AttributeError):  # no line of a record could be sealed that is this
            made.append(json.dumps(line).encode())
    return b"\n".join(made) + b"\n"


def byte_edits(data: st.DataObject, raw: bytes) -> bytes:
    """Bytes with one to three stretches replaced, also by what nests deep, is no UTF-8 or ends a line."""
    pieces = (
        b"",
        b"\0",
        b"\xff",
        b"\n",
        b'"',
        b"}",
        b"[" * 3000,
        b"9" * 5000,
        b"\\ud800",
        b"\\u0000",
        b"..",
        b"1e999",
        b",",
    )
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(raw)))
        raw = raw[:at] + data.draw(st.sampled_from(pieces)) + raw[at + data.draw(st.integers(0, 12)) :]
    return raw


def looked_at(manifest: Manifest) -> None:
    """What commands ask of a manifest once it is read."""
    for key in manifest.entries:
        manifest.entries[key]
        manifest.entries.submitted_day(key)
    manifest.open_runs()
    manifest.entries.shared_tasks()
    list(manifest.entries.prices())
    len(manifest.entries.former)
    if manifest.header is not None and not manifest.entries.keys_in(State.INTENT):
        list(manifest.chunks())


@bounded(13_000)
@given(st.data())
def test_manifests(data: st.DataObject) -> None:
    """A manifest with changes."""
    raw = data.draw(st.sampled_from(sorted(GOLDEN.glob("records/*.jsonl")))).read_bytes()
    raw = b"\n".join(raw.split(b"\n")[: data.draw(st.integers(2, 12))]) + b"\n"
    with held(SeedreamError):
        looked_at(read_manifest(altered(data, raw), "job.manifest.jsonl"))


@bounded(12_000)
@given(st.data())
def test_journals(data: st.DataObject) -> None:
    """A journal with changes, and what it says alone."""
    raw = (GOLDEN / "records/run.journal").read_bytes()
    raw = b"\n".join(raw.split(b"\n")[: data.draw(st.integers(1, 20))]) + b"\n"
    with held(SeedreamError):
        hostile = altered(data, raw)
        read_header(Snapshot(hostile))
        contents = read_journal(hostile, "job.journal")
        if contents is not None:
            looked_at(alone(contents))


@bounded(5_000)
@given(st.data())
def test_saved_plans(data: st.DataObject) -> None:
    """A saved plan with changes, its checksum mended."""
    plan = json.loads(data.draw(st.sampled_from(sorted(GOLDEN.glob("plans/*.json")))).read_bytes())
    plan = data.draw(st.composite(changed)(plan))
    if data.draw(st.booleans()) and isinstance(plan, dict):
        plan.pop("checksum", None)
        try:
            plan["checksum"] = saved._checksum(plan)
        except (ValueError, Malformed):  # half a character, or too deep
            plan["checksum"] = ""
    Path("plan.json").write_text(json.dumps(plan), encoding="utf-8")
    with held(SeedreamError):
        saved.read(Path("plan.json"))


# -- the tests catch what they are for ---------------------------------------------------------------------------------


def test_a_reader_that_fails_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """A KeyError of ours, whatever raised it."""

    def faulty(*_: Any, **__: Any) -> None:
        raise KeyError("at")

    monkeypatch.setattr("seedream_jobs.plans.load.load_job", faulty)
    with pytest.raises(KeyError):
        validated("version: 1\n")


def test_a_filter_that_builds_a_giant_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """100 MB for a moment."""
    monkeypatch.setitem(environment().filters, "slug", lambda value: ("x" * 100_000_000)[:3])
    with pytest.raises(Breach, match="MiB"), held(TemplateProblem):
        compile_template("{{ a | slug }}").render(DATA)


def test_what_never_ends_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """A loop that no bound stops."""
    monkeypatch.setattr(f"{__name__}.CPU_SECONDS", 0.2)
    with pytest.raises(Breach, match="more than"), held(TemplateProblem):
        all(iter(lambda: 1, 0))
