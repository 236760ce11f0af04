"""A second look at doubtful detections: upright, large, each in its own contrast.  Regions in frame px in, scores out.

Ten masked faces of 12 to 18 px between the eyes that score 0.02 to 0.3 in a picture all score 0.6 here, seven of them
in haze; of 164 pieces of background with such a score one does.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from tracker.detectors.contract import Detector
from tracker.detectors.light import without_noise
from tracker.geometry import cut
from tracker.types import Image, Region

CELL_PX, CELLS = 160, 16
"""Side of the square in which a detection is shown, and how many are shown to the detector at once."""
SIDES_PX = (95, 125)
"""Sides, px, with which a face's region is shown."""
NEAR_SIDES = 0.6
"""How far from the middle of its square a face may be found."""
GRAY = 127


def scores_again(detector: Detector, image: Image, regions: Sequence[Region]) -> list[float]:
    """The best score of a face in each of `regions`, 0 if none is seen there."""
    best = np.zeros(len(regions))
    for start, side in itertools.product(range(0, len(regions), CELLS), SIDES_PX):
        some = slice(start, start + CELLS)
        wider = [replace(each, side=each.side * CELL_PX / side) for each in regions[some]]
        best[some] = np.maximum(best[some], _scores(detector, cut(image, wider, CELL_PX)[:, 0], side))
    return best.tolist()


def _scores(detector: Detector, cells: NDArray[np.uint8], side: float) -> list[float]:
    """The best score in the middle of each of the gray `cells` (N, CELL_PX, CELL_PX), for a face of that side."""
    across = math.ceil(math.sqrt(len(cells)))
    sheet = np.full((across * CELL_PX, across * CELL_PX, 3), GRAY, np.uint8)
    places = [divmod(number, across) for number in range(len(cells))]
    for cell, (row, column) in zip(cells, places, strict=True):
        square = sheet[row * CELL_PX : (row + 1) * CELL_PX, column * CELL_PX : (column + 1) * CELL_PX]
        square[:] = without_noise(cv2.cvtColor(cell, cv2.COLOR_GRAY2BGR), 1.0)
    found = [
        (seen.score, seen.region.x / CELL_PX, seen.region.y / CELL_PX) for seen in detector(sheet, size=len(sheet))
    ]
    reach = NEAR_SIDES * side / CELL_PX
    return [
        max((score for score, x, y in found if math.hypot(x - column - 0.5, y - row - 0.5) < reach), default=0.0)
        for row, column in places
    ]
