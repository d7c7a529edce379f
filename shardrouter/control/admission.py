"""Decide whether servers can become a shard of a fleet."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from shardrouter.errors import BackendUnreachable, SettingsError
from shardrouter.postgres import NodeFacts, direct_connection, inspect_node
from shardrouter.topology import Node, Role, Shard, Topology

OLDEST: Final = 15
NEWEST: Final = 18


@dataclass(frozen=True, slots=True)
class Findings:
    """What was found of a shard that wants to join."""

    problems: tuple[str, ...]
    """Any of them keeps it out."""

    notes: tuple[str, ...]
    """What will not work as long as it stays so."""


def examine_shard(
    shard: Shard, current: Topology | None, connect_timeout_seconds: float
) -> tuple[str, ...]:
    """Ask the nodes of a new shard, and the fleet's primaries; return notes for the operator.

    Raises BackendUnreachable, or SettingsError naming every problem.
    """
    facts = [_ask(shard, node, connect_timeout_seconds) for node in shard.nodes]
    unknown: list[str] = []
    others: list[NodeFacts] = []
    for other in () if current is None else current.shards:
        try:
            others.append(_ask(other, other.primary, connect_timeout_seconds))
        except BackendUnreachable as error:
            unknown.append(
                f"{error.node} could not be compared with the new nodes: {error.message}"
            )
    found = judge(shard, facts, others)
    if found.problems:
        raise SettingsError(
            f"shard {shard.id} cannot join: {'; '.join(found.problems)}",
            hint="mend the servers or the connection strings, then run the command again",
        )
    return (*found.notes, *unknown)


def judge(shard: Shard, facts: Sequence[NodeFacts], others: Sequence[NodeFacts]) -> Findings:
    """Judge the nodes of a new shard. Pure.

    facts: of its nodes, in their order; others: of the primaries the fleet has.
    """
    primary = next(f for f in facts if f.node == shard.primary.id)
    problems: list[str] = []
    notes: list[str] = []
    for node, fact in zip(shard.nodes, facts, strict=True):
        problems += _server_problems(fact)
        problems += _role_problems(node, fact, primary)
        notes += _notes(node, fact)
    problems += [
        f"{fact.node} is the database of shard {other.shard}"
        for fact in facts
        for other in others
        if (fact.system_id, fact.database) == (other.system_id, other.database)
    ]
    return Findings(tuple(problems), tuple(notes))


def _server_problems(fact: NodeFacts) -> Iterator[str]:
    major = fact.version // 10_000
    if not OLDEST <= major <= NEWEST:
        yield f"{fact.node} runs PostgreSQL {major}, supported are {OLDEST} to {NEWEST}"
    if fact.encoding != "UTF8":
        yield f"{fact.node} has a database of encoding {fact.encoding}, not UTF8"
    if fact.wrong_slots:
        kinds = ", ".join(fact.wrong_slots)
        yield f"{fact.node} hashes {kinds} to other slots than PostgreSQL does"


def _role_problems(node: Node, fact: NodeFacts, primary: NodeFacts) -> Iterator[str]:
    if node.role is Role.PRIMARY:
        if fact.in_recovery:
            yield f"{fact.node} was given as primary but is a replica"
        return
    if not fact.in_recovery:
        yield f"{fact.node} was given as replica but is a primary"
    if fact.system_id != primary.system_id:
        yield (
            f"{fact.node} is not a replica of {primary.node}"
            f" (system identifiers {fact.system_id} and {primary.system_id})"
        )
    elif fact.database != primary.database:
        yield (
            f"{fact.node} names the database {fact.database!r},"
            f" {primary.node} the database {primary.database!r}"
        )


def _notes(node: Node, fact: NodeFacts) -> Iterator[str]:
    if node.role is Role.REPLICA:
        if fact.in_recovery and not fact.is_streaming:
            yield f"{fact.node} does not receive WAL now: reads will go to the primary"
        return
    if fact.max_prepared_transactions == 0:
        yield (
            f"{fact.node} has max_prepared_transactions = 0:"
            " transactions over several shards will be refused"
        )
    if fact.wal_level != "logical":
        yield f"{fact.node} has wal_level = {fact.wal_level}: slots cannot be moved from or to it"


def _ask(shard: Shard, node: Node, connect_timeout_seconds: float) -> NodeFacts:
    with direct_connection(shard, node, connect_timeout_seconds, "shardrouter-admission") as c:
        return inspect_node(c, shard.id, node.id)
