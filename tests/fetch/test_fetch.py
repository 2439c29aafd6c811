"""Fetching from a real image host: whole files, in order of expiry, each request recorded once."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator

import anyio
import pytest

from seedream_jobs.errors import ExitCode
from seedream_jobs.ledger.state import Completed, Entry, Image, Stored
from seedream_jobs.ledger.transitions import evolve
from seedream_jobs.model_profile import DEFAULT_MODEL
from seedream_jobs.run.fetch import ImageEvent
from seedream_jobs.run.images import find_damaged

pytestmark = pytest.mark.anyio
NOW = 1_700_000_000


async def test_an_image_is_stored_whole_and_recorded(run, host, entry, picture, record, tmp_path, files):
    """The bytes on disk are the bytes that were served, and the record says what they are."""
    body = picture()
    done = await run([entry(host.serves("/a", body))])
    assert files(tmp_path) == {"out/heron.jpeg": body}
    (event,) = record.events
    assert isinstance(event, Stored)
    assert event.images == (
        Image(
            expires_at=NOW + 3600,
            file="out/heron.jpeg",
            sha256=hashlib.sha256(body).hexdigest(),
            bytes=len(body),
            width=2048,
            height=2048,
            format="jpeg",
        ),
    )
    assert (done.requests, done.images, done.bytes, done.exit_code) == (1, 1, len(body), ExitCode.OK)
    assert not host.saw_key


async def test_several_images_are_numbered_and_recorded_together(run, host, entry, picture, record, tmp_path, files):
    """A request with three images gives three files and one event."""
    urls = [host.serves(f"/{n}", picture(seed=n)) for n in (1, 2, 3)]
    await run([entry(*urls, max_images=3)])
    assert sorted(files(tmp_path)) == [f"out/heron-i{n}.jpeg" for n in (1, 2, 3)]
    (event,) = record.events
    assert [image.file for image in event.images] == [f"out/heron-i{n}.jpeg" for n in (1, 2, 3)]


async def test_the_link_that_dies_first_is_fetched_first(run, host, entry, picture):
    """Order of work is order of expiry, whatever the order of the entries."""
    work = [entry(host.serves(f"/{n}", picture()), name=f"n{n}", expires_at=NOW + n * 100) for n in (3, 1, 4, 2)]
    await run(work, concurrency=1)
    assert host.asked == ["/1", "/2", "/3", "/4"]


async def test_entries_may_arrive_while_others_are_fetched(run, host, entry, picture, record):
    """A stream of entries, as polling yields them, is worked on before it ends."""
    stored = anyio.Event()

    async def stream() -> AsyncIterator[Entry]:
        yield entry(host.serves("/a", picture()), name="first")
        await stored.wait()
        yield entry(host.serves("/b", picture(seed=2)), name="second")

    def watch(event: ImageEvent) -> None:
        if event.kind == "stored":
            stored.set()

    with anyio.fail_after(20):
        await run(stream(), on_image=watch)
    assert len(record.events) == 2


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "empty"),
        (b"<!DOCTYPE html><html>" + b"x" * 4000, "HTML"),
        (b'\n{"error": "gone"}', "error message"),
        (b"\xff\xd8\xff" + b"\0" * 300, "303 bytes"),
    ],
)
async def test_failures_in_disguise_are_no_images(run, host, entry, record, tmp_path, body, said, files):
    """A reply with status 200 that holds no image leaves nothing behind, and the request stays completed."""
    done = await run([entry(host.serves("/a", body))])
    assert files(tmp_path) == {}
    assert record.events == []
    assert said in done.unfinished[0].problem
    assert done.exit_code is ExitCode.UNFINISHED


@pytest.mark.parametrize(
    ("cut", "said"), [(lambda body: body[: len(body) // 2], "decoded"), (lambda _: b"plain words " * 400, "begin like")]
)
async def test_bytes_that_can_not_be_decoded_are_kept_aside(
    run, host, entry, picture, record, tmp_path, files, cut, said
):
    """Length and magic bytes may be right; only the decoder sees that the pixels end early. The same bytes twice are
    what there is: they are kept, told each time, and asked for again only when somebody says so.
    """
    body = cut(picture((2048, 2048), "PNG"))
    done = await run([entry(host.serves("/a", body))])
    assert files(tmp_path) == {"out/heron.damaged": body}
    assert (len(host.asked), done.exit_code) == (2, ExitCode.UNFINISHED)
    assert said in done.unfinished[0].problem
    assert "kept as heron.damaged" in done.unfinished[0].problem
    (event,) = record.events
    assert isinstance(event, Completed)
    work = evolve(entry(host.serves("/a", picture())), event)

    done = await run([work])
    assert (len(host.asked), len(record.events), done.exit_code) == (2, 1, ExitCode.UNFINISHED)
    assert "kept as heron.damaged" in done.unfinished[0].problem

    done = await run(find_damaged([work], tmp_path, root=tmp_path))
    assert (len(host.asked), done.exit_code) == (3, ExitCode.OK)
    assert record.events[1].images[0].file == "out/heron.jpeg"
    assert record.events[1].images[0].error is None


async def test_a_damaged_image_does_not_hold_back_the_others(run, host, entry, picture, record, tmp_path, files):
    """The request is stored; bytes that differ each time were damaged on the way, and are not kept."""
    broken = picture((2048, 2048), "PNG")[:5000]
    urls = host.serves("/1", picture()), host.serves("/2", broken)
    await run([entry(*urls, max_images=2)])
    assert sorted(files(tmp_path)) == ["out/heron-i1.jpeg", "out/heron-i2.damaged"]
    (event,) = record.events
    assert isinstance(event, Stored)
    assert event.images[1].url == urls[1]
    assert "kept as heron-i2.damaged" in (event.images[1].error or "")
    work = entry(host.serves("/3", *(broken + bytes([number]) for number in range(4))), name="other")
    done = await run([work])
    assert ("decoded" in done.unfinished[0].problem, len(record.events)) == (True, 1)
    assert not [name for name in files(tmp_path) if "other" in name]


async def test_no_download_outlives_the_deadline(run, host, entry, picture, reply, record, tmp_path, files):
    """A drip ends with what is left; what came before is stored."""
    work = [
        entry(host.serves("/a", picture()), name="first"),
        entry(host.serves("/b", reply(picture(noise=True), pause=30.0)), name="second"),
    ]
    with anyio.fail_after(20):
        done = await run(work, deadline=3.0)
    assert (done.images, done.exit_code, done.stop) == (1, ExitCode.UNFINISHED, "no image came within 3 s (--deadline)")
    assert (len(record.events), sorted(files(tmp_path))) == (1, ["out/first.jpeg"])


async def test_a_body_cut_short_is_fetched_again(run, host, entry, picture, reply, record, tmp_path, files):
    """A connection that breaks is retried within the call; the half never gets a name."""
    body = picture()
    again: list[str] = []
    url = host.serves("/a", reply(body, cut=len(body) // 2), body)
    await run([entry(url)], on_image=lambda step: again.append(step.kind))
    assert files(tmp_path) == {"out/heron.jpeg": body}
    assert again == ["queued", "again", "stored"]


async def test_other_pixels_and_format_are_kept_with_a_warning(run, host, entry, picture, record, tmp_path, files):
    """What was paid for and can be looked at is kept; the extension follows the content."""
    await run([entry(host.serves("/a", picture((300, 200), "PNG")))])
    assert list(files(tmp_path)) == ["out/heron.png"]
    assert record.events[0].images[0].warnings == (
        "png came where jpeg was asked for",
        "300×200 pixels came where 2048×2048 were asked for (1:1 at 2K)",
    )


async def test_size_auto_takes_any_pixels(run, host, entry, picture, record):
    """The profile has no pixels for ``auto``: nothing is expected, nothing is warned of."""
    request = {"model": DEFAULT_MODEL, "prompt": "x", "size": "auto", "image_urls": ["https://example.org/a.png"]}
    await run([entry(host.serves("/a", picture((640, 480), quality=95)), request=request)])
    assert record.events[0].images[0].warnings == ()


async def test_webp_is_kept_under_its_own_name(run, host, entry, picture, record, tmp_path, files):
    """A format nobody asked for is still an image."""
    await run([entry(host.serves("/a", picture((2048, 2048), "WEBP")))])
    assert list(files(tmp_path)) == ["out/heron.webp"]


async def test_a_bomb_is_not_decoded(run, host, entry, picture, record, tmp_path, files):
    """More than a hundred megapixels are refused by the header alone."""
    body = bytearray(picture((2048, 2048), "PNG"))
    body[16:24] = (20_000).to_bytes(4, "big") * 2
    import zlib

    body[29:33] = zlib.crc32(body[12:29]).to_bytes(4, "big")
    done = await run([entry(host.serves("/a", bytes(body)))])
    assert "more pixels than the bound" in done.unfinished[0].problem
    assert list(files(tmp_path)) == ["out/heron.damaged"]


async def test_a_partly_failed_request_stays_completed(run, host, entry, picture, reply, record, tmp_path, files):
    """What is whole is kept on disk, and nothing is recorded before all of it is."""
    work = entry(host.serves("/a", picture()), host.serves("/b", reply(b"", 503)), max_images=2)
    done = await run([work])
    assert list(files(tmp_path)) == ["out/heron-i1.jpeg"]
    assert record.events == []
    assert ["503" in trouble.problem for trouble in done.unfinished] == [True]
    host.serves("/b", picture(seed=2))
    await run([work])
    assert [image.file for image in record.events[0].images] == ["out/heron-i1.jpeg", "out/heron-i2.jpeg"]
