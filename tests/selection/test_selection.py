"""Images are chosen by their bytes, by people with names; the gate names what is missing, and a choice can be used.

Each test drives the commands in a real git repository, with images that the emulator made.
"""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml

from seedream_jobs.cli.main import run_command
from seedream_jobs.errors import ExitCode
from tests.gallery.test_writing import decoded, reader

JOB = """\
version: 1
request: {prompt: "{{ s }} in a garden, {{ style }}"}
matrix: {s: [a heron, a cat], style: [ink, photo]}
select: {one_per: [s]}
"""
HERON_INK, HERON_PHOTO, CAT_INK, CAT_PHOTO = (
    f"garden/s={s},style={style}#1" for s in ("a-heron", "a-cat") for style in ("ink", "photo")
)


class Campaign:
    """A repository with a job that was run, and what its people say."""

    def __init__(self, folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
        self.folder, self.capfd = folder, capfd
        self.out = self.err = ""

    def call(self, *arguments: str) -> int:
        """A command in this process: its exit code; what it printed is kept."""
        self.capfd.readouterr()
        code = run_command(list(arguments))
        self.out, self.err = self.capfd.readouterr()
        assert "internal error" not in self.err
        return code

    def status(self, *options: str) -> int:
        return self.call("status", "garden.yaml", "--emulator", "--offline", "--require-chosen", *options)

    def images(self) -> dict[str, str]:
        """The digest of each request's image, by its address."""
        lines = map(json.loads, (self.folder / ".seedream/emulator/garden.manifest.jsonl").read_text().splitlines())
        return {one["address"]: one["images"][0]["sha256"] for one in lines if one.get("images")}

    def say(
        self, who: str, verdicts: dict[str, str | None], *, why: str = "", shas: dict[str, str] | None = None
    ) -> int:
        """``choose`` with an export of one person."""
        images = {**self.images(), **(shas or {})}
        choices = [
            {"address": address, "key": "v1:" + "0" * 64, "index": 1, "sha256": images[address], "verdict": verdict}
            | ({"why": why} if why else {})
            for address, verdict in verdicts.items()
        ]
        export = {"format": 2, "job": "garden", "reviewer": who, "ratings": [], "choices": choices}
        (self.folder / "ratings.json").write_text(json.dumps(export))
        return self.call("choose", "garden.yaml", "ratings.json", "--emulator")

    def selection(self) -> Any:
        return yaml.safe_load((self.folder / "selections/garden.yaml").read_text())

    def rows(self, *options: str) -> list[str]:
        """The addresses of an export, and the code kept in ``code``."""
        self.code = self.call("export", "garden.yaml", "--emulator", "--format", "csv", *options)
        return [row["address"] for row in csv.DictReader(io.StringIO(self.out))]

    def git(self, *words: str) -> None:
        subprocess.run(["git", *words], cwd=self.folder, check=True, capture_output=True)

    def commit(self, author: str, **files: str) -> None:
        for name, text in files.items():
            (self.folder / name.replace("_", ".")).write_text(text)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", "x", "--author", f"{author} <{author.lower()}@example.org>")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "campaign"
    folder.mkdir()
    for words in (("init", "-q"), ("config", "user.name", "Robot"), ("config", "user.email", "robot@example.org")):
        subprocess.run(["git", *words], cwd=folder, check=True)
    (folder / "garden.yaml").write_text(JOB)
    (folder / ".gitignore").write_text(".seedream/\nratings.json\n")
    before = Path.cwd()
    os.chdir(folder)
    try:
        assert run_command(["run", "garden.yaml", "--emulator", "--no-gallery"]) == 0
    finally:
        os.chdir(before)
    return folder


@pytest.fixture
def campaign(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Campaign:
    folder = tmp_path / "campaign"
    shutil.copytree(made, folder)
    monkeypatch.chdir(folder)
    return Campaign(folder, capfd)


Said = Callable[[Campaign], object]


def all_of(*steps: Said) -> Said:
    return lambda campaign: [step(campaign) for step in steps]


def says(who: str, **chosen: Iterable[str]) -> Said:
    return lambda campaign: campaign.say(who, {address: word for word, them in chosen.items() for address in them})


def test_a_choice_is_a_file_for_review(campaign: Campaign) -> None:
    """By address, with the image's digest and names; people with one reason share an entry; twice changes nothing."""
    assert campaign.say("Ana", {HERON_INK: "chosen", HERON_PHOTO: "rejected"}, why="the beak: wrong\nthere") == 0
    assert campaign.out == f"{campaign.folder / 'selections' / 'garden.yaml'}\n"
    assert campaign.say("Ben  B.", {HERON_INK: "chosen"}, why="the beak: wrong\nthere") == 0
    images = campaign.images()
    found = campaign.selection()
    assert found == {
        "version": 1,
        "job": "garden",
        "chosen": [
            {
                "address": HERON_INK,
                "image": f"sha256:{images[HERON_INK]}",
                "by": ["Ana", "Ben B."],
                "why": "the beak: wrong\nthere",
            }
        ],
        "rejected": [
            {
                "address": HERON_PHOTO,
                "image": f"sha256:{images[HERON_PHOTO]}",
                "by": ["Ana"],
                "why": "the beak: wrong\nthere",
            }
        ],
    }
    before = (campaign.folder / "selections/garden.yaml").read_bytes()
    assert campaign.say("Ben B.", {HERON_INK: "chosen"}, why="the beak: wrong\nthere") == 0
    assert (campaign.folder / "selections/garden.yaml").read_bytes() == before


def test_a_later_word_replaces_the_earlier_one(campaign: Campaign) -> None:
    """On the same image, and on another image of the group; null takes it back. Others' words stay."""
    campaign.say("Ana", {HERON_INK: "chosen", CAT_INK: "chosen"})
    campaign.say("Ben", {HERON_INK: "chosen"})
    campaign.say("Ana", {HERON_PHOTO: "chosen", CAT_INK: None})
    assert [(one["address"], one["by"]) for one in campaign.selection()["chosen"]] == [
        (HERON_INK, ["Ben"]),
        (HERON_PHOTO, ["Ana"]),
    ]
    campaign.say("Ana", {HERON_PHOTO: "rejected"})
    assert [one["address"] for one in campaign.selection()["rejected"]] == [HERON_PHOTO]


@pytest.mark.parametrize(
    ("steps", "lines"),
    [
        (says("Ana"), ["s=a heron: no image is chosen", "s=a cat: no image is chosen"]),
        (says("Ana", chosen=[HERON_INK]), ["s=a cat: no image is chosen"]),
        (says("Ana", chosen=[HERON_INK, CAT_INK]), []),
        (
            says("Ana", chosen=[HERON_INK, HERON_PHOTO, CAT_INK]),
            [f"s=a heron: 2 images are chosen: {HERON_INK}, {HERON_PHOTO}"],
        ),
        (
            all_of(says("Ana", chosen=[HERON_INK, CAT_INK]), says("Ben", rejected=[HERON_INK])),
            ["s=a heron: no image is chosen"],
        ),
    ],
)
def test_the_gate_names_each_group(campaign: Campaign, steps: Said, lines: list[str]) -> None:
    """Exit code 9 with the groups that lack their one image, in the job's order; 0 once none does."""
    steps(campaign)
    assert campaign.status() == (ExitCode.NOT_CHOSEN if lines else ExitCode.OK)
    assert [line.strip() for line in campaign.out.splitlines() if line.startswith("      ")] == lines
    campaign.status("--format", "json")
    told = json.loads(campaign.out)[0].get("to_choose", [])
    assert [f"{one['group']}: {one['why']}" for one in told] == lines
    campaign.status("--format", "github")
    assert campaign.out.count("not-chosen") == len(lines)


def test_an_image_that_was_made_again_is_not_chosen(campaign: Campaign) -> None:
    """A new image at the same address voids the choice; the gate says what is gone. The earlier word is replaced."""
    campaign.say("Ana", {HERON_INK: "chosen", CAT_INK: "chosen"})
    old = campaign.images()[HERON_INK]
    assert campaign.call("run", "garden.yaml", "--emulator", "--no-gallery", "--again", HERON_INK) == 0
    assert campaign.images()[HERON_INK] != old
    assert campaign.status() == 9
    assert f"s=a heron: the chosen image is no longer there: {HERON_INK} (sha256:{old[:12]}…)" in campaign.out
    campaign.say("Ben", {HERON_INK: "chosen", HERON_PHOTO: "rejected"}, shas={HERON_INK: old})
    assert f"1 choice left out, whose image is not on record any more: {HERON_INK}" in campaign.err
    campaign.say("Ana", {HERON_INK: "chosen"})
    assert campaign.status() == 0
    assert old not in (campaign.folder / "selections/garden.yaml").read_text()


def test_a_policy_asks_for_approvals_and_forbids_ones_own(campaign: Campaign) -> None:
    """By the author of the commit that brought the prompt of today: a later change of other fields is not his."""
    campaign.commit("Ana", garden_yaml=JOB)
    campaign.commit("Ben", garden_yaml=JOB + "limits: {max_requests: 9}\n")
    (campaign.folder / "policy.yaml").write_text("version: 1\nselection: {approvals: 2, own: forbid}\n")
    campaign.say("ana ", {HERON_INK: "chosen", CAT_INK: "chosen"})
    campaign.say("Ben", {HERON_INK: "chosen", CAT_INK: "chosen"})
    assert campaign.status() == 9
    assert (
        f"s=a cat: 1 of 2 approvals for {CAT_INK}; ana changed the prompt last, and may not choose their own"
        in campaign.out
    )
    campaign.say("Cleo", {HERON_INK: "chosen", CAT_INK: "chosen"})
    assert campaign.status() == 0
    (campaign.folder / "lax.yaml").write_text("version: 1\n")
    assert campaign.status("--policy", "lax.yaml") == 0
    # A job asks for more, never for less.
    text = (campaign.folder / "garden.yaml").read_text()
    (campaign.folder / "garden.yaml").write_text(text.replace("[s]}", "[s], approvals: 3}"))
    assert campaign.status() == 9
    assert f"2 of 3 approvals for {CAT_INK}" in campaign.out
    (campaign.folder / "garden.yaml").write_text(text.replace("[s]}", "[s], approvals: 1}"))
    assert campaign.call("validate", "garden.yaml") == 1
    assert "select.approvals is 1: the policy asks for 2" in campaign.out


def test_a_name_in_two_spellings_is_one_approval(campaign: Campaign) -> None:
    """Case and blanks don't count: one person who typed it twice is not two people."""
    (campaign.folder / "policy.yaml").write_text("version: 1\nselection: {approvals: 2}\n")
    campaign.say("Ana", {HERON_INK: "chosen", CAT_INK: "chosen"})
    campaign.say("ana", {HERON_INK: "chosen", CAT_INK: "chosen"})
    assert campaign.status() == 9
    assert f"s=a cat: 1 of 2 approvals for {CAT_INK}" in campaign.out


def test_whose_the_prompt_is_must_be_known(campaign: Campaign, tmp_path: Path) -> None:
    """An uncommitted prompt, and a shallow clone, are refused with the next step; an axis file has an author, too."""
    (campaign.folder / "policy.yaml").write_text("version: 1\nselection: {own: forbid}\n")
    campaign.commit("Ben", garden_yaml=JOB.replace("in a garden", "in a park"))
    (campaign.folder / "garden.yaml").write_text(JOB)
    campaign.say("Ben", {HERON_INK: "chosen", CAT_INK: "chosen"})
    assert campaign.status() == 2
    assert "commit it" in campaign.err
    filed = JOB.replace("[a heron, a cat]", "{from: subjects.txt}")
    campaign.commit("Ana", garden_yaml=filed, subjects_txt="a heron\na cat\n")
    campaign.commit("Ben", subjects_txt="a heron\n\na cat\n")
    assert campaign.status() == 9
    assert campaign.out.count("Ben changed the prompt last") == 2
    head = (campaign.folder / ".git" / "HEAD").read_text()
    assert head.startswith("ref:")
    campaign.git("clone", "--quiet", "--depth", "1", campaign.folder.as_uri(), str(tmp_path / "shallow"))
    shutil.copytree(campaign.folder / ".seedream", tmp_path / "shallow" / ".seedream")
    os.chdir(tmp_path / "shallow")
    assert campaign.status() == 2
    assert "git fetch --unshallow" in campaign.err


def test_what_was_chosen_and_liked_is_exported(campaign: Campaign) -> None:
    """``--chosen``, conditions on opinions, and columns; an incomplete selection is exported with exit code 9."""
    images = campaign.images()
    ratings = [
        {
            "address": HERON_INK,
            "key": "v1:" + "0" * 64,
            "index": 1,
            "sha256": images[HERON_INK],
            "rating": 5,
            "star": True,
        },
        {
            "address": CAT_INK,
            "key": "v1:" + "0" * 64,
            "index": 1,
            "sha256": images[CAT_INK],
            "rating": 2,
            "note": "dark",
        },
    ]
    export = {"format": 2, "job": "garden", "reviewer": "Ana", "ratings": ratings}
    (campaign.folder / "ratings.json").write_text(json.dumps(export))
    assert campaign.call("ratings", "apply", "ratings.json", "garden.yaml") == 0
    campaign.say("Ana", {HERON_INK: "chosen", CAT_PHOTO: "rejected"}, why="calm")
    assert campaign.rows("--select", "rating >= 4") == [HERON_INK]
    assert campaign.rows("--select", "rating < 4") == [CAT_INK]
    assert campaign.rows("--select", "stars or rejected") == [HERON_INK, CAT_PHOTO]
    assert campaign.rows("--select", "style == 'photo' and not ratings") == [HERON_PHOTO, CAT_PHOTO]
    assert campaign.code == 0
    assert campaign.rows("--select", "raiting > 1") == []
    assert (campaign.code, "did you mean 'rating'?" in campaign.err) == (2, True)
    assert campaign.rows("--chosen") == [HERON_INK]
    assert (campaign.code, "1 group without its chosen image" in campaign.err) == (9, True)
    campaign.say("Ben", {CAT_INK: "chosen"})
    assert campaign.rows("--chosen") == [HERON_INK, CAT_INK]
    assert campaign.code == 0
    first, second = csv.DictReader(io.StringIO(campaign.out))
    assert [first[name] for name in ("rating", "stars", "notes", "choice", "choice_by", "choice_why")] == [
        "5.0",
        "1",
        "",
        "chosen",
        '["Ana"]',
        "calm",
    ]
    assert second["notes"] == '["Ana: dark"]'


def test_rejected_images_are_bought_again_by_a_plan_only(campaign: Campaign) -> None:
    """Rejecting changes no plan; ``--again --rejected`` submits what is rejected now, and is then done."""
    assert campaign.call("plan", "garden.yaml", "--emulator", "--again", "--rejected") == 2
    assert "there is no selections/garden.yaml" in campaign.err
    campaign.say("Ana", {HERON_INK: "rejected", CAT_INK: "chosen"})
    assert campaign.call("plan", "garden.yaml", "--emulator", "--detailed-exitcode") == 0
    before = campaign.images()
    assert campaign.call("plan", "garden.yaml", "--emulator", "--again", "--rejected", "-o", "plan.json") == 0
    assert "1 again" in campaign.out
    assert json.loads((campaign.folder / "plan.json").read_text())["options"] == {"rejected": True}
    assert campaign.call("run", "plan.json", "--emulator", "--no-gallery") == 0
    after = campaign.images()
    assert {address for address in after if after[address] != before[address]} == {HERON_INK}
    again = ("plan", "garden.yaml", "--emulator", "--again", "--rejected", "--detailed-exitcode")
    assert campaign.call(*again) == 0
    assert campaign.call("plan", "garden.yaml", "--emulator", "--rejected") == 2


def test_the_page_has_opinions_and_choices(campaign: Campaign) -> None:
    """Merged, by bytes; an opinion about another image of the address is counted apart."""
    images = campaign.images()
    (campaign.folder / "reviews").mkdir()
    (campaign.folder / "reviews/garden.yaml").write_text(
        f"version: 2\njob: garden\nratings:\n- {{address: '{HERON_INK}', image: 'sha256:{images[HERON_INK]}', "
        f"reviewer: Ana, rating: 4, note: calm}}\n- {{address: '{CAT_INK}', image: 'sha256:{'0' * 64}', rating: 1}}\n"
        f"votes:\n- {{axis: s, reviewer: Ben, first: 'sha256:{images[HERON_INK]}', second: 'sha256:{'f' * 64}', "
        "winner: first}\n"
    )
    campaign.say("Ana", {HERON_INK: "chosen", HERON_PHOTO: "rejected"}, why="calm")
    assert campaign.call("gallery", "garden.yaml", "--emulator", "--out", "page") == 0
    data = decoded((campaign.folder / "page/data.js").read_text())
    names = ("address", "opinion", "choice")
    columns = [[reader(data, data[name])(n) for n in range(data["header"]["count"])] for name in names]
    cells = {address: rest for address, *rest in zip(*columns, strict=True)}
    chosen = {"verdict": "chosen", "by": ["Ana"], "why": "calm"}
    notes = [{"reviewer": "Ana", "note": "calm"}]
    said = {"rating": 4.0, "ratings": 1, "given": [["Ana", 4]], "wins": 1, "votes": 1, "notes": notes}
    assert cells[HERON_INK] == [said, chosen]
    assert data["header"]["votes"] == [["s", "Ben", images[HERON_INK], "f" * 64, "first"]]
    assert cells[HERON_PHOTO][1]["verdict"] == "rejected"
    assert cells[CAT_INK] == [{"former": 1}, None]
    assert cells[CAT_PHOTO] == [None, None]
    assert data["header"]["select"] == {"one_per": ["s"], "approvals": 1}
    (campaign.folder / "reviews/garden.yaml").write_text("version: 9\n")
    assert campaign.call("gallery", "garden.yaml", "--emulator", "--out", "page") == 1
    assert "reviews/garden.yaml:1:10" in campaign.err


@pytest.mark.parametrize(
    ("change", "code", "said"),
    [
        ({"choices": []}, 2, "the export has no choices"),
        ({"reviewer": " "}, 2, "names no reviewer"),
        ({"job": "park"}, 2, "'park', not of 'garden'"),
        ({"choices": [{"verdict": "best"}]}, 2, "not as the gallery writes them"),
    ],
)
def test_an_export_that_chooses_nothing_is_refused(
    campaign: Campaign, change: dict[str, Any], code: int, said: str
) -> None:
    """With the next step, and nothing is written."""
    choice = {"address": HERON_INK, "sha256": campaign.images()[HERON_INK], "verdict": "chosen"}
    export = {"format": 2, "job": "garden", "reviewer": "Ana", "ratings": [], "choices": [choice], **change}
    (campaign.folder / "ratings.json").write_text(json.dumps(export))
    assert campaign.call("choose", "garden.yaml", "ratings.json", "--emulator") == code
    assert said in campaign.err
    assert not (campaign.folder / "selections").exists()


def test_a_selection_that_is_none_is_left_alone(campaign: Campaign) -> None:
    """Findings at their lines, for the gate, the export and ``choose``."""
    file = campaign.folder / "selections" / "garden.yaml"
    file.parent.mkdir()
    file.write_text(f"version: 1\nchosen:\n- address: a\n  image: sha256:{'0' * 64}\n  by: []\n")
    assert campaign.say("Ana", {HERON_INK: "chosen"}) == 1
    assert "selections/garden.yaml:5:" in campaign.err
    assert campaign.status() == 1
    assert campaign.rows("--chosen") == []
    assert campaign.code == 1
    file.unlink()
    file.symlink_to("/etc/passwd")
    assert campaign.say("Ana", {HERON_INK: "chosen"}) == 2
    assert file.is_symlink()


def test_select_names_axes(campaign: Campaign) -> None:
    """A name that is no axis is a finding; the rule changes no request."""
    (campaign.folder / "garden.yaml").write_text(JOB.replace("[s]}", "[stile]}"))
    assert campaign.call("validate", "garden.yaml") == 1
    assert "'select' names 'stile', which is no axis" in campaign.out
    assert "did you mean 'style'?" in campaign.out
    (campaign.folder / "garden.yaml").write_text(JOB.replace("[s]}", "[]}"))
    assert campaign.call("plan", "garden.yaml", "--emulator", "--detailed-exitcode") == 0
    campaign.say("Ana", {HERON_INK: "chosen"})
    assert campaign.status() == 0
