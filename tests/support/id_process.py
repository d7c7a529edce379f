"""A process that makes ids: reads a count a line, answers with that many ids, or the error.

python -m tests.support.id_process CATALOG_DSN LEASE_SECONDS
"""

import sys
import time

from shardrouter.catalog import IdWorkers, catalog_engine
from shardrouter.client.ids import IdSource
from shardrouter.config.ids import IdSettings
from shardrouter.errors import ShardRouterError

SLOTS = 4096


def main(dsn: str, lease_seconds: float) -> None:
    settings = IdSettings(lease_seconds=lease_seconds, horizon_seconds=lease_seconds)
    workers = IdWorkers(catalog_engine(dsn), settings.lease_seconds, settings.horizon_seconds)
    ids = IdSource(workers, SLOTS, settings, "test", time.sleep)
    for line in sys.stdin:
        try:
            answer = " ".join(str(ids.new_id(n % SLOTS)) for n in range(int(line)))
        except ShardRouterError as error:
            answer = f"{type(error).__name__}: {error.message}"
        print(answer, flush=True)  # noqa: T201
    ids.close()


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
