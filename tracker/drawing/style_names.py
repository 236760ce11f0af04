"""The names of the looks in `tracker.drawing.styles`."""

from typing import Literal

StyleName = Literal["classic", "dots", "lines", "mesh", "none"]
