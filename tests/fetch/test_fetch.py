"""Fetching from a real image host: whole files, in order of expiry, each request recorded once."""

from __future__ import annotations

import base64
import errno
import hashlib
import os
import stat
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from seedream_jobs.api.tasks import TaskReport
from seedream_jobs.errors import ExitCode, LedgerError, UsageError
from seedream_jobs.ledger.machine import evolve
from seedream_jobs.ledger.state import Completed, Entry, Expired, Image, State, Stored
from seedream_jobs.profile import DEFAULT_MODEL
from seedream_jobs.run.fetch import Fetched, Progress, fetch
from seedream_jobs.run.refresh import refresher
from seedream_jobs.run.verify import verify

pytestmark = pytest.mark.anyio
NOW = 1_700_000_000


@pytest.fixture
def run(http: Any, record: Any, profile: Any, tmp_path: Path) -> Callable[..., Any]:
    """``fetch`` with this test's folder and record, and no waiting between attempts."""

    async def unknown(_: Entry) -> tuple[Image, ...] | None:
        return None

    async def go(work: Any, **options: Any) -> Fetched:
        options = {"refresh": unknown, "waits": (0.0, 0.0), "now": lambda: NOW, "concurrency": 2} | options
        async with http() as downloads:
            options = {"downloads": downloads, "record": record} | options
            return await fetch(work, folder=tmp_path, root=tmp_path, profile=profile, **options)

    return go


def files(folder: Path) -> dict[str, bytes]:
    """Every file below ``folder``, by its path."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def sequence(*answers: Any) -> tuple[Callable[[Entry], Any], list[str]]:
    """A refresh that gives these answers in turn, and the keys it was asked for."""
    asked: list[str] = []

    async def refresh(entry: Entry) -> Any:
        asked.append(entry.key)
        return answers[min(len(asked), len(answers)) - 1]

    return refresh, asked


async def test_an_image_is_stored_whole_and_recorded(run, host, entry, picture, record, tmp_path):
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


async def test_several_images_are_numbered_and_recorded_together(run, host, entry, picture, record, tmp_path):
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

    def watch(progress: Progress) -> None:
        if progress.kind == "stored":
            stored.set()

    with anyio.fail_after(20):
        await run(stream(), on_progress=watch)
    assert len(record.events) == 2


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "empty"),
        (b"<!DOCTYPE html><html>" + b"x" * 4000, "HTML"),
        (b'\n{"error": "gone"}', "error message"),
        (b"\xff\xd8\xff" + b"\0" * 300, "303 bytes"),
        (b"\xff\xd8\xff" + b"\0" * 3000, "decoded"),
        (b"plain words " * 400, "does not begin like an image"),
    ],
)
async def test_failures_in_disguise_are_no_images(run, host, entry, record, tmp_path, body, said):
    """A reply with status 200 that holds no image leaves nothing behind, and the request stays completed."""
    done = await run([entry(host.serves("/a", body))])
    assert files(tmp_path) == {}
    assert record.events == []
    assert said in done.unfinished[0].problem
    assert done.exit_code is ExitCode.UNFINISHED


async def test_a_body_cut_short_is_fetched_again(run, host, entry, picture, reply, record, tmp_path):
    """A connection that breaks is retried within the call; the half never gets a name."""
    body = picture()
    again: list[str] = []
    url = host.serves("/a", reply(body, cut=len(body) // 2), body)
    await run([entry(url)], on_progress=lambda step: again.append(step.kind))
    assert files(tmp_path) == {"out/heron.jpeg": body}
    assert again == ["queued", "again", "stored"]


async def test_a_truncated_image_in_a_whole_body_is_found_by_decoding(run, host, entry, picture, record, tmp_path):
    """Length and magic bytes are right; only the decoder sees that the pixels end early."""
    body = picture((2048, 2048), "PNG")
    done = await run([entry(host.serves("/a", body[: len(body) // 2]))])
    assert files(tmp_path) == {}
    assert "decoded" in done.unfinished[0].problem


async def test_other_pixels_and_format_are_kept_with_a_warning(run, host, entry, picture, record, tmp_path):
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


async def test_webp_is_kept_under_its_own_name(run, host, entry, picture, record, tmp_path):
    """A format nobody asked for is still an image."""
    await run([entry(host.serves("/a", picture((2048, 2048), "WEBP")))])
    assert list(files(tmp_path)) == ["out/heron.webp"]


async def test_a_bomb_is_not_decoded(run, host, entry, picture, record, tmp_path):
    """More than a hundred megapixels are refused by the header alone."""
    body = bytearray(picture((2048, 2048), "PNG"))
    body[16:24] = (20_000).to_bytes(4, "big") * 2
    import zlib

    body[29:33] = zlib.crc32(body[12:29]).to_bytes(4, "big")
    done = await run([entry(host.serves("/a", bytes(body)))])
    assert "more pixels than the bound" in done.unfinished[0].problem
    assert files(tmp_path) == {}


async def test_an_existing_file_with_other_bytes_is_left_alone(run, host, entry, picture, record, tmp_path):
    """Nothing is overwritten: the image gets the next free name and a warning."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out/heron.jpeg").write_bytes(b"mine")
    await run([entry(host.serves("/a", picture()))])
    assert files(tmp_path) == {"out/heron.jpeg": b"mine", "out/heron-2.jpeg": picture()}
    (image,) = record.events[0].images
    assert image.file == "out/heron-2.jpeg"
    assert "heron.jpeg was there" in image.warnings[0]


async def test_an_existing_file_with_the_same_bytes_is_adopted(run, host, entry, picture, record, tmp_path):
    """A process killed between naming and recording leaves a file that the next one takes over."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out/heron.jpeg").write_bytes(picture())
    await run([entry(host.serves("/a", picture()))])
    assert list(files(tmp_path)) == ["out/heron.jpeg"]
    assert record.events[0].images[0].warnings == ()


async def test_a_kill_between_the_two_halves_of_a_rename_is_harmless(run, host, entry, picture, record, tmp_path):
    """A killed process left one file under both names: writing the temporary name anew spares the final one."""
    from seedream_jobs.run.download import temporary

    work = entry(host.serves("/a", picture(seed=2)))
    (tmp_path / "out").mkdir()
    (tmp_path / "out/heron.jpeg").write_bytes(picture())
    os.link(tmp_path / "out/heron.jpeg", temporary(tmp_path / "out/heron", work.key, 1, 0))
    await run([work])
    assert files(tmp_path) == {"out/heron.jpeg": picture(), "out/heron-2.jpeg": picture(seed=2)}


async def test_a_file_system_without_hard_links_overwrites_nothing(
    run, host, entry, picture, record, tmp_path, monkeypatch
):
    """exFAT and some network mounts: renaming stands in, after a look."""
    from seedream_jobs.run import placing

    def refused(*_: Any, **__: Any) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(placing.os, "link", refused)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/heron.jpeg").write_bytes(b"mine")
    await run([entry(host.serves("/a", picture()))])
    assert files(tmp_path) == {"out/heron.jpeg": b"mine", "out/heron-2.jpeg": picture()}


async def test_a_partly_failed_request_stays_completed(run, host, entry, picture, reply, record, tmp_path):
    """What is whole is kept on disk, and nothing is recorded before all of it is."""
    work = entry(host.serves("/a", picture()), host.serves("/b", reply(b"", 503)), max_images=2)
    done = await run([work])
    assert list(files(tmp_path)) == ["out/heron-i1.jpeg"]
    assert record.events == []
    assert [trouble.index for trouble in done.unfinished] == [1]
    host.serves("/b", picture(seed=2))
    await run([work])
    assert [image.file for image in record.events[0].images] == ["out/heron-i1.jpeg", "out/heron-i2.jpeg"]


@pytest.mark.parametrize("status", [401, 403, 404, 410])
async def test_a_dead_link_is_asked_for_anew_once(run, host, entry, picture, reply, record, status):
    """The task still knows fresh links: two images of one request cost one question."""
    old = [host.serves(f"/old{n}", reply(b"gone", status)) for n in (1, 2)]
    fresh = tuple(
        Image(url=host.serves(f"/new{n}", picture(seed=n)), expires_at=NOW + 9000) for n in (1, 2)
    )  # fmt: skip
    refresh, asked = sequence(fresh)
    await run([entry(*old, max_images=2)], refresh=refresh)
    assert len(asked) == 1
    assert [image.expires_at for image in record.events[0].images] == [NOW + 9000] * 2


async def test_fresh_links_are_on_record_while_their_images_are_not(run, host, entry, reply, record):
    """The next call starts from the links that live longest."""
    fresh = Image(url=host.serves("/new", reply(b"", 503)), expires_at=NOW + 9000)
    refresh, _ = sequence((fresh,))
    work = entry(host.serves("/old", reply(b"", 404)))
    await run([work], refresh=refresh)
    (event,) = record.events
    assert isinstance(event, Completed)
    assert event.images == (fresh,)
    assert evolve(work, event).state is State.COMPLETED


async def test_dead_links_of_a_task_that_is_gone_are_recorded_as_expired(run, host, entry, reply, record):
    """Nobody has the image any more: that, and only that, ends a paid request."""
    refresh, _ = sequence(())
    done = await run([entry(host.serves("/a", reply(b"", 404)))], refresh=refresh)
    assert [type(event) for event in record.events] == [Expired]
    assert done.exit_code is ExitCode.FINDINGS


async def test_a_task_that_can_not_be_asked_leaves_the_request_completed(run, host, entry, reply, record):
    """No answer is not the answer "gone"."""
    refresh, asked = sequence(None)
    done = await run([entry(host.serves("/a", reply(b"", 404)), expires_at=NOW - 5)], refresh=refresh)
    assert record.events == []
    assert done.exit_code is ExitCode.UNFINISHED
    assert len(asked) > 1


async def test_a_link_past_its_time_is_tried_all_the_same(run, host, entry, picture, record):
    """The clock may be wrong and the task gone: an image that still comes is not given up."""
    refresh, _ = sequence(())
    await run([entry(host.serves("/a", picture()), expires_at=NOW - 5)], refresh=refresh)
    assert [type(event) for event in record.events] == [Stored]


async def test_a_link_that_died_before_its_time_is_not_the_end(run, host, entry, reply, record):
    """404 on a fresh link that should live is the host's hiccup: the request stays completed."""
    work = entry(host.serves("/a", reply(b"", 404)))
    refresh, _ = sequence(work.images)
    done = await run([work], refresh=refresh)
    assert record.events == []
    assert "404" in done.unfinished[0].problem


async def test_a_request_that_lost_one_of_its_images_keeps_the_other(run, host, entry, picture, reply, record):
    """Stored, with the loss on record."""
    refresh, _ = sequence(())
    await run([entry(host.serves("/a", picture()), host.serves("/b", reply(b"", 404)), max_images=2)], refresh=refresh)
    (event,) = record.events
    assert isinstance(event, Stored)
    assert event.images[0].file
    assert event.images[1].error
    assert event.images[1].url is None


async def test_an_image_that_never_came_keeps_its_error(run, host, entry, picture, record):
    """An image object without link is recorded beside the others and not asked for."""
    bad = Image(error="content policy")
    await run([entry(host.serves("/a", picture()), bad, max_images=2)])
    assert record.events[0].images[1] == bad


async def test_a_full_disk_stops_with_nothing_half_written(run, host, entry, picture, record, tmp_path, monkeypatch):
    """The disk fills up while bytes are written: exit 74, no temporary file, no record."""
    from seedream_jobs.run import placing

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(placing.os, "fsync", full)
    with pytest.raises(LedgerError, match="no room"):
        await run([entry(host.serves(f"/{n}", picture()), name=f"n{n}") for n in range(4)])
    assert files(tmp_path) == {}
    assert record.events == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
async def test_a_full_device_is_told_from_a_bad_download(run, host, entry, picture, tmp_path, monkeypatch):
    """A write that fails inside the network's callback is the disk's fault, and is said to be."""
    from seedream_jobs.run import placing

    real = os.open

    def full(path: Any, flags: int, *mode: int, **options: Any) -> int:
        return real("/dev/full", os.O_WRONLY) if str(path).endswith(".part") else real(path, flags, *mode, **options)

    monkeypatch.setattr(placing.os, "open", full)
    with pytest.raises(LedgerError, match="no room"):
        await run([entry(host.serves("/a", picture(seed=9, quality=100)))])


async def test_redirects_are_followed(run, host, entry, picture, reply, tmp_path):
    """An image host that sends on to its store is followed there, without the key."""
    target = host.serves("/store", picture())
    await run([entry(host.serves("/a", reply(status=302, headers={"Location": target})))])
    assert files(tmp_path) == {"out/heron.jpeg": picture()}
    assert not host.saw_key


async def test_relative_and_data_links_are_images_too(run, host, entry, picture, tmp_path):
    """Both have been seen in replies."""
    host.serves("/v1/files/a.jpeg", picture())
    inline = "data:image/jpeg;base64," + base64.b64encode(picture(seed=2)).decode()
    await run([entry("/v1/files/a.jpeg", inline, max_images=2)])
    assert files(tmp_path) == {"out/heron-i1.jpeg": picture(), "out/heron-i2.jpeg": picture(seed=2)}


async def test_a_link_that_must_not_be_followed_is_not_retried(run, entry, record):
    """A private address in a reply is refused, and the paid request stays completed."""
    steps: list[str] = []
    done = await run([entry("http://10.0.0.1/a.jpeg")], on_progress=lambda step: steps.append(step.kind))
    assert steps == ["queued", "failed"]
    assert record.events == []
    assert done.exit_code is ExitCode.UNFINISHED


async def test_fresh_links_help_where_a_host_has_moved(run, host, entry, picture, record):
    """The old link's port is closed; the task, asked again, names another."""
    refresh, asked = sequence((Image(url=host.serves("/a", picture()), expires_at=NOW + 60),))
    await run([entry("http://127.0.0.1:9/a.jpeg")], refresh=refresh)
    assert len(asked) == 1
    assert isinstance(record.events[0], Stored)


@pytest.mark.parametrize("output", ["../heron", "/tmp/heron", "out/../../heron", "..", "a\\b"])
async def test_no_output_leaves_the_campaign(run, host, entry, picture, output):
    """A manifest that was edited to write elsewhere is refused before anything is asked for."""
    with pytest.raises(UsageError, match="leads out"):
        await run([entry(host.serves("/a", picture()), output=output)])
    assert host.asked == []


async def test_no_link_leads_out_of_the_campaign(run, host, entry, picture, tmp_path, tmp_path_factory):
    """A symbolic link in the output's folder is followed no further than the root."""
    (tmp_path / "out").symlink_to(tmp_path_factory.mktemp("elsewhere"))
    with pytest.raises(UsageError, match="leads out"):
        await run([entry(host.serves("/a", picture()))])


async def test_an_image_is_durable_before_its_record(run, host, entry, picture, monkeypatch):
    """Bytes, then name, then the folder that holds the name, then the record: a power cut finds no gap in between."""
    from seedream_jobs.run import placing

    done: list[str] = []
    sync, link = os.fsync, os.link

    def synced(handle: int) -> None:
        sync(handle)
        done.append("folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "file")

    def linked(*names: Any, **options: Any) -> None:
        link(*names, **options)
        done.append("name")

    class Notes:
        async def record(self, _: Any) -> None:
            done.append("record")

    monkeypatch.setattr(placing.os, "fsync", synced)
    monkeypatch.setattr(placing.os, "link", linked)
    await run([entry(host.serves("/a", picture()))], record=Notes())
    assert done == ["folder", "file", "name", "folder", "record"], "the first is the new folder in the one above it"


async def test_a_record_that_fails_stops_everything(run, host, entry, picture, record, monkeypatch):
    """A ledger that can't be written is fatal, as everywhere."""

    async def broken(_: object) -> None:
        raise LedgerError("the journal could not be written")

    monkeypatch.setattr(record, "record", broken)
    with pytest.raises(LedgerError, match="journal"):
        await run([entry(host.serves(f"/{n}", picture()), name=f"n{n}") for n in range(5)])


async def test_cancelling_removes_what_is_half_there(run, host, entry, picture, reply, tmp_path):
    """Ctrl-C stops at once and leaves no temporary file."""
    url = host.serves("/a", reply(picture((2048, 2048), "PNG") + b"\0" * 4_000_000, pause=0.05))
    with anyio.move_on_after(0.4) as scope:
        await run([entry(url)])
    assert scope.cancelled_caught
    assert host.asked == ["/a"]
    assert files(tmp_path) == {}


async def test_verify_names_what_is_missing_or_changed_and_only_that_is_fetched(
    run, host, entry, picture, record, tmp_path
):
    """Re-running downloads only the damaged image; the whole one is not asked for again."""
    urls = [host.serves(f"/{n}", picture(seed=n)) for n in (1, 2)]
    work = entry(*urls, max_images=2)
    await run([work])
    stored = replace(work, state=State.STORED, images=record.events[0].images)
    assert list(verify([stored], tmp_path, root=tmp_path)) == []
    (tmp_path / "out/heron-i2.jpeg").unlink()
    repairs = list(verify([stored], tmp_path, root=tmp_path))
    assert [dict(repair.damage) for repair in repairs] == [{1: "missing"}]
    host.asked.clear()
    refresh, _ = sequence(work.images)
    done = await run(repairs, refresh=refresh)
    assert host.asked == ["/2"]
    assert len(record.events) == 1, "the same bytes in the same place are no news"
    assert done.images == 1
    assert list(verify([stored], tmp_path, root=tmp_path)) == []


async def test_a_changed_file_is_kept_beside_its_repair(run, host, entry, picture, record, tmp_path):
    """Somebody edited an image in place: their file stays, the original comes back under a free name."""
    work = entry(host.serves("/1", picture()))
    await run([work])
    stored = replace(work, state=State.STORED, images=record.events[0].images)
    (tmp_path / "out/heron.jpeg").write_bytes(b"retouched")
    refresh, _ = sequence(work.images)
    await run(list(verify([stored], tmp_path, root=tmp_path)), refresh=refresh)
    assert (tmp_path / "out/heron.jpeg").read_bytes() == b"retouched"
    assert record.events[-1].images[0].file == "out/heron-2.jpeg"


async def test_what_can_not_be_repaired_stays_on_record(run, host, entry, picture, record, tmp_path):
    """The links are long dead: the loss is told, and the stored request keeps its record."""
    work = entry(host.serves("/1", picture()))
    await run([work])
    stored = replace(work, state=State.STORED, images=record.events[0].images)
    (tmp_path / "out/heron.jpeg").unlink()
    refresh, _ = sequence(())
    done = await run(list(verify([stored], tmp_path, root=tmp_path)), refresh=refresh)
    assert len(record.events) == 1
    assert len(done.lost) == 1


@pytest.mark.parametrize(
    ("status", "images", "answer"),
    [
        ("completed", (Image(url="u"),), (Image(url="u"),)),
        ("completed", (), None),
        ("gone", (), ()),
        ("failed", (), ()),
        ("running", (), None),
        ("unavailable", (), None),
        ("refused", (), None),
    ],
)
async def test_only_a_clear_answer_is_one(entry, status, images, answer):
    """Links, "gone", or nothing that anything may be concluded from."""

    async def task(task_id: str) -> TaskReport:
        assert task_id == "task_heron"
        return TaskReport(status=status, images=images)

    assert await refresher(task)(entry("http://x/a")) == answer


async def test_every_event_is_one_the_machine_takes(run, host, entry, picture, reply, tmp_path):
    """Stored, expired and repaired requests fold into the ledger's entries."""
    entries = {work.key: work for work in (entry(host.serves("/a", picture())), entry("/gone", name="gone"))}

    class Folds:
        async def record(self, event: Any) -> None:
            entries[event.key] = evolve(entries[event.key], event)

    refresh, _ = sequence(())
    await run(list(entries.values()), refresh=refresh, record=Folds())
    assert [entry.state for entry in entries.values()] == [State.STORED, State.EXPIRED]
    (tmp_path / "out/heron.jpeg").write_bytes(b"retouched")
    refresh, _ = sequence((Image(url=host.url + "/a"),))
    await run(list(verify(entries.values(), tmp_path, root=tmp_path)), refresh=refresh, record=Folds())
    assert list(verify(entries.values(), tmp_path, root=tmp_path)) == []
    assert next(iter(entries.values())).images[0].file == "out/heron-2.jpeg"
