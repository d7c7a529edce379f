"""Measures what shardrouter costs, always beside the same work done without it.

``make bench SUITE=library`` runs a suite. README.md tells the method, the hypotheses and results.
"""
