"""The page in a real browser: what people do with it, and what it must never do."""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from seedream_jobs.results.gallery.cells import GalleryCell as Cell
from seedream_jobs.results.gallery.cells import GalleryRun as Run
from seedream_jobs.results.gallery.page import write_gallery
from seedream_jobs.results.ratings import apply_ratings
from tests.hostile.payloads import PAYLOADS

TAB = "\ue004"
LEFT, RIGHT, UP, DOWN, HOME, END, ESCAPE = "\ue012", "\ue014", "\ue013", "\ue015", "\ue011", "\ue010", "\ue00c"

SCALES = "return [...document.querySelectorAll('.pane .stage')].map((stage) => stage.dataset.scale)"
MOVES = "return [...document.querySelectorAll('.pane .stage')].map((stage) => stage.firstElementChild.style.transform)"
# The images' names end in the number of their cell; the even ones are photos.
PHOTO_IS_LEFT = "return /%23\\d*[02468][.]png$/.test(document.querySelector('.candidate img').src)"
FAR_CORNER = (
    "const s = document.getElementById('scroller');"
    "s.scrollTop += 1e9; s.scrollLeft += 1e9; s.dispatchEvent(new Event('scroll'))"
)


def heads(page: Any) -> tuple[list[str], list[str]]:
    return page.texts("tbody th .inner"), page.texts("thead th .inner")


def test_it_opens_as_a_table_of_rows_and_columns_with_headers(page: Any, campaign: Path) -> None:
    page.open(campaign)
    assert page.one("html").get_attribute("lang") == "en"
    assert page.texts('thead th[scope="col"]')[1:] == ["photo", "ink"]
    assert page.texts('tbody th[scope="row"]')[:2] == ["a heron\nspring", "a heron\nautumn"]
    assert page.one("#summary").text.startswith("15 images of 18 requests · 15 stored · 1 failed · 1 running")
    assert "0.3420 USD charged" in page.one("#summary").text
    assert page.run("return [...document.images].every((image) => image.alt && image.loading === 'lazy')")


def test_any_axis_can_be_rows_or_columns(page: Any, campaign: Path) -> None:
    page.open(campaign)
    page.choose("#cols", "season")
    page.choose("#rows", "style")
    rows, columns = heads(page)
    assert (sorted(set(rows)), columns) == (["ink", "photo"], ["spring", "autumn", "winter"])
    page.one("#swap").click()
    rows, columns = heads(page)
    assert sorted(set(columns)) == ["ink", "photo"]
    assert rows[:3] == ["spring", "autumn", "winter"]


def test_a_further_axis_is_tabs_groups_or_side_by_side(page: Any, campaign: Path) -> None:
    page.open(campaign)
    page.choose('[data-place="subject"]', "tabs")
    assert heads(page) == (["spring", "autumn", "winter"], ["photo", "ink"])
    page.one('[data-tab="subject=an otter"]').click()
    assert all("subject: an otter" in open_.get_attribute("aria-label") for open_ in page.all(".open"))
    page.choose('[data-place="subject"]', "groups of columns")
    assert page.texts("thead th .outer") == ["a heron"] * 2 + ["a tabby cat"] * 2 + ["an otter"] * 2
    page.choose('[data-place="subject"]', "side by side")
    assert len(page.all("tbody tr:nth-child(2) td.group, tbody tr:nth-child(2) .slot")) == 2
    assert len(page.all("tbody tr:nth-child(2) .slot:first-child .thumb")) == 6


def test_the_wall_shows_every_image_in_order(page: Any, campaign: Path) -> None:
    page.open(campaign)
    page.one('[data-layout="wall"]').click()
    assert page.texts(".wall .caption")[:2] == ["a heron · spring · photo", "a heron · spring · ink"]
    page.one(".wall .open").send_keys(RIGHT)
    page.press(END)
    assert page.focused().startswith("subject: an otter, season: winter, style: ink")


def test_heads_stay_in_sight_while_the_images_scroll(page: Any, campaign: Path) -> None:
    page.open(campaign)
    page.run("Gallery.app.resize(700)")
    assert page.run(
        "const s = document.getElementById('scroller'); s.scrollTop = 700; s.scrollLeft = 300; return s.scrollLeft"
    )
    top, left = page.run(
        "const [t, l, s] = ['thead th', 'tbody th[scope=row]', '#scroller'].map((q) => document.querySelector(q)"
        ".getBoundingClientRect()); return [t.top - s.top, l.left - s.left]"
    )
    assert abs(top) <= 1.5
    assert abs(left) <= 1.5


def test_filters_by_text_state_and_value(page: Any, campaign: Path) -> None:
    page.open(campaign)
    page.one("#search").send_keys("otter WINTER")
    assert len(page.all(".thumb")) == 2
    page.one("#search").clear()
    page.one("#search").send_keys("x")
    page.one("#filter").click()
    page.one("#clear").click()
    page.one('[data-filter="State=failed 1"], [data-filter="State=failed"]').click()
    assert page.texts(".placeholder .word") == ["failed"]
    page.one('[data-filter="State=failed"]').click()
    page.one('[data-filter="season=winter"]').click()
    page.one('[data-filter="style=ink"]').click()
    assert heads(page) == (["winter"] * 3, ["ink"])
    assert page.one("#filter").text == "Filter (2)"
    page.one("#search").send_keys("no such thing")
    assert "Nothing matches" in page.one("#scroller").text
    page.one(".empty button").click()
    assert page.one("#scroller").get_attribute("data-ready") == "18"


def test_matches_on_other_tabs_are_counted_and_reached(page: Any, campaign: Path) -> None:
    """Nothing matches only where nothing does on any tab."""
    page.open(campaign)
    page.choose('[data-place="subject"]', "tabs")
    page.one("#search").send_keys("otter winter")
    assert "Nothing matches" not in page.one("#scroller").text
    assert "No match on this tab, 2 on others" in page.one("#scroller").text
    assert page.one('[data-tab="subject=an otter"] .count').text == "2"
    assert page.one('[data-tab="subject=a heron"] .count').text == "0"
    page.one("#scroller").send_keys("n")
    assert page.one('[data-tab="subject=an otter"] input').is_selected()
    assert page.focused().startswith("subject: an otter, season: winter, style: photo")
    page.press("n")
    assert page.focused().startswith("subject: an otter, season: winter, style: ink")
    assert page.one("#matches").text == "2 here"


def test_the_address_holds_the_state(page: Any, campaign: Path) -> None:
    """A reload keeps rows, tabs, filter and the open image; a link to an image opens it."""
    page.open(campaign)
    page.choose('[data-place="subject"]', "tabs")
    page.one('[data-tab="subject=an otter"]').click()
    page.one("#swap").click()
    page.one("#search").send_keys("winter")
    page.open_image("subject: an otter, season: winter, style: ink")
    page.until("location.hash.includes('open=')")
    page.browser.refresh()
    assert page.one("dialog.lightbox").get_attribute("aria-label") == "subject: an otter, season: winter, style: ink"
    page.press(ESCAPE)
    assert heads(page) == (["photo", "ink"], ["winter"])
    assert page.one("#search").get_attribute("value") == "winter"
    address = "garden%2Fsubject%3Da+heron%2Cseason%3Dautumn%2Cstyle%3Dphoto%231"
    page.open(f"{campaign.as_uri()}#open={address}")
    assert page.one("dialog.lightbox").get_attribute("aria-label") == "subject: a heron, season: autumn, style: photo"
    page.open(f"{campaign.as_uri()}#compare={address}&compare={address.replace('autumn', 'spring')}&rows=%00&tab.x=y")
    assert len(page.all(".pane")) == 2
    page.open(f"{campaign.as_uri()}#open=garden%2Fgone%231")
    assert "not on this page" in page.one(".toast").text


def test_the_keys_fold_the_controls_and_say_what_they_do(page: Any, campaign: Path) -> None:
    page.open(campaign)
    page.one("#scroller").send_keys("h")
    assert not page.one("#controls").is_displayed()
    page.one("#unfold").click()
    assert page.one("#controls").is_displayed()
    page.one("#scroller").send_keys("?")
    assert "fold the controls away" in page.one("dialog.keys").text
    page.press(ESCAPE)
    page.one("#scroller").send_keys("t")
    assert page.run("return document.documentElement.style.colorScheme") == "light"
    page.one("#scroller").send_keys("t")
    assert page.run("return getComputedStyle(document.body).backgroundColor") == "rgb(19, 19, 20)"


def test_sorted_by_cost_rating_time_and_size(page: Any, tmp_path: Path) -> None:
    cells = [
        Cell(
            key=f"k{n}",
            address=f"x#{n}",
            axes={"a": str(n)},
            state="stored",
            sha256=f"{n:064x}",
            cost_usd=Decimal(cost),
            submitted_at=time,
            width=side,
            height=side,
            opinion=opinion,
        )
        for n, (cost, time, side, opinion) in enumerate(
            [("0.1", 30, 20, None), ("0.3", 10, 30, {"rating": 2, "ratings": 1}), ("0.2", 20, 10, {"rating": 5})]
        )
    ]
    page.open(write_gallery(tmp_path, [Run(name="x", cells=cells)]))
    for by, order in {
        "cost": "120",
        "time": "021",
        "pixels": "102",
        "rating": "210",
        "order of the job": "012",
    }.items():
        page.choose("#sort", by)
        assert "".join(thumb.get_attribute("data-cell") for thumb in page.all(".thumb")) == order


MIXED = [(1600, 900), (900, 1600), (1000, 1000), (1200, 900), (2000, 1000)]


def test_pictures_have_their_own_shape(page: Any, tmp_path: Path) -> None:
    """No letterbox on the wall, in the grid, nor a narrow comparison: the picture is what the page is for."""
    page.browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": 1440, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    )
    try:
        names = ("subject", "season", "light", "style", "size")
        cells = []
        for n in range(2 * 3 * 3 * 3 * 5):
            at = (n // 135, n // 45 % 3, n // 15 % 3, n // 5 % 3, n % 5)
            width, height = MIXED[n % 5]
            Image.new("RGB", (width // 10, height // 10), (n % 250, 90, 90)).save(tmp_path / f"{n}.png")
            axes = {name: f"{name} {value}" for name, value in zip(names, at, strict=True)}
            cells.append(
                Cell(
                    key=f"k{n}",
                    address=f"x#{n}",
                    axes=axes,
                    state="stored",
                    sha256=f"{n:064x}",
                    thumbnail=f"{n}.png",
                    image=f"{n}.png",
                    width=width,
                    height=height,
                )
            )
        page.open(write_gallery(tmp_path, [Run(name="x", cells=cells)]))
        shapes = (
            "return [...document.querySelectorAll('.thumb img')].map((i) => [Gallery.app.model.cells[i.closest("
            "'[data-cell]').dataset.cell].ratio, i.clientWidth / i.clientHeight, i.getBoundingClientRect().top])"
        )
        grid = page.run(shapes)
        assert min(top for _, _, top in grid) <= 0.18 * 900
        page.one('[data-layout="wall"]').click()
        wall = page.run(shapes)
        assert all(abs(shape / ratio - 1) < 0.03 for ratio, shape, _ in [*grid, *wall])
        ends = page.run(
            "const rows = new Map(); for (const t of document.querySelectorAll('.wall .thumb')) {"
            "const b = t.getBoundingClientRect(); rows.set(b.top, Math.max(rows.get(b.top) ?? 0, b.right)) }"
            "return [...rows.values()]"
        )
        assert max(ends[:-1]) - min(ends[:-1]) <= 1
        for n in (0, 3, 5, 8):
            page.run("Gallery.app.choose(Gallery.app.model.cells[arguments[0]])", n)
        page.one("#compare").click()
        heights = page.run(
            "return [...document.querySelectorAll('.pane')].map((p) => { const s = p.querySelector('.stage');"
            "return Math.min(s.clientHeight, s.clientWidth / Gallery.app.model.cells[p.dataset.i].ratio) })"
        )
        assert min(heights) >= 0.4 * 900
        page.press("z")
        assert page.run("return document.querySelector('.pane img').getBoundingClientRect().width") == pytest.approx(
            1600
        )
    finally:
        page.browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_opening_the_filter_keeps_the_place(page: Any, campaign: Path) -> None:
    page.open(campaign)
    page.run("Gallery.app.resize(900); document.getElementById('scroller').scrollTop = 600")
    page.one("#filter").click()
    assert page.run("return document.getElementById('scroller').scrollTop") == 600
    assert len(page.all(".thumb")) > 0


def test_placeholders_say_their_state_in_words(page: Any, campaign: Path) -> None:
    page.open(campaign)
    page.shrink()
    assert page.contents(".placeholder .word") == ["failed", "running", "in doubt"]
    assert all(page.run("return arguments[0].querySelector('svg') !== null", p) for p in page.all(".placeholder"))


def test_the_lightbox_moves_along_the_axes_by_keyboard(page: Any, campaign: Path) -> None:
    page.open(campaign)
    page.open_image("subject: a heron, season: spring, style: photo")
    box = page.one("dialog.lightbox")
    where = lambda: box.get_attribute("aria-label")  # noqa: E731
    assert where() == "subject: a heron, season: spring, style: photo"
    page.press(RIGHT)
    assert where() == "subject: a heron, season: spring, style: ink"
    page.press(DOWN)
    page.press(DOWN)
    assert where() == "subject: a heron, season: winter, style: ink"
    page.press(HOME)
    assert where() == "subject: a heron, season: winter, style: photo"
    page.press(UP)
    page.press(END)
    assert where() == "subject: a heron, season: autumn, style: ink"
    page.one('[aria-label="subject"] button:last-child').click()
    assert where() == "subject: a tabby cat, season: autumn, style: ink"
    page.press(ESCAPE)
    page.until("!document.querySelector('dialog')")
    assert page.focused().startswith("subject: a tabby cat, season: autumn, style: ink")


def test_the_lightbox_keeps_the_focus_inside(page: Any, campaign: Path) -> None:
    page.open(campaign)
    page.open_image("subject: a heron, season: spring, style: photo")
    behind = page.all("#tools button, #controls button, .thumb .open")
    for _ in range(24):  # once around
        page.press(TAB)
        assert page.browser.switch_to.active_element not in behind


def test_the_lightbox_turns_the_tab_behind_it(page: Any, campaign: Path) -> None:
    page.open(campaign)
    page.choose('[data-place="subject"]', "tabs")
    page.open_image("subject: a heron, season: winter, style: photo")
    page.one('[aria-label="subject"] button:last-child').click()
    page.press(ESCAPE)
    page.until("!document.querySelector('dialog')")
    assert page.one('[data-tab="subject=a tabby cat"] input').is_selected()
    assert page.focused().startswith("subject: a tabby cat, season: winter, style: photo")


def test_compares_four_under_one_zoom(page: Any, campaign: Path) -> None:
    page.open(campaign)
    for n, button in enumerate(page.all(".choose")[:5]):
        page.run("arguments[0].click()", button)
        assert len(page.all(".tray-item")) == min(n + 1, 4)
    page.one("#compare").click()
    assert len(page.all(".pane")) == 4
    page.one('dialog [title="Zoom in"]').click()
    assert page.run(SCALES) == ["1.50"] * 4
    linked = page.one("dialog .dialog-bar button")
    linked.click()
    wheel = "new WheelEvent('wheel', {deltaY: -300, clientX: 60, clientY: 120, cancelable: true})"
    page.run(f"document.querySelector('.pane .stage').dispatchEvent({wheel})")
    first, *others = page.run(SCALES)
    assert first != "1.50"
    assert others == ["1.50"] * 3


def test_zoom_and_pan_are_linked(page: Any, campaign: Path) -> None:
    page.open(campaign)
    for button in page.all(".choose")[:2]:
        page.run("arguments[0].click()", button)
    page.one("#compare").click()
    from selenium.webdriver import ActionChains

    stage = page.one(".pane .stage")
    page.press("+")
    page.press("+")
    ActionChains(page.browser).drag_and_drop_by_offset(stage, 60, 25).perform()
    first, second = page.run(MOVES)
    assert first == second
    assert re.fullmatch(r"translate\((59|60)[.\d]*px, 2[45][.\d]*px\) scale\(2.25\)", first)
    page.press_button("Overlay difference")
    boxes = page.run("return [...document.querySelectorAll('.pane')].map((p) => p.getBoundingClientRect().left)")
    assert boxes[0] == boxes[1]


def test_blind_votes_make_win_rates(page: Any, campaign: Path) -> None:
    page.open(campaign)
    page.one("#vote").click()
    page.choose(".vote select", "style")
    page.run("document.querySelector('.ballot').focus()")
    for _ in range(6):  # of nine pairs three lack an image
        assert page.contents(".ballot") == ["←→"], "blind: not a word about what is shown"
        page.press(LEFT if page.run(PHOTO_IS_LEFT) else RIGHT)
    assert "Every pair has your vote" in page.one(".ballot").text
    assert page.contents(".results tbody tr") == ["photo100 %600", "ink0 %060"]
    page.press(ESCAPE)
    page.open(campaign)
    page.one("#vote").click()
    page.choose(".vote select", "style")
    assert page.one("#vote-count").text == "6 of 6 pairs"


def test_marks_survive_a_reload_and_become_a_review(page: Any, campaign: Path, tmp_path: Path) -> None:
    page.open(campaign)
    page.one('.open[aria-label^="subject: an otter, season: spring, style: photo"]').send_keys("s")
    page.press("4")
    page.open_image("subject: a heron, season: winter, style: ink")
    page.one(".side textarea").send_keys("the one for the cover: 16:9 – “yes”")
    page.press(ESCAPE)
    page.open(campaign)
    label = page.one('.open[aria-label^="subject: an otter, season: spring, style: photo"]').get_attribute("aria-label")
    assert label.endswith("stored, starred, rated 4")
    page.one("#filter").click()
    page.one('[data-filter="starred"]').click()
    assert len(page.all(".thumb")) == 1

    page.browser.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)})
    page.one("#export").click()
    page.one("#reviewer").send_keys("Ana")
    page.one("#save-ratings").click()
    from selenium.webdriver.support.ui import WebDriverWait

    exported = tmp_path / "ratings.json"
    WebDriverWait(page.browser, 60, 0.05).until(lambda _: exported.exists())
    review = yaml.safe_load(apply_ratings(exported.read_bytes(), tmp_path).file.read_text())
    assert [
        (o["address"], o.get("star"), o.get("rating"), o.get("note"), o["reviewer"]) for o in review["ratings"]
    ] == [
        ("garden/subject=a heron,season=winter,style=ink#1", None, None, "the one for the cover: 16:9 – “yes”", "Ana"),
        ("garden/subject=an otter,season=spring,style=photo#1", True, 4, None, "Ana"),
    ]


def test_an_opinion_is_about_bytes(page: Any, tmp_path: Path) -> None:
    """Equal bytes at another address keep it; another image at the same address has none, and says so."""

    def shown(*images: tuple[str, str]) -> None:
        cells = [
            Cell(key=f"v1:{name:0>64}", address=f"x/{name}#1", axes={"a": name}, state="stored", sha256=sha * 64)
            for name, sha in images
        ]
        page.open(write_gallery(tmp_path, [Run(name="x", cells=cells)]))

    shown(("1", "a"), ("2", "b"))
    page.one('.open[aria-label^="a: 1"]').send_keys("4")
    page.press("y")
    shown(("1", "c"), ("2", "a"))
    assert [label.get_attribute("aria-label") for label in page.all(".open")] == [
        "a: 1 – stored",
        "a: 2 – stored, rated 4, chosen",
    ]
    page.open_image("a: 1")
    assert "You judged another image of this request" in page.one(".others").text


def test_what_was_said_of_other_images_is_not_counted(page: Any, tmp_path: Path, make_run: Callable[..., Run]) -> None:
    """A rehearsal is judged; the page of the paid run has the same job's name, and other images."""
    run = make_run(tmp_path / "rehearsal")
    page.open(write_gallery(tmp_path / "rehearsal", [run]))
    page.one('.open[aria-label^="subject: an otter, season: spring, style: photo"]').send_keys("y")
    page.one("#vote").click()
    page.press(LEFT)
    page.press(ESCAPE)
    assert page.one("#export").text == "Export ratings (1)"
    run = make_run(tmp_path / "paid")
    paid = [replace(cell, sha256=cell.sha256 and f"{n + 900:064x}") for n, cell in enumerate(run.cells)]
    page.open(write_gallery(tmp_path / "paid", [replace(run, cells=paid)]))
    assert page.one("#export").text == "Export ratings"
    page.one("#export").click()
    assert page.one("dialog p").text.startswith("0 images judged, 0 votes.")
    assert page.one("dialog .field").text == "Your name (optional)"
    page.press(ESCAPE)
    page.one("#vote").click()
    assert page.one("#vote-count").text.startswith("0 of ")


def test_votes_under_a_filter_are_those_on_its_pairs(page: Any, campaign: Path) -> None:
    page.open(campaign)
    page.one("#vote").click()
    while not page.all(".ballot .done"):
        page.press(LEFT)
    assert page.one("#vote-count").text == "6 of 6 pairs"
    page.press(ESCAPE)
    page.one("#filter").click()
    page.one('[data-filter="subject=an otter"]').click()
    page.one("#vote").click()
    assert page.one("#vote-count").text == "2 of 2 pairs"
    page.press_button("Start over")
    assert page.one("#vote-count").text == "0 of 2 pairs"
    assert page.run("return Gallery.app.marks.votes().length") == 4


def test_a_page_of_several_jobs_saves_a_file_for_each(page: Any, tmp_path: Path, make_run: Callable[..., Run]) -> None:
    """Chromium saves the second of two files of one click only when it is allowed to."""
    run = replace(make_run(tmp_path), play_money=True)
    page.open(write_gallery(tmp_path, [run, replace(run, name="herb garden", title="herbs", cells=run.cells[:2])]))
    page.all(".open")[0].send_keys("y")
    page.browser.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)})
    page.one("#export").click()
    page.one("#reviewer").send_keys("Ana")
    assert page.texts("dialog code") == [
        "seedream-jobs ratings apply ratings-garden.json",
        "seedream-jobs ratings apply ratings-herb-garden.json",
        "seedream-jobs choose JOB ratings-garden.json --emulator",
        "seedream-jobs choose JOB ratings-herb-garden.json --emulator",
    ]
    from selenium.webdriver.support.ui import WebDriverWait

    for job in ("garden", "herb garden"):
        saved = f"ratings-{job.replace(' ', '-')}.json"
        page.press_button(f"Save {saved}")
        assert page.one(".toast").text == f"Saved as {saved}: seedream-jobs ratings apply {saved}"
        WebDriverWait(page.browser, 10, 0.05).until(lambda _, file=tmp_path / saved: file.exists())
        assert json.loads((tmp_path / saved).read_text())["job"] == job


def test_a_vote_between_two_jobs_is_in_the_file_of_each(
    page: Any, tmp_path: Path, make_run: Callable[..., Run]
) -> None:
    """The scores of a page of both count it once."""
    run = make_run(tmp_path)
    herbs = [replace(cell, sha256=f"{number + 100:064x}") for number, cell in enumerate(run.cells[:2])]
    both = [run, replace(run, name="herbs", title="herbs", cells=herbs)]
    page.open(write_gallery(tmp_path, both))
    page.run("const {marks, model: {cells}} = Gallery.app; marks.vote('run', cells[0], cells.at(-2), cells.at(-2))")
    told = [page.run(f"return Gallery.app.marks.exported('{job}').votes") for job in ("garden", "herbs")]
    assert told[0] == told[1] == [{"axis": "run", "first": f"{0:064x}", "second": f"{100:064x}", "winner": "second"}]
    vote = ("run", "Ana", f"{0:064x}", f"{100:064x}", "second")
    page.run("Gallery.app.marks.forgetVotes(new Set(Gallery.app.marks.votes()))")
    page.open(write_gallery(tmp_path, [replace(one, votes=[vote]) for one in both]))
    page.one("#scores").click()
    page.choose("#score-axis", "run")
    garden, other = page.texts(".board tbody tr")
    assert garden.endswith(" 0 % (1) 1 / 18 0.4104")
    assert other.endswith(" 100 % (1) 0 / 2 0.0456")


def test_choosing_with_a_reason_is_exported(page: Any, campaign: Path) -> None:
    page.open(campaign)
    page.open_image("subject: a heron, season: spring, style: photo")
    page.press("x")
    page.one(".why-input").send_keys("the beak is wrong")
    page.one('[data-move="ArrowRight"]').click()
    page.press("y")
    page.press(ESCAPE)
    told = page.run("return Gallery.app.marks.exported('garden').choices")
    assert [(one["sha256"], one["verdict"], one["why"]) for one in told] == [
        (f"{0:064x}", "rejected", "the beak is wrong"),
        (f"{1:064x}", "chosen", ""),
    ]
    page.one("#filter").click()
    page.one('[data-filter="Choice=chosen"]').click()
    assert [cell.get_attribute("data-cell") for cell in page.all(".thumb")] == ["1"]


def test_a_click_that_leaves_a_written_field_counts(page: Any, campaign: Path) -> None:
    """What was written is kept when the mouse goes down; the button under it is still there when it goes up."""
    page.open(campaign)
    page.open_image("subject: a heron, season: spring, style: photo")

    def kept() -> list[Any]:
        told = page.run("return Gallery.app.marks.exported('garden')")
        (rating,), choices = told["ratings"], [(one["verdict"], one["why"]) for one in told["choices"]]
        return [rating["note"], rating["rating"], rating["star"], choices]

    page.one(".side textarea").send_keys("calm")
    page.one('[data-verdict="chosen"]').click()
    assert kept() == ["calm", None, False, [("chosen", "")]]
    page.one(".why-input").send_keys("the one")
    page.one(".side .pip:nth-child(3)").click()
    assert kept() == ["calm", 3, False, [("chosen", "the one")]]
    page.one(".side textarea").send_keys(", wide")
    page.one(".side .star").click()
    assert kept() == ["calm, wide", 3, True, [("chosen", "the one")]]
    assert page.focused() == "Star"
    pressed = page.run("return [...document.querySelectorAll('.side [aria-pressed=true]')].map((e) => e.textContent)")
    assert pressed == ["", "3", "Choose"]
    page.one(".side .star").click()
    page.one('[data-verdict="chosen"]').click()
    assert not page.one(".why-input").is_displayed()
    page.press(ESCAPE)
    assert page.one("#export").text == "Export ratings (1)"


def test_what_is_being_written_survives_a_reload(page: Any, campaign: Path) -> None:
    page.open(campaign)
    page.open_image("subject: a heron, season: spring, style: photo")
    page.one(".side textarea").send_keys("half a sent")
    page.browser.refresh()
    assert page.one(".side textarea").get_attribute("value") == "half a sent"
    page.press_button("Reject")
    page.one(".why-input").send_keys("the beak")
    page.browser.refresh()
    assert page.one(".why-input").get_attribute("value") == "the beak"


def test_no_note_is_written_that_nothing_keeps(page: Any, campaign: Path) -> None:
    """A note is about an image's bytes: where there are none yet, it would be lost."""
    page.open(campaign)
    page.open_image("subject: a tabby cat, season: autumn, style: ink – running")
    area = page.one(".side textarea")
    assert not area.is_enabled()
    assert area.get_attribute("placeholder") == "There is no image to judge yet"


@pytest.mark.parametrize("field", ["textarea", ".why-input"])
def test_writing_goes_on_when_a_run_changes_the_image(page: Any, campaign: Path, field: str) -> None:
    """Such as when the other images of its request have come: the keys are letters, not stars and choices."""
    page.open(campaign)
    page.open_image("subject: a heron, season: spring, style: photo")
    page.press("y")
    page.one(f".side {field}").send_keys("six of ")
    page.run("for (const listener of Gallery.app.news) listener(new Set([Gallery.app.opened]))")
    page.press("six")
    page.press(TAB)
    told = page.run("return Gallery.app.marks.exported('garden')")
    assert "six of six" in (told["ratings"][0]["note"], told["choices"][0]["why"])
    assert (told["ratings"][0]["star"], told["choices"][0]["verdict"]) == (False, "chosen")


def test_what_another_tab_wrote_stays(page: Any, campaign: Path) -> None:
    """The same image is open in two tabs; in the first nothing was written, so that it takes nothing back."""
    label = "subject: a heron, season: spring, style: photo"
    page.open(campaign)
    page.open_image(label)
    page.press("y")
    page.one(".why-input").click()
    first = page.browser.current_window_handle
    page.browser.switch_to.new_window("tab")
    try:
        page.browser.get(campaign.as_uri())
        page.open_image(label)
        page.one(".side textarea").send_keys("calm")
        page.one(".why-input").send_keys("the one")
        page.press(ESCAPE)
    finally:
        page.browser.close()
        page.browser.switch_to.window(first)
    page.until("document.querySelector('.side textarea').value === 'calm'")
    page.until("document.querySelector('.why-input').value === 'the one'")
    page.one('[data-move="ArrowRight"]').click()
    page.press(ESCAPE)
    told = page.run("return Gallery.app.marks.exported('garden')")
    assert [one["note"] for one in told["ratings"]] == ["calm"]
    assert [one["why"] for one in told["choices"]] == ["the one"]


def test_what_reviewers_said_stands_with_their_names(page: Any, tmp_path: Path, make_run: Callable[..., Run]) -> None:
    run = make_run(tmp_path)
    opinion = {
        "rating": 4.5,
        "ratings": 2,
        "given": [["Ana", 5], ["Ben", 4]],
        "stars": 1,
        "wins": 3,
        "votes": 4,
        "notes": [{"reviewer": "Ana", "note": "<b>warm</b>"}],
    }
    choice = {"verdict": "chosen", "by": ["Ana", "Ben"], "why": "the cover"}
    cells = [replace(run.cells[0], opinion=opinion, choice=choice), *run.cells[1:]]
    photo, ink = (run.cells[at].sha256 or "" for at in (0, 1))
    votes = [("style", who, photo, ink, "second" if who == "Dan" else "first") for who in ("Ana", "Ben", "Cem", "Dan")]
    size = ("season", "Ana", photo, run.cells[2].sha256 or "", "second")  # says nothing of styles
    page.open(write_gallery(tmp_path, [replace(run, cells=cells, votes=[*votes, size])]))
    page.open_image("subject: a heron, season: spring, style: photo – stored, chosen")
    said = page.one(".others").text
    assert said == "chosen · Ana, Ben · the cover\nrated 4.5 by 2 · 1 star · won 3 of 4 votes\nAna <b>warm</b>"
    page.press(ESCAPE)
    page.one("#scores").click()
    page.choose("#score-axis", "style")
    rows = page.texts(".board tbody tr")
    assert rows[0] == "photo 8 1 4.50 (2) 75 % (4) 0 / 9 0.2052"
    page.press(ESCAPE)
    # What Ana says in the browser is her later word on the same image and the same pair, not one more person's.
    page.run(
        "const {marks, model: {cells}} = Gallery.app; marks.reviewer = 'Ana'; marks.change(cells[0], {rating: 2});"
        "marks.vote('style', cells[0], cells[1], cells[1])"
    )
    page.one("#scores").click()
    page.choose("#score-axis", "style")
    assert page.texts(".board tbody tr")[0] == "photo 8 1 3.00 (2) 50 % (4) 0 / 9 0.2052"


def test_scores_break_no_word_in_a_narrow_window(page: Any, campaign: Path) -> None:
    """The table is scrolled there, so that `0.2052` stays one number."""
    metrics = {"width": 390, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    page.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        page.open(campaign)
        page.one("#scores").click()
        broken = page.run("""
            const range = document.createRange();
            return [...document.querySelectorAll('.board th, .board td')].flatMap(({ firstChild: text }) =>
              [...text.data.matchAll(/\\S+/g)].filter(({ 0: word, index }) => {
                range.setStart(text, index);
                range.setEnd(text, index + word.length);
                return range.getClientRects().length > 1;
              }).map(([word]) => word));
        """)
        assert broken == []
        assert page.run("const s = document.querySelector('.scroll'); return s.scrollWidth > s.clientWidth")
    finally:
        page.browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_looking_leaves_no_opinion(page: Any, campaign: Path) -> None:
    """An empty entry in an export takes back what was said elsewhere: it must come from a person."""
    page.open(campaign)
    page.open_image("subject: a heron, season: spring, style: photo")
    page.one(".side textarea").send_keys("first")
    page.one('[data-move="ArrowRight"]').click()
    page.one('[aria-label="subject"] button:last-child').click()
    page.press(ESCAPE)
    exported = page.run("return Gallery.app.marks.exported('garden').ratings.map((r) => r.note)")
    assert exported == ["first"]


def test_marks_work_where_storage_is_denied(page: Any, campaign: Path) -> None:
    denied = (
        "Object.defineProperty(globalThis, 'localStorage', {get() { throw new DOMException('', 'SecurityError') }})"
    )
    script = page.browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": denied})
    try:
        page.open(campaign)
        page.one(".open").send_keys("5")
        assert page.one(".open").get_attribute("aria-label").endswith("rated 5")
        page.one("#export").click()
        assert "This browser keeps nothing" in page.one("dialog").text
    finally:
        page.browser.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", script)


def test_run_against_run(page: Any, two_runs: Path) -> None:
    page.open(two_runs)
    assert page.run("return document.querySelectorAll('.slot .run').length") == 36
    assert set(page.texts(".differs")) == {"new request"}
    page.one("#filter").click()
    page.one('[data-filter="Between runs=new request"]').click()
    assert heads(page)[1] == ["ink"]
    page.one(".open").click()
    page.press_button("Compare runs")
    assert page.texts(".pane .where") == ["run: main", "run: sepia"]
    assert page.texts(".differences del") == []
    assert page.texts(".differences ins") == [", sepia"]
    page.press(ESCAPE)
    assert len(page.all("dialog[open]")) == 1, "only the comparison closes"


def test_one_cell_can_be_taken_as_a_job(page: Any, campaign: Path) -> None:
    """A prompt that looks like a template stays text in the copied job."""
    from jinja2 import Environment

    page.open(campaign)
    job = yaml.safe_load(page.run("return Gallery.asYaml(Gallery.app.model, Gallery.app.model.cells[17])"))
    prompt = page.run("return Gallery.app.model.cells[17].prompt")
    assert job["request"] == {"prompt": job["request"]["prompt"], "model": "m", "size": "16:9", "n": 1}
    assert Environment().from_string(job["request"]["prompt"]).render() == prompt
    page.browser.execute_cdp_cmd(
        "Browser.grantPermissions", {"permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]}
    )
    page.open_image("subject: a heron, season: spring, style: photo")
    page.press_button("Copy prompt")
    page.until("document.querySelector('.toast')?.textContent === 'Prompt copied'")
    read = page.browser.execute_async_script(
        "navigator.clipboard.readText().then(arguments[0], (e) => arguments[0](String(e)))"
    )
    assert read == "a heron in a garden, spring, photo"


def test_a_hostile_prompt_is_text(page: Any, campaign: Path) -> None:
    page.open(campaign)
    page.open_image("subject: an otter, season: winter, style: ink")
    assert page.one(".prompt").text.startswith("</script><script>document.title='owned'")
    assert page.run("return document.title") == "garden"
    assert page.run("return document.querySelectorAll('.prompt *').length") == 0


def test_no_text_can_become_markup(page: Any, campaign: Path) -> None:
    """The policy itself forbids it, should the page's code ever try."""
    page.open(campaign)
    refused = page.run(
        "try { document.body.insertAdjacentHTML('beforeend', '<b>'); return 'allowed' } catch (e) { return e.name }"
    )
    assert refused == "TypeError"
    page.browser.get_log("browser")  # the refusal is reported there, rightly


def test_nothing_is_asked_from_anywhere_else(page: Any, campaign: Path) -> None:
    page.open(campaign)
    page.open_image("subject: a heron, season: spring, style: photo")
    page.until("[...document.images].every((image) => image.complete)")
    messages = [json.loads(entry["message"])["message"] for entry in page.browser.get_log("performance")]
    asked = {m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"}
    assert any(url.endswith("data.js") for url in asked)
    assert {url for url in asked if not url.startswith(campaign.parent.as_uri() + "/")} <= {"about:blank"}


def test_it_works_behind_a_web_server_too(page: Any, campaign: Path) -> None:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(campaign.parent)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        page.open(f"http://127.0.0.1:{server.server_port}/index.html")
        page.until("[...document.images].every((image) => image.complete && image.naturalWidth === 64)")
        assert page.one("#scroller").get_attribute("data-ready") == "18"
        page.browser.get("about:blank")
        page.browser.get_log("browser")  # a favicon that is not there
    finally:
        server.shutdown()
        server.server_close()


def test_without_a_script_it_is_a_linked_table(page: Any, campaign: Path) -> None:
    page.browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        page.open(campaign)
        rows = page.all("table.plain tbody tr")
        assert len(rows) == 18
        assert rows[0].find_element("css selector", "a").get_attribute("href").endswith("images/run%20%230.png")
        assert "failed" in rows[3].text
        assert "content policy" in rows[3].text
        assert rows[17].text.count("<script>") == 1
        assert not page.one("#app").is_displayed()
    finally:
        page.browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def test_a_lost_thumbnail_is_said_not_broken(page: Any, tmp_path: Path) -> None:
    page.open(
        write_gallery(
            tmp_path,
            [Run(name="lost", cells=[Cell(key="k", address="lost#1", state="stored", image="gone.png")])],
        )
    )
    page.until("document.querySelector('.placeholder .word')?.textContent === 'image not found'")
    page.browser.get_log("browser")


def test_requests_that_are_not_on_the_page_are_counted(page: Any, tmp_path: Path) -> None:
    """In the head of the page, and in the caption of the table."""
    cell = Cell(key="k", address="x#1")
    page.open(write_gallery(tmp_path, [Run(name="x", cells=[cell], left_out=1_234)]))
    assert "1,234 more planned, not on this page" in page.one("header").text
    assert "; 1,234 more requests that are not sent" in (tmp_path / "index.html").read_text()


def test_an_empty_page_says_so(page: Any, tmp_path: Path) -> None:
    page.open(write_gallery(tmp_path, []))
    assert page.one("#scroller").text == "No images yet."


def test_a_single_file_stands_alone(page: Any, tmp_path: Path, make_run: Callable[..., Run]) -> None:
    run = make_run(tmp_path)
    index = write_gallery(tmp_path, [run], single_file=True)
    alone = tmp_path / "elsewhere" / "page.html"
    alone.parent.mkdir()
    index.rename(alone)
    page.open(alone)
    page.until(
        "document.images.length === 15 && [...document.images].every((image) => image.complete && image.naturalWidth)"
    )
    assert page.run("return [...document.images].every((image) => image.src.startsWith('data:image/png'))")
    page.open_image("subject: a heron, season: spring, style: photo")
    assert page.one("dialog .stage img").get_attribute("src").startswith("data:image/png")


@pytest.mark.parametrize(
    "rows", [pytest.param(10_000, marks=pytest.mark.slow), 100, pytest.param(2, marks=pytest.mark.slow)]
)
def test_ten_thousand_cells_cost_no_more_elements_than_fit(page: Any, tmp_path: Path, rows: int) -> None:
    Image.new("RGB", (16, 9)).save(tmp_path / "x.png")
    axes = {"prompt": tuple(f"prompt {n}" for n in range(rows)), "style": tuple(f"s{n}" for n in range(10_000 // rows))}
    cells = [
        Cell(
            key=f"k{p}{s}",
            address=f"big/{p}/{s}",
            axes={"prompt": p, "style": s},
            state="stored",
            prompt=f"{p} {s}",
            image="x.png",
            width=16,
            height=9,
        )
        for p in axes["prompt"]
        for s in axes["style"]
    ]
    page.open(write_gallery(tmp_path, [Run(name="big", axes=axes, cells=cells)]))
    elements = "return document.querySelectorAll('#app *').length"
    assert page.one("#scroller").get_attribute("data-ready") == "10000"
    assert page.run(elements) < 3000
    page.one(".open").send_keys(END)
    for _ in range(3):
        page.run(FAR_CORNER)
    corner = f"prompt: prompt {rows - 1}" + (f", style: s{10_000 // rows - 1}" if rows < 10_000 else "")
    assert page.all(f'.open[aria-label^="{corner}"]')
    assert page.run(elements) < 3000
    page.one("#search").send_keys("77")
    assert 0 < int(page.one("#scroller").get_attribute("data-ready")) < 10_000


@pytest.mark.slow
def test_no_payload_comes_to_life(page: Any, tmp_path: Path) -> None:
    """In every text of a page, as a folder and as one file: no script, no dialog, no request, no element of theirs."""
    texts = [text.replace("\ud800", "") or "x" for text in PAYLOADS]
    texts += [
        "<img src=x onerror=alert(1)>",
        "</script><script>alert(1)</script>",
        "javascript:alert(1)",
        "' onclick='alert(1)",
    ]
    cells = [
        Cell(
            key=f"v1:{number:064x}",
            address=f"{text}/{number}",
            axes={"subject": f"{number} {text}", text: text},
            state=("stored", "failed", "rejected", text)[number % 4],
            prompt=text,
            payload={"model": text, "prompt": text, "extra": {text: text}},
            image=f"images/{number}.png" if number % 2 else None,
            task_id=text,
            error=text,
            warnings=(text,),
        )
        for number, text in enumerate(texts)
    ]
    for single in (False, True):
        folder = tmp_path / str(single)
        (folder / "images").mkdir(parents=True)
        for number in range(len(cells)):
            Image.new("RGB", (8, 8)).save(folder / "images" / f"{number}.png")
        for title in texts[:: len(texts) // 3]:
            runs = [
                Run(
                    name=title,
                    title=title,
                    cells=cells,
                    axes={"subject": tuple(f"{n} {t}" for n, t in enumerate(texts))},
                )
            ]
            page.open(write_gallery(folder, runs, single_file=single))
            page.run(
                "globalThis.dialogs = 0; for (const name of ['alert', 'confirm', 'prompt']) "
                "globalThis[name] = () => { globalThis.dialogs += 1; };"
            )
            page.run(
                "const all = document.querySelectorAll('main button, [role=tab]');"
                "for (const one of all) one.dispatchEvent(new Event('mouseover'));"
            )
            assert page.run("return globalThis.dialogs") == 0
            bad = "iframe, object, embed, base, form, [onerror], [onload], [onclick], script:not([src])"
            strange = page.run(
                f"return [...document.querySelectorAll('{bad}')].map((one) => one.outerHTML.slice(0, 200))"
            )
            assert [one for one in strange if not single or not one.startswith("<script>'use strict'")] == []
        messages = [json.loads(entry["message"])["message"] for entry in page.browser.get_log("performance")]
        asked = {m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"}
        own = (tmp_path.as_uri() + "/", "data:", "blob:", "about:blank")
        assert {url for url in asked if not url.startswith(own)} == set()
        assert not [m for m in messages if m["method"] == "Page.javascriptDialogOpening"]


def test_the_page_in_chinese(page: Any, tmp_path: Path, make_run: Callable[..., Run]) -> None:
    page.open(write_gallery(tmp_path, [make_run(tmp_path)], language="zh"))
    assert page.one("html").get_attribute("lang") == "zh"
    assert page.one("#summary").text.startswith("18 个请求，15 张图片 · 15 已保存 · 1 失败")
    assert page.one("#search").get_attribute("placeholder") == "搜索提示词和备注"


LOOKS = ("light", "dark", "forced")
WIDTHS = (390, 1024, 1440)
# Each look and each width once in the default lane.
SEEN = [
    pytest.param(look, width, marks=() if (at + by) % 3 == 0 else pytest.mark.slow)
    for at, look in enumerate(LOOKS)
    for by, width in enumerate(WIDTHS)
]


@pytest.mark.parametrize(("look", "width"), SEEN)
def test_axe_finds_nothing(page: Any, campaign: Path, two_runs: Path, look: str, width: int) -> None:
    """No violation of what axe-core knows, in any view; AXE_CORE names another axe.min.js than the locked one."""
    locked = files(pytest.importorskip("axe_core_python")) / "axe.min.js"
    axe = (Path(os.environ["AXE_CORE"]) if "AXE_CORE" in os.environ else locked).read_text("utf-8")
    browser = page.browser
    features = [{"name": "prefers-color-scheme", "value": "dark" if look == "dark" else "light"}]
    if look == "forced":
        features.append({"name": "forced-colors", "value": "active"})
    browser.execute_cdp_cmd("Page.setBypassCSP", {"enabled": True})  # axe builds elements out of text
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600},
    )
    try:
        steps = {
            "grid": "",
            "filters": "Gallery.app.toggleFilters()",
            "wall": "Gallery.app.toggleFilters(); Gallery.app.layout('wall')",
            "lightbox": "Gallery.app.open(Gallery.app.model.cells[0])",
            "compare": "Gallery.openCompare(Gallery.app, [0, 1, 2, 4].map((i) => Gallery.app.model.cells[i]))",
            "vote": "Gallery.openVote(Gallery.app)",
            "scores": "Gallery.openScores(Gallery.app)",
            "keys": "Gallery.openHelp()",
            "export": "document.querySelector('#export').click()",
            "two runs": "",
            "pair": "Gallery.openCompare(Gallery.app, [0, 18].map((i) => Gallery.app.model.cells[i]))",
        }
        found = []
        for step, script in steps.items():
            if step in ("grid", "two runs"):
                page.open(campaign if step == "grid" else two_runs)
                page.choose('[data-place="subject"]', "tabs")
                browser.execute_script(axe)
            page.run(f"document.querySelector('dialog')?.close(); {script}")
            result = browser.execute_async_script(
                "axe.run(document, {resultTypes: ['violations']}).then((r) => arguments[0](r.violations.map((v) =>"
                "[v.id, v.nodes.length, v.nodes[0].html.slice(0, 160), v.nodes[0].failureSummary.slice(0, 300)])))"
            )
            found += [(step, *violation) for violation in result]
        assert found == []
    finally:
        browser.execute_cdp_cmd("Page.setBypassCSP", {"enabled": False})
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        browser.get_log("browser")
