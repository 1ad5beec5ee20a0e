"""Bars over time, as SVG that takes its colours from the page."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_WIDTH, _HEIGHT, _LEFT, _BOTTOM = 720, 140, 56, 20


def bars(values: Sequence[float], *, seconds: float, unit: str, breaks: Sequence[float] = ()) -> str:
    """One bar for each part of the time, with a scale; vertical lines where one run ended and the next began."""
    return "\n".join(_lines(values, seconds, unit, breaks))


def number(value: float) -> str:
    """A rate or a time with as many digits as it takes."""
    return f"{value:,.0f}" if value >= 100 else f"{Decimal(f'{value:.3g}').normalize():f}"


def _lines(values: Sequence[float], seconds: float, unit: str, breaks: Sequence[float]) -> Iterator[str]:
    top = max(values) or 1.0
    width, height = _WIDTH - _LEFT, _HEIGHT - _BOTTOM
    step = width / len(values)
    yield f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{unit} over time, at most {number(top)}">'
    for share in (1.0, 0.5):
        y = 4 + (height - 4) * (1 - share)
        yield f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{number(top * share)}</text>'
    for nth, value in enumerate(values):
        tall = (height - 4) * value / top
        at = seconds * nth / len(values)
        wide = max(step - 0.5, 0.5)
        yield (
            f'<rect class="bar" x="{_LEFT + nth * step:.2f}" y="{height - tall:.2f}" width="{wide:.2f}" '
            f'height="{tall:.2f}"><title>{number(value)} {unit} after {number(at)} s</title></rect>'
        )
    for share in breaks:
        x = _LEFT + width * share
        yield f'<line class="break" x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{height}"/>'
    yield f'<line class="axis" x1="{_LEFT}" x2="{_WIDTH}" y1="{height}" y2="{height}"/>'
    yield f'<text x="{_LEFT}" y="{_HEIGHT - 4}">0 s</text>'
    yield f'<text x="{_WIDTH}" y="{_HEIGHT - 4}" text-anchor="end">{number(seconds)} s</text>'
    yield "</svg>"
