"""Guards on every key type, on awkward names, on partitions, and beside replication."""

import psycopg
import pytest
from sqlalchemy import create_engine

from shardrouter.errors import SlotNotOwned
from shardrouter.postgres import check_guards, install_guards
from shardrouter.topology import KeyColumn, KeyType, ShardId, Table, TableKind, Topology
from tests.support.cluster import Cluster
from tests.support.guarded import Guarded

S0 = ShardId("s0")
LONG = "a_name_as_long_as_postgres_takes_" + "x" * 30

SQL_TYPES = {
    KeyType.INT2: ("smallint", "g::smallint"),
    KeyType.INT4: ("integer", "g::integer"),
    KeyType.INT8: ("bigint", "g::bigint << 20"),
    KeyType.TEXT: ("text", "'key ' || g"),
    KeyType.VARCHAR: ("varchar(40)", "'key ' || g"),
    KeyType.UUID: ("uuid", "md5(g::text)::uuid"),
    KeyType.DATE: ("date", "date '2020-01-01' + g"),
    KeyType.TIMESTAMP: ("timestamp", "timestamp '2020-01-01' + g * interval '1 s'"),
    KeyType.TIMESTAMPTZ: ("timestamptz", "timestamptz '2020-01-01 00:00Z' + g * interval '1 s'"),
}


def install(cluster: Cluster, topology: Topology, node: str = "s0-p") -> None:
    engine = create_engine(cluster.dsn(node).replace("postgresql:", "postgresql+psycopg:"))
    with engine.connect() as connection:
        install_guards(connection, topology, ShardId(node[:2]))
        assert all(report.is_ok for report in check_guards(connection, topology, S0))
    engine.dispose()


def count_accepted(
    connection: psycopg.Connection[tuple[object, ...]], table: str, column: str, values: list[str]
) -> int:
    accepted = 0
    for value in values:
        try:
            connection.execute(f"INSERT INTO {table} ({column}) VALUES ({value})".encode())
            accepted += 1
        except psycopg.Error as error:
            assert error.sqlstate == SlotNotOwned.sqlstate, error
    return accepted


def test_every_key_type_splits_between_the_shards(cluster: Cluster) -> None:
    tables = tuple(
        Table(f"by_{kind}", TableKind.SHARDED, (KeyColumn("key", kind),)) for kind in SQL_TYPES
    )
    topology = cluster.topology.next(tables=tables)
    sizes: dict[str, int] = {}
    for node in ("s0-p", "s1-p"):
        with cluster.connect(node) as connection:
            for kind, (sql_type, _) in SQL_TYPES.items():
                connection.execute(f"CREATE TABLE by_{kind} (key {sql_type} NOT NULL)".encode())
            engine = create_engine(cluster.dsn(node).replace("postgresql:", "postgresql+psycopg:"))
            with engine.connect() as sa:
                install_guards(sa, topology, ShardId(node[:2]))
            engine.dispose()
            for kind, (_, value) in SQL_TYPES.items():
                values = [value.replace("g", str(n), 1) for n in range(1, 31)]
                accepted = count_accepted(connection, f"by_{kind}", "key", values)
                sizes[kind] = sizes.get(kind, 0) + accepted
                assert 0 < accepted < 30  # both shards own some
    assert set(sizes.values()) == {30}  # each key has one owner


def test_a_composite_key(cluster: Cluster) -> None:
    key = (KeyColumn("tenant", KeyType.INT8), KeyColumn("user name", KeyType.TEXT))
    topology = cluster.topology.next(tables=(Table("t", TableKind.SHARDED, key),))
    accepted = 0
    for node in ("s0-p", "s1-p"):
        with cluster.connect(node) as connection:
            connection.execute(
                'CREATE TABLE t (tenant bigint NOT NULL, "user name" text COLLATE "C" NOT NULL)'
            )
        engine = create_engine(cluster.dsn(node).replace("postgresql:", "postgresql+psycopg:"))
        with engine.connect() as sa:
            install_guards(sa, topology, ShardId(node[:2]))
        engine.dispose()
        with cluster.connect(node) as connection:
            values = [f"7, 'name {n}'" for n in range(40)]
            accepted += count_accepted(connection, "t", 'tenant, "user name"', values)
    assert accepted == 40


@pytest.mark.parametrize(
    ("schema", "name", "column"),
    [
        ("public", LONG, LONG),
        ("public", LONG[:-1] + "y", "key"),
        ("Sales", "Order %s", "User %(id)s"),
        ("public", 'it\'s $guard$ \\ "quoted"', "$guard$'\\"),
        ("public", "new\nline", "old"),
        ("public", "заказы", "ключ"),
    ],
)
def test_awkward_names(cluster: Cluster, schema: str, name: str, column: str) -> None:
    table = Table(name, TableKind.SHARDED, (KeyColumn(column, KeyType.INT8),), schema=schema)
    topology = cluster.topology.next(tables=(table,))
    quoted = psycopg.sql.Identifier(schema, name).as_string(None)
    key = psycopg.sql.Identifier(column).as_string(None)
    with cluster.connect("s0-p") as connection:
        connection.execute('CREATE SCHEMA "Sales"')
        connection.execute(f"CREATE TABLE {quoted} ({key} bigint NOT NULL)".encode())
        install(cluster, topology)
        accepted = count_accepted(connection, quoted, key, [str(n) for n in range(20)])
        assert 0 < accepted < 20
        connection.execute("SET standard_conforming_strings = off")
        with cluster.connect("s0-p", options="-c standard_conforming_strings=off") as other:
            assert count_accepted(other, quoted, key, [str(n) for n in range(20)]) == accepted


def test_partitions_are_guarded_also_those_made_later(cluster: Cluster) -> None:
    table = Table("events", TableKind.SHARDED, (KeyColumn("user_id", KeyType.INT8),))
    topology = cluster.topology.next(tables=(table,))
    guarded = Guarded(cluster, topology, {})
    mine, stranger = guarded.key_of("s0"), guarded.key_of("s1")
    with cluster.connect("s0-p") as connection:
        connection.execute(
            "CREATE TABLE events (user_id bigint NOT NULL, day int NOT NULL,"
            " PRIMARY KEY (user_id, day)) PARTITION BY RANGE (day)"
        )
        connection.execute("CREATE TABLE events_0 PARTITION OF events FOR VALUES FROM (0) TO (10)")
        install(cluster, topology)
        connection.execute("CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM (10) TO (20)")
        connection.execute("ALTER TABLE events_0 DISABLE TRIGGER zzz_shardrouter_guard")
        install(cluster, topology.next())
        connection.execute(f"INSERT INTO events VALUES ({mine}, 1)")
        connection.execute("UPDATE events SET day = 11")  # moves to the other partition
        assert connection.execute("SELECT user_id FROM events_1").fetchall() == [(mine,)]
        for target in ("events", "events_0", "events_1"):
            day = 15 if target == "events_1" else 5
            with pytest.raises(psycopg.Error) as caught:
                connection.execute(f"INSERT INTO {target} VALUES ({stranger}, {day})".encode())
            assert caught.value.sqlstate == SlotNotOwned.sqlstate
            assert caught.value.diag.table_name == "events"


def test_rows_of_a_replication_pass(guarded: Guarded) -> None:
    stranger = guarded.key_of("s1")
    with guarded.connect() as connection:
        connection.execute("SET session_replication_role = replica")  # as an apply worker's
        connection.execute(f"INSERT INTO orders VALUES (1, {stranger})")
        connection.execute("RESET session_replication_role")
        with pytest.raises(psycopg.Error, match="does not own slot"):
            connection.execute("DELETE FROM orders")


def test_a_trigger_that_changes_the_key_does_not_slip_through(guarded: Guarded) -> None:
    mine, stranger = guarded.key_of("s0"), guarded.key_of("s1")
    with guarded.connect() as connection:
        connection.execute(
            "CREATE FUNCTION reroute() RETURNS trigger LANGUAGE plpgsql"
            f" AS 'BEGIN NEW.user_id := {stranger}; RETURN NEW; END'"
        )
        connection.execute(
            "CREATE TRIGGER z_reroute BEFORE INSERT ON orders FOR EACH ROW"
            " EXECUTE FUNCTION reroute()"
        )
        with pytest.raises(psycopg.Error, match="does not own slot"):
            connection.execute(f"INSERT INTO orders VALUES (1, {mine})")


def test_a_foreign_search_path_does_not_open_the_guard(guarded: Guarded) -> None:
    stranger = guarded.key_of("s1")
    with guarded.connect() as connection:
        connection.execute("CREATE SCHEMA evil")
        connection.execute(
            "CREATE FUNCTION evil.hashint8extended(bigint, bigint) RETURNS bigint"
            " LANGUAGE sql IMMUTABLE AS 'SELECT 0::bigint'"
        )
        connection.execute("SET search_path = evil, pg_catalog, public")
        with pytest.raises(psycopg.Error, match="does not own slot"):
            connection.execute(f"INSERT INTO public.orders VALUES (1, {stranger})")


def test_an_ordinary_role_needs_no_right_on_the_guard(guarded: Guarded) -> None:
    with guarded.connect() as connection:
        role = f"app_{guarded.cluster.database}"
        connection.execute(f"CREATE ROLE {role}".encode())
        try:
            connection.execute(f"GRANT ALL ON orders TO {role}".encode())
            connection.execute(f"SET ROLE {role}".encode())
            connection.execute(f"INSERT INTO orders VALUES (1, {guarded.key_of('s0')})")
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute("ALTER TABLE orders DISABLE TRIGGER USER")
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute("SELECT * FROM shardrouter.guard")
        finally:
            connection.execute("RESET ROLE")
            connection.execute(f"DROP OWNED BY {role}; DROP ROLE {role}".encode())
