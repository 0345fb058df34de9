"""A drawing in SVG: lines, texts and marks whose colours the page gives, by class."""

from collections.abc import Sequence
from statistics import fmean
from typing import Final
from xml.etree import ElementTree

Point = tuple[float, float]

_MARK: Final = 4.5
# One shape for each side, to be told apart without colours too: outlines around (0, 0).
_SHAPES: Final = {
    "engine": "M 0 -1 A 1 1 0 1 1 0 1 A 1 1 0 1 1 0 -1 Z",
    "floor": "M 0 -1.1 L 1.1 0.9 L -1.1 0.9 Z",
    "limit": "M -0.9 -0.9 H 0.9 V 0.9 H -0.9 Z",
    "plain": "M 0 -1.2 L 1.2 0 L 0 1.2 L -1.2 0 Z",
}


class Drawing:
    """An SVG image that is as wide as its place on the page; lengths are in units of its own."""

    def __init__(self, width: float, height: float, title: str, description: str) -> None:
        """Begin an image; both texts are for those who do not see it."""
        self.width = width
        self.height = height
        box = f"0 0 {_write(width)} {_write(height)}"
        self._root = ElementTree.Element("svg", {"viewBox": box, "role": "img", "class": "plot"})
        self._root.set("aria-label", f"{title}. {description}")

    def line(self, kind: str, *points: Point) -> None:
        """Draw a line through points."""
        path = " ".join(f"{_write(x)},{_write(y)}" for x, y in points)
        ElementTree.SubElement(self._root, "polyline", {"class": kind, "points": path})

    def text(self, kind: str, x: float, y: float, text: str, *, anchor: str = "start") -> None:
        """Write a text whose base line begins, is centred or ends (``anchor``) at a point."""
        attributes = {"class": kind, "x": _write(x), "y": _write(y), "text-anchor": anchor}
        ElementTree.SubElement(self._root, "text", attributes).text = text

    def box(self, kind: str, x: float, y: float, width: float, height: float, says: str = "") -> None:
        """Draw a filled box; ``says`` is shown to whoever points at it."""
        names = ("x", "y", "width", "height")
        sizes = {name: _write(value) for name, value in zip(names, (x, y, width, height), strict=True)}
        _add_hint(ElementTree.SubElement(self._root, "rect", {"class": kind, **sizes}), says)

    def mark(self, side: str, x: float, y: float, says: str) -> None:
        """Draw the mark of a side; ``says`` is shown to whoever points at it."""
        place = f"translate({_write(x)} {_write(y)}) scale({_MARK})"
        attributes = {"class": f"mark {side}", "d": _SHAPES[side], "transform": place}
        _add_hint(ElementTree.SubElement(self._root, "path", attributes), says)

    def markup(self) -> str:
        """Return the image as it stands in a page."""
        return ElementTree.tostring(self._root, encoding="unicode", short_empty_elements=True)


def draw_key(side: str) -> str:
    """Return the mark of a side alone, for a legend."""
    attributes = {"viewBox": "-1.4 -1.4 2.8 2.8", "class": "key", "aria-hidden": "true"}
    root = ElementTree.Element("svg", attributes)
    ElementTree.SubElement(root, "path", {"class": f"mark {side}", "d": _SHAPES[side]})
    return ElementTree.tostring(root, encoding="unicode")


def spread(places: Sequence[float], least_apart: float) -> list[float]:
    """Move places apart, as little as needed, so that labels there do not cover each other."""
    order = sorted(range(len(places)), key=places.__getitem__)
    # Less the distances that must be between them; neighbours that would change their order share their mean.
    groups: list[list[float]] = []
    for number, index in enumerate(order):
        groups.append([places[index] - number * least_apart])
        while len(groups) > 1 and fmean(groups[-2]) > fmean(groups[-1]):
            groups[-2:] = [groups[-2] + groups[-1]]
    shared = [fmean(group) for group in groups for _ in group]
    moved = dict(zip(order, (place + number * least_apart for number, place in enumerate(shared)), strict=True))
    return [moved[index] for index in range(len(places))]


def _add_hint(element: ElementTree.Element, says: str) -> None:
    if says:
        ElementTree.SubElement(element, "title").text = says


def _write(number: float) -> str:
    return f"{number:.2f}".rstrip("0").rstrip(".")
