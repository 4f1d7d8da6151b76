"""Charts of the report: plain SVG and HTML that take their colours from the page, light or dark.

Each function is pure: numbers in, markup out. A chart is drawn at the size at which it is shown on a
phone, so that its text stays readable everywhere.
"""

import html
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

WIDTH, HEIGHT = 340, 170
_LEFT, _RIGHT, _TOP, _BOTTOM = 10, 10, 20, 26


def percent(share: float, *, digits: int = 1) -> str:
    """A share (0..1) as people read it.

    >>> percent(0.1234), percent(1.0, digits=0)
    ('12.3 %', '100 %')
    """
    return f"{100 * share:.{digits}f} %"


@dataclass(frozen=True)
class Axis:
    """The horizontal axis of a histogram."""

    low: float
    high: float
    bins: int
    unit: str
    """Written behind the numbers, e.g. ` %`; may be empty."""
    ticks: tuple[float, ...]
    """Where numbers stand."""
    scale: float = 1.0
    """Shown number = value x scale."""


@dataclass(frozen=True)
class Mark:
    """A vertical line with a word: a limit of the config or a reference."""

    value: float
    text: str
    refused_below: bool = False
    refused_above: bool = False
    """Bars on that side are drawn in the colour of refusal."""


def bar_chart(values: np.ndarray, axis: Axis, *, label: str, mark: Mark | None = None) -> str:
    """Histogram of values; what lies outside the axis is counted in the outer bins, never dropped.

    Parameters
    ----------
    values
        Any shape; NaN is left out.
    label
        What is counted, for tooltips and screen readers.
    """
    finite = values[np.isfinite(values)]
    edges = np.linspace(axis.low, axis.high, axis.bins + 1)
    counts, _ = np.histogram(np.clip(finite, axis.low, axis.high), edges)
    top = max(int(counts.max()), 1)
    body = [_grid_line(top), *_bars(counts, edges, axis, mark, top=top), _x_axis(axis)]
    if mark is not None:
        body.append(_mark_line(mark, axis))
    text = html.escape(f"{label}: histogram of {len(finite):,} values")
    return f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{text}">{"".join(body)}</svg>'


def _x(value: float, axis: Axis) -> float:
    share = (value - axis.low) / (axis.high - axis.low)
    return _LEFT + share * (WIDTH - _LEFT - _RIGHT)


def _bars(counts: np.ndarray, edges: np.ndarray, axis: Axis, mark: Mark | None, *, top: int) -> list[str]:
    room = HEIGHT - _TOP - _BOTTOM
    bars = []
    for count, low, high in zip(counts.tolist(), edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        if count == 0:
            continue
        height = max(count / top * room, 1.5)
        x, width = _x(low, axis), _x(high, axis) - _x(low, axis)
        gap = min(1.0, width / 6)
        name = f"{low * axis.scale:g} to {high * axis.scale:g}{axis.unit}: {count:,}"
        bars.append(
            f'<rect class="bar{_refused(low, high, mark)}" x="{x + gap / 2:.2f}" y="{_TOP + room - height:.2f}" '
            f'width="{width - gap:.2f}" height="{height:.2f}"><title>{html.escape(name)}</title></rect>'
        )
    return bars


def _refused(low: float, high: float, mark: Mark | None) -> str:
    if mark is None:
        return ""
    middle = (low + high) / 2
    below = mark.refused_below and middle < mark.value
    above = mark.refused_above and middle > mark.value
    return " refused" if below or above else ""


def _grid_line(top: int) -> str:
    return (
        f'<path class="grid" d="M{_LEFT} {_TOP}H{WIDTH - _RIGHT}"/>'
        f'<text class="tick" x="{_LEFT}" y="{_TOP - 5}">{top:,}</text>'
    )


def _x_axis(axis: Axis) -> str:
    bottom = HEIGHT - _BOTTOM
    parts = [f'<path class="axis" d="M{_LEFT} {bottom}H{WIDTH - _RIGHT}"/>']
    for tick in axis.ticks:
        x = _x(tick, axis)
        anchor = "start" if x < _LEFT + 12 else "end" if x > WIDTH - _RIGHT - 12 else "middle"
        parts.append(
            f'<text class="tick" x="{x:.1f}" y="{bottom + 16}" text-anchor="{anchor}">'
            f"{tick * axis.scale:g}{html.escape(axis.unit)}</text>"
        )
    return "".join(parts)


def _mark_line(mark: Mark, axis: Axis) -> str:
    x = _x(min(max(mark.value, axis.low), axis.high), axis)
    anchor, shift = ("start", 4) if x < WIDTH / 2 else ("end", -4)
    return (
        f'<path class="mark" d="M{x:.1f} {_TOP - 14}V{HEIGHT - _BOTTOM}"/>'
        f'<text class="mark-text" x="{x + shift:.1f}" y="{_TOP - 5}" text-anchor="{anchor}">'
        f"{html.escape(mark.text)}</text>"
    )


def share_bars(
    names: Sequence[str], colours: Sequence[str], shares: Sequence[float], paper: Sequence[float]
) -> str:
    """A bar a class, in percent, with a tick where the paper's share lies."""
    longest = max([*shares, *paper, 1.0])
    rows = []
    for name, colour, share, published in zip(names, colours, shares, paper, strict=True):
        rows.append(
            f'<tr><th scope="row"><i class="swatch" style="background:{colour}"></i>{html.escape(name)}</th>'
            f'<td class="track"><div class="bar-of-share" style="width:{share / longest:.2%};background:{colour}">'
            f'</div><i class="paper-tick" style="left:{published / longest:.2%}"></i></td>'
            f'<td class="number">{share:.2f}</td><td class="number muted">{published:.2f}</td></tr>'
        )
    return (
        '<table class="shares"><thead><tr><th>class</th><th></th><th class="number">build, %</th>'
        f'<th class="number">paper, %</th></tr></thead><tbody>{"".join(rows)}</tbody></table>'
    )


def stacked_bar(name: str, parts: Sequence[tuple[str, str, float]], *, note: str) -> str:
    """One horizontal bar of shares (0..1) that add up to one: (part, colour, share)."""
    pieces = "".join(
        f'<span {_paint(colour)}flex:{share:.6f}" title="{html.escape(part)}: {percent(share, digits=2)}"></span>'
        for part, colour, share in parts
        if share > 0
    )
    return (
        f'<div class="stack-row"><span class="stack-name">{html.escape(name)}</span>'
        f'<div class="stack">{pieces}</div><span class="stack-note">{html.escape(note)}</span></div>'
    )


def _paint(colour: str) -> str:
    """Beginning of a style attribute; no colour is the pattern that stands for 'unlabelled'."""
    return f'style="background:{colour};' if colour else 'class="hatch" style="'


def comparison_bar(name: str, value: float, *, longest: float, style: str, text: str) -> str:
    """One horizontal bar of a comparison, with its number."""
    return (
        f'<div class="compare"><span class="compare-name">{html.escape(name)}</span>'
        f'<div class="compare-track"><div class="compare-bar {style}" style="width:{value / longest:.2%}"></div></div>'
        f'<span class="compare-value">{html.escape(text)}</span></div>'
    )
