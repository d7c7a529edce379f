import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardrouter.errors import ClientProtocolError, LoginRefused
from shardrouter.wire import messages
from shardrouter.wire.startup import (
    CancelRequest,
    StartupMessage,
    read_first_packet,
    read_options,
    split_options,
)


def read(parameters, version=messages.PROTOCOL_3_0):
    found = read_first_packet(messages.startup(parameters, version)[4:])
    assert isinstance(found, StartupMessage)
    return found


def test_user_database_and_settings():
    found = read({"user": "ann", "database": "app", "DateStyle": "ISO", "application_name": ""})
    assert (found.user, found.database) == ("ann", "app")
    assert found.settings == {"DateStyle": "ISO", "application_name": ""}
    assert found.negotiation is None
    assert found.replication is None


def test_the_database_is_the_users_where_none_is_named():
    assert read({"user": "ann"}).database == "ann"
    assert read({"user": "ann", "database": ""}).database == "ann"


@pytest.mark.parametrize("parameters", [{}, {"user": ""}, {"database": "app"}])
def test_there_must_be_a_user(parameters):
    with pytest.raises(LoginRefused, match="no PostgreSQL user name") as caught:
        read(parameters)
    assert caught.value.sqlstate == "28000"


def test_long_names_are_cut_as_postgres_cuts_them():
    found = read({"user": "u" * 5000, "database": "d" * 4000})
    assert (len(found.user), len(found.database)) == (63, 63)


@pytest.mark.parametrize(
    ("asked", "spoken", "is_told"),
    [
        (3 << 16, 3 << 16, False),
        (3 << 16 | 1, 3 << 16 | 1, False),
        (3 << 16 | 2, 3 << 16 | 2, False),
        (3 << 16 | 3, 3 << 16 | 2, True),
        (3 << 16 | 9999, 3 << 16 | 2, True),
    ],
)
def test_the_newest_version_both_know_is_spoken(asked, spoken, is_told):
    found = read({"user": "ann"}, asked)
    assert found.version == spoken
    assert found.negotiation == (messages.negotiate(spoken) if is_told else None)


def test_unknown_protocol_options_are_named():
    found = read({"user": "ann", "_pq_.greased": "1", "_pq_.b": ""}, 3 << 16)
    assert found.negotiation == messages.negotiate(3 << 16, ["_pq_.greased", "_pq_.b"])
    assert set(found.parameters) == {"user"}


@pytest.mark.parametrize("version", [4 << 16, 2 << 16, 0, messages.SSL_REQUEST_CODE])
def test_other_protocols_are_refused(version):
    with pytest.raises(LoginRefused, match=r"server supports 3\.0 to 3\.2") as caught:
        read({"user": "ann"}, version)
    assert caught.value.sqlstate == "0A000"


@pytest.mark.parametrize(
    "pairs",
    [
        b"user\0ann",
        b"user\0ann\0",
        b"user\0\0\0",
        b"user\0ann\0database\0\0",
        b"",
        b"user\0ann\0\0behind\0\0",
        b"user\0ann\0\0\0",
    ],
)
def test_malformed_packets(pairs):
    with pytest.raises((ClientProtocolError, LoginRefused)):
        read_first_packet(struct.pack("!I", 3 << 16) + pairs)


@pytest.mark.parametrize("length", [4, 32, 256])
def test_cancel_keys_of_every_length(length):
    body = messages.cancel_request(2**32 - 2, b"k" * length)[4:]
    assert read_first_packet(body) == CancelRequest(2**32 - 2, b"k" * length)


@pytest.mark.parametrize("length", [0, 3, 257, 5000])
def test_cancel_keys_of_impossible_length(length):
    with pytest.raises(ClientProtocolError):
        read_first_packet(messages.cancel_request(1, b"k" * length)[4:])


def test_a_cancel_key_is_not_shown():
    assert "secret" not in repr(CancelRequest(1, b"secret"))


@pytest.mark.parametrize(
    ("options", "settings"),
    [
        ("", []),
        ("  ", []),
        ("-c a=b", [("a", "b")]),
        ("-ca=b", [("a", "b")]),
        ("--a-b=c", [("a_b", "c")]),
        ("-c geqo=off --work-mem=4MB -cx=", [("geqo", "off"), ("work_mem", "4MB"), ("x", "")]),
        (r"-c a=b\ c\\d", [("a", r"b c\d")]),
        ("-c a=b=c", [("a", "b=c")]),
        ("-c\ta=1\n-c b=2", [("a", "1"), ("b", "2")]),
    ],
)
def test_options(options, settings):
    assert list(read_options(options)) == settings


@pytest.mark.parametrize("options", ["-c", "-c a", "--a", "--", "-x", "word", "-c =b", "-d 3"])
def test_options_that_are_none(options):
    with pytest.raises(LoginRefused) as caught:
        list(read_options(options))
    assert caught.value.sqlstate == "42601"


def test_parameters_win_over_options():
    found = read({"user": "a", "search_path": "mine", "options": "-c search_path=evil -c b=1"})
    assert found.settings == {"search_path": "mine", "b": "1"}


@given(st.lists(st.text(st.characters(blacklist_categories=["Cs"]), min_size=1), max_size=5))
def test_escaped_words_come_back(words):
    escaped = " ".join("".join("\\" + character for character in word) for word in words)
    assert split_options(escaped) == words


@given(st.binary(min_size=4, max_size=300))
def test_any_bytes_are_read_or_refused(body):
    with_version = struct.pack("!I", 3 << 16) + body
    for packet in (body, with_version):
        try:
            read_first_packet(packet)
        except (ClientProtocolError, LoginRefused) as error:
            assert len(error.sqlstate) == 5


words = st.binary(min_size=1, max_size=20).filter(lambda raw: b"\0" not in raw)


@given(st.dictionaries(words, words, max_size=6))
def test_every_pair_comes_through(pairs):
    given_pairs = {"user": b"ann"} | {
        raw.decode("utf-8", "surrogateescape"): value
        for raw, value in pairs.items()
        if raw not in (b"user", b"database", b"options") and not raw.startswith(b"_pq_.")
    }
    found = read(given_pairs)
    assert found.parameters == {
        name: value.decode("utf-8", "surrogateescape") for name, value in given_pairs.items()
    }
