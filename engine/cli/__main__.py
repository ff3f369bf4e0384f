"""`python -m engine.cli`: the same as `engine`."""

from __future__ import annotations

from . import main

if __name__ == "__main__":
    main()
