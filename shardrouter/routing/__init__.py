"""Decisions: which shard, which node, how fresh, how to merge. Values in, values out."""

from shardrouter.routing.choose import Candidate, ReadDemand, read_candidates, writable_node
from shardrouter.routing.token import Token
from shardrouter.routing.view import FleetView, NodeSample, PrimaryTrail, is_foreign

__all__ = [
    "Candidate",
    "FleetView",
    "NodeSample",
    "PrimaryTrail",
    "ReadDemand",
    "Token",
    "is_foreign",
    "read_candidates",
    "writable_node",
]
