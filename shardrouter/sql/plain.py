"""Tell statements that surely leave nothing in a session, without reading them token by token.

The proxy asks for each distinct text, so this must cost well under a microsecond. It errs to one
side only: False means "look closer" (session_effects), True that nothing the text itself says
outlives its transaction in the session. What a user's own function, trigger, rule or view does
inside cannot be seen here; the same goes for extensions but Postgres' own.

Only the presence of ASCII text is tested, not what is inside which quotes, so an answer holds for
every client_encoding and with standard_conforming_strings off.
"""

_WORDS = (
    "select insert update delete merge with values table begin start commit end rollback abort "
    "savepoint release fetch move copy truncate lock notify show"
)
_HEADS = frozenset(_WORDS.split())
"""First words of what may be plain. CREATE, EXPLAIN, DECLARE and their like are read in full."""

_INTO_MAKES_TABLES = frozenset(("select", "with", "values", "table"))

_DIGITS = b"0123456789"
_LONGEST_SHAPE = 1024  # bytes
_MOST_SHAPES = 4096  # then all are forgotten: 4 MB at most

_BLANK_OR_END = " \t\n\r\f\v;"


def is_plain(text: bytes) -> bool:
    """Return True when the text surely leaves nothing in the session that runs it.

    A BEGIN that says READ ONLY or READ WRITE and a SHOW of the proxy's settings are not plain
    either: they mean something to the proxy.
    """
    # str finds a word three times as fast as bytes, which first take it for a number.
    low = text.lower().decode("latin-1").strip(_BLANK_OR_END)
    if low.startswith("/*"):
        low = _without_comment(low)
    if ";" in low or 'u&"' in low:  # u&"set\005fconfig" spells set_config
        return False
    words = low.split(None, 1)
    head = words[0] if words else ""
    if head not in _HEADS or "pg_settings" in low:  # an UPDATE of pg_settings is a SET
        return False
    if head in _INTO_MAKES_TABLES:
        if "into" in low:
            return False
    elif head == "begin" or head == "start":
        return "only" not in low and "write" not in low
    elif head == "show":
        return "shardrouter" not in low
    # A function without arguments in parentheses is not called, so most texts end here.
    return "(" not in low or not may_call(low)


class PlainTexts:
    """Remembers which texts are plain, by their shape: the text without its digits.

    Statements that differ in numbers only are read once. What makes a text suspicious are words
    without digits, so none gets lost by leaving digits out; a first word that becomes a keyword by
    it (``select1``) is refused by Postgres.
    """

    def __init__(self, *, may_begin: bool = True) -> None:
        self.known: dict[bytes, bool] = {}
        self.may_begin = may_begin  # else BEGIN is to be looked at closer, too

    def has(self, text: bytes) -> bool:
        """Return ``is_plain(text)``, perhaps without reading it."""
        if len(text) > _LONGEST_SHAPE:
            return self._read(text)
        shape = text.translate(None, _DIGITS)
        known = self.known.get(shape)
        if known is None:
            if len(self.known) >= _MOST_SHAPES:
                self.known.clear()
            known = self.known[shape] = self._read(shape)
        return known

    def _read(self, text: bytes) -> bool:
        is_begin = text.lstrip().lower().startswith((b"begin", b"start", b"/*"))
        return is_plain(text) and (self.may_begin or not is_begin)


def _without_comment(low: str) -> str:
    """Return what follows a leading comment, or nothing when the comment is nested."""
    end = low.find("*/", 2)
    if end < 0 or low.find("/*", 2, end) >= 0:
        return ""
    return low[end + 2 :].lstrip()


def may_call(low: str) -> bool:
    """True when lower-case text may name a function that keeps something in the session.

    Invariant: each of SESSION_FUNCTIONS has one of these words in its name.
    """
    return (
        "set_" in low  # set_config, and set_limit of pg_trgm
        or "advisory" in low
        or "setval" in low
        or "lastval" in low
        or "nextval" in low
        or "currval" in low
        or "setseed" in low
        or "dblink" in low
        or "replication_" in low
        or "pg_backup" in low
        or "sepgsql" in low
        # These run SQL that is given to them as text.
        or "query_to_xml" in low
        or "ts_stat" in low
        or "ts_rewrite" in low
        or "crosstab" in low
        or "connectby" in low
        or "xpath_table" in low
    )
