"""What a running emulator holds: its settings, books, faults, clock, counts and the thread that draws."""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from random import Random

from seedream_jobs.emulator.books import Books, Charge
from seedream_jobs.emulator.faults import Faults
from seedream_jobs.emulator.pictures import Painter, Picture, ai_label, comment, plain
from seedream_jobs.emulator.settings import Settings
from seedream_jobs.model_profile import DEFAULT_MODEL, Profile, profiles

_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_RENDERED_BYTES = 32 << 20
_UNPRICED = Decimal("0.01")
"""USD for an image of a model that nobody has put a price on: an emulated account must charge something."""


class Service:
    """The state behind the routes. Lives on the event loop's thread; only drawing happens elsewhere.

    :param clock: Unix seconds
    """

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.time) -> None:
        self.settings = settings
        self.clock = clock
        self.profiles = profiles()
        self.books = Books(settings.state, balance=settings.balance)
        self.faults = Faults(settings.faults, seed=settings.seed)
        self.posts: Counter[str] = Counter()
        self.gets: Counter[str] = Counter()
        self.downloads: Counter[str] = Counter()
        self.leaks = 0
        self.late: Counter[str] = Counter()
        self.open_keys: set[str] = set()
        self._delays = Random(settings.seed)
        self._request = 0
        self._painter = Painter()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="emulator-painter")
        self._plain: dict[tuple[int, int, str], bytes] = {}
        self._rendered: OrderedDict[Picture, bytes] = OrderedDict()
        self._rendered_size = 0

    def close(self) -> None:
        """Let the drawing under way end, and close the books."""
        self._thread.shutdown(wait=True, cancel_futures=True)
        self.books.close()

    def delay(self) -> float:
        """Seconds that the next task takes."""
        spread = self.settings.spread
        return self.settings.delay * self._delays.uniform(1 - spread, 1 + spread)

    def price(self, model: str) -> Decimal:
        """USD per delivered image."""
        if self.settings.price is not None:
            return self.settings.price
        price = self._profile(model).price
        return price.usd_per_image if price is not None else _UNPRICED

    def link_life(self, model: str) -> float:
        """Seconds that a link lives."""
        life = self.settings.link_life
        return self._profile(model).link_life if life is None else life

    def new_task_id(self) -> str:
        """``task_`` and a ULID, as the service's ids are."""
        number = int(self.clock() * 1000) << 80 | int.from_bytes(os.urandom(10), "big")
        return "task_" + "".join(_CROCKFORD[number >> shift & 31] for shift in range(125, -1, -5))

    def new_request_id(self) -> str:
        """The handle that the service gives to each reply."""
        self._request += 1
        return f"{int(self.clock() * 1000):015d}{os.getpid():07d}{self._request:08d}"

    async def image(self, charge: Charge, index: int, *, shrink: int = 1, other_format: bool = False) -> bytes:
        """The encoded image ``index`` (from 0) of a task, made in the painter's thread."""
        form = charge.format
        if other_format:
            form = "png" if form == "jpeg" else "jpeg"
        picture = Picture(
            width=max(charge.width // shrink, 1),
            height=max(charge.height // shrink, 1),
            format=form,
            text=charge.prompt,
            instead=charge.id,
            footer=f"{charge.width} x {charge.height}  ·  {charge.resolution}  ·  {charge.size}  ·  "
            f"{index + 1}/{charge.delivered}  ·  {charge.id}",
            references=charge.references,
            watermark=charge.watermark,
        )
        drawn = self.settings.images == "drawn"
        image = await self._drawn(picture) if drawn else await self._unique(picture, f"{charge.id}/{index}")
        return ai_label(image, produced=charge.id) if self.settings.label else image

    async def _drawn(self, picture: Picture) -> bytes:
        found = self._rendered.get(picture)
        if found is None:
            found = await asyncio.get_running_loop().run_in_executor(self._thread, self._painter.paint, picture)
            self._keep(picture, found)
        return found

    def _keep(self, picture: Picture, image: bytes) -> None:
        """The latest images stay, for the download that is tried again."""
        if picture in self._rendered:
            return
        self._rendered[picture] = image
        self._rendered_size += len(image)
        while self._rendered_size > _RENDERED_BYTES:
            self._rendered_size -= len(self._rendered.popitem(last=False)[1])

    async def _unique(self, picture: Picture, mark: str) -> bytes:
        key = (picture.width, picture.height, picture.format)
        if key not in self._plain:
            self._plain[key] = await asyncio.get_running_loop().run_in_executor(self._thread, plain, *key)
        return comment(self._plain[key], mark)

    def _profile(self, model: str) -> Profile:
        return self.profiles.get(model) or self.profiles[DEFAULT_MODEL]
