"""Whatever a text is put together from, its tokens are all of it, and no word hides."""

from hypothesis import example, given
from hypothesis import strategies as st

from shardrouter.sql import LEAVES_SOMETHING, Effect, effects_of, is_plain
from shardrouter.sql.lexer import TokenKind, tokens
from shardrouter.sql.plain import PlainTexts
from shardrouter.sql.session_effects import unread
from tests.support.session_statements import HARMLESS, LEAVING, PLAIN

BLANKS = b" \t\n\r\f\v"

pieces = st.sampled_from(
    [
        "'",
        "''",
        "\\'",
        "\\",
        '"',
        '""',
        "E'",
        "e'",
        "U&'",
        'U&"',
        "B'",
        "x'",
        "N'",
        "$$",
        "$a$",
        "$b$",
        "$1",
        "$",
        "/*",
        "*/",
        "--",
        ";",
        "(",
        ")",
        "[",
        "]",
        ",",
        ".",
        "..",
        ":",
        "::",
        "=",
        "+",
        "-",
        "@",
        "#",
        "%",
        "select",
        "set",
        "listen",
        "a",
        "ab$",
        "_",
        "1",
        "1.",
        ".5",
        "1e-",
        "0x",
        "1_0",
        "é",
        "<>",
        "set_config(",
        "pg_settings",
        "into",
        "temp",
        "update",
        'u&"set\\005fconfig"(',
        "SET",
        "begin",
        "read",
        "only",
    ]
) | st.sampled_from([" ", "\n", "\t", "\v", "\r", " ", " "])
texts = st.lists(pieces, max_size=30).map("".join).map(str.encode) | st.binary(max_size=60)

comments = st.sampled_from(["/* x */", "/* '; /* $$ */ \" */", "-- '/*\n", " ", "\n", "/**/"])
literals = st.sampled_from(
    [
        "'a'",
        "'it''s; LISTEN x'",
        "E'\\'; SET a = 1'",
        "$$; LISTEN x $$",
        "$t$ $$ ' $t$",
        "U&'\\0041'",
    ]
)
harmless = st.builds("SELECT{} {}{}, 1".format, comments, literals, comments)
dangerous = st.sampled_from(
    [
        "LISTEN{}x",
        "SET{}work_mem = 1",
        "SELECT set_config{}('a.b', '1', false)",
        'SELECT "pg_advisory_lock"{}(1)',
        "CREATE{}TEMP TABLE x ()",
        "SELECT 1 INTO{}TEMP x",
        "DECLARE c CURSOR WITH{}HOLD FOR SELECT 1",
        "LOAD{}'x'",
        "UPDATE{}pg_settings SET setting = 1",
    ]
)
statements = st.lists(st.sampled_from([*LEAVING, *PLAIN, *HARMLESS]), max_size=3)


@given(texts, st.booleans())
def test_tokens_and_blanks_are_the_whole_text(text: bytes, standard_strings: bool) -> None:
    at = 0
    for token in tokens(text, standard_strings=standard_strings):
        assert not text[at : token.start].strip(BLANKS)
        assert token.end > token.start
        at = token.end
    assert not text[at:].strip(BLANKS)


@given(texts)
def test_only_the_last_token_may_be_broken(text: bytes) -> None:
    found = tokens(text)
    assert all(token.kind is not TokenKind.BROKEN for token in found[:-1])


@given(st.lists(harmless, max_size=3), dangerous, comments, st.lists(harmless, max_size=3))
def test_words_outside_quotes_are_found(
    before: list[str], statement: str, comment: str, after: list[str]
) -> None:
    text = ";".join([*before, comment + statement.format(comment), *after]).encode()
    effects = effects_of(text)
    assert not is_plain(text)
    assert effects.flags & LEAVES_SOMETHING
    assert Effect.SUSPECT not in effects.flags
    assert len(effects.statements) == len(before) + 1 + len(after)


@given(st.lists(harmless, min_size=1, max_size=4))
def test_words_in_quotes_are_not(parts: list[str]) -> None:
    assert not effects_of(";".join(parts).encode()).flags & LEAVES_SOMETHING


@given(texts | statements.map(";".join).map(str.encode))
@example(b"\xa0")
@example(b"/*/ select 1 */ set x = 1")
@example(b"select\xa0set_config('a', 'b', false)")
@example(b"begin\n/**/ read/**/only")
def test_plain_is_never_more_than_the_truth(text: bytes) -> None:
    if is_plain(text) or PlainTexts().has(text):
        effects = effects_of(text)
        # Postgres refuses what is not closed.
        assert effects == unread(text) or not effects.flags & LEAVES_SOMETHING
