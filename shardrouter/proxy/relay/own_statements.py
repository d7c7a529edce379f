"""Answer SET, RESET and SHOW of the proxy's own settings without a backend."""

from typing import TYPE_CHECKING, Final

from shardrouter.errors import CatalogUnavailable, ShardRouterError, StatementRefused
from shardrouter.proxy.relay.own_settings import PREFIX
from shardrouter.proxy.relay.raising import raising
from shardrouter.proxy.relay.verdicts import DROPPED, FORWARD, WAIT
from shardrouter.sql import Effects
from shardrouter.sql.effects import OwnSetting
from shardrouter.wire import messages

if TYPE_CHECKING:
    from shardrouter.proxy.relay.judge import Judge
    from shardrouter.proxy.relay.session import Session

TOKEN: Final = PREFIX + "token"
TOKEN_WAIT_SECONDS: Final = 1.0  # for a sample of the primary after the last commit


def answer_own_setting(judge: "Judge", effects: Effects) -> int:
    """Answer a simple query that is one SET, RESET or SHOW of a setting of the proxy."""
    if judge.wait_until_quiet():
        return WAIT
    if judge.is_failed():
        return FORWARD  # the server's words: the transaction is aborted
    statement = effects.statements[0] if len(effects.statements) == 1 else None
    if not isinstance(statement, OwnSetting):
        judge.refuse(
            StatementRefused(
                "a setting of the proxy cannot be set together with other statements",
                hint="send SET shardrouter.* as a statement of its own",
            )
        )
        return DROPPED
    try:
        if statement.verb == "show":
            return _show(judge, statement)
        return _set(judge, statement)
    except ShardRouterError as error:
        judge.refuse(error)
        return DROPPED


def _set(judge: "Judge", statement: OwnSetting) -> int:
    _change(judge, statement)
    return judge.answer(messages.command_complete("RESET" if statement.verb == "reset" else "SET"))


def _change(judge: "Judge", statement: OwnSetting) -> None:
    """Set or reset one. Raises ShardRouterError; then nothing changed."""
    session = judge.session
    backend = session.relay.backend
    is_in_transaction = backend is not None and backend.stream.status != ord("I")
    if statement.is_local or (is_in_transaction and statement.name != TOKEN):
        raise StatementRefused(
            f"{statement.name} cannot be set {'LOCAL' if statement.is_local else 'now'}:"
            " a transaction stays on its shard and node",
            sqlstate="25001",
            hint="set it before BEGIN",
        )
    before = judge.own.values()
    judge.own.set(statement.name, statement.value, session.plane.fleet.topology)
    if backend is not None and session.relay.keeps and not session.choice.fits(backend.pool):
        judge.own.put_back(before, session.plane.fleet.topology)
        raise kept(session, statement.name)


def kept(session: "Session", name: str) -> StatementRefused:
    """Return the refusal of a setting that asks for another node than the one that is kept."""
    if session.mode == "session":
        return StatementRefused(
            f"{name} cannot be set now: in session pooling a client keeps its node",
            sqlstate="25001",
            hint="give it when connecting: options='-c shardrouter.role=replica'",
        )
    return StatementRefused(
        f"{name} cannot be set while the session is pinned: {session.pinned}",
        sqlstate="25001",
        hint="end what pins it (UNLISTEN *, DISCARD ALL), or use another connection",
    )


def _show(judge: "Judge", statement: OwnSetting) -> int:
    value = judge.own.show(statement.name)
    if statement.name == TOKEN:
        token = judge.session.choice.token_now()
        if token is None:
            return _wait_for_token(judge)
        value = token.to_text()
    return judge.answer(
        messages.row_description([statement.name]),
        messages.data_row([value.encode()]),
        messages.command_complete("SHOW"),
    )


def _wait_for_token(judge: "Judge") -> int:
    choice = judge.session.choice
    left = TOKEN_WAIT_SECONDS - choice.has_waited()
    if left <= 0:
        raise _unknown_position()
    choice.wait_for_view(left)
    return WAIT


def own_set(judge: "Judge", statement: OwnSetting) -> str:
    """Set one that came as an extended query; return what a backend answers in its place."""
    try:
        _change(judge, statement)
    except ShardRouterError as error:
        return raising(error)
    verb = "RESET {}" if statement.verb == "reset" else "SET {} TO DEFAULT"
    return verb.format(statement.name)  # a name that is one of ours, and nothing to the server


def own_select(judge: "Judge", statement: OwnSetting) -> str | None:
    """Return the SELECT that a backend answers for a SHOW that came as an extended query.

    None: the position of the last commit is not known yet, the message is taken again.
    """
    value = judge.own.show(statement.name)
    if statement.name == TOKEN:
        choice = judge.session.choice
        token = choice.token_now()
        if token is None and choice.has_waited() < TOKEN_WAIT_SECONDS:
            choice.wait_for_view(TOKEN_WAIT_SECONDS - choice.has_waited())
            return None
        if token is None:
            return raising(_unknown_position())
        value = token.to_text()
    quoted = value.replace("'", "''")
    return f"SELECT '{quoted}'::pg_catalog.text AS \"{statement.name}\""


def _unknown_position() -> CatalogUnavailable:
    return CatalogUnavailable(
        "the position of the last commit is not known: the primary does not answer",
        hint="try again when it does",
    )
