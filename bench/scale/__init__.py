"""Does the cost of a job grow with what waits, is scheduled or is declared beside it? `python -m bench.scale`."""
