"""stdout is data, stderr is talk; colours only where a person looks; JSON Lines for machines."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from seedream_jobs.report.progress import FIELDS

Command = Callable[..., Any]
ESCAPE = "\x1b["
BAD = "version: 1\nrequest: {prompt: hi, sise: '1:1'}\n"


def on_a_terminal(arguments: list[str], folder: Path, typed: bytes = b"", **environment: str) -> str:
    """What a command shows on a terminal (stdout and stderr alike), to a person who has ``typed`` that."""
    leader, follower = pty.openpty()
    os.write(leader, typed)
    plain = {"PATH": os.environ["PATH"], "HOME": str(folder), "LANG": "C.UTF-8", "TERM": "xterm"}
    if "PYTHONPATH" in os.environ:
        plain["PYTHONPATH"] = os.environ["PYTHONPATH"]
    with subprocess.Popen(
        [sys.executable, "-m", "seedream_jobs", *arguments],
        cwd=folder,
        env=plain | environment,
        stdin=follower,
        stdout=follower,
        stderr=follower,
    ) as process:
        os.close(follower)
        shown = b""
        while True:
            try:
                more = os.read(leader, 65536)
            except OSError:  # Linux: the other side is closed
                break
            if not more:
                break
            shown += more
        process.wait()
    os.close(leader)
    return shown.decode()


def test_json_on_stdout_is_only_json(quick: Command, campaign: Path) -> None:
    """A warning beside it goes to stderr: `plan --format json | jq` never breaks."""
    job = (campaign / "garden.yaml").read_text(encoding="utf-8")
    (campaign / "garden.yaml").write_text(job.replace("[16:9, 1:1]", "[16:9, 1:1]\n  where: 'true'"), encoding="utf-8")
    ended = quick("plan", "garden.yaml", "--format", "json")
    assert json.loads(ended.out)
    assert "warning" in ended.err


def test_expand_prints_one_request_a_line(quick: Command) -> None:
    assert "    " not in quick("expand", "garden.yaml").out, "no gap where a request has no parameters"
    lines = quick("expand", "garden.yaml", "--format", "jsonl").out.splitlines()
    assert [json.loads(line)["address"].partition("/")[0] for line in lines] == ["garden"] * 4


def test_valid_jobs_leave_stdout_empty(quick: Command) -> None:
    """Findings are the data; "valid" is talk."""
    ended = quick("validate", "garden.yaml")
    assert (ended.code, ended.out, ended.err) == (0, "", "garden.yaml: valid, 4 requests\n")


def test_colours_only_on_a_terminal_that_wants_them(command: Command, campaign: Path) -> None:
    """Pipe: none. Terminal: some. NO_COLOR or a dumb terminal: none."""
    (campaign / "bad.yaml").write_text(BAD, encoding="utf-8")
    assert ESCAPE not in command("validate", "bad.yaml").out
    assert ESCAPE in on_a_terminal(["validate", "bad.yaml"], campaign)
    assert ESCAPE not in on_a_terminal(["validate", "bad.yaml"], campaign, NO_COLOR="1")
    assert ESCAPE not in on_a_terminal(["validate", "bad.yaml"], campaign, TERM="dumb")


def test_the_marks_of_a_plan_and_a_status_are_coloured(command: Command, campaign: Path) -> None:
    """FORCE_COLOR colours a pipe, too, NO_COLOR wins over it; without colours the text is the same, to the letter."""
    green, dim = "\x1b[32m+ 4\x1b[0m new", "\x1b[2m= 4\x1b[0m stored"
    plain = command("plan", "garden.yaml", "--emulator").out
    assert green in on_a_terminal(["plan", "garden.yaml", "--emulator"], campaign)
    assert command("plan", "garden.yaml", "--emulator", TERM="xterm").out == plain
    forced = command("plan", "garden.yaml", "--emulator", FORCE_COLOR="1").out
    assert (green in forced, re.sub(r"\x1b\[[\d;]*m", "", forced)) == (True, plain)
    assert command("plan", "garden.yaml", "--emulator", FORCE_COLOR="1", NO_COLOR="1").out == plain
    assert "\x1b[32m+4\x1b[0m" in command("plan", "garden.yaml", "--emulator", "--concise", FORCE_COLOR="1").out
    ran = on_a_terminal(["run", "garden.yaml", "--emulator"], campaign)
    assert green in ran
    status = ["status", "garden.yaml", "--emulator", "--offline"]
    assert dim in on_a_terminal(status, campaign)
    assert ESCAPE not in on_a_terminal(status, campaign, NO_COLOR="1")
    assert ESCAPE not in on_a_terminal(status, campaign, TERM="dumb")
    assert "\x1b[2m=4\x1b[0m" in command("plan", "garden.yaml", "--emulator", "--concise", FORCE_COLOR="1").out


def test_progress_as_json_lines(command: Command, campaign: Path) -> None:
    """Every line of stderr parses and says when and what; counts only grow; the last one says how it ended."""
    ended = command("run", "garden.yaml", "--emulator", "--json")
    assert ended.code == 0
    events = [json.loads(line) for line in ended.err.splitlines()]
    assert [event["event"] for event in events].count("image_stored") == 4
    of_requests = [event for event in events if "key" in event]
    assert {event["event"] for event in of_requests} >= {"accepted", "completed", "image_stored"}
    for event in of_requests:
        assert event["job"] == "garden.yaml"
        assert event["address"].startswith("garden/subject=")
        if event["event"] == "image_stored":
            assert (campaign / ".seedream/emulator" / event["file"]).is_file()
    for event in events:
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", event["time"])
        assert event.keys() <= FIELDS.keys()
        assert event["play_money"] is True
    for name in ("submitted", "done", "images", "finished"):
        counts = [event[name] for event in events]
        assert counts == sorted(counts)
        assert counts[-1] == 4
    last = events[-1]
    assert (last["event"], last["exit_code"], last["cost_usd"], last["max_cost_usd"]) == ("end", 0, "0.0912", "0.0912")
    assert not [line for line in ended.out.splitlines() if line.startswith("{")]


def test_the_maximum_counts_tasks_of_earlier_runs(command: Command, campaign: Path) -> None:
    """What they cost is shown, too, when a run takes them up: 0.0912 of at most 0.0456 would be no maximum."""
    assert command("run", "garden.yaml", "--emulator", "--detach", "--limit", "2").code == 0
    ended = command("run", "garden.yaml", "--emulator", "--json")
    last = json.loads(ended.err.splitlines()[-1])
    assert (last["total"], last["cost_usd"], last["max_cost_usd"]) == (2, "0.0912", "0.0912")


def test_the_last_event_comes_with_a_refusal_too(command: Command, campaign: Path) -> None:
    """Before anything is sent, and behind the words for a person; with the exit code of the process."""
    for words, code in ((("--budget", "0.01"), 5), (("--set", "x=1"), 2), (("--limit", "0"), 0)):
        ended = command("run", "garden.yaml", "--emulator", "--json", *words)
        last = json.loads(ended.err.splitlines()[-1])
        assert ended.code == code
        assert (last["event"], last["exit_code"], last["submitted"]) == ("end", code, 0)


def test_a_bar_on_a_terminal(campaign: Path) -> None:
    """A person sees numbers move, and NO_COLOR keeps its promise there, too."""
    shown = on_a_terminal(["run", "garden.yaml", "--emulator"], campaign, NO_COLOR="1", COLUMNS="120")
    assert "of 4 finished" in shown
    assert "of 4 submitted" in shown
    assert "░" in shown
    assert "\x1b[3" not in shown
    assert "\x1b[1m" not in shown


@pytest.mark.parametrize("lines", [0, 1])
def test_a_reader_that_leaves(campaign: Path, lines: int) -> None:
    """`seedream-jobs expand … | head -1`: the command ends quietly."""
    (campaign / "many.yaml").write_text(
        'version: 1\nrequest: {prompt: "{{ number }}"}\nmatrix: {number: {range: [1, 900]}}\n', encoding="utf-8"
    )
    with subprocess.Popen(
        [sys.executable, "-m", "seedream_jobs", "expand", "many.yaml", "--format", "jsonl"],
        cwd=campaign,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        for _ in range(lines):
            process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


STEPS = (
    r"seedream_jobs: seedream-jobs \S+ \(Python .*\) in .*: --log-file run.log run garden.yaml --emulator .*",
    r"ledger.ledger: .*garden.manifest.lock locked, 0 requests on record",
    r"ledger.ledger: recorded: garden/\S* is intended, generation 1",
    r"run.submit: POST by worker \d: garden/\S*, \d+ bytes",
    r"api.client: reply to worker \d after \d+\.\d+ s: HTTP 200, \d+ bytes, request id \S+: row 8, accepted",
    r"ledger.ledger: recorded: garden/\S* is accepted, task_id task_\w+, .*",
    r"api.client: GET task_\w+: 200, \d+ bytes: (running|completed)",
    r"ledger.ledger: recorded: garden/\S* is completed",
    r"run.fetch: GET image 1 of garden/\S*: http://127.0.0.1:\d+/\S*",
    r"run.fetch: image 1 of garden/\S*: \d+ bytes",
    r"run.fetch: stored out/garden/\S*: \d+ bytes, sha256 [0-9a-f]{64}",
    r"ledger.ledger: recorded: garden/\S* is stored",
    r"ledger.ledger: \d+ records of the journal folded into .*garden.manifest.jsonl",
    r"ledger.ledger: .*garden.manifest.lock released",
    r"seedream_jobs: exit code 0",
)


def test_a_log_file_keeps_every_step_with_its_time(command: Command, campaign: Path) -> None:
    """Appended, each line with its time, zone and level, in the order of the run; nothing of it on the screen."""
    log = campaign / "run.log"
    log.write_text("before\n", encoding="utf-8")
    ended = command("--log-file", "run.log", "run", "garden.yaml", "--emulator", "--limit", "1", "--no-gallery")
    assert ended.code == 0
    assert "POST" not in ended.err
    said = ended.out + ended.err
    assert ESCAPE not in said, "in a pipe there is no progress bar, and no line for each event"
    assert "\r" not in said
    before, *lines = log.read_text(encoding="utf-8").splitlines()
    assert before == "before"
    form = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00) (DEBUG|INFO|WARNING|ERROR) (.*)")
    found = [match.groups() for match in map(form.fullmatch, lines) if match]
    assert len(found) == len(lines)
    assert [time for time, *_ in found] == sorted(time for time, *_ in found)
    left = iter([words for *_, words in found])
    for step in STEPS:  # each behind the one before
        assert any(re.fullmatch(step, words) for words in left), step


def test_how_much_is_shown_and_where_it_cannot_be_kept(quick: Command, campaign: Path) -> None:
    """-v shows steps on stderr; a log that can't be opened, and one in a job's place, end before anything happens."""
    shown = quick("-v", "plan", "garden.yaml")
    assert " INFO seedream_jobs: exit code 0" in shown.err
    assert shown.out == quick("plan", "garden.yaml").out
    job = (campaign / "garden.yaml").read_bytes()
    os.mkfifo(campaign / "pipe")
    for name in ("nowhere/x.log", ".", "garden.yaml", "pipe", ""):
        ended = quick("--log-file", name, "plan", "garden.yaml")
        assert (ended.code, ended.out) == (2, ""), name
        assert ended.err.startswith("error: ")
    assert (campaign / "garden.yaml").read_bytes() == job


def test_a_full_disk_behind_standard_output(campaign: Path) -> None:
    """`plan > report.txt` on a full disk: one line and exit 74, not a mistake of ours; /dev/full stays a device."""
    for arguments in (("plan", "garden.yaml"), ("--help",)):
        with open("/dev/full", "wb") as full:
            ended = subprocess.run(
                [sys.executable, "-m", "seedream_jobs", *arguments],
                cwd=campaign,
                stdout=full,
                stderr=subprocess.PIPE,
                text=True,
                check=False,
            )
        assert (ended.returncode, len(ended.stderr.splitlines())) == (74, 2), ended.stderr
        assert "No space left on device" in ended.stderr


def test_a_full_disk_behind_standard_error(campaign: Path) -> None:
    """Nothing can be said, but the exit code is: 74, not the 1 of findings."""
    for arguments in (("validate", "garden.yaml"), ("validate", "nowhere.yaml")):
        with open("/dev/full", "wb") as full:
            ended = subprocess.run(
                [sys.executable, "-m", "seedream_jobs", *arguments], cwd=campaign, stdout=full, stderr=full, check=False
            )
        assert ended.returncode == 74


@pytest.mark.parametrize(
    "closed", [*(pytest.param(one, marks=pytest.mark.slow) for one in ("<&-", ">&-", "2>&-")), "<&- >&- 2>&-"]
)
def test_closed_standard_streams(campaign: Path, closed: str) -> None:
    """A caller that closes a stream doesn't break the run, and no file of ours gets the stream's number."""
    shell = f'"$0" -m seedream_jobs run garden.yaml --emulator --detach {closed}'
    ended = subprocess.run(["sh", "-c", shell, sys.executable], cwd=campaign, capture_output=True, check=False)
    assert ended.returncode == 0, ended.stderr
    lines = (campaign / ".seedream/emulator/garden.manifest.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line).get("state") for line in lines] == [None] + ["accepted"] * 4
