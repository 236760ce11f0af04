"""Sources that would hang a run, fill the memory, or read what nobody named."""

import os
import struct
import subprocess
import sys
import zlib
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from films import write_film
from numpy.typing import NDArray
from programs import FKP_TRACK, fkp_track, headless

from tracker.errors import SourceError
from tracker.sources.film import open_film

GRAY = np.full((64, 64, 3), 90, np.uint8)

posix = pytest.mark.skipif(sys.platform == "win32", reason="needs pipes that are files")


@posix
def test_a_pipe_called_a_picture_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    done = fkp_track("pipe.png", "--keypoints", "x.csv", cwd=tmp_path)
    assert done.returncode == 3
    assert "a pipe or a device, not a file" in done.stderr


@pytest.mark.slow
@posix
def test_pipes_among_films_and_pictures_are_left_out(portrait: NDArray[np.uint8], tmp_path: Path) -> None:
    import cv2

    for folder, name in (("films", "pipe.mp4"), ("photos", "pipe.png")):
        (tmp_path / folder).mkdir()
        os.mkfifo(tmp_path / folder / name)
    write_film(tmp_path / "films" / "a.mp4", [GRAY] * 3)
    cv2.imwrite(str(tmp_path / "photos" / "a.png"), portrait)
    for folder, made in (("films", "points"), ("photos", "x.csv")):
        done = fkp_track(folder, "--keypoints", made, cwd=tmp_path)
        assert done.returncode == 0, done.stderr


@pytest.mark.slow
@posix
def test_a_film_through_a_pipe_is_annotated_without_its_sound(tmp_path: Path) -> None:
    film = write_film(tmp_path / "in.mkv", [GRAY] * 10, audio=True)
    os.mkfifo(tmp_path / "pipe.mkv")
    with subprocess.Popen(["sh", "-c", f"cat '{film}' > '{tmp_path / 'pipe.mkv'}'"]) as writer:
        done = fkp_track("pipe.mkv", "--out", "out.mp4", cwd=tmp_path)
        writer.kill()
    assert done.returncode == 0, done.stderr
    assert "out.mp4 gets its picture without sound" in done.stderr
    with open_film(tmp_path / "out.mp4") as made:
        assert len(list(made)) == 10


def claiming(width: int, height: int) -> bytes:
    """A PNG of a few hundred bytes that claims this size."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(10**5))) + chunk(b"IEND", b"")
    )


TELLS_ITS_PEAK = """
from fractions import Fraction
from pathlib import Path
from tracker.commands.track import main
try:
    main()
finally:
    print(next(line for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line).split()[1])
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak of memory in /proc")
def test_a_picture_that_claims_gigabytes_is_skipped_by_its_size(tmp_path: Path) -> None:
    (tmp_path / "bomb.png").write_bytes(claiming(30_000, 30_000))
    command = [sys.executable, "-c", TELLS_ITS_PEAK, "bomb.png", "--keypoints", "x.csv"]
    done = subprocess.run(command, cwd=tmp_path, env=headless(), capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert "more pixels than OPENCV_IO_MAX_IMAGE_PIXELS allows (200 million" in done.stderr
    assert int(done.stdout) < 500_000  # kB


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak of memory in /proc")
@pytest.mark.parametrize("header", [64, 30_000])
def test_a_film_that_claims_gigabytes_is_refused(tmp_path: Path, header: int) -> None:
    bomb = tmp_path / "bomb.mov"
    with av.open(str(bomb), "w") as film:
        stream = film.add_stream("png", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "rgb24"
        film.start_encoding()
        packet = av.Packet(claiming(30_000, 30_000))
        packet.stream, packet.pts, packet.dts, packet.time_base = stream, 0, 0, Fraction(1, 25)
        film.mux(packet)
    bomb.write_bytes(bomb.read_bytes().replace(struct.pack(">HH", 64, 64), struct.pack(">HH", header, header)))
    command = [sys.executable, "-c", TELLS_ITS_PEAK, "bomb.mov", "--keypoints", "x.csv"]
    done = subprocess.run(command, cwd=tmp_path, env=headless(), capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert "more pixels than OPENCV_IO_MAX_IMAGE_PIXELS allows (200 million" in done.stderr
    assert int(done.stdout) < 500_000  # kB


@pytest.mark.parametrize(
    "playlist",
    [
        "ffconcat version 1.0\nfile secret.mp4\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:8\n#EXTINF:8,\nsecret.mp4\n#EXT-X-ENDLIST\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:8\n#EXTINF:8,\nhttp://192.0.2.1/secret.ts\n#EXT-X-ENDLIST\n",
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n",
        '<MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><Period><BaseURL>secret.mp4</BaseURL></Period></MPD>',
    ],
    ids=["concat", "hls", "hls over http", "sdp", "dash"],
)
@pytest.mark.parametrize("suffix", [".mp4", ".m3u8"])
def test_a_list_of_films_opens_none_of_them(playlist: str, suffix: str, tmp_path: Path) -> None:
    write_film(tmp_path / "secret.mp4", [GRAY] * 3)
    (tmp_path / f"list{suffix}").write_text(playlist)
    with pytest.raises(SourceError, match=r"list of films|no film format|cannot be read"):
        open_film(tmp_path / f"list{suffix}")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_names_that_are_not_utf_8_are_no_obstacle_to_rerun(tmp_path: Path) -> None:
    pytest.importorskip("rerun", reason="needs the extra rerun")
    odd = os.fsdecode(b"caf\xe9")
    write_film(tmp_path / "in.mp4", [GRAY] * 3).rename(tmp_path / f"{odd}.mp4")
    (tmp_path / odd).mkdir()
    for made, code in ((f"{odd}.rrd", 0), (f"{odd}/x.rrd", 6)):
        command = [*FKP_TRACK, f"{odd}.mp4", "--rerun", made]
        done = subprocess.run(command, cwd=tmp_path, env=headless(), capture_output=True, check=False)
        assert done.returncode == code, done.stderr
    assert b"not UTF-8; choose another one" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == [odd, f"{odd}.mp4", f"{odd}.rrd"]
    assert list((tmp_path / odd).iterdir()) == []
