"""What makes a statement differ from shard to shard."""

from typing import Any

import pytest
from sqlalchemy import (
    Column,
    Computed,
    Identity,
    Integer,
    MetaData,
    Sequence,
    Table,
    Text,
    func,
    insert,
    text,
)
from sqlalchemy.dialects import postgresql

from shardrouter.sql.same_everywhere import volatile_default, volatile_word


@pytest.mark.parametrize(
    ("statement", "word"),
    [
        ("INSERT INTO c (t) VALUES (now())", "now"),
        ("UPDATE c SET t = CURRENT_TIMESTAMP", "CURRENT_TIMESTAMP"),
        ("UPDATE c SET t = current_date - 1", "current_date"),
        ("UPDATE c SET t = pg_catalog.clock_timestamp ()", "clock_timestamp"),
        ("INSERT INTO c (id) VALUES (gen_random_uuid())", "gen_random_uuid"),
        ("INSERT INTO c (id) VALUES (uuidv7())", "uuidv7"),
        ("INSERT INTO c (id) VALUES (nextval('c_id_seq'))", "nextval"),
        ("UPDATE c SET r = random()", "random"),
        ("UPDATE c SET name = 'now()'", None),
        ("UPDATE c SET name = 'it''s now()' WHERE id = 1", None),
        ('UPDATE c SET "current_date" = 1', None),
        ("UPDATE c SET known = 1, random_id = 2, nowhere = lower('X')", None),
        ("DELETE FROM c WHERE id = %(id)s", None),
    ],
)
def test_words_of_the_server(statement: str, word: str | None) -> None:
    assert volatile_word(statement) == word


def table(*columns: Column[Any]) -> Table:
    return Table("country", MetaData(), *columns)


def key() -> Column[Any]:
    return Column("code", Text, primary_key=True)


def left_to_server(made: Table, **values: Any) -> str | None:
    statement = insert(made).values(**values).compile(dialect=postgresql.dialect())  # type: ignore[no-untyped-call]
    return volatile_default(str(statement), made)


@pytest.mark.parametrize(
    "default",
    ["unknown", text("'x'"), text("0"), text("-1.5"), text("NULL"), text("'{}'::jsonb"), None],
)
def test_constant_defaults_are_the_same_everywhere(default: Any) -> None:
    made = table(key(), Column("Extra", Text, server_default=default))
    assert left_to_server(made, code="SE") is None


@pytest.mark.parametrize(
    "default", [func.now(), text("now()"), text("gen_random_uuid()"), text("lower(random()::text)")]
)
def test_defaults_of_the_servers_own(default: Any) -> None:
    made = table(key(), Column("Extra", Text, server_default=default))
    assert left_to_server(made, code="SE") == "Extra"
    assert left_to_server(made, code="SE", Extra="given") is None


def test_keys_the_server_would_make() -> None:
    serial = table(Column("id", Integer, primary_key=True), Column("n", Text))
    assert left_to_server(serial, n="x") == "id"
    assert left_to_server(serial, id=1, n="x") is None
    identity = table(Column("id", Integer, Identity(), primary_key=True), Column("n", Text))
    assert left_to_server(identity, n="x") == "id"
    sequence = table(key(), Column("n", Integer, server_default=Sequence("s").next_value()))
    assert left_to_server(sequence, code="SE") == "n"


def test_computed_columns_are_computed_alike() -> None:
    made = table(key(), Column("low", Text, Computed("lower(code)")))
    assert left_to_server(made, code="SE") is None


def test_python_defaults_come_from_this_side() -> None:
    made = table(key(), Column("n", Integer, default=5))
    assert left_to_server(made, code="SE") is None
