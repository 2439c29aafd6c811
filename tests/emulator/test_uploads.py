"""POST /v1/uploads/images: a file in, a URL out that a submit can refer to."""

from __future__ import annotations

from io import BytesIO

import pytest
from PIL import Image


def image(form: str = "png", size: tuple[int, int] = (300, 200)) -> bytes:
    target = BytesIO()
    Image.new("RGB", size).save(target, form)
    return target.getvalue()


def upload(peer, data: bytes, name: str = "dog.png", field: str = "file"):
    return peer.http.post(f"{peer.server.url}/v1/uploads/images", files={field: (name, data, "application/x")})


@pytest.mark.parametrize("form", ["png", "jpeg", "webp", "gif"])
def test_an_image_is_kept_and_served(start, form):
    """The reply has exactly the documented fields, and the URL gives the bytes back."""
    peer, data = start(), image(form)
    reply = upload(peer, data, f"a dog.{form}").json()
    assert sorted(reply) == ["bytes", "content_type", "created_at", "filename", "url"]
    assert (reply["bytes"], reply["content_type"], reply["filename"]) == (len(data), f"image/{form}", f"a dog.{form}")
    assert peer.download(reply["url"]).content == data


def test_bytes_survive_the_multipart_parser(start):
    """Line ends, boundaries' look-alikes and a missing last newline come through unchanged."""
    peer = start()
    for tail in (b"\r\n", b"\n", b"\r", b"\r\n--x\r\n\r\n", bytes(range(256)) * 3, b"\n\n\n"):
        data = image() + tail
        assert peer.download(upload(peer, data).json()["url"]).content == data


def test_an_uploaded_image_can_be_a_reference(start):
    """And is looked into: a GIF is refused when it is used, not when it is uploaded."""
    peer = start()
    good, bad = upload(peer, image()).json()["url"], upload(peer, image("gif")).json()["url"]
    (link,) = peer.links(peer.submit(size="auto", image_urls=[good]))
    assert Image.open(BytesIO(peer.download(link).content)).size == (2496, 1664)
    assert peer.post(image_urls=[bad]).status_code == 400


def test_what_is_no_upload_is_refused(start):
    """Another field, no image, too many bytes, no multipart, no key."""
    peer = start()
    assert upload(peer, image(), field="image").status_code == 400
    assert upload(peer, b"not an image").status_code == 400
    assert upload(peer, image() + bytes(20 << 20)).status_code == 413
    url = f"{peer.server.url}/v1/uploads/images"
    assert peer.http.post(url, content=image()).status_code == 400
    assert peer.http.post(url, headers={"Authorization": ""}).status_code == 401
    assert peer.download(f"{peer.server.url}/files/uploads/..%2Fbooks.jsonl").status_code == 404
