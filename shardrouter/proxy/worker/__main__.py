"""``python -m shardrouter.proxy.worker``: one worker process, started by the parent."""

import sys

from shardrouter.proxy.worker.entry import run_process
from shardrouter.proxy.worker.run import run_worker

if __name__ == "__main__":
    sys.exit(run_process(run_worker, sys.argv[1:]))
