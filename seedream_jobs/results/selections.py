"""This module keeps which images were chosen and rejected, in ``selections/<job>.yaml``, and finds what is not chosen.

Called by ``cli.choose``, ``status --require-chosen``, the gallery, ``export`` and the pipeline. Invariants: a choice is
about an image's bytes, and names whoever made it; one person's rejection stands until they take it back; nothing here
buys or refunds anything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple
from unicodedata import normalize

from seedream_jobs.atomic_file import update_file
from seedream_jobs.diagnostics import plural
from seedream_jobs.errors import UsageError
from seedream_jobs.expand.expansion import Expansion, Place
from seedream_jobs.job.document import spoken
from seedream_jobs.job.files import Files, WorkTree
from seedream_jobs.ledger.manifest import Entries
from seedream_jobs.plans.load import Job
from seedream_jobs.plans.policy import Policy, approvals_of
from seedream_jobs.plans.revisions import prompt_authors
from seedream_jobs.records import Record
from seedream_jobs.results.ratings import (
    IMAGE,
    TEXT,
    AppliedExport,
    Field,
    list_items,
    opinions_file,
    opinions_text,
    read_export,
    read_opinions,
)

SELECTIONS = "selections"
"""The folder of selections, below the campaign's root."""

NAMED = 5
"""Choices that are left out, of which so many are named."""

Said = Literal["chosen", "rejected"]
_WORDS: tuple[Said, Said] = ("chosen", "rejected")
_DIGEST = "sha256:"


class PersonalChoice(NamedTuple):
    """What one person said of an image, and the address that it had then."""

    said: Said
    address: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What all together say of an image: rejected if anybody rejects it, else chosen.

    :param by: who says so, in alphabetical order
    :param why: their reasons, in that order
    """

    said: Said
    by: tuple[str, ...]
    why: str


@dataclass(slots=True, kw_only=True)
class Selection:
    """The choices of a job.

    :param words: (sha256, person) to their last word
    """

    words: dict[tuple[str, str], PersonalChoice] = field(default_factory=dict)

    def verdicts(self) -> dict[str, Verdict]:
        """What all together say of each image, by its sha256."""
        said: dict[str, list[tuple[str, PersonalChoice]]] = {}
        for (sha256, person), word in sorted(self.words.items()):
            said.setdefault(sha256, []).append((person, word))
        found = {}
        for sha256, all_words in said.items():
            said_of: Said = "rejected" if any(word.said == "rejected" for _, word in all_words) else "chosen"
            words = [(person, word) for person, word in all_words if word.said == said_of]
            why = "; ".join(dict.fromkeys(word.why for _, word in words if word.why))
            found[sha256] = Verdict(said=said_of, by=tuple(person for person, _ in words), why=why)
        return found


# -- the file ----------------------------------------------------------------------------------------------------------

_ENTRY = {
    "address": TEXT,
    "image": IMAGE,
    "by": Field(
        test=lambda value: (
            isinstance(value, list) and bool(value) and all(isinstance(name, str) and name.strip() for name in value)
        ),
        words="a list of names, such as [Ana]",
    ),
    "why": TEXT,
}


def read_selection(files: Files, job: str, *, root: Path) -> Selection | None:
    """The choices of a job; None where there is no file of them.

    :param job: the job's name
    :param root: the campaign's
    :raises FindingsError: for a file that is not a selection
    :raises UsageError: it can't be read
    """
    document = read_opinions(files, SELECTIONS, job, root=root, versions=(1,))
    if document is None:
        return None
    selection = Selection()
    for said in _WORDS:  # in this order: of a person in both lists the rejection counts
        for item in list_items(document, said, _ENTRY, needs=("address", "image", "by")):
            for person in item["by"]:
                word = PersonalChoice(said, item["address"], item.get("why", ""))
                selection.words[item["image"].removeprefix(_DIGEST), " ".join(person.split())] = word
    return selection


def _selection_text(job: str, selection: Selection) -> str:
    """The selection as YAML, sorted by address. People who gave the same reason share an entry."""
    by: dict[tuple[Said, str, str, str], list[str]] = {}
    for (sha256, person), word in sorted(selection.words.items()):
        by.setdefault((word.said, word.address, sha256, word.why), []).append(person)
    entries: dict[str, list[dict[str, Any]]] = {said: [] for said in _WORDS}
    for (said, address, sha256, why), people in sorted(by.items()):
        entry = {"address": address, "image": _DIGEST + sha256, "by": people, **({"why": why} if why else {})}
        entries[said].append(entry)
    comment = f"The images of {job} that were chosen. Merged by: seedream-jobs choose JOB ratings.json"
    return opinions_text(comment, {"version": 1, "job": job, **entries})


# -- choosing ----------------------------------------------------------------------------------------------------------


def apply_choices(ratings: bytes, record: Record, entries: Entries) -> AppliedExport:
    """Merge the choices of one exported ``ratings.json`` into the campaign's selection of its job.

    A person's later word replaces their earlier one: on the same image, and where one image is chosen per group, on
    another image of the group.

    :raises UsageError: for an export that is not what it should be, or of another job; nothing is written then
    :raises FindingsError: for a selection that is none
    :raises OSError: as the file system does
    """
    export = read_export(ratings)
    if export.job != record.name:
        raise UsageError(f"the export is of {export.job!r}, not of {record.name!r}", hint="name its own job")
    if not export.choices:
        raise UsageError("the export has no choices", hint="choose or reject images in the gallery, then export again")
    if not export.reviewer:
        hint = "give your name where the gallery exports the ratings, and export again"
        raise UsageError("the export names no reviewer, and a choice is somebody's", hint=hint)
    file = opinions_file(record.root, SELECTIONS, record.name)
    selection = read_selection(WorkTree(record.root), record.name, root=record.root) or Selection()
    groups = _Groups.of(record.job, entries)
    gone: list[str] = []
    new: dict[str, PersonalChoice] = {}
    for choice in export.choices:
        sha256, said = choice["sha256"], choice["verdict"]
        if said is None:
            selection.words.pop((sha256, export.reviewer), None)
        elif sha256 not in groups.of_image:
            gone.append(choice["address"])
        else:
            new[sha256] = PersonalChoice(said, choice["address"], choice.get("why", "").strip())
    chosen_in = {group for sha256, word in new.items() if word.said == "chosen" for group in groups.of_image[sha256]}
    for (sha256, person), word in list(selection.words.items()):
        earlier = person == export.reviewer and word.said == "chosen" and sha256 not in new
        if earlier and chosen_in & groups.find(sha256, word.address):
            del selection.words[sha256, person]
    selection.words.update({(sha256, export.reviewer): word for sha256, word in new.items()})
    update_file(file, _selection_text(record.name, selection).encode())
    notes = []
    if gone:
        named = ", ".join(gone[:NAMED]) + (" …" if len(gone) > NAMED else "")
        notes.append(f"{plural(len(gone), 'choice')} left out, whose image is not on record any more: {named}")
    return AppliedExport(file=file, notes=tuple(notes))


@dataclass(slots=True, kw_only=True)
class _Groups:
    """The groups of a job in which one image is chosen, in the job's order.

    Without ``select:`` in the job, or without its file, an image is in no group.

    :ivar images: of each group, by their digests, with their requests' addresses
    :ivar of_image: the groups that an image is in
    :ivar of_address: the group that a request is in
    """

    images: dict[str, dict[str, str]] = field(default_factory=dict)
    of_image: dict[str, set[str]] = field(default_factory=dict)
    of_address: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, job: Job | None, entries: Entries) -> _Groups:
        groups = cls()
        if job is None:
            groups.of_image = {image: set() for key in entries for image in stored_images(entries, key)}
            return groups
        for place in job.expansion.places():
            images = [(image, groups.of_image.setdefault(image, set())) for image in stored_images(entries, place.key)]
            if (name := group_of(job.expansion, place)) is None:
                continue
            address = job.expansion.builder.address(place.cell, place.repeat)
            groups.of_address[address] = name
            group = groups.images.setdefault(name, {})
            for image, names in images:
                group.setdefault(image, address)
                names.add(name)
        return groups

    def find(self, sha256: str, address: str) -> set[str]:
        """The groups of an image, of one that is gone by the address that it had."""
        if sha256 in self.of_image:
            return self.of_image[sha256]
        return {self.of_address[address]} if address in self.of_address else set()


def stored_images(entries: Entries, key: str) -> list[str]:
    """The digests of the images that a request has now."""
    entry = entries.entry_of(key)
    return [] if entry is None else [sha256 for image in entry.images if (sha256 := image.stored_sha256)]


def group_of(expansion: Expansion, place: Place) -> str | None:
    """The group that a request is in, as ``select:`` makes them: ``subject=a heron, size=16:9``; None without it."""
    rule = expansion.spec.select
    if rule is None:
        return None
    labels = expansion.matrix.labels(place.cell)
    return ", ".join(f"{name}={spoken(labels[name]) if name in labels else '–'}" for name in rule.one_per) or "the job"


# -- what is not chosen ------------------------------------------------------------------------------------------------


def find_unchosen(job: Job, entries: Entries, policy: Policy | None) -> list[tuple[str, str]]:
    """The groups of a job without their one chosen image, in the job's order, and what is wrong with each.

    There are none where the job has no ``select:``.

    :param policy: what holds for the campaign: how many approvals it asks for, and whether one's own counts
    :raises FindingsError: the selection is not what it should be
    :raises UsageError: git can't say who changed the prompt last, and the policy asks
    """
    spec = job.expansion.spec
    if spec.select is None:
        return []
    selection = read_selection(WorkTree(spec.root), spec.name, root=spec.root) or Selection()
    needed = approvals_of(policy, spec)
    forbidden = policy is not None and policy.own_forbidden
    own = frozenset(map(folded_name, prompt_authors(spec))) if forbidden else frozenset()
    verdicts = selection.verdicts()
    groups = _Groups.of(job, entries)
    gone: dict[str, list[str]] = {}
    for (sha256, _), word in sorted(selection.words.items()):
        if word.said == "chosen" and sha256 not in groups.of_image and word.address in groups.of_address:
            named = f"{word.address} ({_DIGEST}{sha256[:12]}…)"
            gone.setdefault(groups.of_address[word.address], []).append(named)
    found = (
        (name, _what_is_wrong(images, gone.get(name, ()), verdicts, needed, own))
        for name, images in groups.images.items()
    )
    return [(name, why) for name, why in found if why is not None]


def _what_is_wrong(
    images: Mapping[str, str], gone: Sequence[str], verdicts: Mapping[str, Verdict], needed: int, own: frozenset[str]
) -> str | None:
    """What keeps a group of images from having its one chosen image.

    :param images: their digests, with their requests' addresses
    :param gone: the chosen ones that are not there any more
    """
    chosen = [image for image in images if image in verdicts and verdicts[image].said == "chosen"]
    if len(chosen) > 1:
        return f"{len(chosen)} images are chosen: {', '.join(images[image] for image in chosen)}"
    if not chosen:
        if gone:
            return f"the chosen image is no longer there: {', '.join(dict.fromkeys(gone))}"
        return "no image is chosen" if images else "there is no image yet"
    by = verdicts[chosen[0]].by
    counted = [person for person in by if folded_name(person) not in own]
    approvals = len(set(map(folded_name, counted)))  # "Ana" and "ana" are one person
    if approvals >= needed:
        return None
    others = [person for person in by if person not in counted]
    note = f"; {', '.join(others)} changed the prompt last, and may not choose their own" if others else ""
    return f"{approvals} of {plural(needed, 'approval')} for {images[chosen[0]]}{note}"


def folded_name(name: str) -> str:
    """A name as it is compared with others."""
    return " ".join(normalize("NFKC", name).casefold().split())


def rejected_keys(job: Job, entries: Entries) -> frozenset[str] | None:
    """The requests of a job of which every image is rejected; None where the job has no selection.

    :raises FindingsError: the selection is not what it should be
    """
    spec = job.expansion.spec
    selection = read_selection(spec.files, spec.name, root=spec.root)
    if selection is None:
        return None
    rejected = {sha256 for sha256, verdict in selection.verdicts().items() if verdict.said == "rejected"}
    return frozenset(
        key
        for key in (entries if rejected else ())
        if (images := stored_images(entries, key)) and rejected >= set(images)
    )
