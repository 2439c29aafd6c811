"""The disk: nothing overwritten, nothing outside, nothing half there; and what is repaired later."""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from seedream_jobs.errors import LedgerError, UsageError
from seedream_jobs.ledger.state import Image, State
from seedream_jobs.ledger.transitions import evolve
from seedream_jobs.run.images import find_damaged

pytestmark = pytest.mark.anyio
NOW = 1_700_000_000


async def test_an_existing_file_with_other_bytes_is_left_alone(run, host, entry, picture, record, tmp_path, files):
    """Nothing is overwritten: the image gets the next free name and a warning."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out/heron.jpeg").write_bytes(b"mine")
    await run([entry(host.serves("/a", picture()))])
    assert files(tmp_path) == {"out/heron.jpeg": b"mine", "out/heron-2.jpeg": picture()}
    (image,) = record.events[0].images
    assert image.file == "out/heron-2.jpeg"
    assert "heron.jpeg was there" in image.warnings[0]


async def test_an_existing_file_with_the_same_bytes_is_adopted(run, host, entry, picture, record, tmp_path, files):
    """A process killed between naming and recording leaves a file that the next one takes over."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out/heron.jpeg").write_bytes(picture())
    await run([entry(host.serves("/a", picture()))])
    assert list(files(tmp_path)) == ["out/heron.jpeg"]
    assert record.events[0].images[0].warnings == ()


async def test_a_kill_between_the_two_halves_of_a_rename_is_harmless(
    run, host, entry, picture, record, tmp_path, files
):
    """A killed process left one file under both names: writing the temporary name anew spares the final one."""
    from seedream_jobs.run.fetch import temporary

    work = entry(host.serves("/a", picture(seed=2)))
    (tmp_path / "out").mkdir()
    (tmp_path / "out/heron.jpeg").write_bytes(picture())
    os.link(tmp_path / "out/heron.jpeg", temporary(tmp_path / "out/heron", work, 0))
    await run([work])
    assert files(tmp_path) == {"out/heron.jpeg": picture(), "out/heron-2.jpeg": picture(seed=2)}


async def test_a_file_system_without_hard_links_overwrites_nothing(
    run, host, entry, picture, record, tmp_path, monkeypatch, files
):
    """exFAT and some network mounts: renaming stands in, after a look."""
    from seedream_jobs import atomic_file

    def refused(*_: Any, **__: Any) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(atomic_file.os, "link", refused)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/heron.jpeg").write_bytes(b"mine")
    await run([entry(host.serves("/a", picture()))])
    assert files(tmp_path) == {"out/heron.jpeg": b"mine", "out/heron-2.jpeg": picture()}


async def test_a_full_disk_stops_with_nothing_half_written(
    run, host, entry, picture, record, tmp_path, monkeypatch, files
):
    """The disk fills up while bytes are written: exit 74, no temporary file, no record."""
    from seedream_jobs import atomic_file

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(atomic_file.os, "fsync", full)
    with pytest.raises(LedgerError, match="no room"):
        await run([entry(host.serves(f"/{n}", picture()), name=f"n{n}") for n in range(4)])
    assert files(tmp_path) == {}
    assert record.events == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
async def test_a_full_device_is_told_from_a_bad_download(run, host, entry, picture, tmp_path, monkeypatch):
    """A write that fails inside the network's callback is the disk's fault, and is said to be."""
    from seedream_jobs import atomic_file

    real = os.open

    def full(path: Any, flags: int, *mode: int, **options: Any) -> int:
        return real("/dev/full", os.O_WRONLY) if str(path).endswith(".part") else real(path, flags, *mode, **options)

    monkeypatch.setattr(atomic_file.os, "open", full)
    with pytest.raises(LedgerError, match="no room"):
        await run([entry(host.serves("/a", picture(seed=9, quality=100)))])


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
    from seedream_jobs import atomic_file

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

    monkeypatch.setattr(atomic_file.os, "fsync", synced)
    monkeypatch.setattr(atomic_file.os, "link", linked)
    await run([entry(host.serves("/a", picture()))], ledger=Notes())
    assert done == ["folder", "file", "name", "folder", "record"], "the first is the new folder in the one above it"


async def test_a_record_that_fails_stops_everything(run, host, entry, picture, record, monkeypatch):
    """A ledger that can't be written is fatal, as everywhere."""

    async def broken(_: object) -> None:
        raise LedgerError("the journal could not be written")

    monkeypatch.setattr(record, "record", broken)
    with pytest.raises(LedgerError, match="journal"):
        await run([entry(host.serves(f"/{n}", picture()), name=f"n{n}") for n in range(5)])


async def test_cancelling_removes_what_is_half_there(run, host, entry, picture, reply, tmp_path, files):
    """Ctrl-C stops at once and leaves no temporary file."""
    url = host.serves("/a", reply(picture((2048, 2048), "PNG") + b"\0" * 4_000_000, pause=0.05))

    async def interrupt() -> None:
        while not files(tmp_path):
            await anyio.sleep(0.01)
        scope.cancel()

    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as together:
            together.start_soon(interrupt)
            await run([entry(url)])
    assert scope.cancelled_caught
    assert host.asked == ["/a"]
    assert files(tmp_path) == {}


async def test_verify_names_what_is_missing_or_changed_and_only_that_is_fetched(
    run, host, entry, picture, record, tmp_path, sequence
):
    """Re-running downloads only the damaged image; the whole one is not asked for again."""
    urls = [host.serves(f"/{n}", picture(seed=n)) for n in (1, 2)]
    work = entry(*urls, max_images=2)
    await run([work])
    stored = replace(work, state=State.STORED, images=record.events[0].images)
    assert list(find_damaged([stored], tmp_path, root=tmp_path)) == []
    (tmp_path / "out/heron-i2.jpeg").unlink()
    repairs = list(find_damaged([stored], tmp_path, root=tmp_path))
    assert [dict(repair.damage) for repair in repairs] == [{1: "missing"}]
    host.asked.clear()
    service, _ = sequence(work.images)
    done = await run(repairs, service=service)
    assert host.asked == ["/2"]
    assert len(record.events) == 1, "the same bytes in the same place are no news"
    assert done.images == 1
    assert list(find_damaged([stored], tmp_path, root=tmp_path)) == []


async def test_a_changed_file_is_kept_beside_its_repair(run, host, entry, picture, record, tmp_path, sequence):
    """Somebody edited an image in place: their file stays, the original comes back under a free name."""
    work = entry(host.serves("/1", picture()))
    await run([work])
    stored = replace(work, state=State.STORED, images=record.events[0].images)
    (tmp_path / "out/heron.jpeg").write_bytes(b"retouched")
    service, _ = sequence(work.images)
    await run(list(find_damaged([stored], tmp_path, root=tmp_path)), service=service)
    assert (tmp_path / "out/heron.jpeg").read_bytes() == b"retouched"
    assert record.events[-1].images[0].file == "out/heron-2.jpeg"


async def test_what_can_not_be_repaired_stays_on_record(run, host, entry, picture, record, tmp_path, sequence):
    """The links are long dead: the loss is told, and the stored request keeps its record."""
    work = entry(host.serves("/1", picture()), expires_at=NOW - 1)
    await run([work])
    stored = replace(work, state=State.STORED, images=record.events[0].images)
    (tmp_path / "out/heron.jpeg").unlink()
    service, _ = sequence(())
    done = await run(list(find_damaged([stored], tmp_path, root=tmp_path)), service=service)
    assert len(record.events) == 1
    assert len(done.lost) == 1


async def test_every_event_is_one_the_machine_takes(run, host, entry, picture, reply, tmp_path, sequence):
    """Stored, expired and repaired requests fold into the ledger's entries."""
    entries = {
        work.key: work
        for work in (entry(host.serves("/a", picture())), entry("/gone", name="gone", expires_at=NOW - 1))
    }

    class Folds:
        async def record(self, event: Any) -> None:
            entries[event.key] = evolve(entries[event.key], event)

    service, _ = sequence(())
    await run(list(entries.values()), service=service, ledger=Folds())
    assert [entry.state for entry in entries.values()] == [State.STORED, State.EXPIRED]
    (tmp_path / "out/heron.jpeg").write_bytes(b"retouched")
    service, _ = sequence((Image(url=host.url + "/a"),))
    await run(list(find_damaged(entries.values(), tmp_path, root=tmp_path)), service=service, ledger=Folds())
    assert list(find_damaged(entries.values(), tmp_path, root=tmp_path)) == []
    assert next(iter(entries.values())).images[0].file == "out/heron-2.jpeg"
