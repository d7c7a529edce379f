"""Rows that kept changing while they were compared are looked at again when nothing writes."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from shardrouter.postgres.moving import Key
from shardrouter.rebalance.checking.compare import mismatch, read_hashes
from shardrouter.rebalance.job import Job
from shardrouter.topology import Table

FLUX: Final = "flux"
"""The fact that lists them: table -> keys."""

MOST: Final = 2000
"""Keys that are kept: they are compared while writers wait."""


def with_flux(facts: Mapping[str, Any], table: Table, keys: Sequence[Key]) -> dict[str, Any]:
    """Return the list with more rows. Pure."""
    kept = {name: list(values) for name, values in facts.get(FLUX, {}).items()}
    known = {tuple(key) for key in kept.get(table.full_name, ())}
    new = [list(key) for key in keys if key not in known]
    if new:
        kept[table.full_name] = [*kept.get(table.full_name, ()), *new]
    return kept


def flux_of(facts: Mapping[str, Any], table: Table) -> list[Key]:
    """Return the rows of a table that are to be looked at again."""
    return [tuple(key) for key in facts.get(FLUX, {}).get(table.full_name, ())]


def has_too_many(flux: Mapping[str, Sequence[object]]) -> bool:
    """True when comparing them would hold writers up for long."""
    return sum(len(keys) for keys in flux.values()) > MOST


def compare_flux(job: Job) -> None:
    """Compare them on both sides. Nothing writes to them now. Raises MoveMismatch."""
    for table in job.tables():
        keys = flux_of(job.facts, table)
        if not keys:
            continue
        losing = read_hashes(job, job.move.losing, table, keys)
        gaining = read_hashes(job, job.move.gaining, table, keys)
        wrong = [key for key in keys if losing.get(key) != gaining.get(key)]
        if wrong:
            raise mismatch(job, table, wrong)
