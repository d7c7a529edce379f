"""The proxy's parent process with workers that echo. The argument is the settings file."""

import sys
from pathlib import Path

from shardrouter.proxy.parent.plan import plan_of
from shardrouter.proxy.parent.run import run_proxy

WORKER = (sys.executable, "-m", "tests.support.echo_worker")

if __name__ == "__main__":
    sys.exit(run_proxy(lambda: plan_of(Path(sys.argv[1]), {}, WORKER)))
