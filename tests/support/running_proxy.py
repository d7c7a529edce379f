"""A proxy of two workers in front of a test's databases, as the command starts it."""

import json
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import psycopg

from tests.support.cluster import Cluster
from tests.support.eventually import eventually

ROOT: Final = Path(__file__).parents[2]
START_SECONDS: Final = 30.0


class RunningProxy:
    """Where it listens, what it logs, and clients of it."""

    def __init__(
        self, process: subprocess.Popen[bytes], log: Path, cluster: Cluster, http_port: int
    ) -> None:
        self.process = process
        self.cluster = cluster
        self._log = log
        self.port = self._told(r"proxy_listens address=\"?127\.0\.0\.1:(\d+)")
        self.http_port = http_port
        self._told(r"(proxy_serves)")

    @property
    def log(self) -> str:
        return self._log.read_text()

    def connect(self, user: str = "postgres", **more: Any) -> psycopg.Connection[Any]:
        """Connect to shard s0 through the proxy."""
        options = "-c shardrouter.shard=s0"
        return psycopg.connect(self.dsn(user=user), autocommit=True, options=options, **more)

    def admin(self, user: str = "shardrouter_admin") -> psycopg.Connection[Any]:
        return psycopg.connect(self.dsn(user=user, dbname="shardrouter"), autocommit=True)

    def dsn(self, **more: str) -> str:
        given = {"host": "127.0.0.1", "port": str(self.port), "dbname": self.cluster.database}
        return " ".join(f"{key}={value}" for key, value in {**given, **more}.items())

    def get(self, path: str) -> tuple[int, str]:
        """Return status and body of an HTTP request."""
        try:
            with urllib.request.urlopen(
                f"http://127.0.0.1:{self.http_port}{path}", timeout=10
            ) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def get_json(self, path: str) -> dict[str, Any]:
        found = json.loads(self.get(path)[1])
        assert isinstance(found, dict)
        return found

    def _told(self, pattern: str) -> Any:
        def look() -> str | None:
            if self.process.poll() is not None:
                raise AssertionError(f"the proxy ended:\n{self.log}")
            found = re.search(pattern, self.log)
            return found[1] if found else None

        return eventually(look, START_SECONDS)


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@contextmanager
def running_proxy(cluster: Cluster, more: str = "") -> Iterator[RunningProxy]:
    """Start a proxy on the cluster's settings file, and end it with the block."""
    folder, http_port = cluster.settings_path.parent, _free_port()
    lines = (
        "[proxy]",
        'listen = "127.0.0.1:0"',
        f'http_listen = "127.0.0.1:{http_port}"',
        "workers = 2",
        "drain_seconds = 3",
        "slow_query_ms = 150",
        f'run_directory = "{folder}/run"',
        more,
    )
    with cluster.settings_path.open("a") as settings:
        settings.write("\n" + "\n".join(lines) + "\n")
    log = cluster.settings_path.with_name("proxy.log")
    with log.open("w") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "shardrouter.proxy", "--config", str(cluster.settings_path)],
            cwd=ROOT,
            stderr=stderr,
        )
    try:
        yield RunningProxy(process, log, cluster, http_port)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
