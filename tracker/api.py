"""The tracker for Python programs: films, cameras, single pictures or your own frames in, `Tracked` out.

    for tracked in track_video("talk.mp4"):
        print(tracked.frame.timestamp, tracked.keypoints)

Images are (H, W, 3) uint8 BGR, as OpenCV reads them; results are in frame px, see `tracker.types`.  Nothing is printed.
Failures raise an FkpError.  The stages are the same as in `fkp-track`.
"""

import math
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tracker.app.follow import follow, open_detector_for
from tracker.backends.choice import open_backend
from tracker.backends.registry import BackendName
from tracker.backends.settings import Precision
from tracker.backends.weights import load
from tracker.core.head_pose import posed
from tracker.core.smoothers import SMOOTHERS, Smoothing, default_smoothing
from tracker.detectors.registry import DetectorName
from tracker.options import Options, Privacy
from tracker.sources.contract import Kind
from tracker.sources.registry import open_source
from tracker.types import Frame, Image, Tracked

Given = NDArray[Any] | None
"""A picture (H, W, 3) uint8 BGR, as OpenCV gives it; checked when it comes, because OpenCV's own types promise less."""

_DEFAULT = Options()


class Tracker:
    """Finds and follows faces.  Opening takes a moment, so keep one; use it in a `with` block, or call `close`.

    The settings are those of the command line (see `Options`).  Threads may share one: they take turns, frame by frame.
    """

    def __init__(
        self,
        *,
        detector: DetectorName = _DEFAULT.detector,
        detect_every: int | Literal["auto"] | None = _DEFAULT.detect_every,
        detect_size: int | Literal["auto"] = _DEFAULT.detect_size,
        smooth: Smoothing | None = _DEFAULT.smooth,
        backend: BackendName = _DEFAULT.backend,
        weights: str | Path | None = _DEFAULT.weights,
        precision: Precision = _DEFAULT.precision,
        device: int = _DEFAULT.device,
        keep_compiled: bool = _DEFAULT.keep_compiled,
        threads: int = _DEFAULT.threads,
        fov: float = _DEFAULT.fov,
        privacy: Privacy | None = _DEFAULT.privacy,
    ) -> None:
        """Open network and detector.

        `smooth` None is `offline` for films (results come 0.3 s of film late, without lag) and `live` for the rest.
        With `privacy` the frames of the results show nobody: heads are blurred or pixelated, or all is black (`hide`);
        your own images stay as they are.  Raises WeightsError, BackendError, and ValueError for a setting outside of
        its bounds and for a `detect_every` that would overlook a head to cover.
        """
        self._options = Options(
            detector=detector,
            detect_every=detect_every,
            detect_size=detect_size,
            smooth=smooth,
            backend=backend,
            weights=None if weights is None else Path(weights),
            precision=precision,
            device=device,
            keep_compiled=keep_compiled,
            threads=threads,
            fov=fov,
            privacy=privacy,
        )
        self._turn = threading.RLock()
        self._given = Frame(np.empty((0, 0, 3), np.uint8), -1, 0.0)
        network = load(self._options.weights)
        with ExitStack() as opened:
            self._backend = opened.enter_context(closing(open_backend(backend, network, self._options.runtime)))
            self._detector = opened.enter_context(closing(open_detector_for(self._options)))
            self._opened = opened.pop_all()
        self.reset()

    @property
    def backend(self) -> str:
        """What runs the network, for example `onnxruntime-cpu 1.32.0`."""
        return self._backend.name

    @property
    def detector(self) -> str:
        """What finds faces, for example `yunet-2023mar auto`."""
        return self._detector.name

    def image(self, image: Given) -> Tracked:
        """The faces of a single picture, independent of other calls.

        `image` is (H, W, 3) uint8, BGR, as cv2.imread gives it; keypoints are in its px.  Raises TypeError and
        ValueError for anything else, also for the None of a file that cv2.imread cannot read.
        """
        (tracked,) = self._follow([Frame(_bgr(image), 0, 0.0)], "images", self._options)
        return tracked

    def video(self, source: str | Path | int | Iterable[Given], *, fps: float = 30.0) -> Iterator[Tracked]:
        """One result per frame of a film or folder of pictures (path), a stream (URL), a camera (number), or frames.

        Your own frames are assumed to come at `fps` per second.  The source is opened with the first result, and
        closed with the last one or when the iterator is.  Raises SourceError when it cannot be read.
        """
        if not (math.isfinite(fps) and fps > 0):
            raise ValueError(f"fps is {fps}, expected a number of frames per second above 0")
        if not isinstance(source, str | Path | int):
            frames = (Frame(_bgr(image), index, index / fps) for index, image in enumerate(source))
            kind: Kind = "film" if self._options.covers_heads else "camera"  # it waits for a thorough search
            yield from self._follow(frames, kind, self._options)
            return
        camera, place = (source, None) if isinstance(source, int) else (0, source)
        with open_source(place, camera=camera) as opened:
            kind = opened.info.kind
            smooth = self._options.smooth or default_smoothing(film=kind == "film", into_files=True)
            options = replace(self._options, smooth=smooth)
            yield from self._follow(opened, kind, options)

    def update(self, image: Given, timestamp: float | None = None) -> Tracked:
        """The next frame of a stream from your program: faces keep their ids from call to call.

        `image` is (H, W, 3) uint8, BGR, as cv2.VideoCapture gives it.
        `timestamp`, s, must increase; None takes the time of this call.  Smoothing is `live`, because there are no
        later frames to look at.  After any exception, including Ctrl-C, the next call starts a new stream.
        """
        now = time.perf_counter() if timestamp is None else timestamp
        if not math.isfinite(now):
            raise ValueError(f"timestamp is {timestamp}, expected seconds that are a finite number, or None for now")
        bgr = _bgr(image)
        with self._turn:
            self._given = Frame(bgr, self._given.index + 1, now)
            try:
                return next(self._stream)
            except BaseException:
                self.reset()
                raise

    def reset(self) -> None:
        """Forget the faces that `update` knows: the next frame starts a new stream, and ids start at 0 again."""
        asked = self._options.smooth
        smooth: Smoothing = "live" if asked is None or SMOOTHERS[asked].afterwards is not None else asked
        self._given = replace(self._given, index=-1)
        without_end = iter(lambda: self._given, None)
        self._stream = self._follow(without_end, "camera", replace(self._options, smooth=smooth))

    def close(self) -> None:
        """Free network and detector; a second call does nothing."""
        self._opened.close()

    def __enter__(self) -> "Tracker":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _follow(self, frames: Iterable[Frame], kind: Kind, options: Options) -> Iterator[Tracked]:
        results = posed(follow(frames, kind, self._detector, self._backend, options), options.fov)
        while True:
            with self._turn:
                tracked = next(results, None)
            if tracked is None:
                return
            yield tracked


def track_video(
    source: str | Path | int | Iterable[Given],
    *,
    fps: float = 30.0,
    detector: DetectorName = _DEFAULT.detector,
    detect_every: int | Literal["auto"] | None = _DEFAULT.detect_every,
    detect_size: int | Literal["auto"] = _DEFAULT.detect_size,
    smooth: Smoothing | None = _DEFAULT.smooth,
    backend: BackendName = _DEFAULT.backend,
    weights: str | Path | None = _DEFAULT.weights,
    precision: Precision = _DEFAULT.precision,
    device: int = _DEFAULT.device,
    keep_compiled: bool = _DEFAULT.keep_compiled,
    threads: int = _DEFAULT.threads,
    fov: float = _DEFAULT.fov,
    privacy: Privacy | None = _DEFAULT.privacy,
) -> Iterator[Tracked]:
    """`Tracker.video` with a new tracker: one result per frame of `source`.

    Raises SourceError, WeightsError, BackendError, with the first result.
    """
    with Tracker(
        detector=detector,
        detect_every=detect_every,
        detect_size=detect_size,
        smooth=smooth,
        backend=backend,
        weights=weights,
        precision=precision,
        device=device,
        keep_compiled=keep_compiled,
        threads=threads,
        fov=fov,
        privacy=privacy,
    ) as tracker:
        yield from tracker.video(source, fps=fps)


def _bgr(image: Given) -> Image:
    """The image itself, its bytes in one piece.  Raises TypeError, ValueError for what is no BGR image."""
    if not isinstance(image, np.ndarray):
        raise TypeError(f"an image must be an array of uint8, seen {type(image).__name__}; {_way_out(image)}")
    if image.dtype != np.uint8:
        way_out = _OF_DTYPE.get(image.dtype.kind, "convert values of 0..255 with .astype('uint8')")
        raise TypeError(f"an image must be an array of uint8, seen {image.dtype}; {way_out}")
    if image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        way_out = _OF_CHANNELS.get(image.shape[2:], "give it with all three") if image.size else "this one is empty"
        raise ValueError(f"an image must be (H, W, 3) BGR, seen {image.shape}; {way_out}")
    return np.ascontiguousarray(image)


_OF_DTYPE = {
    "u": "scale 16 bits to 8, for example with (image >> 8).astype('uint8')",
    "f": "scale it to 0..255 and convert it with .astype('uint8')",
}
_OF_CHANNELS = {
    (): "cv2.cvtColor(image, cv2.COLOR_GRAY2BGR) converts gray",
    (1,): "cv2.cvtColor(image, cv2.COLOR_GRAY2BGR) converts gray",
    (4,): "cv2.cvtColor(image, cv2.COLOR_BGRA2BGR) drops alpha",
}


def _way_out(image: object) -> str:
    if image is None:
        return "did cv2.imread find the file?"
    if isinstance(image, str | Path):
        return "cv2.imread reads a file"
    if type(image).__module__.startswith("PIL"):
        return "np.asarray(image.convert('RGB'))[..., ::-1] converts it"
    return "np.asarray may convert it"
