"""This module holds what can be chosen about an emulator before it starts. Called by whoever starts one."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from ipaddress import ip_address
from pathlib import Path
from typing import Literal, get_args

from seedream_jobs.emulator.faults import FaultRule
from seedream_jobs.errors import UsageError

Deliver = Literal["n", "max", "fewer"]
Idempotency = Literal["honours", "ignores", "half"]
Images = Literal["drawn", "plain"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that can be chosen about an emulator.

    :param state: the folder of its books; a later emulator on the same folder knows the same tasks
    :param host: a loopback address; anything else is refused
    :param port: 0 takes the port used last on this state folder if it is free, else any free one
    :param delay: seconds from acceptance to a task's end
    :param spread: each task's delay is drawn from ``delay * (1 ± spread)``, 0 to 1
    :param price: USD per delivered image; None takes the price of the model's profile
    :param balance: USD on the account before the first charge in the books
    :param link_life: seconds an image link lives after its task's end; None takes the model profile's
    :param idempotency: ``honours`` replays a repeated key and marks it; ``ignores`` charges every POST; ``half``
        replays, unmarked, only what was answered the first time, and charges a repeat of a lost reply again
    :param deliver: ``n`` delivers what was asked for, ``max`` the most that ``auto`` allows, ``fewer`` one less
    :param faults: what goes wrong, and how often; the first rule that applies wins
    :param seed: of the faults and the delays; task ids are never seeded, since they must not repeat
    :param images: ``drawn`` shows the prompt; ``plain`` serves one encoded picture per size with a unique chunk, so
        that a measurement of downloads does not measure the drawing
    :param label: embed an AI label (an ``AIGC`` XMP property) in every image
    :param latency: seconds before each reply of the API, after the charge
    :param slow: seconds that the ``slow`` faults take
    """

    state: Path
    host: str = "127.0.0.1"
    port: int = 0
    delay: float = 1.0
    spread: float = 0.5
    price: Decimal | None = None
    balance: Decimal = Decimal(100)
    link_life: float | None = None
    idempotency: Idempotency = "ignores"
    deliver: Deliver = "n"
    faults: tuple[FaultRule, ...] = field(default=())
    seed: int = 0
    images: Images = "drawn"
    label: bool = False
    latency: float = 0.0
    slow: float = 3.0

    def __post_init__(self) -> None:
        """:raises UsageError: for a host that is not loopback, or a number out of its range"""
        if not _is_loopback(self.host):
            raise UsageError(f"the emulator serves only loopback addresses, not {self.host}", hint="use 127.0.0.1")
        if not 0 <= self.port <= 65535:
            raise UsageError(f"the emulator's port must be 0 to 65535, not {self.port}")
        if not 0 <= self.spread <= 1:
            raise UsageError(f"the spread of delays must be 0 to 1, not {self.spread}")
        choices = ((self.idempotency, Idempotency), (self.deliver, Deliver), (self.images, Images))
        for value, allowed in choices:
            if value not in get_args(allowed):
                raise UsageError(
                    f"the emulator can't be told {value!r} here", hint=f"one of {', '.join(get_args(allowed))}"
                )
        amounts = {
            "delay": self.delay,
            "latency": self.latency,
            "slow": self.slow,
            "price": self.price or 0,
            "balance": self.balance,
            "link life": self.link_life or 0,
        }
        for name, amount in amounts.items():
            if not amount >= 0:  # also refuses NaN
                raise UsageError(f"the emulator's {name} must not be negative, but is {amount}")


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
