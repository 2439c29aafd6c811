"""Every fault by name: it strikes where it says, and the books say what it did to the money."""

from __future__ import annotations

import json
from email.utils import parsedate_to_datetime
from io import BytesIO

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from seedream_jobs.emulator.faults import FAULTS, Faults, parse_fault
from seedream_jobs.errors import UsageError

AT_SUBMIT = {name for name, fault in FAULTS.items() if fault.stage == "submit"}
AFTER = {name for name, fault in FAULTS.items() if fault.stage == "accepted"}
OF_TASK = {name for name, fault in FAULTS.items() if fault.stage == "task"}
AT_POLL = {name for name, fault in FAULTS.items() if fault.stage == "poll"}
OF_IMAGE = {name for name, fault in FAULTS.items() if fault.stage == "image"}

STATUS = {name: int(name) for name in AT_SUBMIT if name.isdigit()} | {
    "429-retry-after": 429,
    "429-retry-date": 429,
    "build-request-failed": 500,
    "moderation": 500,
    "get-channel-failed": 400,
    "html-gateway": 502,
    "empty-reply": 502,
    "error-in-200": 200,
    "success-false": 200,
    "code-string": 400,
    "code-empty": 400,
    "redirect": 307,
    "idempotency-in-progress": 409,
    "idempotency-indeterminate": 409,
    "idempotency-unavailable": 503,
}


def test_each_refusal_strikes_once_and_charges_nothing(start):
    """One POST after the other gets the fault's status, in the order of the rules; then all is well."""
    names = sorted(AT_SUBMIT - {"drop-before-read"})
    peer = start(*(f"{name}:first=1" for name in names))
    assert {name: peer.post().status_code for name in names} == STATUS
    assert peer.books()["charges"] == []
    peer.submit()
    assert peer.books()["posts"] == {"accepted": 1, "refused": len(names), "replayed": 0}


def test_each_refusal_of_a_get_strikes_once(start):
    """Likewise for GETs of a task."""
    names = sorted(AT_POLL - {"poll-drop", "poll-slow", "poll-event-stream", "poll-gone"})
    peer = start(*(f"{name}:first=1" for name in names))
    task = peer.submit()
    for name in names:
        assert peer.get(f"/v1/tasks/{task}").status_code == STATUS[name.removeprefix("poll-")], name
    assert peer.ended(task)["status"] == "completed"


def test_the_codes_and_bodies_of_refusals(start):
    """The variants that the contract warns of are there as described."""
    wanted = ["code-string", "code-empty", "get-channel-failed", "build-request-failed", "error-in-200", "html-gateway"]
    bodies = {name: start(name).post() for name in [*wanted, "empty-reply", "429-retry-after", "success-false"]}
    assert bodies["code-string"].json()["error"]["code"] == "400"
    assert bodies["code-empty"].json()["error"]["code"] == ""
    assert bodies["get-channel-failed"].json()["error"]["code"] == "get_channel_failed"
    assert bodies["build-request-failed"].json()["error"]["message"].startswith("build_request_failed: ")
    assert bodies["error-in-200"].json() == {"code": 500, "data": []}
    assert bodies["success-false"].json()["success"] is False
    assert bodies["html-gateway"].headers["content-type"] == "text/html"
    assert bodies["empty-reply"].content == b""
    assert bodies["429-retry-after"].headers["retry-after"] == "1"


def test_a_retry_date_is_ahead_of_the_replys_own_date(start):
    """Whatever the client's clock says."""
    headers = start("429-retry-date").post().headers
    ahead = parsedate_to_datetime(headers["retry-after"]) - parsedate_to_datetime(headers["date"])
    assert 0 <= ahead.total_seconds() <= 3


def test_a_drop_before_the_body_is_read_charges_nothing(start):
    """The client sees a closed connection and nothing else."""
    peer = start("drop-before-read:first=1")
    with pytest.raises(httpx.TransportError):
        peer.post()
    assert peer.books()["charges"] == []
    peer.submit()


@pytest.mark.parametrize("name", sorted(AFTER))
def test_what_befalls_a_reply_does_not_undo_the_charge(start, name):
    """Each of these POSTs is charged, and each reply is broken in its own way."""
    peer = start(f"{name}:first=1", slow=0.05)
    peer.http.timeout = httpx.Timeout(0.5)
    broken = {
        "drop-after-accept": httpx.RemoteProtocolError,
        "reset-after-accept": httpx.ReadError,
        "drop-mid-body": httpx.RemoteProtocolError,
        "hang-after-accept": httpx.ReadTimeout,
    }.get(name)
    if broken is not None:
        with pytest.raises(broken):
            peer.post()
    else:
        reply = peer.post()
        task = peer.books()["charges"][0]["id"]
        statuses = {"500-after-accept": 500, "502-after-accept": 502, "other-shape": 202, "429-with-id": 429}
        status = statuses.get(name, 200)
        assert reply.status_code == status
        readable = name in (
            "slow-reply", "event-stream", "other-shape", "garbage-with-id", "429-with-id", "task-per-image",
        )  # fmt: skip
        assert (task in reply.text) == readable
        assert ("text/event-stream" in reply.headers["content-type"]) == (name == "event-stream")
        if name in ("garbage", "garbage-with-id"):
            with pytest.raises(json.JSONDecodeError):
                reply.json()
    (charge,) = peer.books()["charges"]
    assert charge["reply"] == name
    assert peer.books()["posts"]["accepted"] == 1


ENDS = {"task-cancelled": "cancelled", "task-expired": "expired"}
FAILED = {*ENDS, "task-failed", "task-failed-string", "task-failed-code", "task-failed-empty", "task-moderation"}


@pytest.mark.parametrize("name", sorted(FAILED))
def test_a_failed_task_is_refunded(start, name):
    """It ends in its status with its error, and the account has its money back."""
    peer = start(name)
    data = peer.ended(peer.submit(n=2))
    assert data["status"] == ENDS.get(name, "failed")
    assert isinstance(data["error"], str) == (name == "task-failed-string")
    codes = {"task-failed-code": "500", "task-failed-empty": ""}
    if name in codes:
        assert data["error"]["code"] == codes[name]
    assert peer.books()["used"] == "0.0000"


def test_every_task_fault_has_its_shape(start):
    """The odd replies about completed tasks, each as its sentence says."""
    seen = {}
    for name in sorted(OF_TASK - FAILED):
        peer = start(name, delay=0.0)
        seen[name] = peer.task(peer.submit(n=2))
    images = {name: data.get("result", {}).get("images") for name, data in seen.items()}
    assert seen["task-stuck"]["status"] == "pending"
    assert seen["task-success"]["status"] == "success"
    assert images["task-without-images"] == images["task-images-late"] == []
    assert [sorted(image) for image in images["task-image-error"]] == [["expires_at", "url"], ["error"]]
    assert seen["task-image-error"]["cost"] == 0.0228
    assert all(isinstance(image["url"], str) for image in images["task-string-url"])
    assert len(images["task-shared-urls"]) == 1
    assert len(set(images["task-shared-urls"][0]["url"])) == 2
    assert images["task-shared-urls"][0]["url"][2] == images["task-shared-urls"][0]["url"][0]
    assert images["task-relative-url"][0]["url"][0].startswith("/files/")
    assert images["task-data-url"][0]["url"][0].startswith("data:image/jpeg;base64,")
    assert "expires_at" not in images["task-no-expiry"][0]
    assert "cost" not in seen["task-no-cost"]
    slow = start("task-unknown-status", delay=3600)
    assert slow.task(slow.submit())["status"] == "waiting_for_capacity"


def test_images_that_are_late_come_in_the_end(start):
    """The fourth reply has them."""
    peer = start("task-images-late")
    task = peer.submit()
    assert [len(peer.ended(task)["result"]["images"]) for _ in range(5)] == [0, 0, 0, 1, 1]


def test_polls_can_be_dropped_slow_or_gone(start):
    """And the next one is well."""
    peer = start("poll-drop:first=1", "poll-gone:first=1", "poll-slow:first=1", "poll-event-stream:first=1", slow=0.01)
    task = peer.submit()
    with pytest.raises(httpx.RemoteProtocolError):
        peer.task(task)
    gone = peer.get(f"/v1/tasks/{task}")
    assert (gone.status_code, "expired" in gone.text) == (400, True)
    assert peer.ended(task)["status"] == "completed"
    assert peer.get(f"/v1/tasks/{task}").headers["content-type"] == "text/event-stream"
    assert peer.get(f"/v1/tasks/{task}").headers["content-type"].startswith("application/json")


@pytest.mark.parametrize("name", sorted(OF_IMAGE))
def test_a_download_can_go_wrong_and_then_right(start, name):
    """Each image fault spoils the first download in its own way and leaves the second whole."""
    peer = start(f"{name}:first=1", slow=0.05)
    (link,) = peer.links(peer.submit())
    if name == "image-drop":
        with pytest.raises(httpx.RemoteProtocolError):
            peer.download(link)
    else:
        first = peer.download(link)
        status = {"image-403": 403, "image-404": 404, "image-500": 500, "image-redirect": 302}.get(name, 200)
        assert first.status_code == status
        if name in ("image-truncated", "image-html", "image-tiny"):
            with pytest.raises(OSError, match=r"truncated|identify"):
                Image.open(BytesIO(first.content)).load()
        if name == "image-wrong-pixels":
            assert Image.open(BytesIO(first.content)).size == (1024, 1024)
        if name == "image-wrong-format":
            assert (Image.open(BytesIO(first.content)).format, first.headers["content-type"]) == ("PNG", "image/png")
        if name == "image-redirect":
            assert peer.download(link, follow_redirects=True).status_code == 200
    whole = Image.open(BytesIO(peer.download(link).content))
    assert (whole.size, whole.format) == ((2048, 2048), "JPEG")


@pytest.mark.parametrize(
    ("rule", "fires"),
    [
        ("500", [1, 1, 1, 1, 1, 1]),
        ("500:1", [1, 1, 1, 1, 1, 1]),
        ("500:0", [0, 0, 0, 0, 0, 0]),
        ("500:every=3", [0, 0, 1, 0, 0, 1]),
        ("500:first=2", [1, 1, 0, 0, 0, 0]),
    ],
)
def test_when_a_rule_fires(rule, fires):
    """Always, never, on each N-th occasion, on the first N."""
    faults = Faults([parse_fault(rule)], seed=0)
    assert [faults.draw("submit") is not None for _ in fires] == list(map(bool, fires))


@given(seed=st.integers(), rate=st.floats(0, 1))
def test_the_same_seed_draws_the_same_faults(seed, rate):
    """And another rule at another stage does not move them."""
    rule = parse_fault(f"429:{rate:.6f}")
    one, two = Faults([rule], seed=seed), Faults([rule, parse_fault("poll-500:0.5")], seed=seed)
    drawn = [(one.draw("submit"), two.draw("submit"), two.draw("poll")) for _ in range(30)]
    assert [first for first, *_ in drawn] == [second for _, second, _ in drawn]


def test_a_rate_is_about_that_share():
    """Three in ten of ten thousand, give or take."""
    faults = Faults([parse_fault("429:0.3")], seed=1)
    assert 2800 < sum(faults.draw("submit") is not None for _ in range(10_000)) < 3200


@pytest.mark.parametrize("text", ["", "nothing", "500:2", "500:-1", "500:nan", "500:every=0", "500:often", "500:x=1"])
def test_a_rule_that_is_none_is_refused(text):
    """With the way to write one, or the name that was probably meant."""
    with pytest.raises(UsageError) as refused:
        parse_fault(text)
    assert refused.value.hint


def test_a_misspelt_fault_gets_a_suggestion():
    """The nearest name is in the hint."""
    with pytest.raises(UsageError) as refused:
        parse_fault("drop-after-acept:0.1")
    assert "drop-after-accept" in (refused.value.hint or "")
