"""POST /v1/images/generations: what is accepted, what is refused, and in which words."""

from __future__ import annotations

import base64
import re
import threading
from io import BytesIO
from typing import Any

import httpx
import pytest
from PIL import Image

from seedream_jobs.emulator.submit import Refused, read_order
from seedream_jobs.model_profile import profiles

MODEL = "doubao-seedream-5-0-lite"
URL = "https://example.com/dog.png"


def data_uri(width: int, height: int, form: str = "png", declared: str | None = None) -> str:
    target = BytesIO()
    Image.new("L", (width, height)).save(target, form)
    return f"data:image/{declared or form};base64,{base64.b64encode(target.getvalue()).decode()}"


GOOD: list[dict[str, Any]] = [
    {},
    {"model": "doubao-seedream-5.0-lite"},
    {"model": "Doubao-Seedream-5.0-lite"},
    *({"size": size} for size in ("1:1", "4:3", "3:4", "16:9", "9:16", "3:2", "2:3", "21:9")),
    *({"resolution": resolution} for resolution in ("2K", "3K", "4K")),
    {"n": 1},
    {"n": 15},
    {"size": "auto", "image_urls": [URL]},
    {"image_urls": []},
    {"image_urls": [URL] * 14},
    {"image_urls": [URL] * 10, "n": 5},
    {"output_format": "jpeg"},
    {"output_format": "png"},
    {"watermark": True},
    {"sequential_image_generation": "disabled"},
    {"sequential_image_generation": "auto"},
    {"sequential_image_generation": "auto", "sequential_image_generation_options": {"max_images": 4}},
    {"sequential_image_generation": "auto", "sequential_image_generation_options": {}},
    {"n": 2, "sequential_image_generation_options": {"max_images": 4}},
    {"something_new": 1},
]
BAD: list[tuple[dict[str, Any], str]] = [
    ({"model": ""}, "model"),
    ({"model": 5}, "model"),
    ({"prompt": ""}, "prompt"),
    ({"prompt": ["a"]}, "prompt"),
    ({"prompt": None}, "prompt"),
    ({"size": "9:21"}, "size"),
    ({"size": "2:1"}, "size"),
    ({"size": 969}, "size"),
    ({"size": "1024x1024"}, "size"),
    ({"size": "auto"}, "image_urls"),
    ({"size": "auto", "image_urls": []}, "image_urls"),
    ({"resolution": "1K"}, "resolution"),
    ({"resolution": "2k"}, "resolution"),
    ({"n": 0}, "n "),
    ({"n": 16}, "n "),
    ({"n": "1"}, "n "),
    ({"n": 1.0}, "n "),
    ({"n": True}, "n "),
    ({"n": None}, "n "),
    ({"image_urls": URL}, "image_urls"),
    ({"image_urls": [5]}, "image_urls"),
    ({"image_urls": ["dog.png"]}, "image_urls"),
    ({"image_urls": ["iVBORw0KGgo="]}, "image_urls"),
    ({"image_urls": ["data:image/webp;base64,AAAA"]}, "image_urls"),
    ({"image_urls": ["data:image/png,AAAA"]}, "image_urls"),
    ({"image_urls": [URL] * 15}, "15 张"),
    ({"image_urls": [URL] * 11, "n": 5}, "15 张"),
    (
        {
            "image_urls": [URL] * 12,
            "sequential_image_generation": "auto",
            "sequential_image_generation_options": {"max_images": 4},
        },
        "15 张",
    ),
    ({"output_format": "webp"}, "output_format"),
    ({"output_format": "JPEG"}, "output_format"),
    ({"watermark": "true"}, "watermark"),
    ({"watermark": 1}, "watermark"),
    ({"sequential_image_generation": True}, "sequential_image_generation"),
    ({"sequential_image_generation_options": {"max_images": 4}}, "max_images"),
    (
        {"sequential_image_generation": "disabled", "sequential_image_generation_options": {"max_images": 4}},
        "max_images",
    ),
    (
        {"sequential_image_generation": "auto", "sequential_image_generation_options": {"max_images": "4"}},
        "max_images",
    ),
    ({"sequential_image_generation": "auto", "sequential_image_generation_options": {"max_images": 0}}, "max_images"),
    ({"sequential_image_generation": "auto", "sequential_image_generation_options": [4]}, "options"),
]


@pytest.mark.parametrize("fields", GOOD, ids=str)
def test_what_the_page_allows_is_accepted(fields: dict[str, Any]) -> None:
    """Each documented value makes an order of the canonical model."""
    order = read_order({"model": MODEL, "prompt": "a heron", **fields}, profiles())
    assert order.model == MODEL
    assert order.n <= order.asked <= order.maximum <= 15


@pytest.mark.parametrize(("fields", "named"), BAD, ids=lambda value: str(value)[:60])
def test_what_the_page_forbids_is_refused_by_name(fields: dict[str, Any], named: str) -> None:
    """The message of a refusal names the field or the rule."""
    with pytest.raises(Refused, match=named):
        read_order({"model": MODEL, "prompt": "a heron", **fields}, profiles())


@pytest.mark.parametrize(
    ("fields", "asked", "maximum"),
    [
        ({}, 1, 1),
        ({"n": 3}, 3, 3),
        ({"sequential_image_generation": "auto"}, 1, 15),
        ({"sequential_image_generation": "auto", "image_urls": [URL] * 4}, 1, 11),
        ({"n": 2, "sequential_image_generation_options": {"max_images": 6}}, 6, 6),
        ({"n": 5, "sequential_image_generation_options": {"max_images": 2}}, 5, 5),
    ],
)
def test_how_many_images_may_come(fields: dict[str, Any], asked: int, maximum: int) -> None:
    """`auto` alone leaves the number to the model, up to 15 less the references; everything else bounds it."""
    order = read_order({"model": MODEL, "prompt": "a heron", **fields}, profiles())
    assert (order.asked, order.maximum) == (asked, maximum)


def test_a_submit_is_answered_in_the_documented_shape(start):
    """code 200 and a list with status and a task id of 26 characters."""
    reply = start().post()
    (data,) = reply.json()["data"]
    assert reply.status_code == reply.json()["code"] == 200
    assert data["status"] == "submitted"
    assert re.fullmatch(r"task_[0-9A-HJKMNP-TV-Z]{26}", data["task_id"])
    assert reply.headers["x-oneapi-request-id"]


def test_the_version_header_selects_the_other_shape(start):
    """data is one object with id, object and status, and the status code may be 202."""
    reply = start().post(headers={"X-APIMart-Response-Version": "2026-07-27"})
    assert reply.status_code == 202
    assert reply.json()["data"]["object"] == "generation.task"
    assert reply.json()["data"]["id"].startswith("task_")


@pytest.mark.parametrize("prefix", ["/v1", "", "/proxy/v1", "/a/b", "/v1/v1"])
def test_it_works_below_any_prefix(start, prefix):
    """A base URL with or without /v1 and with a path leads to the same task, and links keep the path."""
    peer = start()
    task = peer.submit(prefix=prefix)
    assert peer.get(f"{prefix}/tasks/{task}").json()["data"]["id"] == task
    (image,) = peer.get(f"{prefix}/tasks/{task}").json()["data"]["result"]["images"]
    assert peer.download(image["url"][0]).status_code == 200


def test_another_model_of_the_vendor_is_taken_as_it_comes(start):
    """gpt-image-2 with OpenAI's sizes and a lower-case resolution gets an image of those pixels."""
    peer = start()
    (link,) = peer.links(peer.submit(model="gpt-image-2", size="1024x1536", resolution="1k", n="1", quality="high"))
    assert Image.open(BytesIO(peer.download(link).content)).size == (1024, 1536)


@pytest.mark.parametrize("value", [None, "", "Bearer", "Basic a2V5", "Bearer invalid-key"])
def test_no_key_and_an_invalid_key_are_401(start, value):
    """Any other non-empty bearer token is accepted."""
    peer = start()
    del peer.http.headers["Authorization"]
    reply = peer.post(headers={} if value is None else {"Authorization": value})
    assert reply.status_code == 401
    assert reply.json()["error"]["type"] == "authentication_error"
    assert peer.books()["charges"] == []


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'{"model":"x"}', b"[" * 100_000])
def test_a_body_that_is_no_payload_is_400(start, body):
    """In the service's own words and shape, without a charge."""
    peer = start()
    reply = peer.http.post(f"{peer.server.url}/v1/images/generations", content=body)
    assert (reply.status_code, reply.json()["error"]["type"]) == (400, "invalid_request_error")
    assert reply.json()["error"]["message"].startswith("请求参数无效")
    assert peer.books()["posts"] == {"accepted": 0, "refused": 1, "replayed": 0}


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        (data_uri(14, 40), "大于 14"),
        (data_uri(100, 301), "宽高比"),
        (data_uri(301, 100), "宽高比"),
        (data_uri(6001, 6000), "总像素"),
        (data_uri(100, 100, "jpeg", "png"), "格式"),
        (data_uri(100, 100, "gif", "png"), "格式"),
        ("data:image/png;base64,AAAA", "可识别"),
        ("data:image/png;base64,§", "Base64"),
        ("data:image/png;base64," + "A" * (14 << 20), "10MB"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_reference_is_looked_into(start, reference, said):
    """Format, sides, ratio, pixels and bytes of a data URI are checked against the page's limits."""
    reply = start().post(image_urls=[reference])
    assert reply.status_code == 400
    assert said in reply.json()["error"]["message"]


def test_auto_takes_the_ratio_of_the_first_reference(start):
    """A tall reference gives a tall image of the table."""
    peer = start()
    (link,) = peer.links(peer.submit(size="auto", image_urls=[data_uri(90, 160, "jpeg")]))
    assert Image.open(BytesIO(peer.download(link).content)).size == (1600, 2848)


def test_routes_that_do_not_exist_and_wrong_methods_are_told(start):
    """404 and 405, as JSON."""
    peer = start()
    assert peer.get("/v1/nothing").json()["error"]["code"] == 404
    assert peer.get("/v1/images/generations").status_code == 405
    assert peer.http.post(f"{peer.server.url}/v1/balance").headers["allow"] == "GET, HEAD"


# -- POST /v1/uploads/images: a file in, a URL out that a submit can refer to


def encoded(form: str = "png", size: tuple[int, int] = (300, 200)) -> bytes:
    target = BytesIO()
    Image.new("RGB", size).save(target, form)
    return target.getvalue()


def upload(peer, data: bytes, name: str = "dog.png", field: str = "file"):
    return peer.http.post(f"{peer.server.url}/v1/uploads/images", files={field: (name, data, "application/x")})


@pytest.mark.parametrize("form", ["png", "jpeg", "webp", "gif"])
def test_an_image_is_kept_and_served(start, form):
    """The reply has exactly the documented fields, and the URL gives the bytes back."""
    peer, data = start(), encoded(form)
    reply = upload(peer, data, f"a dog.{form}").json()
    assert sorted(reply) == ["bytes", "content_type", "created_at", "filename", "url"]
    assert (reply["bytes"], reply["content_type"], reply["filename"]) == (len(data), f"image/{form}", f"a dog.{form}")
    assert peer.download(reply["url"]).content == data


def test_bytes_survive_the_multipart_parser(start):
    """Line ends, boundaries' look-alikes and a missing last newline come through unchanged."""
    peer = start()
    for tail in (b"\r\n", b"\n", b"\r", b"\r\n--x\r\n\r\n", bytes(range(256)) * 3, b"\n\n\n"):
        data = encoded() + tail
        assert peer.download(upload(peer, data).json()["url"]).content == data


def test_an_uploaded_image_can_be_a_reference(start):
    """And is looked into: a GIF is refused when it is used, not when it is uploaded."""
    peer = start()
    good, bad = upload(peer, encoded()).json()["url"], upload(peer, encoded("gif")).json()["url"]
    (link,) = peer.links(peer.submit(size="auto", image_urls=[good]))
    assert Image.open(BytesIO(peer.download(link).content)).size == (2496, 1664)
    assert peer.post(image_urls=[bad]).status_code == 400


def test_what_is_no_upload_is_refused(start):
    """Another field, no image, too many bytes, no multipart, no key."""
    peer = start()
    assert upload(peer, encoded(), field="image").status_code == 400
    assert upload(peer, b"not an image").status_code == 400
    assert upload(peer, encoded() + bytes(20 << 20)).status_code == 413
    url = f"{peer.server.url}/v1/uploads/images"
    assert peer.http.post(url, content=encoded()).status_code == 400
    assert peer.http.post(url, headers={"Authorization": ""}).status_code == 401
    assert peer.download(f"{peer.server.url}/files/uploads/..%2Fbooks.jsonl").status_code == 404


# -- the three ways to treat a repeated Idempotency-Key

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


def test_a_body_is_bounded_while_it_is_read(start: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Announced or not, what is too long is refused before it is in memory, and the next request is served."""
    monkeypatch.setattr("seedream_jobs.emulator.submit.BODY_LIMIT", 100_000)
    peer = start()
    url = f"{peer.server.url}/v1/images/generations"
    assert peer.http.post(url, content=b"x" * 200_000).status_code == 413
    assert peer.http.post(url, content=(b"x" * 10_000 for _ in range(20))).status_code == 413
    assert peer.http.post(url, content=b"", headers={"Content-Length": "0"}).status_code == 400
    assert peer.post().status_code == 200
