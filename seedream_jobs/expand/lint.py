"""This module looks for what is allowed in a job and probably not meant: warnings whose codes can be silenced.

Called by ``load_job`` for a job without errors. ``lint: {ignore: [code]}`` in the job file, or ``--ignore CODE``,
silences a code of ``diagnostics.LINT_CODES``. Invariant: a job of a million requests is no slower by it, since at most
``MAX_PROMPTS`` prompts, and each text once, are looked at.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from itertools import chain, islice
from pathlib import PurePosixPath
from typing import Any, NamedTuple
from unicodedata import name as unicode_name

from seedream_jobs.characters import INVISIBLE, RIGHT_TO_LEFT
from seedream_jobs.diagnostics import Diagnostic, in_order, plural
from seedream_jobs.expand.expansion import Expansion, origin, prompts, read_by_prompt
from seedream_jobs.expand.identity import max_images
from seedream_jobs.expand.matrix import Cell
from seedream_jobs.inside import find_misread
from seedream_jobs.job.axes import PARAMETERS, Axis
from seedream_jobs.job.document import DocumentPath, spoken
from seedream_jobs.job.spec import JobSpec
from seedream_jobs.job.template import TemplateProblem
from seedream_jobs.model_profile import Profile

MAX_PROMPTS = 10_000
"""How many prompts are looked at."""
MAX_PER_CODE = 5
"""How many findings of one code are reported for one job."""

# Findings of these codes differ by their value, though the values of a file all stand at one place of the job file.
_OF_VALUES = ("ambiguous-scalar", "invisible-character", "line-break", "value-not-shown")
_MODE = ("n", "sequential_image_generation", "sequential_image_generation_options")


def lint(expansion: Expansion, ignore: Collection[str] = ()) -> tuple[Diagnostic, ...]:
    """The lint warnings of a job that passed ``Expansion.check``, in order.

    :param ignore: codes that are silenced, beside those the job file silences itself
    """
    silent = {*ignore, *expansion.spec.document.data.get("lint", {}).get("ignore", ())}
    found = (finding for rule in _RULES for finding in rule(expansion) if finding.code not in silent)
    return in_order(_few(found))


def _few(findings: Iterable[Diagnostic]) -> Iterator[Diagnostic]:
    """At most ``MAX_PER_CODE`` of each code; the same place once, though the values of a file share one."""
    seen: set[tuple[Any, ...]] = set()
    counts: dict[str, int] = {}
    for finding in findings:
        place = (finding.code, finding.span, finding.message if finding.code in _OF_VALUES else "")
        if place in seen:
            continue
        seen.add(place)
        counts[finding.code] = counts.get(finding.code, 0) + 1
        if counts[finding.code] <= MAX_PER_CODE:
            yield finding


def _warning(
    spec: JobSpec, code: str, message: str, path: DocumentPath, hint: str | None = None, *, key: bool = False
) -> Diagnostic:
    return spec.document.finding(code, message, path, key=key, severity="warning", hint=hint)


# -- axes --------------------------------------------------------------------------------------------------------------


def _unused_axes(expansion: Expansion) -> Iterator[Diagnostic]:
    """Axes that change no request: nothing that is sent reads them."""
    spec = expansion.spec
    sent = {name for template in (spec.prompt, *(spec.image_urls or ())) if template for name in template.names}
    sent |= {*PARAMETERS, "prompt"}
    readers = {
        "output.name": spec.output_name.names if spec.output_name else frozenset(),
        "where": spec.where.names if spec.where else frozenset(),
        "exclude": {name for pattern in spec.exclude for axis, _ in pattern.fits for name in spec.axes[axis].names},
    }
    for axis in spec.axes:
        for name in axis.names:
            elsewhere = [reader for reader, names in readers.items() if name in names]
            # A zip's other name changes requests already, so that one more name for the files multiplies nothing.
            if name in sent or (elsewhere and len(axis.names) > 1):
                continue
            if elsewhere:
                message = f"the axis {name!r} changes no request: only {' and '.join(elsewhere)} reads it"
                hint = "requests that are equal are submitted once; for more copies of one write repeat"
            else:
                values = f"{len(axis.values)} value{'' if len(axis.values) == 1 else 's'}"
                message = f"nothing reads the axis {name!r}"
                hint = f"write {{{{ {name} }}}} in the prompt, or remove the axis ({values})"
            yield _warning(spec, "unused-axis", message, axis.name_path(name), hint, key=True)


def _values_not_shown(expansion: Expansion) -> Iterator[Diagnostic]:
    """Axis values of which nothing is left in any prompt, though other values of the axis show."""
    spec = expansion.spec
    segments = [segment for segment in spec.prompt.segments if segment.evaluate] if spec.prompt else []
    constants = set(spec.vars)
    for axis, living in zip(spec.axes, expansion.matrix.living, strict=True):
        names = set(axis.names)
        mine = [segment for segment in segments if segment.names & names]
        if not mine or any(segment.names - names - constants for segment in mine):
            continue  # what reads several axes may show a value in some combinations only
        # A value that a filter drops from all combinations need not fit the template.
        contexts = ((number, _context(spec, axis, number)) for number in sorted(living))
        shows = {number: any(part.render(context).strip() for part in mine) for number, context in contexts}
        blank = [number for number, shown in shows.items() if not shown] if any(shows.values()) else []
        for number in blank[: MAX_PER_CODE + 1]:
            name, value = axis.names[0], axis.values[number]
            message = (
                f"{axis.place(name, number)}no prompt shows the value {spoken(value.labels[0])!r} of the axis {name!r}"
            )
            hint = "the template gives nothing for it: a missing branch, or an empty text"
            yield _warning(spec, "value-not-shown", message, value.path, hint)


def _context(spec: JobSpec, axis: Axis, number: int) -> dict[str, Any]:
    """The variables, and the names that an axis binds by one of its values."""
    return {**spec.vars, **dict(zip(axis.names, axis.values[number].bindings, strict=True))}


def _fullwidth_commas(expansion: Expansion) -> Iterator[Diagnostic]:
    """``[春天，秋天]``: one value, where YAML wants a half-width comma between two."""
    document = expansion.spec.document
    for axis in expansion.spec.axes:
        for position, name in enumerate(axis.names):
            path, value = axis.values[0].paths[position], axis.values[0].bindings[position]
            if name == "prompt" or len(axis.values) > 1 or not isinstance(value, str) or not re.search("[，、]", value):
                continue
            at = document.span(path[:-1]).start.offset
            if path[-1:] == (0,) and document.text[at : at + 1] == "[" and document.scalar_style(path) == "plain":
                message = f"the axis {name!r} has one value: in YAML only a half-width comma parts two"
                hint = "write [a, b]; if it is one text, put it in quotes"
                yield _warning(expansion.spec, "fullwidth-comma", message, path, hint)


def _misread_names(expansion: Expansion) -> Iterator[Diagnostic]:
    """Names of files that another system, or a shell, reads as something else."""
    spec = expansion.spec
    job = PurePosixPath(spec.document.path).name
    if (misread := find_misread(job)) is not None:
        yield _warning(spec, "misread-name", f"the job file's name {job!r} {misread}", (), "rename it with its record")
    for axis in spec.axes:
        for name in axis.names:
            file = axis.file(name)
            if file is None:
                continue
            for part in PurePosixPath(file.path).parts:
                if part != ".." and (misread := find_misread(part)) is not None:
                    message = f"{file.path!r}: {part!r} {misread}"
                    yield _warning(spec, "misread-name", message, axis.name_path(name), "rename the file", key=True)


# -- parameters --------------------------------------------------------------------------------------------------------


def _modes(expansion: Expansion) -> Iterator[Diagnostic]:
    """``n`` against ``sequential_image_generation``, for each distinct set of parameters."""
    spec, matrix = expansion.spec, expansion.matrix
    for cell in islice(expansion.parameter_cells(), MAX_PROMPTS):
        problem = contradiction(expansion.builder.parameters(cell))
        if problem is not None:
            by_cell = filter(None, (matrix.path_of(cell, name) for name in _MODE))
            for_all = (("request", name) for name in reversed(_MODE) if name in spec.parameters)
            path: DocumentPath = next(chain(by_cell, for_all), ("request",))
            if path[:2] == ("matrix", "include"):
                path = path[:3]  # the whole item: its parts contradict each other, or the request
            yield _warning(spec, "n-against-sequential", problem, path)


def contradiction(parameters: Mapping[str, Any]) -> str | None:
    """How ``n`` and ``sequential_image_generation`` contradict each other in one set of parameters, or None.

    The page: ``n`` above 1 makes it ``auto`` by itself. With ``auto`` and without ``max_images`` the model decides how
    many images it makes and charges, up to a sum of images and references.

    :param parameters: as they are sent, references included
    """
    n, mode = parameters.get("n"), parameters.get("sequential_image_generation")
    options = parameters.get("sequential_image_generation_options") or {}
    most = options.get("max_images")
    if isinstance(n, int) and n > 1 and mode == "disabled":
        return f"n: {n} sets sequential_image_generation to auto by itself: 'disabled' is not what happens"
    if n == 1 and mode == "auto" and most is None:
        made = plural(max_images(parameters), "image")
        return f"n: 1 does not bound 'auto': without max_images up to {made} are made and charged"
    if isinstance(n, int) and isinstance(most, int) and n > 1 and most < n:
        return f"max_images: {most} is less than n: {n}, which is charged in advance"
    return None


# -- rendered prompts --------------------------------------------------------------------------------------------------


_BRACES = re.compile(r"\{\{|\}\}|\{%|%\}")
_DOUBLED = re.compile(r"(?<=\S)[ \t\u00a0]{2,}(?=\S)")


class PromptFault(NamedTuple):
    """What is odd in a prompt's text: the characters ``start`` to ``end``, a sentence, and the next step."""

    start: int
    end: int
    message: str
    hint: str


def _leftover_braces(text: str, profile: Profile) -> PromptFault | None:
    found = _BRACES.search(text)
    hint = "values of axes and vars are data and never rendered: write the placeholder in the prompt itself"
    return found and PromptFault(*found.span(), f"the rendered prompt still holds {found.group()!r}", hint)


def _doubled_spaces(text: str, profile: Profile) -> PromptFault | None:
    found = _DOUBLED.search(text)
    hint = "an empty value leaves its spaces behind: {% if x %}, {{ x }}{% endif %}, or | oneline"
    return found and PromptFault(*found.span(), "the rendered prompt has doubled spaces", hint)


def _too_long(text: str, profile: Profile) -> PromptFault | None:
    advised = profile.advised_prompt
    if advised is None or len(text) <= min(advised.words, advised.han):  # most prompts need no counting
        return None
    han = len(re.findall(_HAN, text))
    words = len(re.sub(_HAN, " ", text).split())
    if han <= advised.han and words <= advised.words:
        return None
    size = f"{han} Chinese characters" if han > advised.han else f"{words} words"
    message = (
        f"a prompt has {size}: the model's maker advises at most {advised.han} characters or {advised.words} words"
    )
    hint = "a longer prompt is sent and paid all the same; details at its end may be lost"
    return PromptFault(0, len(text), message, hint)


_PROMPT_RULES = {"leftover-braces": _leftover_braces, "doubled-spaces": _doubled_spaces, "long-prompt": _too_long}


def faults(text: str, profile: Profile) -> dict[str, PromptFault]:
    """What is odd in a rendered prompt: by its code, at its first place."""
    return {code: fault for code, rule in _PROMPT_RULES.items() if (fault := rule(text, profile)) is not None}


def _prompts(expansion: Expansion) -> Iterator[Diagnostic]:
    """What is odd in the rendered prompts, and prompts that several combinations share."""
    first: dict[str, Cell] = {}
    # Combinations that differ only in what the prompt does not read, such as the size, share it on purpose.
    names = sorted(name for name in read_by_prompt(expansion) if expansion.spec.axis_of(name))
    try:
        for cell, text in islice(prompts(expansion), MAX_PROMPTS):
            for code, fault in faults(text, expansion.spec.profile).items():
                yield _fault(expansion, cell, code, fault)
            known = first.setdefault(text, cell)
            if known is not cell and _differ(expansion, names, known, cell):
                yield _identical(expansion, known, cell)
    except TemplateProblem:
        return  # the stream of requests reports it with its place


def _differ(expansion: Expansion, names: list[str], first: Cell, second: Cell) -> bool:
    """Whether two cells differ in something the prompt reads."""
    ours, theirs = expansion.matrix.bindings(first), expansion.matrix.bindings(second)
    return [ours.get(name) for name in names] != [theirs.get(name) for name in names]


def _fault(expansion: Expansion, cell: Cell, code: str, fault: PromptFault) -> Diagnostic:
    def find(text: str) -> tuple[int, int] | None:
        found = _PROMPT_RULES[code](text, expansion.spec.profile)
        return None if found is None else (found.start, found.end)

    path, span = origin(expansion, cell, find)
    finding = _warning(expansion.spec, code, fault.message, path, fault.hint)
    if span is not None:
        return replace(finding, span=span)
    return replace(finding, message=f"{fault.message} (at {expansion.builder.address(cell, 1)})")


def _identical(expansion: Expansion, first: Cell, second: Cell) -> Diagnostic:
    ours, theirs = expansion.matrix.labels(first), expansion.matrix.labels(second)
    names = [name for name in theirs if ours.get(name) != theirs[name]]
    spec = expansion.spec
    path: DocumentPath = ("request", "prompt") if spec.prompt else ("matrix",)
    if names and (place := spec.axis_of(names[-1])) and second.choice is not None:
        path = spec.axes[place[0]].values[second.choice[place[0]]].path
    message = f"{expansion.builder.address(first, 1)} and {expansion.builder.address(second, 1)} have the same prompt"
    hint = "the template drops what tells them apart; for more copies of one request write repeat"
    return _warning(spec, "identical-prompts", message, path, hint)


# -- characters that nobody sees ---------------------------------------------------------------------------------------


# Such characters come with text from web pages, word processors and terminals; they are sent, and paid for.

UNSEEN = (
    # A flag of a region is one match, so that its tags are not met alone.
    f"\U0001f3f4[\U000e0020-\U000e007e]+\U000e007f|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\ufffc{INVISIBLE}]"
)
_JOINING = (
    "[\u0590-\u109f\u1700-\u1cff\ua800-\uabff\ufb1d-\ufdff\ufe70-\ufefc\U00010a00-\U00011fff\U0001e900-\U0001e95f]"
)
_UNSPACED = "[\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u1900-\u1aaf\ua980-\uaaff]"
_EMOJI = "[\u2190-\u2bff\u3030\u303d\u3297\u3299\ufe0f\U0001f000-\U0001faff]"
_VARIED = "[#*0-9\xa9\xae\u1000-\u1fff\u203c\u2049\u2070-\ufdff\uff01-\uffef\U00010000-\U0003ffff]"
_HAN = "[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
_NOTHING = "(?!)"
_DIRECTIONS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u2066\u2067\u2068\u2069")


def unseen(text: str, *, right_to_left: bool = False) -> Iterator[int]:
    """The offsets of the characters that nobody sees and no script has a use for where they stand.

    Joiners belong to Arabic, Persian and Indic words and to emoji, the space of no width to Thai and Khmer, direction
    marks to what is written from the right, variation selectors to the emoji or character before them.

    :param right_to_left: whether what surrounds the text is written from the right
    """
    if text.isascii() and text.isprintable():
        return
    for match in re.finditer(UNSEEN, text):
        at = match.start()
        if len(match.group()) == 1 and not _needed(text, at, right_to_left):
            yield at


def _is_right_to_left(text: str) -> bool:
    return not text.isascii() and re.search(RIGHT_TO_LEFT, text) is not None


def _named(character: str) -> str:
    """``U+200B (zero width space)``."""
    control = ord(character) < 32 or 127 <= ord(character) < 160
    said = "a control character" if control else unicode_name(character, "no character of its own").lower()
    return f"U+{ord(character):04X} ({said})"


# Some characters, and beside which one a script needs them: in front of them, or behind them.
_NEEDED_BESIDE = (
    ("[\u034f\u200c\u200d]", _JOINING, _JOINING),
    ("[\u17b4\u17b5\u200b]", _UNSPACED, _UNSPACED),
    ("\u2800", "[\u2801-\u28ff]", "[\u2801-\u28ff]"),
    ("[\U0001d173-\U0001d17a]", "[\U0001d100-\U0001d1ff]", "[\U0001d100-\U0001d1ff]"),
    ("[\ufe00-\ufe0f]", _VARIED, _NOTHING),
    ("[\U000e0100-\U000e01ef]", _HAN, _NOTHING),
    ("[\u180b-\u180f]", "[\u1800-\u18af]", _NOTHING),
    ("[\u115f\u1160]", "[\u1100-\u11ff]", "[\u1100-\u11ff]"),
)


def _needed(text: str, at: int, right_to_left: bool) -> bool:
    character, before, after = text[at], text[at - 1 : at] if at else "", text[at + 1 : at + 2]
    if character in _DIRECTIONS:
        return right_to_left or _is_right_to_left(text)
    if character == "\u200d" and _is(_EMOJI, before) and _is(_EMOJI, after):  # several emoji that are drawn as one
        return True
    return any(
        _is(characters, character) and (_is(in_front, before) or _is(behind, after))
        for characters, in_front, behind in _NEEDED_BESIDE
    )


def _is(characters: str, one: str) -> bool:
    return bool(one) and re.match(characters, one) is not None


# -- the texts that prompts are made of --------------------------------------------------------------------------------


_ODD = f"{UNSEEN}|\\A\\s*[“”„‟＂‘’‚‛]|[\\n\\r]\\Z"
_QUOTED = re.compile("[“”„‟＂][^“”„‟＂]*[“”„‟＂]|[‘’‚‛][^‘’‚‛]*[‘’‚‛]")


class Leaf(NamedTuple):
    """A scalar that prompts read: of an axis (``axis``, and the number of its value), or of none."""

    value: Any
    path: DocumentPath
    name: str
    axis: Axis | None = None
    number: int = 0

    @property
    def in_file(self) -> bool:
        return self.axis is not None and self.axis.file(self.name) is not None

    @property
    def place(self) -> str:
        """``prompts.csv:3: `` for a value of a file."""
        return "" if self.axis is None else self.axis.place(self.name, self.number)


def _odd_texts(expansion: Expansion) -> Iterator[Diagnostic]:
    """What nobody sees, line breaks in mid-sentence, quotes that are none, numbers that are written otherwise."""
    texts = _Texts(expansion)
    yield from texts.of_template()
    rules: tuple[Callable[[Leaf], Diagnostic | None], ...] = (
        texts.invisible_character,
        texts.line_break,
        texts.smart_quotes,
        texts.ambiguous_number,
    )
    counts = dict.fromkeys(rules, 0)
    for leaf in texts.leaves():
        for rule in rules:
            if counts[rule] <= MAX_PER_CODE and (finding := rule(leaf)) is not None:
                counts[rule] += 1
                yield finding


class _Texts:
    """The leaves of a job's variables, axes and includes that its prompts read, and what may be odd in each."""

    def __init__(self, expansion: Expansion) -> None:
        self.spec: JobSpec = expansion.spec
        self.names = read_by_prompt(expansion)
        self.source = self.spec.prompt.source if self.spec.prompt else ""
        self.segments = self.spec.prompt.segments if self.spec.prompt else ()

    def leaves(self) -> Iterator[Leaf]:
        spec, is_odd = self.spec, re.compile(_ODD).search
        for name, value in spec.vars.items():
            if name in self.names and name not in spec.sets:
                yield from _leaves(Leaf(value, ("vars", name), name))
        for axis in spec.axes:
            for position, name in enumerate(axis.names):
                if name not in self.names:
                    continue
                for index, one in enumerate(axis.values):
                    value = one.bindings[position]
                    # Of a million texts few are odd, and this test is far cheaper than the rules.
                    if isinstance(value, str) and ((value.isascii() and value.isprintable()) or not is_odd(value)):
                        continue
                    yield from _leaves(Leaf(value, one.paths[position], name, axis, index))
        for include in spec.include:
            for name, value in include.bindings.items():
                if name in self.names:
                    yield from _leaves(Leaf(value, (*include.path, name), name))

    def of_template(self) -> Iterator[Diagnostic]:
        """The template's own text, and numbers given by ``--set``."""
        if self.spec.prompt is None:
            return
        for name, text in self.spec.sets.items():
            value = self.spec.vars[name]
            if name in self.names and isinstance(value, int | float) and str(value) != text != str(value).lower():
                message = f"--set {name}={text[:40]}: the number is {value} in the prompt"
                yield _warning(self.spec, "ambiguous-scalar", message, ("vars", name), "quote the variable's value")
        leaf = Leaf(self.source, ("request", "prompt"), "prompt")
        yield from filter(None, (self.invisible_character(leaf), self.smart_quotes(leaf)))

    # -- rules -----------------------------------------------------------------------------------------------------

    def invisible_character(self, leaf: Leaf) -> Diagnostic | None:
        """The first character of a text that nobody sees."""
        if not isinstance(leaf.value, str):
            return None
        for at in unseen(leaf.value):
            if not self.is_right_to_left or at in set(unseen(leaf.value, right_to_left=True)):
                message = f"{leaf.place}{_short(leaf.value, at)} holds {_named(leaf.value[at])}"
                hint = "remove it: nobody sees it, and it is sent and paid as part of the prompt"
                finding = self._finding("invisible-character", message, leaf, hint)
                span = None if leaf.in_file else self.spec.document.text_span(leaf.path, at, at + 1)
                return finding if span is None else replace(finding, span=span)
        return None

    def line_break(self, leaf: Leaf) -> Diagnostic | None:
        """A value that ends with a line break, which then stands in mid-sentence: a ``|`` block writes one."""
        if not isinstance(leaf.value, str) or not leaf.value.endswith(("\n", "\r")) or not self._goes_on(leaf):
            return None
        message = f"{leaf.place}{_short(leaf.value, 0)} ends with a line break, and the prompt goes on after it"
        hint = f"write it below |- or in quotes, or {{{{ {leaf.name} | trim }}}} in the prompt"
        return self._finding("line-break", message, leaf, hint)

    def smart_quotes(self, leaf: Leaf) -> Diagnostic | None:
        """A plain value between the quotes of a word processor, which YAML takes for a part of the text."""
        document = self.spec.document
        if not isinstance(leaf.value, str) or not _QUOTED.fullmatch(leaf.value.strip()):
            return None
        if not document.exists(leaf.path) or document.scalar_style(leaf.path) != "plain":
            return None
        message = f"the quotes of {_short(leaf.value, 0)} are part of the text: YAML's own are \" and '"
        hint = f'write "{leaf.value.strip()[1:-1][:40]}", or quote the whole if the model is to see these quotes'
        return self._finding("smart-quotes", message, leaf, hint)

    def ambiguous_number(self, leaf: Leaf) -> Diagnostic | None:
        """A number that a prompt shows otherwise than it is written: ``3.10`` is 3.1, ``1e3`` is 1000.0."""
        if isinstance(leaf.value, bool) or not isinstance(leaf.value, int | float) or not self._is_read(leaf):
            return None
        written = self._written(leaf)
        if written is None or written == str(leaf.value):
            return None
        if any(written in (self._rendered(leaf, number) or "") for number in range(len(self.segments))):
            return None  # a filter formats it as it is written
        message = f"{leaf.place}the number {written[:40]} is {leaf.value} in the prompt"
        hint = (
            "leave the column's type out (types:), or write it as text" if leaf.place else f'quote it: "{written[:40]}"'
        )
        return self._finding("ambiguous-scalar", message, leaf, hint)

    # -- what the rules ask ----------------------------------------------------------------------------------------

    def _finding(self, code: str, message: str, leaf: Leaf, hint: str) -> Diagnostic:
        path = leaf.path
        if leaf.axis is not None and leaf.in_file:
            path = (*leaf.axis.name_path(leaf.name), "from")
        return _warning(self.spec, code, message, path, hint)

    @cached_property
    def is_right_to_left(self) -> bool:
        """Whether anything that prompts read is written from the right; asked only once a mark for it was met."""
        values = (one.bindings for axis in self.spec.axes for one in axis.values)
        return _is_right_to_left(self.source) or any(_is_right_to_left(str(value)) for value in values)

    def _goes_on(self, leaf: Leaf) -> bool:
        """Whether more of the prompt follows a value on what should be its line."""
        for number in range(len(self.segments)):
            rendered = self._rendered(leaf, number)
            if rendered is not None and rendered.endswith(("\n", "\r")):
                rest = self.segments[number + 1 :]
                said = next((part.text for part in rest if part.evaluate or part.text), "")
                ended = all(part.evaluate is None and not part.text.strip() for part in rest)
                if not ended and not said.lstrip(" \t").startswith(("\n", "\r")):
                    return True
        return False

    def _rendered(self, leaf: Leaf, number: int) -> str | None:
        """The text of a segment of the prompt for a leaf's value; None where it reads anything else."""
        segment = self.segments[number]
        if segment.evaluate is None or leaf.name not in segment.names:
            return None
        context = _context(self.spec, leaf.axis, leaf.number) if leaf.axis is not None else self.spec.vars
        if segment.names - context.keys():
            return None
        try:
            return segment.evaluate(context)
        except TemplateProblem:
            return None

    def _is_read(self, leaf: Leaf) -> bool:
        """Whether the template names the field that a leaf is of; a number in an unread column changes nothing."""
        base = leaf.axis.values[leaf.number].paths[leaf.axis.names.index(leaf.name)] if leaf.axis else leaf.path[:2]
        fields = [part for part in leaf.path[len(base) :] if isinstance(part, str)]
        return all(re.search(rf"\b{re.escape(field)}\b", self.source) for field in fields)

    def _written(self, leaf: Leaf) -> str | None:
        """How a number is written, None where that is not known."""
        file = leaf.axis.file(leaf.name) if leaf.axis else None
        if leaf.axis and file:
            return file.written.get(leaf.number, {}).get(leaf.path[len(leaf.axis.name_path(leaf.name)) :])
        document = self.spec.document
        if not document.exists(leaf.path) or document.scalar_style(leaf.path) != "plain":
            return None
        span = document.span(leaf.path)
        text = document.text[span.start.offset : span.end.offset]
        return text if re.fullmatch(r"-?[0-9][0-9.eE+-]*", text) else None


def _leaves(leaf: Leaf) -> Iterator[Leaf]:
    value = leaf.value
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _leaves(leaf._replace(value=item, path=(*leaf.path, key)))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _leaves(leaf._replace(value=item, path=(*leaf.path, index)))
    else:
        yield leaf


def _short(text: str, at: int) -> str:
    """The part of a value around ``at``, for a message: without control characters and invisible ones."""
    begin = max(0, at - 20)
    shown = text[begin : begin + 40].strip()
    said = "".join(c if c.isprintable() and not 0xFE00 <= ord(c) <= 0xFE0F else "·" for c in shown)
    return f"'{'…' if begin else ''}{said}{'…' if begin + 40 < len(text) else ''}'"


_RULES: tuple[Callable[[Expansion], Iterator[Diagnostic]], ...] = (
    _unused_axes,
    _values_not_shown,
    _fullwidth_commas,
    _misread_names,
    _odd_texts,
    _modes,
    _prompts,
)
"""Every rule; each yields the findings of the codes it knows."""
