import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scramp.utils import saslprep

from shardrouter.wire.scram_secrets import (
    ScramKeys,
    derive_keys,
    keys_of,
    mock_verifier,
    prepared,
    read_verifier,
    verifier_of,
    verifier_text,
)

KEYS = derive_keys("pencil", b"0123456789abcdef", 4096)
VERIFIER = verifier_of(KEYS)


def test_a_verifier_reads_as_postgres_writes_it():
    # ALTER ROLE ... PASSWORD 'correct horse' on Postgres 15.
    text = (
        "SCRAM-SHA-256$4096:eSgEfoujG+qbkvrQZqDOJQ==$fYuDSr+lhpH+dW5MOB9MbK3NSK33tDGLVEPYsapKizU="
        ":Kev20DHsgg7n2jYhptlhMd91c9tYV4M0n9C9eBQIILA="
    )
    verifier = read_verifier(text)
    assert verifier_text(verifier) == text
    assert verifier == verifier_of(derive_keys("correct horse", verifier.salt, 4096))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "secret",
        "md5d41d8cd98f00b204e9800998ecf8427e",
        "SCRAM-SHA-256$",
        "SCRAM-SHA-256$4096:AAAA$AAAA:AAAA",
        verifier_text(VERIFIER).replace("4096", "0"),
        verifier_text(VERIFIER).replace("4096", "-1"),
        verifier_text(VERIFIER).replace("4096", "9999999999"),
        verifier_text(VERIFIER).replace("4096", "\u0664"),
        verifier_text(VERIFIER) + "=",
        verifier_text(VERIFIER)[:-4],
        verifier_text(VERIFIER).replace("SCRAM-SHA-256", "SCRAM-SHA-1"),
        verifier_text(VERIFIER) + "\u00e9",
    ],
)
def test_what_is_no_verifier_is_refused_without_being_quoted(text):
    with pytest.raises(ValueError, match=r"^not a SCRAM-SHA-256 verifier$") as caught:
        read_verifier(text)
    assert caught.value.__cause__ is None


@given(st.text(max_size=80))
def test_any_text_is_read_or_refused(text):
    for candidate in (text, "SCRAM-SHA-256$" + text):
        with pytest.raises(ValueError, match="verifier"):
            read_verifier(candidate)


def test_keys_belong_to_one_verifier():
    assert keys_of(VERIFIER, KEYS.client_key) == KEYS
    with pytest.raises(ValueError, match="does not belong"):
        keys_of(VERIFIER, b"x" * 32)


def test_no_secret_is_shown():
    for secret in (VERIFIER, KEYS, mock_verifier(b"s" * 32, "ann")):
        text = repr(secret)
        assert "4096" in text
        for part in (secret.salt, secret.server_key):
            assert repr(part)[2:8] not in text


def test_a_user_that_does_not_exist_always_has_the_same_salt():
    first, again = mock_verifier(b"s" * 32, "ann"), mock_verifier(b"s" * 32, "ann")
    other, another_proxy = mock_verifier(b"s" * 32, "bob"), mock_verifier(b"t" * 32, "ann")
    assert first == again
    assert first.is_mock
    assert len({first.salt, other.salt, another_proxy.salt}) == 3
    assert (first.iterations, len(first.salt), len(first.stored_key)) == (4096, 16, 32)


@pytest.mark.parametrize(
    ("password", "expected"),
    [
        ("plain", b"plain"),
        ("I\u00adX", b"IX"),
        ("\u2168", b"IX"),
        ("a\u00a0b", b"a b"),
        ("\u0007\u00e9", "\u0007\u00e9".encode()),  # prohibited: taken as it is, as Postgres
        ("\u0627\u0031", "\u0627\u0031".encode()),
        ("\u0627\u0031\u0628", "\u0627\u0031\u0628".encode()),
        ("\u00ad", "\u00ad".encode()),  # nothing would be left
    ],
)
def test_passwords_are_prepared(password, expected):
    assert prepared(password) == expected


@given(st.text(st.characters(blacklist_categories=["Cs"]), min_size=1, max_size=12))
def test_preparation_agrees_with_scramp(password):
    try:
        other = saslprep(password)
    except Exception:
        other = password
    if other and not password.isascii():
        assert prepared(password) == other.encode()


def test_keys_are_those_of_the_standard():
    salted = hashlib.pbkdf2_hmac("sha256", b"pencil", b"0123456789abcdef", 4096)
    assert isinstance(KEYS, ScramKeys)
    assert VERIFIER.stored_key == hashlib.sha256(KEYS.client_key).digest()
    assert salted not in (KEYS.client_key, KEYS.server_key)
