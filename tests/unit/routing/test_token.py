"""Freshness tokens: what they demand, and that nothing but a token is taken for one."""

import base64
import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardrouter.errors import TokenInvalid
from shardrouter.routing import Token
from shardrouter.topology import Position, ShardId

positions = st.builds(Position, st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1))
shards = st.from_regex(r"[a-z][a-z0-9_-]{0,39}", fullmatch=True).map(ShardId)
epochs = st.just(0) | st.integers(0, 2**64 - 1)
tokens = st.builds(Token, st.dictionaries(shards, positions, max_size=20), epochs)


@given(tokens)
def test_text_form_gives_an_equal_token_back(token: Token) -> None:
    assert Token.from_text(token.to_text()) == token


@given(tokens, tokens)
def test_merged_demands_what_both_demand(one: Token, other: Token) -> None:
    merged = one.merged(other)
    assert merged.epoch == max(one.epoch, other.epoch)
    for shard in {*one.positions, *other.positions}:
        need = merged.need(shard)
        assert need is not None
        for part in (one.need(shard), other.need(shard)):
            assert part is None or (need.timeline, need.lsn) >= (part.timeline, part.lsn)


@given(tokens, tokens, tokens)
def test_merge_order_does_not_matter(a: Token, b: Token, c: Token) -> None:
    assert a.merged(b).merged(c) == c.merged(a).merged(b) == b.merged(c.merged(a))


def encode(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode()


@pytest.mark.parametrize(
    "text",
    [
        "!",
        "abc",
        "é",
        encode("text"),
        encode([1]),
        encode([2, {}]),
        encode([1, []]),
        encode([1, {}, -1]),
        encode([1, {}, True]),
        encode([1, {}, 2**64]),
        encode([1, {}, 1, 1]),
        encode([1, {"s0": 5}]),
        encode([1, {"s0": [1, 2, 3]}]),
        encode([1, {"s0": [1.0, 2]}]),
        encode([1, {"s0": [True, 2]}]),
        encode([1, {"s0": [1, -1]}]),
        encode([1, {"s0": [1, 2**64]}]),
        encode([1, {"S0; DROP": [1, 1]}]),
        "A" * 70_000,
        base64.urlsafe_b64encode(b"[" * 3000).decode(),
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(TokenInvalid):
        Token.from_text(text)


@given(st.text(max_size=200))
def test_no_text_breaks_the_reader(text: str) -> None:
    with contextlib.suppress(TokenInvalid):
        Token.from_text(text)


def test_a_later_timeline_wins_over_any_lsn() -> None:
    token = (
        Token()
        .with_commit(ShardId("s0"), Position(2, 10))
        .with_commit(ShardId("s0"), Position(1, 99))
    )
    assert token.need(ShardId("s0")) == Position(2, 10)
