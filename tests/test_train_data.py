"""Kaggle's download and the faces68 layout, read in every form they come in, and refused with a reason where wrong."""

import csv
import gzip
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from faces import write_training_csv
from numpy.typing import NDArray

from tracker.errors import DataError
from tracker.geometry import MEAN_SHAPE, SIDE_IOD, cut, frame_from_unit, unit_from_frame
from tracker.spec import COLUMNS, INDEX, KEYPOINTS, crop_from_unit
from tracker.types import Region
from train.data import archive, duplicates, schemes
from train.data.faces68 import IBUG, keypoints_from_68, read_faces68
from train.data.kaggle import KNOWN_PROBLEMS, Faces, read_test, read_training
from train.data.split import folds, hold_out

Rows = list[list[str]]


def face_points(*, lips: float = 0.34, only: Sequence[str] = KEYPOINTS) -> NDArray[np.float64]:
    """(15, 2) of an upright face; `lips` is the distance of the lip points in mouth widths."""
    half = {
        "eye_center": (18, 37),
        "eye_inner_corner": (11, 38),
        "eye_outer_corner": (25, 38),
        "eyebrow_inner_end": (8, 30),
        "eyebrow_outer_end": (31, 29),
        "mouth_corner": (15, 75),
    }
    points = np.full((15, 2), np.nan)
    for name in only:
        part = name.replace("left_", "").replace("right_", "")
        side = 1 if "left" in name else -1
        if part in half:
            x, y = half[part]
            points[INDEX[name]] = 48 + side * x, y
    middle = {"nose_tip": 57, "mouth_center_top_lip": 75 - lips * 15, "mouth_center_bottom_lip": 75 + lips * 15}
    for name in set(only) & set(middle):
        points[INDEX[name]] = 48, middle[name]
    return points


A_FACE = face_points(lips=0.34)
B_FACE = face_points(lips=0.05)
C_FACE = face_points(only=schemes.C_KEYPOINTS)


def pictures(portrait: NDArray[np.uint8], count: int) -> NDArray[np.uint8]:
    """(count, 96, 96): different pieces of a real picture."""
    gray = cv2.cvtColor(portrait, cv2.COLOR_BGR2GRAY)
    return np.array([gray[20 * i : 20 * i + 96, 30 * i : 30 * i + 96] for i in range(count)])


def row_of(image: NDArray[np.uint8], points: NDArray[np.float64]) -> list[str]:
    numbers = ["" if np.isnan(v) else repr(float(v)) for v in points.reshape(-1)]
    return [*numbers, " ".join(map(str, image.reshape(-1)))]


def write_rows(path: Path, rows: Rows, header: Sequence[str] = (*COLUMNS, "Image"), end: str = "\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes("".join(",".join(row) + end for row in [list(header), *rows]).encode())
    return path


@pytest.fixture
def rows(portrait: NDArray[np.uint8]) -> Rows:
    """An A, a B and a C face."""
    images = pictures(portrait, 3)
    return [row_of(image, points) for image, points in zip(images, (A_FACE, B_FACE, C_FACE), strict=True)]


@pytest.fixture
def training(tmp_path: Path, rows: Rows) -> Path:
    return write_rows(tmp_path / "training.csv", rows)


def zipped(path: Path, *members: Path, names: Sequence[str] | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for member, name in zip(members, names or [m.name for m in members], strict=True):
            file.write(member, name)
    return path


def same(a: Faces, b: Faces) -> bool:
    """Whether two readings agree in all but the name."""
    arrays = ("images", "points", "scheme", "row", "group", "problem")
    return a.sha256 == b.sha256 and all(np.array_equal(getattr(a, n), getattr(b, n), equal_nan=True) for n in arrays)


def test_csv_gives_pixels_and_labels_exactly(training: Path, portrait: NDArray[np.uint8]) -> None:
    faces = read_training(training)
    assert faces.images.dtype == np.uint8
    assert np.array_equal(faces.images, pictures(portrait, 3))
    expected = np.array([A_FACE, B_FACE, C_FACE], np.float32)
    assert faces.points.dtype == np.float32
    assert np.array_equal(faces.points, expected, equal_nan=True)
    assert [schemes.SCHEMES[s] for s in faces.scheme] == ["A", "B", "C"]
    assert faces.row.tolist() == faces.group.tolist() == [0, 1, 2]
    assert not faces.problem.any()
    assert faces.name == "training.csv"


def test_every_form_of_the_download_reads_the_same(tmp_path: Path, training: Path) -> None:
    inner = zipped(tmp_path / "zips" / "training.zip", training)
    other = write_rows(tmp_path / "x" / "SampleSubmission.csv", [["1", "0"]], ("RowId", "Location"))
    outer = zipped(tmp_path / "outer" / "facial-keypoints-detection.zip", other, inner)
    deep = zipped(tmp_path / "deep" / "any.zip", training, names=["data/training.csv"])
    expected = read_training(training)
    for form in (inner, outer, outer.parent, inner.parent, deep, deep.parent, tmp_path):
        assert same(read_training(form), expected), form


def test_header_order_quotes_line_ends_and_extra_columns_do_not_matter(tmp_path: Path, rows: Rows) -> None:
    plain = read_training(write_rows(tmp_path / "a" / "training.csv", rows))
    header = ["Image", "extra", *reversed(COLUMNS)]
    turned = [[f'"{row[-1]}"', "7", *reversed(row[:-1])] for row in rows]
    path = write_rows(tmp_path / "b" / "training.csv", turned, header, "\r\n")
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes() + b"\r\n")
    other = read_training(path)
    assert np.array_equal(other.images, plain.images)
    assert np.array_equal(other.points, plain.points, equal_nan=True)


def test_a_lone_quote_joins_no_fields(tmp_path: Path, rows: Rows) -> None:
    plain = read_training(write_rows(tmp_path / "a" / "training.csv", rows))
    rows[1] = [f'"{rows[1][0]}', *rows[1][1:]]
    quoted = read_training(write_rows(tmp_path / "b" / "training.csv", rows))
    assert np.array_equal(quoted.points, plain.points, equal_nan=True)


def test_point_with_one_coordinate_is_unlabelled(tmp_path: Path, rows: Rows) -> None:
    rows[0][COLUMNS.index("nose_tip_x")] = ""
    faces = read_training(write_rows(tmp_path / "training.csv", rows))
    assert np.isnan(faces.points[0, INDEX["nose_tip"]]).all()


def changed(row: list[str], column: int, value: str) -> list[str]:
    return [*row[:column], value, *row[column + 1 :]] if column >= 0 else [*row[:-1], value]


def image_with(row: list[str], **pixels: str) -> list[str]:
    numbers = row[-1].split()
    for at, value in pixels.items():
        numbers[int(at[1:])] = value
    return [*row[:-1], " ".join(numbers)]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda r: [*r[:-1], r[-1].rsplit(" ", 1)[0]], "line 3: column Image has 9215 pixels, expected 9216"),
        (lambda r: [*r[:-1], ""], "line 3: column Image has 0 pixels"),
        (lambda r: image_with(r, p99="256"), "line 3: column Image, pixel 100 is '256', expected .* 0 to 255"),
        (lambda r: image_with(r, p0="-1"), "line 3: column Image, pixel 1 is '-1'"),
        (lambda r: image_with(r, p9="1.5"), "line 3: column Image, pixel 10 is '1.5'"),
        (lambda r: image_with(r, p9215="1.5"), "line 3: column Image, pixel 9216 is '1.5'"),
        (lambda r: image_with(r, p9="ab"), "line 3: column Image, pixel 10 is 'ab'"),
        (lambda r: image_with(r, p9="9999"), "line 3: column Image, pixel 10 is '9999'"),
        (lambda r: [*r[:-1], r[-1].replace(" ", "\xa0", 1)], "line 3: column Image has 9215 pixels"),
        (lambda r: [*r[:-1], r[-1].replace(" ", "\x1c", 1)], "line 3: column Image has 9215 pixels"),
        (lambda r: changed(r, 1, "low"), "line 3: column left_eye_center_y is 'low', expected a number"),
        (lambda r: changed(r, 20, "inf"), "line 3: column nose_tip_x is 'inf', expected a finite number"),
        (lambda r: changed(r, 0, "5000"), "line 3: column left_eye_center_x is 5000, expected a pixel position"),
        (lambda r: r[:12], "line 3: 12 columns, expected 31"),
        (lambda r: [""], "line 3: empty, before the end"),
    ],
)
def test_bad_line_is_named_with_its_column(
    tmp_path: Path, rows: Rows, spoil: Callable[[list[str]], list[str]], message: str
) -> None:
    rows[1] = spoil(rows[1])
    with pytest.raises(DataError, match=message):
        read_training(write_rows(tmp_path / "training.csv", rows))


@pytest.mark.parametrize("change", [lambda row: row[:-1], lambda row: [*row[:-2], '"66,03"', row[-1]]])
def test_line_of_other_length_is_refused_wherever_the_image_stands(
    tmp_path: Path, rows: Rows, change: Callable[[list[str]], list[str]]
) -> None:
    turned = [[row[-1], *row[:-1]] for row in rows]
    turned[1] = change(turned[1])
    with pytest.raises(DataError, match=r"line 3: 3[02] columns, expected 31"):
        read_training(write_rows(tmp_path / "training.csv", turned, ("Image", *COLUMNS)))


def test_first_bad_line_is_named(tmp_path: Path, rows: Rows) -> None:
    rows[1], rows[2] = image_with(rows[1], p7="x"), [""]
    with pytest.raises(DataError, match="line 3: column Image, pixel 8 is 'x'"):
        read_training(write_rows(tmp_path / "training.csv", [*rows, rows[0]]))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"left_eye_center_x,Image\n", "no column left_eye_center_y, .* and 25 more"),
        ((",".join(COLUMNS) + "\n").encode(), "no column Image"),
        (",".join((*COLUMNS, "nose_tip_x", "Image")).encode(), "column nose_tip_x occurs 2 times; keep the right one"),
        (",".join(("Image", *COLUMNS, "Image")).encode(), "column Image occurs 2 times"),
        (gzip.compress(b"left_eye_center_x", mtime=0), "no text in UTF-8 .*; unpack it"),
        (",".join(COLUMNS).encode("utf-16"), "no text in UTF-8 .*; unpack it, or save it as UTF-8"),
        ((",".join((*COLUMNS, "Image")) + "\n").encode(), "no faces"),
        (b"\x89PNG\r\n\x1a\n" + bytes(500_000), "no text in UTF-8"),
        (b"x" * 500_000, "longer than"),
    ],
)
def test_file_that_is_no_training_csv_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "training.csv"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_training(path)


def test_text_named_zip_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "training.zip"
    path.write_text("not a zip")
    with pytest.raises(DataError, match="not a zip file"):
        read_training(path)


def test_truncated_zip_is_refused(tmp_path: Path, training: Path) -> None:
    path = zipped(tmp_path / "z" / "training.zip", training)
    path.write_bytes(path.read_bytes()[:-4000])
    with pytest.raises(DataError, match="incomplete"):
        read_training(path)


def test_zip_with_altered_bytes_is_refused(tmp_path: Path, training: Path) -> None:
    path = zipped(tmp_path / "z" / "training.zip", training)
    content = bytearray(path.read_bytes())
    content[5000:5040] = bytes(40)
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"damaged|line"):
        read_training(path)


def test_zip_without_the_csv_says_what_it_holds(tmp_path: Path, training: Path) -> None:
    path = zipped(tmp_path / "z" / "other.zip", training, names=["notes.txt"])
    with pytest.raises(DataError, match=r"holds no training.csv, only notes.txt"):
        read_training(path)


def test_absurdly_large_member_is_refused_unread(
    tmp_path: Path, training: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "MAX_CSV_BYTES", 1000)
    for path in (training, zipped(tmp_path / "z" / "training.zip", training)):
        with pytest.raises(DataError, match="expected at most 1,000"):
            read_training(path)


def test_names_in_a_zip_are_never_used_as_paths(tmp_path: Path, training: Path) -> None:
    path = zipped(tmp_path / "a" / "b" / "training.zip", training, names=["../../escaped/training.csv"])
    assert len(read_training(path).images) == 3
    assert not (tmp_path / "escaped").exists()


def test_missing_path_and_empty_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        read_training(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"neither training.csv nor a zip"):
        read_training(tmp_path / "empty")


def test_test_faces_come_with_their_ids(tmp_path: Path, rows: Rows) -> None:
    table = [[str(i), row[-1]] for i, row in zip((7, 3, 1783), rows, strict=True)]
    csv_path = write_rows(tmp_path / "test.csv", table, ("ImageId", "Image"))
    for path in (csv_path, zipped(tmp_path / "z" / "test.zip", csv_path), tmp_path):
        images, ids = read_test(path)
        assert images.shape == (3, 96, 96)
        assert ids.tolist() == [7, 3, 1783]


@pytest.mark.parametrize(
    ("ids", "message"), [(("1", "1.5", "2"), "line 3: ImageId is 1.5"), (("1", "1", "2"), "twice")]
)
def test_test_ids_must_be_whole_and_different(tmp_path: Path, rows: Rows, ids: tuple[str, ...], message: str) -> None:
    table = [[i, row[-1]] for i, row in zip(ids, rows, strict=True)]
    with pytest.raises(DataError, match=message):
        read_test(write_rows(tmp_path / "test.csv", table, ("ImageId", "Image")))


INDEX_HEADER = ("row", "kaggle_row", "duplicate_group", "scheme", "known_problem")


def test_index_has_the_last_word(tmp_path: Path, training: Path) -> None:
    entries = [["2", "6492", "1600", "C", ""], ["0", "1600", "1600", "B", ""], ["1", "2000", "2000", "A", "blurred"]]
    faces = read_training(training, index=write_rows(tmp_path / "index.csv", entries, INDEX_HEADER))
    assert [schemes.SCHEMES[s] for s in faces.scheme] == ["B", "A", "C"]
    assert faces.row.tolist() == [1600, 2000, 6492]
    assert faces.group.tolist() == [1600, 2000, 1600]
    assert faces.problem.tolist() == [False, True, True]
    assert 6492 in KNOWN_PROBLEMS


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([["0", "0", "0", "A", ""]], "1 rows, expected rows 0 to 2"),
        ([[str(i), str(i), str(i), "D", ""] for i in range(3)], "scheme is 'D', expected A, B, C"),
        ([[str(i), "x", str(i), "A", ""] for i in range(3)], "kaggle_row is 'x'"),
        ([[str(i), str(i), str(i), "C", ""] for i in range(3)], "row 0 is of scheme C, which has 4 points"),
    ],
)
def test_index_of_another_file_is_refused(tmp_path: Path, training: Path, entries: Rows, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_training(training, index=write_rows(tmp_path / "index.csv", entries, INDEX_HEADER))


def test_index_without_its_columns_is_refused(tmp_path: Path, training: Path) -> None:
    with pytest.raises(DataError, match="no column scheme, known_problem"):
        read_training(training, index=write_rows(tmp_path / "index.csv", [], INDEX_HEADER[:3]))


def test_whole_kaggle_file_is_recognised_and_takes_schemes_from_row_numbers() -> None:
    points = np.concatenate([np.tile(A_FACE, (2284, 1, 1)), np.tile(C_FACE, (7049 - 2284, 1, 1))])
    assert schemes.is_genuine(points)
    assert not schemes.is_genuine(points[1:])
    assert not schemes.is_genuine(points[::-1])
    found = schemes.of_genuine_rows(np.array([0, 1582, 1583, 2283, 2284, 7048]))
    assert [schemes.SCHEMES[s] for s in found] == ["A", "A", "B", "B", "C", "C"]


def test_order_of_rows_corrects_lips_that_mislead() -> None:
    smiling_b = face_points(lips=0.3)
    points = np.array([A_FACE] * 20 + [B_FACE] * 9 + [smiling_b] + [B_FACE] * 10 + [C_FACE] * 3)
    assert [schemes.SCHEMES[s] for s in schemes.inferred(points)] == ["A"] * 20 + ["B"] * 20 + ["C"] * 3


def test_without_order_each_row_is_judged_by_its_own_lips() -> None:
    points = np.array([A_FACE, B_FACE, C_FACE] * 10)
    assert [schemes.SCHEMES[s] for s in schemes.inferred(points)] == ["A", "B", "C"] * 10


def test_scheme_is_inferred_where_a_kind_is_absent() -> None:
    for face, name in ((A_FACE, "A"), (B_FACE, "B"), (C_FACE, "C")):
        assert [schemes.SCHEMES[s] for s in schemes.inferred(np.array([face] * 5))] == [name] * 5


def test_same_picture_is_grouped_whatever_its_compression(portrait: NDArray[np.uint8]) -> None:
    a, b, c, d = pictures(portrait, 4)
    compressed = cv2.imdecode(cv2.imencode(".jpg", b, [cv2.IMWRITE_JPEG_QUALITY, 75])[1], cv2.IMREAD_GRAYSCALE)
    assert not np.array_equal(compressed, b)
    assert duplicates.groups(np.array([a, b, c, compressed, d, a])).tolist() == [0, 1, 2, 1, 4, 0]


def test_shifted_or_mirrored_picture_is_another(portrait: NDArray[np.uint8]) -> None:
    gray = cv2.cvtColor(portrait, cv2.COLOR_BGR2GRAY)
    images = np.array([gray[60:156, 170:266], gray[60:156, 173:269], gray[60:156, 170:266][:, ::-1]])
    assert duplicates.groups(images).tolist() == [0, 1, 2]


def test_near_copies_are_found_however_they_are_cropped_and_exposed(portrait: NDArray[np.uint8]) -> None:
    """The portrait as taken, tighter and turned, brighter with more contrast, mirrored; noise that lies where its eyes
    do."""
    gray = cv2.cvtColor(portrait, cv2.COLOR_BGR2GRAY)
    face = Region(220, 130, 150, 0)
    keypoints = frame_from_unit(MEAN_SHAPE, face)
    regions = [face, Region(224, 127, 130, 0.15), Region(216, 131, 160, -0.05)]
    images = [cut(gray, [region])[0, 0] for region in regions]
    points = [crop_from_unit(unit_from_frame(keypoints, region)) for region in regions]
    images[2] = (images[2] * 0.6 + 90).astype(np.uint8)
    noise = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 255, (96, 96), np.uint8), (0, 0), 3)
    images += [images[0][:, ::-1], cv2.normalize(noise, None, 0, 255, cv2.NORM_MINMAX)]  # type: ignore[call-overload]
    points += [crop_from_unit(MEAN_SHAPE)] * 2
    assert duplicates.groups(np.array(images)).tolist() == [0, 1, 2, 3, 4]
    for others in ([0], [1], [2]):
        chosen = ~np.isin(np.arange(5), others)
        found = duplicates.have_near_copy(np.array(images), np.array(points, np.float32), chosen)
        assert np.flatnonzero(found).tolist() == [i for i in range(3) if i not in others]


def test_faces_without_labels_are_nobodys_near_copies() -> None:
    images = np.zeros((3, 96, 96), np.uint8)
    nothing = np.full((3, 15, 2), np.nan, np.float32)
    assert not duplicates.have_near_copy(images, nothing, np.array([True, True, False])).any()


def test_no_near_copy_of_a_judge_is_learned_from(tmp_path: Path) -> None:
    """Each row once more, brighter: exact copies lie in one group of the index, so these are in others."""
    lines = write_training_csv(tmp_path / "once.csv", "A" * 20).read_text().splitlines()
    brighter = [" ".join(str(min(255, int(x) + 9)) for x in line.split(",")[-1].split()) for line in lines[1:]]
    again = [",".join([*line.split(",")[:-1], image]) for line, image in zip(lines[1:], brighter, strict=True)]
    (tmp_path / "training.csv").write_text("\n".join([*lines, *again]))
    faces = read_training(tmp_path / "training.csv")
    drawn = hold_out(faces.group, faces.scheme)
    alone = [i for i in np.flatnonzero(drawn) if drawn[(i + 20) % 40]]
    assert drawn.sum() == 4
    assert np.flatnonzero(faces.held).tolist() == alone


def test_split_keeps_groups_together_and_schemes_even() -> None:
    random = np.random.default_rng(1)
    group = random.integers(0, 1500, 2000)
    scheme = (group % 10 > 2).astype(np.uint8) + (group % 10 > 4)
    held = hold_out(group, scheme, seed=3)
    assert not set(group[held]) & set(group[~held])
    for kind in range(3):
        assert held[scheme == kind].mean() == pytest.approx(0.1, abs=0.01)
    assert np.array_equal(held, hold_out(group, scheme, seed=3))
    assert not np.array_equal(held, hold_out(group, scheme, seed=4))
    assert set(folds(group, scheme, 5, seed=0)) == set(range(5))


@pytest.fixture
def faces68(tmp_path: Path, portrait: NDArray[np.uint8]) -> Path:
    """A folder in the faces68 layout: two faces, one landmark missing."""
    folder = tmp_path / "faces"
    folder.mkdir()
    cv2.imwrite(str(folder / "a.jpg"), portrait)
    cv2.imwrite(str(folder / "b.png"), portrait[:200, :300])
    landmarks = np.arange(136) / 2
    lines = [[name, *map(str, landmarks)] for name in ("a.jpg", "b.png")]
    lines[1][1 + 2 * 5] = ""
    write_rows(folder / "landmarks68.csv", lines, ("image", *(f"{axis}_{i}" for i in range(68) for axis in "xy")))
    return folder


def test_faces68_reads_alike_from_folder_and_zip(tmp_path: Path, faces68: Path) -> None:
    packed = zipped(tmp_path / "faces.zip", *faces68.iterdir(), names=[f"faces/{p.name}" for p in faces68.iterdir()])
    for path in (faces68, tmp_path, packed):
        crops = read_faces68(path)
        assert crops.names == ["a.jpg", "b.png"]
        assert [image.shape for image in crops.images] == [(512, 512), (200, 300)]
        assert crops.landmarks.shape == (2, 68, 2)
        assert crops.landmarks[0, 67].tolist() == [67.0, 67.5]
        assert np.isnan(crops.landmarks[1, 5, 0])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("b.png", "c.png", "c.png"),
        ("b.png", "../b.png", "without folders"),
        ("b.png", "landmarks68.csv", "is not an image"),
        ("67.5", "abc", "line 2: column y_67 is 'abc'"),
        ("67.5", "inf", "line 2: column y_67 is 'inf'"),
        ("y_67", "z_67", "no column y_67"),
        (",67.5", "", "line 2: 136 columns, expected 137 as in the header"),
    ],
)
def test_faulty_faces68_are_refused(tmp_path: Path, faces68: Path, old: str, new: str, message: str) -> None:
    table = faces68 / "landmarks68.csv"
    table.write_text(table.read_text().replace(old, new))
    packed = zipped(tmp_path / "faces.zip", *faces68.iterdir())
    for path in (faces68, packed):
        with pytest.raises(DataError, match=message):
            read_faces68(path)


def test_faces68_without_a_table_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"0 files landmarks68.csv"):
        read_faces68(tmp_path)
    with pytest.raises(DataError, match="does not exist"):
        read_faces68(tmp_path / "nowhere")
    (tmp_path / "x.zip").write_text("no zip")
    with pytest.raises(DataError, match="not an intact zip"):
        read_faces68(tmp_path / "x.zip")


def landmarks_of_face() -> NDArray[np.float64]:
    """(1, 68, 2): the mean face at (50, 50), 100 px wide with its crop; other landmarks anywhere."""
    points = np.random.default_rng(0).uniform(0, 96, (68, 2))
    face = 50 + 50 * MEAN_SHAPE
    for name, ibug in IBUG.items():
        points[ibug] = face[INDEX[name]]
    for name, (outer, *lids, inner) in {
        "left_eye": (45, 43, 44, 46, 47, 42),
        "right_eye": (36, 37, 38, 40, 41, 39),
    }.items():
        rest = 6 * face[INDEX[f"{name}_center"]] - points[outer] - points[inner]
        points[lids] = rest / 4 + [[-2, -1], [2, -1], [2, 1], [-2, 1]]
    return points[None]


def test_keypoints_from_68_follow_each_scheme() -> None:
    landmarks = landmarks_of_face()
    a, b, c = (keypoints_from_68(landmarks, s)[0] for s in "ABC")
    expected = landmarks[0].astype(np.float32)
    iod = 100 / SIDE_IOD
    assert a[INDEX["left_eye_center"]] == pytest.approx(50 + 50 * MEAN_SHAPE[INDEX["left_eye_center"]])
    assert a[INDEX["left_eye_inner_corner"]] == pytest.approx(expected[42] + [0.02 * iod, 0], abs=0.01)
    assert a[INDEX["right_eye_inner_corner"]] == pytest.approx(expected[39] - [0.02 * iod, 0], abs=0.01)
    assert a[INDEX["right_eyebrow_inner_end"]] == pytest.approx(expected[21] + [-0.04 * iod, 0.05 * iod], abs=0.01)
    assert np.array_equal(a[INDEX["nose_tip"]], expected[30])
    assert np.array_equal(c[INDEX["nose_tip"]], expected[33])
    assert np.array_equal(a[INDEX["mouth_center_top_lip"]], expected[51])
    assert np.array_equal(b[INDEX["mouth_center_top_lip"]], expected[62])
    assert np.array_equal(b[INDEX["mouth_center_bottom_lip"]], expected[66])
    assert [KEYPOINTS[i] for i in np.flatnonzero(~np.isnan(c[:, 0]))] == list(schemes.C_KEYPOINTS)


def test_corrections_turn_and_grow_with_the_face() -> None:
    landmarks = landmarks_of_face()
    turn = 3 * np.array([[np.cos(0.5), np.sin(0.5)], [-np.sin(0.5), np.cos(0.5)]])
    turned = keypoints_from_68(landmarks @ turn + [7, -5])
    assert turned == pytest.approx(keypoints_from_68(landmarks) @ turn + [7, -5], abs=1e-3)


def test_corrections_keep_their_direction_in_profile() -> None:
    """The eyes of a profile coincide or have changed sides, so the line between them tells nothing."""
    landmarks = (landmarks_of_face() - 50) * [-0.1, 1] + 50
    points = keypoints_from_68(landmarks)[0]
    lowered = points[INDEX["left_eyebrow_inner_end"]] - landmarks[0, 22]
    assert lowered == pytest.approx(np.array([0.04, 0.05]) * 100 / SIDE_IOD, rel=0.1)


def test_missing_landmark_leaves_only_its_keypoint_missing() -> None:
    landmarks = landmarks_of_face()
    landmarks[0, 30] = np.nan
    missing = np.isnan(keypoints_from_68(landmarks)[0]).any(1)
    assert [KEYPOINTS[i] for i in np.flatnonzero(missing)] == ["nose_tip"]


@pytest.mark.slow
def test_given_training_file_is_understood_without_its_index(shared: Path) -> None:
    kaggle = shared / "data" / "kaggle"
    told = read_training(kaggle / "training.zip", index=kaggle / "training_index.csv")
    found = read_training(kaggle)
    assert np.mean(found.scheme == told.scheme) > 0.999
    shuffled = np.random.default_rng(0).permutation(len(told.points))
    assert np.mean(schemes.inferred(told.points[shuffled]) == told.scheme[shuffled]) > 0.98
    assert told.problem.sum() == 9
    together = {tuple(np.flatnonzero(told.group == g)) for g in told.group[1000:1200]}
    assert together <= {tuple(np.flatnonzero(found.group == g)) for g in np.unique(found.group[1000:1200])}
    with (kaggle / "training_index.csv").open() as file:
        assert len(list(csv.DictReader(file))) == len(told.images) == len(np.unique(told.row))
    assert np.nanmin(told.points) > 0
    assert np.nanmax(told.points) < 96


def test_given_faces68_are_read_and_mapped_onto_the_face(shared: Path) -> None:
    crops = read_faces68(shared / "data" / "faces68" / "afw.zip")
    points = keypoints_from_68(crops.landmarks)
    assert len(crops.images) == len(crops.names) == len(points) == 337
    assert not np.isnan(points).any()
    order = [INDEX[n] for n in ("left_eyebrow_inner_end", "left_eye_center", "nose_tip", "mouth_center_bottom_lip")]
    assert (np.diff(np.median(points[:, order, 1], 0)) > 0).all()
