"""Smooth keypoints: raw points in, smoothed points out, frame px, each face separately.

A face has two parts that need different smoothing.  Its pose (place, size, roll in the picture) is common to all
points, so it is well known in every frame and can follow immediately.  Its shape (the points within the face) changes
only when somebody talks or frowns, so it can be smoothed far more.  So a moving head shows neither lag nor jitter, and
expressions stay free: the pose comes from the points of the eyes and nose, not from brows and mouth.  Signals are
smoothed as a shape is, but let go faster, because a blink takes a tenth of a second.
"""

import cmath
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tracker.core.motion import Motion, Place
from tracker.geometry import MEAN_SHAPE, complex_from_points, points_from_complex
from tracker.spec import KEYPOINTS, SIGNALS
from tracker.types import Face, Points

LONGEST_GAP_S = 0.5
"""The filter of a face that was not seen for longer starts again."""

UNSURE_SIDES = 0.02
"""A point whose sigma is above this, in sides of its face's region, follows the face more than its own wobble."""

SIGNALS_CUTOFFS = (2.0, 10.0, 10.0)
"""Of signals: min_cutoff_hz, beta, derivative_cutoff_hz of `OneEuro`, with 1 in place of a face width.  At 30 frames a
second a blink of 0.1 s keeps nine tenths of its depth."""


class OneEuro:
    """A filter of one face's points: `filter(points, elapsed_s)` with K points x + iy in face widths, or K numbers.

    One Euro (Casiez, Roussel, Vogel: "1 Euro Filter", CHI 2012) is a low-pass whose cutoff rises with speed: still
    points stop jittering, fast ones do not lag.  The speed is that of a point, not of each coordinate, so that no
    direction is preferred.

    min_cutoff_hz: how much a still point is steadied.  Lower removes more jitter and answers slow motion later
        (a cutoff of c Hz lags 1 / (2 pi c) s behind).
    beta: how fast the filter lets go in motion: the cutoff grows by this many Hz per face width per second.
        Higher lags less in fast motion and passes more jitter there.
    derivative_cutoff_hz: how much the speed itself is smoothed before it raises the cutoff.  Lower reacts later to
        a sudden start, higher lets noise raise the cutoff.

    In plain numbers: for fifteen points NumPy's cost per call is several times that of the arithmetic.
    """

    def __init__(self, points: Sequence[complex], min_cutoff_hz: float, beta: float, derivative_cutoff_hz: float):
        """`points` are the first."""
        self._min_cutoff_hz, self._beta, self._derivative_cutoff_hz = min_cutoff_hz, beta, derivative_cutoff_hz
        self._points = list(points)
        self._velocity = [0j] * len(self._points)

    def __call__(self, points: Sequence[complex], elapsed_s: float, trust: Sequence[float]) -> list[complex]:
        """The K filtered points; `trust`, 0..1, slows the cutoffs of points whose sigma is large."""
        # A low-pass of c Hz moves by 1 / (1 + tau / elapsed) = turn c / (turn c + 1) towards its input.
        turn = 2 * math.pi * elapsed_s
        faster = turn * self._derivative_cutoff_hz / (turn * self._derivative_cutoff_hz + 1)
        slower, per_step = 1 - faster, faster / elapsed_s
        least, per_speed = turn * self._min_cutoff_hz, turn * self._beta
        filtered, velocities = [], []
        for seen, last, before, sure in zip(points, self._points, self._velocity, trust, strict=True):
            step = seen - last
            velocity = slower * before + per_step * step
            pull = (least + per_speed * abs(velocity)) * sure
            velocities.append(velocity)
            filtered.append(last + pull / (pull + 1) * step)
        self._points, self._velocity = filtered, velocities
        return filtered


@dataclass(slots=True, eq=False)
class _State:
    timestamp: float
    """s"""
    pose: Motion
    """From MEAN_SHAPE's space to the frame: the eyes' middle, frame px, and the logarithm of px per unit + i roll."""
    shape: OneEuro
    """Of the points in MEAN_SHAPE's space, halved: in face widths."""
    signals: OneEuro


class PoseAndShape:
    """`smooth(faces, points, timestamp)`; implements `loop.Smooth`.  A new run takes a new object.

    surprise: size of an unpredicted step of the pose, in face widths or rad, of which half is believed.  Lower follows
        sudden motion sooner and passes more of the pose's jitter.
    min_cutoff_hz, beta, derivative_cutoff_hz: of the shape; see `OneEuro`.
    lead_s: predict the points this far ahead.  Half a frame's time compensates for camera and screen; more overshoots
        when a head stops.

    On the synthetic camera of `fkp-bench --steadiness` a moving head is shown 1.5 ms late at most, where One Euro on
    every point is 31 ms late and trembles more; a mouth opening once a second is shown 25 ms late by both.
    """

    def __init__(
        self,
        *,
        surprise: float = 0.002,
        min_cutoff_hz: float = 0.5,
        beta: float = 20.0,
        derivative_cutoff_hz: float = 4.0,
        lead_s: float = 0.0,
    ) -> None:
        self._surprise, self._lead_s = surprise, lead_s
        self._of_shape = (min_cutoff_hz, beta, derivative_cutoff_hz)
        self._states: dict[int, _State] = {}

    def __call__(self, faces: Sequence[Face], points: Points, timestamp: float) -> Points:
        """Raw points of N faces at `timestamp` (s) -> smoothed points of the same shapes; sigma is passed on."""
        flat = complex_from_points(points.keypoints)
        signals = [[]] * len(faces) if points.signals is None else points.signals.tolist()
        rows = zip(faces, flat.tolist(), flat.dot(_POSE_OF).tolist(), points.sigma.tolist(), signals, strict=True)
        steps = [self._step(*row, timestamp) for row in rows]
        smoothed = np.array([step[0] for step in steps], np.complex128).reshape(flat.shape)
        self._states = {
            id: state for id, state in self._states.items() if abs(timestamp - state.timestamp) <= LONGEST_GAP_S
        }
        told = [step[1] for step in steps]
        steady = None if points.signals is None else np.array(told, np.float32).reshape(points.signals.shape)
        return Points(points_from_complex(smoothed).astype(np.float32), points.sigma, steady)

    def _step(
        self,
        face: Face,
        raw: list[complex],
        pose: tuple[complex, complex],
        sigma: list[float],
        signals: list[float],
        timestamp: float,
    ) -> tuple[list[complex], list[float]]:
        """The face's smoothed points, x + iy in frame px, and signals, given the `raw` ones; `pose` is their centre and
        scale.  It starts again after a gap, and if time does not advance."""
        centre, scale = pose
        seen, per_px = Place(centre, cmath.log(scale)), 0.5 / scale
        shape, values = [(point - centre) * per_px for point in raw], signals[: len(SIGNALS)]
        last = self._states.get(face.id)
        elapsed_s = 0.0 if last is None else timestamp - last.timestamp
        if last is None or not 0 < elapsed_s <= LONGEST_GAP_S:
            filters = OneEuro(shape, *self._of_shape), OneEuro(values, *SIGNALS_CUTOFFS)
            self._states[face.id] = _State(timestamp, Motion(seen), *filters)
            return raw, signals
        last.timestamp = timestamp
        width = 2 * math.exp(last.pose.place.turn.real)
        last.pose.follow(seen, elapsed_s, self._surprise * width, self._surprise)
        sure = UNSURE_SIDES * face.region.side
        steady = last.shape(shape, elapsed_s, [1.0 if each <= sure else (sure / each) ** 2 for each in sigma])
        centre, turn = last.pose.after(self._lead_s)
        doubled = 2 * cmath.exp(turn)
        told = [value.real for value in last.signals(values, elapsed_s, [1.0] * len(values))]
        return [centre + doubled * point for point in steady], [*told, *signals[len(SIGNALS) :]]


def unsmoothed(faces: Sequence[Face], points: Points, timestamp: float) -> Points:
    """`loop.Smooth` for raw points: returns them unchanged."""
    return points


_SAY = np.array([1.0 if "_eye_" in name else 0.5 if name == "nose_tip" else 0.0 for name in KEYPOINTS])
"""Weight of each point in the pose.  The six points of the eyes are known best and move only with the head; the nose
steadies the scale when the head nods."""
_SAY = _SAY / _SAY.sum()
_FLAT = complex_from_points(MEAN_SHAPE)
_ABOUT_EYES = _FLAT - _SAY @ _FLAT
_POSE_OF = np.stack([_SAY, _SAY * _ABOUT_EYES.conj() / (_SAY @ np.abs(_ABOUT_EYES) ** 2)], axis=1)
"""(15, 2): `points @ _POSE_OF`, points x + iy in frame px, is the centre and the complex scale of the similarity that
best takes MEAN_SHAPE to them, by weighted least squares."""
