"""Given: what applications hand in where a number or a function is wanted, looked at before anything relies on it. Pure."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any


def within(value: object, least: float, most: float, kind: type[int] | type[float] = int) -> bool:
    """Whether it is a number of that kind between the bounds. An int is a float too; a bool is no number, and NaN lies nowhere.

    >>> within(3, 1, 9), within("3", 1, 9), within(3.0, 1, 9), within(True, 1, 9), within(float("nan"), 0, 1, float)
    (True, False, False, False, False)
    """
    kinds = (int, float) if kind is float else (int,)
    return isinstance(value, kinds) and not isinstance(value, bool) and least <= value <= most


def is_async(fn: object) -> bool:
    """Whether calling it makes a coroutine, as far as can be seen."""
    return inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(getattr(fn, "__call__", None))  # noqa: B004 - asks about the class's __call__


def why_no_function_of_one(fn: Callable[..., Any]) -> str | None:
    """Why a plain call with one argument can't answer, or None. What has no signature (some builtins) gets the benefit of doubt.

    >>> why_no_function_of_one(lambda a, b: a)
    "missing a required argument: 'b'"
    """
    if is_async(fn):
        return "it is async, and nobody awaits it"
    try:
        inspect.signature(fn).bind(1)
    except TypeError as error:
        return str(error)
    except ValueError:
        return None
    return None
