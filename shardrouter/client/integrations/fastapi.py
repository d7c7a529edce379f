"""FastAPI and Starlette: the freshness token over HTTP, sessions as dependencies, error answers.

::

    router = AsyncRouter.from_config("shardrouter.toml")
    app = FastAPI()
    app.add_middleware(ShardRouterMiddleware)
    add_error_answers(app)
    TenantSession = Annotated[AsyncSession, Depends(shard_session(router, key=path("tenant")))]
"""

from collections.abc import AsyncIterator, Callable, Iterator
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shardrouter.client.async_router import AsyncRouter
from shardrouter.client.causal import causal_scope
from shardrouter.client.router import Router
from shardrouter.errors import (
    RoutingError,
    ShardKeyInvalid,
    ShardKeyMissing,
    ShardRouterError,
    TokenInvalid,
)
from shardrouter.routing import Token

HEADER: Final = "shardrouter-token"
COOKIE: Final = "shardrouter_token"
COOKIE_SECONDS: Final = 3600  # replicas that lag longer than this are out of the fleet anyway
SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
RETRY_AFTER_SECONDS: Final = 1


class ShardRouterMiddleware:
    """Carries the freshness token: in from the request, out with the response.

    A browser gets it as a cookie, a service passes the header on; a header wins. A token that is
    not ours is ignored: it can only come from another system's cookie or from tampering, and the
    request is then served like one without a token. Add this middleware outermost.
    """

    def __init__(self, app: ASGIApp, *, cookie: bool = True) -> None:
        self._app = app
        self._cookie = cookie

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        with causal_scope(self._read(Request(scope))) as causal:
            start = causal.token

            async def send_with_token(message: Message) -> None:
                # The scope object is shared with worker threads, so their commits are in it.
                if message["type"] == "http.response.start" and causal.token is not start:
                    self._write(message, causal.token.to_text(), is_secure=_is_https(scope))
                await send(message)

            await self._app(scope, receive, send_with_token)

    def _read(self, request: Request) -> Token:
        text = request.headers.get(HEADER)
        if text is None and self._cookie:
            text = request.cookies.get(COOKIE)
        try:
            return Token.from_text(text) if text else Token()
        except TokenInvalid:
            return Token()

    def _write(self, message: Message, text: str, *, is_secure: bool) -> None:
        headers = MutableHeaders(scope=message)
        headers[HEADER] = text
        if self._cookie:
            secure = "; Secure" if is_secure else ""
            headers.append(
                "set-cookie",
                f"{COOKIE}={text}; Max-Age={COOKIE_SECONDS}; Path=/; HttpOnly; "
                f"SameSite=Lax{secure}",
            )


def path(name: str, convert: Callable[[str], Any] = str) -> Callable[[Request], Any]:
    """Take the shard key from a path parameter; ``convert`` gives it the column's type."""
    return _taken_from(lambda request: request.path_params.get(name), f"path {name}", convert)


def header(name: str, convert: Callable[[str], Any] = str) -> Callable[[Request], Any]:
    """Take the shard key from a request header; ``convert`` gives it the column's type."""
    return _taken_from(lambda request: request.headers.get(name), f"header {name}", convert)


def _taken_from(
    get: Callable[[Request], Any], where: str, convert: Callable[[str], Any]
) -> Callable[[Request], Any]:
    def take(request: Request) -> Any:
        text = get(request)
        if text is None:
            raise ShardKeyMissing(f"the request has no {where}", hint="it carries the shard key")
        try:
            return convert(text)
        except ValueError:
            raise ShardKeyInvalid(
                f"the {where} is not a {getattr(convert, '__name__', 'shard key')}",
                hint="send the shard key in the type of its column",
            ) from None

    return take


def shard_session(
    router: AsyncRouter | Router, key: Callable[[Request], Any], read: str | None = None
) -> Callable[[Request], Any]:
    """Return a dependency that gives the session of the request's shard key.

    GET, HEAD and OPTIONS read from a replica that has seen what this client wrote; the other
    methods write to the primary; ``read`` overrides. The handler commits: FastAPI runs a
    dependency's exit after the response was sent, too late to tell a client of a failure.
    """

    def how(request: Request) -> str | None:
        return read or ("replica" if request.method in SAFE_METHODS else None)

    if isinstance(router, AsyncRouter):

        async def async_session(request: Request) -> AsyncIterator[AsyncSession]:
            async with router.session(key(request), read=how(request)) as session:
                yield session

        return async_session

    def sync_session(request: Request) -> Iterator[Session]:
        with router.session(key(request), read=how(request)) as session:
            yield session

    return sync_session


def add_error_answers(app: FastAPI) -> None:
    """Answer shardrouter's errors as JSON: 400 for the caller's, 503 for what passes, 500 else."""

    async def answer(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, ShardRouterError)
        status = _status_of(error)
        headers = {"Retry-After": str(RETRY_AFTER_SECONDS)} if error.retryable else None
        body = {"error": type(error).__name__, "message": error.message, "hint": error.hint}
        return JSONResponse(body, status_code=status, headers=headers)

    app.add_exception_handler(ShardRouterError, answer)


def _status_of(error: ShardRouterError) -> HTTPStatus:
    if isinstance(error, ShardKeyMissing | ShardKeyInvalid):
        return HTTPStatus.BAD_REQUEST
    if error.retryable:
        return HTTPStatus.SERVICE_UNAVAILABLE
    if isinstance(error, RoutingError):
        return HTTPStatus.BAD_REQUEST
    return HTTPStatus.INTERNAL_SERVER_ERROR


def _is_https(scope: Scope) -> bool:
    return bool(scope.get("scheme") == "https")
