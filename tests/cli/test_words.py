"""What is said where something is in the way, dead or twice: the thing itself, and what to do about it."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from seedream_jobs.cli.terminal import left_to_send
from seedream_jobs.emulator.service import read_charges
from seedream_jobs.errors import ExitCode
from seedream_jobs.ledger.state import ServiceError, State
from seedream_jobs.report.formats import render_status
from seedream_jobs.report.markdown import MAX_CHARACTERS
from seedream_jobs.report.status import Bill, JobStatus, status_text
from seedream_jobs.run.job_run import JobResult
from seedream_jobs.run.retry import Halt
from seedream_jobs.run.submit import Submitted
from tests.canary import CANARY
from tests.service import serving

Command = Callable[..., Any]


@pytest.mark.parametrize(("left", "said"), [(90.0, "the first link dies in 1 min"), (-5.0, "the first link is dead")])
def test_dead_links_are_said_to_be_dead(left: float, said: str) -> None:
    """Not "dies in 0 s"; ``fetch`` may still be given fresh ones."""
    one = JobStatus(job="a.yaml", origin="o", counts=Counter({State.COMPLETED: 2}), first_death=left)
    assert said in status_text([one])
    assert "dies in 0 s" not in status_text([one])


@pytest.mark.parametrize(("origin", "option"), [("emulator", " --emulator"), ("https://api.example", "")])
def test_a_rehearsal_is_named_in_the_next_command(origin: str, option: str) -> None:
    """In text and in every other format; without it the command would look at another record."""
    counts = Counter({State.COMPLETED: 1, State.IN_DOUBT: 1})
    one = JobStatus(job="a.yaml", origin=origin, counts=counts, first_death=90.0, doubtful=[("a#1", "crash")])
    for said in (status_text([one]), "".join(render_status([one], "sarif"))):
        for command in ("fetch", "resolve"):
            assert re.search(rf"seedream-jobs {command} a\.yaml{option}(?! --)", said), said


def test_one_is_not_several() -> None:
    """Of one failure, "it"; the next command is whole, with what the last run set."""
    counts = Counter({State.FAILED: 1, State.NEW: 1})
    said = status_text([JobStatus(job="a.yaml", origin="emulator", counts=counts, sets="--set colour=red")])
    assert "seedream-jobs run a.yaml --emulator --set colour=red --retry-failed submits it again" in said
    assert "2 requests on record" in said


def test_what_counts_as_spent_is_said_where_it_is_not_what_was_charged() -> None:
    """What is in doubt counts with the most it can cost, in text and in Markdown."""
    bill = Bill(usd=Decimal("0.0228"), estimated=Decimal("0.0456"))
    one = JobStatus(job="a.yaml", origin="o", counts=Counter({State.STORED: 1}), bill=bill, spent=Decimal("0.0228"))
    assert status_text([one]).splitlines()[0].endswith("0.0228 USD charged of 0.0456 estimated")
    one.spent = Decimal("0.0456")
    for said in (status_text([one]), "".join(render_status([one], "markdown"))):
        assert "0.0228 USD charged of 0.0456 estimated, 0.0456 USD count as spent" in said


def test_what_counts_for_the_exit_code_is_said() -> None:
    """A run that is open, a request in doubt, failed or expired: each has its remark, and its field of the JSON."""
    error = ServiceError(status=None, code="", message="no")
    kinds = {
        "in-doubt": JobStatus(
            job="a.yaml", origin="o", counts=Counter({State.IN_DOUBT: 1}), doubtful=[("a#1", "open")]
        ),
        "run-open": JobStatus(job="a.yaml", origin="o", lost=["a#1 may be paid"]),
        "failed": JobStatus(job="a.yaml", origin="o", counts=Counter({State.FAILED: 1}), failed=[("a#1", error)]),
        "expired": JobStatus(job="a.yaml", origin="o", counts=Counter({State.EXPIRED: 1}), expired=["a#1"]),
    }
    for code, one in kinds.items():
        assert one.exit_code is not ExitCode.OK
        assert f"title={code}::a#1" in "".join(render_status([one], "github"))
        assert "a#1" in "".join(render_status([one], "json"))
        assert "a#1" in "".join(render_status([one], "markdown"))


def test_a_status_of_a_thousand_jobs_fits_a_comment() -> None:
    """GitHub takes 65,536 characters; what is left out is said, of one job and of all."""
    error = ServiceError(status=None, code="", message="y" * 200)
    failed = [(f"a/subject={'x' * 150}#{number}", error) for number in range(21)]
    one = JobStatus(job="a.yaml", origin="o", counts=Counter({State.FAILED: 21}), failed=failed)
    assert "  - and 1 more\n" in "".join(render_status([one], "markdown"))
    said = "".join(render_status([one] * 1000, "markdown"))
    assert len(said) <= MAX_CHARACTERS
    assert said.endswith("_The rest is left out for length: `seedream-jobs status` has it._\n\n")


def test_what_no_worker_came_to_is_not_sent_either() -> None:
    """A run that was stopped says how many of its requests are left, not how many were in its workers' hands."""
    stopped = Submitted(accepted=25, in_doubt=1, not_sent=8, halt=Halt(stop=ExitCode.SIGINT, reason="interrupted"))
    assert left_to_send(JobResult(submitted=stopped), 60) == 34
    ended = Submitted(accepted=59, not_sent=1)
    assert left_to_send(JobResult(submitted=ended), 60) == 1


@pytest.mark.parametrize("arguments", [("validate",), ("plan",), ("run", "--yes", "--emulator")], ids=" ".join)
def test_a_loop_of_links(quick: Command, campaign: Path, arguments: tuple[str, ...]) -> None:
    """It is there, and it leads nowhere: no guess at its own name."""
    (campaign / "loop.yaml").symlink_to("loop.yaml")
    ended = quick(*arguments, "loop.yaml")
    assert (ended.code, ended.out) == (2, "")
    assert "loop.yaml: it is a symbolic link that leads back to itself" in ended.err
    assert "did you mean" not in ended.err


@pytest.mark.parametrize("name", [".seedream", ".seedream/emulator/out"])
def test_a_file_where_a_folder_is_needed(quick: Command, campaign: Path, name: str) -> None:
    """The file is named; no disk is blamed, and once it is gone nothing is paid twice."""
    (campaign / name).parent.mkdir(parents=True, exist_ok=True)
    (campaign / name).write_text("mine", encoding="utf-8")
    ended = quick("run", "garden.yaml", "--yes", "--emulator")
    assert ended.code == 2, ended.err
    assert f"{campaign / name} is a file where a folder is needed" in ended.err
    assert "disk" not in ended.err
    (campaign / name).unlink()
    assert quick("run", "garden.yaml", "--yes", "--emulator").code == 0
    charges = read_charges(campaign / ".seedream" / "emulator" / "service")
    assert len(charges) == 4


def test_one_job_by_two_paths(quick: Command, campaign: Path) -> None:
    """A linked folder is the same folder: the record would be shared."""
    (campaign / "sub").mkdir()
    (campaign / "garden.yaml").rename(campaign / "sub" / "garden.yaml")
    (campaign / "linked").symlink_to("sub")
    ended = quick("plan", "sub/garden.yaml", "linked/garden.yaml")
    assert (ended.code, ended.out) == (2, "")
    assert "would share garden.manifest.jsonl" in ended.err


def test_what_is_in_doubt_is_listed_in_order(quick: Command, campaign: Path, tmp_path: Path) -> None:
    """By address, as ``resolve`` lists it, whatever the workers finished first."""
    (campaign / "many.yaml").write_text('version: 1\nrequest: {prompt: "{{ x }}"}\nmatrix: {x: [e, b, d, a, c]}\n')
    with serving("--state", str(tmp_path / "books"), "--fault", "drop-after-accept") as url:
        ended = quick("run", "many.yaml", "--yes", "--detach", "--base-url", url, APIMART_API_KEY=CANARY)
    assert ended.code == 6, ended.err
    found = re.findall(r"^    many/x=(\w)#1", ended.err, re.MULTILINE)
    assert len(found) > 1
    assert found == sorted(found)


@pytest.mark.parametrize(
    ("fault", "both"),
    [
        (
            "task-moderation",
            "生成的图片可能包含不允许的内容 (the content is not allowed; change the prompt or the reference images)",
        ),
        ("build-request-failed", "build_request_failed: invalid parameter: size（服务拒绝了某个参数；请修改任务文件）"),
    ],
)
def test_an_error_of_the_service_is_shown_in_two_languages(
    quick: Command, campaign: Path, tmp_path: Path, fault: str, both: str
) -> None:
    """At the end of the run, in the plan, the status and the gallery; the record has the service's words alone."""
    with serving("--state", str(tmp_path / "books"), "--delay", "0", "--fault", fault) as url:
        ended = quick("run", "garden.yaml", "--yes", "--base-url", url, APIMART_API_KEY=CANARY)
    assert ended.code == 1, ended.err
    assert both in ended.err
    said = both.partition(" (" if both.endswith(")") else "（")[0]
    record = (campaign / "garden.manifest.jsonl").read_text("utf-8")
    assert said in record
    assert both not in record
    for arguments in (("plan",), ("status", "--offline"), ("status", "--offline", "--format", "github")):
        shown = quick(arguments[0], "garden.yaml", *arguments[1:], "--base-url", url).out
        assert both in shown, arguments
    status = json.loads(quick("status", "garden.yaml", "--offline", "--format", "json", "--base-url", url).out)
    failed = status[0]["failed"]
    assert {one["message"] for one in failed} == {said}
    assert {tuple(one["meaning"]) for one in failed} == {("en", "zh")}
    page = campaign / "out" / "garden" / "gallery" / "index.html"
    assert both in page.read_text("utf-8")


def test_what_stops_a_run_is_said_in_two_languages(quick: Command, campaign: Path, tmp_path: Path) -> None:
    """What to do stands below it already."""
    with serving("--state", str(tmp_path / "books"), "--fault", "402") as url:
        ended = quick("run", "garden.yaml", "--yes", "--base-url", url, APIMART_API_KEY=CANARY)
    assert ended.code == 5, ended.err
    assert "账户余额不足，请充值后再试 (the balance is used up)\n  top up the account" in ended.err


def test_why_the_service_is_asked_again_is_said_in_two_languages(
    quick: Command, campaign: Path, tmp_path: Path
) -> None:
    """While the run waits; the record has the service's words alone."""
    with serving("--state", str(tmp_path / "books"), "--delay", "0", "--fault", "429:every=2") as url:
        ended = quick("run", "garden.yaml", "--yes", "--json", "--base-url", url, APIMART_API_KEY=CANARY)
    assert ended.code == 0, ended.err
    reasons = {json.loads(line).get("reason") for line in ended.err.splitlines() if line.startswith("{")} - {None}
    assert reasons == {"HTTP 429 rate_limit_error 请求过于频繁，请稍后再试 (too many requests)"}
