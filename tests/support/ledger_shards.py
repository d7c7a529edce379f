"""Read the ledger's rows straight from the shards, and make its accounts."""

from collections.abc import Iterable, Mapping

from shardrouter import Router
from shardrouter.topology import ShardId, Topology, key_slot
from tests.support.ledger import INITIAL_BALANCE, Account, Contents, MayHold, OwnerOf
from tests.support.ledger_doors import Connection
from tests.support.ledger_tables import LedgerAccount


def open_accounts(router: Router, accounts: Iterable[int]) -> tuple[int, ...]:
    """Insert the accounts where they belong."""
    opened = tuple(accounts)
    for account in opened:
        with router.session(account) as session:
            session.add(LedgerAccount(id=account, balance=INITIAL_BALANCE))
            session.commit()
    return opened


def read_contents(connection: Connection) -> Contents:
    """Return the rows of one shard as of one snapshot."""
    with connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        accounts = connection.execute("SELECT id, counter, balance FROM ledger_account").fetchall()
        entries = connection.execute("SELECT account, number, amount FROM ledger_entry").fetchall()
    return Contents(
        {key: Account(counter, balance) for key, counter, balance in accounts},
        {(account, number): amount for account, number, amount in entries},
    )


def owner_by(topology: Topology) -> OwnerOf:
    """Return who owns an account by the topology."""
    return lambda account: str(topology.owner(key_slot(account, topology.slots)).id)


def holder_by(topology: Topology) -> MayHold:
    """Return which shards may hold foreign rows of an account by the topology's motions."""
    holders: Mapping[int, set[ShardId]] = {
        slot: {motion.source, motion.target} for motion in topology.motions for slot in motion.slots
    }
    return lambda account, shard: (
        ShardId(shard) in holders.get(key_slot(account, topology.slots), set())
    )
