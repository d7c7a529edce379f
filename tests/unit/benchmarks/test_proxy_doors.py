"""Contenders are set up alike, and the amounts that are sent are the ones that are counted."""

import struct

import pytest

from benchmarks import run
from benchmarks.measure import WrongAnswer
from benchmarks.progress import Progress
from benchmarks.proxy.bulk import BLOCK_ROWS, Checksum, copy_block, result_bytes
from benchmarks.proxy.doors import OURS, PEER, Door, environment, started
from benchmarks.proxy.ours import settings_text
from benchmarks.proxy.peer import auth_rules, knows_prepared
from benchmarks.proxy.scram_keys import ScramKeys
from benchmarks.proxy.side_by_side import SideBySide, in_turn, interleaved
from shardrouter.config import load_settings

LOGINS = {"alice": ScramKeys.of("pencil", b"sixteen bytes ok")}


def test_the_suite_is_found_and_repeats_nothing_pure():
    found = run.benchmarks_of("proxy", None)
    assert len({item.name for item in found}) == len(found) >= 5
    assert not any(item.is_repeated_pure for item in found)


def test_our_settings_are_valid_and_say_what_the_peer_is_told_as_well(tmp_path):
    path = tmp_path / "shardrouter.toml"
    path.write_text(
        settings_text(6432, "postgresql://h/c", tmp_path / "u", tmp_path, auth_rules(LOGINS))
    )
    settings = load_settings(path)
    assert settings.proxy.workers == 1
    assert settings.proxy_pool.size == 20
    assert settings.proxy_pool.mode == "transaction"
    assert settings.proxy_auth.rules == (
        "host all alice 127.0.0.1/32 scram-sha-256",
        "host all all 127.0.0.1/32 trust",
    )


@pytest.mark.parametrize(
    ("version", "knows"),
    [("1.18.0", False), ("1.20", False), ("1.21.0", True), ("1.25", True), ("", False)],
)
def test_versions_that_keep_prepared_statements(version, knows):
    assert knows_prepared(version) == knows


def test_environment_hides_what_changes_a_program(monkeypatch):
    monkeypatch.setenv("PGHOST", "elsewhere")
    monkeypatch.setenv("SHARDROUTER__PROXY__WORKERS", "7")
    monkeypatch.setenv("SHARDROUTER_PURE", "1")
    kept = environment(SHARDROUTER_PURE=None, PGSSLMODE="disable")
    assert kept["PGSSLMODE"] == "disable"
    assert not {"PGHOST", "SHARDROUTER__PROXY__WORKERS", "SHARDROUTER_PURE"} & kept.keys()
    assert environment(SHARDROUTER_PURE="1")["SHARDROUTER_PURE"] == "1"
    assert "PATH" in kept


def test_a_proxy_that_ends_at_once_shows_its_log(tmp_path):
    command = ["sh", "-c", "echo no such setting; exit 3"]
    with pytest.raises(WrongAnswer, match="no such setting"):
        with started(OURS, command, 1, tmp_path / "log"):
            pass


@pytest.mark.parametrize("count", [1, 9, 10, 123])
def test_bytes_of_a_result(count):
    columns = b"".join(name + b"\0" + bytes(18) for name in (b"generate_series", b"repeat"))
    parts = [struct.pack("!cIh", b"T", 6 + len(columns), 2) + columns]
    for number in range(1, count + 1):
        values = [str(number).encode(), b"x" * 1000]
        body = b"".join(struct.pack("!I", len(value)) + value for value in values)
        parts.append(struct.pack("!cIh", b"D", 6 + len(body), 2) + body)
    tag = f"SELECT {count}\0".encode()
    parts += [struct.pack("!cI", b"C", 4 + len(tag)) + tag, b"Z\0\0\0\5I"]
    assert result_bytes(count) == len(b"".join(parts))


def test_copy_block_is_whole_messages_with_the_kept_row_at_its_end():
    block = copy_block()
    at = rows = 0
    while at < len(block):
        kind, length = struct.unpack_from("!cI", block, at)
        assert kind == b"d"
        last = block[at + 5 : at + 1 + length]
        at += 1 + length
        rows += 1
    assert rows == BLOCK_ROWS
    assert last.startswith(f"{BLOCK_ROWS}\tx".encode())


def test_checksum_does_not_depend_on_the_pieces():
    one, two = Checksum(), Checksum()
    one.add(memoryview(b"some bytes"))
    for piece in (b"some", b" ", b"bytes"):
        two.add(memoryview(piece))
    assert one.value == two.value != Checksum().value


def test_contenders_take_turns_after_a_warm_up():
    log = []
    blocks = {name: lambda name=name: log.append(name) or len(log) for name in "ab"}
    assert interleaved(blocks, 2, Progress()) == {"a": [3, 6], "b": [4, 5]}
    assert log == [*"ab", *"ab", *"ba"]
    assert in_turn(blocks, 1, Progress()) == {"a": [7], "b": [8]}


def test_each_names_its_notes_and_leaves_one_out():
    compared = SideBySide({PEER: [2.0], OURS: [3.0]}, {PEER: "session pooling"})
    rows = compared.each("cost", "us", float, leave_out=OURS)
    assert [row.name for row in rows] == ["cost: pgbouncer (session pooling)"]


def test_a_door_is_an_address():
    assert Door(PEER, 6432).dsn.startswith("host=127.0.0.1 port=6432 user=postgres dbname=app ")
