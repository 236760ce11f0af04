"""Faces with the 68 landmarks of iBUG 300-W, and how those become Kaggle's 15 keypoints.

In: a folder or zip with images and `landmarks68.csv` (columns image, x_0, y_0 .. x_67, y_67; optionally visible, yaw
and person).  Out: gray images of any size and landmarks in px of each image.
"""

import math
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from itertools import compress
from pathlib import Path, PurePosixPath
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from tracker.errors import DataError
from tracker.geometry import SIDE_IOD, region_from_keypoints
from tracker.sources.contract import TOO_LARGE
from tracker.spec import INDEX, KEYPOINTS, MIRROR
from train.data import archive
from train.data.sanity import refuse_no_faces
from train.data.schemes import BEYOND_C

LANDMARKS = 68
HIDDEN, MACHINE, HUMAN, COVERED = range(4)
"""What the column `visible` says of a landmark: hidden, placed by a machine, by a human.  The last: placed by a human,
then covered by something drawn, see `train.data.occluders`."""
TABLE = "landmarks68.csv"
MAX_FILE_BYTES = 1 << 26
"""Per image or table; the largest genuine table has 3.5 MB."""
FARTHEST = 1_000_000
"""px, or degrees of a yaw; more means that something else went wrong."""

_COLUMNS = tuple(f"{axis}_{i}" for i in range(LANDMARKS) for axis in "xy")

IBUG: dict[str, int] = {
    "left_eye_inner_corner": 42,
    "left_eye_outer_corner": 45,
    "right_eye_inner_corner": 39,
    "right_eye_outer_corner": 36,
    "left_eyebrow_inner_end": 22,
    "left_eyebrow_outer_end": 26,
    "right_eyebrow_inner_end": 21,
    "right_eyebrow_outer_end": 17,
    "nose_tip": 30,
    "mouth_left_corner": 54,
    "mouth_right_corner": 48,
    "mouth_center_top_lip": 51,
    "mouth_center_bottom_lip": 57,
}
"""Keypoint of scheme A -> the iBUG point it lies nearest to; the eye centres are means of six points."""

_IBUG_OF_SCHEME: dict[str, dict[str, int]] = {
    "A": {},
    "B": {"mouth_center_top_lip": 62, "mouth_center_bottom_lip": 66},  # inner lips
    "C": {"nose_tip": 33, "mouth_center_bottom_lip": 66},  # base of the nose
}
"""Where a scheme differs from A."""

FEWEST_FOR_AXES = 4
"""Keypoints below which nobody can tell how a face lies."""

LEFT_EYE, RIGHT_EYE = slice(42, 48), slice(36, 42)

_CORRECTION: dict[str, tuple[float, float]] = {
    "left_eye_inner_corner": (0.02, 0.0),
    "left_eye_outer_corner": (-0.02, 0.0),
    "left_eyebrow_inner_end": (0.04, 0.05),
    "left_eyebrow_outer_end": (-0.075, 0.0),
    "mouth_left_corner": (-0.035, 0.0),
}
"""Kaggle's label minus iBUG's, in interocular distances of a frontal face across it (towards the subject's left) and
down; the right side is the mirror.  Measured between the mean shapes of Kaggle's A rows and of HELEN."""


@dataclass(frozen=True, slots=True, eq=False)
class Crops68:
    """Faces with 68 landmarks, N of them."""

    images: list[NDArray[np.uint8]]
    """N gray images (H, W); faces of the same picture share it."""
    landmarks: NDArray[np.float32]
    """(N, 68, 2) px of each image, NaN where missing."""
    names: list[str]
    seen: NDArray[np.uint8] | None = None
    """(N, 68) of `HIDDEN`, `MACHINE`, `HUMAN`, `COVERED`; None if the table does not say."""
    yaw: NDArray[np.float32] | None = None
    """(N,) degrees, positive where the nose points to the picture's right, NaN where unknown."""
    person: list[str] | None = None
    """Who each face is, "" if unknown."""

    @property
    def placed_by(self) -> NDArray[np.uint8]:
        """(N, 68) of `HIDDEN`, `MACHINE`, `HUMAN`; people, if the table does not say."""
        return np.full((len(self.names), LANDMARKS), HUMAN, np.uint8) if self.seen is None else self.seen

    def only(self, chosen: NDArray[np.bool_]) -> "Crops68":
        """The faces where `chosen` (N,) is true."""
        columns = (getattr(self, each.name) for each in fields(self))
        kept: Any = (column if column is None else _rows(column, chosen) for column in columns)
        return Crops68(*kept)


def _rows(column: list[Any] | NDArray[Any], chosen: NDArray[np.bool_]) -> list[Any] | NDArray[Any]:
    return column[chosen] if isinstance(column, np.ndarray) else list(compress(column, chosen))


def read_faces68(path: Path) -> Crops68:
    """Read a folder or a zip in the faces68 layout; `landmarks68.csv` may lie at the top or one level down.

    Raises DataError naming the line that is wrong or the image that is missing.
    """
    with _open_files(path) as read:
        lines = list(archive.lines(read(TABLE), f"{path}: {TABLE}", ("image", *_COLUMNS)))
        faces = [_face(*line) for line in lines]
        names, points, seen, yaw, person = (list(column) for column in zip(*faces, strict=True)) if faces else ([],) * 5
        pictures = {name: _decoded(read(name), f"{path}: {name}") for name in dict.fromkeys(names)}
    images, landmarks = [pictures[name] for name in names], np.array(points, np.float32).reshape(-1, LANDMARKS, 2)
    refuse_no_faces(landmarks, [image.shape[::-1] for image in images], [where for where, _ in lines])
    return Crops68(
        images,
        landmarks,
        names,
        np.array(seen, np.uint8) if faces and seen[0] is not None else None,
        np.array(yaw, np.float32),
        person,
    )


def keypoints_from_68(landmarks: NDArray[np.floating], scheme: str = "A") -> NDArray[np.float32]:
    """iBUG landmarks (N, 68, 2) -> what scheme A, B or C would have labelled, (N, 15, 2) float32, same px space.

    NaN where a landmark is missing, and in scheme C for the eleven points it does not label.
    """
    points = _nearest(landmarks, IBUG | _IBUG_OF_SCHEME[scheme])
    points += _corrections() @ _axes(_nearest(landmarks, IBUG))
    if scheme == "C":
        points[:, BEYOND_C] = np.nan
    return points.astype(np.float32)


def seen_from_68(seen: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(N, 68) of `HIDDEN`, `MACHINE`, `HUMAN` -> (N, 15) the same of scheme A's keypoints."""
    return _nearest(seen, IBUG, np.median).astype(np.uint8)


def _nearest(
    values: NDArray[Any], source: Mapping[str, int], middle: Callable[..., Any] = np.mean
) -> NDArray[np.float64]:
    """(N, 68, ...) -> (N, 15, ...): those of the iBUG points that `source` names, and the `middle` ones of the eyes."""
    found = np.empty((len(values), len(KEYPOINTS), *values.shape[2:]))
    found[:, INDEX["left_eye_center"]] = middle(values[:, LEFT_EYE], axis=1)
    found[:, INDEX["right_eye_center"]] = middle(values[:, RIGHT_EYE], axis=1)
    for name, ibug in source.items():
        found[:, INDEX[name]] = values[:, ibug]
    return found


def _corrections() -> NDArray[np.float64]:
    """(15, 2) in interocular distances of a frontal face: towards the subject's left, down."""
    table = np.zeros((len(KEYPOINTS), 2))
    for name, (left, down) in _CORRECTION.items():
        table[INDEX[name]] = left, down
        table[MIRROR[INDEX[name]]] = -left, down
    return table


def _axes(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N, 2, 2): rows are one interocular distance of a frontal face across its region, and down; NaN if unknown.

    The line between the eyes will not do, because in profile it collapses and turns round.
    """
    return np.array([_axes_of(face) for face in points]).reshape(-1, 2, 2)


def _axes_of(face: NDArray[np.float64]) -> NDArray[np.float64]:
    found = np.isfinite(face).all(1)
    if np.count_nonzero(found) < FEWEST_FOR_AXES:
        return np.full((2, 2), np.nan)
    region = region_from_keypoints(np.nan_to_num(face), np.where(found, 1.0, np.inf))
    across = np.array([math.cos(region.roll), math.sin(region.roll)]) * region.side / SIDE_IOD
    return np.array([across, [-across[1], across[0]]])


@contextmanager
def _open_files(path: Path) -> Iterator[Callable[[str], bytes]]:
    """A function from a name beside the table to the bytes of that file."""
    try:
        if path.is_dir():
            yield _folder_reader(path)
        elif path.is_file():
            with zipfile.ZipFile(path) as packed:
                yield _zip_reader(packed, path)
        else:
            raise DataError(f"{path} does not exist; expected a folder or zip with {TABLE} and its images")
    except OSError as error:
        raise DataError(f"cannot read {path}: {error}") from error
    except (*archive.DAMAGE, *archive.LOCKED) as error:
        raise DataError(f"{path} is not an intact zip ({error}); expected a folder or zip with {TABLE}") from error


def _folder_reader(path: Path) -> Callable[[str], bytes]:
    folders = [table.parent for table in (path / TABLE, *sorted(path.glob(f"*/{TABLE}"))) if table.is_file()]
    if len(folders) != 1:
        raise _no_single_table(path, len(folders))

    def read(name: str) -> bytes:
        file = folders[0] / _plain(name, path)
        if not file.is_file():
            raise DataError(f"{path} lists {name[:40]!r} in {TABLE}, but there is no such file")
        archive.refuse_large(file.stat().st_size, MAX_FILE_BYTES, str(file))
        return file.read_bytes()

    return read


def _zip_reader(packed: zipfile.ZipFile, path: Path) -> Callable[[str], bytes]:
    tables = [PurePosixPath(name) for name in packed.namelist() if PurePosixPath(name).name == TABLE]
    if len(tables) != 1:
        raise _no_single_table(path, len(tables))

    members = {member.filename: member for member in packed.infolist()}

    def read(name: str) -> bytes:
        member = str(tables[0].with_name(_plain(name, path)))
        if member not in members:
            raise DataError(f"{path} lists {name[:40]!r} in {TABLE}, but there is no such file")
        return archive.unpacked(packed, members[member], MAX_FILE_BYTES, str(path))

    return read


def _no_single_table(path: Path, count: int) -> DataError:
    return DataError(f"{path} holds {count} files {TABLE}, expected one, with its images beside it")


def _plain(name: str, path: Path) -> str:
    """The name itself if it is one file name without folders, so that no table points elsewhere."""
    if name in ("", ".", "..") or len(name) > 255 or any(sign in name for sign in "/\\:\0"):
        raise DataError(f"{path}: {TABLE} names the image {name[:40]!r}, expected a file name without folders")
    return name


def _face(where: str, entry: Mapping[str, str]) -> tuple[str, NDArray[np.float32], list[int] | None, float, str]:
    """One line of the table: image, landmarks (136,), what is visible, yaw and person."""
    return (
        entry["image"],
        np.array([_coordinate(entry[name], name, where) for name in _COLUMNS], np.float32),
        _seen(entry["visible"], where) if "visible" in entry else None,
        _coordinate(entry.get("yaw", ""), "yaw", where),
        entry.get("person", ""),
    )


def _seen(text: str, where: str) -> list[int]:
    if len(text) != LANDMARKS or set(text) - set("012"):
        raise DataError(f"{where}: column visible is {text[:80]!r}, expected {LANDMARKS} of 0, 1 and 2")
    return [int(sign) for sign in text]


def _coordinate(text: str, column: str, where: str) -> float:
    try:
        value = float(text or "nan")
    except ValueError:
        value = math.inf
    if abs(value) > FARTHEST:
        raise DataError(f"{where}: column {column} is {text[:40]!r}, expected at most {FARTHEST:,} or nothing")
    return value


def _decoded(content: bytes, place: str) -> NDArray[np.uint8]:
    # Landmarks count the pixels as stored, so an orientation tag must not turn the image.
    flags = cv2.IMREAD_GRAYSCALE | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        image = cv2.imdecode(np.frombuffer(content, np.uint8), flags) if content else None
    except cv2.error as error:
        raise DataError(f"{place}: {TOO_LARGE if 'CV_IO_MAX' in str(error) else error.err}") from error
    if image is None:
        raise DataError(f"{place} is not an image that can be read")
    return np.asarray(image, np.uint8)
