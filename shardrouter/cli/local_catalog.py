"""Tell the catalog of a local fleet where its nodes are, as ``shardrouter init`` would."""

from dataclasses import replace

from psycopg.conninfo import conninfo_to_dict

from shardrouter.catalog import CatalogStore, catalog_engine, found_fleet
from shardrouter.local import LocalFleet
from shardrouter.topology import Node, Topology

ACTOR = "shardrouter up"


def publish_addresses(fleet: LocalFleet) -> Topology:
    """Install the catalog and publish the topology; a later call only publishes new ports.

    Raises StaleEpoch when somebody else published meanwhile.
    """
    engine = catalog_engine(fleet.catalog.dsn())
    try:
        known = found_fleet(engine, fleet.topology(), ACTOR)
        now = with_addresses(known, fleet)
        if now != known:
            store = CatalogStore(engine)
            store.publish(now, expected=known.epoch, actor=ACTOR, reason="ports changed")
        return now
    finally:
        engine.dispose()


def with_addresses(known: Topology, fleet: LocalFleet) -> Topology:
    """Return the topology with the ports the fleet's nodes have now, at the next epoch if new."""
    ports = {server.id: server.port for server in fleet.nodes}

    def moved(node: Node) -> Node:
        given = conninfo_to_dict(node.dsn)
        if node.id not in ports or str(given.get("port")) == str(ports[node.id]):
            return node
        return replace(node, dsn=fleet.node(node.id).dsn(str(given.get("dbname") or "app")))

    shards = tuple(replace(s, nodes=tuple(moved(n) for n in s.nodes)) for s in known.shards)
    return known if shards == known.shards else known.next(shards=shards)
