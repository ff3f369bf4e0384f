"""Tests of the measurements: their pure parts, and one short real run each."""
