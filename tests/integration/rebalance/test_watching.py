"""Routers go on with moves whose process died, end what is over, and watch what rests."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from shardrouter import AsyncRouter
from shardrouter.catalog import Move
from shardrouter.client import rebalance as client_rebalance
from shardrouter.local import LocalFleet
from shardrouter.rebalance.mover import Stops
from shardrouter.rebalance.running import deputies, duties
from shardrouter.topology import Direction, MoveState, Wish
from tests.integration.rebalance.conftest import Prepared
from tests.plugins.fix_proxy import MakeProxy
from tests.plugins.fix_rebalance import MakeBed, StartMover
from tests.support.eventually import eventually
from tests.support.moving_bed import MovingBed
from tests.support.moving_here import die_at, run_move, wish

WAL = "SELECT pg_logical_emit_message(false, 'x', repeat('x', 18000000))"


@pytest.fixture
def bed(moving_fleet: LocalFleet, make_bed: MakeBed) -> MovingBed:
    """As every bed, but its routers look after moves, and wait for no operator."""
    looking_after = {
        "take_over": True,
        "take_over_after_seconds": 0.2,
        "mover_lease_seconds": 1,
        "max_retained_wal_mb": 16,
    }
    return make_bed(moving_fleet, slots=256, rebalance=looking_after)


@pytest.fixture(autouse=True)
def looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_rebalance, "WATCH_EVERY_SECONDS", 0.2)
    monkeypatch.setattr(duties, "LOOK_EVERY_SECONDS", 0.3)
    monkeypatch.setattr(deputies, "AGAIN_SECONDS", 0.3)


def in_state(prepared: Prepared, number: int, state: MoveState) -> Callable[[], bool]:
    return lambda: prepared.bed.move(number).state is state


def kill_at(prepared: Prepared, start_mover: StartMover, number: int, place: str) -> None:
    """Let a mover come to a place, and kill it there with -9."""
    mover = start_mover(prepared.bed, number, failpoint=f"{place}:freeze")
    mover.wait_frozen()
    mover.kill()


@pytest.mark.parametrize(
    "place", ["verifying.chunk", pytest.param("copying.subscribed", marks=pytest.mark.slow)]
)
def test_a_move_whose_process_was_killed_is_carried_on(
    prepared: Prepared, start_mover: StartMover, place: str
) -> None:
    number = prepared.create()
    kill_at(prepared, start_mover, number, place)
    with prepared.bed.router():
        eventually(in_state(prepared, number, MoveState.DONE), 15)
    assert prepared.owners() == {"s1"}
    prepared.bed.wait_clean()


def test_a_soak_that_is_over_is_ended_without_anybody(prepared: Prepared) -> None:
    number = prepared.create(soak_seconds=0.5)
    assert run_move(prepared.bed, number, stops=Stops()).state is MoveState.SOAKING
    with prepared.bed.router():
        eventually(in_state(prepared, number, MoveState.DONE))
    prepared.bed.wait_clean()


@pytest.mark.slow
@pytest.mark.parametrize("place", ["cleaning.chunk", "aborting.chunk"])
def test_what_ends_is_ended_without_anybody(prepared: Prepared, place: str) -> None:
    """Also when the mover was told to stop: nothing is left to decide."""
    number = prepared.create()
    end = MoveState.DONE
    if place == "aborting.chunk":
        assert die_at(prepared.bed, number, "ready.gate")
        wish(prepared.bed, number, Wish.ABORT)
        end = MoveState.ABORTED
    assert die_at(prepared.bed, number, place)
    with prepared.bed.router():
        eventually(in_state(prepared, number, end))
    prepared.bed.wait_clean()


@pytest.mark.slow
def test_a_new_attempt_that_was_stopped_is_made_way_for_but_not_begun(prepared: Prepared) -> None:
    number = prepared.create(copy_mode="fast")
    assert die_at(prepared.bed, number, "copying.chunk")
    assert die_at(prepared.bed, number, "restarting.chunk")
    with prepared.bed.router():
        eventually(in_state(prepared, number, MoveState.PREPARING))
        eventually(lambda: prepared.bed.is_free(number))
    assert prepared.bed.move(number).state is MoveState.PREPARING
    assert run_move(prepared.bed, number).state is MoveState.DONE


def rest(prepared: Prepared, number: int) -> None:
    """Bring the move before its cutover, and hold it there."""
    run_move(prepared.bed, number, stops=Stops(at_ready=True))
    wish(prepared.bed, number, Wish.HOLD)
    assert run_move(prepared.bed, number).held


def keep_wal(prepared: Prepared, subscriber: str, publisher: str) -> None:
    """Let the stream stand still, and the slot keep more WAL than is allowed."""
    with prepared.bed.primary(subscriber) as connection:
        for (name,) in connection.execute("SELECT subname FROM pg_subscription").fetchall():
            connection.execute(f'ALTER SUBSCRIPTION "{name}" DISABLE'.encode())
    with prepared.bed.primary(publisher) as connection:
        connection.execute(WAL)
        connection.execute("SELECT pg_switch_wal()")


def test_a_move_that_is_held_ends_before_wal_fills_the_disk(prepared: Prepared) -> None:
    number = prepared.create()
    rest(prepared, number)
    keep_wal(prepared, "s1", "s0")
    with prepared.bed.router():
        eventually(in_state(prepared, number, MoveState.ABORTED))
    reasons = [event.reason for event in prepared.bed.catalog.events(20)]
    assert any("MB of WAL, 16 MB are allowed" in reason for reason in reasons)
    assert prepared.owners() == {"s0"}
    prepared.bed.wait_clean()


@pytest.mark.slow
def test_a_wish_to_hold_that_nobody_obeyed_holds_no_abort_up(prepared: Prepared) -> None:
    number = prepared.create()
    run_move(prepared.bed, number, stops=Stops(at_ready=True))
    wish(prepared.bed, number, Wish.HOLD)
    keep_wal(prepared, "s1", "s0")
    with prepared.bed.router():
        eventually(in_state(prepared, number, MoveState.ABORTED))
    prepared.bed.wait_clean()


@pytest.mark.slow
@pytest.mark.parametrize("wanted", [None, Wish.HOLD])
def test_a_soaking_move_loses_its_way_back_before_wal_fills_the_disk(
    prepared: Prepared, wanted: Wish | None
) -> None:
    number = prepared.create(soak_seconds=3600.0)
    assert run_move(prepared.bed, number, stops=Stops()).state is MoveState.SOAKING
    if wanted is not None:
        wish(prepared.bed, number, wanted)
    with prepared.bed.primary("s0") as blocker, prepared.bed.primary("s1") as target:
        blocker.autocommit = False
        blocker.execute("LOCK TABLE ledger_account IN ACCESS EXCLUSIVE MODE")
        target.execute(
            "UPDATE ledger_account SET counter = counter WHERE id = %s", [prepared.account()]
        )
        target.execute(WAL)
        target.execute("SELECT pg_switch_wal()")
        with prepared.bed.router():
            eventually(lambda: "reverse_lost" in prepared.bed.move(number).facts)
        blocker.rollback()
    move = prepared.bed.move(number)
    assert "MB of WAL" in move.facts["reverse_lost"]
    assert (move.state, move.direction) == (MoveState.SOAKING, Direction.FORWARD)
    wish(prepared.bed, number, Wish.FINISH)
    assert run_move(prepared.bed, number).state is MoveState.DONE
    prepared.bed.wait_clean()


def test_a_move_that_was_told_to_stop_is_only_looked_at(prepared: Prepared) -> None:
    bed, number = prepared.bed, prepared.create()
    assert die_at(bed, number, "verifying.chunk")  # it gives the move back, as after Ctrl-C
    before = bed.move(number)
    with bed.router():
        eventually(lambda: bed.move(number).token >= before.token + 2)
    now = bed.move(number)
    assert (now.state, now.owner) == (MoveState.VERIFYING, None)
    claims = [e for e in bed.catalog.events(50) if e.kind == "move_claimed"]
    assert len(claims) == 1  # looks are not told
    assert run_move(bed, number).state is MoveState.DONE


@contextmanager
def standing_still(prepared: Prepared) -> Iterator[None]:
    """Let no marker arrive on the target: movers wait for it."""
    with prepared.bed.primary("s1") as blocker:
        blocker.autocommit = False
        blocker.execute("LOCK TABLE shardrouter.move_marker IN SHARE MODE")
        yield
        blocker.rollback()


def wait_carried(prepared: Prepared, dead: Move) -> None:
    def is_carried(move: Move) -> bool:
        return move.token > dead.token and move.lease_seconds_left > 0

    eventually(lambda: is_carried(prepared.bed.move(dead.number)))


def test_a_router_that_closes_lets_go_of_what_it_carries(
    prepared: Prepared, start_mover: StartMover
) -> None:
    bed, number = prepared.bed, prepared.create()
    kill_at(prepared, start_mover, number, "catching_up.marked")
    with standing_still(prepared), bed.router() as router:
        wait_carried(prepared, bed.move(number))
        begun = time.monotonic()
        router.close()
        assert time.monotonic() - begun < 2.0
    left = bed.move(number)
    assert bed.is_free(number)
    assert left.owner is not None  # as if it had died: another router would go on
    assert left.state is MoveState.CATCHING_UP
    with bed.router():
        eventually(in_state(prepared, number, MoveState.DONE))
    bed.wait_clean()


@pytest.mark.slow
def test_what_waits_for_its_turn_is_watched(prepared: Prepared, start_mover: StartMover) -> None:
    """A router carries one on at a time; the replication slots of the others keep WAL as well."""
    bed = prepared.bed
    first, second = (bed.create_move(part) for part in (prepared.slots[:4], prepared.slots[4:]))
    for number in (first, second):
        kill_at(prepared, start_mover, number, "catching_up.marked")
    with standing_still(prepared), bed.router():
        wait_carried(prepared, bed.move(first))
        with bed.primary("s0") as connection:
            connection.execute(WAL)
            connection.execute("SELECT pg_switch_wal()")
        eventually(in_state(prepared, second, MoveState.ABORTING))
    with bed.router():
        eventually(in_state(prepared, second, MoveState.ABORTED))
        eventually(lambda: bed.move(first).is_over)
    bed.wait_clean()


@pytest.mark.slow
async def test_a_router_of_asyncio_lets_go_as_well(
    prepared: Prepared, start_mover: StartMover
) -> None:
    bed, number = prepared.bed, prepared.create()
    kill_at(prepared, start_mover, number, "catching_up.marked")
    with standing_still(prepared):
        router = AsyncRouter.from_config(bed.settings_path)
        await asyncio.to_thread(wait_carried, prepared, bed.move(number))
        begun = time.monotonic()
        await router.close()
        assert time.monotonic() - begun < 2.0
    assert bed.is_free(number)
    assert run_move(bed, number).state is MoveState.DONE  # `rebalance resume` may do it as well


@pytest.mark.slow
def test_a_program_that_ends_without_closing_its_router_ends(
    prepared: Prepared, start_mover: StartMover
) -> None:
    """A fast copy has threads that a program waits for."""
    bed, number = prepared.bed, prepared.create(copy_mode="fast")
    bed.moves.limit(number, {"max_bytes_per_second": 65_536}, actor="tests", reason="to last")
    kill_at(prepared, start_mover, number, "copying.chunk")
    bed.fill("s0", 20_000)  # a copy of half a minute
    code = (
        "import sys, time; from shardrouter import Router;"
        "router = Router.from_config(sys.argv[1]); sys.stdin.readline()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(bed.settings_path)], stdin=subprocess.PIPE
    ) as program:
        eventually(lambda: bed.move(number).progress.get("bytes_copied", 0) > 0, 15)
        begun = time.monotonic()
        program.communicate(b"\n")
        assert time.monotonic() - begun < 5.0
    eventually(lambda: bed.is_free(number))
    wish(bed, number, Wish.ABORT)
    assert run_move(bed, number).state is MoveState.ABORTED
    bed.wait_clean()


@pytest.mark.slow
@pytest.mark.parametrize("place", ["verifying.chunk", "fencing.fenced"])
def test_a_proxy_does_it_as_well(
    prepared: Prepared, start_mover: StartMover, make_proxy: MakeProxy, place: str
) -> None:
    bed, number = prepared.bed, prepared.create()
    rebalance = {"take_over": True, "take_over_after_seconds": 0.2, "mover_lease_seconds": 1}
    proxy = make_proxy(on=bed.cluster, proxy={"workers": 2}, rebalance=rebalance)
    kill_at(prepared, start_mover, number, place)
    eventually(in_state(prepared, number, MoveState.DONE), 15)
    assert proxy.stop() == 0
    bed.wait_clean()
