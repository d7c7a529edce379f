"""Run the demo: ``python -m demo``. Exit code 0 when every answer was right, else 1."""

import sys
import time
from contextlib import ExitStack
from typing import Final

import psycopg
from rich.console import Console
from sqlalchemy.exc import SQLAlchemyError

from demo.fleet import DemoFleet, demo_fleet
from demo.report import Mismatch, Report
from demo.run import run
from shardrouter import ShardRouterError

SHARDS: Final = 2
REPLICAS: Final = 1
INTERRUPTED: Final = 130


def main() -> int:
    """Start a fleet, run the demo on it, take the fleet down; return the exit code."""
    report = Report(Console(), time.monotonic)
    report.title("shardrouter: the flights of New York 2013 on a sharded, replicated Postgres")
    start = time.monotonic()
    try:
        with ExitStack() as stack:
            run(report, _start(report, stack))
    except KeyboardInterrupt:
        report.end("demo: interrupted, the fleet is gone")
        return INTERRUPTED
    except (Mismatch, ShardRouterError, SQLAlchemyError, psycopg.Error, OSError) as error:
        report.end(f"demo: failed: {error}")
        return 1
    report.end(f"took {time.monotonic() - start:.1f} s; the fleet is gone\ndemo: ok")
    return 0


def _start(report: Report, stack: ExitStack) -> DemoFleet:
    with report.waiting("starting the fleet"):
        return stack.enter_context(demo_fleet(SHARDS, REPLICAS))


if __name__ == "__main__":
    sys.exit(main())
