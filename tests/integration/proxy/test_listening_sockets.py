"""Listening sockets: one a worker, none lost when the number of workers changes, clear refusals."""

import errno
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shardrouter.config import ProxySettings
from shardrouter.errors import SettingsError
from shardrouter.proxy.host import listening_sockets
from shardrouter.proxy.host.file_lock import lock_file
from shardrouter.proxy.host.listening_sockets import Listeners, open_listeners
from shardrouter.proxy.host.unix_socket import lock_path, open_unix_listener

OPENED: list[Listeners] = []


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    while OPENED:
        OPENED.pop().close(is_handed_over=False)


def listen(workers: int = 2, **values: Any) -> Listeners:
    proxy = ProxySettings(**{"listen": "127.0.0.1:0", **values})
    OPENED.append(open_listeners(proxy, workers))
    return OPENED[-1]


def ports(listeners: Listeners) -> set[int]:
    return {sock.getsockname()[1] for group in listeners.tcp for sock in group}


def test_one_socket_a_worker_all_on_one_port() -> None:
    listeners = listen(workers=3)
    assert len(ports(listeners)) == 1
    assert [len(listeners.of_worker(index, 3)) for index in range(3)] == [1, 1, 1]
    assert not any(sock.get_inheritable() for sock in listeners.of_worker(0, 1))


def test_connections_are_spread() -> None:
    listeners = listen(workers=2)
    clients = [socket.create_connection(("127.0.0.1", listeners.port or 0)) for _ in range(60)]
    taken = [accepted(sock) for sock in listeners.tcp[0]]
    assert sum(taken) == 60
    assert min(taken) > 0
    for client in clients:
        client.close()


def accepted(sock: socket.socket) -> int:
    count = 0
    try:
        while True:
            sock.accept()[0].close()
            count += 1
    except BlockingIOError:
        return count


@pytest.mark.parametrize(("before", "after"), [(1, 4), (4, 1), (3, 2), (2, 2)])
def test_a_successor_keeps_every_socket(before: int, after: int) -> None:
    old = listen(workers=before)
    handed = [sock.dup() for sock in old.tcp[0]]
    numbers = {sock.fileno() for sock in handed}
    proxy = ProxySettings(listen=f"127.0.0.1:{old.port}")
    new = open_listeners(proxy, after, handed)
    OPENED.append(new)
    assert len(new.tcp[0]) == max(before, after)
    shared_out = [sock.fileno() for index in range(after) for sock in new.of_worker(index, after)]
    assert sorted(shared_out) == sorted({sock.fileno() for sock in new.tcp[0]})
    assert numbers <= set(shared_out)
    assert ports(new) == {old.port}


def test_a_successor_closes_what_its_settings_do_not_name(tmp_path: Path) -> None:
    old = listen(unix_socket_directory=tmp_path)
    assert old.unix is not None
    handed = [sock.dup() for sock in old.tcp[0]]
    new = open_listeners(ProxySettings(listen="127.0.0.1:0"), 1, handed[:1])
    OPENED.append(new)
    assert new.port == old.port
    other = ProxySettings(listen="", unix_socket_directory=tmp_path / "..")
    OPENED.append(open_listeners(other, 1, handed[1:]))
    assert handed[1].fileno() == -1
    assert OPENED[-1].port is None


def test_several_addresses_share_the_port() -> None:
    listeners = listen(listen="localhost:0")
    assert len(ports(listeners)) == 1
    assert len(listeners.of_worker(0, 2)) == len(listeners.tcp)
    assert len(listeners.addresses()) == len(listeners.tcp)


def test_an_address_that_is_not_here_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    here = ("127.0.0.1", 0)
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", a) for a in (("192.0.2.1", 0), here)]
    monkeypatch.setattr(listening_sockets.socket, "getaddrinfo", lambda *_, **__: found)
    assert len(listen(listen="somewhere:0").tcp) == 1
    found.remove(found[1])
    with pytest.raises(SettingsError, match=r"proxy\.listen = somewhere:0: Cannot assign"):
        listen(listen="somewhere:0")


def test_every_interface_takes_ipv4_and_ipv6() -> None:
    listeners = listen(listen="[::]:0")
    assert listeners.addresses() == [f"[::]:{listeners.port}"]
    with socket.create_connection(("127.0.0.1", listeners.port or 0), timeout=5):
        pass


def test_a_port_in_use_is_refused_even_to_the_same_user() -> None:
    listeners = listen()
    with pytest.raises(SettingsError, match="another process listens there") as caught:
        listen(listen=f"127.0.0.1:{listeners.port}")
    cause = caught.value.__cause__
    assert isinstance(cause, OSError)
    assert cause.errno == errno.EADDRINUSE
    assert caught.value.hint


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("192.0.2.1:0", "Cannot assign requested address"),
        ("no-such-host.invalid:0", r"proxy\.listen = no-such-host\.invalid:0: "),
    ],
)
def test_addresses_of_others_are_refused(address: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said) as caught:
        listen(listen=address)
    assert caught.value.hint


def test_unix_socket_is_named_as_postgres_names_it(tmp_path: Path) -> None:
    listeners = listen(unix_socket_directory=tmp_path)
    path = tmp_path / f".s.PGSQL.{listeners.port}"
    assert path.is_socket()
    assert path.stat().st_mode & 0o777 == 0o777
    assert lock_path(path).read_text() == f"{os.getpid()}\n"
    assert listeners.addresses()[-1] == str(path)
    assert [sock.family for sock in listeners.of_worker(1, 2)] == [socket.AF_INET, socket.AF_UNIX]
    listeners.close(is_handed_over=False)
    assert list(tmp_path.iterdir()) == []


def test_unix_socket_without_tcp(tmp_path: Path) -> None:
    listeners = listen(listen="", unix_socket_directory=tmp_path)
    assert listeners.addresses() == [str(tmp_path / ".s.PGSQL.6432")]


def test_what_is_handed_over_stays(tmp_path: Path) -> None:
    listeners = listen(unix_socket_directory=tmp_path)
    listeners.close(is_handed_over=True)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_stale_socket_is_removed_a_live_one_respected(tmp_path: Path) -> None:
    path = tmp_path / ".s.PGSQL.1"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    open_unix_listener(path, 1).close(is_handed_over=False)
    with socket.socket(socket.AF_UNIX) as postgres:
        postgres.bind(str(path))
        postgres.listen()
        with pytest.raises(SettingsError, match="another process listens at"):
            open_unix_listener(path, 1)
        assert path.is_socket()


def test_a_lock_of_another_proxy_is_respected(tmp_path: Path) -> None:
    path = tmp_path / ".s.PGSQL.1"
    lock = lock_file(lock_path(path))
    assert lock is not None
    with pytest.raises(SettingsError, match="another process listens at"):
        open_unix_listener(path, 1)
    os.close(lock)
    open_unix_listener(path, 1).close(is_handed_over=False)


def test_files_and_missing_directories_are_refused(tmp_path: Path) -> None:
    path = tmp_path / ".s.PGSQL.1"
    path.write_text("mine")
    with pytest.raises(SettingsError, match="no socket"):
        open_unix_listener(path, 1)
    assert path.read_text() == "mine"
    with pytest.raises(SettingsError, match="No such file") as caught:
        open_unix_listener(tmp_path / "no" / ".s.PGSQL.1", 1)
    assert caught.value.hint


def test_a_lock_is_not_given_twice_and_follows_the_file(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    first = lock_file(path)
    assert first is not None
    assert lock_file(path) is None
    path.unlink()  # somebody cleans up: the name is free, so is the lock of the new file
    second = lock_file(path)
    assert second is not None
    os.close(first)
    assert lock_file(path) is None
    os.close(second)
