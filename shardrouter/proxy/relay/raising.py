"""Say an error of ours in the server's own words, where only the server can say it."""

from shardrouter.errors import ShardRouterError


def raising(error: ShardRouterError) -> str:
    """Return a statement that fails with an error of ours, as the server's own word.

    Inside a transaction only the server can make it fail, and must.
    """
    where = "".join(
        f" [{name} {value}]"
        for name, value in (("shard", error.shard), ("node", error.node), ("epoch", error.epoch))
        if value is not None
    )
    options = [
        f"MESSAGE = {_literal(error.message + where)}",
        f"ERRCODE = {_literal(error.sqlstate)}",
    ]
    if error.hint:
        options.append(f"HINT = {_literal(error.hint)}")
    body = f"BEGIN RAISE EXCEPTION USING {', '.join(options)}; END"
    return f"DO LANGUAGE plpgsql {_literal(body)}"


def _literal(text: str) -> str:
    """Return a literal that reads the same whatever standard_conforming_strings says."""
    quoted = text.replace("\\", "\\\\").replace("'", "''").replace("\0", "")
    return f"E'{quoted}'"
