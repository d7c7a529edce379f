import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardrouter.wire import messages


def test_an_error_says_all_it_has():
    raw = messages.error_response("FATAL", "28P01", "no", hint="ask", detail="why")
    assert raw[:1] == b"E"
    assert int.from_bytes(raw[1:5]) == len(raw) - 1
    assert messages.read_error_fields(raw[5:]) == {
        "S": "FATAL",
        "V": "FATAL",
        "C": "28P01",
        "M": "no",
        "D": "why",
        "H": "ask",
    }


def test_text_for_people_stays_one_field():
    fields = messages.read_error_fields(messages.error_response("ERROR", "XX000", "a\0Mb")[5:])
    assert fields["M"] == "a\ufffdMb"
    assert fields["C"] == "XX000"


@pytest.mark.parametrize(
    "build",
    [
        lambda text: messages.query(text),
        lambda text: messages.startup({"user": text}),
        lambda text: messages.parse("", text),
        lambda text: messages.close(b"S", text),
        lambda text: messages.parameter_status("a", text),
        lambda text: messages.row_description([text]),
    ],
)
def test_a_nul_never_ends_a_value_early(build):
    build("fine")
    with pytest.raises(ValueError, match="NUL"):
        build("a\0b")


def test_lengths_and_bodies():
    assert messages.ready() == b"Z\0\0\0\5I"
    assert messages.parameter_status("a", "b") == b"S\0\0\0\x08a\0b\0"
    assert messages.backend_key_data(-1, b"1234") == b"K\0\0\0\x0c\xff\xff\xff\xff1234"
    assert messages.backend_key_data(1, b"k" * 32)[1:5] == (40).to_bytes(4)
    assert messages.data_row([b"ab", None]) == b"D\0\0\0\x10\0\2\0\0\0\2ab\xff\xff\xff\xff"
    assert messages.command_complete("SELECT 1") == b"C\0\0\0\x0dSELECT 1\0"
    assert messages.negotiate(196610, ["_pq_.x"])[5:] == b"\0\3\0\2\0\0\0\1_pq_.x\0"
    assert messages.cancel_request(7, b"abcd") == bytes.fromhex(
        "00000010 04d2162e 00000007".replace(" ", "")
    ) + (b"abcd")
    assert messages.ssl_request() == bytes.fromhex("0000000804d2162f")
    assert messages.authentication_sasl(["A", "B"])[5:] == b"\0\0\0\x0aA\0B\0\0"
    assert messages.authentication_sasl_continue(b"x")[5:] == b"\0\0\0\x0bx"
    assert messages.authentication_sasl_final(b"x")[5:] == b"\0\0\0\x0cx"
    assert messages.parse("s", "q", [23])[5:] == b"s\0q\0\0\1\0\0\0\x17"
    assert messages.bind("p", "s", [b"1", None], [1])[5:] == (
        b"p\0s\0\0\0\0\2\0\0\0\x011\xff\xff\xff\xff\0\1\0\1"
    )
    assert messages.describe(b"S", "s")[5:] == b"Ss\0"
    assert messages.execute("p", 3)[5:] == b"p\0\0\0\0\3"
    assert messages.sync() + messages.flush() + messages.terminate() == (
        b"S\0\0\0\4H\0\0\0\4X\0\0\0\4"
    )


def test_columns_are_text():
    body = messages.row_description(["a", "b"])[5:]
    assert body[:2] == b"\0\2"
    assert body[2:4] == b"a\0"
    assert body[10:14] == (25).to_bytes(4)


@given(st.binary(max_size=200))
def test_malformed_error_bodies_are_read_as_far_as_they_go(body):
    fields = messages.read_error_fields(body)
    assert all(len(letter) == 1 for letter in fields)


def test_error_fields_without_their_end():
    assert messages.read_error_fields(b"SERROR\0Mhalf") == {"S": "ERROR", "M": "half"}
    assert messages.read_error_fields(b"") == {}


def test_strings_need_their_ends():
    assert messages.read_strings(b"a\0b\0") == [b"a", b"b"]
    with pytest.raises(ValueError, match="without an end"):
        messages.read_strings(b"a\0b")


def test_text_that_is_not_utf8_comes_through():
    assert messages.query(b"\xff".decode("utf-8", "surrogateescape"))[5:] == b"\xff\0"
