"""Connections to nodes: where, how, and logged in as whom."""
