"""Measurements anybody can repeat: each module is a command (`python -m bench.drain`) that prints what it ran on."""
