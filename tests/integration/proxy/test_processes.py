"""The parent process: workers die and come back, drains end, reloads are taken or refused."""

import ast
import os
import resource
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.echo_folder import EchoClient, EchoFolder, echo_folder
from tests.support.eventually import eventually


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[EchoFolder]:
    with echo_folder(tmp_path) as made:
        yield made


def clients_of_both(folder: EchoFolder, port: int) -> dict[int, EchoClient]:
    """Connect until each of two workers has a client."""
    found: dict[int, EchoClient] = {}
    while len(found) < 2:
        client = folder.client(port)
        found.setdefault(client.pid(), client)
    return found


def test_clients_reach_all_workers_by_tcp_and_unix_socket(folder: EchoFolder) -> None:
    folder.configure(unix_socket_directory=".")
    proxy = folder.start()
    assert set(clients_of_both(folder, proxy.port)) == set(proxy.worker_pids())
    by_socket = folder.client(folder.path / f".s.PGSQL.{proxy.port}")
    assert by_socket.pid() in proxy.worker_pids()
    assert by_socket.echo("hello") == "hello"


def test_a_killed_worker_is_replaced_and_the_other_is_not_disturbed(folder: EchoFolder) -> None:
    proxy = folder.start()
    port = proxy.port
    (dead, its_client), (other, its_neighbour) = clients_of_both(folder, port).items()
    os.kill(dead, signal.SIGKILL)
    waiting = [folder.client(port) for _ in range(30)]  # some land in the queue of the dead one
    assert its_client.is_closed()
    assert its_neighbour.echo("still there") == "still there"
    pids = {client.pid() for client in waiting}
    assert dead not in pids
    assert other in pids
    assert len(pids) == 2
    assert f"pid={dead} how=SIGKILL" in proxy.log
    rows = ast.literal_eval(its_neighbour.ask("parent workers"))
    assert sorted(row["restarts"] for row in rows) == [0, 1]
    assert {row["state"] for row in rows} == {"serving"}


@pytest.mark.slow
def test_a_worker_that_talks_nonsense_is_replaced(folder: EchoFolder) -> None:
    folder.configure(workers=1)
    proxy = folder.start()
    client = folder.client(proxy.port)
    before = client.pid()
    client.send("garbage")
    proxy.wait_for("control_link_cut")
    assert client.echo("still served") == "still served"  # it drains
    after = eventually(lambda: [pid for pid in proxy.worker_pids() if pid != before])
    assert folder.client(proxy.port).pid() in after
    client.close()
    proxy.wait_for(f"pid={before} how=exit_code_0")


def test_what_a_dead_worker_held_is_granted_to_others(folder: EchoFolder) -> None:
    folder.configure("[proxy_pool]\nsize = 1")
    proxy = folder.start()
    (dead, holder), (_, other) = clients_of_both(folder, proxy.port).items()
    want = "parent want pool=s0-p/app node=s0-p user=app"
    assert holder.ask(want) == "True"
    assert other.ask(want) == "False"
    os.kill(dead, signal.SIGKILL)
    eventually(lambda: other.ask("granted") == "s0-p/app")


def test_sigterm_drains(folder: EchoFolder) -> None:
    folder.configure(unix_socket_directory=".")
    proxy = folder.start()
    port = proxy.port
    client = folder.client(port)
    client.pid()
    proxy.signal(signal.SIGTERM)
    eventually(lambda: folder.refuses(port))
    assert client.echo("my transaction ends") == "my transaction ends"
    client.close()
    assert proxy.ended() == 0
    assert not list(folder.path.glob(".s.PGSQL*"))
    assert not list((folder.path / "run").iterdir())


@pytest.mark.slow
def test_drain_has_a_deadline(folder: EchoFolder) -> None:
    folder.configure(drain_seconds=0.3)
    proxy = folder.start()
    client = folder.client(proxy.port)
    client.pid()
    proxy.signal(signal.SIGTERM)
    assert proxy.ended() == 0
    assert client.is_closed()


def test_a_second_signal_ends_it_now(folder: EchoFolder) -> None:
    folder.configure(drain_seconds=600)
    proxy = folder.start()
    client = folder.client(proxy.port)
    client.pid()
    proxy.signal(signal.SIGINT)
    proxy.wait_for("proxy_drains")
    proxy.signal(signal.SIGTERM)
    assert proxy.ended() == 0
    assert client.is_closed()


@pytest.mark.slow
def test_a_client_of_the_admin_database_may_drain(folder: EchoFolder) -> None:
    proxy = folder.start()
    client = folder.client(proxy.port)
    client.pid()
    assert client.ask("parent drain") == "None"
    client.close()
    assert proxy.ended() == 0


@pytest.mark.slow
def test_workers_leave_when_the_parent_is_killed(folder: EchoFolder) -> None:
    folder.configure(drain_seconds=1)
    proxy = folder.start()
    client = folder.client(proxy.port)
    client.pid()
    pids = proxy.worker_pids()
    proxy.signal(signal.SIGKILL)
    proxy.ended()
    assert client.echo("drains") == "drains"
    eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))
    assert client.is_closed()


@pytest.mark.slow
def test_started_again_after_a_kill(folder: EchoFolder) -> None:
    folder.configure(unix_socket_directory=".")
    proxy = folder.start()
    port = proxy.port
    folder.configure(unix_socket_directory=".", listen=f"127.0.0.1:{port}")
    old_client = folder.client(port)
    old_client.pid()
    proxy.signal(signal.SIGKILL)
    proxy.ended()
    again = folder.start()
    assert again.port == port
    assert folder.client(port).pid() in again.worker_pids()
    assert folder.client(folder.path / f".s.PGSQL.{port}").pid() in again.worker_pids()


def test_reload_takes_what_it_can_and_names_the_rest(folder: EchoFolder) -> None:
    proxy = folder.start()
    client = folder.client(proxy.port)
    client.pid()
    folder.configure(
        "[proxy_auth]\nfunction_dsn = 'host=a password=hunter2'", max_clients=7, workers=5
    )
    done = ast.literal_eval(client.ask("parent reload"))
    assert done["restart"] == ["proxy.workers"]
    assert {row["key"]: (row["before"], row["after"]) for row in done["changed"]} == {
        "proxy.max_clients": ("20000", "7"),
        "proxy.workers": ("2", "5"),
        "proxy_auth.function_dsn": ("", "password=*** host=a"),
    }
    shown = client.ask("parent broadcast verb=show arguments.what=max_clients")
    assert [row["value"] for rows in ast.literal_eval(shown) for row in rows] == [7, 7]
    assert "hunter2" not in proxy.log


def test_sighup_keeps_the_old_settings_on_error(folder: EchoFolder) -> None:
    proxy = folder.start()
    client = folder.client(proxy.port)
    client.pid()
    folder.config.write_text("[proxy]\nmax_clients = 0")
    proxy.signal(signal.SIGHUP)
    proxy.wait_for("settings_kept .*proxy.max_clients = 0")
    assert "20000" in client.ask("parent broadcast verb=show arguments.what=max_clients")
    folder.configure(max_clients=9)
    proxy.signal(signal.SIGHUP)
    proxy.wait_for("setting_changed key=proxy.max_clients effect=now")
    assert "9" in client.ask("parent broadcast verb=show arguments.what=max_clients")


def test_all_workers_go_back_when_one_refuses(folder: EchoFolder) -> None:
    proxy = folder.start()
    client = folder.client(proxy.port)
    client.pid()
    folder.configure(admin_users=["refused-by-1"])
    assert "this worker does not take it" in client.ask("parent reload")
    shown = client.ask("parent broadcast verb=show arguments.what=admin_users")
    assert "refused" not in shown


@pytest.mark.slow
def test_a_replaced_worker_has_the_settings_in_force(folder: EchoFolder) -> None:
    folder.configure(workers=1)
    proxy = folder.start()
    client = folder.client(proxy.port)
    pid = client.pid()
    folder.configure(workers=1, max_clients=9)
    client.ask("parent reload")
    folder.config.write_text("broken")
    os.kill(pid, signal.SIGKILL)
    client = folder.client(proxy.port)
    client.pid()
    eventually(lambda: "9" in client.ask("parent broadcast verb=show arguments.what=max_clients"))


@pytest.mark.slow
def test_a_worker_that_hangs_does_not_hold_up_the_others(folder: EchoFolder) -> None:
    proxy = folder.start()
    (hanging, _), (_, client) = clients_of_both(folder, proxy.port).items()
    os.kill(hanging, signal.SIGSTOP)
    try:
        shown = client.ask("parent broadcast verb=show arguments.what=workers")
        assert len(ast.literal_eval(shown)) == 1
    finally:
        os.kill(hanging, signal.SIGCONT)


def test_why_the_workers_do_not_start_is_told(folder: EchoFolder) -> None:
    folder.configure(admin_users=["refuse-to-start"])
    proxy = folder.start()
    assert proxy.ended() == 1
    assert proxy.log.endswith("error: this worker does not like it here\nhint: try elsewhere\n")
    assert "Traceback" not in proxy.log


def test_an_address_in_use_is_refused(folder: EchoFolder) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        folder.configure(listen=f"127.0.0.1:{taken.getsockname()[1]}")
        proxy = folder.start()
        assert proxy.ended() == 1
    assert "another process listens there\nhint: " in proxy.log
    assert not list((folder.path / "run").iterdir())


def test_another_proxy_does_not_share_the_port(folder: EchoFolder) -> None:
    port = folder.start().port
    folder.configure(listen=f"127.0.0.1:{port}", run_directory="other")
    other = folder.start()
    assert other.ended() == 1
    assert "another process listens there" in other.log


def test_an_http_address_in_use_is_refused(folder: EchoFolder) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        folder.configure(http_listen=f"127.0.0.1:{taken.getsockname()[1]}")
        proxy = folder.start()
        assert proxy.ended() == 1
    assert "error: proxy.http_listen = " in proxy.log
    assert proxy.worker_pids() == []


def test_sigterm_while_workers_start(folder: EchoFolder) -> None:
    proxy = folder.start()
    proxy.wait_for("worker_started")
    proxy.signal(signal.SIGTERM)
    assert proxy.ended() == 0
    assert proxy.log.count("worker_ended") == proxy.log.count("worker_started")


@pytest.mark.slow
def test_a_worker_that_starts_during_a_reload_gets_it(folder: EchoFolder) -> None:
    folder.configure(workers=3)
    proxy = folder.start()
    port = proxy.port
    client = folder.client(port)
    mine = client.pid()
    folder.configure(workers=3, max_clients=9)
    for pid in set(proxy.worker_pids()) - {mine}:
        os.kill(pid, signal.SIGKILL)
    client.ask("parent reload")
    eventually(
        lambda: client.ask("parent broadcast verb=show arguments.what=max_clients").count("9}") == 3
    )


@pytest.mark.slow
def test_the_limit_of_open_files_is_raised(folder: EchoFolder) -> None:
    proxy = folder.start()
    assert proxy.port
    for pid in (proxy.process.pid, *proxy.worker_pids()):
        soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        assert soft == hard
