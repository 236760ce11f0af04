"""Smooth keypoints without lag, for films: raw `Tracked` in, smoothed `Tracked` out, frame px.

A parabola is fitted to each point's path, in windows that reach as far ahead as back (Savitzky and Golay 1964, with the
actual times).  The point moves to the parabola, but only as far as the parabola explains the measurements: residuals
beyond the network's noise are motion and are added back in that proportion (Lee 1980, the local Wiener filter).  So a
still face is averaged over half a second, and a blink or a word is preserved.  Signals are smoothed the same way.

The result for a frame comes when the last window around it is full: `WINDOWS_S[-1]` later, holding at most
`MOST_PENDING` frames, which is 11 MB at 640x480 and 75 MB at 1080p, however long the film.
"""

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tracker.spec import SIGNALS
from tracker.types import Signals, Tracked

WINDOWS_S = (0.1, 0.2, 0.3)
"""How far each window reaches to either side, s.  Wider ones smooth more and tolerate less motion."""
NOISE_SIDES = 0.0008
"""Standard deviation of either coordinate, in sides of the face's region, that counts as noise.  Higher smooths more
and begins to shrink quick small motion; on the synthetic camera the network's own is 0.0003 to 0.002."""
NOISE_SIGNALS = 0.012
"""The same of signals."""
MOST_PENDING = 12
"""Frames held back at most: above 40 frames a second the windows reach less far ahead than back."""
FEWEST = 4
"""Samples in a window below which a parabola passes through them all and says nothing of noise."""

LEAST_SPREAD = 1e-5
"""Of times about their mean, in windows, to see a slope in; and of their squares, to see a bend."""

US = 1_000_000
"""Microseconds per second: times are compared in whole ones, so that equal steps are equal."""

Samples = NDArray[np.float64]


class _Moment(NamedTuple):
    """The measurements in one frame, without its image."""

    timestamp: float
    """s"""
    keypoints: Mapping[int, NDArray[np.float32]]
    """Face id -> (15, 2) frame px, raw."""
    signals: Mapping[int, NDArray[np.float64]]
    """Face id -> (3, 1) of `spec.SIGNALS`, raw."""


def offline(tracked: Iterable[Tracked]) -> Iterator[Tracked]:
    """`tracked` with raw keypoints -> the same frames and faces in the same order with smoothed ones."""
    pending: deque[Tracked] = deque()
    around: deque[_Moment] = deque()
    for newest in tracked:
        now = newest.frame.timestamp
        ids = [face.id for face in newest.faces]
        signals = (np.reshape(each[: len(SIGNALS)], (-1, 1)) for each in newest.signals)
        around.append(
            _Moment(now, dict(zip(ids, newest.keypoints, strict=True)), dict(zip(ids, signals, strict=False)))
        )
        pending.append(newest)
        while now - pending[0].frame.timestamp >= WINDOWS_S[-1] or len(pending) > MOST_PENDING:
            yield _smoothed(pending.popleft(), around)
    while pending:
        yield _smoothed(pending.popleft(), around)


def _smoothed(tracked: Tracked, around: deque[_Moment]) -> Tracked:
    """One frame's answer; forgets the moments that no later frame needs."""
    while tracked.frame.timestamp - around[0].timestamp >= WINDOWS_S[-1]:
        around.popleft()
    now, keypoints = tracked.frame.timestamp, tracked.keypoints.copy()
    for face, points in zip(tracked.faces, keypoints, strict=True):
        path = _path(now, [(each.timestamp, each.keypoints.get(face.id)) for each in around])
        points[:] = _between(points, *path, NOISE_SIDES * face.region.side)
    signals = []
    for face, raw in zip(tracked.faces, tracked.signals, strict=False):
        path = _path(now, [(each.timestamp, each.signals.get(face.id)) for each in around])
        told = _between(np.reshape(raw[: len(SIGNALS)], (-1, 1)), *path, NOISE_SIGNALS)
        signals.append(Signals(*told[:, 0].tolist(), *raw[len(SIGNALS) :]))
    return replace(tracked, keypoints=keypoints, signals=tuple(signals))


def _path(now: float, moments: Iterable[tuple[float, NDArray[np.floating] | None]]) -> tuple[list[int], Samples]:
    """When, K rising times in us from `now`, and where, (K, 15, 2) frame px or (K, 3, 1), a face was seen."""
    seen = [(round((timestamp - now) * US), values) for timestamp, values in moments if values is not None]
    return [offset_us for offset_us, _ in seen], np.array([values for _, values in seen], np.float64)


def _between(raw: NDArray[np.floating], offsets_us: Sequence[int], path: Samples, noise: float) -> NDArray[np.floating]:
    """Between `raw` values (15, 2) or (3, 1) and the parabolas through their `path` (K, ..): the best guess.

    `noise` is the standard deviation of each value.
    """
    guess: NDArray[np.floating] = raw
    coordinates = path.reshape(len(path), -1)
    for reach_s in WINDOWS_S:
        first, last = bisect_right(offsets_us, -reach_s * US), bisect_left(offsets_us, reach_s * US)
        if last - first >= FEWEST:
            parabolas = _parabolas(tuple(offsets_us[first:last]), reach_s)
            fitted, *left = (parabolas @ coordinates[first:last]).reshape(-1, *raw.shape)
            variance = np.square(left).mean(axis=2).sum(axis=0)
            motion = np.maximum(variance - noise**2, 0)
            guess = fitted + (motion / (motion + noise**2))[:, None] * (guess - fitted)
    return guess


@lru_cache(maxsize=64)
def _parabolas(offsets_us: tuple[int, ...], reach_s: float) -> Samples:
    """Parabolas fitted to K samples at these times within `reach_s`, the middle of the window counting most.

    (1 + K, K): what to multiply the samples with to get where the parabola is at 0, and what it leaves of each, so
    weighted that the sum of their squares estimates the variance.  Where times of a damaged film all but coincide, a
    line or the mean stands in for the parabola.  Most films repeat the same few sets of times.
    """
    offsets = np.array(offsets_us) / (reach_s * US)
    roots = np.sqrt((1 - np.abs(offsets) ** 3) ** 3)
    powers = offsets[:, None] ** np.arange(3)
    from_path = np.linalg.pinv(roots[:, None] * powers, LEAST_SPREAD) * roots
    leave = roots[:, None] * (np.eye(len(offsets)) - powers @ from_path)
    return np.concatenate([from_path[:1], leave / np.linalg.norm(leave)])
