"""Real inputs that every test may ask for: a face, films written by a real encoder, the clips when they are at hand."""

import math
import os
import shutil
import signal
import struct
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

import tracker
from tracker.geometry import MEAN_SHAPE, Framing, cut, frame_from_unit, unit_from_frame
from tracker.sources.synthetic import astronaut
from tracker.spec import COLUMNS, INDEX, SIZE, crop_from_unit
from tracker.types import Region
from train.data.schemes import C_KEYPOINTS

if TYPE_CHECKING:
    import av  # imported where a film is written: tests/gpu runs without

Image = NDArray[np.uint8]

LEARNS = find_spec("torch") is not None
collect_ignore_glob = [] if LEARNS else ["test_train_*.py", "test_tensorrt_build.py"]

# Started in the background by a shell, this process and all its children would ignore the Ctrl-C that many tests send.
signal.signal(signal.SIGINT, signal.default_int_handler)

SHARED = Path(__file__).resolve().parents[2] / "shared"
KERNELS = Path(tracker.__file__).parent / "backends" / "tensorrt"
CLOCK = 60_000
"""Ticks per second of written films: divides by every common rate, and MPEG-4 takes no finer one."""
AUDIO_RATE = 44_100

MOST_WORKERS = 4
"""Processes that the whole suite is divided among; each takes some 500 MB."""


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Divide the whole suite among processes, if pytest-xdist is installed and no `-n` says otherwise; single files run
    in one process, where they start sooner.
    """
    whole = config.args_source != pytest.Config.ArgsSource.ARGS
    debugging = config.option.usepdb or config.option.collectonly
    inside = "PYTEST_XDIST_WORKER" in os.environ  # a worker must not start workers of its own, without end
    if whole and not inside and not debugging and getattr(config.option, "numprocesses", 0) is None:
        config.option.numprocesses = min(MOST_WORKERS, os.cpu_count() or 1)
        config.option.dist = "worksteal"


def pytest_report_header(config: pytest.Config) -> str:
    """What to expect of the time, and what is not tested."""
    untested = "" if LEARNS else "; training is NOT tested: that needs pip install '.[test-all]'"
    if "not slow" in config.option.markexpr:
        return f"fkp: without the slow tests, 1 to 2 minutes on two quiet cores{untested}"
    minutes = "5 to 6" if LEARNS else "3 to 4"
    return f'fkp: the suite takes {minutes} minutes on two quiet cores; pytest -m "not slow" takes 1 to 2{untested}'


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what takes a GPU or many minutes, unless -m names it."""
    special = [name for name in ("gpu", "long") if name not in config.option.markexpr]
    left_out = [item for item in items if any(item.get_closest_marker(name) for name in special)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in set(left_out)]


@pytest.fixture
def portrait() -> Image:
    """A frontal face, public domain (NASA's portrait of Eileen Collins): (512, 512, 3) uint8 BGR, yours to change."""
    from skimage.data import astronaut

    return np.ascontiguousarray(astronaut()[..., ::-1])


@pytest.fixture(scope="session")
def dead() -> int:
    """The number of a process that has ended."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        return process.pid


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a module's inputs lie."""
    return tmp_path_factory.mktemp("inputs")


def drifting(frames: int) -> Iterator[Image]:
    """The portrait at half size, 256x256 BGR, moving 1 px to the right every 10 frames."""
    import cv2
    from skimage.data import astronaut

    small = cv2.resize(astronaut()[..., ::-1], (256, 256), interpolation=cv2.INTER_AREA)
    return (np.roll(small, index // 10, axis=1) for index in range(frames))


@pytest.fixture(scope="session")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A second of a face that drifts, 25 frames with sound."""
    return write_film(tmp_path_factory.mktemp("films") / "face.mp4", drifting(25), rate=25, audio=True)


@pytest.fixture(scope="session")
def long_film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A film of 1500 such frames, which takes seconds to track."""
    return write_film(tmp_path_factory.mktemp("films") / "long.mp4", drifting(1500), rate=25, audio=True)


@pytest.fixture
def shared() -> Path:
    """The folder with clips and data beside the repository; the test is skipped where it is absent."""
    if not SHARED.is_dir():
        pytest.skip(f"needs the clips and data in {SHARED}")
    return SHARED


class LabelledCrops(NamedTuple):
    """Crops of one face whose keypoints are known."""

    images: Image
    """(N, 96, 96) gray."""
    points: NDArray[np.float64]
    """(N, 15, 2) crop px."""


@pytest.fixture(scope="session")
def make_faces() -> Callable[..., LabelledCrops]:
    """The function `cut_faces`, so that tests need no import."""
    return cut_faces


def cut_faces(count: int, *, size: int = SIZE, seed: int = 0) -> LabelledCrops:
    """The portrait in Kaggle's framing, `count` times, each moved, turned and scaled differently.

    Its keypoints are those of the mean face, which fits it well enough to learn from.  On canvases of `size` > 96 the
    nominal crop lies in the middle, and points count from that crop's corner.
    """
    portrait, random = astronaut(), np.random.default_rng(seed)
    face = Framing(MEAN_SHAPE[:2], [1, 1])(np.array([portrait.left_eye, portrait.right_eye]))
    points = frame_from_unit(MEAN_SHAPE, face)
    images, labels = [], []
    for across, down, turn, grow in random.normal(size=(count, 4)).clip(-2, 2):
        region = Region(
            face.x + 5 * across, face.y + 5 * down, face.side * math.exp(0.08 * grow), face.roll + 0.1 * turn
        )
        canvas = Region(region.x, region.y, region.side * size / SIZE, region.roll)
        images.append(cut(portrait.image, [canvas], size)[0, 0])
        labels.append(crop_from_unit(unit_from_frame(points, region)))
    return LabelledCrops(np.array(images), np.array(labels))


@pytest.fixture(scope="session")
def make_training_csv() -> Callable[..., Path]:
    """The function `write_training_csv`, so that tests need no import."""
    return write_training_csv


def write_training_csv(path: Path, schemes: str) -> Path:
    """Kaggle's training.csv with the portrait, a row per letter: lips apart in A, together in B, four points in C.

    Clouds, different in each row, keep the rows from being copies of each other.
    """
    import cv2

    random = np.random.default_rng(len(schemes))
    c_columns = [f"{name}_{axis}" for name in C_KEYPOINTS for axis in "xy"]
    lines = [",".join([*COLUMNS, "Image"])]
    for image, face, scheme in zip(*cut_faces(len(schemes)), schemes, strict=True):
        if scheme == "B":
            face[INDEX["mouth_center_top_lip"]] = face[INDEX["mouth_center_bottom_lip"]] - [0, 1]
        cloud = cv2.resize(random.normal(0, 20, (8, 8)), image.shape, interpolation=cv2.INTER_CUBIC)
        clouded = (image + cloud).clip(0, 255).astype(np.uint8)
        labels = dict(zip(COLUMNS, face.reshape(-1), strict=True))
        known = [f"{x:.3f}" if scheme != "C" or name in c_columns else "" for name, x in labels.items()]
        lines.append(",".join([*known, " ".join(map(str, clouded.reshape(-1)))]))
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="session")
def make_film() -> Callable[..., Path]:
    """The function `write_film`, so that tests need no import."""
    return write_film


def write_film(
    path: Path,
    frames: Iterable[Image],
    *,
    rate: Fraction | int = 30,
    times: Sequence[float] | None = None,
    audio: bool = False,
    rotation: int = 0,
    mirror: bool = False,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    options: dict[str, str] | None = None,
) -> Path:
    """Encode BGR `frames` (H, W, 3) uint8 to `path`, whose suffix picks the container; returns `path`.

    `times`, s, are the presentation times where they are not `index / rate`.  `audio` adds a 440 Hz tone in AAC, as
    long as the picture.  A player turns the picture by `rotation` degrees CLOCKWISE (0, 90, 180, 270), after mirroring
    it left to right when `mirror`; both are written as a phone does, in the track header, so mp4 and mov only.
    """
    import av

    end = 0.0
    with av.open(str(path), "w") as container:
        video = container.add_stream(codec, rate=Fraction(rate), options=options or _fast_options(codec))
        video.pix_fmt = pix_fmt
        video.codec_context.time_base = Fraction(1, CLOCK)
        tone = container.add_stream("aac", rate=AUDIO_RATE, layout="mono") if audio else None
        for index, image in enumerate(frames):
            if index == 0:
                video.height, video.width = image.shape[:2]
            start = index / rate if times is None else times[index]
            frame = av.VideoFrame.from_ndarray(image, format="bgr24")
            frame.time_base, frame.pts = Fraction(1, CLOCK), round(start * CLOCK)
            container.mux(video.encode(frame))
            end = float(start) + float(1 / Fraction(rate))
        container.mux(video.encode(None))
        if tone is not None:
            _write_tone(container, tone, end)
    if rotation or mirror:
        _write_display_matrix(path, rotation, mirror)
    return path


def _fast_options(codec: str) -> dict[str, str]:
    return {"preset": "ultrafast"} if codec in ("libx264", "libx265") else {}


def _write_tone(container: "av.container.OutputContainer", stream: "av.AudioStream", seconds: float) -> None:
    import av

    samples = np.arange(math.ceil(seconds * AUDIO_RATE))
    wave = (0.2 * np.sin(2 * np.pi * 440 * samples / AUDIO_RATE)).astype(np.float32)
    for start in range(0, len(wave), 1024):
        frame = av.AudioFrame.from_ndarray(wave[None, start : start + 1024], format="fltp", layout="mono")
        frame.sample_rate, frame.time_base, frame.pts = AUDIO_RATE, Fraction(1, AUDIO_RATE), start
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def _write_display_matrix(path: Path, rotation: int, mirror: bool) -> None:
    """Overwrite the matrix in the first track header (ISO 14496-12, 8.3.2); older PyAV cannot set it."""
    radians = math.radians(rotation)
    cos, sin = round(math.cos(radians)), round(math.sin(radians))
    across = -1 if mirror else 1
    rows = [(cos * across, sin * across, 0), (-sin, cos, 0), (0, 0, 1)]
    matrix = [value << (30 if column == 2 else 16) for row in rows for column, value in enumerate(row)]
    content = bytearray(path.read_bytes())
    header = content.index(b"tkhd") + 4
    wide = content[header] == 1  # version 1 has 64-bit times
    struct.pack_into(">9i", content, header + (52 if wide else 40), *matrix)
    path.write_bytes(content)


@pytest.fixture(scope="session")
def stand_in_driver(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Puts tests/standin/libcuda.cpp, a driver for machines without a GPU, into a folder for LD_LIBRARY_PATH.

    A process that has loaded it by its path finds it by its name, too.
    INIT, VERSION, COUNT, MAJOR and MINOR are what it answers, by default that all is in order.
    """
    compiler = shutil.which("g++")
    if compiler is None or sys.platform != "linux":
        pytest.skip("needs g++ on Linux")
    library = tmp_path_factory.mktemp("driver") / "libcuda.so.1"
    command = [compiler, "-O1", "-std=c++17", "-ffp-contract=off", "-shared", "-fPIC", f"-I{KERNELS}"]
    source = Path(__file__).with_name("standin") / "libcuda.cpp"
    subprocess.run([*command, f"-Wl,-soname,{library.name}", "-o", library, source, "-ldl"], check=True)

    def answering(**answers: int) -> Path:
        folder = tmp_path_factory.mktemp("driver")
        shutil.copy(library, folder)
        said = {"INIT": 0, "VERSION": 13000, "COUNT": 1, "MAJOR": 8, "MINOR": 9} | answers
        (folder / f"{library.name}.answers").write_text(" ".join(map(str, said.values())))
        return folder

    return answering
