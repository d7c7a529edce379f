"""Talking to one Postgres node: connections, probes, guards."""

from shardrouter.postgres.backend import POSITION_SQL, AsyncBackend, Backend, read_position
from shardrouter.postgres.probe import REPLAY_SQL, Probe, probe, replay_position

__all__ = [
    "POSITION_SQL",
    "REPLAY_SQL",
    "AsyncBackend",
    "Backend",
    "Probe",
    "probe",
    "read_position",
    "replay_position",
]
