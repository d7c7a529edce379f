"""Texts that differ in numbers only are read once, and nothing suspicious gets lost by that."""

import pytest

from shardrouter.sql.plain import PlainTexts, is_plain


def test_texts_of_one_shape_are_read_once():
    texts = PlainTexts()
    for number in range(100):
        assert texts.has(b"SELECT a FROM t WHERE id = %d" % number)
    assert len(texts.known) == 1


def test_shapes_are_bounded():
    texts = PlainTexts()
    for number in range(10_000):
        name = "".join(chr(97 + int(digit)) for digit in str(number))
        texts.has(f"SELECT {name} FROM t".encode())
    assert len(texts.known) <= 4096


def test_long_texts_are_not_kept():
    texts = PlainTexts()
    assert texts.has(b"SELECT '" + b"x" * 5000 + b"'")
    assert not texts.known


@pytest.mark.parametrize(
    "text",
    [
        b"SET a = 1",
        b"SELECT set_config('a.b', '1', false)",
        b"SELECT 1; SET a = 2",
        b"SELECT pg_advisory_lock(42)",
        b"SELECT s1e2t_config()",  # a word of its own that looks suspicious without its digits
        b"SELECT 1 INTO TEMP t1",
        b"LISTEN a1",
        b'SELECT U&"set\\005fconfig"(1)',
        b"",
    ],
)
def test_what_is_not_plain_stays_so(text):
    texts = PlainTexts()
    assert not texts.has(text)
    assert not texts.has(text), "also when it is known"


def test_plain_texts_are_plain_by_their_shape():
    for text in (b"SELECT 1", b"BEGIN", b"UPDATE t SET a = 5 WHERE b = 6", b"COMMIT;"):
        assert PlainTexts().has(text) == is_plain(text) is True


def test_begin_is_looked_at_where_it_must_be():
    texts = PlainTexts(may_begin=False)
    for text in (b"BEGIN", b" start transaction", b"/* x */ BEGIN", b"begin" + b" " * 2000):
        assert not texts.has(text)
    assert texts.has(b"SELECT 1")
