"""Tests with real processes, real kills and real time."""
