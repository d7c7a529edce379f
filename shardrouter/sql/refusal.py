"""The one form of "this cannot be merged": which clause, and what to write instead."""

from shardrouter.errors import CrossShardUnsupported

IN_ONE_SHARD = "run it in one shard with router.session(key=...), or change the statement"


def refusal(clause: str, why: str, hint: str = IN_ONE_SHARD) -> CrossShardUnsupported:
    """Return the error to raise for a clause of a gathered statement."""
    return CrossShardUnsupported(f"gather cannot merge {clause}: {why}", hint=hint)
