"""A checked job: everything a job file says, as values, with its templates compiled and its axis files read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from seedream_jobs.diagnostics import Diagnostic
from seedream_jobs.job.axis import Axis, DocumentPath
from seedream_jobs.job.condition import Condition
from seedream_jobs.job.document import Document
from seedream_jobs.job.files import Files
from seedream_jobs.job.template import Template
from seedream_jobs.profile import Profile

PARAMETERS = (
    "model",
    "size",
    "resolution",
    "n",
    "image_urls",
    "output_format",
    "sequential_image_generation",
    "sequential_image_generation_options",
    "watermark",
)
"""The request fields that an axis of the same name sets, beside ``prompt``."""

DEFAULT_MAX_REQUESTS = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Pattern:
    """A partial match over axes: for each axis it names, the indexes of the values that fit."""

    fits: tuple[tuple[int, frozenset[int]], ...]
    path: DocumentPath


@dataclass(frozen=True, slots=True, kw_only=True)
class Include:
    """One ``include`` item: what it must match, and what it adds.

    :param fits: as in ``Pattern``; None if one of its values is no value of its axis, so that it matches nothing
    :param bindings: every name it gives, with the value that templates see
    :param adds: the names it gives that are no axis
    """

    fits: tuple[tuple[int, frozenset[int]], ...] | None
    bindings: Mapping[str, Any]
    labels: Mapping[str, Any]
    adds: tuple[str, ...]
    path: DocumentPath


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A stable choice among the combinations: ``size`` of them by rank, or enough to cover every pair of values."""

    strategy: Literal["random", "pairwise"]
    size: int | None
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSpec:
    """A job file, checked.

    :param root: the campaign's root, absolute
    :param folder: the job file's folder, relative to the root
    :param parameters: request fields other than the prompt, typed, as the file gives them
    :param image_urls: templates of the references; None if the file gives none
    :param output_dir: relative to the job file's folder
    :param output_name: None for the default, address and key
    """

    document: Document
    root: Path
    folder: PurePosixPath
    files: Files
    name: str
    profile: Profile
    vars: Mapping[str, Any]
    sets: Mapping[str, str]
    parameters: Mapping[str, Any]
    extra: Mapping[str, Any]
    prompt: Template | None
    image_urls: tuple[Template, ...] | None
    axes: tuple[Axis, ...]
    exclude: tuple[Pattern, ...]
    include: tuple[Include, ...]
    where: Condition | None
    sample: Sample | None
    repeat: int
    max_requests: int
    budget_usd: Decimal | None
    output_dir: str
    output_name: Template | None
    warnings: tuple[Diagnostic, ...]

    def axis_of(self, name: str) -> tuple[int, int] | None:
        """Where a name is bound: (index of the axis, position among its names)."""
        for index, axis in enumerate(self.axes):
            if name in axis.names:
                return index, axis.names.index(name)
        return None
