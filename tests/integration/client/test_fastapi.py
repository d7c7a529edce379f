"""The FastAPI example: writes on the primary, reads that follow them, errors as answers."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import pytest
from fastapi import Depends, FastAPI, HTTPException
from fastapi.testclient import TestClient
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from shardrouter import AsyncRouter, Router
from shardrouter.client.integrations.fastapi import (
    COOKIE,
    HEADER,
    ShardRouterMiddleware,
    add_error_answers,
    header,
    path,
    shard_session,
)
from shardrouter.metrics import READS
from tests.support.cluster import Cluster
from tests.support.eventually import eventually
from tests.support.orders import User, keys_on


def async_app(cluster: Cluster) -> FastAPI:
    router = AsyncRouter.from_config(cluster.settings_path)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with router:
            yield

    app = FastAPI(lifespan=lifespan)
    app.add_middleware(ShardRouterMiddleware)
    add_error_answers(app)
    UserSession = Annotated[AsyncSession, Depends(shard_session(router, key=path("id", int)))]
    TenantSession = Annotated[
        AsyncSession, Depends(shard_session(router, key=header("tenant", int)))
    ]

    @app.put("/users/{id}")
    async def put(id: int, name: str, session: UserSession) -> None:
        await session.merge(User(id=id, name=name))
        await session.commit()

    @app.get("/users/{id}")
    async def get(id: int, session: UserSession) -> dict[str, Any]:
        name = await session.scalar(select(User.name).where(User.id == id))
        if name is None:
            raise HTTPException(404)
        return {"name": name, "node": session.sync_session.unit.node.id}  # type: ignore[attr-defined]

    @app.get("/mine")
    async def mine(session: TenantSession) -> list[str]:
        return list(await session.scalars(select(User.name)))

    @app.get("/wrong")
    async def wrong() -> None:
        router.session(1.5)

    return app


def sync_app(cluster: Cluster) -> FastAPI:
    router = Router.from_config(cluster.settings_path)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with router:
            yield

    app = FastAPI(lifespan=lifespan)
    app.add_middleware(ShardRouterMiddleware)
    add_error_answers(app)
    UserSession = Annotated[Session, Depends(shard_session(router, key=path("id", int)))]

    @app.put("/users/{id}")
    def put(id: int, name: str, session: UserSession) -> None:
        session.merge(User(id=id, name=name))
        session.commit()

    @app.get("/users/{id}")
    def get(id: int, session: UserSession) -> dict[str, Any]:
        name = session.scalar(select(User.name).where(User.id == id))
        return {"name": name, "node": session.unit.node.id}  # type: ignore[attr-defined]

    return app


@pytest.fixture(params=["async", "sync"])
def http(cluster: Cluster, tables: None, request: pytest.FixtureRequest) -> Iterator[TestClient]:
    make = async_app if request.param == "async" else sync_app
    with TestClient(make(cluster)) as client:
        yield client


def key_on(cluster: Cluster, shard: str) -> int:
    with Router.from_config(cluster.settings_path) as router:
        return keys_on(router, shard, 1)[0]


def test_a_browser_reads_what_it_wrote_while_the_replica_is_frozen(
    http: TestClient, cluster: Cluster
) -> None:
    key = key_on(cluster, "s0")
    with cluster.replay_paused("s0-r1"):
        assert http.put(f"/users/{key}?name=new").status_code == 200
        assert COOKIE in http.cookies
        assert http.get(f"/users/{key}").json() == {"name": "new", "node": "s0-p"}
    eventually(lambda: http.get(f"/users/{key}").json() == {"name": "new", "node": "s0-r1"})


def test_a_service_passes_the_header_on(http: TestClient, cluster: Cluster) -> None:
    key = key_on(cluster, "s0")
    with cluster.replay_paused("s0-r1"):
        token = http.put(f"/users/{key}?name=new").headers[HEADER]
        http.cookies.clear()
        answer = http.get(f"/users/{key}", headers={HEADER: token})
        assert answer.json() == {"name": "new", "node": "s0-p"}


def test_requests_do_not_share_a_token(http: TestClient, cluster: Cluster) -> None:
    key = key_on(cluster, "s0")
    http.put(f"/users/{key}?name=old")
    eventually(lambda: http.get(f"/users/{key}").json()["node"] == "s0-r1")
    http.cookies.clear()
    before = READS.labels("replica")._value.get()
    answer = http.get(f"/users/{key}")
    assert HEADER not in answer.headers, "a request that wrote nothing has nothing to pass on"
    assert READS.labels("replica")._value.get() == before + 1


def test_a_token_that_is_not_ours_is_ignored(http: TestClient, cluster: Cluster) -> None:
    key = key_on(cluster, "s0")
    http.put(f"/users/{key}?name=x")
    http.cookies.clear()
    eventually(
        lambda: (
            http.get(f"/users/{key}", headers={HEADER: "☃ nonsense".encode()}).json().get("name")
            == "x"
        )
    )


def test_errors_become_answers(cluster: Cluster, tables: None) -> None:
    with TestClient(async_app(cluster)) as http:
        for where, headers, error in (
            ("/wrong", {}, "ShardKeyInvalid"),
            ("/mine", {}, "ShardKeyMissing"),
            ("/mine", {"tenant": "x"}, "ShardKeyInvalid"),
        ):
            answer = http.get(where, headers=headers)
            assert (answer.status_code, answer.json()["error"]) == (400, error)
            assert answer.json()["hint"]
