"""Publish a change of the topology and show it; or only show it."""

from collections.abc import Sequence

from shardrouter.catalog import CatalogStore
from shardrouter.cli.catalog import actor
from shardrouter.cli.output import Output, say, show_json, show_rows, stderr
from shardrouter.cli.topology_changes import COLUMNS, changes_between
from shardrouter.topology import Epoch, Topology


def publish_change(
    store: CatalogStore,
    before: Topology | None,
    after: Topology,
    *,
    reason: str,
    dry_run: bool,
    notes: Sequence[str],
    output: Output,
) -> None:
    """Publish ``after`` unless it is a dry run or nothing changes; print what changed.

    Raises StaleEpoch when somebody else changed the topology since ``before`` was read.
    """
    if after != before and not dry_run:
        publish(store, before, after, reason=reason)
    show_change(before, after, dry_run=dry_run, notes=notes, output=output)


def publish(store: CatalogStore, before: Topology | None, after: Topology, *, reason: str) -> Epoch:
    """Publish ``after``; return its epoch. Raises StaleEpoch."""
    expected = Epoch(0) if before is None else before.epoch
    store.publish(after, expected=expected, actor=actor(), reason=reason)
    return after.epoch


def show_change(
    before: Topology | None,
    after: Topology,
    *,
    dry_run: bool,
    notes: Sequence[str],
    output: Output,
) -> None:
    """Print what changed, or would change."""
    is_change = after != before
    changes = [change.to_row() for change in changes_between(before, after)]
    if output is Output.JSON:
        is_published = is_change and not dry_run
        show_json(
            {
                "epoch": after.epoch,
                "published": is_published,
                "changes": changes,
                "notes": list(notes),
            }
        )
        return
    if not is_change:
        say(f"nothing to change at epoch {after.epoch}")
    elif dry_run:
        say(f"dry run: epoch {after.epoch} would change")
    else:
        say(f"published epoch {after.epoch}")
    if changes:
        show_rows(changes, output, COLUMNS)
    for note in notes:
        stderr.print(f"note: {note}", markup=False)
