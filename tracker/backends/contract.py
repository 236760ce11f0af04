"""What a runtime of the network takes and returns.

A backend is called with crops (N, 1, 96, 96) uint8 and returns an `Answer`.  N may be 0 and varies from call to call.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tracker.errors import BackendError, BackendUnavailable
from tracker.geometry import cut
from tracker.spec import KEYPOINTS
from tracker.types import Points, Region

Answer: TypeAlias = Points
"""What the network says of N faces, in unit space."""

NOBODY = Answer(np.empty((0, len(KEYPOINTS), 2), np.float32), np.empty((0, len(KEYPOINTS)), np.float32))

Outputs: TypeAlias = Mapping[str, tuple[int, ...]]
"""Name of each of the network's outputs, in their order -> its shape for one face."""

Infer: TypeAlias = Callable[[NDArray[np.uint8], Sequence[Region]], Answer]
"""A BGR frame (H, W, 3) uint8 and the regions of N faces, frame px -> their answer.

A backend that cuts the crops itself, where it runs, has this as its method `infer_frame`.
"""

BATCHES = (1, 2, 8, 32)
"""The numbers of faces that a GPU is prepared for; others are filled up to the next, or split.

A GPU computes 8 faces about as fast as 3, and preparing a batch of another size would stop the stream.
"""

OTHERS_INSTEAD = "--backend auto takes what runs here"


class Backend(Protocol):
    """The contract.  Implementations do not inherit from it."""

    @property
    def name(self) -> str:
        """Name for people and records, e.g. `onnxruntime-cpu 1.31.1`."""
        ...

    def __call__(self, faces: NDArray[np.uint8]) -> Answer:
        """(N, 1, 96, 96) uint8 -> what the network says of them."""
        ...

    def close(self) -> None:
        """Free the runtime; the backend must not be called afterwards."""
        ...


def answer_of(points: NDArray[np.float32], sigma: NDArray[np.float32], *signals: NDArray[np.float32]) -> Answer:
    """The network's outputs in their order -> its answer."""
    return Answer(points, sigma, np.concatenate(signals, axis=1) if signals else None)


def infer_frame(backend: Backend, image: NDArray[np.uint8], regions: Sequence[Region]) -> Answer:
    """The answer for faces in a BGR frame by any backend; regions in frame px."""
    own: Infer | None = getattr(backend, "infer_frame", None)
    return backend(cut(image, regions)) if own is None else own(image, regions)


def in_batches(count: int, infer: Callable[[int, slice], Answer], batches: Sequence[int] = BATCHES) -> Answer:
    """The answer for `count` faces; `infer(batch, some)` answers for some of them in a batch of that size."""
    answers = []
    for start in range(0, count, batches[-1]):
        faces = slice(start, min(start + batches[-1], count))
        answers.append(infer(next(each for each in batches if each >= faces.stop - start), faces))
    if not answers:
        return NOBODY
    points, sigma = map(np.concatenate, zip(*answers, strict=True))
    signals = [told for each in answers if (told := getattr(each, "signals", None)) is not None]
    return Answer(points, sigma, np.concatenate(signals) if signals else None)


@contextmanager
def refused_where_it_fails(name: str) -> Iterator[None]:
    """Turns every failure inside into BackendUnavailable, including those of a release with another interface."""
    try:
        yield
    except BackendUnavailable:
        raise
    except (BackendError, AttributeError, TypeError, ValueError, RuntimeError) as error:
        raise BackendUnavailable(f"{name} does not run here ({error})", OTHERS_INSTEAD) from error
