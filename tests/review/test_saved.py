"""Saved plans: what is approved is what is run, once."""

from __future__ import annotations

import contextlib
import copy
import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from seedream_jobs import pipeline
from seedream_jobs.api.credentials import ApiKey
from seedream_jobs.emulator.service import read_charges
from seedream_jobs.errors import HeldError, SeedreamError, UsageError
from seedream_jobs.expand.identity import canonical_json
from seedream_jobs.ledger.ledger import Ledger
from seedream_jobs.ledger.paths import paths_for
from seedream_jobs.ledger.state import State
from seedream_jobs.plans import saved
from seedream_jobs.plans.diff import Action
from seedream_jobs.plans.load import EMULATOR_ORIGIN, Target
from seedream_jobs.plans.plan import PlannedRequest
from seedream_jobs.plans.saved import decode
from seedream_jobs.records import lock_records, saved_records
from seedream_jobs.run.images import ImageSteps
from seedream_jobs.run.job_run import job_run
from tests.lanes import examples

Run = Callable[..., Any]
EMULATOR = Target(origin=EMULATOR_ORIGIN, emulator=True)
NOW = 1_800_000_000


def charges(folder: Path) -> int:
    """How many requests the emulator has charged in all."""
    return len(read_charges(folder / ".seedream/emulator/service"))


def digest(file: Path) -> str:
    return str(json.loads(file.read_text(encoding="utf-8"))["digest"])


@pytest.fixture
def plan(campaign: Any, command: Run) -> Path:
    """A saved plan of four requests for the emulator."""
    ended = command("plan", "garden.yaml", "--emulator", "-o", "plan.json")
    assert ended.code == 0, ended.err
    file = campaign.folder / "plan.json"
    assert f"--expect {digest(file)}" in ended.err
    return Path(file)


@pytest.mark.parametrize("place", ["garden.yaml", "garden.manifest.jsonl", "plan.txt", "prompts.json"])
def test_a_plan_is_saved_over_nothing_but_a_plan(campaign: Any, command: Run, plan: Path, place: str) -> None:
    """Not over the job, a record or data; and not under a name that run would not take."""
    file = campaign.folder / place
    if not file.exists():
        file.write_text("[]\n", encoding="utf-8")
    before = file.read_bytes()
    ended = command("plan", "garden.yaml", "--emulator", "-o", place)
    assert (ended.code, file.read_bytes()) == (2, before)
    assert place in ended.err
    assert command("plan", "garden.yaml", "--emulator", "-o", "plan.json").code == 0


def test_a_plan_is_run_once(campaign: Any, command: Run, plan: Path) -> None:
    """What it says and nothing else, with the approved digest; the second time is refused with what to do."""
    ended = command("run", "plan.json", "--emulator", "--no-gallery", "--expect", digest(plan))
    assert ended.code == 0, ended.err
    assert charges(campaign.folder) == 4
    again = command("run", "plan.json", "--emulator")
    assert again.code == 7
    assert "plan.json was carried out on " in again.err
    assert "seedream-jobs fetch garden.yaml --emulator goes on" in again.err
    assert charges(campaign.folder) == 4
    assert command("plan", "garden.yaml", "--emulator").out.endswith("Plan: nothing to submit.\n")


def test_a_run_reads_the_plan_and_no_job_file(campaign: Any, command: Run, plan: Path) -> None:
    """What was approved is sent even if the job file says something else by now."""
    campaign.write("garden.yaml", "broken: [")
    assert command("run", "plan.json", "--emulator", "--detach").code == 0
    ledger = Ledger.peek(
        paths_for(campaign.folder / "garden.yaml", emulator_root=campaign.folder), root=campaign.folder
    )
    assert {entry.request["prompt"] for entry in ledger.entries.values()} == {
        f"{subject} in a garden, {style}"
        for subject in ("a heron", "a tabby cat")
        for style in ("photography", "ink painting")
    }
    (record,) = ledger.plans.values()
    assert (record.finished, record.digest) == (True, digest(plan))


def test_another_plan_than_the_approved_one_is_refused(campaign: Any, command: Run, plan: Path) -> None:
    """--expect comes from the approval, never from the file."""
    ended = command("run", "plan.json", "--emulator", "--expect", "sha256:" + "0" * 64)
    assert ended.code == 7
    assert "is not the plan that was approved" in ended.err
    assert not (campaign.folder / ".seedream/emulator/service").exists() or charges(campaign.folder) == 0


def test_a_plan_that_another_run_overtook_is_refused(campaign: Any, command: Run, plan: Path) -> None:
    """One of its requests was submitted meanwhile: what was approved is no longer what would happen."""
    assert command("run", "garden.yaml", "--limit", "1", "--emulator", "--detach").code == 0
    ended = command("run", "plan.json", "--emulator")
    assert ended.code == 7
    assert "plan.json is overtaken: another run submitted garden/subject=a-heron,style=photo#1" in ended.err
    assert "make a new plan" in ended.err
    assert charges(campaign.folder) == 1


def test_a_request_paid_in_another_job_overtakes_a_plan(campaign: Any, command: Run, plan: Path) -> None:
    """A copy of the job file was run under another name."""
    shutil.copy(campaign.folder / "garden.yaml", campaign.folder / "copy.yaml")
    assert command("run", "copy.yaml", "--limit", "1", "--emulator", "--detach").code == 0
    ended = command("run", "plan.json", "--emulator")
    assert ended.code == 7
    assert "is paid for in copy.yaml" in ended.err


def test_what_a_renamed_job_paid_counts_against_the_budget_of_a_saved_plan(campaign: Any, command: Run) -> None:
    """The other job file goes after the plan was made: what it paid for the plan's requests is this job's money."""
    shutil.copy(campaign.folder / "garden.yaml", campaign.folder / "former.yaml")
    assert command("run", "former.yaml", "--limit", "2", "--emulator", "--detach").code == 0
    campaign.edit("garden.yaml", "version: 1", "version: 1\nlimits: {budget_usd: 0.06}")
    assert command("plan", "garden.yaml", "--emulator", "-o", "plan.json").code == 0
    (campaign.folder / "former.yaml").unlink()
    ended = command("run", "plan.json", "--emulator")
    assert ended.code == 5, ended.err
    assert "0.0456 USD already spent and at most 0.0456 USD for 2 images are over it" in ended.err
    assert charges(campaign.folder) == 2


def test_an_unrelated_change_keeps_the_plan_and_its_digest(campaign: Any, command: Run, plan: Path) -> None:
    """A rebase that changes no request: other commits, comments and files."""
    before = digest(plan)
    campaign.edit("garden.yaml", "version: 1", "# a comment\nversion: 1")
    campaign.write("notes.txt", "x")
    campaign.commit()
    assert command("plan", "garden.yaml", "--base", "main", "--emulator", "-o", "other.json").code == 0
    assert digest(campaign.folder / "other.json") == before
    assert command("run", "plan.json", "--emulator", "--detach", "--expect", before).code == 0


@pytest.mark.parametrize(
    "change",
    [
        ("in a garden", "in a meadow"),
        ("[a heron, a tabby cat]", "[a heron]"),
        ("version: 1", "version: 1\nlimits: {max_requests: 10}"),
        ("version: 1", "version: 1\nlimits: {budget_usd: 3}"),
        ("output:", "repeat: 2\noutput:"),
    ],
)
def test_what_is_approved_is_in_the_digest(campaign: Any, command: Run, plan: Path, change: tuple[str, str]) -> None:
    """Other requests, or other limits, are another plan."""
    campaign.edit("garden.yaml", *change)
    assert command("plan", "garden.yaml", "--emulator", "-o", "other.json").code == 0
    assert digest(campaign.folder / "other.json") != digest(plan)


def test_price_and_budget_are_in_the_digest(command: Run, campaign: Any, plan: Path) -> None:
    """A cheaper promise is another promise."""
    digests = {digest(plan)}
    for options in (["--price", "0.01"], ["--budget", "3"], ["--budget", "4"]):
        assert command("plan", "garden.yaml", "--emulator", "-o", "other.json", *options).code == 0
        digests.add(digest(campaign.folder / "other.json"))
    assert len(digests) == 4


def test_another_record_is_in_the_digest_and_refused(campaign: Any, command: Run, plan: Path) -> None:
    """The manifest was thrown away and another one begun: its keys would be other keys."""
    before = digest(plan)
    (campaign.folder / ".seedream/emulator/garden.manifest.jsonl").unlink()
    assert command("plan", "garden.yaml", "--emulator", "-o", "other.json").code == 0
    assert digest(campaign.folder / "other.json") != before
    ended = command("run", "plan.json", "--emulator")
    assert ended.code == 7
    assert "has another record here" in ended.err


def test_a_plan_of_another_service_is_refused(campaign: Any, command: Run, plan: Path) -> None:
    """A rehearsal's plan spends no money, whatever the key."""
    ended = command("run", "plan.json", "--yes")
    assert ended.code in (4, 7)
    with pytest.raises(HeldError, match="was made for the emulator"):
        saved_records(
            saved.read(plan),
            root=campaign.folder,
            target=Target(origin="https://api.apimart.ai", emulator=False),
            shown="plan.json",
        )


def test_a_plan_to_be_paid_is_not_rehearsed(campaign: Any, command: Run) -> None:
    """The way out is to leave the option out, not to add another one that it excludes."""
    assert command("plan", "garden.yaml", "-o", "paid.json").code == 0
    ended = command("run", "paid.json", "--emulator")
    assert ended.code == 7
    assert "leave --emulator out, or plan a rehearsal" in ended.err


def test_a_plan_is_good_for_seven_days(plan: Path) -> None:
    """Then prices and minds have changed."""
    made = saved.read(plan)
    assert made.made_at is not None
    saved.check_fresh(made, now=made.made_at + saved.LIFE, expect=None, shown="plan.json")
    with pytest.raises(HeldError, match="made in the future"):
        saved.check_fresh(made, now=made.made_at - 2 * 24 * 3600, expect=None, shown="plan.json")
    with pytest.raises(HeldError, match="more than 7 days old"):
        saved.check_fresh(made, now=made.made_at + saved.LIFE + 1, expect=None, shown="plan.json")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--limit", "2"], "--limit can't change a saved plan"),
        (["--limit", "0"], "--limit can't change a saved plan"),
        (["--select", "{style: ink}"], "--select can't change a saved plan"),
        (["--retry-failed"], "--retry-failed can't change a saved plan"),
        (["--set", "a=b"], "--set can't change a saved plan"),
        (["--price", "0.01"], "--price can't change a saved plan"),
        (["garden.yaml"], "a saved plan is run alone"),
    ],
)
def test_nothing_changes_a_saved_plan(command: Run, plan: Path, options: list[str], said: str) -> None:
    """An option that would is refused."""
    ended = command("run", "plan.json", "--emulator", *options)
    assert (ended.code, said in ended.err) == (2, True)


def test_a_saved_plan_is_held_against_today_s_policy(campaign: Any, command: Run, plan: Path) -> None:
    """A plan that was approved before a word was forbidden, or the budget lowered, is not carried out."""
    run = ("run", "plan.json", "--emulator", "--detach")
    for rule, code, said in (
        ("forbidden_words: [heron]", 1, "'heron' may not stand in a prompt (at garden/subject=a-heron,style=photo#1)"),
        ("max_requests: 1", 1, "garden.yaml makes 4 requests: the policy allows 1"),
        ("watermark: true", 1, "the watermark is required"),
        ("budget_usd: 0.03", 5, "budget_usd of policy.yaml"),
    ):
        campaign.write("policy.yaml", f"version: 1\n{rule}\n")
        ended = command(*run)
        assert (ended.code, said in ended.err) == (code, True), rule
    campaign.write("policy.yaml", "version: 1\nbudget_usd: 1\n")
    assert command(*run).code == 0


def test_expect_is_for_saved_plans(command: Run, plan: Path) -> None:
    """A job file has no digest to expect."""
    assert command("run", "garden.yaml", "--emulator", "--expect", "x").code == 2


def test_a_tighter_budget_may_be_given_when_running(command: Run, plan: Path) -> None:
    """Every one given must hold."""
    ended = command("run", "plan.json", "--emulator", "--budget", "0.01")
    assert ended.code == 5
    assert "--budget is 0.01 USD" in ended.err


@pytest.mark.parametrize(
    ("content", "code", "said"),
    [
        (None, 2, "there is no other.json"),
        ("no json", 2, "it is not JSON"),
        ("[]", 2, "is no saved plan"),
        ('{"format": "seedream-jobs/plan/2"}', 2, "has the format 'seedream-jobs/plan/2'"),
        ('{"format": "seedream-jobs/plan/1", "digest": null}', 2, "is a plan to be read"),
        ('{"format": "seedream-jobs/plan/1", "digest": "x"}', 7, "was edited"),
    ],
)
def test_what_is_no_saved_plan_is_told(campaign: Any, command: Run, content: str | None, code: int, said: str) -> None:
    """One line, by run and by show."""
    if content is not None:
        campaign.write("other.json", content)
    for arguments in (["run", "other.json", "--emulator"], ["show", "other.json"]):
        ended = command(*arguments)
        assert (ended.code, said in ended.err) == (code, True), ended.err


def places(data: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Every place in a JSON document that holds no list or mapping."""
    if isinstance(data, dict | list):
        for name, inner in data.items() if isinstance(data, dict) else enumerate(data):
            yield from places(inner, (*path, name))
    else:
        yield path


def edited(data: Any, path: tuple[str | int, ...]) -> Any:
    """The document with another value at one place."""
    found = copy.deepcopy(data)
    inner = found
    for name in path[:-1]:
        inner = inner[name]
    value = inner[path[-1]]
    inner[path[-1]] = not value if isinstance(value, bool) else value + 1 if isinstance(value, int) else f"{value}1"
    return found


def test_any_edit_is_refused(plan: Path) -> None:
    """Whatever value of the file is changed."""
    data = json.loads(plan.read_text(encoding="utf-8"))
    found = list(places(data))
    assert len(found) > 60
    for path in found:
        plan.write_text(json.dumps(edited(data, path)), encoding="utf-8")
        with pytest.raises(SeedreamError):
            saved.read(plan)


@pytest.mark.parametrize(
    "path",
    [
        ("jobs", 0, "changes", 0, "payload", "prompt"),
        ("jobs", 0, "changes", 0, "key"),
        ("jobs", 0, "changes", 0, "generation"),
        ("jobs", 0, "changes", 0, "max_images"),
        ("jobs", 0, "changes", 0, "repeat"),
        ("jobs", 0, "requests_to_submit"),
        ("jobs", 0, "max_images"),
        ("jobs", 0, "manifest"),
        ("jobs", 0, "max_requests"),
        ("price", "usd_per_image"),
        ("digest",),
    ],
)
def test_an_edit_with_a_mended_checksum_is_refused(plan: Path, path: tuple[str | int, ...]) -> None:
    """The requests, the limits and the money are held by the digest, which comes from the approval."""
    data = edited(json.loads(plan.read_text(encoding="utf-8")), path)
    data.pop("checksum")
    plan.write_text(json.dumps(data | {"checksum": saved._checksum(data)}), encoding="utf-8")
    with pytest.raises(HeldError, match="was edited"):
        saved.read(plan)


@settings(max_examples=examples(60), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_edit_is_more_than_a_refusal(plan: Path, data: st.DataObject) -> None:
    """Values of any kind, the checksum mended: what is read is a plan, or is refused; never a mistake of ours."""
    whole = json.loads((plan.with_name("plan.json")).read_text(encoding="utf-8"))
    path = data.draw(st.sampled_from([path for path in places(whole) if path != ("checksum",)]))
    weird = st.sampled_from(
        [None, True, -1, 0, 1.5, 10**30, "", "x", "v1:0", [], ["x"], {}, {"a": 1}, "../..", "\ud800"]
    )
    inner = whole
    for name in path[: data.draw(st.integers(1, len(path))) - 1]:
        inner, path = inner[name], path[1:]
    inner[path[0]] = data.draw(weird)
    whole.pop("checksum", None)
    other = plan.with_name("other.json")
    other.write_text(json.dumps(whole | {"checksum": saved._checksum(whole)}), encoding="utf-8")
    with contextlib.suppress(SeedreamError):
        saved.read(other)


@pytest.mark.parametrize("output", ["../../../etc/x", "/etc/x", "a/../../../x"])
def test_an_edited_file_name_does_not_leave_the_campaign(plan: Path, output: str) -> None:
    """Not digested, and confined all the same."""
    data = json.loads(plan.read_text(encoding="utf-8"))
    data["jobs"][0]["changes"][0]["output"] = output
    data.pop("checksum")
    plan.write_text(json.dumps(data | {"checksum": saved._checksum(data)}), encoding="utf-8")
    with pytest.raises(HeldError, match="was edited"):
        saved.read(plan)


def test_a_plan_written_otherwise_is_the_same_plan(plan: Path) -> None:
    """Layout and the order of keys are no edit."""
    data = json.loads(plan.read_text(encoding="utf-8"))
    plan.write_text(json.dumps(data, sort_keys=True, indent=7), encoding="utf-8")
    saved.read(plan)


def test_the_digest_ignores_what_is_only_shown(plan: Path) -> None:
    """Times, commits, causes, counts of what is done, the ledger's words; and the order of requests."""
    made = saved.read(plan)
    (job,) = made.jobs
    other = replace(
        job,
        shown="x",
        causes=(),
        counts={Action.NEW: 4, Action.DONE: 9},
        requests=13,
        spent_usd=Decimal(1),
        items=tuple(reversed(tuple(job.items))),
    )
    assert saved.digest_of(replace(made, made_at=0, origin="x", jobs=(other,))) == made.digest


def test_the_same_plan_has_the_same_idempotency_keys_on_a_fresh_machine(
    campaign: Any, plan: Path, tmp_path: Path
) -> None:
    """The manifest's id stands in the plan: a second runner without the manifest would be replayed, not charged."""

    def keys(folder: Path) -> list[str]:
        with ExitStack() as stack:
            plan = saved.read(folder / "plan.json")
            records = saved_records(plan, root=folder, target=EMULATOR, shown="plan.json")
            ids = [job.manifest for job in plan.jobs]
            locked = lock_records(records, target=EMULATOR, now=NOW, stack=stack, ids=ids)
            left = pipeline.remaining_plan(plan, locked, target=EMULATOR, root=folder, shown="plan.json")
            work = [
                job_run(
                    job,
                    ledger,
                    expansion=None,
                    root=folder,
                    tariff=left.tariff,
                    urls={},
                    steps=ImageSteps(),
                    detach=True,
                    key=ApiKey("sk-1"),
                )
                for job, ledger in zip(left.jobs, locked.ledgers, strict=True)
            ]
            return [submission.idempotency_key for one in work for submission in one.submissions]

    fresh = tmp_path / "fresh"
    fresh.mkdir()
    for name in ("garden.yaml", "plan.json"):
        shutil.copy(campaign.folder / name, fresh / name)
    (fresh / ".git").mkdir()
    first = keys(campaign.folder)
    assert len(set(first)) == 4
    assert keys(fresh) == first


def test_a_plan_elsewhere_says_where_it_belongs(
    plan: Path, command: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither around the file nor here is the campaign."""
    other = tmp_path / "other"
    other.mkdir()
    shutil.copy(plan, other / "plan.json")
    monkeypatch.chdir(other)
    ended = command("run", "plan.json", "--emulator")
    assert ended.code == 2
    assert "there is no garden.yaml" in ended.err


def test_a_reference_that_changed_is_refused_before_anything_is_sent(
    campaign: Any, command: Run, png: Callable[..., bytes]
) -> None:
    """The one thing that is read again, by its digest."""
    campaign.write("dog.png", png())
    campaign.write("dog.yaml", "version: 1\nrequest: {prompt: a dog, image_urls: [dog.png]}\n")
    assert command("plan", "dog.yaml", "--emulator", "-o", "plan.json").code == 0
    campaign.write("dog.png", b"something else")
    ended = command("run", "plan.json", "--emulator")
    assert ended.code == 7
    assert "the reference 'dog.png' changed since it was planned" in ended.err


def test_an_interrupted_plan_goes_on_with_its_rest(campaign: Any, command: Run) -> None:
    """A signal in the middle; the same command then sends what is left, and each request is charged once."""
    animals = ", ".join(f"animal {number}" for number in range(10))
    campaign.edit("garden.yaml", "[a heron, a tabby cat]", f"[{animals}]")
    assert command("plan", "garden.yaml", "--emulator", "-o", "plan.json").code == 0
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "seedream_jobs",
            "run",
            "plan.json",
            *["--emulator", "--detach", "--concurrency", "1", "--rate", "5/s"],
        ],
        cwd=campaign.folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    books = campaign.folder / ".seedream/emulator/service"
    until = time.monotonic() + 120
    while time.monotonic() < until and not (books.exists() and charges(campaign.folder) >= 3):
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 143
    begun = charges(campaign.folder)
    assert 3 <= begun < 20
    ended = command("run", "plan.json", "--emulator", "--detach")
    assert "This plan was begun: " in ended.err
    assert ended.code in (0, 8)
    assert charges(campaign.folder) == 20
    again = command("run", "plan.json", "--emulator")
    assert (again.code, "was carried out" in again.err) == (7, True)


STATES = st.one_of(st.none(), st.tuples(st.sampled_from(list(State)), st.integers(1, 3)))


@settings(max_examples=examples(100), deadline=None)
@given(brief=STATES, generation=st.integers(1, 3), known=st.one_of(st.none(), st.sampled_from([str(s) for s in State])))
def test_a_request_is_never_sent_in_a_generation_that_was(
    brief: tuple[State, int] | None, generation: int, known: str | None
) -> None:
    """Whatever plan and ledger say: only a generation that is new, or the next one, goes out."""
    for action in (Action.NEW, Action.RETRY, Action.AGAIN):
        item = PlannedRequest(action=action, key="k", address="a", generation=generation, max_images=1, known=known)
        if saved.sendable(item, brief):
            assert brief is None or brief == (State.NEW, generation) or brief[1] == generation - 1
            if brief is not None and brief[0] is not State.NEW:
                assert action is not Action.NEW
                assert str(brief[0]) == known


def test_show_renders_a_saved_plan_as_plan_did(campaign: Any, command: Run) -> None:
    """Every reviewer's view comes out of the file."""
    for form in ("text", "json", "jsonl", "markdown", "github", "gitlab", "sarif", "junit"):
        planned = command("plan", "garden.yaml", "--emulator", "-o", "plan.json", "--format", form)
        shown = command("show", "plan.json", "--format", form)
        assert (shown.code, shown.out) == (0, planned.out)


def test_github_gets_annotations_and_a_summary(
    command: Run, plan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The comment's Markdown is added to the step's page."""
    summary = tmp_path / "summary.md"
    summary.write_text("before\n", encoding="utf-8")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    assert command("show", "plan.json", "--format", "github").out.startswith("::notice file=garden.yaml")
    assert summary.read_text(encoding="utf-8").startswith(
        "before\n<!-- seedream-jobs: plan -->\n### 4 requests, 4 images"
    )


def test_a_saved_plan_is_whole(plan: Path) -> None:
    """Its checksum is over everything, in canonical form."""
    data = json.loads(plan.read_text(encoding="utf-8"))
    decode(data)
    checksum = data.pop("checksum")
    assert checksum == saved._checksum(json.loads(canonical_json(data)))


def test_findings_about_a_plan_end_at_their_bound(campaign: Any, command: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over all its jobs, not for each."""
    campaign.write("other.yaml", (campaign.folder / "garden.yaml").read_text().replace("heron", "owl"))
    assert command("plan", "garden.yaml", "other.yaml", "--emulator", "-o", "plan.json").code == 0
    monkeypatch.setattr(saved, "MAX_FINDINGS", 2)
    campaign.write("policy.yaml", "version: 1\nforbidden_words: [garden]\n")
    ended = command("run", "plan.json", "--emulator")
    assert ended.code == 1
    assert ended.err.count("error[policy-word]") == 2


def test_a_plan_is_read_and_saved_with_a_bound(
    campaign: Any, command: Run, plan: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any file may have its name; and what is saved can be read."""
    monkeypatch.setattr(saved, "MAX_BYTES", plan.stat().st_size - 1)
    with pytest.raises(UsageError, match="which no saved plan has"):
        saved.read(plan)
    ended = command("plan", "garden.yaml", "--emulator", "-o", "other.json")
    assert (ended.code, "a saved plan has at most" in ended.err) == (2, True)
