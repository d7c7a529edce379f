"""Every command: who may run it, how it is written, what it prints."""

import asyncio
from typing import Any

import pytest

from shardrouter.errors import (
    AdminDenied,
    AdminError,
    AdminSyntaxError,
    NoSuchClient,
    UnknownShard,
)
from shardrouter.proxy.admin import COMMANDS, AdminContext, Answer, Command, calls_in, command
from shardrouter.proxy.admin.cells import text_of
from tests.support.fake_workers import CLIENT, NODE, POOL, FakeWorkers


@pytest.fixture
def workers() -> FakeWorkers:
    return FakeWorkers()


async def run(text: str, workers: FakeWorkers, **context: Any) -> Answer:
    [call] = calls_in(text)
    return await call.run(workers.context(**context))


def as_dicts(words: str, answer: Answer) -> list[dict[str, object]]:
    [found] = [each for each in COMMANDS if each.words == words]
    return [dict(zip(found.columns, row, strict=True)) for row in answer.rows]


def written(each: Command) -> str:
    return f"{each.words} 11" if each.argument == "client id" else each.words


@pytest.mark.parametrize("each", COMMANDS, ids=lambda each: each.words)
async def test_admin_users_may_run_it(each: Command, workers: FakeWorkers) -> None:
    workers.rows["pools"] = [[POOL | {"active": 0}]]
    answer = await run(written(each), workers)
    assert all(len(row) == len(each.columns) for row in answer.rows)


@pytest.mark.parametrize("each", COMMANDS, ids=lambda each: each.words)
async def test_nobody_else_may_and_nothing_is_asked(each: Command, workers: FakeWorkers) -> None:
    with pytest.raises(AdminDenied, match="ada"):
        await run(written(each), workers, user="ada")
    assert workers.asked == []
    assert AdminDenied.sqlstate == "42501"


def test_the_commands_are_those_of_the_documents() -> None:
    shown = {each.words for each in COMMANDS if each.tag == "SHOW"}
    assert shown == {
        f"SHOW {what}"
        for what in (
            *("SHARDS", "NODES", "POOLS", "CLIENTS", "BACKENDS", "STATS", "CONFIG", "VERSION"),
            *("LEASES", "MOVES", "WORKERS", "HELP"),
        )
    }
    others = {each.words for each in COMMANDS} - shown
    assert others == {"PAUSE", "RESUME", "RELOAD", "DRAIN", "KILL"}


@pytest.mark.parametrize(
    ("text", "words", "argument"),
    [
        ("show clients", "SHOW CLIENTS", ""),
        ("SHOW\n  Clients ;", "SHOW CLIENTS", ""),
        ("/* why */ show -- what\n clients;;", "SHOW CLIENTS", ""),
        ("show", "SHOW HELP", ""),
        ("pause", "PAUSE", ""),
        ("pause s0-p", "PAUSE", "s0-p"),
        ('PAUSE "s0"', "PAUSE", "s0"),
        ("kill 12", "KILL", "12"),
        ("kill '12'", "KILL", "12"),
    ],
)
def test_how_commands_may_be_written(text: str, words: str, argument: str) -> None:
    [call] = calls_in(text)
    assert (call.command.words, call.argument) == (words, argument)


@pytest.mark.parametrize(
    "text",
    ["select 1", "show tables", "show clients now", "kill", "kill 1 2", "drain s0", "kill'", '"'],
)
def test_what_is_no_command(text: str) -> None:
    with pytest.raises(AdminSyntaxError) as caught:
        calls_in(text)
    assert caught.value.hint


def test_the_hint_lists_every_command() -> None:
    with pytest.raises(AdminSyntaxError) as caught:
        calls_in("select 1")
    hint = caught.value.hint or ""
    assert all(each.words.rpartition(" ")[2] in hint for each in COMMANDS)


def test_several_commands_come_in_order() -> None:
    calls = calls_in("pause; show pools; ; resume")
    assert [call.command.words for call in calls] == ["PAUSE", "SHOW POOLS", "RESUME"]


async def test_clients_of_all_workers(workers: FakeWorkers) -> None:
    rows = as_dicts("SHOW CLIENTS", await run("show clients", workers))
    assert [row["id"] for row in rows] == [11, 12]
    assert rows[0]["pinned"] == "temporary table"


async def test_stats_have_times_in_milliseconds(workers: FakeWorkers) -> None:
    [row] = as_dicts("SHOW STATS", await run("show stats", workers))
    assert row["queries"] == 22
    assert row["errors"] == 2
    assert row["transactions"] == 22
    assert row["bytes_out"] == 2000
    assert row["query_p99_ms"] == pytest.approx(1.0, rel=0.5)
    assert row["wait_p99_ms"] is None


async def test_config_masks_secrets(workers: FakeWorkers) -> None:
    rows = as_dicts("SHOW CONFIG", await run("show config", workers))
    by_key = {row["key"]: row for row in rows}
    assert "hunter" not in str(rows)
    assert "db0" in str(by_key["catalog.dsn"]["value"])
    assert "db1" in str(by_key["proxy_auth.function_dsn"]["value"])
    assert by_key["proxy.drain_seconds"]["value"] == 0.25
    assert by_key["proxy.drain_seconds"]["default"] == 30.0
    assert by_key["proxy.drain_seconds"]["changes"] == "at reload"
    assert by_key["proxy.workers"]["changes"] == "at restart"


async def test_version_says_which_build_runs(workers: FakeWorkers) -> None:
    assert "shardrouter" in str((await run("show version", workers)).rows)


async def test_help_lists_itself_and_how_to_write_each(workers: FakeWorkers) -> None:
    rows = as_dicts("SHOW HELP", await run("show help", workers))
    assert {row["command"] for row in rows} == {each.usage for each in COMMANDS}
    assert "KILL client id" in {row["command"] for row in rows}
    assert all(row["does"] for row in rows)


async def test_pause_waits_until_nothing_runs(workers: FakeWorkers) -> None:
    pausing = asyncio.ensure_future(run("pause s0", workers))
    await asyncio.sleep(0.02)
    assert ("pause", {"target": "s0"}) in workers.asked
    assert not pausing.done()
    workers.rows["pools"] = [[POOL | {"active": 0}]]
    assert not (await pausing).notes


async def test_pause_gives_up_waiting_and_says_so(workers: FakeWorkers) -> None:
    workers.drains_seconds = 0.0
    assert "4 backends" in (await run("pause", workers)).notes[0]


async def test_pause_of_one_node_does_not_wait_for_others(workers: FakeWorkers) -> None:
    workers.rows["nodes"] = [[NODE, NODE | {"node": "s1-p", "shard": "s1"}]]
    assert not (await run("pause s1-p", workers)).notes


@pytest.mark.parametrize("word", ["pause", "resume"])
async def test_unknown_targets_are_refused(word: str, workers: FakeWorkers) -> None:
    with pytest.raises(UnknownShard) as caught:
        await run(f"{word} s9", workers)
    assert "s0-p" in (caught.value.hint or "")
    assert word not in [verb for verb, _ in workers.asked]


async def test_resume_and_drain(workers: FakeWorkers) -> None:
    await run("resume", workers)
    assert workers.asked[-1] == ("resume", {"target": ""})
    assert "0.25 s" in (await run("drain", workers)).notes[0]
    assert workers.asked[-1] == ("drain", {})


async def test_kill_asks_every_worker(workers: FakeWorkers) -> None:
    await run("kill 12", workers)
    assert workers.asked == [("kill", {"client_id": 12})]


async def test_kill_of_nobody(workers: FakeWorkers) -> None:
    workers.killed = [False, False]
    with pytest.raises(NoSuchClient, match="99"):
        await run("kill 99", workers)
    with pytest.raises(AdminSyntaxError):
        await run("kill everybody", workers)


async def test_reload_tells_what_needs_a_restart(workers: FakeWorkers) -> None:
    workers.reloaded = {
        "changed": [
            {"key": "proxy.workers", "before": 0, "after": 2},
            {"key": "proxy_pool.size", "before": 20, "after": 30},
        ],
        "restart": ["proxy.workers"],
    }
    rows = as_dicts("RELOAD", await run("reload", workers))
    assert [row["effect"] for row in rows] == ["after a restart", "now"]


async def test_reload_of_the_same_file(workers: FakeWorkers) -> None:
    answer = await run("reload", workers)
    assert (list(answer.rows), len(answer.notes)) == ([], 1)


async def test_a_silent_worker_does_not_hang_the_command(
    workers: FakeWorkers, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def silence(verb: str, **arguments: Any) -> Any:
        await asyncio.Event().wait()

    monkeypatch.setattr(command, "ANSWER_SECONDS", 0.01)
    context = AdminContext("shardrouter_admin", silence, silence, workers.settings)
    for text in ("show clients", "drain"):
        [call] = calls_in(text)
        with pytest.raises(AdminError, match="did not answer"):
            await call.run(context)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "yes"),
        (False, "no"),
        (3, "3"),
        (1.0, "1"),
        (12.34567, "12.346"),
        (0.0001, "0"),
        (["a", "b"], "a, b"),
        ((), ""),
        ("x\ny", "x\ny"),
    ],
)
def test_cells(value: object, text: str) -> None:
    assert text_of(value) == text


def test_the_examples_are_whole_rows() -> None:
    assert set(CLIENT) == set(next(c for c in COMMANDS if c.words == "SHOW CLIENTS").columns)
