"""Payloads in every field that a stranger controls, in every format of every command: nothing in them comes to life.

The commands run in this process, many payloads to a job, and what they print is read by real parsers (``readers``): a
terminal emulator, the rules of four CI runners, three Markdown renderers, shells, and the readers of the data formats.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

import seedream_jobs
from seedream_jobs.cli.main import run_command
from seedream_jobs.errors import FindingsError
from seedream_jobs.foreign_text import shell_word
from seedream_jobs.ledger.state import Failed, Image, InDoubt, Rejected, ServiceError, State, Stored
from seedream_jobs.plans.load import Job, Target, load_job
from seedream_jobs.run.shutdown import Shutdown
from tests.campaign import Folder, history, record, requests_of
from tests.hostile.payloads import PAYLOADS
from tests.hostile.tree import git

for _name in ("pyte", "cmarkgfm", "mistune"):
    pytest.importorskip(_name, reason=f"{_name} is not installed (it comes with the dev dependencies)")
from tests.hostile import readers  # noqa: E402

WRITABLE = tuple(text for text in PAYLOADS if "\ud800" not in text)
FORMATS = ("text", "json", "jsonl", "markdown", "github", "gitlab", "sarif", "junit")
STATES = (State.FAILED, State.REJECTED, State.IN_DOUBT, State.STORED, State.ACCEPTED, State.COMPLETED)
JOINERS = "\xad\u034f\u061c\u115f\u1160\u17b4\u180e\u3164\uffa0" + "".join(
    map(chr, (*range(0x200B, 0x2010), *range(0x2060, 0x2065), *range(0xFFF9, 0xFFFC), *range(0xE0000, 0xE0200)))
)
CHECKED = {"commands": 0, "characters": 0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What a command printed."""

    words: tuple[str, ...]
    code: int
    out: str
    err: str


@contextmanager
def _captured(name: str) -> Iterator[io.BytesIO]:
    before, raw = getattr(sys, name), io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="utf-8", write_through=True)
    setattr(sys, name, stream)
    try:
        yield raw
    finally:
        setattr(sys, name, before)
        stream.detach()


def say(*words: str) -> Said:
    """Run a command here, and check what it printed as a log and on a terminal."""
    with _captured("stdout") as out, _captured("stderr") as err:
        code = run_command(list(words))
    printed = out.getvalue().decode()
    if "csv" in words:
        # Line ends of RFC 4180; and joiners stay in the words of a table, as scripts need them and nothing obeys them.
        printed = "".join(one for one in printed.replace("\r\n", "\n") if one not in JOINERS)
    said = Said(words=words, code=code, out=printed, err=err.getvalue().decode())
    assert code != 70, (words, said.err[-3000:])
    form = words[words.index("--format") + 1] if "--format" in words else "text"
    for stream, text in (("stdout", said.out), ("stderr", said.err)):
        for found in find_active(text, own=form == "github" and stream == "stdout"):
            raise AssertionError((" ".join(words[:3]), form, stream, found))
        CHECKED["characters"] += len(text)
    CHECKED["commands"] += 1
    if said.out:
        READ.get(form, lambda _: None)(said.out)
    return said


_OWN = re.compile(r"::(error|warning|notice) file=[^:,]*(,(line|endLine|col|endColumn|title)=[^:,]*)*::[^\r\n]*")


@contextmanager
def loaded_once() -> Iterator[None]:
    """Formats differ in what is printed: a job file that does not change is loaded for the first of them."""
    known: dict[tuple[Path, Target], Job | FindingsError] = {}

    def load(path: Path, *, target: Target, **given: Any) -> Job:
        if (path, target) not in known:
            try:
                known[path, target] = load_job(path, target=target, **given)
            except FindingsError as error:
                known[path, target] = error
        found = known[path, target]
        if isinstance(found, FindingsError):
            raise FindingsError(found.diagnostics)
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("seedream_jobs.plans.load.load_job", load)
        patch.setattr("seedream_jobs.records.load_job", load)
        yield


def find_active(text: str, *, own: bool = False) -> list[str]:
    """What of an output a terminal or a CI obeys, or nobody sees; ``own``: but for the program's workflow commands."""
    commands = [line for line in readers.actions(text) if not (own and _OWN.fullmatch(line))]
    return [*readers.terminal(text), *readers.unseen(text), *commands, *readers.other_runners(text)]


def _read_markdown(text: str) -> None:
    assert not readers.forges(text)


def _read_lines(text: str) -> None:
    for line in text.splitlines():
        json.loads(line)


READ: dict[str, Callable[[str], Any]] = {
    "json": json.loads,
    "jsonl": _read_lines,
    "gitlab": json.loads,
    "sarif": json.loads,
    "junit": ET.fromstring,
    "markdown": _read_markdown,
    "csv": lambda text: list(csv.reader(io.StringIO(text), strict=True)),
}


@pytest.fixture
def campaign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    """An empty campaign, in which commands run."""
    folder = Folder(tmp_path / "campaign")
    folder.path.mkdir()
    monkeypatch.chdir(folder.path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    return folder


def job(**parts: Any) -> str:
    """A job file."""
    return yaml_text({"version": 1, **parts})


def yaml_text(content: Any) -> str:
    """JSON, but for what takes two escapes in it."""
    text = json.dumps(content, ensure_ascii=False)
    return re.sub("[^ -~]", lambda found: f"\\U{ord(found.group()):08x}", text)


def of_all(name: str, texts: tuple[str, ...] = WRITABLE) -> str:
    """A job with a request for each text: in its prompt, its label, its address, its output name."""
    values = [{"id": f"{number} {text}"[:80], "text": text or "-"} for number, text in enumerate(texts)]
    return job(
        name=name,
        request={"prompt": "{{ a.text }} {{ a.id }} in a garden"},
        matrix={"a": values},
        output={"name": "{{ a.id }}-{{ key }}"} if name == "named" else {},
        limits={"budget_usd": 0.01},
    )


def test_prompts_and_values(campaign: Folder, tmp_path: Path) -> None:
    """In the listings, in plans of each format, in explanations."""
    campaign.write("a.yaml", of_all("a"))
    for form in ("table", "jsonl", "curl"):
        said = say("expand", "a.yaml", "--format", form)
        assert said.code in (0, 1), said.err
    lines = [json.loads(line) for line in say("expand", "a.yaml", "--format", "jsonl").out.splitlines()]
    if lines:
        assert not readers.shell(say("expand", "a.yaml", "--format", "curl").out, tmp_path / "shell")
    for line in lines[:: len(lines) // 12 or 1]:
        say("expand", "a.yaml", "--explain", line["address"])
    with loaded_once():
        for form in FORMATS:
            say("plan", "a.yaml", "--format", form)
            say("validate", "a.yaml", "--format", form)
        say("plan", "a.yaml", "--concise")
    summary = tmp_path / "summary.md"
    for part in summary.read_text("utf-8").split("<!-- seedream-jobs: plan -->")[1:]:
        assert not readers.forges(part)


def test_changes_against_a_revision(campaign: Folder) -> None:
    """The words of both sides stand in the comment of a pull request."""
    git(campaign.path, "init", "-q", "-b", "main", ".")
    before = [{"id": str(number), "text": f"{text} before"} for number, text in enumerate(WRITABLE)]
    after = [{"id": str(number), "text": f"{text} after {text}"} for number, text in enumerate(WRITABLE)]
    for values in (before, after):
        campaign.write("a.yaml", job(request={"prompt": "{{ a.text }}"}, matrix={"a": values}))
        git(campaign.path, "add", "-A")
        git(campaign.path, "commit", "-q", "-m", "x")
    for form in FORMATS:
        assert say("plan", "--base", "HEAD~", "--format", form).code in (0, 1)
    for text in WRITABLE[::8]:
        say("plan", "--base", text.replace("\0", "") or "x")
    for text in ("::error::x", "\x1b[31m", "\u202ex", "##[error]x"):
        say("plan", "--base", text, "--format", "json")


def test_names_of_files_and_folders(campaign: Folder, tmp_path: Path) -> None:
    """A job for each, all in one command; the folder of the images and a reference are called so, too."""
    jobs = []
    for number, text in enumerate(PAYLOADS):
        name = text.replace("/", "∕").replace("\0", "")[:60] + f" {number}.yaml"
        file = Path(os.fsdecode(os.fsencode(name.encode("utf-8", "surrogatepass"))))
        request: dict[str, Any] = {"prompt": f"a heron {number}"}
        if number % 3 == 1:
            request["image_urls"] = [text or "x"]
        output = {"dir": text or "x"} if number % 3 == 0 else {}
        campaign.write(str(file), job(request=request, output=output))
        jobs.append(str(file))
    fine = jobs[2::3]
    with loaded_once():
        for form in FORMATS:
            say("validate", "--format", form, "--", *jobs)
            say("plan", "--format", form, "--emulator", "--", *fine)
    for file in jobs[::20]:
        for command in ("expand", "show", "gallery", "export", "resolve"):
            say(command, "--", file)
    for file in fine[::10]:
        said = say("expand", "--format", "curl", "--", file)
        assert said.code or not readers.shell(said.out, tmp_path / f"shell{jobs.index(file)}"), file
    for text in WRITABLE[::8]:
        say("validate", text.replace("\0", "") or "x")
        say(text.replace("\0", "") or "x")
        say("plan", "--set", f"a={text}".replace("\0", ""), fine[0])


def test_jobs_of_any_name_are_run(campaign: Folder) -> None:
    """For each name a job, all in one run on the emulator: what it says, and what is asked of their records then."""
    jobs = []
    for number, text in enumerate((*PAYLOADS[::5], "-rf", "--yes", "a b", "a\tb", "~", "CON", "a.", "été")):
        name = text.replace("/", "∕").replace("\0", "")[:60] + f" {number}.yaml"
        file = os.fsdecode(os.fsencode(name.encode("utf-8", "surrogatepass")))
        campaign.write(file, job(request={"prompt": f"a heron {number}"}))
        jobs.append(file)
    fine = [file for file in jobs if say("expand", "--", file).code == 0]
    assert len(fine) > 12
    refused = [file for file in jobs if file not in fine]
    assert say("run", "--emulator", "--yes", "--", *refused).code == 1
    for words in (["run", "--yes", "--limit", "9"], ["run", "--yes", "--json"], ["fetch"], ["fetch", "--json"]):
        assert say(*words, "--emulator", "--", *fine).code == 0, words
    for form in FORMATS:
        say("status", "--emulator", "--offline", "--format", form, "--", *fine)
    for form in ("text", "json", "csv"):
        say("cost", "--emulator", "--format", form)
    for file in fine[::6]:
        assert say("export", "--emulator", "--format", "csv", "--", file).code == 0
        assert say("gallery", "--emulator", "--", file).code == 0
        say("choose", "--emulator", "--", file, file)
        say("ratings", "apply", "--", file, file)
        say("compare", "--base", file, "--", file)


def test_keys_and_names(campaign: Folder) -> None:
    """Unknown fields, names of axes, parameters that are sent as they are, words of the policy, a waiver's."""
    fields = {text or "x": text for text in PAYLOADS}
    cases = {
        "unknown": job(request={"prompt": "x", **fields}, **{f"{text} ": 1 for text in PAYLOADS[::5]}),
        "axes": job(request={"prompt": "x"}, matrix={text or "x": [1] for text in PAYLOADS}),
        "extra": job(request={"prompt": "x", "extra": fields}),
        "vars": job(request={"prompt": "x {{ nothing }}"}, vars=fields),
        "template": job(request={"prompt": "{{ " + " ~ ".join(map(json.dumps, WRITABLE[::9])) + " ~ }}"}),
        "where": job(request={"prompt": "x"}, matrix={"a": [1], "where": f"a == {json.dumps(PAYLOADS[3])} +"}),
        "exclude": job(
            request={"prompt": "{{ a }}"}, matrix={"a": [1, 2], "exclude": [{"a": one} for one in WRITABLE]}
        ),
        "raw": "version: 1\nrequest: {prompt: x}\n# " + "".join(PAYLOADS).replace("\ud800", "") + "\n",
        "broken": 'version: 1\nrequest: {prompt: "' + "".join(one for one in WRITABLE if one.isprintable()),
    }
    for name, text in cases.items():
        campaign.write(f"{name}.yaml", text)
    with loaded_once():
        for form in FORMATS:
            say("validate", "--format", form, *(f"{name}.yaml" for name in cases))
    for name in cases:
        say("plan", f"{name}.yaml")
        say("expand", f"{name}.yaml", "--format", "jsonl")
    words = [{"word": text, "reason": text} for text in WRITABLE if text.strip(" *")]
    campaign.write("policy.yaml", json.dumps({"version": 1, "forbidden_words": words}))
    campaign.write("a.yaml", of_all("a", WRITABLE))
    with loaded_once():
        for form in FORMATS:
            say("validate", "policy.yaml", "a.yaml", "--format", form)
            say("plan", "a.yaml", "--format", form)


def test_records(campaign: Folder) -> None:
    """What the service said, its ids and links, and what a forged manifest claims of all this."""
    loaded = campaign.load(of_all("a", WRITABLE), name="a.yaml")
    events = []
    for number, (request, text) in enumerate(zip(requests_of(loaded), WRITABLE, strict=False)):
        problem = ServiceError(status=400, code=text[:20], message=text)
        state = (State.FAILED, State.REJECTED, State.IN_DOUBT, State.STORED, State.ACCEPTED, State.COMPLETED)[
            number % 6
        ]
        for event in history(request, state):
            match event:
                case Failed() | Rejected():
                    event = replace(event, error=problem)
                case InDoubt():
                    event = replace(event, request_id=text[:20], detail=text)
                case Stored():
                    file = Image(
                        file=f"out/{number}.jpg", sha256="ab" * 32, bytes=10, width=1, height=1, warnings=(text,)
                    )
                    event = replace(event, images=(file,))
            events.append(event)
    record(loaded, events)
    with loaded_once():
        for form in FORMATS:
            say("status", "a.yaml", "--offline", "--format", form)
            say("plan", "a.yaml", "--format", form)
        for form in ("csv", "jsonl"):
            said = say("export", "a.yaml", "--format", form)
            assert said.code in (0, 8), said.err
        say("resolve", "a.yaml")
        say("gallery", "a.yaml")
        # What a stranger forges need not be what a ledger writes: any byte of the manifest may be another.
        manifest = campaign.path / "a.manifest.jsonl"
        lines = manifest.read_text("utf-8").splitlines()
        for number, text in enumerate(WRITABLE[::14]):
            forged = json.loads(lines[0])
            forged[("origin", "id", "job", "format")[number % 4]] = text
            head = json.dumps(forged, ensure_ascii=number % 2 == 0)
            manifest.write_text("\n".join([head, *lines[1:]]) + "\n", "utf-8")
            for command in ("status --offline", "plan", "resolve", "export"):
                say(*command.split(), "a.yaml")


def test_opinions(campaign: Folder) -> None:
    """Notes, reasons and names of reviewers: on the page, in tables, in the gate as a comment and as annotations."""
    campaign.write("a.yaml", job(request={"prompt": "{{ s }}"}, matrix={"s": ["heron", "cat"]}, select={"one_per": []}))
    git(campaign.path, "init", "-q", "-b", "main", ".")
    git(campaign.path, "add", "-A")
    git(campaign.path, "commit", "-q", "-m", "x")
    assert say("run", "a.yaml", "--emulator", "--yes", "--no-gallery").code == 0
    lines = map(json.loads, (campaign.path / ".seedream/emulator/a.manifest.jsonl").read_text("utf-8").splitlines())
    images = [(one["address"], one["images"][0]["sha256"]) for one in lines if one.get("images")]
    one_of_all = {"key": "v1:" + "0" * 64, "index": 1}
    for number, text in enumerate(WRITABLE[::6]):
        address, sha256 = images[number % 2]
        rating = {**one_of_all, "address": address, "sha256": sha256, "rating": number % 5 + 1, "note": text}
        choice = {"address": address, "sha256": sha256, "verdict": ("chosen", "rejected")[number % 2], "why": text}
        vote = {"axis": text, "first": images[0][1], "second": images[1][1], "winner": "tie"}
        whole = {"format": 2, "job": "a", "reviewer": text[:40], "ratings": [rating], "votes": [vote]}
        (campaign.path / "ratings.json").write_text(json.dumps({**whole, "choices": [one_of_all | choice]}))
        assert say("ratings", "apply", "ratings.json").code in (0, 2)
        assert say("choose", "a.yaml", "ratings.json", "--emulator").code in (0, 2)

    def read(folder: str) -> Any:
        raw = (campaign.path / folder / "a.yaml").read_text("utf-8")
        assert not [*readers.terminal(raw), *readers.unseen(raw)]
        return yaml.safe_load(raw)

    for name, key in (("reviews", "note"), ("selections", "why")):
        said = [
            one[key] for entries in read(name).values() if isinstance(entries, list) for one in entries if key in one
        ]
        assert said
        assert set(said) <= {text.strip() for text in WRITABLE}, "the words as they were said"
    # A file that a stranger wrote: each word by another reviewer.
    opinions = [
        {"address": images[number % 2][0], "image": f"sha256:{images[number % 2][1]}", "reviewer": f"{number} {text}"}
        | {"note": text or "-"}
        for number, text in enumerate(WRITABLE)
    ]
    campaign.write("reviews/a.yaml", yaml_text({"version": 2, "job": "a", "ratings": opinions}))
    with loaded_once():
        for form in FORMATS:
            say("status", "a.yaml", "--emulator", "--offline", "--require-chosen", "--format", form)
            say("plan", "a.yaml", "--emulator", "--again", "--rejected", "--format", form)
            say("validate", "a.yaml", "--format", form)
    for form in ("csv", "jsonl"):
        assert say("export", "a.yaml", "--emulator", "--format", form).code == 0
        say("export", "a.yaml", "--emulator", "--format", form, "--chosen", "--select", "rating >= 3")
    assert say("gallery", "a.yaml", "--emulator", "--out", "page").code == 0
    # Whoever writes the file by hand need not escape.
    for number, text in enumerate(WRITABLE[::4]):
        address, sha256 = images[number % 2]
        head = f"version: 2\njob: a\nratings:\n- {{address: '{address}', image: 'sha256:{sha256}', "
        campaign.write("reviews/a.yaml", head + (f"note: {text}}}\n" if number % 3 else f"{text}: 1}}\n"))
        campaign.write("selections/a.yaml", f"version: 1\nchosen:\n- address: {text}\n  why: {text}\n  by: [{text}]\n")
        command = ("export --format csv", "status --offline --require-chosen --format github", "gallery --out page")
        say(*command[number % 3].split(), "--emulator", "a.yaml")


def test_saved_plans(campaign: Folder) -> None:
    """Every text of a plan's document may have been edited; ``show`` and ``run`` say so in plain words."""
    campaign.write("a.yaml", of_all("a", WRITABLE[:3]))
    assert say("plan", "a.yaml", "--emulator", "-o", "plan.json").code in (0, 5)
    whole = json.loads((campaign.path / "plan.json").read_text("utf-8"))

    def paths(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
        if isinstance(value, str):
            yield at
        elif isinstance(value, dict | list):
            for name, one in value.items() if isinstance(value, dict) else enumerate(value):
                yield from paths(one, (*at, name))

    places = list(paths(whole))
    for number, text in enumerate((*WRITABLE, *WRITABLE[: len(places)])):
        *above, last = places[number % len(places)]
        edited = json.loads(json.dumps(whole))
        inner = edited
        for name in above:
            inner = inner[name]
        inner[last] = text
        campaign.write("edited.json", json.dumps(edited))
        say("show", "edited.json", *(() if number % 2 else ("--format", FORMATS[number % 8])))
    say("run", "edited.json", "--emulator", "--yes")


def test_the_live_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the service says while a run is under way stays on the lines that are drawn, whatever it says."""
    import pyte

    from seedream_jobs.cli.streams import Door, draw
    from seedream_jobs.report.progress import ProgressDisplay

    monkeypatch.setenv("COLUMNS", "80")
    for text in PAYLOADS:
        raw = io.StringIO()
        monkeypatch.setattr(sys, "stderr", Door(raw))
        with ProgressDisplay("live", total=3, draw=draw) as shown:
            shown.on_trouble(text or "x")
            screen = pyte.Screen(80, 12)
            pyte.Stream(screen).feed(raw.getvalue().replace("\n", "\r\n"))
            assert (screen.cursor.y, screen.cursor.x, screen.title, screen.icon_name) == (0, 0, "", ""), text
            assert screen.mode == pyte.Screen(80, 12).mode
            drawn = [line.rstrip() for line in screen.display if line.strip()]
            meant = [line.rstrip() for line in shown.lines(79).split("\n")]
            assert [line[:70] for line in drawn] == [line[:70] for line in meant], text  # a longer word is cut
            assert len(drawn) < 7, "a long reason is cut"
            shown.on_news(text)
        screen = pyte.Screen(80, 12)
        pyte.Stream(screen).feed(raw.getvalue().replace("\n", "\r\n"))
        assert screen.display[0].startswith("warning: ") or not screen.display[0].strip(), text
        assert "finished" not in "".join(screen.display), "wiped at the end"


@pytest.mark.parametrize("text", ["\x1b[2J", "\x9b31m", "\x1b]0;x\x07", "\x07", "a\rb", "\x08", "\x0b", "\x85"])
def test_a_fault_is_seen_by_the_terminal(text: str) -> None:
    assert readers.terminal(text) or readers.unseen(text)


@pytest.mark.parametrize(
    "text",
    [
        "::error::x",
        "a\r::error::x",
        " \u3000::set-output name=a::b",
        "a ##[x]",
        "##vso[x]",
        "section_start:1:a\r\x1b[0K",
    ],
)
def test_a_fault_is_seen_by_the_runners(text: str) -> None:
    assert find_active(f"fine\n{text}\n")
    assert not find_active("fine\n: :error::x ## [x]\n")


@pytest.mark.parametrize(
    "text",
    [
        "[a](https://e.example)",
        "![a](x)",
        "<b>x</b>",
        "https://e.example",
        "@me",
        "#12",
        "\n/close\n",
        "<!-- x -->",
        "`` ` @me",
    ],
)
def test_a_fault_is_seen_by_the_forges(text: str) -> None:
    assert readers.forges(f"- {text}\n" if "\n" not in text else text)
    assert not readers.forges("- **3** new `@me <b>` (`https://e.example`)\n")


@pytest.mark.parametrize("text", ["# a\ntouch PWNED\n", ": $(touch PWNED)\n", "touch PWNED\n", "echo x\n", ": 'a\n"])
def test_a_fault_is_seen_by_the_shells(text: str, tmp_path: Path) -> None:
    assert readers.shell(text, tmp_path / "shell")
    assert not readers.shell(": 'x'\ncurl --data-binary @- <<'BODY'\n{}\nBODY\n", tmp_path / "other")


def test_every_payload_is_active_somewhere_or_data() -> None:
    """The corpus is no list of harmless words: unescaped, most of it comes to life in one of the readers."""
    assert len(PAYLOADS) >= 130
    active = [text for text in WRITABLE if find_active(text + "\n") or readers.forges(text)]
    assert len(active) >= 130, len(active)


SOURCE = Path(seedream_jobs.__file__).parent
COMMAND = re.compile(r"(?:seedream-jobs (?:[a-z]+|\{[^}]*\})|git (?:log|mv|restore|rm)) ([^`]*)")
QUOTED = re.compile(r"shell_word\(|(?:\w+\.)?option\b|saved\.digest|command|task_id|named\}|asked\}|[A-Z_]+\}")
"""What stands in the command of a hint: a word of a shell, an option, a digest, an id, words of the program."""
ALREADY = {
    "status.py: job}",
    "ledger.py: job}",
    "text.py: shown}",
    "saved.py: jobs}",
    "gallery.py: jobs_again}",
    "terminal.py: share}",
    "shards.py: shard}",
    "failures.py: error.exit_code}",
    "output.py: code}",
    "expand.py: size: 16:9}",
}
"""Words of a shell, made one before; numbers, such as 2/3; the code of a finding; an example in a command's help."""


def test_every_name_in_a_command_is_a_word_of_a_shell() -> None:
    """Hints are pasted: whatever a job, a folder or an address is called, it is one word and no option."""
    names: list[str] = []
    for file in SOURCE.rglob("*.py"):
        for line in file.read_text("utf-8").splitlines():
            for command in COMMAND.findall(line):
                found = re.findall(r"\{([^{]*\})", command)
                names += [f"{file.name}: {name}" for name in found if not QUOTED.match(name)]
    assert set(names) == ALREADY


@pytest.mark.parametrize("shell", ["bash", "dash", "zsh"])
def test_a_name_is_one_word_of_a_shell(shell: str, tmp_path: Path) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    names = [text.replace("\0", "") for text in WRITABLE] + [
        "-rf",
        "--all",
        "~",
        "a b.yaml",
        "a;touch x",
        "$(touch x)",
        "*",
    ]
    script = "".join(f"printf '%s\\0' {shell_word(name)}\n" for name in names)
    ended = subprocess.run([shell, "-s"], input=script.encode(), capture_output=True, cwd=tmp_path, check=True)
    said = ended.stdout.decode().split("\0")[:-1]
    assert said == [f"./{name}" if name.startswith("-") else name for name in names]
    assert list(tmp_path.iterdir()) == []


def test_a_job_of_any_name_is_named_in_hints_as_one_word(campaign: Folder) -> None:
    """A hint of each command that gives one."""
    for number, name in enumerate(("a;touch x.yaml", "a b.yaml", "$(touch x).yaml")):
        text = f"version: 1\nrequest: {{prompt: '{number} {{{{ a }}}}'}}\nmatrix: {{a: [1, 2, 3, 4]}}\n"
        loaded = campaign.load(text, name=name)
        word = shell_word(name)
        assert f"seedream-jobs run {word}" in say("status", "--offline", "--", name).err
        states = (State.IN_DOUBT, State.COMPLETED, State.FAILED)
        made = [history(one, state) for one, state in zip(requests_of(loaded), states, strict=False)]
        record(loaded, [event for events in made for event in events], origin="https://api.apimart.ai")
        assert f"resolve {word} ADDRESS" in say("resolve", "--", name).err
        told = say("status", "--offline", "--", name).out
        assert f"seedream-jobs resolve {word}" in told
        assert f"seedream-jobs fetch {word}" in told
        planned = say("plan", "--", name)
        assert f"seedream-jobs fetch {word}" in planned.out, planned.err


# -- what the service says ---------------------------------------------------------------------------------------------

WAYS = ("refused", "no id", "failed", "a link", "an error for an image", "a server's error")


class _Speaker(BaseHTTPRequestHandler):
    """A service that says the payloads: to request N in the way ``WAYS[(N + shift) % 6]``."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one packet: a second one would wait 40 ms for the first one's acknowledgement
    shift = 0

    def log_message(self, format: str, *arguments: Any) -> None:
        pass

    def do_POST(self) -> None:
        payload = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        number = int(payload["prompt"].split()[-1])
        text, way = WRITABLE[number], WAYS[(number + self.shift) % len(WAYS)]
        if way == "refused":
            self._say(400, {"error": {"code": text, "message": text, "type": text}}, request_id=text)
        elif way == "a server's error":
            self._say(500, {"error": {"code": text, "message": text}}, request_id=text)
        else:
            task = text if way == "no id" else f"task_{number}"
            self._say(200, {"code": 200, "data": [{"status": text, "task_id": task}]}, request_id=text)

    def do_GET(self) -> None:
        task = self.path.rpartition("task_")[2]
        if "/tasks/" not in self.path or not task.isdecimal():
            self._say(404, {"error": {"code": WRITABLE[0], "message": self.path}})
            return
        text, way = WRITABLE[int(task)], WAYS[(int(task) + self.shift) % len(WAYS)]
        if way == "failed":
            self._say(200, {"code": 200, "data": {"status": "failed", "error": {"code": text, "message": text}}})
            return
        image = {"error": text} if way == "an error for an image" else {"url": [text if int(task) % 2 else f"/{text}"]}
        self._say(200, {"code": 200, "data": {"status": "completed", "result": {"images": [image]}, "cost": 0.01}})

    def _say(self, status: int, body: Any, request_id: str = "") -> None:
        data = json.dumps(body).encode()
        self.send_response(status, "OK")
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        if request_id.isprintable() and request_id.isascii():
            self.send_header("X-Request-Id", request_id)
        self.end_headers()
        self.wfile.write(data)


@pytest.fixture
def speaker() -> Iterator[str]:
    """The base URL of a service that says the payloads."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Speaker)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("shift", [0, *(pytest.param(shift, marks=pytest.mark.slow) for shift in range(1, len(WAYS)))])
def test_what_the_service_says(shift: int, campaign: Folder, speaker: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every payload in every way in which the service can say something, from the POST to the last command."""
    monkeypatch.setattr(_Speaker, "shift", shift)
    patience = Shutdown.sleep
    monkeypatch.setattr(Shutdown, "sleep", lambda self, seconds: patience(self, min(seconds, 0.02)))
    text = f"version: 1\nrequest: {{prompt: 'heron {{{{ a }}}}'}}\nmatrix: {{a: {{range: [0, {len(WRITABLE) - 1}]}}}}\n"
    campaign.write("a.yaml", text)
    monkeypatch.setenv("APIMART_BASE_URL", speaker)

    def with_key(*words: str) -> Said:
        monkeypatch.setenv("APIMART_API_KEY", "sk-0123456789abcdefghij")
        return say(*words)

    as_json = ["--json"] if shift % 2 else []
    ran = with_key("run", "a.yaml", "--yes", "--concurrency", "1", "--deadline", "1s", *as_json)
    assert ran.code in (1, 6, 8), ran.err[-2000:]
    if as_json:
        _read_lines("".join(line for line in ran.err.splitlines(keepends=True) if line.startswith("{")))
    lines = (campaign.path / "a.manifest.jsonl").read_text("utf-8").splitlines()
    assert sum('"state":' in line for line in lines) == len(WRITABLE), "the service has said all of it"
    with_key("fetch", "a.yaml", "--deadline", "1s", *as_json)
    with_key("resolve", "a.yaml", "--check")
    say("resolve", "a.yaml")
    say("plan", "a.yaml")
    with loaded_once():
        for form in FORMATS:
            say("status", "a.yaml", "--offline", "--format", form)
