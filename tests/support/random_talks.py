"""Random scripts from a grammar of the protocol: what clients do, and what none should."""

from typing import Final

from hypothesis import strategies as st

from shardrouter.wire.messages import bind, close, describe, execute, parse, query
from tests.support.wire_script import Turn
from tests.support.wire_words import COPY_DONE, COPY_FAIL, COPY_IN, FLUSH, SYNC, data

NAMES: Final = st.sampled_from(["", "", "s", "r"])
NAMED: Final = st.sampled_from(["s", "r"])
PORTALS: Final = st.sampled_from(["", "", "p"])
TEXTS: Final = st.sampled_from(
    [
        "SELECT 1",
        "SELECT a, b FROM t ORDER BY a",
        "SELECT $1::int",
        "INSERT INTO t VALUES ($1, 'new')",
        "UPDATE t SET b = 'changed' WHERE a = 1",
        "DELETE FROM t WHERE a = 2 RETURNING b",
        "BEGIN",
        "COMMIT",
        "ROLLBACK",
        "SAVEPOINT here",
        "ROLLBACK TO here",
        "SELECT 1/0",
        "SELEC 1",
        "SELECT * FROM nowhere",
        "INSERT INTO late VALUES (1), (1)",
        "",
        "SELECT",
        "SELECT noisy(5)",
    ]
)
SQL: Final = st.sampled_from(
    [
        "BEGIN",
        "COMMIT",
        "ROLLBACK",
        "TABLE t ORDER BY a",
        "SELECT 1; SELECT 1/0; SELECT 2",
        "INSERT INTO t VALUES (5, 'five'); SELECT 1",
        "BEGIN; INSERT INTO late VALUES (2), (2)",
        "",
        ";",
        "SELEC",
        "SELECT noisy(6)",
        "SET LOCAL work_mem = '5MB'",
    ]
)


def _values() -> st.SearchStrategy[list[bytes | None]]:
    return st.sampled_from([[], [], [b"7"], [b"1"], [None], [b"x"], [b"1", b"2"]])


MESSAGE: Final = st.one_of(
    st.builds(parse, NAMES, TEXTS),
    st.builds(bind, PORTALS, NAMES, _values()),
    st.builds(execute, PORTALS, st.sampled_from([0, 0, 1])),
    st.builds(describe, st.just(b"S"), NAMES),
    st.builds(describe, st.just(b"P"), PORTALS),
    st.builds(close, st.just(b"S"), NAMES),
    st.builds(close, st.just(b"P"), PORTALS),
    st.just(FLUSH),
)


@st.composite
def runs(draw: st.DrawFn) -> bytes:
    """Parse, Bind and Execute as drivers send them."""
    name = draw(NAMES)
    head = parse(name, draw(TEXTS)) if draw(st.booleans()) else b""
    seen = describe(b"S", name) if draw(st.booleans()) else b""
    return head + seen + bind("", name, draw(_values())) + execute()


@st.composite
def batches(draw: st.DrawFn) -> list[Turn]:
    """Extended messages, perhaps with a simple query before them, and a Sync."""
    parts = draw(st.lists(st.one_of(runs(), MESSAGE), max_size=5))
    if draw(st.integers(0, 9)) == 0:
        parts.insert(0, query(draw(TEXTS)))  # elsewhere it may be skipped, and then keeps more
    return [Turn(b"".join(parts) + SYNC)]


@st.composite
def copies(draw: st.DrawFn) -> list[Turn]:
    """COPY FROM STDIN, simple or extended, that ends well or badly; sometimes disturbed."""
    rows = draw(st.lists(st.sampled_from(["7\tx\n", "8\ty\n", "1\tdup\n", "x\n"]), max_size=3))
    parts = [data(row) for row in rows]
    if draw(st.integers(0, 3)) == 0:
        parts.insert(0, draw(st.sampled_from([SYNC, FLUSH])))  # at others Postgres hangs up
    end = draw(st.sampled_from([COPY_DONE, COPY_DONE, COPY_FAIL]))
    if draw(st.booleans()):
        return [Turn(query(COPY_IN) + b"".join(parts) + end + SYNC)]
    early = SYNC if draw(st.booleans()) else b""
    start = parse("", COPY_IN) + bind("", "") + execute() + early
    lost = Turn(query("SELECT 1"))  # else an Execute may begin the COPY once more, and wait
    return [Turn(start + b"".join(parts) + end + SYNC), lost]


SCRIPTS: Final = st.lists(
    st.one_of(
        batches(),
        batches(),
        st.builds(lambda text: [Turn(query(text))], st.one_of(TEXTS, SQL)),
        copies(),
    ),
    min_size=1,
    max_size=8,
).map(lambda turns: [turn for row in turns for turn in row])
