"""A new proxy takes the sockets of the running one: no connection is lost on the way."""

import json
import os
import signal
import socket
import stat
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

import pytest

from tests.support.echo_folder import EchoClient, EchoFolder, EchoProxy, echo_folder
from tests.support.eventually import eventually

PAUSE_SECONDS: Final = 0.003  # leaves the processors to those that start


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[EchoFolder]:
    with echo_folder(tmp_path) as made:
        yield made


class Knocking:
    """Connects again and again, and counts what was not answered."""

    def __init__(self, port: int) -> None:
        self.answers: list[int] = []
        self.failures: list[str] = []
        self._port = port
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "Knocking":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._is_over.is_set():
            try:
                client = EchoClient(self._port)
                self.answers.append(client.pid())
                client.close()
            except (OSError, ValueError) as error:
                self.failures.append(repr(error))
            self._is_over.wait(PAUSE_SECONDS)


def successor(folder: EchoFolder, old: EchoProxy) -> EchoProxy:
    new = folder.start()
    new.wait_for("proxy_listens")
    old.wait_for("takeover_done")
    return new


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (2, 2),
        pytest.param(3, 1, marks=pytest.mark.slow),
        pytest.param(1, 3, marks=pytest.mark.slow),
    ],
)
def test_no_connection_is_lost(folder: EchoFolder, before: int, after: int) -> None:
    folder.configure(workers=before)
    old = folder.start()
    port = old.port
    old_pids = set(old.worker_pids())
    staying = folder.client(port)
    staying.pid()
    folder.configure(workers=after)
    with Knocking(port) as knocking:
        new = successor(folder, old)
        assert staying.echo("my transaction") == "my transaction"
        staying.close()
        assert old.ended() == 0
        seen = len(knocking.answers)
        eventually(lambda: len(knocking.answers) > seen + 50)
    assert knocking.failures == []
    assert len(new.worker_pids()) == after
    assert set(knocking.answers[-40:]) <= set(new.worker_pids())
    assert old_pids & set(knocking.answers)
    assert new.port == port


@pytest.mark.slow
def test_again_and_again(folder: EchoFolder) -> None:
    folder.configure(unix_socket_directory=".", http_listen="")
    proxy = folder.start()
    port = proxy.port
    path = folder.path / f".s.PGSQL.{port}"
    with Knocking(port) as knocking:
        for _ in range(2):
            old, proxy = proxy, successor(folder, proxy)
            assert old.ended() == 0
            assert folder.client(path).pid() in proxy.worker_pids()
            assert path.with_name(f"{path.name}.lock").read_text() == f"{proxy.process.pid}\n"
    assert knocking.failures == []
    proxy.signal(signal.SIGTERM)
    assert proxy.ended() == 0
    assert not list(folder.path.glob(".s.PGSQL*"))


@pytest.mark.slow
def test_the_old_one_goes_on_when_the_new_one_cannot_start(folder: EchoFolder) -> None:
    folder.configure(unix_socket_directory=".")
    old = folder.start()
    port = old.port
    folder.configure(unix_socket_directory=".", admin_users=["refuse-to-start"])
    new = folder.start()
    assert new.ended() == 1
    assert "error: this worker does not like it here" in new.log
    assert folder.client(port).pid() in old.worker_pids()
    assert folder.client(folder.path / f".s.PGSQL.{port}").pid() in old.worker_pids()
    folder.configure(unix_socket_directory=".")
    successor(folder, old)
    assert old.ended() == 0


@pytest.mark.slow
def test_a_new_address_is_opened_and_the_old_one_ends(folder: EchoFolder) -> None:
    old = folder.start()
    before = old.port
    with socket.create_server(("127.0.0.1", 0)) as free:
        after = free.getsockname()[1]
    folder.configure(listen=f"127.0.0.1:{after}")
    new = successor(folder, old)
    assert old.ended() == 0
    assert folder.refuses(before)
    assert new.port == after
    assert folder.client(after).pid() in new.worker_pids()


@pytest.mark.slow
def test_http_goes_over_too(folder: EchoFolder) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    folder.configure(http_listen=f"127.0.0.1:{port}")
    old = folder.start()
    assert old.port
    assert eventually(lambda: ready_workers(port)) == 2
    folder.configure(http_listen=f"127.0.0.1:{port}", workers=1)
    successor(folder, old)
    assert old.ended() == 0
    assert eventually(lambda: ready_workers(port)) == 1


def test_only_the_same_user_may_take_over(folder: EchoFolder) -> None:
    proxy = folder.start()
    assert proxy.port
    run = folder.path / "run"
    assert stat.S_IMODE(run.stat().st_mode) == 0o700
    assert stat.S_IMODE((run / "control.sock").stat().st_mode) == 0o600
    run.chmod(0o755)
    other = folder.start()
    assert other.ended() == 1
    assert "is not a directory of this user alone\nhint: " in other.log


NONSENSE = (b"", b"nonsense\n", b'{"request": "take over", "format": 99}\n', b"x" * 2_000_000)


@pytest.mark.slow
def test_nonsense_at_the_control_socket_does_no_harm(folder: EchoFolder) -> None:
    old = folder.start()
    port = old.port
    for said in NONSENSE:
        with socket.socket(socket.AF_UNIX) as caller:
            caller.settimeout(15)
            caller.connect(str(folder.path / "run" / "control.sock"))
            with suppress(BrokenPipeError, ConnectionResetError):
                caller.sendall(said)
                caller.shutdown(socket.SHUT_WR)
                assert caller.recv(100) == b""
    assert folder.client(port).pid() in old.worker_pids()
    successor(folder, old)
    assert old.ended() == 0


@pytest.mark.slow
def test_a_successor_that_is_killed_half_way(folder: EchoFolder) -> None:
    old = folder.start()
    port = old.port
    new = folder.start()
    old.wait_for("takeover_asked")
    os.kill(new.process.pid, signal.SIGKILL)
    new.ended()
    old.wait_for("takeover_failed")
    with Knocking(port) as knocking:
        successor(folder, old)
        assert old.ended() == 0
    assert knocking.failures == []


def ready_workers(port: int) -> int:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=5) as answer:
            return int(json.load(answer)["answered"])
    except OSError:
        return 0
