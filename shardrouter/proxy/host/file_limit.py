"""Use as many open files as this process may: each client and each backend is one."""

import logging
import resource
from typing import Final

from shardrouter.config import Settings

logger = logging.getLogger(__name__)

OTHER_FILES: Final = 100  # of a worker: libraries, logs, the catalog, the monitor


def raise_file_limit(settings: Settings, workers: int) -> None:
    """Raise the soft limit to the hard one, and say when that is too low for the settings.

    The workers inherit it. Shells and services start with 1,024, for programs that use select().
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    needed = files_of_a_worker(settings, workers)
    if hard != resource.RLIM_INFINITY and hard < needed:
        logger.warning("file_limit_low limit=%d needed=%d", hard, needed)


def files_of_a_worker(settings: Settings, workers: int) -> int:
    """Return how many files one worker surely needs when all clients are there."""
    clients = -(-settings.proxy.max_clients // workers)
    backends = min(settings.proxy_pool.fleet_size, settings.proxy_pool.node_size)
    return clients + backends + OTHER_FILES
