"""Workers and parent of a proxy, as the admin database asks them."""

from typing import Any

from shardrouter.config import Settings
from shardrouter.proxy.admin import AdminContext
from tests.support.proxy_snapshots import snapshot

CLIENT = {
    "worker": 0,
    "id": 11,
    "user": "ada",
    "database": "app",
    "address": "127.0.0.1:5000",
    "state": "in transaction",
    "shard": "s0",
    "node": "s0-p",
    "pinned": "temporary table",
    "wait_ms": None,
    "age_seconds": 12.3456,
    "queries": 4,
    "application_name": "psql",
}
BACKEND = {
    "worker": 0,
    "node": "s0-p",
    "shard": "s0",
    "user": "ada",
    "pid": 4711,
    "state": "active",
    "client": 11,
    "age_seconds": 60.0,
    "idle_seconds": None,
    "prepared": 2,
    "replays": 1,
}
POOL = {
    "node": "s0-p",
    "shard": "s0",
    "role": "primary",
    "user": "ada",
    "database": "app",
    "mode": "transaction",
    "idle": 1,
    "active": 2,
    "waiting": 3,
    "opening": 0,
    "size": 20,
    "paused": False,
    "wait_max_ms": 1.5,
}
NODE = {
    "node": "s0-p",
    "shard": "s0",
    "role": "primary",
    "seen_role": "primary",
    "state": "up",
    "lag_bytes": None,
    "lag_seconds": None,
    "position": "1:0/3000060",
    "backends": 3,
    "back_off_seconds": None,
    "problem": None,
}
SHARD = {
    "shard": "s0",
    "slots": 4096,
    "primary": "s0-p",
    "replicas": ["s0-r1", "s0-r2"],
    "up": True,
    "epoch": 7,
}
MOVE = {
    "move": 3,
    "source": "s0",
    "target": "s1",
    "slots": 8,
    "motion": "paused",
    "owner": "s0",
    "held": 2,
    "epoch": 7,
}
LEASE = {
    "worker": 0,
    "pid": 101,
    "epoch": 7,
    "seconds_left": 14.25,
    "source": "catalog",
    "problem": None,
}
WORKER = {"worker": 0, "pid": 101, "state": "serving", "age_seconds": 60.0, "restarts": 0}


class FakeWorkers:
    """Answers every verb; remembers what was asked. ``rows`` has the answers of each worker."""

    def __init__(self) -> None:
        self.rows: dict[str, list[list[dict[str, Any]]]] = {
            "clients": [[CLIENT], [CLIENT | {"worker": 1, "id": 12, "pinned": None}]],
            "backends": [[BACKEND], []],
            "pools": [[POOL], [POOL]],
            "nodes": [[NODE], [NODE]],
            "shards": [[SHARD], [SHARD]],
            "moves": [[MOVE], [MOVE]],
            "leases": [[LEASE], [LEASE | {"worker": 1, "pid": 102}]],
        }
        self.killed = [False, True]
        self.reloaded: dict[str, Any] = {"changed": [], "restart": []}
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.drains_seconds = 0.25
        self.admin_users: tuple[str, ...] = ("shardrouter_admin",)

    async def ask_all(self, verb: str, **arguments: Any) -> list[Any]:
        self.asked.append((verb, arguments))
        match verb:
            case "show":
                return self.rows[arguments["what"]]
            case "metrics":
                return [snapshot(101), snapshot(102)]
            case "kill":
                return self.killed
            case _:
                return [None, None]

    async def parent(self, verb: str, **arguments: Any) -> Any:
        self.asked.append((verb, arguments))
        match verb:
            case "reload":
                return self.reloaded
            case "workers":
                return [WORKER, WORKER | {"worker": 1, "pid": None, "state": "gone"}]
            case _:
                return None

    def settings(self) -> Settings:
        return Settings(
            catalog={"dsn": "postgresql://app:hunter2@db0/catalog"},
            proxy={"drain_seconds": self.drains_seconds, "admin_users": self.admin_users},
            proxy_auth={"function_dsn": "host=db1 password=hunter3"},
        )

    def context(self, user: str = "shardrouter_admin") -> AdminContext:
        return AdminContext(user, self.ask_all, self.parent, self.settings)
