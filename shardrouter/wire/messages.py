"""Build the messages of the Postgres protocol, and read the few that are read by field.

Pure: values to bytes and back. Text is UTF-8 unless bytes are given. A builder never makes a
message that means something else: a NUL would end a string early, so it is refused where the value
is a name or a value, and replaced where it is text for people.
"""

import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

PROTOCOL_3_0: Final = 3 << 16
PROTOCOL_3_2: Final = 3 << 16 | 2
SSL_REQUEST_CODE: Final = 1234 << 16 | 5679
GSSENC_REQUEST_CODE: Final = 1234 << 16 | 5680
CANCEL_REQUEST_CODE: Final = 1234 << 16 | 5678

TEXT_OID: Final = 25

SYNC: Final = b"S\0\0\0\4"
FLUSH: Final = b"H\0\0\0\4"
TERMINATE: Final = b"X\0\0\0\4"
COPY_DONE: Final = b"c\0\0\0\4"
PARSE_COMPLETE: Final = b"1\0\0\0\4"
BIND_COMPLETE: Final = b"2\0\0\0\4"
CLOSE_COMPLETE: Final = b"3\0\0\0\4"
NO_DATA: Final = b"n\0\0\0\4"
EMPTY_QUERY_RESPONSE: Final = b"I\0\0\0\4"
PORTAL_SUSPENDED: Final = b"s\0\0\0\4"
AUTHENTICATION_OK: Final = b"R\0\0\0\x08\0\0\0\0"
SSL_REQUEST: Final = struct.pack("!II", 8, SSL_REQUEST_CODE)
GSSENC_REQUEST: Final = struct.pack("!II", 8, GSSENC_REQUEST_CODE)

_UINT: Final = struct.Struct("!I")
_USHORT: Final = struct.Struct("!H")
_HEADER: Final = struct.Struct("!cI")
_COLUMN: Final = struct.Struct("!IhIhih")  # table, column, type, size, modifier, format

Text = str | bytes


def typed(kind: bytes, body: bytes = b"") -> bytes:
    """Return any message that starts with its type byte."""
    return _HEADER.pack(kind, len(body) + 4) + body


def _string(value: Text) -> bytes:
    """Return the value with its closing NUL. Raises ValueError where it holds one itself."""
    raw = value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value
    if b"\0" in raw:
        raise ValueError("a NUL inside a string of the protocol")
    return raw + b"\0"


def _prose(value: str) -> bytes:
    """Return text for people with its closing NUL; whatever it holds, it stays one string."""
    return value.replace("\0", "\ufffd").encode("utf-8", "replace") + b"\0"


# To clients


def error_response(
    severity: str,
    sqlstate: str,
    message: str,
    hint: str | None = None,
    detail: str | None = None,
) -> bytes:
    """Return ErrorResponse; severity is ERROR, FATAL or PANIC."""
    return _report(b"E", severity, sqlstate, message, hint, detail)


def notice(
    severity: str,
    sqlstate: str,
    message: str,
    hint: str | None = None,
    detail: str | None = None,
) -> bytes:
    """Return NoticeResponse; severity is WARNING, NOTICE, INFO, LOG or DEBUG."""
    return _report(b"N", severity, sqlstate, message, hint, detail)


def _report(
    kind: bytes, severity: str, sqlstate: str, text: str, hint: str | None, detail: str | None
) -> bytes:
    level = _string(severity)
    body = b"S" + level + b"V" + level + b"C" + _string(sqlstate) + b"M" + _prose(text)
    if detail is not None:
        body += b"D" + _prose(detail)
    if hint is not None:
        body += b"H" + _prose(hint)
    return typed(kind, body + b"\0")


def ready(status: bytes = b"I") -> bytes:
    """Return ReadyForQuery; the status is I, T or E."""
    return b"Z\0\0\0\5" + status


def parameter_status(name: Text, value: Text) -> bytes:
    """Return ParameterStatus."""
    return typed(b"S", _string(name) + _string(value))


def backend_key_data(pid: int, key: bytes) -> bytes:
    """Return BackendKeyData; the key is 4 bytes in protocol 3.0, up to 256 in 3.2."""
    return typed(b"K", _UINT.pack(pid & 0xFFFFFFFF) + key)


def negotiate(newest_version: int, unknown_options: Iterable[Text] = ()) -> bytes:
    """Return NegotiateProtocolVersion: the newest version spoken, the options not understood."""
    names = [_string(name) for name in unknown_options]
    return typed(b"v", _UINT.pack(newest_version) + _UINT.pack(len(names)) + b"".join(names))


def row_description(names: Sequence[Text]) -> bytes:
    """Return RowDescription of columns that are all text."""
    column = _COLUMN.pack(0, 0, TEXT_OID, -1, -1, 0)
    return typed(
        b"T", _USHORT.pack(len(names)) + b"".join(_string(name) + column for name in names)
    )


def data_row(values: Sequence[bytes | None]) -> bytes:
    """Return DataRow; None is NULL."""
    return typed(b"D", _USHORT.pack(len(values)) + b"".join(map(_value, values)))


def command_complete(tag: Text) -> bytes:
    """Return CommandComplete, as ``SELECT 3``."""
    return typed(b"C", _string(tag))


def parameter_description(type_oids: Sequence[int]) -> bytes:
    """Return ParameterDescription."""
    return typed(b"t", _USHORT.pack(len(type_oids)) + b"".join(map(_UINT.pack, type_oids)))


def authentication_sasl(mechanisms: Iterable[Text]) -> bytes:
    """Return AuthenticationSASL: the mechanisms offered, best first."""
    return typed(b"R", _UINT.pack(10) + b"".join(map(_string, mechanisms)) + b"\0")


def authentication_sasl_continue(data: bytes) -> bytes:
    """Return AuthenticationSASLContinue."""
    return typed(b"R", _UINT.pack(11) + data)


def authentication_sasl_final(data: bytes) -> bytes:
    """Return AuthenticationSASLFinal."""
    return typed(b"R", _UINT.pack(12) + data)


# To backends


def query(text: Text) -> bytes:
    """Return Query of the simple protocol."""
    return typed(b"Q", _string(text))


def parse(name: Text, text: Text, type_oids: Sequence[int] = ()) -> bytes:
    """Return Parse; type 0 leaves the choice to the server."""
    oids = b"".join(map(_UINT.pack, type_oids))
    return typed(b"P", _string(name) + _string(text) + _USHORT.pack(len(type_oids)) + oids)


def bind(
    portal: Text,
    statement: Text,
    values: Sequence[bytes | None] = (),
    result_formats: Sequence[int] = (),
) -> bytes:
    """Return Bind with values as text; no result format means all as text."""
    formats = b"".join(map(_USHORT.pack, result_formats))
    return typed(
        b"B",
        _string(portal)
        + _string(statement)
        + b"\0\0"
        + _USHORT.pack(len(values))
        + b"".join(map(_value, values))
        + _USHORT.pack(len(result_formats))
        + formats,
    )


def describe(kind: bytes, name: Text) -> bytes:
    """Return Describe; the kind is S (statement) or P (portal)."""
    return typed(b"D", kind + _string(name))


def execute(portal: Text = b"", max_rows: int = 0) -> bytes:
    """Return Execute; 0 rows means all."""
    return typed(b"E", _string(portal) + _UINT.pack(max_rows))


def close(kind: bytes, name: Text) -> bytes:
    """Return Close; the kind is S (statement) or P (portal)."""
    return typed(b"C", kind + _string(name))


def sync() -> bytes:
    """Return Sync."""
    return SYNC


def flush() -> bytes:
    """Return Flush."""
    return FLUSH


def terminate() -> bytes:
    """Return Terminate."""
    return TERMINATE


def sasl_initial_response(mechanism: Text, data: bytes) -> bytes:
    """Return SASLInitialResponse."""
    return typed(b"p", _string(mechanism) + _UINT.pack(len(data)) + data)


def sasl_response(data: bytes) -> bytes:
    """Return SASLResponse."""
    return typed(b"p", data)


def startup(parameters: Mapping[str, Text], version: int = PROTOCOL_3_0) -> bytes:
    """Return StartupMessage."""
    pairs = b"".join(_string(name) + _string(value) for name, value in parameters.items())
    return _UINT.pack(len(pairs) + 9) + _UINT.pack(version) + pairs + b"\0"


def cancel_request(pid: int, key: bytes) -> bytes:
    """Return CancelRequest."""
    head = struct.pack("!III", 12 + len(key), CANCEL_REQUEST_CODE, pid & 0xFFFFFFFF)
    return head + key


def ssl_request() -> bytes:
    """Return SSLRequest."""
    return SSL_REQUEST


def _value(value: bytes | None) -> bytes:
    return b"\xff\xff\xff\xff" if value is None else _UINT.pack(len(value)) + value


# Reading


def read_error_fields(body: bytes) -> dict[str, str]:
    """Return the fields of an ErrorResponse or NoticeResponse by their letter.

    Whatever the body holds, nothing is raised: a field without its end is taken as far as it goes.
    """
    fields: dict[str, str] = {}
    for field in body.split(b"\0"):
        if not field:
            break
        fields.setdefault(chr(field[0]), field[1:].decode("utf-8", "replace"))
    return fields


def read_strings(body: bytes) -> list[bytes]:
    """Return the NUL-closed strings of a body; ValueError where the last has no end."""
    if body and body[-1]:
        raise ValueError("a string without an end")
    return body.split(b"\0")[:-1]
