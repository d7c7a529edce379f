"""Talk to the operating system: a fleet of real Postgres servers on this machine."""

from shardrouter.local.binaries import Binaries, describe_binaries, find_binaries
from shardrouter.local.dump_programs import DumpPrograms, find_dump_programs
from shardrouter.local.fleet import LocalFleet
from shardrouter.local.ports import HOST
from shardrouter.local.server import SUPERUSER, LocalServer, StopMode
from shardrouter.local.status import ServerCondition, ServerStatus, fleet_status

__all__ = [
    "HOST",
    "SUPERUSER",
    "Binaries",
    "DumpPrograms",
    "LocalFleet",
    "LocalServer",
    "ServerCondition",
    "ServerStatus",
    "StopMode",
    "describe_binaries",
    "find_binaries",
    "find_dump_programs",
    "fleet_status",
]
