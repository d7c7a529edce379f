"""How many files the workers need."""

from shardrouter.config import Settings
from shardrouter.proxy.host.file_limit import OTHER_FILES, files_of_a_worker


def test_clients_and_backends_of_one_worker() -> None:
    settings = Settings(proxy={"max_clients": 1000}, proxy_pool={"fleet_size": 50})
    assert files_of_a_worker(settings, 4) == 250 + 50 + OTHER_FILES
    assert files_of_a_worker(settings, 3) == 334 + 50 + OTHER_FILES
