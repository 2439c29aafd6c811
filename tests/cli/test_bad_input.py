"""Bad input gets one clear line with its place and the next step, exit 1 or 2, and nothing is left half-written."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from seedream_jobs.emulator.service import read_charges
from tests.canary import CANARY

Command = Callable[..., Any]

SUBMITTING = ("run", "--yes")
READING = (("validate",), ("plan",), ("expand",), SUBMITTING)

CONTENT = {
    "empty.yaml": (b"", "empty.yaml:1:1: error[empty-file]", "begin with 'version: 1'"),
    "two.yaml": (b"version: 1\n---\nversion: 1\n", "two.yaml:2:1: error[second-document]", "a file of its own"),
    "list.yaml": (b"- version: 1\n", "list.yaml:1:1: error[wrong-root]", "not a list"),
    "tab.yaml": (b"version: 1\nrequest:\n\tprompt: hi\n", "tab.yaml:3:1: error[tab-indentation]", "two spaces"),
    "latin.yaml": (
        b'version: 1\nrequest: {prompt: "caf\xe9"}\n',
        "latin.yaml:2:23: error[not-utf8]",
        "save it as UTF-8",
    ),
    "broken.yaml": (
        b"version: 1\nrequest: {prompt: [\n",
        "broken.yaml:3:1: error[missing-value]",
        "a value is missing",
    ),
    "unknown.yaml": (
        b"version: 1\nrequest: {prompt: hi, sise: '1:1'}\n",
        "unknown.yaml:2:23: error[unknown-field]",
        "'size'",
    ),
    "binary.yaml": (b"\x89PNG\r\n\x1a\n\0\0", "binary.yaml:", "error["),
    "void.yaml": (b"version: 1\nrequest: {}\n", "void.yaml:2:", "prompt"),
}


def written(folder: Path) -> set[str]:
    """Every file below a folder, but locks, which are never deleted, and what keeps the campaign's out of git."""
    return {
        str(file.relative_to(folder))
        for file in folder.rglob("*")
        if file.is_file() and file.suffix != ".lock" and file.parent.name != ".seedream"
    }


@pytest.mark.parametrize("arguments", READING, ids=lambda arguments: arguments[0])
def test_bad_content_is_a_finding(quick: Command, campaign: Path, arguments: tuple[str, ...]) -> None:
    """All bad files at once: each is named with line and column, exit 1, nothing written."""
    for name, (content, _, _) in CONTENT.items():
        (campaign / name).write_bytes(content)
    names = sorted(CONTENT) if arguments != ("expand",) else ["tab.yaml"]
    before = written(campaign)
    ended = quick(*arguments, *names)
    assert ended.code == 1
    said = ended.out + ended.err
    for name in names:
        assert CONTENT[name][1] in said
        assert CONTENT[name][2] in said
    assert (ended.out == "") == (arguments[0] != "validate"), "findings are validate's data, and everyone else's talk"
    assert written(campaign) == before


@pytest.mark.parametrize(
    "arguments",
    [*READING, ("status",), ("fetch",), ("resolve",), ("gallery",), ("export", "--format", "csv", "-o", "x.csv")],
    ids=lambda arguments: arguments[0],
)
def test_what_is_no_file(quick: Command, campaign: Path, arguments: tuple[str, ...]) -> None:
    """A missing file and a folder: usage errors of two lines, in every command that takes a job."""
    (campaign / "folder").mkdir()
    before = written(campaign)
    for name in ("gardn.yaml", "folder"):
        ended = quick(*arguments, name)
        assert (ended.code, ended.out) == (2, "")
        first, second = ended.err.splitlines()
        assert first.startswith("error: ")
        assert name in first
        assert second.startswith("  ")
    assert written(campaign) == before


@pytest.mark.parametrize("length", [300, 70_000])
@pytest.mark.parametrize(
    "arguments",
    [
        *READING,
        *(("status",), ("fetch",), ("resolve",), ("gallery",), ("export", "--format", "csv", "-o", "x.csv"), ("show",)),
        *(("init",), ("demo",), ("schema",), ("ratings", "import")),
        *(
            ("gallery", "garden.yaml", "--output"),
            ("plan", "garden.yaml", "-o"),
            ("export", "garden.yaml", "--format", "csv", "-o"),
        ),
    ],
    ids=" ".join,
)
def test_a_name_that_is_too_long(quick: Command, arguments: tuple[str, ...], length: int) -> None:
    """A usage error that a terminal can hold, whatever was pasted there."""
    ended = quick(*arguments, "a" * length)
    assert (ended.code, ended.out) == (2, ""), ended.err[:500]
    assert 1 <= len(ended.err.splitlines()) <= 2
    assert len(ended.err) < 1000


def test_a_name_that_is_nearly_right(quick: Command) -> None:
    assert "'garden.yaml'" in quick("plan", "gardn.yaml").err


@pytest.mark.skipif(os.getuid() == 0, reason="root reads everything")
def test_an_unreadable_file(quick: Command, campaign: Path) -> None:
    (campaign / "garden.yaml").chmod(0)
    ended = quick("plan", "garden.yaml")
    assert (ended.code, ended.out) == (2, "")
    assert "garden.yaml" in ended.err


def test_a_missing_key_says_where_to_get_one(quick: Command, campaign: Path) -> None:
    """The page, the variable, and the way without; nothing is written, and the exit code is the credentials'."""
    ended = quick(*SUBMITTING, "garden.yaml")
    assert (ended.code, ended.out) == (4, "")
    for part in ("https://apimart.ai/keys", "APIMART_API_KEY", "--emulator"):
        assert part in ended.err
    assert written(campaign) == {"garden.yaml"}


def test_a_refused_key(command: Command, quick: Command, service: str) -> None:
    """The service's 401 stops the run, exit 4, and nothing counts as sent."""
    ended = command(*SUBMITTING, "garden.yaml", "--base-url", service, APIMART_API_KEY="invalid-key")
    assert ended.code == 4
    assert "invalid-key" not in ended.out + ended.err
    assert "4 new" in quick("plan", "garden.yaml", "--base-url", service).out


def test_no_terminal_and_no_yes(command: Command, campaign: Path, service: str) -> None:
    """Money is never spent unasked: exit 2, and the ways on."""
    before = read_all(campaign)
    ended = command("run", "garden.yaml", "--base-url", service, APIMART_API_KEY=CANARY, SEEDREAM_JOBS_YES="1")
    assert ended.code == 2
    assert ended.err == (
        "error: this would spend money, and there is no terminal to ask at\n"
        "  have a saved plan approved (plan -o) and run it with --expect DIGEST; or run it with --yes, "
        "or rehearse it with --emulator\n"
    )
    assert read_all(campaign) == before


def read_all(folder: Path) -> dict[str, bytes]:
    """Every file's content."""
    return {name: (folder / name).read_bytes() for name in written(folder)}


def unused() -> str:
    """The URL of a port at which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


def test_an_unreachable_host(command: Command, quick: Command, service: str, campaign: Path) -> None:
    """A mistyped address costs seconds, is named, and binds nothing: what was never submitted takes the next one."""
    url = unused()
    ended = command("run", "garden.yaml", "--yes", "--base-url", url, APIMART_API_KEY=CANARY)
    assert ended.code == 8
    assert f"error: the service can't be reached: connect: {url}: " in ended.err
    assert "check the address (--base-url or APIMART_BASE_URL)" in ended.err
    assert "garden.yaml: 4 not sent" in ended.out
    manifest = campaign / "garden.manifest.jsonl"
    before = manifest.read_bytes()
    assert f'"origin":"{url}"' in before.decode()
    for address in (url, service):
        assert "+ 4 new" in quick("plan", "garden.yaml", "--base-url", address).out
    assert manifest.read_bytes() == before
    ended = command("run", "garden.yaml", "--yes", "--detach", "--base-url", service, APIMART_API_KEY=CANARY)
    assert ended.code == 0, ended.err
    assert f'"origin":"{service}"' in manifest.read_text()
    assert quick("plan", "garden.yaml", "--base-url", url).code == 7  # now it is bound: four tasks are on record


def test_doctor_says_what_is_wrong(command: Command, quick: Command) -> None:
    """Without a key, with nobody there, and with all well."""
    assert quick("doctor").code == 4
    ended = command("doctor", "--base-url", unused(), APIMART_API_KEY=CANARY)
    assert ended.code == 8
    assert "can't be reached" in ended.out or "cannot be reached" in ended.out
    assert command("doctor", "--emulator").out.endswith("Everything works.\n")


def test_a_manifest_of_another_origin(command: Command, quick: Command, service: str) -> None:
    """A rehearsal never makes a paid run believe that it is done, nor the other way round: exit 7."""
    done = command(*SUBMITTING, "garden.yaml", "--detach", "--base-url", service, APIMART_API_KEY=CANARY)
    assert done.code == 0
    for arguments in (("plan",), SUBMITTING, ("fetch",)):
        ended = quick(*arguments, "garden.yaml", APIMART_API_KEY=CANARY)
        assert ended.code == 7
        assert "another service than https://api.apimart.ai" in ended.err
        assert service not in ended.err  # an address that the tree brings is no advice


def test_a_budget_in_the_environment_is_an_amount(quick: Command) -> None:
    """The same reading as of the option, and the variable is named."""
    ended = quick("plan", "garden.yaml", SEEDREAM_JOBS_BUDGET="1e400")
    assert (ended.code, ended.out) == (2, "")
    assert "SEEDREAM_JOBS_BUDGET: '1e400' is not an amount of USD" in ended.err


@pytest.mark.parametrize(("amount", "code"), [("1e300", 1), ("1e10", 1), ("1e9", 0), ("1e-300", 5), ("0.07", 5)])
@pytest.mark.parametrize("file", ["garden.yaml", "policy.yaml"])
def test_a_budget_in_a_file_is_an_amount(quick: Command, campaign: Path, file: str, amount: str, code: int) -> None:
    """One beyond counting is a finding at its place; a tiny one holds."""
    with (campaign / file).open("a", encoding="utf-8") as job:
        job.write(
            f"limits: {{budget_usd: {amount}}}\n" if file == "garden.yaml" else f"version: 1\nbudget_usd: {amount}\n"
        )
    for command in ("plan", "run"):
        ended = quick(command, "garden.yaml", *(("--yes", "--emulator", "--limit", "0") if command == "run" else ()))
        assert ended.code == (0 if command == "run" and code == 5 else code), ended.err
        assert code != 1 or "error[out-of-range]: budget_usd is an amount of US dollars" in ended.err


OPTIONS = {
    ("plan", "--budget", "much"): "'much' is not an amount of USD",
    ("plan", "--budget", "-1"): "not an amount of USD",
    ("plan", "--budget", "1e400"): "'1e400' is not an amount of USD",
    ("plan", "--budget", "1e-400"): "'1e-400' is not an amount of USD",
    ("plan", "--budget", "1000000000"): "not an amount of USD",
    ("plan", "--price", "1e28"): "'1e28' is not an amount of USD",
    ("run", "--emulator", "--price=1e400"): "'1e400' is not an amount of USD",
    ("plan", "--limit", "-1"): "-1",
    ("plan", "--select", "nope == 1"): "nope",
    ("plan", "--set", "novalue"): "is not VAR=VALUE",
    ("plan", "--set", "nope=1"): "no such variable",
    ("plan", "--again", "garden/nope#1"): "no request has this address",
    ("plan", "--emulator", "--base-url", "http://127.0.0.1:1"): "exclude each other",
    ("plan", "--base-url", "http://example.org"): "not https",
    ("plan", "--base-url", ""): "--base-url is empty",
    ("run", "--yes", "--base-url", " "): "--base-url is empty",
    ("fetch", "--base-url", ""): "--base-url is empty",
    ("plan", "--emulator", "--base-url", ""): "exclude each other",
    ("plan", "--base-url", "nonsense"): "the base URL is not an address",
    ("plan", "--format", "xml"): "xml",
    ("run", "--emulator", "--concurrency", "0"): "range",
    ("export", "--format", "csv", "--with-images"): "--with-images needs --format parquet, not csv",
    ("export", "--format", "jsonl", "--shard-size", "1GB"): "--shard-size needs --format webdataset, not jsonl",
    ("fetch", "--emulator", "--rate", "60/m"): "No such option",
    ("run", "--emulator", "--rate", "fast"): "--rate: 'fast' is not a rate",
    ("run", "--emulator", "--deadline", "soon"): "'soon' is not a time",
    ("fetch", "--emulator", "--expiring", "soon"): "'soon' is not a time",
    ("schema", "nope"): "'nope' is not one of",
    ("completion", "tcsh"): "'tcsh' is not one of",
}


@pytest.mark.parametrize(("arguments", "said"), OPTIONS.items(), ids=lambda value: " ".join(value)[:40])
def test_a_bad_option(quick: Command, campaign: Path, arguments: tuple[str, ...], said: str) -> None:
    """Two lines: what is wrong, and what to do; exit 2, nothing written."""
    job = () if arguments[0] in ("schema", "completion") else ("garden.yaml",)
    ended = quick(*arguments, *job)
    assert (ended.code, ended.out) == (2, ""), ended.err
    assert said in ended.err
    assert 2 <= len(ended.err.splitlines()) <= 3
    assert written(campaign) == {"garden.yaml"}


def test_a_budget_that_is_too_small(quick: Command) -> None:
    """Exit 5; by the option and by the environment, which can't be overridden by a larger option."""
    ended = quick("plan", "garden.yaml", "--budget", "0.05")
    assert (ended.code, ended.err.startswith("error: ")) == (5, True)
    assert quick("plan", "garden.yaml", "--budget", "5", SEEDREAM_JOBS_BUDGET="0.05").code == 5
    assert quick("plan", "garden.yaml", SEEDREAM_JOBS_BUDGET="much").code == 2
    assert quick("plan", "garden.yaml", "--budget", "0.0912").code == 0


def test_a_full_disk_stops_before_anything_is_sent(command: Command, campaign: Path, tmp_path: Path) -> None:
    """The ledger can't be written (here: its place is taken by a folder): exit 74 or 2, and not one charge."""
    state = campaign / ".seedream" / "emulator" / "service"
    (campaign / ".seedream" / "emulator" / "garden.manifest.journal").mkdir(parents=True)
    ended = command("run", "garden.yaml", "--emulator")
    assert ended.code in (2, 74), ended.err
    assert ended.err.startswith("error: ")
    assert not state.exists() or not list(read_charges(state))


def test_options_from_the_environment(quick: Command) -> None:
    """``SEEDREAM_JOBS_<OPTION>``, in every command that has it; a bad value is a usage error like the option's."""
    assert "Plan: 1 to submit" in quick("plan", "garden.yaml", SEEDREAM_JOBS_LIMIT="1").out
    assert "Plan: 2 to submit" in quick("plan", "garden.yaml", "--limit", "2", SEEDREAM_JOBS_LIMIT="1").out
    assert quick("plan", "garden.yaml", SEEDREAM_JOBS_FORMAT="json").out.startswith("{")
    assert quick("plan", "garden.yaml", SEEDREAM_JOBS_LIMIT="few").code == 2


@pytest.mark.parametrize("value", ["", " ", "\t\n"])
@pytest.mark.parametrize("name", ["BUDGET", "LIMIT", "PRICE", "SELECT", "POLICY", "SET"])
def test_an_empty_variable_is_refused_as_an_empty_option_is(quick: Command, name: str, value: str) -> None:
    """An undefined variable of CI must not take a guard away without a word; a flag's may be empty."""
    variable = f"SEEDREAM_JOBS_{name}"
    ended = quick("plan", "garden.yaml", **{variable: value})
    assert (ended.code, ended.out) == (2, "")
    assert f"error: {variable} is empty: give it a value, or unset it" in ended.err
    assert quick("plan", "--help", **{variable: value}).code == 0
    assert quick("validate", "garden.yaml", SEEDREAM_JOBS_LIMIT=value).code == 0, "it has no such option"


def test_an_empty_digest_in_the_environment_is_no_approval(quick: Command) -> None:
    """``--expect``, ``--rate`` and ``--concurrency`` of a run as well."""
    for name in ("EXPECT", "RATE", "CONCURRENCY", "DEADLINE"):
        ended = quick("run", "garden.yaml", "--emulator", **{f"SEEDREAM_JOBS_{name}": ""})
        assert (ended.code, f"SEEDREAM_JOBS_{name} is empty" in ended.err) == (2, True), ended.err
    assert quick("plan", "garden.yaml", SEEDREAM_JOBS_RETRY_FAILED="").code == 0
    for options in (["--budget", ""], ["--budget", " "], ["--limit", ""], ["--price", ""], ["--select", ""]):
        assert quick("plan", "garden.yaml", *options).code == 2, options
    assert quick("run", "garden.yaml", "--emulator", "--rate", "").code == 2


def test_what_no_environment_decides(quick: Command) -> None:
    """Neither the consent nor the service's address: a repository's CI settings can't redirect a key."""
    assert quick("run", "garden.yaml", SEEDREAM_JOBS_YES="1", APIMART_API_KEY=CANARY).code == 2
    elsewhere = {"SEEDREAM_JOBS_BASE_URL": "http://127.0.0.1:1", "SEEDREAM_JOBS_PLAN_BASE_URL": "http://127.0.0.1:1"}
    assert "https://api.apimart.ai" in quick("doctor", **elsewhere).out


def test_endless_files(command: Command, campaign: Path) -> None:
    """Neither read whole nor shown: a device, or a gigabyte by mistake, costs no memory."""
    ended = command("validate", "/dev/zero")
    assert (ended.code, "it is no regular file" in ended.err) == (2, True)
    with (campaign / "film.yaml").open("wb") as film:
        film.truncate(1 << 30)
    ended = command("validate", "film.yaml")
    assert (ended.code, "error[file-too-large]" in ended.out) == (1, True)


@pytest.mark.parametrize(
    "content", [b"garbage\n", b'{"format":1\n', b"[]\n", b"null\n", b"\x00\xff\n", b'{"format":9}\n']
)
def test_a_damaged_manifest(quick: Command, campaign: Path, content: bytes) -> None:
    """Each command that reads the record refuses it with its place, exit 1, and leaves it as it is."""
    manifest = campaign / "garden.manifest.jsonl"
    manifest.write_bytes(content)
    for arguments in (("plan",), ("status",), ("resolve",), ("gallery",), ("export", "--format", "csv"), SUBMITTING):
        ended = quick(*arguments, "garden.yaml", APIMART_API_KEY=CANARY)
        assert (ended.code, ended.out) == (1, ""), arguments
        assert "garden.manifest.jsonl:1:1: error[" in ended.err
        assert manifest.read_bytes() == content


@pytest.mark.parametrize("arguments", [("expand",), ("validate",), ("plan",)], ids=lambda arguments: arguments[0])
def test_an_output_name_that_no_disk_takes(quick: Command, campaign: Path, arguments: tuple[str, ...]) -> None:
    """A finding at the template, wherever it is first made."""
    job = (campaign / "garden.yaml").read_text(encoding="utf-8")
    name = 'output: {dir: out/garden, name: "{ subject }:{{ size }}"}'
    (campaign / "garden.yaml").write_text(job.replace("output: {dir: out/garden}", name), encoding="utf-8")
    ended = quick(*arguments, "garden.yaml")
    assert ended.code == 1
    assert "garden.yaml:6:" in ended.out + ended.err
    assert "error[output-name]" in ended.out + ended.err
