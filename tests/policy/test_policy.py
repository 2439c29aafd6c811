"""Policy: what it refuses and where, whose policy counts, and that no job raises a limit."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedream_jobs.cli.main import run_command
from seedream_jobs.errors import ExitCode, FindingsError
from seedream_jobs.model_profile import DEFAULT_MODEL, profiles
from seedream_jobs.plans.load import EMULATOR_ORIGIN, Target, load_job
from seedream_jobs.plans.policy import Policy, find_violations, find_word, read_policy

EMULATOR = Target(origin=EMULATOR_ORIGIN, emulator=True)
Check = Callable[..., list[tuple[str, str]]]
JOB = 'version: 1\nrequest: {prompt: "{{ a }} in a garden", resolution: 2K}\nmatrix: {a: [a cat, a heron]}\n'


CASES: dict[str, tuple[str, str, list[tuple[str, str]]]] = {
    "everything allowed": ("models: [doubao-seedream-5.0-lite]\nresolutions: [2K]", JOB, []),
    "resolution": ("resolutions: [3K]", JOB, [("policy-resolution", "2K")]),
    "resolution by default": (
        "resolutions: [3K]",
        "version: 1\nrequest: {prompt: x}",
        [("policy-resolution", "request")],
    ),
    "resolution as an axis": (
        "resolutions: [2K]",
        "version: 1\nrequest: {prompt: x}\nmatrix: {resolution: [2K, 4K]}",
        [("policy-resolution", "4K")],
    ),
    "resolution in an include": (
        "resolutions: [2K]",
        'version: 1\nrequest: {prompt: "{{ a }}"}\nmatrix: {a: [x, y], include: [{a: x, resolution: 4K}]}',
        [("policy-resolution", "4K")],
    ),
    "resolution in the last of a sample": (
        "resolutions: [2K]",
        "version: 1\nrequest: {prompt: x}\nmatrix: {resolution: [2K, 4K], n: [1, 2], sample: {strategy: pairwise}}",
        [("policy-resolution", "4K")],
    ),
    "watermark left out": ("watermark: true", JOB, [("policy-watermark", "request")]),
    "watermark false": (
        "watermark: true",
        "version: 1\nrequest: {prompt: x, watermark: false}",
        [("policy-watermark", "false")],
    ),
    "watermark true": ("watermark: true", "version: 1\nrequest: {prompt: x, watermark: true}", []),
    "a word in a value": ("forbidden_words: [Cat]", JOB, [("policy-word", "cat")]),
    "a word in the template": ("forbidden_words: [GARDEN]", JOB, [("policy-word", "garden")]),
    "a word made of two parts": (
        "forbidden_words: [sun flower]",
        'version: 1\nrequest: {prompt: "{{ a }} {{ b }}"}\nmatrix: {a: [sun], b: [flower]}',
        [("policy-word", '"{{ a }} {{ b }}"')],
    ),
    "a part of a word is another word": ("forbidden_words: [gar, den, at]", JOB, []),
    "a variable's name is no word": ("forbidden_words: [a1]", JOB.replace("{{ a }}", "{{ a }}"), []),
    "hosts": (
        "reference_hosts: [cdn.example.com]",
        "version: 1\nrequest:\n  prompt: x\n  image_urls: [https://cdn.example.com/a.png, https://evil.example/b.png]",
        [("policy-reference-host", "[https://cdn.example.com/a.png, https://evil.example/b.png]")],
    ),
    "no field unchecked": (
        "extra: forbid",
        "version: 1\nrequest: {prompt: x, extra: {callback_url: 'https://evil.example'}}",
        [("policy-extra", "'https://evil.example'")],
    ),
    "a field that is allowed, and one that is not": (
        "extra: {allow: [style_strength]}",
        "version: 1\nrequest: {prompt: x, extra: {style_strength: 0.6, webhook: w}}",
        [("policy-extra", "w")],
    ),
    "a job without such fields": ("extra: forbid", JOB, []),
    "a job's limit above the policy's": (
        "budget_usd: 1\nmax_requests: 10",
        JOB + "limits: {max_requests: 11, budget_usd: 1.5}",
        [("policy-limit", "11"), ("policy-limit", "1.5")],
    ),
    "a job's limit below the policy's": (
        "budget_usd: 1\nmax_requests: 10",
        JOB + "limits: {max_requests: 9, budget_usd: 0.5}",
        [],
    ),
    "too many requests": ("max_requests: 1", JOB, [("policy-max-requests", "matrix")]),
    "an ended waiver": (
        'forbidden_words: [cat]\nwaivers: [{word: cat, jobs: ["**/*"], reason: ok, until: "2026-05-31"}]',
        JOB,
        [("policy-word", "cat")],
    ),
    "a waiver on its last day": (
        'forbidden_words: [cat]\nwaivers: [{word: cat, jobs: ["*.yaml"], reason: ok, until: "2026-06-01"}]',
        JOB,
        [],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_what_is_refused_and_where(name: str, check: Check) -> None:
    """Each rule refuses its case at the value that breaks it, and nothing else."""
    rules, job, expected = CASES[name]
    found = [item for item in check(job + "\n", rules) if item[0].startswith("policy-")]
    assert [item for item in found if item[0] != "policy-waiver-ended"] == expected


def test_a_waiver_is_for_the_jobs_it_names(check: Check) -> None:
    """One star stays in its folder, two cross folders."""
    rules = "forbidden_words: [cat]\nwaivers: [{word: cat, jobs: [%s], reason: ok}]"
    for pattern, held in (("acme/*.yaml", True), ("*.yaml", False), ("**/garden.yaml", True), ("a*/*", True)):
        found = check(JOB, rules % f'"{pattern}"', name="acme/garden.yaml")
        assert (found == []) is held, pattern


@pytest.mark.parametrize(
    ("word", "text", "found"),
    [
        ("gun", "a GUN.", True),
        ("gun", "a gunner", False),
        ("gun*", "a gunner", True),
        ("gun*", "begun", False),
        ("red  cross", "the red\n cross", True),
        ("gun", "a g\u200bun", True),
        ("gun", "a ｇｕｎ", True),
        ("枪", "一把枪在", True),
        ("C++", "in C++ here", True),
        ("straße", "STRASSE", False),
    ],
)
def test_how_words_are_found(word: str, text: str, found: bool, policy: Callable[[str], Policy]) -> None:
    """Whole words whatever their case; invisible characters and wide letters hide nothing; Han has no word ends."""
    rule = policy(f'version: 1\nforbidden_words: ["{word}"]').words[0]
    assert (find_word(rule, text) is not None) is found


@given(st.text(min_size=1, max_size=12).filter(lambda text: text.replace("*", "").strip().isprintable()))
def test_a_word_is_found_in_itself(word: str) -> None:
    """Whatever is forbidden is found where it stands alone."""
    if not word.replace("*", "").strip():
        return
    try:
        policy = read_policy(
            f"version: 1\nforbidden_words: [{json.dumps(word)}]".encode(), "policy.yaml", today=_today()
        )
    except FindingsError:
        return  # what YAML or the schema refuses
    assert find_word(policy.words[0], word.rstrip("*").strip()) is not None


def _today() -> Any:
    import datetime

    return datetime.date(2026, 6, 1)


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("https://cdn.example.com/a.png", True),
        ("https://CDN.example.com./a.png", True),
        ("https://x.example.org/a", True),
        ("https://example.org/a", False),
        ("https://cdn.example.com.evil.net/a", False),
        ("https://cdn.example.com@evil.net/a", False),
        ("https://evilexample.org/a", False),
        ("data:image/png;base64,AAAA", True),
        ("refs/a.png", True),
    ],
)
def test_hosts_are_compared_as_a_browser_would(url: str, allowed: bool, policy: Callable[[str], Policy]) -> None:
    """The host is what a client would connect to, not what the text begins with."""
    held = policy('version: 1\nreference_hosts: [cdn.example.com, "*.example.org"]')
    found = list(held.parameters({"image_urls": [url]}, profiles()[DEFAULT_MODEL]))
    assert (found == []) is allowed


@pytest.mark.parametrize(
    ("text", "codes"),
    [
        ("budget_usd: 1", ["missing-field"]),
        ("version: 1\nbudget: 1", ["unknown-field"]),
        ("version: 1\nwatermark: false", ["not-allowed-value"]),
        ("version: 1\nmodels: [seedream-9]", ["policy-unknown"]),
        ("version: 1\nwaivers: [{word: cat, jobs: [a], reason: x}]", ["policy-unknown"]),
        (
            'version: 1\nforbidden_words: [cat]\nwaivers: [{word: cat, jobs: [a], reason: x, until: "2026-02-30"}]',
            ["bad-value"],
        ),
        ("version: 1\nforbidden_words: [cat]\nwaivers: [{word: cat, jobs: [a]}]", ["missing-field"]),
        ('version: 1\nforbidden_words: [" * "]', ["empty-value"]),
        ("version: 1\nreference_hosts: [https://cdn.example.com]", ["bad-value"]),
        ("version: 1\nextra: allow", ["bad-value"]),
        ("version: 1\nextra: true", ["wrong-type"]),
        ("version: 1\nextra: {forbid: [a]}", ["missing-field", "unknown-field"]),
        ("version: 1\nextra: {allow: []}", ["empty-value"]),
        ("[]", ["wrong-root"]),
    ],
)
def test_a_broken_policy_is_refused(text: str, codes: list[str]) -> None:
    """A policy that can't be understood is never one that allows everything."""
    with pytest.raises(FindingsError) as error:
        read_policy(text.encode(), "policy.yaml", today=_today())
    assert [finding.code for finding in error.value.diagnostics] == codes


def test_references_are_held_before_waivers_are_asked(policy: Callable[[str], Policy]) -> None:
    """A waiver is for words only."""
    held = policy(
        'version: 1\nforbidden_words: [cat]\nwaivers: [{word: cat, jobs: ["**/*"], reason: x}]\nwatermark: true'
    )
    assert list(held.prompt("a cat", PurePosixPath("garden.yaml"))) == []
    assert [found.code for found in held.parameters({}, profiles()[DEFAULT_MODEL])] == ["policy-watermark"]


# -- the commands ------------------------------------------------------------------------------------------------------


@pytest.fixture
def campaign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / ".git").mkdir()
    (tmp_path / "garden.yaml").write_text(JOB, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_campaign_s_policy_holds_everywhere(campaign: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """validate, plan and run refuse with the same code; nothing is submitted."""
    (campaign / "policy.yaml").write_text("version: 1\nresolutions: [3K]\n", encoding="utf-8")
    for command in (["validate"], ["plan", "--emulator"], ["run", "--emulator"]):
        assert run_command([*command, "garden.yaml"]) == ExitCode.FINDINGS
        said = capfd.readouterr()
        assert "policy-resolution" in said.out + said.err
    assert not (campaign / ".seedream").exists()


def test_a_named_policy_stands_for_the_campaign_s(campaign: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """--policy wins over the file in the tree."""
    (campaign / "policy.yaml").write_text("version: 1\nresolutions: [3K]\n", encoding="utf-8")
    (campaign / "other.yaml").write_text("version: 1\nresolutions: [2K]\n", encoding="utf-8")
    assert run_command(["plan", "garden.yaml", "--emulator", "--policy", "other.yaml"]) == ExitCode.OK
    assert run_command(["validate", "garden.yaml", "--policy", "missing.yaml"]) == ExitCode.USAGE
    capfd.readouterr()


def test_the_policy_s_budget_bounds_a_plan_without_one(campaign: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Two images at 0.0228 USD are over 0.03, whether or not the job says anything of a budget."""
    (campaign / "policy.yaml").write_text("version: 1\nbudget_usd: 0.03\n", encoding="utf-8")
    assert run_command(["plan", "garden.yaml", "--emulator"]) == ExitCode.MONEY
    assert "budget_usd of policy.yaml" in capfd.readouterr().err
    assert run_command(["plan", "garden.yaml", "--emulator", "--limit", "1"]) == ExitCode.OK
    assert run_command(["run", "garden.yaml", "--emulator", "--budget", "100"]) == ExitCode.MONEY


def test_the_policy_s_budget_is_for_the_job_s_lifetime(campaign: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Submitting one by one does not get round it."""
    (campaign / "policy.yaml").write_text("version: 1\nbudget_usd: 0.03\n", encoding="utf-8")
    assert run_command(["run", "garden.yaml", "--emulator", "--limit", "1", "--no-gallery"]) == ExitCode.OK
    capfd.readouterr()
    assert run_command(["run", "garden.yaml", "--emulator", "--limit", "1", "--no-gallery"]) == ExitCode.MONEY
    assert "budget_usd of policy.yaml, for garden.yaml" in capfd.readouterr().err


def test_validate_checks_a_policy_that_is_named(campaign: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The hook names every YAML file of a commit: the policy is read as one, others are left out."""
    (campaign / "policy.yaml").write_text("version: 1\nbudget: 3\n", encoding="utf-8")
    (campaign / "compose.yaml").write_text("services: {}\n", encoding="utf-8")
    assert run_command(["validate", "policy.yaml", "compose.yaml", "--only-jobs"]) == ExitCode.FINDINGS
    assert "did you mean 'budget_usd'?" in capfd.readouterr().out
    (campaign / "policy.yaml").write_text("version: 1\nbudget_usd: 3\n", encoding="utf-8")
    assert run_command(["validate", "policy.yaml", "compose.yaml", "garden.yaml", "--only-jobs"]) == ExitCode.OK
    assert capfd.readouterr().err == "policy.yaml: valid policy\ngarden.yaml: valid, 2 requests\n"


def test_amounts_stay_exact(policy: Callable[[str], Policy]) -> None:
    """A budget is the decimal that was written."""
    assert policy("version: 1\nbudget_usd: 0.1").budget_usd == Decimal("0.1")


def test_every_code_is_explained() -> None:
    """Each code of the policy has its section in the documentation, and no section is left over."""
    package = Path(read_policy.__code__.co_filename).parent
    said: set[str] = set()
    for name in ("policy.py", "record_edits.py", "review.py"):
        text = (package / name).read_text(encoding="utf-8")
        said |= set(re.findall(r'"((?:policy|manifest|record)-[a-z-]+)"', text))
    docs = Path(__file__).parents[2] / "docs" / "diagnostics" / "policy.md"
    assert set(re.findall(r"^### ([a-z-]+)$", docs.read_text(encoding="utf-8"), re.M)) == said


WORDS = st.sampled_from(["cat", "a cat", "concatenate", "CAT", "heron", "ca", "t", ""])


@given(template=st.lists(st.sampled_from(["{{ a }}", "{{ b }}", "{{ v }}", " ", "cat", "x"]), min_size=1, max_size=6),
       a=st.lists(WORDS, min_size=1, max_size=3, unique=True), b=st.lists(WORDS, min_size=1, max_size=3, unique=True),
       v=WORDS, drop=st.booleans())  # fmt: skip
def test_a_word_is_refused_wherever_it_comes_from(
    template: list[str], a: list[str], b: list[str], v: str, drop: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """There is a finding if and only if some prompt that is made holds the word; of each finding the place is known."""
    source = {
        "version": 1,
        "vars": {"v": v},
        "request": {"prompt": "p " + "".join(template)},
        "matrix": {"a": a, "b": b} | ({"exclude": [{"a": a[0], "b": b[0]}]} if drop and len(a) * len(b) > 1 else {}),
    }
    file = tmp_path_factory.getbasetemp() / "law.yaml"
    file.write_text(json.dumps(source), encoding="utf-8")
    expansion = load_job(file, shown="law.yaml", target=EMULATOR, sets={}).expansion
    policy = read_policy(b"version: 1\nforbidden_words: [cat]", "policy.yaml", today=_today())
    held = any(
        re.search(r"(?<!\w)cat(?!\w)", expansion.request(place).payload["prompt"], re.IGNORECASE)
        for place in expansion.places()
    )
    found = find_violations(policy, expansion)
    assert bool(found) is held
    assert all(finding.span is not None and finding.related for finding in found)


def test_a_prompt_without_the_words_is_looked_at_once(
    policy: Callable[[str], Policy], check: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also one that is not ASCII, as every Chinese one: not once for each of thousands of words."""
    looked: list[str] = []
    monkeypatch.setattr("seedream_jobs.plans.policy.Policy.prompt", lambda self, text, job: looked.append(text) or ())
    job = 'version: 1\nrequest: {prompt: "{{ a }}"}\nmatrix: {a: [花园里的鹭, "ｃａｔ", 猫, a heron]}\n'
    check(job, "forbidden_words: [cat, 猫]")
    assert looked == ["ｃａｔ", "猫"]
