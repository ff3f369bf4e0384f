"""`python -m bench.peers.drivers NAME COMMAND ...`: imports the driver under its own name, so that workers find its functions."""

from __future__ import annotations

import sys
from importlib import import_module

from bench.peers.drivers import common

if __name__ == "__main__":
    common.main(import_module(f"bench.peers.drivers.{sys.argv[1]}").DRIVER, sys.argv[2:])
