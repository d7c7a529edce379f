"""What stands in the catalog now, asked within the caller's transaction."""

from typing import Any, Final

from sqlalchemy import (
    CTE,
    ColumnElement,
    Connection,
    Insert,
    Select,
    Table,
    Text,
    case,
    cast,
    func,
    insert,
    literal,
    null,
    select,
    text,
    update,
)

from shardrouter.catalog.connect import not_installed
from shardrouter.catalog.records import Fleet
from shardrouter.catalog.schema import CHANNEL, fleet, journal, topology
from shardrouter.topology import Epoch, Topology

FLEET_LOCK: Final = 0x5368_6172_6402  # "Shard" 2: shared by heartbeats, exclusive to publishers

_DURABLE: Final = text(
    "SELECT set_config('synchronous_commit', 'on', true)"
    " WHERE current_setting('synchronous_commit') NOT IN ('on', 'remote_apply')"
)
_DURABLE_AND_LOCKED: Final = text(
    f"SELECT pg_advisory_xact_lock(:lock), ({_DURABLE.text})"  # one journey for both
)
_LAZY: Final = text("SELECT set_config('synchronous_commit', 'off', true)")


def lock_fleet(connection: Connection) -> None:
    """Let nobody publish, and no router be told what is current, until the transaction ends."""
    connection.execute(select(func.pg_advisory_xact_lock(FLEET_LOCK)))


def lock_fleet_durably(connection: Connection) -> None:
    """``lock_fleet`` and ``make_durable`` in one journey: writers may wait for what follows."""
    connection.execute(_DURABLE_AND_LOCKED, {"lock": FLEET_LOCK})


def make_durable(connection: Connection) -> None:
    """Have COMMIT return only when no crash can undo the transaction, whatever is configured."""
    connection.execute(_DURABLE)


def make_lazy(connection: Connection) -> None:
    """Have COMMIT not wait for the disk: for what a crash may forget."""
    connection.execute(_LAZY)


def current_fleet(connection: Connection) -> Fleet:
    """Return who the fleet is. Raises SettingsError when none was founded."""
    row = connection.execute(
        select(fleet.c.id, fleet.c.slots, fleet.c.epoch, fleet.c.founded_at)
    ).one_or_none()
    if row is None:
        raise not_installed("no fleet was founded")
    return Fleet(row.id, row.slots, Epoch(row.epoch), row.founded_at)


def current_topology(connection: Connection) -> Topology | None:
    """Return the newest topology, or None when none was published yet."""
    newest = select(topology.c.document).join(fleet, fleet.c.epoch == topology.c.epoch)
    document = connection.scalar(newest)
    return None if document is None else Topology.from_document(document)


def epoch_and_topology(connection: Connection, served: Epoch) -> tuple[Epoch, Topology | None]:
    """Return the current epoch, and its topology unless that is the one of epoch ``served``.

    One statement. Raises SettingsError when no fleet was founded.
    """
    other = case((fleet.c.epoch != served, topology.c.document), else_=null())
    row = connection.execute(
        select(fleet.c.epoch, other.label("document")).outerjoin(
            topology, topology.c.epoch == fleet.c.epoch
        )
    ).one_or_none()
    if row is None:
        raise not_installed("no fleet was founded")
    return Epoch(row.epoch), None if row.document is None else Topology.from_document(row.document)


def note(
    connection: Connection, actor: str, reason: str, kind: str, detail: dict[str, Any]
) -> None:
    """Write one event into the journal."""
    connection.execute(noting(actor, reason, kind, detail))


def noting(actor: str, reason: str, kind: str, detail: dict[str, Any]) -> Insert:
    """Return the statement that writes one event into the journal."""
    return insert(journal).values(actor=actor, reason=reason, kind=kind, detail=detail)


def raise_epoch(new: Topology, expected: Epoch, actor: str, reason: str) -> Select[Any]:
    """Return the statement that makes ``new`` current and tells routers; no row: it did not.

    It does nothing when the epoch is another than ``expected``, or the fleet's slot count than
    the topology's. One statement, because writers may wait for it.
    """
    raised = (
        update(fleet)
        .where(fleet.c.epoch == expected, fleet.c.slots == new.slots)
        .values(epoch=new.epoch)
        .returning(fleet.c.epoch)
        .cte("raised")
    )
    published = {"document": new.to_document(), "actor": actor, "reason": reason}
    event = {"kind": "topology_published", "detail": {"epoch": new.epoch}}
    return select(func.pg_notify(CHANNEL, cast(raised.c.epoch, Text))).add_cte(
        _one_row(topology, published, raised, epoch=raised.c.epoch),
        _one_row(journal, {"actor": actor, "reason": reason, **event}, raised),
    )


def _one_row(
    table: Table, values: dict[str, Any], raised: CTE, **columns: ColumnElement[Any]
) -> CTE:
    """Insert a row if there is one in ``raised``."""
    row = columns | {name: literal(value, table.c[name].type) for name, value in values.items()}
    return insert(table).from_select([*row], select(*row.values()).select_from(raised)).cte()
