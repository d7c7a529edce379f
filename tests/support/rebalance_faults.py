"""Faults of everything a move goes through: what is done to it, and how it is mended."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from shardrouter.topology import Role, Topology
from tests.support.eventually import eventually
from tests.support.rebalance_scene import Scene


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that goes wrong while the mover stands still at a failpoint."""

    inject: Callable[[Scene], None]
    mends: Callable[[Scene], None] = lambda scene: None
    """Done after the mover goes on."""

    hurts_clients: bool = False
    """True when clients' statements may fail by the fault itself."""


def replace_frozen_mover(scene: Scene) -> None:
    """Another mover takes over when the lease is over; the first one finds out when it wakes."""
    frozen = scene.mover
    second = scene.start()
    second.wait()
    scene.mover = frozen


def start_second_mover(scene: Scene) -> None:
    """While the lease of the first holds the second is told so, and leaves."""
    first = scene.mover
    busy = scene.start()
    busy.wait()
    scene.mover = first


def killer_of(node: str) -> Callable[[Scene], None]:
    def kill(scene: Scene) -> None:
        server = scene.bed.fleet.node(node)
        server.kill()
        server.start()

    return kill


def kill_late(node: str) -> Fault:
    """Kill a server, let the mover find it dead, then start it."""

    def kill(scene: Scene) -> None:
        scene.bed.fleet.node(node).kill()

    def start(scene: Scene) -> None:
        scene.bed.fleet.start()

    return Fault(kill, start, hurts_clients=node != "catalog")


def kill_walsenders(scene: Scene) -> None:
    """End the streams of the move on both shards."""
    for shard in scene.bed.shards:
        with scene.bed.primary(shard) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots"
                " WHERE slot_type = 'logical' AND database = current_database()"
                " AND active_pid IS NOT NULL"
            )


def kill_apply_workers(scene: Scene) -> None:
    for shard in scene.bed.shards:
        with scene.bed.primary(shard) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_subscription WHERE pid IS NOT NULL"
                " AND subid IN (SELECT s.oid FROM pg_subscription s JOIN pg_database d"
                " ON d.oid = s.subdbid WHERE d.datname = current_database())"
            )


def end_mover_sessions(scene: Scene) -> None:
    """As an administrator who ends what he does not know."""
    for shard in scene.bed.shards:
        with scene.bed.primary(shard) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name LIKE 'shardrouter-move-%'"
                " AND datname = current_database()"
            )


FAULTS: Final[Mapping[str, Fault]] = {
    "mover frozen past its lease": Fault(replace_frozen_mover),
    "second mover": Fault(start_second_mover),
    "sessions of the mover ended": Fault(end_mover_sessions),
    "walsender killed": Fault(kill_walsenders),
    "apply worker killed": Fault(kill_apply_workers),
    "catalog killed": kill_late("catalog"),
    "source crashed, restarted": Fault(killer_of("s0-p"), hurts_clients=True),
    "source down for a while": kill_late("s0-p"),
    "target crashed, restarted": Fault(killer_of("s1-p"), hurts_clients=True),
    "target down for a while": kill_late("s1-p"),
    "replica of the target killed": kill_late("s1-r1"),
}
"""By name. Those of promotions, routers, cut connections and full disks have tests of their own."""


def promote(scene: Scene, shard: str) -> None:
    """Kill a shard's primary for good and promote its replica."""
    fleet = scene.bed.fleet
    fleet.node(f"{shard}-p").kill()
    with fleet.node(f"{shard}-r1").connect("postgres") as replica:
        replica.execute("SELECT pg_promote(true)")


def come_back(scene: Scene, shard: str) -> None:
    """Tell routers of the new primary, as an operator does; then start the old one as it was."""
    bed = scene.bed
    bed.publish(lambda topology: _with_primary(topology, shard, f"{shard}-r1"))
    epoch = bed.topology.epoch
    eventually(lambda: all(router.epoch >= epoch for router in bed.catalog.routers()))
    bed.fleet.node(f"{shard}-p").start()


def _with_primary(topology: Topology, shard_id: str, node_id: str) -> Topology:
    shard = topology.shard(shard_id)
    nodes = tuple(
        replace(node, role=Role.PRIMARY if node.id == node_id else Role.REPLICA)
        for node in shard.nodes
    )
    changed = replace(shard, nodes=nodes)
    return topology.next(
        shards=tuple(changed if known.id == shard_id else known for known in topology.shards)
    )
