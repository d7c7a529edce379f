"""A parent process of the proxy with echoing workers, and clients of it."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from tests.support.eventually import eventually

ROOT: Final = Path(__file__).parents[2]
DEFAULTS: Final[dict[str, Any]] = {
    "listen": "127.0.0.1:0",
    "http_listen": "",
    "workers": 2,
    "drain_seconds": 5,
    "run_directory": "run",
    "topology_file": "fleet.toml",
}
START_SECONDS: Final = 30.0  # three processes that import much, on processors that are busy
FLEET: Final = '[[shards]]\nid = "s0"\nprimary = "host=db0"\n'


class EchoProxy:
    """One parent process; its log is read from a file."""

    def __init__(self, config: Path, name: str) -> None:
        self.log_path = config.with_name(f"{name}.log")
        with self.log_path.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.echo_proxy", str(config)],
                cwd=ROOT,
                stderr=log,
            )

    @property
    def log(self) -> str:
        return self.log_path.read_text()

    def wait_for(self, text: str) -> None:
        """Wait for a line of the log."""

        def found() -> bool:
            return bool(re.search(text, self.log)) or self._fail_when_ended(text)

        eventually(found, deadline_seconds=START_SECONDS)

    def _fail_when_ended(self, text: str) -> bool:
        if self.process.poll() is not None and not re.search(text, self.log):
            raise AssertionError(f"the proxy ended without {text!r}:\n{self.log}")
        return False

    @property
    def port(self) -> int:
        self.wait_for(r"proxy_serves")
        self.wait_for(r"proxy_listens address=127\.0\.0\.1:(\d+)")
        return int(re.findall(r"proxy_listens address=127\.0\.0\.1:(\d+)", self.log)[-1])

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def ended(self) -> int:
        """Wait for the end and return the exit code."""
        return self.process.wait(timeout=START_SECONDS)

    def worker_pids(self) -> list[int]:
        """Return the worker processes that live."""
        processes = [entry for entry in Path("/proc").iterdir() if entry.name.isdigit()]
        return [int(entry.name) for entry in processes if _parent_of(entry) == self.process.pid]

    def kill_what_is_left(self) -> None:
        for pid in [*self.worker_pids(), self.process.pid]:
            if self.process.poll() is None or pid != self.process.pid:
                os.kill(pid, signal.SIGKILL)
        self.process.wait(timeout=10)


def _parent_of(entry: Path) -> int:
    try:
        stat = (entry / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return 0 if stat[0] == "Z" else int(stat[1])


class EchoClient:
    """A client of an echoing worker."""

    def __init__(self, where: int | Path) -> None:
        family = socket.AF_INET if isinstance(where, int) else socket.AF_UNIX
        self._sock = socket.socket(family)
        self._sock.settimeout(15)
        try:
            self._sock.connect(("127.0.0.1", where) if isinstance(where, int) else str(where))
        except OSError:
            self._sock.close()
            raise
        self._file = self._sock.makefile("rwb")

    def pid(self) -> int:
        """Return the process that took the connection: the first line it sends."""
        return int(self._file.readline())

    def echo(self, text: str) -> str:
        return self.ask(text)

    def send(self, line: str) -> None:
        self._file.write(f"{line}\n".encode())
        self._file.flush()

    def ask(self, line: str) -> str:
        self.send(line)
        return self._file.readline().decode().strip()

    def is_closed(self) -> bool:
        return self._file.readline() == b""

    def close(self) -> None:
        with suppress(OSError):  # of what was not sent when the other side went
            self._file.close()
        self._sock.close()


class EchoFolder:
    """A folder with settings, in which proxies are started."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "proxy.toml"
        (path / "fleet.toml").write_text(FLEET)
        self.started: list[EchoProxy] = []
        self.clients: list[EchoClient] = []
        self.configure()

    def configure(self, more: str = "", **proxy: Any) -> None:
        """Write the settings file."""
        lines = [f"{key} = {_toml(value)}" for key, value in {**DEFAULTS, **proxy}.items()]
        self.config.write_text("\n".join(["[proxy]", *lines, more]))

    def start(self) -> EchoProxy:
        self.started.append(EchoProxy(self.config, f"proxy{len(self.started)}"))
        return self.started[-1]

    def client(self, where: int | Path) -> EchoClient:
        """Connect; the client is closed at the end."""
        self.clients.append(EchoClient(where))
        return self.clients[-1]

    def refuses(self, port: int) -> bool:
        try:
            self.client(port).close()
        except ConnectionRefusedError:
            return True
        except ConnectionResetError:  # it stood in the queue of a socket that was closed just then
            return False
        return False


def _toml(value: Any) -> str:
    match value:
        case bool():
            return str(value).lower()
        case int() | float():
            return str(value)
        case list():
            return "[" + ", ".join(_toml(item) for item in value) + "]"
        case _:
            return f'"{value}"'


@contextmanager
def echo_folder(path: Path) -> Iterator[EchoFolder]:
    """Yield the folder; end whatever was started in it."""
    folder = EchoFolder(path)
    try:
        yield folder
    finally:
        for client in folder.clients:
            client.close()
        for proxy in folder.started:
            proxy.kill_what_is_left()
