"""A million requests counted from the parts they are made of, without making one: a proof, or no answer.

Requests are merged where they are equal, so their number is that of the combinations only if no two are equal. Often
the job's parts show that: a text such as ``{subject} in a garden, {season}`` is read back from its ends, as a code
word is. If no subject followed by `` in a garden, `` begins with another one so followed, the text says which subject
it has; what is left then says the season. Where that succeeds for every axis, no two texts are the same.

What is counted here is what ``Expansion.places`` counts by streaming; a differential test holds the two together.
Whoever gets no answer (None, False) streams.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

from seedream_jobs.expand.fragments import MAX_FRAMES, Fragments, Frame, is_visible
from seedream_jobs.expand.matrix import Matrix
from seedream_jobs.expand.names import MAX_NAME_BYTES
from seedream_jobs.expand.pieces import Column, Mixed, Piece, Pieces
from seedream_jobs.job.spec import JobSpec
from seedream_jobs.job.template import TemplateProblem

_NAME_PART = rb"[0-9A-Za-z_,=~+-]+"


class Count(NamedTuple):
    """How many requests a job makes, no two of them equal, and the most images they can deliver."""

    requests: int
    images: int


def count(fragments: Fragments) -> Count | None:
    """The requests of a job whose shared parts were checked (``Expansion.check``); None where its parts don't tell.

    :raises ReferenceProblem: for a reference image that the service would refuse
    """
    spec, matrix = fragments.spec, fragments.matrix
    if spec.include or spec.sample is not None or fragments.prompt_pieces is None:
        return None
    living = matrix.living()
    columns = _columns(fragments.prompt_pieces, living)
    if columns is None or not any(all(map(is_visible, texts)) for texts in columns if texts):
        return None  # a prompt may not be blank
    if fragments.returns or _may_end_with_break(columns):
        return None  # line breaks are settled in the whole prompt, and two of them may come to be one
    axes = fragments.parameter_axes
    frames: dict[tuple[int, ...], Frame] = {}
    images = requests = 0
    for choice, share in matrix.groups(axes):
        restricted = tuple([choice[axis] for axis in axes])
        frame = frames.get(restricted)
        if frame is None:
            if len(frames) >= MAX_FRAMES:
                return None  # more than may be kept at once: the stream lets go of them
            frame = frames[restricted] = fragments.frame(choice)
        requests += share * spec.repeat
        images += share * spec.repeat * frame.max_images
    if len({(frame.head, frame.tails) for frame in frames.values()}) < len(frames):
        return None  # two sets of parameters that say the same, such as two aliases of one model
    told = _told(fragments.prompt_pieces.pieces, columns, known=axes)
    return Count(requests, images) if _covers(told, living) else None


def _may_end_with_break(columns: Sequence[list[bytes]]) -> bool:
    """Whether a text put together may have an escaped line feed at its end."""
    for texts in reversed(columns):
        if any(text.endswith(b"\\n") for text in texts):
            return True
        if all(texts):
            return False
    return False


def names_differ(spec: JobSpec, matrix: Matrix) -> bool:
    """Whether the parts of ``output.name`` show that every combination's is a good one and no other's, case ignored."""
    if spec.output_name is None or spec.include:
        return False
    living = matrix.living()
    try:
        pieces = Pieces(spec.output_name, spec, _name_bytes)
    except TemplateProblem:
        return False
    columns = _columns(pieces, living)
    return columns is not None and _good_names(columns) and _covers(_told(pieces.pieces, columns, known=()), living)


def _name_bytes(text: str) -> bytes:
    """A part of a name, its case ignored. ASCII alone is lowered: the sign of kelvin would become a plain ``k``."""
    return (text.lower() if text.isascii() else text).encode()


def _columns(pieces: Pieces, living: Sequence[Collection[int]]) -> list[list[bytes]] | None:
    """What each piece can be; None where a piece reads several axes or can't be evaluated."""
    found: list[list[bytes]] = []
    for piece in pieces.pieces:
        if isinstance(piece, Mixed):
            return None
        try:
            indexes = living[piece.axis] if isinstance(piece, Column) else ()
            found.append([piece] if isinstance(piece, bytes) else [pieces.column_text(piece, at) for at in indexes])
        except TemplateProblem:
            return None
    return found


def _told(pieces: Sequence[Piece], columns: Sequence[list[bytes]], *, known: Iterable[int]) -> set[int]:
    """The axes whose value can be read from the whole text by somebody who knows the values of ``known``.

    Pieces are taken from either end. A piece whose axis is known is known text. Another one is read if what it can be,
    together with the constant beyond it, is a code in which no word begins (from the right: ends) another.
    """
    told, first, last = set(known), 0, len(pieces) - 1

    def read(at: int, beyond: int, *, backwards: bool) -> bool:
        piece = pieces[at]
        if isinstance(piece, bytes) or (isinstance(piece, Column) and piece.axis in told):
            return True
        delimiter = pieces[beyond] if first <= beyond <= last else b""
        words = columns[at]
        if isinstance(delimiter, bytes) and not backwards:
            words = [word + delimiter for word in words]
        elif isinstance(delimiter, bytes):
            words = [(delimiter + word)[::-1] for word in words]
        elif backwards:
            words = [word[::-1] for word in words]
        if (first == last and len(set(words)) == len(words)) or _none_begins_another(words):
            assert isinstance(piece, Column)
            told.add(piece.axis)
            return True
        return False

    while first <= last:
        if read(first, first + 1, backwards=False):
            first += 1
        elif read(last, last - 1, backwards=True):
            last -= 1
        else:
            break
    return told


def _none_begins_another(words: Iterable[bytes]) -> bool:
    """Whether no word is the beginning of another (equal ones are): in sorted order it would stand just before it."""
    ordered = sorted(words)
    return not any(after.startswith(before) for before, after in pairwise(ordered))


def _covers(told: Collection[int], living: Sequence[Collection[int]]) -> bool:
    return all(axis in told or len(indexes) <= 1 for axis, indexes in enumerate(living))


def _good_names(columns: Sequence[list[bytes]]) -> bool:
    """Whether every name put together is one that ``checked_name`` takes: plain ASCII, no part of it empty or long."""
    parts: list[list[list[bytes]]] = [[]]
    for column in columns:
        if len(column) == 1:  # only what is the same in every name may divide it into folders
            head, *tail = column[0].split(b"/")
            parts[-1].append([head])
            parts += ([[text]] for text in tail)
        else:
            parts[-1].append(column)
    return all(map(_good_part, parts))


def _good_part(columns: Sequence[list[bytes]]) -> bool:
    columns = [column for column in columns if column != [b""]]
    if not columns or not all(re.fullmatch(_NAME_PART, text) for column in columns for text in column):
        return False
    begins = all(text[:1].isalnum() for text in columns[0])
    return begins and sum(max(map(len, column), default=0) for column in columns) <= MAX_NAME_BYTES
