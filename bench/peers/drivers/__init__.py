"""One small program a contender, run in that contender's own environment; `common` is what they share and needs only Python.

Nothing here may import from another room: a driver runs where only its own library is installed.
"""
