# ruff: noqa: E501  (jobs and what a plan says of them on one line)
"""Plans against real ledgers: what would be submitted, why, and for how much."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest

from seedream_jobs.errors import ExitCode, FindingsError, HeldError, MoneyError, UsageError
from seedream_jobs.expand.request_builder import Request
from seedream_jobs.ledger.manifest import Entries
from seedream_jobs.ledger.state import Event, State
from seedream_jobs.plans.cost import budget_text, check_budget, money
from seedream_jobs.plans.diff import SUBMITS, Action
from seedream_jobs.plans.options import PlanOptions
from seedream_jobs.plans.plan import _tariff, check_budgets
from seedream_jobs.plans.saved import decode, encode
from seedream_jobs.report.markdown import plan_markdown
from seedream_jobs.report.text import plan_text
from tests.campaign import NOW

THREE = 'version: 1\nrequest: {prompt: "{{ a }}"}\nmatrix: {a: [x, y, z]}\n'

WHAT_STANDS = [
    (State.NEW, Action.NEW, Action.NEW, Action.NEW),
    (State.INTENT, Action.IN_DOUBT, Action.IN_DOUBT, None),
    (State.IN_DOUBT, Action.IN_DOUBT, Action.IN_DOUBT, None),
    (State.ACCEPTED, Action.RESUME, Action.RESUME, None),
    (State.COMPLETED, Action.FETCH, Action.FETCH, None),
    (State.STORED, Action.DONE, Action.DONE, Action.AGAIN),
    (State.REJECTED, Action.FAILED, Action.RETRY, Action.AGAIN),
    (State.FAILED, Action.FAILED, Action.RETRY, Action.AGAIN),
    (State.EXPIRED, Action.FAILED, Action.RETRY, Action.AGAIN),
    (State.ABANDONED, Action.ABANDONED, Action.ABANDONED, Action.AGAIN),
]


def actions(plan: Any, index: int = 0) -> list[Action]:
    job = plan.jobs[index]
    return [change.action for change in job.changes]


@pytest.mark.parametrize(("state", "plain", "retry", "again"), WHAT_STANDS, ids=lambda value: str(value))
def test_every_state(folder: Any, state: State, plain: Action, retry: Action, again: Action | None) -> None:
    """What a plan says of a request in each state: alone, with --retry-failed, and with --again."""
    job = folder.load(THREE)
    folder.record(job, lambda number, request: folder.history(request, state) if number == 1 else [])
    assert actions(folder.plan(job)) == [Action.NEW, plain, Action.NEW]
    assert actions(folder.plan(job, retry_failed=True)) == [Action.NEW, retry, Action.NEW]
    if again is None:
        with pytest.raises(UsageError, match="its last submission is not finished"):
            folder.plan(job, again=("job/a=y#1",))
    else:
        assert actions(folder.plan(job, again=("job/a=y#1",))) == [Action.NEW, again, Action.NEW]


def test_every_state_is_in_the_table() -> None:
    """Each state has its row."""
    assert {row[0] for row in WHAT_STANDS} == set(State)


def test_generations(folder: Any) -> None:
    """A request that was refused goes out as its next generation; one that was never sent keeps its own."""
    job = folder.load(THREE)
    states = [State.NEW, State.FAILED, State.STORED]
    folder.record(job, lambda number, request: folder.history(request, states[number]))
    plan = folder.plan(job, retry_failed=True, again=("job/a=z#1",)).jobs[0]
    assert [(c.action, c.generation) for c in plan.changes.submits()] == [
        (Action.NEW, 1),
        (Action.RETRY, 2),
        (Action.AGAIN, 2),
    ]


@pytest.mark.parametrize("job", [THREE, THREE + "repeat: 3\n", "version: 1\nrequest: {prompt: p}\n"])
def test_after_a_full_run_all_is_kept(folder: Any, job: str) -> None:
    """Planning after a full run is all "keep"."""
    first = folder.load(job)
    folder.record(first, lambda _, request: folder.history(request, State.STORED))
    plan = folder.plan(folder.load(job))
    assert set(actions(plan)) == {Action.DONE}
    assert plan.submit == 0
    assert "Plan: nothing to submit." in folder.text(plan)


def test_renaming_plans_nothing(folder: Any) -> None:
    """Reformatting, reordering or renaming plans 0 to submit."""
    job = folder.load('version: 1\nrequest: {prompt: "{{ a }} {{ b }}"}\nmatrix: {a: [x, y], b: [1, 2]}\n')
    folder.record(job, lambda _, request: folder.history(request, State.STORED))
    changed = 'name: new\nmatrix:\n  number: [2, 1]\n  word:\n    - y\n    - x\nrequest:\n  prompt: "{{word}} {{number}}"\n  size: 1:1\nversion: 1\n'
    plan = folder.plan(folder.load(changed))
    assert (plan.submit, plan.jobs[0].counts) == (0, {Action.DONE: 4})


def test_orphans(folder: Any) -> None:
    """What is in the manifest and no longer in the file is shown, and kept."""
    folder.record(folder.load(THREE), lambda _, request: folder.history(request, State.STORED))
    plan = folder.plan(folder.load(THREE.replace("[x, y, z]", "[y]")))
    assert actions(plan) == [Action.DONE, Action.ORPHANED, Action.ORPHANED]
    assert plan.jobs[0].requests == 1
    assert "- 2 orphaned" in folder.text(plan)


@pytest.mark.parametrize("state", [None, State.NEW, State.REJECTED])
def test_paid_elsewhere(folder: Any, state: State | None) -> None:
    """A key paid in another manifest of the campaign is not paid again without --again, whatever failed here."""
    other = folder.load(THREE, name="other.yaml")
    folder.record(other, lambda number, request: folder.history(request, State.STORED) if number < 2 else [])
    job = folder.load(THREE)
    if state is not None:
        folder.record(job, lambda number, request: folder.history(request, state) if number == 1 else [])
    plan = folder.plan(job, retry_failed=True)
    assert actions(plan) == [Action.ELSEWHERE, Action.ELSEWHERE, Action.NEW]
    assert "= 2 paid  in other.yaml" in folder.text(plan)
    assert actions(folder.plan(job, again=("job/a=x#1",)))[0] is Action.NEW


def test_a_failure_elsewhere_is_no_payment(folder: Any) -> None:
    """Only what counts as spent there stands in the way here."""
    other = folder.load(THREE, name="other.yaml")
    folder.record(other, lambda _, request: folder.history(request, State.REJECTED))
    assert set(actions(folder.plan(folder.load(THREE)))) == {Action.NEW}


def test_two_jobs_of_one_plan(folder: Any) -> None:
    """A request that two jobs of one plan ask for is submitted once."""
    one, two = folder.load(THREE, name="one.yaml"), folder.load(THREE.replace("z", "w"), name="two.yaml")
    plan = folder.plan(one, two)
    assert actions(plan, 1) == [Action.ELSEWHERE, Action.ELSEWHERE, Action.NEW]
    assert (plan.submit, plan.images) == (4, 4)
    assert "= 2 shared  submitted by one.yaml" in folder.text(plan)
    assert "paid" not in folder.text(plan)


def test_limit(folder: Any) -> None:
    """--limit N: the first N now, over all jobs; what is done already does not count."""
    job = folder.load(THREE)
    folder.record(job, lambda number, request: folder.history(request, State.STORED) if number == 0 else [])
    assert actions(folder.plan(job, limit=1)) == [Action.DONE, Action.NEW, Action.LATER]
    other = folder.load(THREE.replace("{{ a }}", "other {{ a }}"), name="other.yaml")
    plan = folder.plan(job, other, limit=3)
    assert [part.submit for part in plan.jobs] == [2, 1]
    assert "later" in folder.text(plan)
    assert folder.plan(job, limit=0).submit == 0


def test_select(folder: Any) -> None:
    """--select takes a partial match or a condition; names that no axis has are refused with a suggestion."""
    job = folder.load(
        'version: 1\nrequest: {prompt: "{{ style.t }} {{ n_ }}"}\nmatrix: {style: [{id: ink, t: i}, {id: oil, t: o}], n_: [1, 2]}\n'
    )
    for select in ("{style: ink}", "style.id == 'ink'", "{style: {t: i}}"):
        plan = folder.plan(job, select=select)
        assert [c.place.cell.choice for c in plan.jobs[0].changes] == [(0, 0), (0, 1)]
    assert folder.plan(job, select="n_ > 2").submit == 0
    for select, said in (
        ("{stile: ink}", "'stile', which is no axis"),
        ("{style: inq}", "the axis 'style' has no value 'inq'"),
        ("{n_: '1'}", "the axis 'n_' has no value '1'"),
        ("stile == 1", "'stile', which is no axis"),
        ("style == 'ink'", "a mapping is compared with a string"),
        ("{style: ", "--select"),
        ("n_ ==", "the expression ends too early"),
    ):
        with pytest.raises(UsageError, match=re.escape(said)):
            folder.plan(job, select=select)


def test_select_does_not_lift_max_requests(folder: Any) -> None:
    """limits.max_requests is held against the whole job."""
    job = folder.load(THREE + "limits: {max_requests: 2}\n")
    with pytest.raises(FindingsError, match="1 error"):
        folder.plan(job, select="{a: x}")


def test_again_of_nothing(folder: Any) -> None:
    """An address that no job has is a mistake, not nothing to do."""
    with pytest.raises(UsageError, match="no request has this address"):
        folder.plan(folder.load(THREE), again=("job/a=w#1",))


def test_another_origin(folder: Any) -> None:
    """A manifest names the origin it was written against; a plan for another one is refused."""
    from seedream_jobs import pipeline
    from seedream_jobs.plans.load import Target

    job = folder.load(THREE)
    folder.record(job, lambda _, request: folder.history(request, State.STORED))
    target = Target(origin="https://other.example", emulator=False)
    with pytest.raises(HeldError, match="written against another service than") as caught:
        pipeline.plan([job], target=target, options=PlanOptions(sets={}))
    assert caught.value.exit_code is ExitCode.HELD


# -- money ---------------------------------------------------------------------------------------------------------


def test_budget_of_the_job(folder: Any) -> None:
    """limits.budget_usd is the job's lifetime, in doubt included: exit 5 with the numbers and the ways out."""
    text = THREE + "limits: {budget_usd: 0.06}\n"
    job = folder.load(text)
    states = [State.STORED, State.IN_DOUBT]
    folder.record(job, lambda number, request: folder.history(request, states[number]) if number < 2 else [])
    with pytest.raises(MoneyError) as caught:
        check_budgets(folder.plan(job))
    assert "0.0456 USD already spent and at most 0.0228 USD for 1 image is over it" in caught.value.message
    assert "limits.budget_usd of job.yaml is 0.06 USD" in caught.value.message
    assert caught.value.exit_code is ExitCode.MONEY
    check_budgets(folder.plan(folder.load(text.replace("0.06", "0.0684"))))  # to the cent
    assert "Budget 0.0684 USD, 0.0456 USD spent." in folder.text(
        folder.plan(folder.load(text.replace("0.06", "0.0684")))
    )


def test_what_a_renamed_job_paid_counts_against_its_budget(folder: Any) -> None:
    """The job file alone is renamed: its record stays under the old name, and what that paid is this job's money.

    As long as the other job file exists, the money is that one's.
    """
    text = THREE + "limits: {budget_usd: 0.06}\n"
    states = [State.STORED, State.IN_DOUBT]
    old = folder.load(text, name="old.yaml")
    folder.record(old, lambda number, request: folder.history(request, states[number]) if number < 2 else [])
    job = folder.load(text, name="new.yaml")
    check_budgets(folder.plan(job))
    old.file.unlink()
    plan = folder.plan(job)
    assert actions(plan) == [Action.ELSEWHERE, Action.ELSEWHERE, Action.NEW]
    with pytest.raises(MoneyError, match=r"0\.0456 USD already spent and at most 0\.0228 USD for 1 image is over it"):
        check_budgets(plan)
    check_budgets(folder.plan(folder.load(text.replace("0.06", "0.0684"), name="new.yaml")))  # to the cent
    other = folder.load(text.replace("{{ a }}", "b {{ a }}"), name="other.yaml")
    assert folder.plan(other, limit=2).jobs[0].spent_usd == 0, "it asks for none of what the old job paid"


def test_refunded_money_is_not_spent(folder: Any) -> None:
    """What was refused or failed counts for nothing."""
    job = folder.load(THREE + "limits: {budget_usd: 0.0684}\n")
    states = [State.REJECTED, State.FAILED, State.NEW]
    folder.record(job, lambda number, request: folder.history(request, states[number]))
    check_budgets(folder.plan(job, retry_failed=True))


def test_budget_of_the_invocation(folder: Any) -> None:
    """--budget holds for all jobs together; with --limit it is held against what goes out now."""
    one, two = folder.load(THREE, name="one.yaml"), folder.load(THREE.replace("{{ a }}", "b {{ a }}"), name="two.yaml")
    budgets = (("--budget", Decimal("0.10")),)
    with pytest.raises(MoneyError, match=r"--budget is 0\.10 USD: at most 0\.1368 USD for 6 images"):
        check_budgets(folder.plan(one, two, budgets=budgets))
    check_budgets(folder.plan(one, two, budgets=budgets, limit=4))
    check_budgets(folder.plan(one, budgets=budgets))


def test_unknown_price() -> None:
    """An unknown price is refused under any budget, and is never 0; without images there is nothing to hold."""
    with pytest.raises(MoneyError, match="the price of an image is unknown"):
        check_budget("--budget", Decimal(100), Decimal(0), None, 1)
    check_budget("--budget", Decimal(0), Decimal(0), None, 0)
    assert money(None) == "unknown cost"


def test_price_given(folder: Any) -> None:
    """--price replaces the dated price."""
    plan = folder.plan(folder.load(THREE), price=Decimal("0.5"))
    assert plan.cost == Decimal("1.5")
    assert "1.5000 USD (0.5 per image, --price)" in folder.text(plan)


def test_money_is_rounded_up() -> None:
    """A maximum stays one: four places, rounded up."""
    assert (
        money(Decimal("0.00001")),
        money(Decimal("2.3")),
        budget_text(Decimal("5")),
        budget_text(Decimal("0.125")),
    ) == (
        "0.0001 USD",
        "2.3000 USD",
        "5.00 USD",
        "0.125 USD",
    )


def test_images_count_at_their_most(folder: Any) -> None:
    """Plans count with the most images that can be charged."""
    plan = folder.plan(
        folder.load(THREE.replace("{prompt", "{n: 2, sequential_image_generation_options: {max_images: 5}, prompt"))
    )
    assert (plan.submit, plan.images, plan.cost) == (3, 15, Decimal("0.0228") * 15)


# -- reasons -------------------------------------------------------------------------------------------------------

GARDEN = """\
version: 1
name: garden
vars: {camera: 35mm}
request:
  prompt: "{{ subject }}, {{ style.text }}, {{ camera }}"
matrix:
  subject: [a heron, an owl]
  style:
    - {id: photo, text: photography}
    - {id: oil, text: oil painting}
"""


def causes(plan: Any) -> list[tuple[str, str, int]]:
    return [(cause.text, cause.place, cause.requests) for cause in plan.jobs[0].causes]


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        (("    - {id: oil, text: oil painting}\n", "    - {id: oil, text: oil painting}\n    - {id: ink, text: ink}\n"), [("axis style gained 'ink'", "garden.yaml:11", 2)]),
        (("[a heron, an owl]", "[a heron, an owl, a fox, a hare]"), [("axis subject gained 'a fox'", "garden.yaml:7", 2), ("axis subject gained 'a hare'", "garden.yaml:7", 2)]),
        (("35mm", "8x10"), [("prompt changed: '35mm' → '8x10'", "", 4)]),
        (("{{ camera }}", "{{ camera }} at dawn"), [("prompt changed: '35mm' → '35mm at dawn'", "", 4)]),
        (("photography}", "a photograph 在花园里}"), [("prompt changed: 'photography' → 'a photograph 在花园里'", "", 2)]),
        (("request:\n", "request:\n  resolution: 3K\n"), [("resolution changed from nothing to '3K'", "", 4)]),
        (("version: 1\n", "version: 1\nrepeat: 3\n"), [("repeat raised to 3", "garden.yaml:2", 8)]),
        (("matrix:\n", "matrix:\n  size: [16:9, 3:2]\n"), [("axis size added", "garden.yaml:7", 8)]),
        (("matrix:\n", "matrix:\n  include: [{subject: a fox, style: oil}]\n"), [("axis subject gained 'a fox'", "garden.yaml:7", 1)]),
    ],
)  # fmt: skip
def test_causes(folder: Any, change: tuple[str, str], wanted: list[tuple[str, str, int]]) -> None:
    """Why requests are new is said once, with the place in the job file."""
    job = folder.load(GARDEN, name="garden.yaml")
    folder.record(job, lambda _, request: folder.history(request, State.STORED))
    assert causes(folder.plan(folder.load(GARDEN.replace(*change), name="garden.yaml"))) == wanted


def test_many_new_values_of_an_axis_are_said_once(folder: Any) -> None:
    """After ``--limit 3`` of 60 nothing was gained: the record can't tell, so the plan says what is certain, once."""
    text = 'version: 1\nrequest: {prompt: "{{ x }} {{ y }}"}\nmatrix:\n  x: [%s]\n  y: [%s]\n'
    job = folder.load(text % (", ".join(map(str, range(10))), "a, b, c, d, e, f"))
    folder.record(job, lambda number, request: folder.history(request, State.STORED) if number < 2 else [])
    assert causes(folder.plan(job)) == [
        ("axis x: 9 values not submitted yet", "job.yaml:4", 54),
        ("axis y: 4 values not submitted yet", "job.yaml:5", 4),
    ]


def test_nothing_submitted_so_far(folder: Any) -> None:
    """A first plan needs no reasons."""
    plan = folder.plan(folder.load(GARDEN, name="garden.yaml"))
    assert causes(plan) == []
    assert "+ 4 new  nothing submitted so far" in folder.text(plan)


def test_not_sent_by_an_earlier_run(folder: Any) -> None:
    """What an earlier run announced and provably did not send says so."""
    job = folder.load(GARDEN, name="garden.yaml")
    folder.record(job, lambda number, request: folder.history(request, State.NEW) if number else [])
    assert ("not sent by an earlier run", "", 3) in causes(folder.plan(job))


def test_what_is_submitted_is_what_is_counted(folder: Any) -> None:
    """The stream of submissions and the summary are one count."""
    job = folder.load(GARDEN, name="garden.yaml")
    states = list(State)
    folder.record(job, lambda number, request: folder.history(request, states[number]))
    part = folder.plan(job, retry_failed=True).jobs[0]
    assert sum(1 for _ in part.changes.submits()) == part.submit
    assert part.submit == sum(count for action, count in part.counts.items() if action in SUBMITS)


ENDS = {State.ACCEPTED: State.FAILED, State.COMPLETED: State.EXPIRED, State.IN_DOUBT: State.REJECTED}


@pytest.mark.parametrize("before", ENDS)
def test_what_fails_while_a_plan_is_carried_out_is_not_retried_by_it(folder: Any, before: State) -> None:
    """--retry-failed: requests are pulled as workers come free, and what is sent is what was agreed to."""
    job = folder.load(THREE)
    states = (State.NEW, State.FAILED, before)
    folder.record(job, lambda number, request: folder.history(request, states[number]))
    (part,) = folder.plan(job, retry_failed=True).jobs
    assert part.submit == 2
    known = part.ledger.entries
    last = [place.key for place in job.expansion.places()][2]
    known.put(replace(known[last], state=ENDS[before]))
    assert [change.action for change in part.changes.submits()] == [Action.NEW, Action.RETRY]


def test_a_plan_of_a_rehearsal_names_commands_of_the_rehearsal(folder: Any) -> None:
    """Without --emulator they would look at another record, and say that nothing was submitted."""
    job = folder.load(THREE)
    states = (State.ACCEPTED, State.COMPLETED, State.IN_DOUBT)
    folder.record(job, lambda number, request: folder.history(request, states[number]))
    document = folder.plan(job)
    said = plan_text(replace(document, origin="emulator"))
    assert [said.count(f"{command} job.yaml --emulator\n") for command in ("fetch", "resolve")] == [2, 1]
    assert "--emulator" not in plan_text(document)


PRICED = 'version: 1\nrequest: {prompt: "{{ a }}"}\nmatrix: {a: [x, y, z, new]}\n'


@pytest.mark.parametrize(
    ("costs", "price", "words"),
    [
        (["0.0228", "0.0228"], None, "(0.0228 per image, 2026-08-22)"),
        (["0.1", "0.0228"], None, "(0.1 per image, charged on 2026-08-02; 0.0228 by the profile of 2026-08-22)"),
        (["0.01", "0.01"], None, "(0.0228 per image, 2026-08-22; 0.01 charged on 2026-08-02)"),
        (["0.1"], "0.02", "(0.02 per image, --price; 0.0228 by the profile of 2026-08-22; 0.1 charged on 2026-08-02)"),
        (["0.1"], "0.1", "(0.1 per image, --price)"),
        ([], "0.02", "(0.02 per image, --price; 0.0228 by the profile of 2026-08-22)"),
        ([], "0.03", "(0.03 per image, --price)"),
        (["0", "0.0228"], None, "(0.0228 per image, 2026-08-22)"),
    ],
)
def test_a_plan_names_the_prices_that_differ(folder: Any, costs: list[str], price: str | None, words: str) -> None:
    """What the service charged last, and the profile's where --price is lower: as text, Markdown and JSON."""
    job = folder.load(PRICED)

    def paid(number: int, request: Request) -> Iterable[Event]:
        if number >= len(costs):
            return []
        events = folder.history(request, State.COMPLETED)
        return [*events[:-1], replace(events[-1], cost_usd=Decimal(costs[number]))]

    folder.record(job, paid)
    plan = folder.plan(job, price=None if price is None else Decimal(price))
    document = plan
    assert words in folder.text(plan)
    assert decode(encode(document)).tariff == plan.tariff
    assert ("**Price per image:**" in plan_markdown(document)) is (";" in words)
    assert plan.cost == plan.tariff.usd * (4 - len(costs))
    assert all(f"{usd} USD" in plan_markdown(document) for _, usd in plan.tariff.beside)


def test_the_last_day_says_the_price(folder: Any) -> None:
    """A price that fell again is not held against the service for ever; a group is counted by its images."""
    job = folder.load(PRICED)

    def paid(number: int, request: Request) -> Iterable[Event]:
        if number > 1:
            return []
        request = replace(request, max_images=1 + 2 * number)
        intended, accepted, done = folder.history(request, State.COMPLETED, at=NOW + 86400 * number)
        images = done.images * request.max_images
        return [intended, accepted, replace(done, images=images, cost_usd=Decimal("0.09"))]

    folder.record(job, paid)
    assert "(0.03 per image, charged on 2026-08-03; 0.0228 by" in folder.text(folder.plan(job))


@pytest.mark.parametrize(
    ("extra", "known"),
    [
        ("{style_preset: x}", True),
        ("{num_images: 4}", False),
        ("{n_samples: 2}", False),
        ("{options: {count: 3}}", False),
    ],
)
def test_an_unknown_field_that_asks_for_images_makes_the_maximum_unknown(folder: Any, extra: str, known: bool) -> None:
    """Refused under any budget as an unknown price is, --price or not."""
    job = folder.load(f"version: 1\nrequest: {{prompt: a, extra: {extra}}}\nlimits: {{budget_usd: 9}}\n")
    plan = folder.plan(job, price=Decimal("0.01"))
    assert (plan.cost is not None) is known
    if known:
        check_budgets(plan)
    else:
        with pytest.raises(MoneyError, match="may ask for more images"):
            check_budgets(plan)


def test_a_plan_has_the_highest_price_of_its_models(folder: Any) -> None:
    """No budget is too wide, whichever job is named first; an unknown price stays unknown."""
    first, second = folder.load(THREE, name="a.yaml"), folder.load(THREE.replace("[x", "[w"), name="b.yaml")
    spec = second.expansion.spec
    for usd in (Decimal("0.5"), None):
        price = None if usd is None else replace(spec.profile.price, usd_per_image=usd)
        dear = type("Spec", (), {"profile": replace(spec.profile, price=price), "extra": {}})
        other = SimpleNamespace(expansion=SimpleNamespace(spec=dear))
        jobs, planned = [first, other], [SimpleNamespace(submit=3), SimpleNamespace(submit=1)]
        ledgers = [SimpleNamespace(entries=Entries())] * 2
        assert _tariff(jobs, planned, ledgers, None).usd == usd
        assert _tariff(jobs, [planned[0], SimpleNamespace(submit=0)], ledgers, None).usd == Decimal("0.0228")


def test_what_several_jobs_ask_for_is_claimed_once(folder: Any) -> None:
    """Each time the plan is looked at: a job sees what earlier jobs claim, and not its own or a later one's."""
    jobs = [folder.load(THREE, name=f"{name}.yaml") for name in "abc"]
    plan = folder.plan(*jobs)
    for _ in range(2):
        for index, job in enumerate(plan.jobs):
            wanted = Action.ELSEWHERE if index else Action.NEW
            assert actions(plan, index) == [wanted] * 3
            assert job.claimed == ({"a.yaml": 3} if index else {})
