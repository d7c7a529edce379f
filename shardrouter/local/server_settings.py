"""Decide the Postgres settings of each server of a local fleet. Values in, text out."""

from collections.abc import Mapping
from typing import Final

from shardrouter.local.ports import HOST

FILE_NAME: Final = "shardrouter.conf"
"""Included at the end of postgresql.conf and written anew at every start."""

Value = str | int | bool

_EVERYWHERE: Final[Mapping[str, Value]] = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",  # none: nothing is left in /tmp, and no path is too long
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": False,
    "dynamic_shared_memory_type": "mmap",  # in the data directory: kill -9 leaks no segment
    "min_wal_size": "8MB",
}
_SHARD: Final[Mapping[str, Value]] = {
    "wal_level": "logical",
    "max_connections": 300,
    "max_wal_senders": 20,
    "max_replication_slots": 20,
    "max_prepared_transactions": 64,
    "max_worker_processes": 24,  # moves apply with logical replication workers
    "max_logical_replication_workers": 16,
    "hot_standby": True,
    "hot_standby_feedback": True,
    "wal_receiver_status_interval": "1s",
    "wal_retrieve_retry_interval": "200ms",  # default 5 s: how soon a replica rejoins
    "wal_keep_size": "32MB",
    "shared_buffers": "32MB",
}
_OWN_ORIGIN_LIMIT: Final = 18  # before it max_replication_slots bounds the origins as well
_CATALOG: Final[Mapping[str, Value]] = {
    "wal_level": "minimal",
    "max_wal_senders": 0,
    "max_connections": 100,
    "shared_buffers": "16MB",
}


def settings_text(
    name: str,
    port: int,
    *,
    is_catalog: bool,
    fsync: bool,
    major: int,
    primary_port: int | None = None,
    replication_slot: str | None = None,
) -> str:
    """Return the settings file of one server; replicas name their primary and its slot."""
    settings: dict[str, Value] = {
        **_EVERYWHERE,
        **(_CATALOG if is_catalog else _SHARD),
        "port": port,
        "cluster_name": name,
        "fsync": fsync,
        "max_wal_size": "256MB" if fsync else "64MB",
    }
    if major >= _OWN_ORIGIN_LIMIT and not is_catalog:
        settings["max_active_replication_origins"] = 20
    if primary_port is not None:
        settings["primary_conninfo"] = (
            f"host={HOST} port={primary_port} user=postgres application_name={name} "
            "sslmode=disable gssencmode=disable"
        )
        settings["primary_slot_name"] = replication_slot or ""
    lines = [f"{key} = {_quoted(value)}" for key, value in settings.items()]
    return "# Written by shardrouter at every start.\n" + "\n".join(lines) + "\n"


def replication_slot_of(node: str) -> str:
    """Return the physical replication slot of a replica (slot names have no hyphen)."""
    return node.replace("-", "_")


def _quoted(value: Value) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value) if isinstance(value, int) else "'" + value.replace("'", "''") + "'"
