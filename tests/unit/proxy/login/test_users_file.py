import base64

import pytest

from shardrouter.errors import SettingsError
from shardrouter.proxy.login.users_file import read_users
from shardrouter.wire.scram_secrets import derive_keys, verifier_of, verifier_text

KEYS = derive_keys("pencil", b"0123456789abcdef", 4096)
VERIFIER = verifier_text(verifier_of(KEYS))
CLIENT_KEY = base64.b64encode(KEYS.client_key).decode()


def test_users_and_verifiers():
    users = read_users(["; a comment", "# another", "", f'"ann" "{VERIFIER}"'], "users")
    assert users["ann"].verifier == verifier_of(KEYS)
    assert users["ann"].keys is None


def test_client_keys():
    users = read_users([f'  "ann" "{VERIFIER}"   "client-key:{CLIENT_KEY}" '], "users")
    assert users["ann"].keys == KEYS


def test_names_with_quotes():
    assert set(read_users([f'"a ""b""" "{VERIFIER}"'], "users")) == {'a "b"'}


@pytest.mark.parametrize(
    "line",
    [
        'ann "x"',
        '"ann"',
        '"ann" "secret"',
        '"ann" "md5d41d8cd98f00b204e9800998ecf8427e"',
        f'"ann" "{VERIFIER}',
        f'"ann" "{VERIFIER}" "secret"',
        f'"ann" "{VERIFIER}" "client-key:secret"',
        f'"ann" "{VERIFIER}" "client-key:{base64.b64encode(b"s" * 32).decode()}"',
        f'"ann" "{VERIFIER}" "client-key:{CLIENT_KEY}" "more"',
    ],
)
def test_a_wrong_line_is_named_and_never_quoted(line):
    with pytest.raises(SettingsError, match=r"users, line 2: ") as caught:
        read_users(["", line], "users")
    for secret in ("secret", "md5d41", VERIFIER[20:], CLIENT_KEY):
        assert secret not in str(caught.value)


def test_a_user_stands_there_once():
    with pytest.raises(SettingsError, match="twice"):
        read_users([f'"ann" "{VERIFIER}"'] * 2, "users")


def test_entries_show_nothing():
    [entry] = read_users([f'"ann" "{VERIFIER}" "client-key:{CLIENT_KEY}"'], "users").values()
    assert repr(entry) == "UserEntry()"
