"""The model of the protocol: a small copy of a queue in memory, driven beside the real scripts."""
