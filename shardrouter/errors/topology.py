"""The topology does not allow that now."""

from shardrouter.errors.root import ShardRouterError


class TopologyError(ShardRouterError):
    """The topology does not allow that now."""

    sqlstate = "57P03"
    retryable = True


class StaleEpoch(TopologyError):
    """The topology changed in the meantime."""


class LeaseExpired(TopologyError):
    """This router's lease on the topology ran out."""


class SlotNotOwned(TopologyError):
    """The shard does not own the row's slot."""

    sqlstate = "SR001"


class UnknownShard(TopologyError):
    """There is no such shard or node in the topology."""

    sqlstate = "22023"
    retryable = False


class NoPrimary(TopologyError):
    """No node of the shard may take writes."""


class CatalogUnavailable(TopologyError):
    """The catalog database does not answer."""
