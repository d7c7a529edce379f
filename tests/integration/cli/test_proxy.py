"""``shardrouter proxy``: it becomes the proxy, and refuses in one line and a hint."""

import signal
import socket
from pathlib import Path

import pytest

from tests.support.cluster import Cluster
from tests.support.command import shardrouter, started_shardrouter
from tests.support.eventually import eventually


def write(folder: Path, catalog_dsn: str, proxy: str) -> None:
    (folder / "shardrouter.toml").write_text(
        f'[catalog]\ndsn = "{catalog_dsn}"\n[proxy]\nworkers = 1\nhttp_listen = ""\n'
        f'run_directory = "run"\n{proxy}\n'
    )


def test_serves_until_sigterm(cluster: Cluster, tmp_path: Path) -> None:
    write(tmp_path, cluster.catalog_dsn, 'listen = "127.0.0.1:0"')
    with started_shardrouter("proxy", "--workers", "2", cwd=tmp_path) as process:
        assert process.stdout is not None
        seen: list[str] = []
        eventually(lambda: seen.append(process.stdout.readline()) or "proxy_serves" in seen[-1], 40)
        assert any("workers=2" in line for line in seen)
        assert b"shardrouter.proxy" in Path(f"/proc/{process.pid}/cmdline").read_bytes()
        process.send_signal(signal.SIGTERM)
        process.stdout.read()
        assert process.wait(20) == 0


@pytest.mark.parametrize(
    ("proxy", "said"),
    [
        ('listen = "6432"', "proxy.listen = '6432' is not an address"),
        ('listen = ""', "nobody can connect"),
        ('listen = "192.0.2.1:6432"', "Cannot assign requested address"),
        ("max_clients = 0", "proxy.max_clients = 0: must be at least 1"),
        ('topology_file = "none.toml"', "topology file none.toml: cannot be read"),
    ],
)
def test_refusals(tmp_path: Path, proxy: str, said: str) -> None:
    write(tmp_path, "postgresql://nobody@127.0.0.1:1/none", proxy)
    done = shardrouter("proxy", cwd=tmp_path)
    assert done.returncode == 1
    assert "error: " in done.stderr
    assert said in done.stderr
    assert "\nhint: " in done.stderr
    assert "Traceback" not in done.stderr


def test_an_address_in_use(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        write(tmp_path, "postgresql://nobody@127.0.0.1:1/none", f'listen = "127.0.0.1:{port}"')
        done = shardrouter("proxy", cwd=tmp_path)
    assert done.returncode == 1
    assert "another process listens there" in done.stderr


def test_a_catalog_without_tables_is_refused(cluster: Cluster, tmp_path: Path) -> None:
    write(tmp_path, cluster.dsn("s0-p"), 'listen = "127.0.0.1:0"')
    done = shardrouter("proxy", cwd=tmp_path)
    assert done.returncode == 1
    assert "error: " in done.stderr
    assert "shardrouter init" in done.stderr
    assert "Traceback" not in done.stderr


def test_wrong_usage(tmp_path: Path) -> None:
    assert shardrouter("proxy", "--workers", "-1", cwd=tmp_path).returncode == 2
