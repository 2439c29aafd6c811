"""Each exit code is brought about by a real command, and the page about them is the table the program has."""

from __future__ import annotations

import fcntl
import re
import signal
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from seedream_jobs.errors import PRECEDENCE, ExitCode

PAGE = Path(__file__).parents[2] / "docs" / "exit-codes.md"
BROKEN = "version: 1\nrequest: {promt: heron}\n"


class Stage:
    """What a scenario may use: an emulator, a campaign of three requests, the harness."""

    def __init__(
        self, harness: ModuleType, emulator: Callable[..., Any], shared: Any, campaign: Callable[..., Any]
    ) -> None:
        self.harness, self._emulator, self._shared, self._campaign = harness, emulator, shared, campaign

    def campaign(self, *options: str, requests: int = 3, lines: tuple[str, ...] = ()) -> Any:
        self.service = self._emulator(*options) if options else self._shared
        self.mine = self._campaign(self.service, requests, *lines)
        return self.mine

    def interrupted(self, number: signal.Signals) -> Any:
        mine = self.campaign("--delay", "600")
        command = mine.start("run", "--yes")
        self.harness.until(lambda: self.service.count() == 3, command)
        command.signal(number)
        return command.wait(10)


def finished(stage: Stage) -> Any:
    return stage.campaign().run("--detach")


def findings(stage: Stage) -> Any:
    mine = stage.campaign()
    (mine.folder / mine.job).write_text(BROKEN)
    return mine.run()


def rejected(stage: Stage) -> Any:
    return stage.campaign("--fault", "moderation:first=1").run("--detach")


def bad_option(stage: Stage) -> Any:
    return stage.campaign().run("--no-such-option")


def missing_file(stage: Stage) -> Any:
    mine = stage.campaign()
    mine.job = "nothing.yaml"
    return mine.run()


def nobody_to_ask(stage: Stage) -> Any:
    return stage.campaign().command("run")


def redirected(stage: Stage) -> Any:
    return stage.campaign("--fault", "redirect").run("--detach")


def changes(stage: Stage) -> Any:
    mine = stage.campaign()
    line = [*mine.arguments("plan", mine.job, "--detailed-exitcode")]
    return stage.harness.Command(line, cwd=mine.folder, env=mine.environment()).wait()


def no_key(stage: Stage) -> Any:
    return stage.campaign().run(APIMART_API_KEY="")


def refused_key(stage: Stage) -> Any:
    return stage.campaign().run("--detach", APIMART_API_KEY="invalid")


def over_budget(stage: Stage) -> Any:
    return stage.campaign().run("--budget", "0.05")


def no_money(stage: Stage) -> Any:
    return stage.campaign("--balance", "0.03").run("--detach")


def balance_too_low(stage: Stage) -> Any:
    return stage.campaign("--balance", "0.03").run("--detach", "--check-balance")


def in_doubt(stage: Stage) -> Any:
    return stage.campaign("--fault", "drop-after-accept:first=1").run("--detach")


def held(stage: Stage) -> Any:
    mine = stage.campaign()
    with (mine.folder / "job.manifest.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return mine.run()


def another_service(stage: Stage) -> Any:
    mine = stage.campaign()
    assert mine.run("--detach").code == 0
    mine.base_url = "http://127.0.0.1:9"
    return mine.run()


def still_running(stage: Stage) -> Any:
    mine = stage.campaign("--delay", "600")
    assert mine.run("--detach").code == 0
    mine.age(60)
    return mine.command("fetch", "--deadline", "0")


def not_to_be_asked(stage: Stage) -> Any:
    mine = stage.campaign("--fault", "poll-503", "--delay", "0")
    assert mine.run("--detach").code == 0
    return mine.command("status")


def not_chosen(stage: Stage) -> Any:
    mine = stage.campaign(lines=("select: {one_per: []}",))
    assert mine.run().code == 0
    return mine.command("status", "--offline", "--require-chosen")


def mistake(stage: Stage) -> Any:
    return stage.campaign().run("--detach", fault="a-bug")


def disk(stage: Stage) -> Any:
    return stage.campaign().run("--detach", fault="failing-disk", SEEDED_FSYNC="1")


SCENARIOS: list[tuple[ExitCode, Callable[[Stage], Any], str]] = [
    (ExitCode.OK, finished, "3 submitted"),
    (ExitCode.FINDINGS, findings, "promt"),
    (ExitCode.FINDINGS, rejected, "1 rejected"),
    (ExitCode.USAGE, bad_option, "--no-such-option"),
    (ExitCode.USAGE, missing_file, "nothing.yaml"),
    (ExitCode.USAGE, nobody_to_ask, "--yes"),
    (ExitCode.USAGE, redirected, "307"),
    (ExitCode.CHANGES, changes, "3 to submit"),
    (ExitCode.CREDENTIALS, no_key, "APIMART_API_KEY"),
    (ExitCode.CREDENTIALS, refused_key, "error: "),
    (ExitCode.MONEY, over_budget, "--budget is 0.05 USD"),
    (ExitCode.MONEY, no_money, "error: "),
    (ExitCode.MONEY, balance_too_low, "the balance is 0.0300 USD"),
    (ExitCode.IN_DOUBT, in_doubt, "seedream-jobs resolve job.yaml"),
    (ExitCode.HELD, held, "job.manifest.lock is held by"),
    (ExitCode.HELD, another_service, "was written against another service than http://127.0.0.1:"),
    (ExitCode.UNFINISHED, still_running, "seedream-jobs fetch job.yaml"),
    (ExitCode.UNFINISHED, not_to_be_asked, "running"),
    (ExitCode.NOT_CHOSEN, not_chosen, "the job: no image is chosen"),
    (ExitCode.BUG, mistake, "ZeroDivisionError: a seeded mistake"),
    (ExitCode.LEDGER, disk, "Input/output error"),
    (ExitCode.SIGHUP, lambda stage: stage.interrupted(signal.SIGHUP), "error: interrupted"),
    (ExitCode.SIGINT, lambda stage: stage.interrupted(signal.SIGINT), "error: interrupted"),
    (ExitCode.SIGTERM, lambda stage: stage.interrupted(signal.SIGTERM), "error: interrupted"),
]


# A second way to the same code: tests of the command in its own process, or of signals and budgets, have it, too.
REPEATED = {
    missing_file,
    nobody_to_ask,
    redirected,
    refused_key,
    over_budget,
    balance_too_low,
    another_service,
    not_to_be_asked,
}


@pytest.mark.parametrize(
    ("code", "scenario", "words"),
    [
        pytest.param(
            *row,
            id=f"{int(row[0])}-{row[1].__name__}",
            marks=[pytest.mark.slow] * (row[1] in REPEATED or row[0] in (ExitCode.SIGINT, ExitCode.SIGTERM)),
        )
        for row in SCENARIOS
    ],
)
def test_a_command_ends_with(
    code: ExitCode,
    scenario: Callable[[Stage], Any],
    words: str,
    harness: ModuleType,
    emulator: Callable[..., Any],
    shared_emulator: Any,
    campaign: Callable[..., Any],
) -> None:
    """The code, and the words that tell a person why; never a traceback."""
    ended = scenario(Stage(harness, emulator, shared_emulator, campaign))
    assert ended.code == code, ended.said
    assert words in ended.said
    assert "Traceback" not in ended.said
    errors = [line for line in ended.err.splitlines() if line.startswith("error: ")]
    assert len(errors) <= 1, "one clear line"


def test_every_code_has_a_scenario_and_a_row() -> None:
    """A code that nothing ends with, or that the page does not know, is a mistake in one of the three."""
    rows = re.findall(r"^\| (\d+) \| (\w+) \|", PAGE.read_text(), re.MULTILINE)
    assert [(int(code), name) for code, name in rows] == [(int(code), code.name) for code in ExitCode]
    assert {code for code, _, _ in SCENARIOS} == set(ExitCode)


def test_the_page_tells_the_order_of_precedence() -> None:
    """Where several codes hold, the page and the program name the same one."""
    told = re.search(r"process ends with the first of these: ([0-9, ]+)\.", " ".join(PAGE.read_text().split()))
    assert told is not None
    assert [int(code) for code in told[1].split(", ")] == [int(code) for code in PRECEDENCE]


def test_the_gravest_of_several_is_the_process_code(
    harness: ModuleType, emulator: Callable[..., Any], shared_emulator: Any, campaign: Callable[..., Any]
) -> None:
    """One request in doubt, one rejected, the balance used up: 6, and every reason is told."""
    stage = Stage(harness, emulator, shared_emulator, campaign)
    options = ("--fault", "moderation:first=1", "--fault", "drop-after-accept:first=1", "--balance", "0.05")
    ended = stage.campaign(*options, requests=6).run("--detach", "--concurrency", "1")
    assert ended.code == ExitCode.IN_DOUBT, ended.said
    for words in ("1 in doubt", "1 failed", "error: "):
        assert words in ended.said
