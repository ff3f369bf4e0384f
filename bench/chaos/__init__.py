"""Chaos: real workers, a real server and a seeded schedule of faults; a checker that believes only what was written down."""
