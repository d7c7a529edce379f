"""Settings of moves of slots between shards."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from shardrouter.config.section import Section


class RebalanceSettings(Section):
    """How slots are moved, and what that may cost the shards."""

    copy_mode: Literal["safe", "fast"] = "safe"
    """`safe`: Postgres copies by itself and survives our end; `fast`: parallel binary COPY."""

    copy_jobs: Annotated[int, Field(ge=1, le=64)] = 2
    """Copies side by side: tables in safe mode, chunks of tables in fast mode."""

    hold_seconds: Annotated[float, Field(gt=0, le=300)] = 10.0
    """How long a router holds a statement back during a cutover before it refuses it."""

    drain_seconds: Annotated[float, Field(gt=0, le=300)] = 3.0
    """How long a cutover waits for open transactions on the slots; then it is put off."""

    retry_cutover_seconds: Annotated[float, Field(gt=0, le=86_400)] = 2.0
    """The first pause before a cutover that was put off is tried again; it doubles, up to 60 s."""

    cutover_attempts: Annotated[int, Field(ge=1, le=1000)] = 20
    """Cutovers that are tried before the move waits for an operator."""

    max_lag_kb: Annotated[int, Field(ge=16, le=1_000_000)] = 1024
    """A cutover begins only when the target is closer behind than this, in kB of WAL."""

    soak_seconds: Annotated[float, Field(ge=0, le=31_536_000)] = 300.0
    """How long the source's copy is kept current after the cutover before it is deleted."""

    mover_lease_seconds: Annotated[float, Field(ge=1, le=300)] = 4.0
    """A mover that was silent for so long may be replaced by another process."""

    take_over: bool = True
    """Routers go on with moves whose mover died, clean up, watch WAL, if their role may."""

    take_over_after_seconds: Annotated[float, Field(ge=0, le=86_400)] = 30.0
    """So long a restarted command may come first; a cutover waits for the lease only."""

    max_bytes_per_second: Annotated[int | None, Field(ge=65_536)] = None
    """The most that is copied a second; none: no limit."""

    max_replica_lag_mb: Annotated[int, Field(ge=1)] = 64
    """Copying and deleting rest while a replica of either shard is further behind, in MB."""

    max_p99_ms: Annotated[float | None, Field(gt=0)] = None
    """Copying and deleting rest while a probe of either shard takes longer; none: no limit."""

    max_retained_wal_mb: Annotated[int, Field(ge=16)] = 10_240
    """The move gives up before its replication slot keeps more WAL than this, in MB."""

    min_free_disk_mb: Annotated[int | None, Field(ge=1)] = None
    """With disk_mb: the move gives up before the target's database leaves less than this free."""

    disk_mb: Annotated[int | None, Field(ge=1)] = None
    """The size of a shard's disk; Postgres does not tell it. none: no such check."""

    delete_rows: Annotated[int, Field(ge=100, le=1_000_000)] = 5_000
    """Rows a cleaning transaction deletes at most."""

    verify_rows: Annotated[int, Field(ge=100, le=10_000_000)] = 50_000
    """Rows a chunk of a comparison holds at most."""


def rebalance_surprises(rebalance: RebalanceSettings) -> Iterator[str]:
    """Yield the combinations that work but will surprise."""
    if rebalance.hold_seconds <= rebalance.drain_seconds:
        yield (
            f"rebalance.hold_seconds = {rebalance.hold_seconds:g} is not longer than"
            f" rebalance.drain_seconds = {rebalance.drain_seconds:g}: held statements are refused"
            " before a cutover that waits is put off"
        )
    if (rebalance.min_free_disk_mb is None) != (rebalance.disk_mb is None):
        yield (
            "rebalance.min_free_disk_mb and rebalance.disk_mb go together: without the other one"
            " free space is not looked at"
        )
