"""Plots as SVG inside a page: lines over an axis, bars side by side. Colours are the page's, so dark mode is its matter.

Drawn by hand rather than with pygal, which was tried: its labels are cut off at a phone's width, its logarithmic x has no round
ticks, each plot carries 18 kB of style of its own, and its colours can't follow the page. Labels stand at their lines and bars,
not in a legend; a pointer held over a point shows its numbers.
"""

from __future__ import annotations

import math

from .report import Bar, Bars, Line, Plot, number
from .report_axis import Axis, apart, axis, short
from .report_markup import Element, Inside, tag

WIDTH = 420.0
"""Units of the drawing. A phone is about as wide in points, so that text keeps its size there."""
TALL, LEFT, TOP, BOTTOM = 256.0, 44.0, 24.0, 36.0
COLOURS = 10
"""Line colours in the page's style; after the last they begin anew, dashed."""
ROW = 24.0


def draw(plot: Plot | Bars) -> Element:
    """A `figure` with its caption and its drawing."""
    drawing = _lines(plot) if isinstance(plot, Plot) else _bars(plot)
    caption = tag("figcaption", tag("b", plot.title), f" ({plot.unit})" if isinstance(plot, Bars) and plot.unit else None)
    return tag("figure", caption, drawing, tag("p", plot.note, class_="note") if plot.note else None)


def _svg(height: float, label: str, *inside: Inside) -> Element:
    return tag("svg", *inside, viewBox=f"0 0 {WIDTH:g} {height:g}", role="img", aria_label=label)


# --- lines -----------------------------------------------------------------------------------------------------------


def _lines(plot: Plot) -> Element:
    names = [line.name for line in plot.lines]
    right = WIDTH - 8.0 - (0 if names == [""] else min(max(len(name) for name in names), 20) * 6.6 + 8.0)
    xs = [x for line in plot.lines for x, _ in line.points]
    ys = [y for line in plot.lines for _, y in line.points]
    ys += [y for line in plot.lines for pair in line.low_high or () for y in pair]
    if plot.target is not None:
        ys.append(plot.target)
    across = axis(xs, LEFT, right, log=plot.log_x, from_zero=False)
    up = axis(ys, TALL - BOTTOM, TOP, log=plot.log_y, from_zero=plot.from_zero)
    inside: list[Inside] = [*_frame(plot, across, up)]
    if plot.target is not None:
        inside += _target(plot, up, right)
    for at, line in enumerate(plot.lines):
        inside.append(_line(line, _class(at, line.name == plot.ours), across, up, plot))
    inside += _names(plot, up, right)
    return _svg(TALL, f"{plot.title}: {plot.y} over {plot.x}", *inside)


def _frame(plot: Plot, across: Axis, up: Axis) -> list[Element]:
    """Grid, ticks and what the axes mean."""
    floor = up.start
    found = []
    for value in up.ticks():
        y = up.at(value)
        found.append(tag("line", x1=across.start, x2=across.end, y1=y, y2=y, class_="grid"))
        found.append(tag("text", short(value), x=across.start - 5, y=y + 4, class_="tick end"))
    for value in across.ticks(5):
        x = across.at(value)
        found.append(tag("line", x1=x, x2=x, y1=floor, y2=floor + 4, class_="grid"))
        found.append(tag("text", short(value), x=x, y=floor + 16, class_="tick middle"))
    found.append(tag("text", plot.x, x=(across.start + across.end) / 2, y=floor + 32, class_="label middle"))
    found.append(tag("text", plot.y, x=across.start - 40, y=TOP - 12, class_="label"))
    return found


def _target(plot: Plot, up: Axis, right: float) -> list[Element]:
    assert plot.target is not None, "asked for only when there is one"
    y = up.at(plot.target)
    name = plot.target_name or number(plot.target)
    return [
        tag("line", x1=LEFT, x2=right, y1=y, y2=y, class_="target"),
        tag("text", name, x=right, y=y - 4, class_="target-name end"),
    ]


def _line(line: Line, look: str, across: Axis, up: Axis, plot: Plot) -> Element:
    places = [(across.at(x), up.at(y)) for x, y in line.points]
    group = tag("g", class_=look)
    if len(places) > 1:
        group.append(tag("polyline", points=" ".join(f"{x:.1f},{y:.1f}" for x, y in places)))
    for (x, _), (low, high) in zip(places, line.low_high or (), strict=False):
        group.append(tag("line", x1=x, x2=x, y1=up.at(low), y2=up.at(high), class_="whisker"))
    is_dense = len(places) > 60
    for (x, y), (value_x, value_y) in zip(places, line.points, strict=True):
        says = f"{line.name} {plot.x} {number(value_x)}: {number(value_y)} {plot.y}".strip()
        group.append(tag("circle", tag("title", says), cx=x, cy=y, r=1.0 if is_dense else 3.0))
    return group


def _names(plot: Plot, up: Axis, right: float) -> list[Element]:
    """Each line's name where it ends."""
    named = [(at, line) for at, line in enumerate(plot.lines) if line.name and line.points]
    ends = apart([up.at(line.points[-1][1]) for _, line in named], 12.0, TOP, TALL - BOTTOM)
    return [
        tag("text", _cut(line.name, 20), x=right + 6, y=y + 4, class_=f"name {_class(at, line.name == plot.ours)}")
        for (at, line), y in zip(named, ends, strict=True)
    ]


def _class(at: int, is_ours: bool) -> str:
    return "ours" if is_ours else f"c{at % COLOURS}{' dashed' if at >= COLOURS else ''}"


# --- bars ------------------------------------------------------------------------------------------------------------


def _bars(plot: Bars) -> Element:
    names = min(max((len(bar.name) for bar in plot.bars), default=0), 22) * 6.4 + 8.0
    values = [v for bar in plot.bars for v in (bar.value, bar.low, bar.high) if v is not None and math.isfinite(v)]
    across = axis(values or [1.0], names, WIDTH - 64.0, log=plot.log)
    inside: list[Inside] = []
    for at, bar in enumerate(plot.bars):
        inside += _bar(bar, at * ROW, across, "ours" if bar.name == plot.ours else "theirs")
    return _svg(max(len(plot.bars), 1) * ROW + 4, f"{plot.title}, {plot.unit}", *inside)


def _bar(bar: Bar, top: float, across: Axis, look: str) -> list[Element]:
    centre = top + ROW / 2
    found = [tag("text", _cut(bar.name, 22), x=across.start - 6, y=centre + 4, class_=f"name end {look}")]
    if bar.value is None:
        return [*found, tag("text", bar.note or "not measured", x=across.start, y=centre + 4, class_="tick")]
    end = across.at(bar.value)
    says = tag("title", f"{bar.name}: {number(bar.value)} {bar.note}".strip())
    found.append(
        tag("rect", says, x=across.start, y=top + 3, width=max(end - across.start, 1.0), height=ROW - 8, class_=f"bar {look}")
    )
    label_at = end
    if bar.low is not None and bar.high is not None:
        low, high = across.at(bar.low), across.at(bar.high)
        label_at = max(end, high)
        found.append(tag("line", x1=low, x2=high, y1=centre - 1, y2=centre - 1, class_="bar-whisker"))
    found.append(tag("text", number(bar.value), x=label_at + 5, y=centre + 4, class_=f"value {look}"))
    return found


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
