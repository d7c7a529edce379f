"""A read sees what its context committed: 0 stale reads, within a process and across processes."""

import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest
from sqlalchemy import select, text, update

from shardrouter import Router
from shardrouter.errors import ReplicaTooStale, TokenInvalid
from tests.support.cluster import Cluster
from tests.support.eventually import eventually
from tests.support.orders import User, keys_on

PAIRS = 1000
READ_IN_ANOTHER_PROCESS = """
import sys
from shardrouter import Router
from sqlalchemy import text
stale = 0
with Router.from_config(sys.argv[1]) as router:
    for line in sys.stdin:
        key, value, token = line.split()
        with router.causal(token), router.session(int(key), read="replica") as session:
            name = session.execute(text("SELECT name FROM users WHERE id = " + key)).scalar()
            stale += name != value
print("stale", stale)
"""


@pytest.fixture
def key(router: Router) -> int:
    (found,) = keys_on(router, "s0", 1)
    with router.session(found) as session:
        session.add(User(id=found, name="start"))
        session.commit()
    return found


def write(router: Router, key: int, name: str) -> None:
    with router.session(key) as session:
        session.execute(update(User).where(User.id == key).values(name=name))
        session.commit()


def read(router: Router, key: int, **how: str) -> tuple[str | None, str | None]:
    """Return the name and the node that answered."""
    with router.session(key, read="replica", **how) as session:  # type: ignore[arg-type]
        name = session.scalars(select(User.name).where(User.id == key)).one_or_none()
        assert session.unit.node is not None
        return name, session.unit.node.id


@pytest.fixture
def flapping_replica(cluster: Cluster) -> Iterator[None]:
    """Freeze and thaw replay on s0's replica all the time."""
    stop = threading.Event()

    def flap() -> None:
        with cluster.fleet.node("s0-r1").connect("postgres") as replica:
            while not stop.wait(0.3):
                replica.execute("SELECT pg_wal_replay_pause()")
                stop.wait(0.08)  # longer than a read waits for a replica
                replica.execute("SELECT pg_wal_replay_resume()")

    thread = threading.Thread(target=flap)
    thread.start()
    yield
    stop.set()
    thread.join()


@pytest.mark.timeout(120)
@pytest.mark.usefixtures("flapping_replica")
def test_no_stale_read_in_a_thousand_pairs_while_replay_freezes(router: Router, key: int) -> None:
    stale, nodes = 0, set()
    for i in range(PAIRS):
        write(router, key, str(i))
        name, node = read(router, key)
        stale += name != str(i)
        nodes.add(node)
    assert stale == 0
    assert nodes == {"s0-p", "s0-r1"}, "the test must have read from both"


@pytest.mark.timeout(120)
@pytest.mark.usefixtures("flapping_replica")
def test_no_stale_read_across_processes_with_a_token(
    router: Router, cluster: Cluster, key: int
) -> None:
    reader = subprocess.Popen(
        [sys.executable, "-c", READ_IN_ANOTHER_PROCESS, str(cluster.settings_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert reader.stdin is not None
    # The reader lags behind the writer, so each value has a row of its own.
    keys = keys_on(router, "s0", PAIRS)
    for i, row in enumerate(keys):
        with router.causal():
            with router.session(row) as session:
                session.merge(User(id=row, name=str(i)))
                session.commit()
            reader.stdin.write(f"{row} {i} {router.token()}\n")
            reader.stdin.flush()
    output, _ = reader.communicate(timeout=60)
    assert output.strip() == "stale 0"


def test_frozen_replica_answers_old_reads_and_the_primary_new_ones(
    router: Router, cluster: Cluster, key: int
) -> None:
    eventually(lambda: read(router, key) == ("start", "s0-r1"))
    with cluster.replay_paused("s0-r1"):
        write(router, key, "new")
        assert read(router, key) == ("new", "s0-p")
        with pytest.raises(ReplicaTooStale, match="shard s0"):
            read(router, key, fallback="error")
        with router.causal():  # a context that wrote nothing may read the past
            assert read(router, key) == ("start", "s0-r1")
    eventually(lambda: read(router, key) == ("new", "s0-r1"))


def test_max_lag_sends_everybody_to_the_primary(router: Router, cluster: Cluster, key: int) -> None:
    with cluster.replay_paused("s0-r1"):
        with router.session(key) as session:
            session.execute(update(User).values(name="new"))
            session.commit()
        with router.causal():
            eventually(lambda: read(router, key, max_lag="500ms") == ("new", "s0-p"))
            assert read(router, key) == ("start", "s0-r1")


@pytest.mark.parametrize(
    "commit", ["session", "connection", "transaction block", "text", "autocommit"]
)
def test_every_way_to_commit_joins_the_token(router: Router, key: int, commit: str) -> None:
    before = router.token()
    sql = f"UPDATE users SET name = 'x' WHERE id = {key}"
    if commit == "session":
        with router.session(key) as session:
            session.execute(text(sql))
            session.commit()
    else:
        with router.connection(key) as connection:
            match commit:
                case "transaction block":
                    with connection.transaction():
                        connection.execute(sql.encode())
                case "text":
                    connection.execute(sql.encode())
                    connection.execute("COMMIT")
                case "autocommit":
                    connection.autocommit = True
                    connection.execute(sql.encode())
                case _:
                    connection.execute(sql.encode())
    assert router.token() != before


def test_read_session_that_is_open_follows_or_refuses(
    router: Router, cluster: Cluster, key: int
) -> None:
    eventually(lambda: read(router, key) == ("start", "s0-r1"))
    query = select(User.name).where(User.id == key)
    with router.session(key, read="replica") as session:
        assert session.scalar(query) == "start"
        write(router, key, "second")
        assert session.scalar(query) == "second"
        with cluster.replay_paused("s0-r1"):
            write(router, key, "third")
            with pytest.raises(ReplicaTooStale, match="node s0-r1"):
                session.scalar(query)
            session.rollback()
            assert session.scalar(query) == "third"


def test_a_thread_started_in_the_context_shares_its_token(router: Router, key: int) -> None:
    import contextvars

    before = router.token()
    worker = contextvars.copy_context()
    thread = threading.Thread(target=lambda: worker.run(write, router, key, "by a thread"))
    thread.start()
    thread.join()
    assert router.token() != before


def test_token_of_another_context_is_needed_to_see_its_write(
    router: Router, cluster: Cluster, key: int
) -> None:
    with router.causal():
        write(router, key, "new")
        token = router.token()
    with cluster.replay_paused("s0-r1"):
        with router.causal(token):
            assert router.token() == token
            assert read(router, key)[0] == "new"
    with pytest.raises(TokenInvalid), router.causal("nonsense"):
        pass
