"""``python -m shardrouter.proxy``: the parent process. ``shardrouter proxy`` becomes this."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from shardrouter.proxy.parent.plan import plan_of
from shardrouter.proxy.parent.run import run_proxy


def main(arguments: Sequence[str]) -> int:
    """Run the proxy until it ends, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m shardrouter.proxy")
    parser.add_argument("--config", type=Path, help="settings file")
    parser.add_argument("--listen", help="instead of proxy.listen")
    parser.add_argument("--workers", type=int, help="instead of proxy.workers")
    given = parser.parse_args(arguments)
    said: dict[str, Any] = {"listen": given.listen, "workers": given.workers}
    overrides = {key: value for key, value in said.items() if value is not None}
    return run_proxy(lambda: plan_of(given.config, {"proxy": overrides}))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
