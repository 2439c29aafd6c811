"""The three ways to treat a repeated Idempotency-Key."""

from __future__ import annotations

import threading

import httpx
import pytest

KEY = {"Idempotency-Key": "v1-abc"}


def replayed(reply: httpx.Response) -> bool:
    return reply.headers.get("idempotency-replayed") == "true"


def test_honoured_keys_are_replayed_and_marked(start):
    """The same key and body give the same task, charged once; without a key each POST is charged."""
    peer = start(idempotency="honours")
    first, second = peer.post(headers=KEY), peer.post(headers=KEY)
    assert first.json() == second.json()
    assert (replayed(first), replayed(second)) == (False, True)
    assert len(peer.books()["charges"]) == 1
    assert peer.submit() != peer.submit()
    assert peer.books()["posts"] == {"accepted": 3, "refused": 0, "replayed": 1}


def test_an_honoured_key_finds_a_lost_reply(start):
    """What was charged without a reply is replayed, also by a later emulator."""
    peer = start("drop-after-accept:first=1", idempotency="honours")
    with pytest.raises(httpx.RemoteProtocolError):
        peer.post(headers=KEY)
    assert replayed(peer.post(headers=KEY))
    later = start(idempotency="honours")
    assert replayed(later.post(headers=KEY))
    assert len(later.books()["charges"]) == 1


def test_an_honoured_key_with_another_body_is_409(start):
    """idempotency_key_reused, not charged."""
    peer = start(idempotency="honours")
    peer.post(headers=KEY)
    reply = peer.post(headers=KEY, prompt="another")
    assert (reply.status_code, reply.json()["error"]["code"]) == (409, "idempotency_key_reused")
    assert len(peer.books()["charges"]) == 1


def test_a_key_whose_first_reply_is_under_way_is_409(start):
    """idempotency_in_progress with Retry-After, while the first client is still waiting."""
    peer = start("hang-after-accept:first=1", idempotency="honours")
    waiting = httpx.Client(verify=False, trust_env=False, timeout=30)

    def hang() -> None:
        url = f"{peer.server.url}/v1/images/generations"
        payload = {"model": "doubao-seedream-5-0-lite", "prompt": "a heron"}
        with pytest.raises(httpx.HTTPError):
            waiting.post(url, json=payload, headers={**KEY, "Authorization": "Bearer key"})

    thread = threading.Thread(target=hang)
    thread.start()
    while not peer.books()["charges"]:
        pass
    reply = peer.post(headers=KEY)
    assert (reply.status_code, reply.json()["error"]["code"]) == (409, "idempotency_in_progress")
    assert reply.headers["retry-after"] == "1"
    peer.server.__exit__(None, None, None)
    thread.join()
    waiting.close()
    peer.server.__enter__()  # the fixture ends it once more


def test_ignored_keys_charge_every_post(start):
    """As a service that has never heard of the header."""
    peer = start(idempotency="ignores")
    assert peer.post(headers=KEY).json() != peer.post(headers=KEY).json()
    assert len(peer.books()["charges"]) == 2


def test_half_honoured_keys_fail_when_they_matter(start):
    """An answered key is replayed without a mark; one whose reply was lost is charged again."""
    peer = start("drop-after-accept:every=2", idempotency="half")
    first, second = peer.post(headers=KEY), peer.post(headers=KEY)
    assert first.json() == second.json()
    assert not replayed(second)
    other = {"Idempotency-Key": "v1-def"}
    with pytest.raises(httpx.RemoteProtocolError):
        peer.post(headers=other)
    assert peer.post(headers=other).status_code == 200
    assert len(peer.books()["charges"]) == 3


@pytest.mark.parametrize("key", ["k" * 192, "two words"])
def test_a_key_that_is_none_is_400(start, key):
    """1 to 191 visible ASCII characters."""
    assert start(idempotency="honours").post(headers={"Idempotency-Key": key}).status_code == 400
