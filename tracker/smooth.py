"""Steady keypoints: raw points in, smoothed points out, frame px, one One Euro filter per face id.

One Euro (Casiez, Roussel, Vogel: "1 Euro Filter", CHI 2012) is a low-pass whose cutoff rises with speed: still points
stop jittering, fast ones do not lag.  Speed is measured in face widths (sides of the face's region) per second, so
that a face behaves the same near and far, in a small and in a large picture; and it is the speed of a point, not of
each coordinate, so that no direction is preferred.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tracker.locate import Points
from tracker.types import Face

LONGEST_GAP_S = 0.5
"""A face not seen for longer starts afresh."""


@dataclass(slots=True, eq=False)
class _State:
    """What the filter keeps of one face."""

    timestamp: float
    """s"""
    points: NDArray[np.float64]
    """(15, 2) frame px, filtered."""
    velocity: NDArray[np.float64]
    """(15, 2) face widths per second, filtered."""


class OneEuro:
    """`smooth(faces, points, timestamp)`; implements `pipeline.Smooth`.  A new run takes a new object.

    min_cutoff_hz: how much a still face is steadied.  Lower removes more jitter and answers slow motion later
        (a cutoff of c Hz lags 1 / (2 pi c) s behind).
    beta: how fast the filter lets go in motion: the cutoff grows by this many Hz per face width per second.
        Higher lags less in fast motion and passes more jitter there.
    derivative_cutoff_hz: how much the speed itself is smoothed before it raises the cutoff.  Lower reacts later to
        a sudden start, higher lets noise raise the cutoff.

    The defaults have the least jitter among those that are no later than a frame of 30 per second on any path of
    `fkp-bench --steadiness`: 31 ms where a head drifts, 3 ms where it pans.  Jitter is a ninth of the raw points'
    on a still portrait, and 70 to 85 % in clips of faces that are only nearly still.
    """

    def __init__(self, *, min_cutoff_hz: float = 0.5, beta: float = 30.0, derivative_cutoff_hz: float = 2.0) -> None:
        self._min_cutoff_hz = min_cutoff_hz
        self._beta = beta
        self._derivative_cutoff_hz = derivative_cutoff_hz
        self._states: dict[int, _State] = {}

    def __call__(self, faces: Sequence[Face], points: Points, timestamp: float) -> Points:
        """Raw points of N faces at `timestamp` (s) -> smoothed points of the same shapes; sigma is handed on."""
        states = {
            face.id: self._step(self._states.get(face.id), raw, face.region.side, timestamp)
            for face, raw in zip(faces, points.keypoints, strict=True)
        }
        self._states |= states
        self._states = {
            id: state for id, state in self._states.items() if abs(timestamp - state.timestamp) <= LONGEST_GAP_S
        }
        smoothed = np.empty_like(points.keypoints)
        for row, face in zip(smoothed, faces, strict=True):
            row[:] = states[face.id].points
        return Points(smoothed, points.sigma)

    def _step(self, last: _State | None, raw: NDArray[np.float32], side: float, timestamp: float) -> _State:
        """The filter's next state.  It starts afresh after a gap and where time does not advance."""
        elapsed = 0.0 if last is None else timestamp - last.timestamp
        if last is None or not 0 < elapsed <= LONGEST_GAP_S:
            return _State(timestamp, raw.astype(np.float64), np.zeros(raw.shape))
        speed = (raw - last.points) / (side * elapsed)
        velocity = last.velocity + _share(self._derivative_cutoff_hz, elapsed) * (speed - last.velocity)
        cutoff_hz = self._min_cutoff_hz + self._beta * np.hypot(velocity[:, :1], velocity[:, 1:])
        return _State(timestamp, last.points + _share(cutoff_hz, elapsed) * (raw - last.points), velocity)


def unsmoothed(faces: Sequence[Face], points: Points, timestamp: float) -> Points:
    """`pipeline.Smooth` for raw points: hands them on unchanged."""
    return points


def _share(cutoff_hz: float | NDArray[np.float64], elapsed: float) -> NDArray[np.float64]:
    """How far a first-order low-pass moves towards its input in `elapsed` s: 1 / (1 + tau / elapsed)."""
    turn = 2 * math.pi * np.asarray(cutoff_hz) * elapsed
    return turn / (turn + 1)
