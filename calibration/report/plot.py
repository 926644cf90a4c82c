"""Two plots of a report, drawn with Pillow: lines over the flow time, and points with names."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from collections.abc import Sequence as Many
from typing import Final

from PIL import Image, ImageDraw, ImageFont

Points = Many[tuple[float, float]]

SCALE: Final = 2  # drawn at twice the size that a page shows, for sharp screens
WIDTH, HEIGHT = 640 * SCALE, 400 * SCALE
LEFT, RIGHT, TOP, BOTTOM = 78 * SCALE, 16 * SCALE, 34 * SCALE, 48 * SCALE
INK, GREY, GRID, PAPER = "#222222", "#888888", "#dddddd", "#ffffff"
# Okabe and Ito's colours, which those who see colours otherwise can tell apart too.
COLOURS: Final = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")


class Axis:
    """A range of values along a line of pixels; logarithmic where asked, with whole decades at its
    ends."""

    def __init__(self, values: Many[float], start: float, stop: float, logarithmic: bool) -> None:
        self.logarithmic, self.start, self.stop = logarithmic, start, stop
        if logarithmic:
            positive = [value for value in values if value > 0] or [1.0]
            low, high = math.floor(math.log10(min(positive))), math.ceil(math.log10(max(positive)))
            self.low, self.high = float(low), float(max(high, low + 1))
            self.ticks = [10.0**power for power in range(low, int(self.high) + 1)]
            return
        step = nice_step(max(values) - min(0.0, *values))
        self.low = min(0.0, math.floor(min(values) / step) * step)
        # values that are all 0 have a length too, as those of a copy
        self.high = max(math.ceil(max(values) / step) * step, self.low + step)
        count = round((self.high - self.low) / step)
        self.ticks = [self.low + step * index for index in range(count + 1)]

    def __call__(self, value: float) -> float:
        """The pixel of a value; what a logarithmic axis cannot show stands at its low end."""
        if self.logarithmic:
            value = math.log10(value) if value > 0 else self.low
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return self.start + share * (self.stop - self.start)


def nice_step(span: float) -> float:
    """1, 2 or 5 times a power of ten, so that four to eight steps make the span."""
    raw = (span or 1.0) / 5
    power = 10.0 ** math.floor(math.log10(raw))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw)


def lines(title: str, across: str, up: str, series: Mapping[str, Points]) -> bytes:
    """A PNG of one line for each series, the values up on a logarithmic axis."""
    plot = _Plot(
        title,
        across,
        up,
        [point for points in series.values() for point in points],
        logarithmic=True,
    )
    for index, (name, points) in enumerate(series.items()):
        places = [plot.place(point) for point in points]
        plot.draw.line(places, fill=COLOURS[index % len(COLOURS)], width=2 * SCALE, joint="curve")
        for place in places:
            plot.dot(place, index)
        plot.legend(name, index)
    return plot.png()


def pareto(points: Mapping[str, tuple[float, float]], more_is_better: bool) -> list[str]:
    """Names of the points that no other beats, by rising x: none has less x and is at least as good
    in y."""
    found = list[str]()
    sign = -1.0 if more_is_better else 1.0
    for name in sorted(points, key=lambda name: (points[name][0], sign * points[name][1])):
        if not found or sign * points[name][1] < sign * points[found[-1]][1]:
            found.append(name)
    return found


def scatter(
    title: str,
    across: str,
    up: str,
    points: Mapping[str, tuple[float, float]],
    more_is_better: bool,
) -> bytes:
    """A PNG of named points, both axes linear, with a line through those that no other beats."""
    plot = _Plot(title, across, up, list(points.values()), logarithmic=False)
    plot.draw.line(
        [plot.place(points[name]) for name in pareto(points, more_is_better)], GREY, SCALE
    )
    for index, (name, point) in enumerate(points.items()):
        plot.dot(plot.place(point), index)
        plot.legend(name, index)
    return plot.png()


class _Plot:
    """A canvas with axes; y grows upwards."""

    def __init__(self, title: str, across: str, up: str, points: Points, logarithmic: bool) -> None:
        self.image = Image.new("RGB", (WIDTH, HEIGHT), PAPER)
        self.draw = ImageDraw.Draw(self.image)
        self.font = ImageFont.load_default(12 * SCALE)
        self.x = Axis([x for x, _ in points], LEFT, WIDTH - RIGHT, False)
        self.y = Axis([y for _, y in points], HEIGHT - BOTTOM, TOP, logarithmic)
        self._axes()
        self.draw.text((WIDTH / 2, TOP / 2), title, INK, self.font, anchor="mm")
        self.draw.text(
            ((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 12 * SCALE), across, INK, self.font, anchor="mm"
        )
        label = Image.new("RGB", (HEIGHT - TOP - BOTTOM, 18 * SCALE), PAPER)
        ImageDraw.Draw(label).text(
            (label.width / 2, label.height / 2), up, INK, self.font, anchor="mm"
        )
        self.image.paste(label.rotate(90, expand=True), (4 * SCALE, TOP))

    def _axes(self) -> None:
        for tick in self.x.ticks:
            at = self.x(tick)
            self.draw.line([(at, TOP), (at, HEIGHT - BOTTOM)], GRID, SCALE)
            self.draw.text(
                (at, HEIGHT - BOTTOM + 10 * SCALE), f"{tick:.3g}", INK, self.font, anchor="mm"
            )
        for tick in self.y.ticks:
            at = self.y(tick)
            self.draw.line([(LEFT, at), (WIDTH - RIGHT, at)], GRID, SCALE)
            self.draw.text((LEFT - 6 * SCALE, at), f"{tick:.3g}", INK, self.font, anchor="rm")

    def place(self, point: tuple[float, float]) -> tuple[float, float]:
        return self.x(point[0]), self.y(point[1])

    def dot(self, place: tuple[float, float], index: int) -> None:
        radius = 4 * SCALE
        box = [place[0] - radius, place[1] - radius, place[0] + radius, place[1] + radius]
        self.draw.ellipse(box, fill=COLOURS[index % len(COLOURS)])

    def legend(self, name: str, index: int) -> None:
        """In the corner where neither more bytes nor late times are."""
        at = TOP + (10 + 16 * index) * SCALE
        self.dot((WIDTH - RIGHT - 10 * SCALE, at), index)
        self.draw.text((WIDTH - RIGHT - 20 * SCALE, at), name, INK, self.font, anchor="rm")

    def png(self) -> bytes:
        file = io.BytesIO()
        self.image.save(file, "PNG", optimize=True)
        return file.getvalue()
