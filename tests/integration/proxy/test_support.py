"""The proxies that other tests use do serve."""

from tests.support.proxy import ProxyProcess


def test_shared_proxy(proxy: ProxyProcess):
    with proxy.connect() as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    assert len(proxy.worker_pids()) == 1


def test_session_proxy(session_proxy: ProxyProcess):
    with session_proxy.connect() as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_own_proxy(make_proxy):
    made = make_proxy(proxy_pool={"size": 1})
    with made.connect(shard="s1") as connection:
        assert connection.execute("SHOW shardrouter.shard").fetchone() == ("s1",)
        assert connection.execute("SELECT 1").fetchone() == (1,)
    with made.admin() as admin:
        assert admin.execute("SHOW VERSION").fetchone()
    assert made.stop() == 0
