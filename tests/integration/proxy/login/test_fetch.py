"""Verifiers through the function of the how-to, on a real shard."""

import asyncio
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

import shardrouter.proxy.login
from shardrouter.errors import LoginRefused
from shardrouter.proxy.login.fetch import VerifierFetch
from shardrouter.wire import messages
from shardrouter.wire.scram_secrets import derive_keys, read_verifier
from tests.support.doorstep_bed import doorstep, make_door
from tests.support.eventually import eventually_async

FUNCTION = Path(shardrouter.proxy.login.__file__).with_name("function.sql").read_text()
CALLER = "shardrouter_login_test"
ROLES = ("login_ann", "login_late", "login_nologin", "login_super", "login_bare", CALLER)


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


class Shard:
    """The function on a shard, and the roles it may be asked for."""

    def __init__(self, connection, dsn):
        self.connection = connection
        self.dsn = dsn
        self.fetches = []

    def run(self, text, *names):
        self.connection.execute(sql.SQL(text).format(*map(sql.Identifier, names)))

    def fetch(self, clock=None, cache_seconds=10.0, dsn=None):
        where = dsn or (lambda: self.dsn)
        made = VerifierFetch("shardrouter.proxy_login", where, cache_seconds, clock or Clock())
        self.fetches.append(made)
        return made

    def connections(self):
        question = "SELECT count(*) FROM pg_stat_activity WHERE usename = %s"
        return self.connection.execute(question, [CALLER]).fetchone()[0]

    def ends(self):
        self.connection.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = %s",
            [CALLER],
        )


@pytest.fixture(scope="module")
def dsn(local_fleet):
    """A database on a shard's primary, for all tests of this file."""
    server = local_fleet.primary("s0")
    with closing(server.connect("postgres")) as connection:
        connection.execute("CREATE DATABASE login_test")
        yield server.dsn("login_test")
        connection.execute("DROP DATABASE login_test WITH (FORCE)")


@pytest.fixture
async def shard(dsn):
    with closing(psycopg.connect(dsn, autocommit=True)) as connection:
        ours = Shard(connection, psycopg.conninfo.make_conninfo(dsn, user=CALLER))
        for role in ROLES:
            ours.run("CREATE ROLE {} LOGIN PASSWORD 'pencil'", role)
        ours.run("ALTER ROLE {} NOLOGIN", "login_nologin")
        ours.run("ALTER ROLE {} SUPERUSER", "login_super")
        ours.run("ALTER ROLE {} PASSWORD NULL", "login_bare")
        connection.execute(FUNCTION)
        ours.run("GRANT USAGE ON SCHEMA shardrouter TO {}", CALLER)
        ours.run("GRANT EXECUTE ON FUNCTION shardrouter.proxy_login(text) TO {}", CALLER)
        try:
            yield ours
        finally:
            for fetch in ours.fetches:
                await fetch.close()
            ours.ends()
            for role in ROLES:
                ours.run("DROP OWNED BY {} CASCADE", role)
                ours.run("DROP ROLE {}", role)


async def test_the_verifier_is_the_roles(shard):
    verifier = await shard.fetch().verifier_of("login_ann")
    row = shard.connection.execute(
        "SELECT rolpassword FROM pg_authid WHERE rolname = 'login_ann'"
    ).fetchone()
    assert verifier == read_verifier(row[0])
    assert derive_keys("pencil", verifier.salt, verifier.iterations).server_key == (
        verifier.server_key
    )


async def test_who_may_not_log_in_has_none(shard):
    fetch = shard.fetch()
    for user in (
        "login_nologin",
        "login_super",
        "login_bare",
        "nobody",
        "LOGIN_ANN",
        "login_ann ",
        "login_an%",
        "'; DROP TABLE x; --",
        "pg_monitor",
    ):
        assert await fetch.verifier_of(user) is None, user


async def test_passwords_that_expired(shard):
    for ends, is_known in ((timedelta(hours=1), True), (timedelta(hours=-1), False)):
        shard.connection.execute(
            sql.SQL("ALTER ROLE login_late VALID UNTIL {}").format(
                sql.Literal(str(datetime.now(UTC) + ends))
            )
        )
        assert (await shard.fetch().verifier_of("login_late") is not None) == is_known


async def test_answers_are_believed_for_a_while(shard):
    clock = Clock()
    fetch = shard.fetch(clock)
    first = await fetch.verifier_of("login_ann")
    assert await fetch.verifier_of("login_new") is None
    shard.run("ALTER ROLE {} PASSWORD 'crayon'", "login_ann")
    clock.now += 9.9
    assert await fetch.verifier_of("login_ann") is first
    clock.now += 0.2
    assert await fetch.verifier_of("login_ann") != first
    shard.run("ALTER ROLE {} NOLOGIN", "login_ann")
    clock.now += 10
    assert await fetch.verifier_of("login_ann") is None


async def test_nothing_is_believed_where_nothing_may_be(shard):
    fetch = shard.fetch(cache_seconds=0.0)
    assert await fetch.verifier_of("login_ann") is not None
    shard.run("ALTER ROLE {} PASSWORD NULL", "login_ann")
    assert await fetch.verifier_of("login_ann") is None


async def test_a_wrong_proof_makes_the_next_login_ask_anew(shard):
    clock = Clock()
    fetch = shard.fetch(clock)
    first = await fetch.verifier_of("login_ann")
    shard.run("ALTER ROLE {} PASSWORD 'crayon'", "login_ann")
    fetch.forget("login_ann")  # too young: else wrong proofs would be questions to the shard
    assert await fetch.verifier_of("login_ann") is first
    clock.now += 1
    fetch.forget("login_ann")
    assert await fetch.verifier_of("login_ann") != first


async def test_one_question_for_many_clients(shard):
    fetch = shard.fetch()
    answers = await asyncio.gather(*[fetch.verifier_of("login_ann") for _ in range(50)])
    assert len({id(answer) for answer in answers}) == 1
    assert shard.connections() == 1


async def test_the_first_to_ask_may_leave(shard):
    fetch = shard.fetch()
    first = asyncio.ensure_future(fetch.verifier_of("login_ann"))
    await asyncio.sleep(0)
    second = asyncio.ensure_future(fetch.verifier_of("login_ann"))
    await asyncio.sleep(0)
    first.cancel()
    assert await second is not None


async def test_a_connection_that_broke_is_made_anew(shard):
    clock = Clock()
    fetch = shard.fetch(clock)
    assert await fetch.verifier_of("login_ann") is not None
    shard.ends()
    await eventually_async(lambda: shard.connections() == 0)
    clock.now += 60
    assert await fetch.verifier_of("login_ann") is not None


async def test_nobody_comes_in_while_no_shard_answers(shard, caplog):
    places = ["host=127.0.0.1 port=1 user=x password=hidden dbname=x"]
    fetch = shard.fetch(dsn=lambda: places[0])
    with pytest.raises(LoginRefused) as caught:
        await fetch.verifier_of("login_ann")
    assert caught.value.sqlstate == "57P03"
    places[0] = shard.dsn
    assert await fetch.verifier_of("login_ann") is not None
    assert "hidden" not in caplog.text


async def test_the_function_shows_nothing_to_others(shard):
    with closing(psycopg.connect(shard.dsn, autocommit=True)) as caller:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            caller.execute("SELECT rolpassword FROM pg_authid")
    with closing(psycopg.connect(shard.dsn, user="login_ann", autocommit=True)) as other:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            other.execute("SELECT shardrouter.proxy_login('login_ann')")


HOSTILE = """
CREATE SCHEMA evil;
CREATE TABLE evil.called (what text);
GRANT ALL ON SCHEMA evil TO PUBLIC;
GRANT ALL ON evil.called TO PUBLIC;
CREATE FUNCTION evil.noted(what text) RETURNS void LANGUAGE sql AS
  $$ INSERT INTO evil.called VALUES (what) $$;
CREATE FUNCTION evil.equal(name, text) RETURNS boolean LANGUAGE plpgsql AS
  $$ BEGIN PERFORM evil.noted('operator'); RETURN true; END $$;
CREATE OPERATOR evil.= (LEFTARG = name, RIGHTARG = text, FUNCTION = evil.equal);
CREATE VIEW evil.pg_authid AS SELECT 'login_ann'::name AS rolname, 'x'::text AS rolpassword,
  true AS rolcanlogin, false AS rolsuper, NULL::timestamptz AS rolvaliduntil;
CREATE FUNCTION evil.set_config(text, text, boolean) RETURNS text LANGUAGE plpgsql AS
  $$ BEGIN PERFORM evil.noted('set_config'); RETURN ''; END $$;
CREATE FUNCTION evil.clock_timestamp() RETURNS timestamptz LANGUAGE plpgsql AS
  $$ BEGIN PERFORM evil.noted('clock'); RETURN '-infinity'; END $$;
CREATE DOMAIN evil.text AS pg_catalog.text CHECK (evil.noted('domain') IS NULL);
"""


async def test_a_clients_startup_reaches_no_connection_before_its_login(shard):
    """CVE-2025-12819: the client's search_path was applied where its verifier was asked for."""
    shard.connection.execute(HOSTILE)
    shard.run("ALTER ROLE {} SET search_path = evil, pg_catalog", CALLER)
    fetch = shard.fetch()
    before = await fetch.verifier_of("login_late")
    assert before is not None
    async with doorstep(make_door(users={}, fetch=fetch)) as bed:
        client = await bed.raw()
        wishes = {
            "user": "login_ann",
            "database": "app",
            "search_path": "evil, pg_catalog",
            "options": "-c search_path=evil,pg_catalog -c role=login_super",
            "application_name": "evil",
        }
        client.say(messages.startup(wishes))
        assert (await client.message())[0] == b"R"
        path = "SELECT count(*) FROM evil.called"
        assert shard.connection.execute(path).fetchone() == (0,)
        facts = shard.connection.execute(
            "SELECT usename, application_name FROM pg_stat_activity WHERE usename = %s", [CALLER]
        ).fetchall()
        assert facts == [(CALLER, "shardrouter-login")]
        assert await bed.connect("login_ann", password="pencil") == "ok"
        client.writer.transport.abort()
    shard.connection.execute("DROP SCHEMA evil CASCADE")


async def test_a_frozen_shard_holds_nobody_up_for_ever(shard, monkeypatch):
    monkeypatch.setattr("shardrouter.proxy.login.fetch.ANSWER_SECONDS", 0.3)
    clock = Clock()
    fetch = shard.fetch(clock)
    assert await fetch.verifier_of("login_ann") is not None
    clock.now += 60
    with shard.connection.transaction():
        shard.connection.execute("LOCK TABLE pg_catalog.pg_authid IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(LoginRefused):
            await fetch.verifier_of("login_ann")
    assert await fetch.verifier_of("login_ann") is not None
