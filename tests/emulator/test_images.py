"""The images: real files of the exact pixels, drawn off the event loop, and nobody's key wanted for them."""

from __future__ import annotations

import threading
from io import BytesIO

import pytest
from PIL import Image

from seedream_jobs.emulator.pictures import Picture, drawable, paint
from seedream_jobs.emulator.submit import read_order
from seedream_jobs.model_profile import profiles

PIXELS = profiles()["doubao-seedream-5-0-lite"].pixels
TASK = "task_01K8SGYNNNVBQTXNR4MM964S7K"


def picture(**changed) -> Picture:
    usual = {
        "width": 512,
        "height": 384,
        "format": "png",
        "text": "a heron",
        "instead": TASK,
        "footer": "512 x 384",
        "references": 0,
        "watermark": False,
    }
    return Picture(**{**usual, **changed})


def opened(data: bytes) -> Image.Image:
    image = Image.open(BytesIO(data))
    image.load()
    return image


def test_every_entry_of_the_pixel_table_is_ordered():
    """All 24 sizes by resolution become orders of exactly the documented pixels."""
    for resolution, row in PIXELS.items():
        for size, pixels in row.items():
            payload = {"model": "doubao-seedream-5-0-lite", "prompt": "a", "size": size, "resolution": resolution}
            assert read_order(payload, profiles()).pixels == pixels


@pytest.mark.parametrize(
    ("size", "resolution", "pixels"),
    [("16:9", "2K", (2848, 1600)), ("2:3", "3K", (2496, 3744)), ("21:9", "4K", (6240, 2656))],
)
def test_the_pixels_of_the_page_are_delivered(start, size, resolution, pixels):
    """The file behind the link has the width and height that the page's table gives."""
    peer = start()
    (link,) = peer.links(peer.submit(size=size, resolution=resolution))
    assert Image.open(BytesIO(peer.download(link).content)).size == pixels


@pytest.mark.parametrize("form", ["jpeg", "png"])
def test_a_drawn_image_is_whole_and_the_same_each_time(start, form):
    """It decodes as the format asked for, and a second download has the same bytes."""
    peer = start(images="drawn")
    (link,) = peer.links(peer.submit(output_format=form, prompt="a heron at dawn"))
    first, second = peer.download(link), peer.download(link)
    assert first.content == second.content
    assert first.headers["content-type"] == f"image/{form}"
    assert (opened(first.content).format, opened(first.content).size) == (form.upper(), (2048, 2048))


@pytest.mark.parametrize(
    "change",
    [{"text": "a bear"}, {"references": 2}, {"watermark": True}, {"footer": "other"}, {"text": "a heron " * 400}],
    ids=lambda change: str(change)[:20],
)
def test_what_was_asked_for_can_be_seen(change):
    """Another prompt, references, a watermark or other parameters change the picture."""
    assert paint(picture(**change)) != paint(picture())


def test_a_prompt_the_font_cannot_draw_shows_the_task(tmp_path):
    """Two such prompts of one mood would look alike but for the task's id, which is drawn in their place."""
    text = "一只在花园里玩耍的金毛犬"
    assert not drawable(text)
    assert drawable("A heron, 35 mm (f/1.4)\n")
    assert paint(picture(text=text)) != paint(picture(text=text, instead="task_other"))
    assert paint(picture()) == paint(picture(instead="task_other"))


@pytest.mark.parametrize("pixels", [(16, 16), (14, 3000), (3000, 14), (1, 1)])
def test_the_smallest_images_can_be_drawn(pixels):
    """Other models may ask for anything."""
    width, height = pixels
    for text in ("", "a", "word " * 200, "x" * 2000):
        assert opened(paint(picture(width=width, height=height, text=text))).size == pixels


def test_drawing_does_not_hold_up_the_api(start, monkeypatch):
    """While the painter is stopped in the middle of an image, tasks are submitted and polled."""
    peer = start(images="drawn")
    go_on, begun, painters = threading.Event(), threading.Event(), []

    def held(wanted: Picture) -> bytes:
        painters.append(threading.current_thread().name)
        begun.set()
        assert go_on.wait(30)
        return paint(wanted)

    monkeypatch.setattr("seedream_jobs.emulator.service.paint", held)
    (link,) = peer.links(peer.submit())
    got: list[int] = []
    client = threading.Thread(target=lambda: got.append(peer.download(link, timeout=30).status_code))
    client.start()
    assert begun.wait(30)
    for _ in range(20):
        assert peer.ended(peer.submit())["status"] == "completed"
    assert got == []
    go_on.set()
    client.join()
    assert got == [200]
    assert painters[0].startswith("emulator-painter")


@pytest.mark.parametrize("form", ["jpeg", "png"])
def test_plain_images_are_unique_and_whole(start, form):
    """Each has a chunk of its own in the one encoded picture, and decodes to the same pixels."""
    peer = start()
    one, two = peer.links(peer.submit(n=2, output_format=form))
    first, second = peer.download(one).content, peer.download(two).content
    assert first != second
    assert opened(first).tobytes() == opened(second).tobytes()
    assert opened(first).format == form.upper()


@pytest.mark.parametrize("form", ["jpeg", "png"])
def test_the_ai_label_is_embedded(start, form):
    """As XMP that Pillow reads back, with the id of the task."""
    peer = start(label=True)
    task = peer.submit(output_format=form)
    (link,) = peer.links(task)
    image = opened(peer.download(link).content)
    xmp = image.info["xmp"] if form == "jpeg" else image.info["XML:com.adobe.xmp"].encode()
    assert b"TC260:AIGC" in xmp
    assert task.encode() in xmp


def test_a_key_sent_to_a_download_is_seen(start):
    """It is refused with 400 and counted: the real hosts belong to somebody else."""
    peer = start()
    (link,) = peer.links(peer.submit())
    assert peer.http.get(link).status_code == 400
    assert peer.books()["authorization_leaks"] == 1
    assert peer.download(link).status_code == 200
    assert peer.books()["authorization_leaks"] == 1


def test_links_die(start):
    """A link is 403 from expires_at on, and no sooner."""
    peer = start(link_life=0.0)
    dead = peer.submit()
    assert peer.download(peer.links(dead)[0]).status_code == 403
    living = start(link_life=3600.0)
    data = living.ended(living.submit())
    assert data["result"]["images"][0]["expires_at"] - data["completed"] in (3600, 3601)


def test_what_is_not_there_is_404(start):
    """A running task, an image beyond the last, an unknown task."""
    peer = start(delay=3600)
    running = peer.submit()
    ended = start()
    done = ended.submit()
    assert peer.download(f"{peer.server.url}/files/{running}/0.jpeg").status_code == 404
    assert ended.download(f"{ended.server.url}/files/{done}/1.jpeg").status_code == 404
    assert ended.download(f"{ended.server.url}/files/task_no/0.jpeg").status_code == 404
    assert ended.download(f"{ended.server.url}/files/{done}/x.jpeg").status_code == 404
