"""A running proxy before a cluster's servers: settings in, a port and its log out."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg.rows import TupleRow

from tests.support.cluster import Cluster
from tests.support.eventually import PATIENCE, eventually

ROOT: Final = Path(__file__).parents[2]
START_SECONDS: Final = 30.0  # two processes that import much, on processors that are busy
STOP_SECONDS: Final = 20.0
CONNECT_SECONDS: Final = 10
USER: Final = "postgres"
ADMIN_USER: Final = "shardrouter_admin"
ADMIN_DATABASE: Final = "shardrouter"

_LISTENS: Final = re.compile(r"proxy_listens address=127\.0\.0\.1:(\d+)")

DEFAULTS: Final[dict[str, dict[str, Any]]] = {
    "proxy": {"listen": "127.0.0.1:0", "http_listen": "", "workers": 1, "drain_seconds": 2},
    "rebalance": {"take_over": False},  # tests replace a mover that died themselves
}


class ProxyProcess:
    """One proxy: parent and workers. ``start`` it, ``stop`` it; its folder has settings and log.

    Settings are sections: ``proxy_pool={"size": 2}``. With ``shards`` the proxy serves only these
    shards of the cluster, from a topology file; without, it reads the cluster's catalog.
    """

    def __init__(
        self,
        cluster: Cluster,
        folder: Path,
        *,
        shards: tuple[str, ...] | None = None,
        environment: dict[str, str] | None = None,
        **sections: dict[str, Any],
    ) -> None:
        self.cluster = cluster
        self.folder = folder
        self.config = folder / "proxy.toml"
        self.log_path = folder / "proxy.log"
        self._shards = shards
        self._environment = environment or {}
        self._process: subprocess.Popen[bytes] | None = None
        self._port: int | None = None
        folder.mkdir(parents=True, exist_ok=True)
        self.configure(**sections)

    # Settings

    def configure(self, **sections: dict[str, Any]) -> None:
        """Write the settings file; a running proxy reads it on ``reload``."""
        all_of_them = {name: dict(values) for name, values in DEFAULTS.items()}
        all_of_them["proxy"]["run_directory"] = str(self.folder / "run")
        if self._shards is None:
            all_of_them["catalog"] = {"dsn": self.cluster.catalog_dsn}
        else:
            all_of_them["proxy"]["topology_file"] = str(self._write_topology(self._shards))
        for name, values in sections.items():
            all_of_them.setdefault(name, {}).update(values)
        self.config.write_text(_settings_text(all_of_them))

    def _write_topology(self, shards: tuple[str, ...]) -> Path:
        path = self.folder / "fleet.toml"
        lines: list[str] = []
        for name in shards:
            nodes = [n.id for n in self.cluster.fleet.nodes if n.id.startswith(f"{name}-")]
            replicas = [self.cluster.dsn(node) for node in nodes if node != f"{name}-p"]
            lines += ["[[shards]]", f'id = "{name}"']
            lines += [f"primary = {_toml(self.cluster.dsn(f'{name}-p'))}"]
            lines += [f"replicas = {_toml(replicas)}"]
        path.write_text("\n".join(lines) + "\n")
        return path

    # Life

    def start(self) -> "ProxyProcess":
        """Start it and wait until it serves."""
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "shardrouter.proxy", "--config", str(self.config)],
                cwd=ROOT,
                stdout=log,
                stderr=log,
                env={**os.environ, **self._environment},
            )
        self.wait_for_log(r"proxy_serves")
        found = _LISTENS.findall(self.log)
        self._port = int(found[-1]) if found else None
        return self

    def stop(self) -> int:
        """Stop it as an operator does and return the exit code."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(timeout=STOP_SECONDS * PATIENCE)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the parent process."""
        assert self._process is not None
        self._process.send_signal(number)

    def destroy(self) -> None:
        """End whatever is left of it, at once."""
        if self._process is None:
            return
        for pid in (*self.worker_pids(), self._process.pid):
            if _is_alive(pid):
                os.kill(pid, signal.SIGKILL)
        self._process.wait(timeout=STOP_SECONDS)

    @property
    def pid(self) -> int:
        """The parent process."""
        assert self._process is not None
        return self._process.pid

    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def worker_pids(self) -> list[int]:
        """Return the worker processes that live."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children")
        try:
            return [int(pid) for pid in children.read_text().split() if _is_alive(int(pid))]
        except OSError:
            return []

    # Log

    @property
    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    def wait_for_log(self, pattern: str, deadline_seconds: float = START_SECONDS) -> str:
        """Wait for a line of the log and return the text found."""

        def found() -> str:
            match = re.search(pattern, self.log)
            if match is None and not self.is_running():
                raise AssertionError(f"the proxy ended without {pattern!r}:\n{self.log}")
            return match.group() if match else ""

        return eventually(found, deadline_seconds)

    # Clients

    @property
    def port(self) -> int:
        assert self._port is not None
        return self._port

    def dsn(self, user: str = USER, database: str | None = None, **parameters: Any) -> str:
        """Return a connection string; ``parameters`` are libpq's."""
        given = {"connect_timeout": CONNECT_SECONDS, "sslmode": "disable", **parameters}
        return make_conninfo(
            host="127.0.0.1",
            port=self.port,
            user=user,
            dbname=database or self.cluster.database,
            **given,
        )

    def connect(
        self, *, shard: str | None = None, role: str | None = None, **parameters: Any
    ) -> psycopg.Connection[TupleRow]:
        """Open an autocommit connection, on a shard of the fleet and a role where given."""
        wishes = {"shardrouter.shard": shard, "shardrouter.role": role}
        options = [f"-c {name}={value}" for name, value in wishes.items() if value is not None]
        if parameters.get("options"):
            options.append(parameters["options"])
        if options:
            parameters["options"] = " ".join(options)
        parameters.setdefault("autocommit", True)
        own = {key: parameters.pop(key) for key in PSYCOPG_OWN if key in parameters}
        return psycopg.connect(self.dsn(**parameters), **own)

    def admin(self) -> psycopg.Connection[TupleRow]:
        """Open a connection to the admin database."""
        dsn = self.dsn(user=ADMIN_USER, database=ADMIN_DATABASE)
        return psycopg.connect(dsn, autocommit=True, cursor_factory=psycopg.ClientCursor)


PSYCOPG_OWN: Final = ("autocommit", "prepare_threshold", "row_factory", "cursor_factory", "context")
"""Arguments of ``psycopg.connect`` that are none of libpq's."""


def _settings_text(sections: dict[str, dict[str, Any]]) -> str:
    lines: list[str] = []
    for name, values in sections.items():
        lines.append(f"[{name}]")
        lines += [f"{key} = {_toml(value)}" for key, value in values.items()]
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    match value:
        case bool():
            return str(value).lower()
        case int() | float():
            return str(value)
        case list() | tuple():
            return "[" + ", ".join(_toml(item) for item in value) + "]"
        case _:
            escaped = str(value).replace("\\", "\\\\").replace('"', '\\"')
            return f'"{escaped}"'


def _is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"
