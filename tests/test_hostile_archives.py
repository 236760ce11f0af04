"""Archives and folders that were made to fill the memory, to hang a reader or to reach other files."""

import os
import struct
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from tracker.errors import DataError

pytest.importorskip("pandas")

from train.data.faces68 import read_faces68
from train.data.kaggle import read_training

COLUMNS = ["image", *(f"{axis}_{i}" for i in range(68) for axis in "xy")]
FACE = "a.pgm," + ",".join(map(str, range(136)))
PICTURE = b"P5 136 136 255\n" + bytes(136 * 136)


def packed(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, content in members.items():
            archive.writestr(name.replace("_", "."), content)
    return path


def table(*faces: str) -> bytes:
    return "\n".join([",".join(COLUMNS), *faces, ""]).encode()


def read(path: Path) -> object:
    return read_faces68(path) if "faces" in path.name else read_training(path)


BOMB = bytes(1 << 26)


@pytest.mark.parametrize("members", [{"training_csv": BOMB}, {"training_zip": BOMB}, {"a_pgm": BOMB}])
def test_a_zip_that_declares_a_small_size_gets_no_further_than_that(members: dict[str, bytes], tmp_path: Path) -> None:
    others = {"landmarks68_csv": table(FACE)} if "a_pgm" in members else {}
    path = packed(tmp_path / ("faces.zip" if others else "download.zip"), **members, **others)
    path.write_bytes(path.read_bytes().replace(struct.pack("<I", len(BOMB)), struct.pack("<I", 1000)))
    tracemalloc.start()
    with pytest.raises(DataError, match=r"Bad CRC-32"):
        read(path)
    assert tracemalloc.get_traced_memory()[1] < len(BOMB) // 4
    tracemalloc.stop()


@pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compression_that_cannot_be_unpacked_in_part_is_refused(compression: int, tmp_path: Path) -> None:
    path = tmp_path / "training.zip"
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("training.csv", BOMB)
    with pytest.raises(DataError, match=r"training.csv is not compressed by deflate\); unpack it yourself"):
        read_training(path)


def test_a_name_that_is_not_what_it_claims_is_one_message(tmp_path: Path) -> None:
    path = packed(tmp_path / "download.zip", ü=b"")
    path.write_bytes(path.read_bytes().replace("ü".encode(), b"\xff\xff"))
    with pytest.raises(DataError, match="damaged"):
        read_training(path)
    with pytest.raises(DataError, match="contains neither"):
        read_training(tmp_path)


def png_that_claims(side: int) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(99))) + chunk(b"IEND", b"")
    )


def test_a_picture_of_faces_that_claims_gigabytes_is_one_message(tmp_path: Path) -> None:
    path = packed(tmp_path / "faces.zip", landmarks68_csv=table(FACE), a_pgm=png_that_claims(30_000))
    with pytest.raises(DataError, match=r"a.pgm: it has more pixels than"):
        read_faces68(path)


def test_a_thousand_faces_in_one_picture_need_its_memory_once(tmp_path: Path) -> None:
    crops = read_faces68(packed(tmp_path / "faces.zip", landmarks68_csv=table(*[FACE] * 1000), a_pgm=PICTURE))
    assert len(crops.images) == 1000
    assert len({image.ctypes.data for image in crops.images}) == 1


@pytest.mark.skipif(os.name == "nt", reason="POSIX only")
@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")], ids=["pipe", "endless device"])
def test_what_is_no_file_is_not_read(make: Callable[[Path], None], tmp_path: Path) -> None:
    (tmp_path / "landmarks68.csv").write_bytes(table(FACE))
    make(tmp_path / "a.pgm")
    with pytest.raises(DataError, match="there is no such file"):
        read_faces68(tmp_path)
    make(tmp_path / "training.csv")
    with pytest.raises(DataError, match="contains neither"):
        read_training(tmp_path)


@pytest.mark.parametrize("number", ["1e38", "-1e300"])
def test_landmarks_outside_any_picture_are_refused(number: str, tmp_path: Path) -> None:
    path = packed(tmp_path / "faces.zip", landmarks68_csv=table(FACE.replace("135", number)), a_pgm=PICTURE)
    with pytest.raises(DataError, match=rf"line 2: column y_67 is '{number}'"):
        read_faces68(path)
