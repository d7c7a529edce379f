"""The admin database, /metrics, /health and /ready of a proxy that runs."""

import os
import select
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from typing import TypeVar

import psycopg
import pytest
from prometheus_client.parser import text_string_to_metric_families

from shardrouter.local import LocalFleet
from tests.support.cluster import Cluster
from tests.support.eventually import eventually
from tests.support.running_proxy import RunningProxy, running_proxy

T = TypeVar("T")
ADMIN_CLUSTER = 8_001  # a number that the fixture `cluster` does not reach


@pytest.fixture(scope="module")
def proxy(
    installed_fleet: LocalFleet, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningProxy]:
    """One for all tests that leave it as it was."""
    path = tmp_path_factory.mktemp("admin") / "shardrouter.toml"
    cluster = Cluster(installed_fleet, ADMIN_CLUSTER, path)
    cluster.make()
    try:
        cluster.publish()
        path.write_text(f'[catalog]\ndsn = "{cluster.catalog_dsn}"\n')
        with running_proxy(cluster) as running:
            yield running
    finally:
        cluster.drop()


@pytest.fixture
def own_proxy(cluster: Cluster) -> Iterator[RunningProxy]:
    """One for a test that kills or ends it."""
    with running_proxy(cluster) as running:
        yield running


def show(proxy: RunningProxy, command: str) -> list[dict[str, str | None]]:
    with proxy.admin() as admin:
        cursor = admin.execute(command)
        if cursor.description is None:
            return []
        names = [column.name for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor]


def samples(proxy: RunningProxy) -> dict[str, float]:
    """Return the sum of each metric over its labels."""
    status, text = proxy.get("/metrics")
    assert status == 200
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            name = sample.name.removeprefix("shardrouter_proxy_")
            found[name] = found.get(name, 0.0) + sample.value
    return found


def test_every_show_gives_rows_of_both_workers(proxy: RunningProxy) -> None:
    with ExitStack() as stack:
        for number in range(8):
            client = stack.enter_context(proxy.connect(application_name=f"c{number}"))
            client.execute("SELECT 1")
        rows = show(proxy, "SHOW CLIENTS")
        assert {row["application_name"] for row in rows} >= {f"c{n}" for n in range(8)}
        assert len({row["id"] for row in rows}) == len(rows)
        assert show(proxy, "SHOW POOLS")[0]["user"] == "postgres"
        assert all(row["pid"] for row in show(proxy, "SHOW BACKENDS"))
        assert sum(int(row["queries"] or 0) for row in show(proxy, "SHOW STATS")) >= 8
    for what in ("LEASES", "WORKERS"):
        assert {row["worker"] for row in show(proxy, f"SHOW {what}")} == {"0", "1"}
    nodes = show(proxy, "SHOW NODES")
    assert {row["node"] for row in nodes} == {"s0-p", "s0-r1", "s1-p", "s1-r1"}
    assert {row["state"] for row in nodes} == {"up"}
    assert [row["shard"] for row in show(proxy, "SHOW SHARDS")] == ["s0", "s1"]
    config = {row["key"]: row["value"] for row in show(proxy, "SHOW CONFIG")}
    assert config["proxy.workers"] == "2"


def test_only_admin_users_are_let_in(proxy: RunningProxy) -> None:
    with pytest.raises(psycopg.OperationalError, match="no admin user"):
        proxy.admin("postgres")


def test_a_client_is_killed_by_its_number(proxy: RunningProxy) -> None:
    with proxy.connect(application_name="victim") as victim:
        victim.execute("SELECT 1")
        [number] = [
            row["id"] for row in show(proxy, "SHOW CLIENTS") if row["application_name"] == "victim"
        ]
        show(proxy, f"KILL {number}")
        with pytest.raises(psycopg.OperationalError):
            victim.execute("SELECT 1")
        with pytest.raises(psycopg.Error, match="there is no client"):
            show(proxy, f"KILL {number}")


def test_paused_clients_wait_until_resume(proxy: RunningProxy) -> None:
    with proxy.connect() as client:
        client.execute("SELECT 1")
        show(proxy, "PAUSE s0")
        assert {row["paused"] for row in show(proxy, "SHOW POOLS")} == {"yes"}
        pending = in_thread(lambda: client.execute("SELECT 7").fetchone())
        eventually(lambda: sum(int(r["waiting"] or 0) for r in show(proxy, "SHOW POOLS")) == 1)
        assert not pending.done()
        assert samples(proxy)["waiting_clients"] == 1
        show(proxy, "RESUME s0")
        assert pending.result(10) == (7,)


def test_a_reload_prints_what_changed_and_keeps_the_old_on_error(proxy: RunningProxy) -> None:
    assert show(proxy, "RELOAD") == []
    path = proxy.cluster.settings_path
    before = path.read_text()
    try:
        path.write_text(before.replace("workers = 2", "workers = 3\nmax_clients = 77"))
        rows = {row["key"]: row for row in show(proxy, "RELOAD")}
        assert rows["proxy.workers"]["effect"] == "after a restart"
        assert rows["proxy.max_clients"]["effect"] == "now"
        path.write_text("nonsense")
        with pytest.raises(psycopg.Error, match="TOML"):
            show(proxy, "RELOAD")
        config = {row["key"]: row["value"] for row in show(proxy, "SHOW CONFIG")}
        assert (config["proxy.workers"], config["proxy.max_clients"]) == ("2", "77")
    finally:
        path.write_text(before)
        show(proxy, "RELOAD")


def test_health_and_readiness(proxy: RunningProxy) -> None:
    assert proxy.get("/health")[0] == 200
    eventually(lambda: proxy.get("/ready")[0] == 200)
    assert proxy.get_json("/ready")["answered"] == 2


def test_metrics_never_go_backwards_when_a_worker_dies(own_proxy: RunningProxy) -> None:
    with own_proxy.connect() as client:
        for _ in range(20):
            client.execute("SELECT 1")
        before = samples(own_proxy)
    assert before["queries_total"] >= 20
    assert before["clients"] >= 1
    assert before["query_seconds_count"] >= 20
    pids = [row["pid"] for row in show(own_proxy, "SHOW WORKERS")]
    for pid in pids:
        os.kill(int(pid or 0), signal.SIGKILL)
    eventually(lambda: samples(own_proxy)["workers"] == 2, 30)
    after = samples(own_proxy)
    assert after["worker_restarts_total"] == 2
    falling = [n for n, v in before.items() if n.endswith(("_total", "_count")) and after[n] < v]
    assert falling == []


def test_a_drain_answers_says_goodbye_and_ends_the_proxy(own_proxy: RunningProxy) -> None:
    notes: list[tuple[str | None, str | None, str | None]] = []
    with own_proxy.admin() as admin:
        admin.add_notice_handler(
            lambda note: notes.append((note.severity, note.sqlstate, note.message_primary))
        )
        admin.execute("DRAIN")
        # Read without asking: a question that nobody takes could have the last words lost. What
        # comes unasked libpq hands on as a notice, also when it is FATAL; it may have come with
        # the answer, or in one piece with the end.
        if len(notes) < 2:
            assert select.select([admin.fileno()], [], [], 15)[0]
            with suppress(psycopg.OperationalError):
                admin.pgconn.consume_input()
            admin.pgconn.is_busy()
    answer, last_words = notes
    assert "no new clients" in (answer[2] or "")
    assert last_words[:2] == ("FATAL", "57P01")
    assert own_proxy.process.wait(15) == 0


def test_a_cancel_request_ends_a_pause_on_whichever_worker_it_is(proxy: RunningProxy) -> None:
    with proxy.connect() as client, proxy.admin() as admin:
        client.execute("BEGIN")
        client.execute("SELECT 1")
        pausing = in_thread(lambda: admin.execute("PAUSE"))
        eventually(lambda: "yes" in {row["paused"] for row in show(proxy, "SHOW POOLS")})
        for _ in range(4):  # to both workers, whoever takes the connection
            admin.cancel_safe()
        with pytest.raises(psycopg.errors.QueryCanceled):
            pausing.result(10)
        show(proxy, "RESUME")
        client.execute("COMMIT")


def test_who_leaves_is_logged(proxy: RunningProxy) -> None:
    with proxy.connect(application_name="gone") as client:
        client.execute("SELECT 1")
    eventually(lambda: "client_left " in proxy.log)
    line = [line for line in proxy.log.splitlines() if "client_left " in line][-1]
    assert "user=postgres" in line
    assert "queries=" in line


@pytest.mark.parametrize("prepare", [False, True])
def test_a_slow_statement_is_logged_without_its_values(proxy: RunningProxy, prepare: bool) -> None:
    with proxy.connect() as client:
        client.execute("SELECT pg_sleep(0.2), 'a secret' AS it", prepare=prepare)
    eventually(lambda: "slow_query " in proxy.log)
    line = [line for line in proxy.log.splitlines() if "slow_query " in line][-1]
    assert 'query="SELECT pg_sleep(?), ? AS it"' in line
    assert "shard=s0 node=s0-p" in line
    assert "a secret" not in proxy.log


def in_thread(work: Callable[[], T]) -> Future[T]:
    pool = ThreadPoolExecutor(1)
    future = pool.submit(work)
    pool.shutdown(wait=False)
    return future
