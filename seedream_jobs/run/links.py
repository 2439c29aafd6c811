"""How long delivered images can still be fetched: a clock on the links that die."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from seedream_jobs.ledger.state import Entry, Image, State
from seedream_jobs.model_profile import Profile


def recordable(images: Iterable[Image]) -> tuple[Image, ...]:
    """Images as they go on record. A ``data:`` link is the image itself, megabytes of it: fetching asks again."""
    return tuple(replace(image, url=None) if _is_data(image) else image for image in images)


def _is_data(image: Image) -> bool:
    return image.url is not None and image.url[:5].lower() == "data:"


def wanted(image: Image) -> bool:
    """Is this image still to be fetched? One that has a file is kept; one with an error never came, or came damaged."""
    return image.file is None and image.error is None


def damaged(image: Image) -> bool:
    """Did this image come as bytes that can't be decoded? Its link is on record, to be asked once more."""
    return image.file is None and image.error is not None and image.url is not None


def dies_at(entry: Entry, image: Image, profile: Profile) -> float | None:
    """When the link of ``image`` dies, in Unix seconds: what the reply said, else the model's link life.

    None where nothing is known that it could be counted from.
    """
    if image.expires_at is not None:
        return image.expires_at
    begun = entry.since if entry.since is not None else entry.submitted_at
    return None if begun is None else begun + profile.link_life


def first_to_die(entry: Entry, profile: Profile) -> float | None:
    """When the first link of an unfetched image dies, in Unix seconds; None if there is none to lose.

    A task that was accepted and not yet seen to be done counts from its submission: its images may be there already.
    """
    if entry.state is State.ACCEPTED:
        return None if entry.submitted_at is None else entry.submitted_at + profile.link_life
    if entry.state is not State.COMPLETED:
        return None
    known = (dies_at(entry, image, profile) for image in entry.images if wanted(image))
    return min((at for at in known if at is not None), default=None)


def time_left(entry: Entry, now: float, profile: Profile) -> float | None:
    """Seconds until the first unfetched image is lost, negative if it is; None if there is none to lose."""
    dies = first_to_die(entry, profile)
    return None if dies is None else dies - now


def expiring(entries: Iterable[Entry], *, now: float, within: float, profile: Profile) -> Iterator[Entry]:
    """Those of which a link dies within so many seconds, or has died: what ``--expiring 6h`` selects."""
    for entry in entries:
        left = time_left(entry, now, profile)
        if left is not None and left <= within:
            yield entry
