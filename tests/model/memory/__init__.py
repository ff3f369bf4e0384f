"""The model of a queue: what docs/states.md and docs/keys.md say becomes of jobs, kept in plain Python and without Redis.

Written from the pages, so that the scripts have something to be held against. What only the server knows (ids, entries) is learned from
its answers and from what is seen afterwards (`tests/model/comparing.py`).
"""
