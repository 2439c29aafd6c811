"""Budgets, the balance, and what things really cost: through the command, against the service's own books."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from types import ModuleType
from typing import Any

import pytest

PRICE = Decimal("0.0228")


def cost(service: Any, subject: str = "") -> Decimal:
    """USD on the service's books."""
    return sum((Decimal(charge["cost"]) for charge in service.charges(subject)), start=Decimal(0))


def test_the_files_budget_counts_what_is_in_doubt(emulator: Callable[..., Any], campaign: Callable[..., Any]) -> None:
    """``limits.budget_usd`` holds for the job's life: with one of three in doubt there is no room for two more."""
    service = emulator("--fault", "drop-after-accept:first=1")
    mine = campaign(service, 3, "limits: {budget_usd: 0.10}")
    assert mine.run("--detach").code == 6
    mine.write(5, "limits: {budget_usd: 0.10}")
    over = mine.run("--detach")
    assert over.code == 6, "in doubt before over budget; both are told"
    assert "0.0684 USD already spent and at most 0.0456 USD for 2 images are over it" in over.err
    assert mine.command("plan").code == 5, "plan tells the budget"
    assert service.count() == 3
    (doubtful,) = [line["address"] for line in mine.entries().values() if line["state"] == "in_doubt"]
    assert f"1 in doubt: {doubtful} (seedream-jobs resolve job.yaml)" in over.err
    assert mine.command("resolve", doubtful, "--not-charged", "--reason", "a mistake, for this test").code == 0
    mine.write(4, "limits: {budget_usd: 0.10}")
    assert mine.run("--detach").code == 0


@pytest.mark.parametrize(
    ("option", "environment", "file", "words"),
    [
        ("0.05", "9", "9", "--budget is 0.05 USD"),
        ("9", "0.05", "9", "SEEDREAM_JOBS_BUDGET is 0.05 USD"),
        ("9", "9", "0.05", "limits.budget_usd of job.yaml is 0.05 USD"),
    ],
)
def test_every_budget_must_hold(
    option: str, environment: str, file: str, words: str, shared_emulator: Any, campaign: Callable[..., Any]
) -> None:
    """The file's, the option's and the environment's: none of them is overruled by another."""
    mine = campaign(shared_emulator, 3, f"limits: {{budget_usd: {file}}}")
    ended = mine.run("--detach", "--budget", option, SEEDREAM_JOBS_BUDGET=environment)
    assert ended.code == 5
    assert words in ended.err
    assert shared_emulator.count(mine.subject) == 0


def test_what_was_submitted_before_makes_no_room_in_the_budget_of_a_run(
    emulator: Callable[..., Any], campaign: Callable[..., Any]
) -> None:
    """Tasks of an earlier run fail and are refunded while this one sends again what may have been charged."""
    service = emulator("--fault", "task-failed:1", "--delay", "0")
    mine = campaign(service, 6)
    assert mine.run("--detach", "--limit", "3").code == 0
    mine.age(60)
    service.restart("--fault", "500-after-accept:every=2", "--delay", "60")
    calmly = ("--concurrency", "1", "--rate", "2/s", "--deadline", "1s", "--no-gallery")
    ended = mine.run("--budget", str(PRICE * 3), "--retry-server-errors", *calmly)
    assert mine.states()["failed"] == 3, ended.err
    assert service.count() == 3 + 3


AUTO = (
    'version: 1\nrequest: {{prompt: "{subject}{{{{ i }}}}", sequential_image_generation: auto{more}}}\n'
    "matrix: {{i: [1, 2]}}\nlimits: {{budget_usd: {budget}}}\n"
)


@pytest.mark.parametrize(
    ("more", "images"),
    [
        pytest.param(", n: 3", 3, marks=pytest.mark.slow),
        (", sequential_image_generation_options: {max_images: 4}", 4),
        pytest.param(", n: 2, sequential_image_generation_options: {max_images: 5}", 5, marks=pytest.mark.slow),
        ("", 15),
    ],
    ids=["n", "max_images", "both", "neither"],
)
def test_the_most_that_auto_can_deliver_is_what_budgets_count(
    more: str, images: int, emulator: Callable[..., Any], campaign: Callable[..., Any]
) -> None:
    """A service that delivers as much as it may never bills more than the plan said; a cent less is refused."""
    service = emulator("--deliver", "max", "--delay", "0")
    mine = campaign(service, 2)
    job, most = mine.folder / mine.job, PRICE * images * 2
    job.write_text(AUTO.format(subject=mine.subject, more=more, budget=most - Decimal("0.0001")))
    assert mine.run("--detach").code == 5
    assert service.count() == 0
    job.write_text(AUTO.format(subject=mine.subject, more=more, budget=most))
    assert mine.run("--detach").code == 0
    assert cost(service) <= most
    assert [charge["delivered"] for charge in service.charges()] == [images, images]
    mine.age(60)
    ended = mine.command("status")
    assert f"{cost(service):.4f} USD charged of {most:.4f} estimated" in ended.out


def test_what_it_really_cost_stands_beside_the_estimate(
    harness: ModuleType, emulator: Callable[..., Any], campaign: Callable[..., Any]
) -> None:
    """A service that delivers fewer images charges less: the end, status and the next budget all know."""
    service = emulator("--deliver", "fewer", "--delay", "0")
    mine = campaign(service, 2)
    job = mine.folder / mine.job
    job.write_text(AUTO.format(subject=mine.subject, more=", n: 3", budget=PRICE * 6))
    assert mine.run("--detach").code == 0
    mine.age(60)
    ended = mine.command("fetch")
    assert ended.code == 0, ended.err
    assert "0.0912 USD charged of 0.1368 estimated" in ended.out
    stands = mine.command("status").out
    assert "0.0912 USD charged of 0.1368 estimated" in stands
    assert "count as spent" not in stands, "the very amount is not said twice"
    one_more = job.read_text().replace("i: [1, 2]", "i: [1, 2, 3]")
    job.write_text(one_more.replace("n: 3", "n: 2").replace(f"budget_usd: {PRICE * 6}", "budget_usd: 0.15"))
    assert mine.run("--detach").code == 5, "three requests of two images each are 0.1368, and 0.0912 is spent"


def test_a_price_that_rose_is_told_counted_and_named_by_the_next_plan(
    emulator: Callable[..., Any], campaign: Callable[..., Any]
) -> None:
    """0.10 where 0.0228 was counted: said once, the rest of the run counts with it, and the next plan as well."""
    service = emulator("--delay", "0", "--price", "0.10")
    mine = campaign(service, 12, "limits: {budget_usd: 1.00}")
    assert mine.run("--detach", "--limit", "2").code == 0
    mine.age(60)
    slowly = ("--concurrency", "1", "--rate", "2/s", "--deadline", "1s", "--no-gallery")
    ended = mine.run(*slowly)
    assert ended.err.count("the service charges 0.1 USD per image, not 0.0228") == 1, ended.err
    assert ended.code == 5, ended.said
    assert cost(service) <= Decimal("1.00")
    assert "USD would be exceeded: 1.0000 USD are committed" in ended.err
    planned = mine.command("plan", "--limit", "1").out
    assert "(0.1 per image, charged on " in planned
    assert "; 0.0228 by the profile of " in planned


@pytest.mark.parametrize("fate", ["task-without-images-charged", "task-failed-charged"])
def test_a_cost_is_spent_whatever_state_follows(
    fate: str, emulator: Callable[..., Any], campaign: Callable[..., Any]
) -> None:
    """The service bills a task that brings no image: it stays on record, counts, and leaves no room for a retry."""
    service = emulator("--delay", "0", "--fault", fate)
    mine = campaign(service, 1, "limits: {budget_usd: 0.0228}")
    assert mine.run("--detach").code == 0
    mine.age(60)
    ended = mine.command("fetch", "--deadline", "0")
    assert (ended.code, mine.states()) == (1, {"failed": 1}), ended.err
    assert [line["cost_usd"] for line in mine.entries().values()] == ["0.0228"]
    assert "0.0228 USD charged of 0.0228 estimated" in ended.out
    assert "0.0228 USD charged of 0.0228 estimated" in mine.command("status").out
    over = mine.run("--detach", "--retry-failed")
    assert over.code == 5, over.err
    assert "0.0228 USD already spent and at most 0.0228 USD for 1 image is over it" in over.err
    assert cost(service) == PRICE


def test_the_balance_is_compared_before_anything_is_sent(
    emulator: Callable[..., Any], campaign: Callable[..., Any]
) -> None:
    """``--check-balance``: enough goes on, too little or an unreadable balance refuses, nothing is charged."""
    service = emulator("--balance", "0.07")
    mine = campaign(service, 4)
    poor = mine.run("--detach", "--check-balance")
    assert (poor.code, service.count()) == (5, 0)
    assert "the balance is 0.0700 USD: the plan costs at most 0.0912 USD" in poor.err
    assert mine.run("--detach", "--check-balance", "--limit", "3").code == 0
    service.restart("--fault", "balance-fails")
    assert mine.run("--detach", "--check-balance").code == 8
    assert service.count() == 3


def test_a_finished_plan_names_its_doubts_again(emulator: Callable[..., Any], campaign: Callable[..., Any]) -> None:
    """Exit 6 before 7: that the plan is used up is said, and that a person must settle what it left."""
    service = emulator("--fault", "drop-after-accept:first=1", "--delay", "0")
    mine = campaign(service, 2)
    assert mine.command("plan", "-o", "plan.json").code == 0
    plan = replace(mine, job="plan.json")
    assert plan.run("--detach").code == 6
    (doubtful,) = [line["address"] for line in mine.entries().values() if line["state"] == "in_doubt"]
    again = plan.run("--detach")
    assert again.code == 6, again.err
    assert "plan.json was carried out on " in again.err
    assert f"1 in doubt: {doubtful} (seedream-jobs resolve job.yaml)" in again.err
    assert mine.command("resolve", doubtful, "--abandon", "--reason", "given up, for this test").code == 0
    assert plan.run("--detach").code == 7
    assert service.count() == 2
