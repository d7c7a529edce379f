"""Talks of clients with Postgres, one for each thing the protocol allows or forbids.

The tables they use are in ``TABLES``; each begins on them as ``RESET`` left them.
"""

import struct
from typing import Final

from shardrouter.wire.messages import (
    bind,
    close,
    describe,
    execute,
    parse,
    query,
    terminate,
    typed,
)
from tests.support.wire_copies import COPIES, STATEMENTS
from tests.support.wire_script import Turn
from tests.support.wire_words import (
    ALL,
    BAD,
    INT4,
    SYNC,
    f,
    now,
    q,
    run,
    x,
)

TABLES: Final = """
    CREATE TABLE t (a int PRIMARY KEY, b text);
    CREATE TABLE late (a int UNIQUE DEFERRABLE INITIALLY DEFERRED);
    CREATE FUNCTION noisy(int) RETURNS int LANGUAGE plpgsql AS
      $$ BEGIN RAISE NOTICE 'called'; RETURN $1; END $$;
"""
RESET: Final = """
    TRUNCATE t, late;
    INSERT INTO t VALUES (1, 'one'), (2, 'two'), (3, NULL);
"""


def raw_bind(statement: bytes, rest: bytes) -> bytes:
    return typed(b"B", b"\0" + statement + b"\0" + rest)


SIMPLE: Final = {
    "empty": [q("")],
    "semicolons": [q(";;"), q(" ; ")],
    "comment": [q("-- nothing"), q("/* nothing */")],
    "several": [q("SELECT 1; SELECT 'a', NULL; SELECT")],
    "error in the middle": [q("INSERT INTO t VALUES (7); SELECT 1/0; SELECT 2"), q("TABLE t")],
    "syntax error": [q("SELECT 1; SELEC")],
    "begin and insert": [q("BEGIN; INSERT INTO t VALUES (7)"), q("SELECT 1"), q("COMMIT")],
    "rollback": [q("BEGIN"), q("DELETE FROM t"), q("ROLLBACK"), q("TABLE t")],
    "failed transaction": [q("BEGIN"), q("SELECT 1/0"), q("SELECT 1"), q("COMMIT"), q("TABLE t")],
    "savepoint": [
        q("BEGIN"),
        q("SAVEPOINT s"),
        q("SELECT 1/0"),
        q("ROLLBACK TO s"),
        q("SELECT 1"),
        q("RELEASE s"),
        q("COMMIT"),
    ],
    "chained": [q("BEGIN"), q("COMMIT AND CHAIN"), q("SELECT 1"), q("ROLLBACK")],
    "no columns": [
        q("SELECT"),
        q("SELECT FROM t"),
        x(parse("", "SELECT"), describe(b"S", ""), bind("", ""), describe(b"P", ""), execute()),
    ],
    "late error": [q("BEGIN; INSERT INTO late VALUES (1), (1)"), q("COMMIT"), q("TABLE late")],
    "notice": [q("SELECT noisy(1), noisy(2)"), q("DO $$ BEGIN RAISE WARNING 'w'; END $$")],
    "copy out": [q("COPY (SELECT 1 UNION ALL SELECT 2) TO STDOUT"), q("SELECT 1")],
    "copy out fails": [q("COPY (SELECT 1/(3-a) FROM t ORDER BY a) TO STDOUT"), q("SELECT 1")],
    "cursor": [
        q("BEGIN"),
        q("DECLARE c CURSOR FOR TABLE t"),
        q("FETCH 2 FROM c"),
        q("FETCH 2 FROM c"),
        q("CLOSE c"),
        q("COMMIT"),
    ],
    "queries at once": [Turn(query("SELECT 1") + query("SELECT 1/0") + query("SELECT 3"), "ZZZ")],
    "no end of text": [Turn(typed(b"Q", b"SELECT 1")), q("SELECT 2")],
    "no text at all": [Turn(typed(b"Q")), q("SELECT 2")],
    "more than a text": [Turn(typed(b"Q", b"SELECT 1\0more")), q("SELECT 2")],
    "long": [q("SELECT length('" + "x" * 300_000 + "')"), q("SELECT repeat('y', 3000000)")],
    "not utf-8": [Turn(typed(b"Q", b"SELECT '\xc0\x27'\0")), q("SELECT 1")],
}

EXTENDED: Final = {
    "all of it": [x(ALL, describe(b"S", ""), bind("", ""), describe(b"P", ""), execute())],
    "parameters": [
        x(parse("", "SELECT $1::int + $2", [0, INT4]), describe(b"S", ""), run("", b"1", b"2")),
        x(run("", None, b"2")),
        x(run("", b"x", b"2")),
    ],
    "syncs": [x(), Turn(SYNC * 5, "ZZZZZ"), x(ALL, SYNC, SYNC, run())],
    "flush": [
        f("1", ALL),
        f("2", bind("", "")),
        f("T", describe(b"P", "")),
        f("C", execute()),
        x(),
    ],
    "flush, then nothing": [f("1T", ALL, describe(b"S", "")), x(), q("SELECT 1")],
    "flush and error": [f("E", BAD), f("", ALL), x(), x(ALL, run())],
    "row limit": [
        x(ALL, bind("", ""), execute("", 2), execute("", 2), execute("", 2)),
        x(ALL, bind("", ""), execute("", 2)),
        x(execute("", 2)),
    ],
    "row limit by flush": [
        f("s", ALL, bind("", ""), execute("", 1)),
        f("s", execute("", 1)),
        f("C", execute()),
        x(),
    ],
    "portals": [
        q("BEGIN"),
        x(ALL, bind("p", ""), bind("r", "")),
        x(execute("p", 1), execute("r", 2)),
        x(execute("p", 1)),
        x(close(b"P", "p")),
        x(execute("p")),
        q("ROLLBACK"),
    ],
    "portal after the transaction": [x(ALL, bind("p", ""), execute("p", 1)), x(execute("p"))],
    "same portal twice": [q("BEGIN"), x(ALL, bind("p", ""), bind("p", "")), q("ROLLBACK")],
    "close": [
        x(close(b"S", "none"), close(b"P", "none"), close(b"S", ""), close(b"P", "")),
        x(parse("s", "SELECT 1")),
        x(close(b"S", "s")),
        x(run("s")),
        x(parse("s", "SELECT 2")),
        x(run("s")),
        x(close(b"S", "s"), close(b"S", "s")),
    ],
    "close and parse at once": [
        x(parse("s", "SELECT 1"), run("s"), close(b"S", "s"), parse("s", "SELECT 2"), run("s")),
        x(run("s")),
        x(close(b"S", "s")),
        x(describe(b"S", "s")),
    ],
    "close of the wrong kind": [Turn(typed(b"C", b"X\0") + SYNC), q("SELECT 1")],
    "describe unknown": [
        x(describe(b"S", "none")),
        x(describe(b"P", "none")),
        x(describe(b"P", "")),
        q("SELECT 1"),
        x(describe(b"S", "")),
    ],
    "describe of the wrong kind": [Turn(typed(b"D", b"X\0") + SYNC), q("SELECT 1")],
    "describe of nothing": [Turn(typed(b"D") + SYNC), q("SELECT 1")],
    "bind unknown": [x(bind("", "none")), x(bind("", "")), q("SELECT 1")],
    "execute unknown": [x(execute("none")), x(execute("")), q("SELECT 1")],
    "same name twice": [
        x(parse("s", "SELECT 1")),
        x(parse("s", "SELECT 2")),
        x(run("s")),
        x(parse("s", "SELECT 1"), run("s")),
        x(close(b"S", "s"), parse("s", "SELECT 3"), run("s")),
    ],
    "name of a failed parse": [
        x(parse("s", "SELEC 1")),
        x(run("s")),
        x(parse("s", "SELECT 2")),
        x(run("s")),
    ],
    "failed parse twice": [
        x(parse("s", "SELECT * FROM nowhere")),
        x(parse("r", "SELECT * FROM nowhere")),
        x(parse("s", "SELECT 1")),
        x(parse("r", "SELECT 1")),
        x(run("s"), run("r")),
    ],
    "parse skipped": [
        x(BAD, parse("s", "SELECT 1")),
        x(run("s")),
        x(parse("s", "SELECT 2"), run("s")),
    ],
    "close skipped": [
        x(parse("s", "SELECT 1")),
        x(BAD, close(b"S", "s")),
        x(run("s")),
        x(BAD, close(b"S", "s"), parse("s", "SELECT 2")),
        x(run("s")),
    ],
    "errors skip": [
        x(BAD, ALL, run(), execute()),
        x(ALL, run(), bind("", "none"), execute(), close(b"S", "s")),
        Turn(BAD + SYNC + ALL + run() + SYNC, "ZZ"),
    ],
    "query in a failed batch": [
        Turn(bind("", "none") + execute() + query("SELECT 1") + SYNC),
        q("SELECT 2"),
        f("E", bind("", "none")),
        now(query("SELECT 3")),
        x(),
        q("SELECT 4"),
    ],
    "query in a batch": [Turn(ALL + run() + query("SELECT 1") + SYNC, "ZZ"), x(run())],
    "function call in a failed batch": [Turn(BAD + typed(b"F", b"") + SYNC), q("SELECT 2")],
    "unnamed over round trips": [x(ALL), x(describe(b"S", "")), x(run()), x(run())],
    "unnamed lost by a query": [x(ALL), q("SELECT 1"), x(run()), x(describe(b"S", ""))],
    "unnamed lost by close": [x(ALL), x(close(b"S", "")), x(run())],
    "unnamed lost by an error": [x(ALL), x(BAD), x(run())],
    "unnamed kept over an error": [x(ALL), x(bind("", "none")), x(run())],
    "unnamed in a transaction": [q("BEGIN"), x(ALL), x(run()), q("COMMIT"), x(run())],
    "unnamed with parameters": [
        x(parse("", "SELECT $1::text")),
        x(run("", b"a")),
        x(run("", b"b")),
        x(run("", b"c" * 9999)),
    ],
    "unnamed closed in a batch": [x(ALL, run(), close(b"S", ""), run()), x(run())],
    "unnamed kept by a skipped close": [x(ALL), x(bind("", "none"), close(b"S", "")), x(run())],
    "unnamed kept by a skipped parse": [
        x(ALL),
        x(bind("", "none"), parse("", "SELECT 2")),
        x(run()),
        x(BAD, ALL),
        x(run()),
    ],
    "unnamed of the next batch": [
        x(BAD),
        x(ALL, run()),
        x(run()),
        x(ALL, run(), BAD),
        x(ALL),
        x(run()),
        x(bind("", "none"), ALL),
        x(ALL, run()),
        x(run()),
    ],
    "unnamed lost behind a skipped parse": [
        x(ALL),
        x(bind("", "none"), parse("", "SELECT 2")),
        q("SELECT 1"),
        x(bind("", "")),
    ],
    "unnamed of nobody": [x(bind("", "none"), run()), x(run()), x(describe(b"S", ""))],
    "unnamed that sets something": [
        x(parse("", "SET work_mem = '5MB'"), run()),
        x(run()),
        x(run()),
        q("RESET work_mem"),
    ],
    "implicit transaction": [
        x(parse("", "INSERT INTO t VALUES ($1)"), run("", b"7"), run("", b"7"), run("", b"8")),
        q("TABLE t"),
    ],
    "implicit transaction by several": [
        x(parse("i", "INSERT INTO t VALUES ($1)"), run("i", b"7")),
        x(run("i", b"8"), run("i", b"1")),
        q("TABLE t"),
    ],
    "begin inside a batch": [
        x(parse("", "BEGIN"), run(), parse("", "INSERT INTO t VALUES (7)"), run()),
        x(parse("", "SELECT 1/0"), run()),
        x(parse("", "COMMIT"), run()),
        q("TABLE t"),
    ],
    "late error at sync": [
        x(parse("", "INSERT INTO late VALUES (1), (1)"), run()),
        q("TABLE late"),
    ],
    "failed transaction": [
        q("BEGIN"),
        x(BAD),
        x(ALL),
        x(run()),
        x(parse("", "ROLLBACK"), run()),
        x(ALL, run()),
    ],
    "two statements in a parse": [x(parse("", "SELECT 1; SELECT 2")), x(ALL, run())],
    "empty parse": [x(parse("", ""), describe(b"S", ""), run()), x(parse("s", "")), x(run("s"))],
    "no result": [
        x(
            parse("", "DELETE FROM t"),
            describe(b"S", ""),
            bind("", ""),
            describe(b"P", ""),
            execute(),
        ),
        q("TABLE t"),
    ],
    "binary": [x(parse("", "SELECT a, b FROM t ORDER BY a"), bind("", "", (), [1]), execute())],
    "notice": [x(parse("", "SELECT noisy(1)"), run(), run())],
    "cursor of a statement": [
        q("BEGIN"),
        x(parse("", "DECLARE c CURSOR FOR SELECT a FROM t ORDER BY a"), run()),
        x(parse("", "FETCH 2 FROM c"), run(), run()),
        q("COMMIT"),
    ],
}

MALFORMED: Final = {
    "parse without end": [Turn(typed(b"P", b"s\0SELECT 1") + SYNC), q("SELECT 1"), x(run("s"))],
    "parse without name end": [
        Turn(typed(b"P", b"s") + SYNC),
        Turn(typed(b"P") + SYNC),
        q("SELECT 1"),
    ],
    "parse without types": [Turn(typed(b"P", b"s\0SELECT 1\0") + SYNC), x(run("s"))],
    "parse with too many types": [Turn(typed(b"P", b"\0SELECT 1\0\0\x05") + SYNC), q("SELECT 1")],
    "parse with more": [Turn(typed(b"P", b"\0SELECT 1\0\0\0more") + SYNC), q("SELECT 1")],
    "bind without counts": [x(ALL, raw_bind(b"", b"")), x(ALL, typed(b"B", b"\0")), x(ALL, run())],
    "bind with count -1": [x(ALL, raw_bind(b"", b"\0\0\xff\xff\0\0")), q("SELECT 1")],
    "bind with 65,535": [x(ALL, raw_bind(b"", b"\xff\xff")), q("SELECT 1")],
    "bind with wrong formats": [
        x(
            parse("", "SELECT $1::int, $2::int"),
            raw_bind(b"", struct.pack("!HHHHHiiH", 3, 0, 0, 0, 2, -1, -1, 0)),
        ),
        q("SELECT 1"),
    ],
    "bind with an unknown format": [
        x(parse("", "SELECT $1::int"), raw_bind(b"", struct.pack("!HHHiH", 1, 7, 1, -1, 0))),
    ],
    "bind with too few": [x(parse("", "SELECT $1::int, $2::int"), run("", b"1")), q("SELECT 1")],
    "bind with too many": [x(ALL, run("", b"1")), q("SELECT 1")],
    "bind beyond its end": [
        x(parse("", "SELECT $1::int"), raw_bind(b"", struct.pack("!HHi", 0, 1, 1000) + b"12")),
    ],
    "bind named beyond its end": [
        x(parse("s", "SELECT $1::int")),
        x(raw_bind(b"s", struct.pack("!HHi", 0, 1, 1000) + b"12")),
        x(run("s", b"1")),
    ],
    "execute without rows": [x(ALL, bind("", ""), typed(b"E", b"\0")), q("SELECT 1")],
    "function call of nothing": [Turn(typed(b"F", b"")), q("SELECT 1")],
    "unknown type": [now(typed(b"y", b"what"))],
    "type 0": [now(typed(b"\0", b"what"))],
    "type 1": [now(typed(b"\1", b"what"))],
    "type 2": [now(typed(b"\2", b"what"))],
    "terminate": [q("SELECT 1"), now(terminate())],
    "terminate in a transaction": [q("BEGIN"), q("SELECT 1"), now(terminate())],
    "password": [now(typed(b"p", b"secret\0"))],
}


def call(function: int, *values: bytes) -> bytes:
    """FunctionCall with text in and out."""
    body = struct.pack("!IHH", function, 0, len(values))
    return typed(b"F", body + b"".join(struct.pack("!i", len(v)) + v for v in values) + b"\0\0")


INT4_PLUS: Final = 177
INT4_DIVIDE: Final = 154

CALLS: Final = {
    "function call": [Turn(call(INT4_PLUS, b"1", b"2")), q("SELECT 1")],
    "function call fails": [
        Turn(call(INT4_DIVIDE, b"1", b"0")),
        Turn(call(999_999)),
        q("SELECT 1"),
    ],
    "function call in a transaction": [
        q("BEGIN"),
        Turn(call(INT4_PLUS, b"1", b"2")),
        Turn(call(INT4_DIVIDE, b"1", b"0")),
        Turn(call(INT4_PLUS, b"1", b"2")),
        q("ROLLBACK"),
    ],
}

TALKS: Final = {
    f"{group}: {name}": script
    for group, talks in (
        ("query", SIMPLE),
        ("extended", EXTENDED),
        ("malformed", MALFORMED),
        ("call", CALLS),
        ("copy", COPIES),
        ("statements", STATEMENTS),
    )
    for name, script in talks.items()
}
