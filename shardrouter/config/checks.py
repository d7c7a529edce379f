"""Judge combinations of settings: those that cannot work, and those that surprise."""

from collections.abc import Iterator

from shardrouter.config.proxy_checks import proxy_refusals, proxy_surprises
from shardrouter.config.rebalance import rebalance_surprises
from shardrouter.config.settings import Settings


def refusals(settings: Settings) -> Iterator[str]:
    """Yield the combinations that cannot work."""
    catalog = settings.catalog
    if catalog.lease_seconds <= catalog.poll_seconds:
        yield (
            f"catalog.lease_seconds = {catalog.lease_seconds:g} must be longer than"
            f" catalog.poll_seconds = {catalog.poll_seconds:g}:"
            " the lease would run out between two polls"
        )
    if catalog.lease_seconds <= catalog.connect_timeout_seconds:
        yield (
            f"catalog.lease_seconds = {catalog.lease_seconds:g} must be longer than"
            f" catalog.connect_timeout_seconds = {catalog.connect_timeout_seconds:g}:"
            " one slow connection attempt would use it up"
        )
    yield from proxy_refusals(settings)


def warnings_of(settings: Settings) -> tuple[str, ...]:
    """Return what works but will surprise, one line each."""
    return tuple(_surprises(settings))


def _surprises(settings: Settings) -> Iterator[str]:
    catalog, routing, monitor = settings.catalog, settings.routing, settings.monitor
    if catalog.lease_seconds < 3 * catalog.poll_seconds:
        yield (
            "catalog.lease_seconds is less than three times catalog.poll_seconds:"
            " two polls that fail in a row end the lease"
        )
    if catalog.lease_seconds / 3 < catalog.connect_timeout_seconds:
        yield (
            "catalog.connect_timeout_seconds is more than a third of catalog.lease_seconds:"
            " there is time for two attempts at most before reads and writes are refused"
        )
    every_seconds = monitor.every_ms / 1000
    if routing.max_lag_seconds is not None and routing.max_lag_seconds <= every_seconds:
        yield (
            f"routing.max_lag_seconds = {routing.max_lag_seconds:g} is not longer than"
            f" monitor.every_ms = {monitor.every_ms}: hardly any replica will qualify"
        )
    if settings.transaction.presume_abort_after_seconds <= catalog.statement_timeout_seconds:
        yield (
            "transaction.presume_abort_after_seconds is not longer than"
            " catalog.statement_timeout_seconds: transactions that are still deciding"
            " will be aborted"
        )
    yield from rebalance_surprises(settings.rebalance)
    yield from proxy_surprises(settings)
