"""Results as a picture: the public door to `tracker.drawing.draw`."""

from tracker.drawing.draw import draw

__all__ = ["draw"]
