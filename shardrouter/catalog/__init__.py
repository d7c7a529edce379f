"""The catalog: a Postgres database with the topology by epoch, the routers and the journal."""

from shardrouter.catalog.connect import (
    DeadlineConnection,
    answering,
    catalog_engine,
    connect_options,
)
from shardrouter.catalog.found import found_fleet
from shardrouter.catalog.id_workers import IdWorkers, WorkerLease
from shardrouter.catalog.install import install, installed_revision, known_revisions
from shardrouter.catalog.journal import TransactionJournal
from shardrouter.catalog.move_records import Artefact, Move, NewMove
from shardrouter.catalog.moves import MoveStore
from shardrouter.catalog.records import Fleet, JournalEvent, LiveRouter, Publication, Registration
from shardrouter.catalog.router_loads import RouterLoads
from shardrouter.catalog.schema import CHANNEL
from shardrouter.catalog.store import CatalogStore

__all__ = [
    "CHANNEL",
    "Artefact",
    "CatalogStore",
    "DeadlineConnection",
    "Fleet",
    "IdWorkers",
    "JournalEvent",
    "LiveRouter",
    "Move",
    "MoveStore",
    "NewMove",
    "Publication",
    "Registration",
    "RouterLoads",
    "TransactionJournal",
    "WorkerLease",
    "answering",
    "catalog_engine",
    "connect_options",
    "found_fleet",
    "install",
    "installed_revision",
    "known_revisions",
]
