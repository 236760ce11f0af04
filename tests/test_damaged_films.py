"""Films with wrong bits, or cut off: each is tracked as far as it goes or refused in one message.

Nothing may crash, hang or end in another error.  Run as a program this file damages one film again and again in one
process, where a watchdog ends what hangs: `python tests/test_damaged_films.py FILM FIRST COUNT`.
`pytest -m long tests/test_damaged_films.py` takes 200 damages of each film.
"""

import faulthandler
import itertools
import logging
import re
import sys
from collections.abc import Iterator
from fractions import Fraction
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any, NamedTuple

import av
import cv2
import numpy as np
import pytest
from films import write_part
from numpy.typing import NDArray
from programs import run_code

from tracker.app.progress import Tally
from tracker.app.run import run
from tracker.errors import FkpError
from tracker.options import Options
from tracker.sources.film import open_film
from tracker.sources.timeline import Reader, Timeline

FRAMES, RATE, SOUND_RATE = 12, 12, 48_000
LONGEST_S = 300
"""What one damaged film may take before it counts as hanging, on a busy machine; a whole one takes 0.3 s."""


class Film(NamedTuple):
    """How a film is coded; its container is that of its suffix."""

    picture: str
    sound: str
    pix_fmt: str = "yuv420p"


FILMS = {
    "a.mp4": Film("libx264", "aac"),
    "b.mkv": Film("mpeg4", "libopus"),
    "c.avi": Film("mjpeg", "pcm_s16le", "yuvj420p"),
    "d.ts": Film("libx264", "aac"),
    "e.wmv": Film("wmv2", "wmav2"),
}


FIRST = {"b.mkv": 104, "c.avi": 8, "e.wmv": 84}
"""Where a short test begins: from there on lie damages that once ended in another error."""


@pytest.mark.slow
@pytest.mark.parametrize("count", [6, pytest.param(200, marks=pytest.mark.long)])
@pytest.mark.parametrize("name", FILMS)
def test_a_damaged_film_is_tracked_as_far_as_it_goes_or_refused(
    name: str, count: int, folder: Path, portrait: NDArray[np.uint8]
) -> None:
    path = folder / name
    if not path.exists():
        write_film(path, FILMS[name], portrait)
    first = FIRST.get(name, 0) if count < 200 else 0
    code = f"import runpy, warnings; warnings.simplefilter('error'); runpy.run_path({__file__!r}, run_name='__main__')"
    done = run_code(code, "damage", path, str(first), str(count), timeout=count * LONGEST_S + 60)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    told = done.stdout.splitlines()
    assert len(told) == count + 1
    assert told[0].startswith(f"whole: {FRAMES} frames, 1 face")


def test_a_damaged_index_costs_only_what_lies_behind_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    whole = write_part(tmp_path / "a.avi", picture="mpeg4", sound="libmp3lame")
    calls: list[Any] = []

    def broken(film: Any, *streams: Any) -> Iterator[Any]:
        calls.append(streams)
        yield from itertools.islice(film.demux(), 30 if len(calls) == 1 else 0)
        raise av.MemoryError(12, "Cannot allocate memory", "a.avi")

    container = SimpleNamespace(name="file:a.avi", demux=partial(broken, av.open(str(whole))))
    reader = Reader(container, [0, 1], Timeline("a.avi", 0.0, breaks=False, told=0))
    assert len(list(reader)) == 30
    assert (reader.gave_up, reader.skipped) == (True, 1)
    assert re.search(r"a\.avi: damaged from \d\.\d\d s on", caplog.text)
    assert "disk" not in caplog.text


@pytest.mark.parametrize(("name", "picture", "sound"), [("in.mkv", "libx264", "aac"), ("in.avi", "mpeg4", "mp2")])
def test_a_film_that_ends_before_its_header_says_is_told_as_cut_off(
    tmp_path: Path, name: str, picture: str, sound: str, caplog: pytest.LogCaptureFixture
) -> None:
    film = write_part(tmp_path / name, picture=picture, sound=sound, seconds=4)
    with open_film(film) as whole:
        count = sum(1 for _ in whole)
    assert "header says" not in caplog.text
    film.write_bytes(film.read_bytes()[: film.stat().st_size * 6 // 10])
    with open_film(film) as cut:
        assert 0 < sum(1 for _ in cut) < 0.8 * count
    assert "but its header says 4.0 s; if it is cut off, get a complete copy" in caplog.text


def test_the_case_of_a_damaged_index_gives_every_frame_before_it(shared: Path) -> None:
    with open_film(shared / "cases" / "films" / "damaged_index.avi") as film:
        assert len(list(film)) == 35


def write_film(path: Path, film: Film, portrait: NDArray[np.uint8]) -> None:
    """A second of a face that drifts, with a tone."""
    face = cv2.resize(portrait, (128, 128), interpolation=cv2.INTER_AREA)[:96]
    tone = (0.2 * np.sin(np.arange(FRAMES * SOUND_RATE // RATE) * 0.09)).astype(np.float32)
    with av.open(str(path), "w") as container:
        picture = container.add_stream(film.picture, rate=RATE, options={"g": "4"})
        picture.width, picture.height, picture.pix_fmt = 128, 96, film.pix_fmt
        sound = container.add_stream(film.sound, rate=SOUND_RATE, layout="mono")
        sound.bit_rate = 64_000
        for index in range(FRAMES):
            container.mux(picture.encode(av.VideoFrame.from_ndarray(np.roll(face, index, axis=1), format="bgr24")))
        container.mux(picture.encode(None))
        to_encoder = av.AudioResampler(format=sound.codec_context.format, layout="mono", rate=SOUND_RATE)
        for start in range(0, len(tone), 1024):
            samples = av.AudioFrame.from_ndarray(tone[None, start : start + 1024], format="fltp", layout="mono")
            samples.sample_rate, samples.time_base, samples.pts = SOUND_RATE, Fraction(1, SOUND_RATE), start
            for ready in to_encoder.resample(samples):
                container.mux(sound.encode(ready))
        container.mux(sound.encode(None))


def damaged(whole: bytes, seed: int) -> bytes:
    """One to eight wrong bits, in the first kilobyte every other time; every fourth film is cut off too."""
    random = np.random.default_rng(seed)
    content = bytearray(whole)
    reach = min(len(content), 1024) if seed % 2 else len(content)
    for at in random.integers(0, reach, size=1 + seed % 8):
        content[at] ^= 1 << random.integers(8)
    return bytes(content[: random.integers(len(content))] if seed % 4 == 0 else content)


def track_damaged(whole: Path, first: int, count: int) -> None:
    """Track the film and its damaged copies into a film and a keypoint file, telling of each; a hang ends it."""
    content = whole.read_bytes()
    with TemporaryDirectory() as folder:
        path = Path(folder, whole.name)
        for seed in [None, *range(first, first + count)]:
            print("whole" if seed is None else seed, end=": ", flush=True)
            path.write_bytes(content if seed is None else damaged(content, seed))
            faulthandler.dump_traceback_later(LONGEST_S, exit=True)
            print(outcome(path), flush=True)
            faulthandler.cancel_dump_traceback_later()


def outcome(path: Path) -> str:
    """What became of one film."""
    out, keypoints = path.with_name("out.mp4"), path.with_name("out.jsonl")
    tally = Tally()
    try:
        run(Options(source=path, out=out, keypoints=(keypoints,), overwrite=True, backend="cpu"), tally, bar=False)
    except FkpError as error:
        return f"{type(error).__name__}: {error}"
    with open_film(out) as film:
        assert len(list(film)) == tally.frames
    return str(tally)


if __name__ == "__main__":
    faulthandler.enable()
    logging.basicConfig(level=logging.CRITICAL)
    track_damaged(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
