"""``python -m shardrouter.proxy.worker``: one worker process, started by the parent."""

import sys

from shardrouter.proxy.worker_entry import run_process
from shardrouter.proxy.worker_run import run_worker

if __name__ == "__main__":
    sys.exit(run_process(run_worker, sys.argv[1:]))
