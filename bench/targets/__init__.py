"""The targets the users of this engine set, each tried on the real application: `python -m bench.targets`."""
