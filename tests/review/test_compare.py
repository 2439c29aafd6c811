"""``compare``: what a change does to the images, in real repositories, for one image and for ten thousand."""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from PIL import Image as Pillow

from seedream_jobs.ledger.ledger import Ledger
from seedream_jobs.ledger.state import Accepted, Completed, Event, Image, Intended, State, Stored
from seedream_jobs.plans.load import load_job
from tests.campaign import NOW, TARGET, history, requests_of
from tests.lanes import examples

HOSTILE = "`</details> @team ![x](http://x) | ::error::"
Paint = Callable[[Any], "tuple[int, int, int] | None"]


def picture(colour: tuple[int, int, int]) -> bytes:
    out = io.BytesIO()
    Pillow.new("RGB", (48, 48), colour).save(out, "png")
    return out.getvalue()


def make(campaign: Any, paint: Paint, name: str = "garden.yaml", *, generation: int = 1) -> None:
    """Put the images that ``paint`` gives on record and on the disk; None leaves a request out."""
    job = load_job(campaign.folder / name, shown=name, target=TARGET, sets={})
    events: list[Event] = []
    for request in requests_of(job):
        colour = paint(request)
        if colour is None:
            continue
        data = picture(colour)
        file = f"{request.output}{f'-g{generation}' if generation > 1 else ''}.png"
        campaign.write(file, data)
        stored = Image(
            file=file, sha256=hashlib.sha256(data).hexdigest(), bytes=len(data), width=48, height=48, format="png"
        )
        link = Image(url="https://img/1", expires_at=NOW + 3600)
        intended, accepted, *_ = history(request, State.STORED, generation=generation)
        assert isinstance(intended, Intended)
        assert isinstance(accepted, Accepted)
        events += [
            intended,
            accepted,
            Completed(key=request.key, at=NOW, images=(link,), cost_usd=intended.max_cost_usd),
            Stored(key=request.key, at=NOW, images=(stored,)),
        ]
    root = job.expansion.spec.root
    with Ledger.open(
        job.paths, job=name, origin=TARGET.origin, new_id=lambda: "m-1", root=root, command="t", now=NOW
    ) as ledger:

        async def together(some: list[Event]) -> None:
            async with anyio.create_task_group() as tasks:
                for event in some:
                    tasks.start_soon(ledger.record, event)

        for step in range(4):  # all of one step in a few writes
            anyio.run(together, events[step::4])


def colour_of(request: Any, turn: int = 0) -> tuple[int, int, int]:
    digest = hashlib.sha256(f"{request.address}{turn}".encode()).digest()
    return digest[0], digest[1], digest[2]


@pytest.fixture
def reviewed(campaign: Any) -> Any:
    """The garden with its four images, on ``main``; the work tree is on the branch ``change``."""
    make(campaign, colour_of)
    campaign.commit("images")
    campaign.git("checkout", "-q", "-b", "change")
    return campaign


def counts(ended: Any) -> dict[str, tuple[int, int, int]]:
    (job,) = json.loads(ended.out)["jobs"]
    return {kind: (n["requests"], n["images_was"], n["images"]) for kind, n in job["counts"].items() if n["requests"]}


def test_nothing_changed(reviewed: Any, command: Any) -> None:
    ended = command("compare", "garden.yaml", "--base", "main", "--format", "json")
    assert (ended.code, counts(ended)) == (0, {"equal": (4, 4, 4)})
    said = command("compare", "garden.yaml", "--base", "main").out
    assert "garden.yaml: no image changed; 4 equal" in said


def test_every_kind(reviewed: Any, command: Any) -> None:
    """A prompt edited, an image made again, a value gained and one dropped: each address in its kind."""
    reviewed.edit("garden.yaml", "ink painting", "loose ink painting")
    reviewed.edit("garden.yaml", "[a heron, a tabby cat]", "[a heron, an owl]")
    make(reviewed, lambda one: colour_of(one, 1) if "ink" in one.address and "heron" in one.address else None)
    make(reviewed, lambda one: colour_of(one, 2) if one.address.endswith("heron,style=photo#1") else None, generation=2)
    ended = command("compare", "garden.yaml", "--base", "main", "--format", "json")
    assert counts(ended) == {"new_image": (1, 1, 1), "new_request": (3, 1, 1), "gone": (2, 2, 0)}
    (job,) = json.loads(ended.out)["jobs"]
    assert job["not_made_yet"] == 2
    told = {one["address"]: one for one in job["changes"]}
    ink = told["garden/subject=a-heron,style=ink#1"]
    assert "loose" in ink["is"]["request"]["prompt"]
    assert "loose" not in ink["was"]["request"]["prompt"]
    photo = told["garden/subject=a-heron,style=photo#1"]
    assert photo["was"]["key"] == photo["is"]["key"]
    assert photo["was"]["images"][0]["sha256"] != photo["is"]["images"][0]["sha256"]
    assert told["garden/subject=an-owl,style=ink#1"]["is"]["state"] == "new"
    assert told["garden/subject=a-tabby-cat,style=ink#1"]["is"] is None
    comment = command("compare", "garden.yaml", "--base", "main", "--format", "markdown").out
    assert comment.startswith(
        "<!-- seedream-jobs: compare -->\n### `garden.yaml`: 1 new image, 3 new requests, 2 gone; 0"
    )
    assert "{+loose +}ink painting" in comment
    assert "gained 'an owl'" in comment
    assert "<details>" not in comment


def test_what_came_to_the_base_since_is_not_the_changes(reviewed: Any, command: Any) -> None:
    """The base is where the branch began: main drops a style and makes images again, and the comment knows neither."""
    reviewed.git("checkout", "-q", "main")
    reviewed.edit("garden.yaml", "    - {id: ink, text: ink painting}\n", "")
    make(reviewed, lambda one: colour_of(one, 7), generation=2)
    reviewed.commit("main goes on")
    reviewed.git("checkout", "-q", "change")
    ended = command("compare", "garden.yaml", "--base", "main", "--format", "json")
    assert counts(ended) == {"equal": (4, 4, 4)}
    assert json.loads(ended.out)["base"]["commit"] == reviewed.git("merge-base", "main", "change")


def test_two_revisions(reviewed: Any, command: Any) -> None:
    """With ``--head`` whatever lies in the work tree does not count."""
    make(reviewed, lambda one: colour_of(one, 1) if "heron" in one.address else None, generation=2)
    reviewed.commit("two again")
    reviewed.write("garden.yaml", "no job\n")
    ended = command("compare", "garden.yaml", "--base", "main", "--head", "change", "--format", "json")
    assert counts(ended) == {"equal": (2, 2, 2), "new_image": (2, 2, 2)}


def test_a_job_without_a_base_and_one_that_is_gone(reviewed: Any, command: Any) -> None:
    reviewed.git("mv", "garden.yaml", "other.yaml")
    gone, new = (
        command("compare", name, "--base", "main", "--format", "json") for name in ("garden.yaml", "other.yaml")
    )
    assert counts(gone) == {"gone": (4, 4, 0)}
    assert counts(new) == {"new_request": (4, 0, 0)}
    assert "is not in main" in json.loads(new.out)["jobs"][0]["notes"][0]


def pixels(sheet: Path) -> set[tuple[int, int, int]]:
    with Pillow.open(sheet) as opened:
        return {colour for _, colour in opened.convert("RGB").getcolors(1 << 24) or ()}  # type: ignore[misc]


def near(colour: tuple[int, int, int], found: set[tuple[int, int, int]]) -> bool:
    return any(max(abs(a - b) for a, b in zip(colour, one, strict=True)) < 12 for one in found)


def test_the_sheet_shows_both_sides(reviewed: Any, command: Any, tmp_path: Path) -> None:
    """The earlier image out of the commit where the disk has it no more; again, and the bytes are the same."""
    (heron,) = (
        file for file in (reviewed.folder / "out/garden").iterdir() if "heron" in file.name and "ink" in file.name
    )
    make(reviewed, lambda one: (250, 10, 20) if one.output.endswith(heron.stem) else None, generation=2)
    with Pillow.open(heron) as opened:
        was = opened.getpixel((0, 0))
    heron.unlink()
    ended = command("compare", "garden.yaml", "--base", "main", "--sheets", str(tmp_path / "s"), "--format", "markdown")
    (sheet,) = (tmp_path / "s").iterdir()
    assert sheet.name == "garden.webp"
    found = pixels(sheet)
    assert near(was, found)  # type: ignore[arg-type]
    assert near((250, 10, 20), found)
    assert f"Was and is, side by side: `{sheet}`" in ended.out
    before = sheet.read_bytes()
    url = ("--sheets-url", "https://ci.example/raw/s")
    ended = command(
        "compare", "garden.yaml", "--base", "main", "--sheets", str(tmp_path / "s"), "--format", "markdown", *url
    )
    assert sheet.read_bytes() == before
    assert "![garden, was and is, 1](https://ci.example/raw/s/garden.webp)" in ended.out


def test_another_picture_of_that_name_is_not_shown(reviewed: Any, command: Any, tmp_path: Path) -> None:
    """Neither an image that is not what the record says, nor a thumbnail that came with the change."""
    make(reviewed, lambda one: (250, 10, 20), generation=2)
    for file in (reviewed.folder / "out/garden").glob("*-g2.png"):
        sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
        file.write_bytes(picture((0, 0, 255)))
        with Pillow.new("RGB", (48, 48), (0, 0, 254)) as fake:
            thumbnail = reviewed.write(f".seedream/thumbnails/{sha256[:2]}/{sha256}.webp", b"")
            fake.save(thumbnail)
    reviewed.git("add", "-f", "-A")
    command("compare", "garden.yaml", "--base", "main", "--sheets", str(tmp_path / "s"))
    found = pixels(tmp_path / "s/garden.webp")
    assert not near((0, 0, 255), found)
    assert not near((250, 10, 20), found)


def test_hostile_words_stay_in_code(campaign: Any, command: Any) -> None:
    campaign.write(
        "garden.yaml", f"version: 1\nrequest: {{prompt: '{{{{ s }}}}'}}\nmatrix: {{s: ['{HOSTILE}', 'x']}}\n"
    )
    campaign.commit("hostile")
    campaign.edit("garden.yaml", "'x'", f"'{HOSTILE}!'")
    ended = command("compare", "garden.yaml", "--base", "main", "--format", "markdown")
    bare = re.sub(r"(`+).*?[^`]\1(?!`)", "", ended.out, flags=re.DOTALL)
    assert "@team" not in bare
    assert "](http" not in bare
    assert not re.search(r"^::", ended.out, re.MULTILINE)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--base", "nowhere"], "unknown revision 'nowhere'"),
        (["--base", "main", "--sheets-url", "https://x"], "--sheets-url needs --sheets"),
        (["--base", "main", "--sheets", "s", "--sheets-url", "javascript:x"], "no URL that Markdown can hold"),
        ([], "--base"),
    ],
)
def test_refusals(reviewed: Any, command: Any, options: list[str], said: str) -> None:
    ended = command("compare", "garden.yaml", *options)
    assert (ended.code, ended.out) == (2, "")
    assert said in ended.err


def test_no_commit_in_common(reviewed: Any, command: Any) -> None:
    reviewed.git("checkout", "-q", "--orphan", "alone")
    reviewed.commit("alone")
    ended = command("compare", "garden.yaml", "--base", "main")
    assert ended.code == 2
    assert "have no commit in common" in ended.err


def test_a_folded_comment_says_what_was_edited_and_where_the_sheets_are(
    campaign: Any, command: Any, tmp_path: Path
) -> None:
    """Above the fold each edit of prompts stands once; the same change gives the same comment."""
    subjects = ", ".join(f"s{n}" for n in range(30))
    campaign.write(
        "garden.yaml",
        "version: 1\nrequest: {prompt: '{{ s }} in {{ style.text }}'}\n"
        f"matrix: {{s: [{subjects}], style: [{{id: ink, text: ink}}, {{id: oil, text: oil}}]}}\noutput: {{dir: out}}\n",
    )
    make(campaign, colour_of)
    campaign.commit("images")
    campaign.edit("garden.yaml", "text: ink", "text: pale ink")
    campaign.edit("garden.yaml", "text: oil", "text: thick oil")
    make(campaign, lambda one: colour_of(one, 1))
    options = ("--base", "main", "--sheets", str(tmp_path / "s"), "--format", "markdown")
    comment = command("compare", "garden.yaml", *options).out
    head, folded = comment.split("<details>")
    assert re.findall(r"\+ s\d+ in (.*)", head) == ["{+pale +}ink", "{+thick +}oil"]
    assert f"`{tmp_path / 's' / 'garden.webp'}`" in head
    assert "```diff" not in folded
    assert folded.count("\n- #") == 60
    assert command("compare", "garden.yaml", *options).out == comment
    shown = command("compare", "garden.yaml", *options, "--sheets-url", "https://x/s").out
    assert "](https://x/s/garden.webp)" in shown.split("<details>")[1]


@pytest.mark.parametrize("images", [1, 100, examples(10_000, few=200)])
def test_any_size(campaign: Any, command: Any, tmp_path: Path, images: int) -> None:
    """Half of the images are made again: the comment fits, says how many and where, and the sheets have every one."""
    odd, even = (f"[{', '.join(f's{n}' for n in range(start, images, 2))}]" for start in (1, 0))
    subjects = f"{even[:-1]}, {odd[1:]}" if images > 1 else even
    campaign.write(
        "garden.yaml",
        f"version: 1\nrequest: {{prompt: 'a {{{{ s }}}}'}}\nmatrix: {{s: {subjects}}}\noutput: {{dir: out}}\n",
    )
    make(campaign, lambda one: (10, 20, int(one.cell["s"][1:]) % 256))
    campaign.commit("images")
    again = -(-images // 2)
    make(campaign, lambda one: (200, 20, 10) if int(one.cell["s"][1:]) % 2 == 0 else None, generation=2)
    sheets = tmp_path / "sheets"
    campaign.write("sheets-of-before", "")
    ended = command("compare", "garden.yaml", "--base", "main", "--sheets", str(sheets), "--format", "markdown")
    assert ended.code == 0, ended.err
    assert len(ended.out) <= 60_000
    assert f"{again:,} new image{'s' if again > 1 else ''}; {images - again:,} equal" in ended.out
    assert ("<details>" in ended.out) == (again > 20)
    assert ended.out.count("<details>") == ended.out.count("</details>")
    files = sorted(sheets.iterdir())
    assert len(files) == -(-again // 128) or again < 128
    for file in files[:3]:
        with Pillow.open(file) as opened:
            assert opened.width <= 1_640
            assert opened.height <= 4_000
    assert (
        len(
            json.loads(command("compare", "garden.yaml", "--base", "main", "--format", "json").out)["jobs"][0][
                "changes"
            ]
        )
        == again
    )
