"""Soak: does anything grow while the engine runs for an hour with slow faults?"""
