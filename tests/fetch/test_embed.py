"""Metadata is spliced in: the pixels stay, what was said before stays, and a signed image is left alone."""

from __future__ import annotations

import io
import random
import zlib
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from seedream_jobs.results import image_metadata as metadata
from seedream_jobs.results.image_metadata import (
    MalformedImage,
    embed,
    embed_in_file,
    find_xmp,
    image_parts,
    jpeg_segment,
    labels_in,
    png_chunk,
    read_labels,
)
from tests.lanes import examples

DC = "{http://purl.org/dc/elements/1.1/}"
RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
IPTC = "{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}"
C2PA = b"JP\0\1\0\0\0\1\0\0\0\x60jumb\0\0\0\x28jumdc2pa"

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)
sizes = st.tuples(st.integers(1, 40), st.integers(1, 40))


def image(size: tuple[int, int], format: str, mode: str = "RGB", **options: object) -> bytes:
    out = io.BytesIO()
    noise = random.Random(7).randbytes(size[0] * size[1])
    Image.frombytes("L", size, noise).convert(mode).save(out, format, **options)
    return out.getvalue()


def pixels(data: bytes) -> tuple[str, tuple[int, int], bytes]:
    with Image.open(io.BytesIO(data)) as opened:
        return opened.mode, opened.size, opened.tobytes()


def described(data: bytes) -> tuple[str | None, str | None]:
    """The digital source type and the description, read by another parser than the one that wrote them."""
    found = find_xmp(data)
    assert found is not None
    tree = ElementTree.fromstring(found.xml.decode())
    source = tree.find(f".//{IPTC}DigitalSourceType")
    text = tree.find(f".//{DC}description/{RDF}Alt/{RDF}li")
    return None if source is None else source.text, None if text is None else text.text


@settings(max_examples=examples(60), deadline=None)
@given(sizes, st.sampled_from(["JPEG", "PNG"]), st.sampled_from(["RGB", "L"]), texts)
def test_pixels_are_identical_and_the_prompt_is_readable(size, format, mode, prompt):
    """For any size, mode and prompt: the decoded pixels are the same, and the packet says what it was told."""
    before = image(size, format, mode)
    after, warnings = embed(before, prompt)
    assert warnings == ()
    assert pixels(after) == pixels(before)
    source, text = described(after)
    assert source == metadata.SOURCE_TYPE
    assert (text or "") == metadata._NOT_XML.sub("\ufffd", prompt)
    assert labels_in(after).source_type == "trainedAlgorithmicMedia"


@settings(max_examples=examples(30), deadline=None)
@given(sizes, st.sampled_from(["JPEG", "PNG"]), texts, texts)
def test_embedding_again_changes_nothing(size, format, first, second):
    """What stands there is kept: a second embedding finds both statements and leaves the bytes alone."""
    once, _ = embed(image(size, format), first)
    again, warnings = embed(once, second)
    assert again == once
    assert len(warnings) == 2


@settings(max_examples=examples(40), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(["JPEG", "PNG", "WEBP"]), st.data())
def test_a_damaged_file_is_never_a_traceback(format, data):
    """Cut anywhere, or with any byte changed: embedding and label reading give an answer."""
    whole = image((16, 16), format)
    at = data.draw(st.integers(0, len(whole) - 1))
    cut = whole[:at]
    flipped = whole[:at] + bytes([whole[at] ^ data.draw(st.integers(1, 255))]) + whole[at + 1 :]
    for damaged in (cut, flipped):
        embed(damaged, "a heron")
        labels_in(damaged)


def test_only_a_packet_is_added(picture: Callable[..., bytes]) -> None:
    """Taking the one new part out gives the downloaded bytes back."""
    for before in (picture((64, 64), "PNG"), picture((64, 64))):
        after, _ = embed(before, "a heron")
        part = find_xmp(after)
        assert part is not None
        assert after[: part.part.start] + after[part.part.end :] == before


def test_the_packet_stands_behind_jfif_and_exif() -> None:
    """Readers that look for JFIF or EXIF first still find them first."""
    exif = Image.Exif()
    exif[0x010E] = "taken"
    before = image((20, 20), "JPEG", exif=exif.tobytes())
    names = [part.name for part in image_parts(embed(before, "x")[0])]
    assert names[:3] == ["APP0", "APP1", "APP1"]
    with Image.open(io.BytesIO(embed(before, "x")[0])) as opened:
        assert opened.getexif()[0x010E] == "taken"
        assert metadata.SOURCE_TYPE.encode() in opened.info["xmp"]


EXISTING = b"""<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><r:RDF xmlns:r="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<r:Description r:about="uuid:7" xmlns:TC260="http://www.tc260.org.cn/ns/AIGC/1.0/"
 TC260:AIGC="{&quot;Label&quot;:&quot;1&quot;,&quot;ContentProducer&quot;:&quot;x&quot;}"/></r:RDF></x:xmpmeta>
<?xpacket end="w"?>"""


@pytest.mark.parametrize("format", ["JPEG", "PNG"])
def test_an_existing_packet_is_added_to(format: str) -> None:
    """The GB 45438 label of the service's own packet is still there, word for word, beside our statement."""
    plain = image((20, 20), format)
    if format == "JPEG":
        before = plain[:2] + jpeg_segment("APP1", metadata.XMP_JPEG_HEADER + EXISTING) + plain[2:]
    else:
        packed = metadata.XMP_PNG_KEYWORD + b"\0\1\0\0\0" + zlib.compress(EXISTING)
        before = plain[:33] + png_chunk("iTXt", packed) + plain[33:]
    after, warnings = embed(before, "a heron & <friends>")
    assert warnings == ()
    assert pixels(after) == pixels(plain)
    assert described(after) == (metadata.SOURCE_TYPE, "a heron & <friends>")
    assert labels_in(after).aigc == labels_in(before).aigc == '{"Label":"1","ContentProducer":"x"}'
    assert sum(1 for part in image_parts(after) if part.name in ("APP1", "iTXt")) == 1
    found = find_xmp(after)
    assert found is not None
    assert found.xml.count(b'about="uuid:7"') == 2


@pytest.mark.parametrize(
    ("packet", "why"),
    [
        (b"<x:xmpmeta", "well-formed"),
        (b"\xff\xfe<\0", "UTF-8"),
        (b'<!DOCTYPE a [<!ENTITY b "c">]><a/>', "entities"),
        (b"<a/>", "no single rdf:RDF"),
    ],
)
def test_a_packet_that_can_not_be_added_to_is_left(packet: bytes, why: str) -> None:
    """A strange packet is somebody's: nothing is embedded, and the reason is told."""
    plain = image((20, 20), "JPEG")
    before = plain[:2] + jpeg_segment("APP1", metadata.XMP_JPEG_HEADER + packet) + plain[2:]
    after, warnings = embed(before, "x")
    assert after is before
    assert why in warnings[0]


def test_a_signed_image_is_not_touched() -> None:
    """A C2PA manifest signs the bytes around it: no change, a warning, and the label is reported."""
    jpeg, png = image((20, 20), "JPEG"), image((20, 20), "PNG")
    signed = [
        jpeg[:2] + jpeg_segment("APP11", C2PA) + jpeg[2:],
        png[:33] + png_chunk("caBX", C2PA[8:]) + png[33:],
    ]
    for before in signed:
        after, warnings = embed(before, "x")
        assert after is before
        assert "C2PA" in warnings[0]
        assert labels_in(before).c2pa
        assert labels_in(before) == metadata.AiLabels(c2pa=True)


def test_a_prompt_too_long_for_a_segment_is_left_out_of_a_jpeg() -> None:
    """64 KB is a JPEG segment's limit; the source type still goes in, a PNG takes it all."""
    prompt = "a heron " * 10_000
    jpeg, warnings = embed(image((20, 20), "JPEG"), prompt)
    assert described(jpeg) == (metadata.SOURCE_TYPE, None)
    assert "does not fit" in warnings[0]
    assert described(embed(image((20, 20), "PNG"), prompt)[0])[1] == prompt


def test_labels_are_found_where_they_are_put(tmp_path: Path) -> None:
    """GB 45438 in EXIF UserComment, in UTF-16, and in a PNG text chunk; a plain image has none."""
    label = '{"AIGC": {"Label": "1", "ContentProducer": "x"}}'
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9286] = b"ASCII\0\0\0" + label.encode()
    wide = Image.Exif()
    wide.get_ifd(0x8769)[0x9286] = b"UNICODE\0" + label.encode("utf-16-le")
    info = PngImagePlugin.PngInfo()
    info.add_text("AIGC", label, zip=True)
    labelled = [
        image((20, 20), "JPEG", exif=exif.tobytes()),
        image((20, 20), "JPEG", exif=wide.tobytes()),
        image((20, 20), "WEBP", exif=exif.tobytes()),
        image((20, 20), "PNG", pnginfo=info),
    ]
    for number, data in enumerate(labelled):
        found = labels_in(data).aigc
        assert found is not None, number
        assert '"Label": "1"' in found
    plain = tmp_path / "plain.jpeg"
    plain.write_bytes(image((20, 20), "JPEG"))
    assert read_labels(plain) == metadata.AiLabels()


def test_a_prompt_about_labels_is_no_label() -> None:
    """The words of a prompt are not taken for a mark."""
    assert labels_in(embed(image((20, 20), "PNG"), "AIGC: a heron, AIGC=1")[0]).aigc is None


def test_inflated_metadata_is_bounded() -> None:
    """A compressed text chunk that unpacks to gigabytes is refused after four megabytes."""
    bomb = zlib.compress(b"\0" * 50_000_000, 9)
    png = image((20, 20), "PNG")
    before = png[:33] + png_chunk("iTXt", metadata.XMP_PNG_KEYWORD + b"\0\1\0\0\0" + bomb) + png[33:]
    with pytest.raises(MalformedImage, match="too large"):
        find_xmp(before)
    assert embed(before, "x")[0] is before
    labels_in(before)


def test_embedding_in_a_file_leaves_no_other(tmp_path: Path) -> None:
    """The file is replaced in one step."""
    file = tmp_path / ".x.part"
    file.write_bytes(image((20, 20), "JPEG"))
    assert embed_in_file(file, "a heron") == ()
    assert [path.name for path in tmp_path.iterdir()] == [".x.part"]
    assert described(file.read_bytes())[1] == "a heron"
