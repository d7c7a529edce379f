"""What the catalog remembers, as values."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from shardrouter.topology import Epoch


@dataclass(frozen=True, slots=True)
class Fleet:
    """Who the fleet is. Id and slot count never change."""

    id: UUID
    slots: int
    epoch: Epoch
    """Of the newest topology; 0 when none was published yet."""

    founded_at: datetime


@dataclass(frozen=True, slots=True)
class Publication:
    """One topology that was published."""

    epoch: Epoch
    at: datetime
    actor: str
    reason: str


@dataclass(frozen=True, slots=True)
class Registration:
    """Who a router is."""

    id: UUID
    fleet: UUID
    kind: str
    """``library`` or ``proxy``."""

    name: str
    """Where it runs, for people."""

    version: str


@dataclass(frozen=True, slots=True)
class LiveRouter:
    """A router whose lease has not run out, as the catalog saw it last."""

    id: UUID
    kind: str
    name: str
    version: str
    epoch: Epoch
    """The topology it serves; 0 before it has one."""

    registered_at: datetime
    renewed_at: datetime
    expires_at: datetime
    drained_epoch: Epoch = Epoch(0)  # noqa: RUF009 - a number
    """Nothing that began before this epoch is in the way of its moves any more."""

    writers_drained_epoch: Epoch = Epoch(0)  # noqa: RUF009 - a number
    """The same of writers alone."""


@dataclass(frozen=True, slots=True)
class JournalEvent:
    """One thing that was done to the fleet."""

    at: datetime
    actor: str
    reason: str
    kind: str
    detail: Mapping[str, Any]
