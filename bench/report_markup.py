"""Markup: elements of a page or a drawing, built as a tree so that whatever comes in is escaped."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterable

Element = ET.Element
Inside = Element | str | float | None


def tag(kind: str, /, *inside: Inside, **attributes: object) -> Element:
    """An element. None inside is left out; `_` in attribute names is `-`, one at the end is dropped (`class_`)."""
    made = ET.Element(kind, {_attribute(key): _plain(value) for key, value in attributes.items() if value is not None})
    return fill(made, inside)


def fill(parent: Element, inside: Iterable[Inside]) -> Element:
    """Add children and text to an element, in order; returns it."""
    for item in inside:
        if item is None:
            continue
        if isinstance(item, ET.Element):
            parent.append(item)
        elif len(parent):
            parent[-1].tail = (parent[-1].tail or "") + str(item)
        else:
            parent.text = (parent.text or "") + str(item)
    return parent


def render(element: Element) -> str:
    """As HTML; drawings inside are fine."""
    return ET.tostring(element, encoding="unicode", method="html")


def _attribute(key: str) -> str:
    return key.rstrip("_").replace("_", "-")


def _plain(value: object) -> str:
    """Coordinates to a tenth: enough for the eye, and a page of plots stays small."""
    return f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else str(value)
