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
from itertools import repeat
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
    values: Mapping[int, Samples]
    """Face id -> (15, 2) frame px, raw; below them (3, 2), each of `spec.SIGNALS` in both columns, if there are any."""


def offline(tracked: Iterable[Tracked]) -> Iterator[Tracked]:
    """`tracked` with raw keypoints -> the same frames and faces in the same order with smoothed ones."""
    pending: deque[Tracked] = deque()
    around: deque[_Moment] = deque()
    for newest in tracked:
        now = newest.frame.timestamp
        rows = zip(newest.faces, newest.keypoints, newest.signals or repeat(()), strict=False)
        around.append(_Moment(now, {face.id: _values(points, signals) for face, points, signals in rows}))
        pending.append(newest)
        while now - pending[0].frame.timestamp >= WINDOWS_S[-1] or len(pending) > MOST_PENDING:
            yield _smoothed(pending.popleft(), around)
    while pending:
        yield _smoothed(pending.popleft(), around)


def _values(points: NDArray[np.float32], signals: Sequence[float]) -> Samples:
    return np.array([*points.tolist(), *((value, value) for value in signals[: len(SIGNALS)])])


def _smoothed(tracked: Tracked, around: deque[_Moment]) -> Tracked:
    """One frame's answer; forgets the moments that no later frame needs."""
    while tracked.frame.timestamp - around[0].timestamp >= WINDOWS_S[-1]:
        around.popleft()
    keypoints, signals = tracked.keypoints.copy(), []
    for face, points, told in zip(tracked.faces, keypoints, tracked.signals or repeat(()), strict=False):
        raw, noise = _values(points, told), [NOISE_SIDES * face.region.side] * len(points)
        noise += [NOISE_SIGNALS] * (len(raw) - len(points))
        guess = _between(raw, *_path(face.id, tracked.frame.timestamp, around), np.array(noise))
        points[:] = guess[: len(points)]
        if told:
            signals.append(Signals(*guess[len(points) :, 0].tolist(), *told[len(SIGNALS) :]))
    return replace(tracked, keypoints=keypoints, signals=tuple(signals))


def _path(id: int, now: float, around: Iterable[_Moment]) -> tuple[list[int], Samples]:
    """When, K rising times in us from `now`, a face was seen, and its values, (K, V, 2)."""
    seen = [moment for moment in around if id in moment.values]
    offsets_us = [round((moment.timestamp - now) * US) for moment in seen]
    return offsets_us, np.array([moment.values[id] for moment in seen])


def _between(raw: Samples, offsets_us: Sequence[int], path: Samples, noise: Samples) -> Samples:
    """Between `raw` values (V, 2) and the parabolas through their `path` (K, V, 2): the best guess.

    `noise` (V,) is the standard deviation of either column.
    """
    guess, variances = raw, np.square(noise)
    coordinates = path.reshape(len(path), -1)
    for reach_s in WINDOWS_S:
        first, last = bisect_right(offsets_us, -reach_s * US), bisect_left(offsets_us, reach_s * US)
        if last - first >= FEWEST:
            parabolas = _parabolas(tuple(offsets_us[first:last]), reach_s)
            fits = parabolas.dot(coordinates[first:last]).reshape(-1, *raw.shape)
            motion = np.maximum(np.square(fits[1:]).sum(axis=(0, 2)) / 2 - variances, 0)
            guess = fits[0] + (motion / (motion + variances))[:, None] * (guess - fits[0])
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
