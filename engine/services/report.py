"""Report: an exception -> what is kept of it. Masked, bounded, and with a fingerprint that groups equal failures.

The fingerprint is made of the exception's type and the frames of the handler's own code (module and function, not line, so
it survives unrelated edits); without such frames, of the message with its numbers taken out.
"""

from __future__ import annotations

import hashlib
import re
import sys
import traceback
from pathlib import Path
from types import TracebackType

import msgspec

from ..errors import words
from ..job import AttemptRecord
from ..masking import mask_text
from ..store.rows import Death

MAX_MESSAGE, MAX_TRACEBACK = 2_000, 16_384
"""Characters kept; the end of a long traceback is the interesting part. Texts are cut to twice that before they are masked, which
costs about 2 us a character: an exception with megabytes to say must not stand on the event loop."""

_ENGINE = str(Path(__file__).resolve().parent.parent)
_LIBRARY = (str(Path(msgspec.__file__).resolve().parent.parent), sys.prefix, sys.base_prefix)
_NUMBERS = re.compile(r"0x[0-9a-fA-F]+|\d+")
_encode = msgspec.msgpack.Encoder().encode


def error_line(error: BaseException) -> str:
    """`Type: message`, masked, one line, bounded."""
    message = mask_text(words(error)[: 2 * MAX_MESSAGE]).strip()
    first = message.splitlines()[0] if message else ""
    return f"{type(error).__name__}: {first}"[:500] if first else type(error).__name__


def _own_frames(trace: TracebackType | None) -> list[str]:
    frames = []
    for frame in traceback.extract_tb(trace):
        if not frame.filename.startswith((_ENGINE, *_LIBRARY, "<frozen")):
            frames.append(f"{Path(frame.filename).stem}:{frame.name}")
    return frames


def fingerprint(error: BaseException) -> str:
    """Twelve hex digits, equal for failures with the same cause."""
    where = _own_frames(error.__traceback__) or [_NUMBERS.sub("#", mask_text(words(error)[:MAX_MESSAGE]))]
    text = "|".join([type(error).__qualname__, *where])
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:12]


def dead_info(
    error: BaseException,
    *,
    reason: str,
    history: tuple[AttemptRecord, ...],
    worker: str,
    organization_id: str | None,
    now_ms: int,
) -> tuple[bytes, str]:
    """Everything kept of a death, packed, and its fingerprint."""
    text = "".join(traceback.format_exception(error))[-2 * MAX_TRACEBACK :].encode("utf-8", "replace").decode()
    print_ = fingerprint(error)
    info = Death(
        type=type(error).__name__,
        message=mask_text(words(error)[: 2 * MAX_MESSAGE])[:MAX_MESSAGE],
        traceback=mask_text(text)[-MAX_TRACEBACK:],
        fingerprint=print_,
        reason=reason,
        history=history,
        worker=worker,
        organization_id=organization_id,
        died_at_ms=now_ms,
    )
    return _encode(info), print_
