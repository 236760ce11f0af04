"""`fkp-bench`: how fast and how heavy the tracker is on this machine.

Frames are read into memory once and go through the stages in one thread, so that reading does not disturb the timing.
`fkp-track` then tracks the film in separate processes, as a user would run it; this gives start-up, memory and film
rate.  Every latency is a percentile in ms without the warm-up.  Processor time is reported too, because it stays the
same on a busy machine.

`fkp-bench --steadiness` measures the quality of the keypoints instead; see `tracker.bench.steadiness`.
"""

import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from time import perf_counter, process_time
from typing import Any, cast

import av
import cv2
import numpy as np
import onnxruntime as ort
from rich.console import Console
from rich.table import Table

from tracker.app.follow import open_detector_for, stages_of
from tracker.app.progress import FIRST_KEYPOINTS
from tracker.backends.choice import open_backend
from tracker.backends.contract import Backend
from tracker.backends.weights import load
from tracker.bench.mediapipe_baseline import Peer, followed_by_peer, open_peer
from tracker.bench.peers import PeerName
from tracker.bench.steadiness import Follow, Steadiness, follower, measure_film, portrait_of, record_paths
from tracker.bench.steadiness import measure as measure_paths
from tracker.bench.steadiness import steadiness as steadiness_of
from tracker.core.landmarks import Locate
from tracker.core.loop import Identify, track
from tracker.core.schedule import Schedule
from tracker.core.smoothing import PoseAndShape
from tracker.detectors.registry import open_detector
from tracker.drawing.draw import draw
from tracker.errors import FkpError, SourceError
from tracker.options import Options
from tracker.sinks.film import open_video
from tracker.sources.contract import SourceInfo
from tracker.sources.registry import open_source
from tracker.sources.synthetic import Portrait, astronaut
from tracker.support.timing import WARM_UP, Percentiles, Timed, percentiles_ms
from tracker.types import Frame, Tracked

FRAMES_BYTES = 512 * 2**20
"""Limit of the frames in memory: 580 of 640x480, 194 of 1280x720."""
PROCESSES = 3
"""Runs of `fkp-track`; their median counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What is measured."""

    source: Path | None
    """A film or folder; None for the demo's synthetic camera."""
    frames: int
    options: Options
    """How the tracker runs."""
    peer: PeerName | None = None
    """Another tracker to measure on the same frames."""
    peer_model: Path | None = None
    """A model file for the peer; None for its own."""


class Meter:
    """Wall and processor time of a repeated operation."""

    def __init__(self) -> None:
        self.wall_s: list[float] = []
        self.cpu_s: list[float] = []
        """Of all threads of the process."""

    def start(self) -> None:
        self._started = perf_counter(), process_time()

    def stop(self) -> None:
        wall_s, cpu_s = self._started
        self.wall_s.append(perf_counter() - wall_s)
        self.cpu_s.append(process_time() - cpu_s)

    @property
    def cpu_s_per_turn(self) -> float:
        """The mean without the warm-up: the cost in battery."""
        return statistics.fmean(self.cpu_s[WARM_UP:])


@dataclass(frozen=True, slots=True)
class Recording:
    """Frames in memory."""

    info: SourceInfo
    frames: list[Frame]
    decode: Timed[[], Frame | None]
    """The timed stage that read them."""


@dataclass(frozen=True, slots=True)
class StageTimes:
    """One pass over the frames."""

    frame_to_keypoints: Meter
    peer: Meter
    """Empty if no peer was requested."""
    timed: list[Timed[..., Any]]
    tracked: list[Tracked]
    backend: str
    detector: str
    weights_sha256: str


@dataclass(frozen=True, slots=True)
class Process:
    """One run of `fkp-track`, film to film, measured from outside."""

    startup_s: float
    """Process start to the first frame's keypoints."""
    fps: float
    """Frames per second from the first keypoints to the end of the process, which finishes the film."""
    peak_mb: float | None
    """Largest resident memory; None if the system does not report it."""
    cpu_s_per_frame: float | None
    """Processor time after the first keypoints; None if the system does not report it."""


def measure(settings: Settings) -> dict[str, Any]:
    """Everything that `fkp-bench --json` prints.  Raises FkpError."""
    cv2.setNumThreads(settings.options.threads)
    with tempfile.TemporaryDirectory(prefix="fkp-bench-") as folder:
        film = Path(folder) / "in.mp4"
        latencies = measure_in_memory(settings, film)
        frames = latencies["settings"]["frames"]
        processes = [run_process(settings, film, frames) for _ in range(PROCESSES)]
    settled = latencies.pop("settings")
    latencies["cpu_s_per_frame"]["film"] = _median([process.cpu_s_per_frame for process in processes], 6)
    return {
        **latencies,
        "film_fps": _median([process.fps for process in processes], 1),
        "startup_s": _median([process.startup_s for process in processes], 3),
        "peak_mb": _median([process.peak_mb for process in processes], 1),
        "machine": _machine(),
        "settings": settled,
    }


def measure_in_memory(settings: Settings, film: Path) -> dict[str, Any]:
    """Latencies of the stages over frames in memory, with the settings; the frames are written to `film`."""
    recording = read(settings)
    with ExitStack() as stack:
        peer = None
        if settings.peer is not None:
            peer = stack.enter_context(closing(open_peer(settings.peer_model)))
        stages = run_stages(settings, recording.frames, peer)
    drawn = _timed("draw", draw, stages.tracked)
    with closing(open_video(film, replace(recording.info, kind="demo"), overwrite=False)) as sink:
        encoded = _timed("encode", sink.write, stages.tracked)  # behind a bounded queue: this is its throughput
    ours = stages.frame_to_keypoints
    return {
        "frame_to_keypoints_ms": _json(percentiles_ms(ours.wall_s)),
        "cpu_s_per_frame": {"keypoints": round(ours.cpu_s_per_turn, 6)},
        **({} if peer is None else {"peer": _compared(peer.name, stages.peer, ours)}),
        "stages_ms": {
            stage.name: _json(stage.percentiles_ms()) for stage in (recording.decode, *stages.timed, drawn, encoded)
        },
        "settings": _settings(settings, recording, stages),
    }


def _compared(name: str, peer: Meter, ours: Meter) -> dict[str, Any]:
    """The time of another tracker for the same frames, and its ratio to ours."""
    theirs, mine = percentiles_ms(peer.wall_s), percentiles_ms(ours.wall_s)
    assert theirs is not None
    assert mine is not None
    return {
        "name": name,
        "frame_to_keypoints_ms": _json(theirs),
        "cpu_s_per_frame": round(peer.cpu_s_per_turn, 6),
        "times_ours": {
            "p50": round(theirs.p50 / mine.p50, 2),
            "cpu": round(peer.cpu_s_per_turn / ours.cpu_s_per_turn, 2),
        },
    }


def read(settings: Settings) -> Recording:
    """The first frames of the source: as many as requested, as far as they fit into FRAMES_BYTES."""
    with open_source(settings.source, demo=settings.source is None) as source:
        frame_bytes = source.info.width * source.info.height * 3
        fit = FRAMES_BYTES // frame_bytes
        if fit <= WARM_UP:
            raise SourceError(
                f"{source.info.name} is {source.info.width}x{source.info.height}, and {fit} such frames fill the "
                f"{FRAMES_BYTES >> 20} MB kept in memory; the first {WARM_UP} are warm-up; give a smaller film"
            )
        most = min(settings.frames, fit)
        frames = iter(source)
        decode = Timed("decode", lambda: next(frames, None))
        recorded = list(islice(iter(decode, None), most))
    if len(recorded) <= WARM_UP:
        raise SourceError(
            f"{source.info.name} has {len(recorded)} frames, and the first {WARM_UP} are warm-up; give a longer film"
        )
    return Recording(source.info, recorded, decode)


def run_stages(settings: Settings, frames: Sequence[Frame], peer: Peer | None) -> StageTimes:
    """The tracking loop over frames in memory, each stage timed, alternating with the `peer`."""
    options, weights = settings.options, load(settings.options.weights)
    with (
        closing(open_backend(options.backend, weights, options.runtime)) as backend,
        closing(open_detector_for(options)) as detector,
    ):
        search, identity, looks = stages_of(detector, "camera", options)
        detect, identify, schedule = Timed("detect", search), Timed("identify", identity), Timed("schedule", looks)
        infer = Timed("infer", backend)
        if hasattr(backend, "infer_frame"):  # it cuts the crops itself
            locate, located = Timed("crop and infer", Locate(backend)), []
        else:
            locate, located = Timed("crop", Locate(cast(Backend, infer)), without=infer), [infer]
        smooth = Timed("smooth", PoseAndShape())
        ours, theirs = Meter(), Meter()
        tracked = []
        turns = in_turn(frames, ours, peer, theirs)
        for each in track(turns, detect, cast(Identify, identify), locate, smooth, cast(Schedule, schedule)):
            ours.stop()
            tracked.append(each)
            if len(detect.durations_s) < len(tracked):
                detect.durations_s.append(0.0)  # a frame that was skipped
        timings: list[Timed[..., Any]] = [schedule, detect, identify, locate, *located, smooth]
        return StageTimes(ours, theirs, timings, tracked, backend.name, detector.name, weights.sha256)


def measure_steadiness(settings: Settings) -> dict[str, Any]:
    """Everything that `fkp-bench --steadiness --json` prints; see `tracker.bench.steadiness`.  Raises FkpError."""
    options, weights = settings.options, load(settings.options.weights)
    cv2.setNumThreads(options.threads)
    if settings.peer is not None:
        open_peer(settings.peer_model).close()  # refused now, not after all paths
    with (
        closing(open_backend(options.backend, weights, options.runtime)) as backend,
        closing(open_detector(options.detector, threads=options.threads)) as detector,
    ):
        results = _steadiness(settings, follower(detector, backend, options.pace))
        used = {"backend": backend.name, "detector": detector.name, "weights_sha256": weights.sha256}
    asked = {"source": str(settings.source or "demo"), "frames": settings.frames, "detect_every": options.pace}
    return _rounded(results) | {"machine": _machine(), "settings": asked | used | {"threads": options.threads}}


def _steadiness(settings: Settings, follow: Follow) -> dict[str, Any]:
    """Move the portrait that ships with fkp or the given picture; for a film, measure the jitter."""
    portrait = astronaut()
    if settings.source is not None:
        with open_source(settings.source) as source:
            if source.info.kind == "film":
                return {"film_jitter_pct_iod": _film_jitter(settings, settings.source, follow)}
            portrait = portrait_of(follow, next(iter(source)).image)
    results = asdict(measure_paths(follow, portrait, settings.frames))
    for path, steadiness in _peers_paths(settings, portrait):
        results["paths"][path][settings.peer] = asdict(steadiness)
    return results


def _film_jitter(settings: Settings, film: Path, follow: Follow) -> dict[str, float | None]:
    """Variant or peer -> jitter of the film's faces, % of IOD."""

    def jitter(follow: Follow) -> dict[str, float | None]:
        with open_source(film) as source:
            return measure_film(follow, islice(source, settings.frames))

    results = jitter(follow)
    if settings.peer is not None:
        results[settings.peer] = jitter(partial(followed_by_peer, model=settings.peer_model))["raw"]
    return results


def _peers_paths(settings: Settings, portrait: Portrait) -> Iterator[tuple[str, Steadiness]]:
    """How steady the peer is on each path, judged like ours against its own answer on the unmoved portrait."""
    if settings.peer is None:
        return
    follow = partial(followed_by_peer, model=settings.peer_model)
    for path, recording in record_paths(follow, portrait, settings.frames):
        yield path, steadiness_of(recording, recording.tracked)


def in_turn(frames: Sequence[Frame], ours: Meter, peer: Peer | None, theirs: Meter) -> Iterator[Frame]:
    """The frames for our tracker, with `ours` started at each.  The `peer` gets every other frame before ours, the rest
    after.

    So neither gains from a warm cache.
    """

    def let_peer(frame: Frame) -> None:
        if peer is not None:
            theirs.start()
            peer(frame)
            theirs.stop()

    for number, frame in enumerate(frames):
        if number % 2 == 0:
            let_peer(frame)
        ours.start()
        yield frame
        if number % 2 == 1:
            let_peer(frame)


def _timed(name: str, work: Callable[[Tracked], object], tracked: Sequence[Tracked]) -> Timed[..., Any]:
    """What is done to every result, and how long it took."""
    stage = Timed(name, work)
    for each in tracked:
        stage(each)
    return stage


def run_process(settings: Settings, film: Path, frames: int) -> Process:
    """`fkp-track film --out ... --keypoints ...` in a new process, observed through its log and its exit."""
    start = perf_counter()
    with subprocess.Popen(_command(settings.options, film), stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        log = []
        first_s = peak_mb = first_cpu_s = cpu_s = None
        for line in process.stderr:  # the last one comes when the film is finished
            log.append(line)
            peak_mb, cpu_s = _peak_mb(process.pid) or peak_mb, _cpu_s(process.pid) or cpu_s
            if FIRST_KEYPOINTS in line:
                first_s, first_cpu_s = perf_counter(), cpu_s
    end = perf_counter()
    if process.returncode != 0 or first_s is None:
        raise FkpError(f"fkp-track failed on {film} with exit code {process.returncode}: {''.join(log).strip()}")
    cpu_s_per_frame = None if cpu_s is None or first_cpu_s is None else (cpu_s - first_cpu_s) / (frames - 1)
    return Process(first_s - start, (frames - 1) / (end - first_s), peak_mb, cpu_s_per_frame)


def _command(options: Options, film: Path) -> list[str]:
    return [
        *(sys.executable, "-m", "tracker.commands.track", str(film), "-v", "--overwrite", "--no-show"),
        *("--out", str(film.with_name("out.mp4")), "--keypoints", str(film.with_name("out.jsonl"))),
        *("--threads", str(options.threads), "--backend", options.backend),
        *("--precision", options.precision, "--device", str(options.device)),
        *(() if options.keep_compiled else ("--no-cache",)),
        *("--detector", options.detector, "--detect-every", str(options.pace)),
        *(() if options.weights is None else ("--weights", str(options.weights))),
    ]


def _peak_mb(pid: int) -> float | None:
    """The largest resident memory of a running process so far; None without /proc.

    The rusage after its end would count from the fork and so include this process's memory.
    """
    peaks_kib = [int(line.split()[1]) for line in _lines(f"/proc/{pid}/status") if line.startswith("VmHWM:")]
    return peaks_kib[0] / 2**10 if peaks_kib else None


def _cpu_s(pid: int) -> float | None:
    """Processor time of a running process so far, all threads; None without /proc."""
    lines = _lines(f"/proc/{pid}/stat")
    if not lines or sys.platform == "win32":
        return None
    user, system = lines[0].rpartition(")")[2].split()[11:13]  # proc(5) counts them 14 and 15, from before the name
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def _lines(path: str) -> list[str]:
    """Of a file that the system may not have."""
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []


def _median(values: Sequence[float | None], digits: int) -> float | None:
    known = [value for value in values if value is not None]
    return round(statistics.median(known), digits) if known else None


def _json(percentiles: Percentiles | None) -> dict[str, float] | None:
    return None if percentiles is None else {name: round(value, 3) for name, value in asdict(percentiles).items()}


def _rounded(value: Any) -> Any:
    """Every float in nested dicts and lists to four places."""
    if isinstance(value, dict):
        return {name: _rounded(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_rounded(each) for each in value]
    return round(value, 4) if isinstance(value, float) else value


def _machine() -> dict[str, Any]:
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "opencv": cv2.__version__,
        "onnxruntime": ort.__version__,
        "av": av.__version__,
    }


def _processor() -> str:
    """The processor's name; Linux keeps it where platform.processor() does not look."""
    names = [line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    return next(iter(names), platform.processor() or platform.machine())


def _settings(settings: Settings, recording: Recording, stages: StageTimes) -> dict[str, Any]:
    return {
        "source": recording.info.name,
        "width": recording.info.width,
        "height": recording.info.height,
        "frames": len(recording.frames),
        "faces_per_frame": round(statistics.fmean(len(each.faces) for each in stages.tracked), 2),
        "detector": stages.detector,
        "detect_every": settings.options.pace,
        "backend": stages.backend,
        "weights_sha256": stages.weights_sha256,
        "threads": settings.options.threads,
    }


def print_table(results: dict[str, Any]) -> None:
    machine, settings = results["machine"], results["settings"]
    table = Table("ms", "p50", "p95", "p99", title=f"{settings['source']} {settings['width']}x{settings['height']}")
    rows = {"frame to keypoints": results["frame_to_keypoints_ms"], **results["stages_ms"]}
    for name, percentiles in rows.items():
        table.add_row(name, *(f"{value:.2f}" for value in percentiles.values()))
    console = Console()
    console.print(table)
    console.print(f"processor time per frame {_per_frame(results['cpu_s_per_frame'])}")
    if "peer" in results:
        peer = results["peer"]
        times, p50 = peer["times_ours"], peer["frame_to_keypoints_ms"]["p50"]
        console.print(
            f"{peer['name']}: p50 {p50:.2f} ms, {times['p50']} times ours; processor {times['cpu']} times ours"
        )
    peak = "unknown" if results["peak_mb"] is None else f"{results['peak_mb']:.0f} MB"
    console.print(
        f"film to film {results['film_fps']:.0f} frames/s, start-up {results['startup_s']:.2f} s, memory {peak}"
    )
    console.print(f"{settings['backend']}, {settings['detector']}, {settings['faces_per_frame']} faces per frame")
    console.print(f"{machine['processor']}, {machine['cores']} cores, {settings['threads']} threads used")


def _per_frame(cpu_s: dict[str, float | None]) -> str:
    return ", ".join(f"{1000 * seconds:.2f} ms to {end}" for end, seconds in cpu_s.items() if seconds is not None)
