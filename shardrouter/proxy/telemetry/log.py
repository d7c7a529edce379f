"""Log lines of the proxy: one line an event, ``event key=value`` or JSON; no secret in any.

Whatever a client sends, it stays inside its value: values are quoted where they need it, control
characters are escaped. Secrets are masked in the finished value, wherever they come from.
"""

import json
import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final, Literal

from shardrouter.proxy.telemetry.log_secrets import masked

_EVENT: Final = re.compile(r"[a-z](?:\w|%s)*")
_FIELD: Final = re.compile(r"(?:(\w+)=)?(%[-+ #0]*\d*(?:\.\d+)?[srdgfaixX])|%%|(\w+)=(\S+)")
_SIMPLE: Final = re.compile(r"[^\s\"'=\\\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")
_UNPRINTABLE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\\\"]")


def set_up_logging(log_format: Literal["text", "json"], level: int = logging.INFO) -> None:
    """Log to stderr in that form from now on, in place of whatever was set up before.

    What libraries say is kept from warnings up.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines() if log_format == "json" else TextLines())
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(max(level, logging.WARNING))
    logging.getLogger("shardrouter").setLevel(level)


class TextLines(logging.Formatter):
    """``2026-01-02T03:04:05.678Z INFO shardrouter.proxy.parent.process proxy_listens ...``"""

    def format(self, record: logging.LogRecord) -> str:
        event, fields = _taken_apart(record)
        words = [_time(record), record.levelname, record.name, _escaped(event)]
        words += [f"{key}={_quoted(value)}" for key, value in fields.items()]
        return " ".join(words)


class JsonLines(logging.Formatter):
    """One JSON object a line: time, level, logger, event, and the fields of the event."""

    def format(self, record: logging.LogRecord) -> str:
        event, fields = _taken_apart(record)
        line = {"time": _time(record), "level": record.levelname, "logger": record.name}
        # A field never hides what the line itself says.
        extra = {f"{key}_" if key in (*line, "event") else key: v for key, v in fields.items()}
        return json.dumps(line | {"event": event} | extra, default=str)


def _taken_apart(record: logging.LogRecord) -> tuple[str, dict[str, Any]]:
    """Return event and fields. The template says what is a field, never the values in it."""
    event, _, rest = str(record.msg).partition(" ")
    values = iter(record.args if isinstance(record.args, tuple) else ())
    fields: dict[str, Any] | None = None
    if _EVENT.fullmatch(event) and not isinstance(record.args, Mapping):
        with suppress(StopIteration, TypeError, ValueError):
            event = re.sub("%s", lambda _: str(next(values)), event)
            fields = _fields(rest, values)
    if fields is None:  # not written by our rules, or by a wrong call: it must not cost the line
        event, fields = "message", {"text": _plain(record)}
    if record.exc_info and record.exc_info[0] is not None:
        fields["traceback"] = logging.Formatter().formatException(record.exc_info)
    return masked(event), {k: masked(v) if isinstance(v, str) else v for k, v in fields.items()}


def _fields(rest: str, values: Iterator[Any]) -> dict[str, Any] | None:
    """Return the fields of ``key=%s key=constant %s``; the last without a key is ``text``."""
    fields: dict[str, Any] = {}
    for match in _FIELD.finditer(rest):
        name, spec, constant_name, constant = match.groups()
        if constant_name is not None:
            fields[constant_name] = constant
        elif spec is not None:
            fields[name or "text"] = _value(spec, next(values))
    if _FIELD.sub("", rest).strip() or next(values, fields) is not fields:
        return None  # words besides the fields, or values without a place
    return fields


def _value(spec: str, value: Any) -> Any:
    """Return a number as a number, anything else as the text it asks for."""
    if spec[-1] in "dgfi" and isinstance(value, int | float) and not isinstance(value, bool):
        return float(spec % value) if isinstance(value, float) else value
    if spec[-1] == "r" and isinstance(value, str):
        return value  # was only there for the quotes
    return spec % (value,)


def _plain(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except (TypeError, ValueError):  # a wrong call must not cost the line
        return f"{record.msg} {record.args!r}"


def _time(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"


def _quoted(value: Any) -> str:
    text = value if isinstance(value, str) else f"{value}"
    return text if _SIMPLE.fullmatch(text) else f'"{_escaped(text)}"'


def _escaped(text: str) -> str:
    return _UNPRINTABLE.sub(lambda match: _escape(match[0]), text)


def _escape(character: str) -> str:
    if character in '\\"':
        return "\\" + character
    return json.dumps(character)[1:-1]


def words_of(line: str) -> Iterator[tuple[str, str]]:
    """Yield key and value of a text line's fields: the inverse of what is written."""
    for match in re.finditer(r'(\w+)=(?:"((?:[^"\\]|\\.)*)"|(\S*))', line):
        quoted, plain = match[2], match[3]
        yield match[1], plain if quoted is None else json.loads(f'"{quoted}"')
