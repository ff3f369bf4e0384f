"""Resp: where one message of the Redis protocol ends. The proxy passes whole messages on, byte for byte, and only counts them."""

from __future__ import annotations

END = b"\r\n"
_LINES = b"+-:#_,("
"""Types that are one line."""
_BYTES = b"$=!"
"""Types with a length, then so many bytes."""
_LISTS = {b"*": 1, b"~": 1, b">": 1, b"%": 2, b"|": 2}
"""Types with a number, then so many values of each."""


def extent(data: bytes | bytearray, at: int = 0) -> int:
    """Where the message that begins at `at` ends; -1 while it is incomplete. ValueError for what is none."""
    left = 1  # values still to come; lists add theirs, so nothing here calls itself
    while left:
        line = data.find(END, at)
        if line < 0:
            return -1
        kind = bytes(data[at : at + 1])
        if kind in _LISTS:
            left += max(int(data[at + 1 : line]), 0) * _LISTS[kind]
            at = line + 2
            if kind == b"|":  # an attribute belongs to the value behind it
                left += 1
        elif kind and kind in _BYTES:
            size = int(data[at + 1 : line])
            at = line + 2 if size < 0 else line + 2 + size + 2
            if at > len(data):
                return -1
        elif kind and kind in _LINES:
            at = line + 2
        else:
            raise ValueError(f"no message of Redis begins with {kind!r}")
        left -= 1
    return at


def words(request: bytes) -> list[bytes]:
    """The words of one request, which is a list of byte strings. ValueError for anything else."""
    line = request.find(END)
    if request[:1] != b"*":
        raise ValueError("a request is a list")
    found, at = [], line + 2
    for _ in range(int(request[1:line])):
        line = request.find(END, at)
        size = int(request[at + 1 : line])
        found.append(request[line + 2 : line + 2 + size])
        at = line + 2 + size + 2
    return found
