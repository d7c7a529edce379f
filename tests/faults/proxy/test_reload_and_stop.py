"""Settings change, certificates break, the process ends or is replaced: under load."""

import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
import trustme
from psycopg.conninfo import make_conninfo

from shardrouter.local import LocalFleet
from tests.plugins.fix_faults import Keep
from tests.plugins.fix_proxy import MakeProxy
from tests.support.cluster import Cluster, install_catalog
from tests.support.eventually import eventually
from tests.support.load import LOST, UNMET, Connection, Load, echo
from tests.support.proxy import ADMIN_DATABASE, ADMIN_USER, ProxyProcess

PGBENCH = Path("/usr/lib/postgresql/15/bin/pgbench")


def briefly(connection: Connection) -> None:
    with connection.transaction():
        echo(connection)
        connection.execute("SELECT pg_sleep(0.01)")
        echo(connection)


def test_no_errors_at_sighup(make_proxy: MakeProxy) -> None:
    proxy = make_proxy(shards=("s0",), proxy={"workers": 2}, proxy_pool={"size": 6})
    with Load(proxy.connect, 6, briefly).running() as load:
        for size in (4, 8, 2, 6):
            load.wait_for_more(20)
            proxy.configure(proxy={"workers": 2}, proxy_pool={"size": size})
            done = proxy.log.count("settings_reloaded")
            proxy.signal(signal.SIGHUP)
            eventually(lambda n=done: proxy.log.count("settings_reloaded") > n)
        proxy.configure(proxy={"workers": 2}, proxy_pool={"size": "many"})
        proxy.signal(signal.SIGHUP)
        proxy.wait_for_log("settings_kept")
        load.wait_for_more(20)
    assert load.failures() == []


@pytest.mark.slow
def test_sigterm_lets_transactions_end(make_proxy: MakeProxy, kept: Keep) -> None:
    proxy = make_proxy(shards=("s0",), proxy={"workers": 2, "drain_seconds": 10})
    busy = [kept(proxy.connect()) for _ in range(4)]
    for connection in busy:
        connection.execute("BEGIN")
        connection.execute("CREATE TEMP TABLE mine (n int) ON COMMIT DROP")
    inside: list[str] = []

    def transact(connection: Connection) -> None:
        connection.execute("BEGIN")
        try:
            briefly(connection)
            connection.execute("COMMIT")
        except psycopg.Error as error:
            inside.append(str(error))
            raise

    with Load(proxy.connect, 4, transact).running() as load:
        load.wait_for_more(10)
        proxy.signal(signal.SIGTERM)
        eventually(lambda: load.errors()[UNMET] > 0)  # new clients are turned away
        for connection in busy:
            connection.execute("INSERT INTO mine VALUES (1)")
            connection.execute("COMMIT")
    assert set(load.errors()) <= {"57P01", LOST, UNMET}
    assert not inside, "between transactions only: one that had begun ends"
    assert proxy.stop() == 0


@pytest.mark.slow
def test_pgbench_over_a_takeover(make_proxy: MakeProxy) -> None:
    """A second process with the same settings takes the sockets: not one transaction is lost."""
    if not PGBENCH.exists():
        pytest.skip("no pgbench here")
    proxy = make_proxy(shards=("s0",), proxy={"workers": 2, "drain_seconds": 20})
    script = proxy.folder / "script.sql"
    script.write_text("BEGIN;\nSELECT 1;\nSELECT 2;\nCOMMIT;\n")
    command = [str(PGBENCH), "-n", "-f", str(script), "-c", "4", "-T", "6", "-C", proxy.dsn()]
    load = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        for _ in range(2):
            successor = make_proxy(shards=("s0",), start=False)
            shutil.copy(proxy.config, successor.config)
            text = successor.config.read_text()
            successor.config.write_text(text.replace("127.0.0.1:0", f"127.0.0.1:{proxy.port}"))
            successor.start()
            proxy.wait_for_log("takeover_done")
            proxy = successor
        out, err = load.communicate(timeout=30)
    finally:
        load.kill()
    assert load.returncode == 0, err
    assert "aborted" not in err
    assert "number of failed transactions: 0" in out


# Certificates


def certify(folder: Path, authority: trustme.CA, expired: bool = False) -> None:
    until = datetime.now(UTC) + (timedelta(hours=-1) if expired else timedelta(days=1))
    issued = authority.issue_cert("localhost", not_after=until)
    issued.private_key_pem.write_to_path(folder / "proxy.key")
    (folder / "proxy.pem").write_bytes(issued.cert_chain_pems[0].bytes())


@pytest.fixture
def secured(make_proxy: MakeProxy, tmp_path: Path) -> tuple[ProxyProcess, trustme.CA]:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    certify(tmp_path, authority)
    auth = {
        "certificate_file": str(tmp_path / "proxy.pem"),
        "key_file": str(tmp_path / "proxy.key"),
        "tls": "require",
    }
    return make_proxy(shards=("s0",), proxy_auth=auth), authority


@pytest.mark.parametrize(
    ("how", "by"),
    [
        ("expired", "RELOAD"),
        pytest.param("broken", "SIGHUP", marks=pytest.mark.slow),
        pytest.param("expired", "SIGHUP", marks=pytest.mark.slow),
        pytest.param("missing", "RELOAD", marks=pytest.mark.slow),
        pytest.param("another key", "SIGHUP", marks=pytest.mark.slow),
        pytest.param("another key", "RELOAD", marks=pytest.mark.slow),
    ],
)
def test_a_bad_certificate_at_reload_keeps_the_old(
    secured: tuple[ProxyProcess, trustme.CA], tmp_path: Path, how: str, by: str
) -> None:
    proxy, authority = secured
    root = str(tmp_path / "ca.pem")
    dsn = make_conninfo(proxy.dsn(), sslmode="verify-ca", sslrootcert=root)

    def connect() -> Connection:
        return psycopg.connect(dsn, autocommit=True)

    with Load(connect, 2).running() as load:
        load.wait_for_more(5)
        spoil(tmp_path, authority, how)
        if by == "SIGHUP":
            proxy.signal(signal.SIGHUP)
            proxy.wait_for_log("settings_kept")
        else:
            admin_dsn = make_conninfo(dsn, user=ADMIN_USER, dbname=ADMIN_DATABASE)
            with psycopg.connect(admin_dsn, autocommit=True) as admin:
                with pytest.raises(psycopg.Error, match="certificate"):
                    admin.execute("RELOAD")
        load.wait_for_more(5)
        with connect() as newcomer:
            echo(newcomer)
        certify(tmp_path, authority)
        proxy.signal(signal.SIGHUP)
        proxy.wait_for_log("settings_reloaded")
        with connect() as newcomer:
            echo(newcomer)
    assert load.failures() == []


def spoil(folder: Path, authority: trustme.CA, how: str) -> None:
    match how:
        case "expired":
            certify(folder, authority, expired=True)
        case "broken":
            (folder / "proxy.pem").write_text("no certificate\n")
        case "missing":
            (folder / "proxy.pem").unlink()
        case _:
            other = authority.issue_cert("localhost")
            other.private_key_pem.write_to_path(folder / "proxy.key")


# The catalog


@pytest.fixture
def private_catalog(private_fleet: Callable[..., LocalFleet], tmp_path: Path) -> Cluster:
    fleet = private_fleet(2, 0)
    install_catalog(fleet)
    made = Cluster(fleet, 1, tmp_path / "shardrouter.toml")
    made.make()
    made.publish()
    return made


@pytest.mark.slow
def test_the_catalog_goes_and_comes_back(
    make_proxy: MakeProxy, private_catalog: Cluster, kept: Keep
) -> None:
    """Served until the lease ends, then refused by name, then served again."""
    cluster = private_catalog
    catalog = {"lease_seconds": 3, "connect_timeout_seconds": 2, "poll_seconds": 0.2}
    proxy = make_proxy(on=cluster, catalog=catalog)
    with Load(lambda: proxy.connect(shard="s0"), 3).running() as load:
        load.wait_for_more()
        cluster.fleet.catalog.kill()
        gone_at = time.monotonic()
        eventually(lambda: load.failures())
        assert time.monotonic() - gone_at > 1.5  # two thirds of the lease at least
        eventually(lambda: load.errors()["57P03"] >= 3)
        cluster.fleet.catalog.start()
        load.wait_for_more(30)
        failed = len(load.failures())
        load.wait_for_more(100)
        assert len(load.failures()) == failed
    assert set(load.errors()) == {"57P03"}
    assert "lease" in load.failures()[0].text
    assert load.longest_seconds() < 3


def test_the_catalog_is_down_at_the_start(make_proxy: MakeProxy, private_catalog: Cluster) -> None:
    """It keeps trying, and serves when the catalog answers."""
    cluster = private_catalog
    cluster.fleet.catalog.stop()
    proxy = make_proxy(on=cluster, start=False, catalog={"connect_timeout_seconds": 2})

    def revive() -> None:
        eventually(lambda: proxy.log_path.exists() and "worker_failed" in proxy.log, 30)
        cluster.fleet.catalog.start()

    comes = threading.Thread(target=revive)
    comes.start()
    try:
        proxy.start()
    finally:
        comes.join()
    with proxy.connect(shard="s0") as connection:
        echo(connection)
