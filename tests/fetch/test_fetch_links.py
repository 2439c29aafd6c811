"""Links that die, move or lead astray: what is asked, what is tried, and what is never concluded."""

from __future__ import annotations

import base64

import pytest

from seedream_jobs.api.tasks import TaskReport
from seedream_jobs.errors import ExitCode
from seedream_jobs.ledger.state import Completed, Expired, Image, State, Stored
from seedream_jobs.ledger.transitions import evolve

pytestmark = pytest.mark.anyio
NOW = 1_700_000_000


@pytest.mark.parametrize("status", [401, 403, 404, 410])
async def test_a_dead_link_is_asked_for_anew_once(run, host, entry, picture, reply, record, status, sequence):
    """The task still knows fresh links: two images of one request cost one question."""
    old = [host.serves(f"/old{n}", reply(b"gone", status)) for n in (1, 2)]
    fresh = tuple(
        Image(url=host.serves(f"/new{n}", picture(seed=n)), expires_at=NOW + 9000) for n in (1, 2)
    )  # fmt: skip
    service, asked = sequence(fresh)
    await run([entry(*old, max_images=2)], service=service)
    assert len(asked) == 1
    (event,) = record.events
    assert isinstance(event, Stored)
    assert [image.expires_at for image in event.images] == [NOW + 9000] * 2


async def test_fresh_links_are_on_record_while_their_images_are_not(run, host, entry, reply, record, sequence):
    """The next call starts from the links that live longest."""
    fresh = Image(url=host.serves("/new", reply(b"", 503)), expires_at=NOW + 9000)
    service, _ = sequence((fresh,))
    work = entry(host.serves("/old", reply(b"", 404)))
    await run([work], service=service)
    (event,) = record.events
    assert isinstance(event, Completed)
    assert event.images == (fresh,)
    assert evolve(work, event).state is State.COMPLETED


async def test_dead_links_of_a_task_that_is_gone_are_recorded_as_expired(run, host, entry, reply, record, sequence):
    """Nobody has the image any more, and nobody can have it: that, and only that, ends a paid request."""
    service, _ = sequence(())
    url = host.serves("/a", reply(b"", 404))
    done = await run([entry(url, expires_at=NOW + 3600)], service=service)
    assert (record.events, done.exit_code) == ([], ExitCode.UNFINISHED), "with the right key it may be there"
    assert "is the key of another account?" in done.unfinished[0].problem
    done = await run([entry(url, expires_at=NOW - 1)], service=service)
    assert [type(event) for event in record.events] == [Expired]
    assert done.exit_code is ExitCode.FINDINGS


async def test_a_task_that_can_not_be_asked_leaves_the_request_completed(run, host, entry, reply, record, sequence):
    """No answer is not the answer "gone"."""
    service, asked = sequence(None)
    done = await run([entry(host.serves("/a", reply(b"", 404)), expires_at=NOW - 5)], service=service)
    assert record.events == []
    assert done.exit_code is ExitCode.UNFINISHED
    assert len(asked) > 1


async def test_a_link_past_its_time_is_tried_all_the_same(run, host, entry, picture, record, sequence):
    """The clock may be wrong and the task gone: an image that still comes is not given up."""
    service, _ = sequence(())
    await run([entry(host.serves("/a", picture()), expires_at=NOW - 5)], service=service)
    assert [type(event) for event in record.events] == [Stored]


async def test_a_link_that_died_before_its_time_is_not_the_end(run, host, entry, reply, record, sequence):
    """404 on a fresh link that should live is the host's hiccup: the request stays completed."""
    work = entry(host.serves("/a", reply(b"", 404)))
    service, _ = sequence(work.images)
    done = await run([work], service=service)
    assert record.events == []
    assert "404" in done.unfinished[0].problem


async def test_a_request_that_lost_one_of_its_images_keeps_the_other(
    run, host, entry, picture, reply, record, sequence
):
    """Stored, with the loss on record."""
    service, _ = sequence(())
    lost = Image(url=host.serves("/b", reply(b"", 404)), expires_at=NOW - 1)
    await run([entry(host.serves("/a", picture()), lost, max_images=2)], service=service)
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


async def test_redirects_are_followed(run, host, entry, picture, reply, tmp_path, files):
    """An image host that sends on to its store is followed there, without the key."""
    target = host.serves("/store", picture())
    await run([entry(host.serves("/a", reply(status=302, headers={"Location": target})))])
    assert files(tmp_path) == {"out/heron.jpeg": picture()}
    assert not host.saw_key


async def test_relative_and_data_links_are_images_too(run, host, entry, picture, tmp_path, files):
    """Both have been seen in replies."""
    host.serves("/v1/files/a.jpeg", picture())
    inline = "data:image/jpeg;base64," + base64.b64encode(picture(seed=2)).decode()
    await run([entry("/v1/files/a.jpeg", inline, max_images=2)])
    assert files(tmp_path) == {"out/heron-i1.jpeg": picture(), "out/heron-i2.jpeg": picture(seed=2)}


@pytest.mark.parametrize(
    "link",
    ["https://[::1/x", "http://", "https://a b/c", "gopher://x/y", "https://a:99999/x", "https://x/\ud800",
     "data:,\ud800", "https://a:b/x", "//", "\0", "data:image/png;base64,%%%", "https://" + "a" * 300 + "/x", "https://xn--a/"],
)  # fmt: skip
async def test_a_malformed_link_is_its_images_own_failure(
    run, host, entry, picture, record, tmp_path, files, reply, link
):
    """Told, also where a host redirects to one; the others go on."""
    moved = host.serves("/moved", reply(status=302, headers={"Location": "https://[::1/x"}))
    work = [entry(link, name="bad"), entry(moved, name="moved"), entry(host.serves("/a", picture()))]
    done = await run(work)
    assert list(files(tmp_path)) == ["out/heron.jpeg"]
    assert (len(done.unfinished), done.exit_code) == (2, ExitCode.UNFINISHED)
    assert all(trouble.problem for trouble in done.unfinished)


async def test_a_link_that_must_not_be_followed_is_not_retried(run, entry, record):
    """A private address in a reply is refused, and the paid request stays completed."""
    steps: list[str] = []
    done = await run([entry("http://10.0.0.1/a.jpeg")], on_image=lambda step: steps.append(step.kind))
    assert steps == ["queued", "failed"]
    assert record.events == []
    assert done.exit_code is ExitCode.UNFINISHED


async def test_fresh_links_help_where_a_host_has_moved(run, host, entry, picture, record, sequence):
    """The old link's port is closed; the task, asked again, names another."""
    service, asked = sequence((Image(url=host.serves("/a", picture()), expires_at=NOW + 60),))
    await run([entry("http://127.0.0.1:9/a.jpeg")], service=service)
    assert len(asked) == 1
    assert isinstance(record.events[0], Stored)


@pytest.mark.parametrize(
    ("status", "concluded"),
    [
        ("completed", False),  # and no images: seen to pass
        ("gone", True),
        ("failed", True),
        ("running", False),
        ("unavailable", False),
        ("refused", False),
    ],
)
async def test_only_a_clear_answer_ends_a_request(run, host, entry, reply, record, status, concluded):
    """The service says that it is gone; from anything else nothing may be concluded."""

    class Service:
        async def task(self, task_id: str) -> TaskReport:
            assert task_id == "task_heron"
            return TaskReport(status=status)

    await run([entry(host.serves("/a", reply(b"", 404)), expires_at=NOW - 1)], service=Service())
    assert [type(event) for event in record.events] == [Expired] * concluded
