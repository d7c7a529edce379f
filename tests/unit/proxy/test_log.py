"""Log lines: one an event, values that stay values, no secrets."""

import io
import json
import logging
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardrouter.proxy.telemetry import log_events
from shardrouter.proxy.telemetry.log import JsonLines, TextLines, set_up_logging, words_of
from shardrouter.proxy.telemetry.log_events import ConnectionEnd, log_connection_end, log_slow_query
from shardrouter.proxy.telemetry.log_secrets import masked

NAME = "shardrouter.proxy.test"


def record(message: object, *args: object, exc_info: Any = None) -> logging.LogRecord:
    made = logging.LogRecord(NAME, logging.INFO, "file", 1, message, args, exc_info)
    made.created = 1767323045.6789
    return made


def text_of(message: object, *args: object) -> str:
    return TextLines().format(record(message, *args))


def json_of(message: object, *args: object) -> dict[str, Any]:
    line = JsonLines().format(record(message, *args))
    assert "\n" not in line
    found = json.loads(line)
    assert isinstance(found, dict)
    return found


@pytest.fixture
def restored() -> Iterator[None]:
    """Give the logging of the test run back."""
    root, ours = logging.getLogger(), logging.getLogger("shardrouter")
    before = (root.handlers[:], root.level, ours.level)
    yield
    root.handlers[:], root.level, ours.level = before[0], before[1], before[2]


def test_a_text_line() -> None:
    assert text_of("proxy_listens address=%s workers=%d", "127.0.0.1:6432", 2) == (
        "2026-01-02T03:04:05.678Z INFO shardrouter.proxy.test proxy_listens"
        " address=127.0.0.1:6432 workers=2"
    )


def test_a_json_line() -> None:
    assert json_of("client_left user=%s seconds=%.1f queries=%d", "ada", 1.26, 3) == {
        "time": "2026-01-02T03:04:05.678Z",
        "level": "INFO",
        "logger": NAME,
        "event": "client_left",
        "user": "ada",
        "seconds": 1.3,
        "queries": 3,
    }


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("plain", "plain"),
        ("", '""'),
        ("two words", '"two words"'),
        ('quo"te', '"quo\\"te"'),
        ("a=b", '"a=b"'),
        ("new\nline", '"new\\nline"'),
        ("\x1b[31m", '"\\u001b[31m"'),
        ("\u2028", '"\\u2028"'),
        ("zażółć", "zażółć"),
        ("\udcff", '"\\udcff"'),
    ],
)
def test_how_values_are_written(value: str, written: str) -> None:
    assert text_of("event user=%s", value).endswith(f"event user={written}")


@given(st.text(), st.text())
def test_no_value_can_make_a_line_or_a_field(user: str, database: str) -> None:
    line = text_of("client_left user=%s database=%s", user, database)
    assert len(line.splitlines()) == 1
    fields = dict(words_of(line.split(" ", 3)[3]))
    assert fields == {"user": masked(user), "database": masked(database)}
    found = json_of("client_left user=%s database=%s", user, database)
    assert (found["user"], found["database"]) == (masked(user), masked(database))


def test_an_event_whose_name_is_formatted() -> None:
    assert json_of("node_%s node=%s", "down", "s0-p")["event"] == "node_down"


def test_text_behind_the_fields_is_a_field() -> None:
    found = json_of("catalog_trouble epoch=%d %s", 7, "no answer")
    assert (found["epoch"], found["text"]) == (7, "no answer")


def test_constants_are_fields() -> None:
    assert json_of("event kind=fixed n=%d", 1)["kind"] == "fixed"


@pytest.mark.parametrize(
    ("message", "args"),
    [
        ("Something a library says: %s", ("x",)),
        ("event hint=set the password anew", ()),
        ("event a=%d", ("no number",)),
        ("event a=%s", ()),
        ("event a=%s", (1, 2)),
        ("event a=%(a)s", ({"a": 1},)),
        ("100 %", ()),
        (ValueError("an object"), ()),
    ],
)
def test_what_follows_no_rules_is_written_all_the_same(message: object, args: Any) -> None:
    found = json_of(message, *args)
    assert found["event"] == "message"
    assert found["text"]
    assert " message text=" in text_of(message, *args)


def test_a_field_does_not_hide_what_the_line_says() -> None:
    found = json_of("event level=%s time=%s event=%s", "x", "y", "z")
    assert (found["level"], found["level_"], found["event"]) == ("INFO", "x", "event")


@pytest.mark.parametrize("form", [TextLines(), JsonLines()])
def test_a_traceback_stays_on_the_line(form: logging.Formatter) -> None:
    try:
        raise ValueError("broken\npassword=hunter2")
    except ValueError:
        line = form.format(record("loop_failed name=%s", "x", exc_info=sys.exc_info()))
    assert len(line.splitlines()) == 1
    assert "ValueError" in line
    assert "hunter2" not in line


@pytest.mark.parametrize(
    "text",
    [
        "host=db password=hunter2",
        "host=db password = 'hunter2 hunter2'",
        "host=db password='hunter2\\' hunter2'",
        "host=db sslpassword=hunter2",
        "postgresql://ada:hunter2@db/app",
        "postgresql://ada:hunter2%40x@db/app",
        "postgresql://ada@db/app?password=hunter2&x=1",
        "ALTER ROLE ada PASSWORD 'hunter2'",
        "alter role ada password 'it''s hunter2'",
        "ALTER ROLE ada PASSWORD E'a\\'hunter2'",
        "ALTER ROLE ada PASSWORD $$hunter2$$",
        "ALTER ROLE ada PASSWORD $a$hunter2$a$",
        "ALTER ROLE ada PASSWORD 'hunter2",
        "SCRAM-SHA-256$4096:hunter2$hunter2:hunter2",
        '"ada" "SCRAM-SHA-256$4096:hunter2" "client-key:hunter2hunter2="',
        "{'password': 'hunter2'}",
        '{"client_secret": "hunter2"}',
    ],
)
def test_secrets_are_masked(text: str) -> None:
    for line in (text_of("event reason=%s", text), json.dumps(json_of("event reason=%s", text))):
        assert "hunter2" not in line
        assert "***" in line


@pytest.mark.parametrize("text", ["password authentication failed", "no password", "a:b@c", ""])
def test_what_is_no_secret_stays(text: str) -> None:
    assert masked(text) == text


@pytest.mark.parametrize("form", ["text", "json"])
def test_setting_up(form: Any, restored: None, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    for _ in range(2):  # the second replaces the first
        set_up_logging(form)
    logging.getLogger(NAME).info("event a=%d", 1)
    logging.getLogger(NAME).debug("event a=%d", 2)
    logging.getLogger("uvicorn").info("chatter")
    logging.getLogger("uvicorn").warning("trouble")
    lines = stream.getvalue().splitlines()
    assert len(lines) == 2
    assert ("a=1" in lines[0]) == (form == "text")


def test_the_end_of_a_client(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, log_events.__name__)
    log_connection_end(
        ConnectionEnd(7, "a\nb", "app", "10.0.0.1:5", 1.5, 3, 10, 20, "57P01 the proxy stops")
    )
    line = TextLines().format(caplog.records[0])
    assert line.partition("client_left ")[2] == (
        'client=7 user="a\\nb" database=app address=10.0.0.1:5 seconds=1.5 queries=3 bytes_in=10'
        ' bytes_out=20 reason="57P01 the proxy stops"'
    )


def test_a_slow_query(caplog: pytest.LogCaptureFixture) -> None:
    log_slow_query(
        b"SELECT 1 FROM t WHERE name = 'ada'",
        seconds=1.2345,
        client=7,
        user="ada",
        database="app",
        shard="s0",
        node="s0-p",
    )
    found = json.loads(JsonLines().format(caplog.records[0]))
    assert (found["event"], found["ms"]) == ("slow_query", 1234)
    assert found["query"] == "SELECT ? FROM t WHERE name = ?"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (b"select  1,\n -2.5e3,'x'", "select ?, -?,?"),
        (b"insert into t values ($1, E'a\\'b', B'101', $$b$$, $t$ ' $t$)",
         "insert into t values ($1, ?, ?, ?, ?)"),
        (b"/* user ada */ select 'a' -- password\n from \"My Table\"", 'select ? from "My Table"'),
        (b"ALTER ROLE ada PASSWORD 'hunter2'", "ALTER ROLE ada PASSWORD ?"),
        (b"select 'never closed", "select ?"),
        (b"select U&'x', U&\"y\"", 'select ?, U&"y"'),
        (b"", ""),
        (b"select 1\0\0\1\0\0\0\x17", "select ?"),
        (b"\xff\xfe", "\ufffd\ufffd"),
    ],
)  # fmt: skip
def test_statements_are_shown_without_values(text: bytes, shown: str) -> None:
    assert log_events.without_values(text) == shown


def test_long_statements_are_shortened() -> None:
    many = b"select " + b", ".join(b"column_%d" % n for n in range(500))
    assert len(log_events.without_values(many)) == log_events.MOST_CHARACTERS
    assert log_events.without_values(many).endswith("...")
    literal = b"select '" + b"hunter2 " * 100_000 + b"', 2"
    assert log_events.without_values(literal) == "select ?..."


def test_strings_are_read_as_the_session_reads_them() -> None:
    text = rb"select 'a\' or secret'"
    assert "secret" not in log_events.without_values(text, standard_strings=False)


def test_a_text_in_an_encoding_that_cannot_be_read_is_not_shown() -> None:
    shown = log_events.without_values(b"select '\x95\\' secret'", ascii_safe_encoding=False)
    assert "secret" not in shown
    assert log_events.without_values(b"select 'x'", ascii_safe_encoding=False) == "select ?"
