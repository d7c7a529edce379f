"""Writers that know nothing of routers: what the losing shard refuses them, whatever they hold."""

import psycopg
import pytest

from tests.support.ledger_doors import ADD, INSERT, REMOVE
from tests.support.rebalance_scene import Scene

pytestmark = pytest.mark.timeout(150)  # a busy machine, and a lease that runs out

OLD = ("READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE")


def test_old_transactions_cannot_write_after_the_fence(scene: Scene) -> None:
    """Their snapshots are older than the fence; the guard is in the catalog, not in a table."""
    account, number = scene.open_quiet_account()
    statements = (INSERT, ADD, REMOVE)
    with scene.clients():
        writers = [
            (scene.bed.primary("s0"), level, statement) for level in OLD for statement in statements
        ]
        for writer, level, _ in writers:
            writer.execute(f"BEGIN ISOLATION LEVEL {level}".encode())
            writer.execute("SELECT count(*) FROM ledger_entry")
        mover = scene.run_to("fencing.fenced")
        told = []
        for writer, level, statement in writers:
            with writer, pytest.raises(psycopg.Error) as caught:
                added = number + 1 if statement == INSERT else number
                writer.execute(statement, {"account": account, "number": added})
            told.append((level, statement, caught.value.sqlstate))
            writer.close()
        mover.thaw()
        scene.finish()
    assert {sqlstate for _, _, sqlstate in told} == {"SR001"}, told
    scene.check(may_fail=False)


@pytest.mark.slow
def test_the_target_refuses_what_it_does_not_own_yet(scene: Scene) -> None:
    account, _ = scene.open_quiet_account()
    with scene.clients():
        mover = scene.run_to("draining.before_commit")
        for shard in ("s0", "s1"):
            with scene.bed.primary(shard) as writer, pytest.raises(psycopg.Error) as caught:
                writer.execute(ADD, {"account": account})
            assert caught.value.sqlstate == "SR001"
        mover.thaw()
        scene.finish()
    scene.check(may_fail=False)
