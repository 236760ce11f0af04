"""A camera whose truth is known: a portrait moved along a path, with the exact map of every frame.

In: a portrait, and a motion that gives the head's pose at time t.  Out: Frames with a 2x3 matrix each, portrait px ->
frame px, so that any point marked on the portrait is known in every frame.  For the demo, tests and measurements.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from tracker.types import Frame, Image

EXPOSURES = 9
"""Pictures averaged for one blurred frame."""

FROM_HALF = np.array([[2, 0, 0.5], [0, 2, 0.5], [0, 0, 1]])
"""Pixel centres of a halved image -> the image's own."""

PORTRAIT = Path(__file__).resolve().with_name("portrait.jpg")


class Pose(NamedTuple):
    """Where the head is, relative to its rest in the middle of the frame."""

    right: float = 0.0
    """Position of the eye midpoint in the image, in interocular distances at rest."""
    down: float = 0.0
    scale: float = 1.0
    """Scale; 1 is the interocular distance at rest."""
    roll: float = 0.0
    """Angle of the eye line, rad, positive clockwise as seen in the image."""


Motion = Callable[[float], Pose]
"""Time, s -> pose."""


def still(_t: float) -> Pose:
    """Nothing moves: every movement in the result is jitter."""
    return Pose()


def slow(t: float) -> Pose:
    """A drift of at most 0.25 interocular distances per second: jitter is most visible here."""
    return Pose(right=0.4 * _wave(t, 0.10), down=0.2 * _wave(t, 0.07), roll=0.03 * _wave(t, 0.05))


def talking(t: float) -> Pose:
    """A person who talks to a webcam: sways, nods and tilts, without repetition in the ten seconds of the demo."""
    return Pose(
        right=0.55 * _wave(t, 0.19) + 0.12 * _wave(t, 0.53, 1.0),
        down=0.18 * _wave(t, 0.31, 2.0) + 0.07 * _wave(t, 0.83),
        scale=1.0 + 0.10 * _wave(t, 0.13, 0.5),
        roll=0.14 * _wave(t, 0.23, 0.8) + 0.04 * _wave(t, 0.61),
    )


def fast_pan(t: float) -> Pose:
    """Left and right at up to 6 interocular distances per second: smoothing lags most here."""
    return Pose(right=1.6 * _wave(t, 0.6))


def rolling(t: float) -> Pose:
    """The head tilts 35 degrees to either side, every four seconds."""
    return Pose(roll=math.radians(35) * _wave(t, 0.25))


def approach(t: float) -> Pose:
    """From half to twice the size at rest and back, every ten seconds."""
    return Pose(scale=2.0 ** _wave(t, 0.1))


MOTIONS: dict[str, Motion] = {
    each.__name__.replace("_", "-"): each for each in (still, slow, talking, fast_pan, rolling, approach)
}


@dataclass(frozen=True, slots=True, eq=False)
class Portrait:
    """A picture of one face and where its eyes are."""

    image: Image
    """(H, W, 3) uint8 BGR."""
    left_eye: tuple[float, float]
    """Centre of the subject's left eye, portrait px."""
    right_eye: tuple[float, float]


def astronaut() -> Portrait:
    """The portrait that ships with the package: NASA astronaut Eileen Collins, public domain, eyes marked by hand."""
    image = _decoded(np.frombuffer(PORTRAIT.read_bytes(), np.uint8))
    return Portrait(image, left_eye=(246.6, 102.5), right_eye=(202.8, 100.5))


class Shot(NamedTuple):
    """One frame and its truth."""

    frame: Frame
    matrix: NDArray[np.float64]
    """(2, 3): portrait px -> frame px."""


@dataclass(frozen=True, slots=True, eq=False)
class SyntheticCamera:
    """Frames of `portrait` moved by `motion`; every iteration gives the same ones."""

    portrait: Portrait
    motion: Motion
    rate: float = 30.0
    """Frames per second."""
    seconds: float = 10.0
    width: int = 640
    height: int = 480
    iod: float = 64.0
    """Interocular distance at rest, frame px: 64 is a person at arm's length from a webcam."""
    noise: float = 0.0
    """Standard deviation of the sensor's noise, gray levels, per pixel and channel."""
    shutter: float = 0.0
    """Part of the frame period during which light is gathered, 0..1; the rest of the blur is the portrait's own."""
    jpeg: int | None = None
    """Quality 0..100 of the camera's compression; None for none."""
    seed: int = 0

    def __len__(self) -> int:
        return round(self.rate * self.seconds)

    def __iter__(self) -> Iterator[Shot]:
        rng = np.random.default_rng(self.seed)
        add_noise = _noise(rng, self.noise, self.height, self.width) if self.noise > 0 else lambda image: image
        for index in range(len(self)):
            time = index / self.rate
            image = _through_jpeg(add_noise(self._exposed(time)), self.jpeg)
            yield Shot(Frame(image, index, time), self.matrix_at(time))

    def matrix_at(self, time: float) -> NDArray[np.float64]:
        """The truth at `time`, s: (2, 3), portrait px -> frame px.  The eyes rest a little above the middle."""
        pose = self.motion(time)
        left, right = np.array(self.portrait.left_eye), np.array(self.portrait.right_eye)
        across = left - right
        scale = pose.scale * self.iod / math.hypot(*across)
        angle = pose.roll - math.atan2(across[1], across[0])
        cos, sin = scale * math.cos(angle), scale * math.sin(angle)
        turn = np.array([[cos, -sin], [sin, cos]])
        rest = np.array([(self.width - 1) / 2, 0.44 * self.height])
        eyes = rest + self.iod * np.array([pose.right, pose.down])
        return np.column_stack([turn, eyes - turn @ (left + right) / 2])

    def _exposed(self, time: float) -> Image:
        """The light of the whole exposure, centred on `time`, so that the truth is its middle."""
        size = (self.width, self.height)
        if self.shutter <= 0:
            return render(self.portrait.image, self.matrix_at(time), size)
        light = np.zeros((self.height, self.width, 3), np.float32)
        for part in np.linspace(-0.5, 0.5, EXPOSURES):
            at = time + part * self.shutter / self.rate
            cv2.accumulate(render(self.portrait.image, self.matrix_at(at), size), light)
        return cv2.convertScaleAbs(light, alpha=1 / EXPOSURES)


def render(image: Image, matrix: NDArray[np.float64], size: tuple[int, int]) -> Image:
    """`image` (H, W, 3) mapped by the similarity `matrix` (2, 3), image px -> frame px, to a frame (width, height).

    Shrinking halves the image first, so that it does not alias.  Its edge repeats outside: mirrors show more faces.
    """
    if math.hypot(matrix[0, 0], matrix[1, 0]) < 0.5 and min(image.shape[:2]) >= 2:
        height, width = image.shape[0] // 2, image.shape[1] // 2
        half = cv2.resize(image[: 2 * height, : 2 * width], (width, height), interpolation=cv2.INTER_AREA)
        return render(half, matrix @ FROM_HALF, size)
    return cv2.warpAffine(image, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _noise(rng: np.random.Generator, sigma: float, height: int, width: int) -> Callable[[Image], Image]:
    """Sensor noise: each frame gets a part of one large sheet; drawing new noise costs ten times as much."""
    room = 256  # the sheet's margin, px: 65536 different cuts
    sheet = np.rint(rng.standard_normal((height + room, width + room, 3), np.float32) * sigma).astype(np.int16)

    def add(image: Image) -> Image:
        top, left = rng.integers(room, size=2)
        return cv2.add(image, sheet[top : top + height, left : left + width], dtype=cv2.CV_8U)

    return add


def _through_jpeg(image: Image, quality: int | None) -> Image:
    if quality is None:
        return image
    _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return _decoded(data)


def _decoded(data: Image) -> Image:
    image = cv2.imdecode(data, cv2.IMREAD_COLOR)
    assert image is not None, "our own JPEG"
    return image


def _wave(t: float, hertz: float, phase: float = 0.0) -> float:
    return math.sin(2 * math.pi * hertz * t + phase)
