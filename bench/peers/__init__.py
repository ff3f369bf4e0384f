"""Peers: the same workloads for every job engine we know, each in an environment of its own, on the same server.

`python -m bench.peers` is the command; README.md in the room above says what is measured and how a peer is added.
"""
