"""The command line: `engine`. One file per family of commands; `root.py` joins them, `common.py` is what they share."""

from __future__ import annotations

import sys
from collections.abc import Sequence

__all__ = ["main"]


def main(args: Sequence[str] | None = None) -> None:
    """Run one command and end the process with its exit code."""
    try:
        from .root import run_command  # inside, so that Ctrl-C while everything loads is no traceback either

        code = run_command(list(sys.argv[1:] if args is None else args))
    except KeyboardInterrupt:
        code = 130
    sys.exit(code)
