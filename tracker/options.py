"""Every option of a run, declared once: its type, default, bounds, help, and who offers it.

From here come the parameters of the command lines (`tracker.commands.parameters`), the keywords of `tracker.Tracker`,
the settings that a batch writes into its ledger, and the table of options in tracker/README.md.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from functools import partial
from pathlib import Path
from types import UnionType
from typing import Any, Literal, NamedTuple, TypeVar, Union, get_args, get_origin

from tracker.backends.registry import BackendName
from tracker.backends.settings import Precision, Settings
from tracker.core.smoothers import Smoothing
from tracker.detectors.registry import DetectorName
from tracker.drawing.style_names import StyleName
from tracker.sinks.keypoints.registry import FormatName
from tracker.sinks.registry import OUTPUTS
from tracker.support.address import LOOPBACK, Address, StreamUrl, parse_address, stream_url

ApiName = Literal["v4l2", "dshow", "msmf", "avfoundation", "gstreamer"]
Privacy = Literal["blur", "pixelate", "hide"]

T = TypeVar("T")

INPUT = "Input"
OUTPUT = "Output"
LIVE = "Live outputs"
LOOKS = "Looks and privacy"
TRACKING = "Tracking"
BATCH = "Many films"
MACHINE = "Machine"


class Declared(NamedTuple):
    """What describes an option besides its type and default."""

    help: str
    panel: str
    """Its heading in --help."""
    flag: str = ""
    """Its name on the command line; empty if that follows from the field's name."""
    metavar: str = ""
    parse: Callable[[str], Any] | None = None
    """Turns the typed word into a value.  Raises ValueError with what was expected."""
    least: float | None = None
    most: float | None = None
    usual: str = ""
    """Its default in words, if the value does not say it."""
    alone: tuple[str, str] | None = None
    """Its value when it is typed without one, and a pattern of the values that may follow it."""
    switches: Mapping[str, tuple[Any, str]] = {}
    """Flags that each set one value, with their help; an empty help hides the flag."""
    api: bool = False
    """Whether it is a keyword of `tracker.Tracker`."""
    shapes: bool = True
    """Whether it changes the results, so that a batch tracks a film again when its value changes."""


def option(default: T, help: str, panel: str, **said: Any) -> T:
    """A field of `Options` with what `Declared` says of it."""
    return field(default=default, metadata={"declared": Declared(help, panel, **said)})


def declared(of: Any) -> dict[str, Declared]:
    """The options of a class or object such as `Options`, by field, in order."""
    return {each.name: each.metadata["declared"] for each in fields(of) if "declared" in each.metadata}


def number_or_auto(text: str, least: int = 0) -> int | Literal["auto"]:
    """How often to detect, or how large the detector sees the picture, as typed.  Raises ValueError."""
    if text == "auto":
        return "auto"
    if text.isdecimal() and int(text) >= least:
        return int(text)
    raise ValueError(f"{text} is neither auto nor a number" + (f" of at least {least}" if least else ""))


def camera_place(text: str) -> int | StreamUrl:
    """A camera, as typed.  Raises ValueError."""
    place = int(text) if text.isdecimal() else stream_url(text)
    if place is None:  # the message does not repeat what may hold a password
        raise ValueError("expected the number of a camera or a URL such as rtsp://HOST/PATH")
    return place


def rerun_place(text: str) -> Path | Address:
    """A file or a viewer, as typed.  Raises ValueError."""
    return Path(text) if text.endswith(".rrd") else parse_address(text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Everything a run depends on.  Raises ValueError for a value that the declaration does not allow."""

    source: Path | StreamUrl | None = None
    """A film, a picture, a folder of pictures or a stream; None for the camera or the demo."""
    called: str | None = None
    """What the outputs call the source, if not `source`."""
    camera: int | StreamUrl | None = option(
        None,
        "Use camera number N, or the network camera at a URL.",
        INPUT,
        metavar="N_OR_URL",
        parse=camera_place,
        least=0,
        usual="0 if you name no source",
        shapes=False,
    )
    demo: bool = option(False, "Use a synthetic camera for ten seconds.", INPUT, shapes=False)
    width: int | None = option(None, "Ask the camera for this width.", INPUT, metavar="PX", least=1)
    height: int | None = option(None, "Ask the camera for this height.", INPUT, metavar="PX", least=1)
    fps: float | None = option(None, "Ask the camera for this many frames per second.", INPUT, metavar="N", least=1)
    backend_api: ApiName | None = option(
        None, f"Open the camera with one of {', '.join(get_args(ApiName))}.", INPUT, metavar="NAME"
    )
    stream: int | None = option(
        None, "Track video stream N of a film with several.", INPUT, metavar="N", least=0, usual="the main one"
    )
    mirror: bool = option(False, "Mirror the picture; left and right change too.", INPUT)
    out: Path | None = option(
        None,
        "Write an annotated film; for pictures, a picture or a folder; for several films, a folder.",
        OUTPUT,
        metavar="FILE_OR_DIR",
        shapes=False,
    )
    keypoints: tuple[Path, ...] = option(
        (),
        "Write keypoints as .jsonl, .csv, .parquet, .openface.csv or .coco.json; - is stdout.  May be repeated.",
        OUTPUT,
        metavar="FILE",
        shapes=False,
    )
    format: FormatName | None = option(
        None, "Format of --keypoints if the file name does not say it.", OUTPUT, usual="jsonl"
    )
    show: bool | None = option(
        None,
        "Show a live window.",
        OUTPUT,
        flag="--show/--no-show",
        usual="shown if there is no other output",
        shapes=False,
    )
    overwrite: bool = option(False, "Replace outputs that exist.", OUTPUT, shapes=False)
    udp: Address | None = option(
        None,
        "Send keypoints to another program, one JSON datagram per frame.",
        LIVE,
        metavar="HOST:PORT",
        parse=parse_address,
    )
    osc: Address | None = option(
        None, "Send keypoints as Open Sound Control messages.", LIVE, metavar="HOST:PORT", parse=parse_address
    )
    lsl: str | None = option(
        None,
        "Send the keypoints of one face as a stream of the Lab Streaming Layer.",
        LIVE,
        metavar="[NAME]",
        alone=("fkp", r"\w+"),
    )
    serve: Address | None = option(
        None,
        "Serve a page with the live picture; port 0 takes a free one.",
        LIVE,
        metavar="[[HOST:]PORT]",
        parse=partial(parse_address, host=LOOPBACK, lowest_port=0),
        alone=("8010", r"(\S+:)?\d+"),
        usual=f"http://{LOOPBACK}:8010",
    )
    serve_token: bool = option(
        False, "Ask for a token on this machine too; for computers with several users.", LIVE, shapes=False
    )
    virtual_camera: bool = option(False, "Feed the annotated picture to a camera for video calls.", LIVE)
    rerun: Path | Address | None = option(
        None,
        "Send pictures and keypoints to the Rerun viewer on this machine, to a file for it, or to a viewer elsewhere.",
        LIVE,
        metavar="[FILE.rrd|HOST:PORT]",
        parse=rerun_place,
        alone=(f"{LOOPBACK}:9876", r".+\.rrd|\S+:\d+"),
    )
    style: StyleName | None = option(
        None, "What is drawn on a face.", LOOKS, usual="classic; none with --blur and --pixelate"
    )
    show_sigma: bool = option(False, "Draw each point's uncertainty, two sigma wide.", LOOKS)
    show_pose: bool = option(False, "Draw each head's axes: left, up, forward.", LOOKS)
    privacy: Privacy | None = option(
        None,
        "Cover every head, or the whole picture.",
        LOOKS,
        switches={
            "--blur": ("blur", "Blur every head."),
            "--pixelate": ("pixelate", "Pixelate every head."),
            "--hide-video": ("hide", "Show keypoints on black instead of the picture."),
        },
        api=True,
    )
    mute: bool = option(False, "Leave the sound out of the annotated film: voices tell who speaks.", LOOKS)
    detector: DetectorName = option("yunet", "Which detector finds faces.", TRACKING, api=True)
    detect_every: int | Literal["auto"] | None = option(
        None,
        "Detect faces on every N-th frame, or only when needed; in between, follow their keypoints.",
        TRACKING,
        metavar="N|auto",
        parse=partial(number_or_auto, least=1),
        least=1,
        usual="auto; every frame with --blur and --pixelate",
        api=True,
    )
    detect_size: int | Literal["auto"] = option(
        "auto",
        "Long side of the picture that yunet sees; auto follows the picture, and looks at large ones in parts.",
        TRACKING,
        metavar="PX|auto",
        parse=number_or_auto,
        least=32,
        most=8192,
        api=True,
    )
    smooth: Smoothing | None = option(
        None,
        "Steady the points: offline looks 0.3 s ahead and has no lag, live uses past frames only.",
        TRACKING,
        usual="offline if a film becomes a file, else live",
        switches={"--no-smooth": ("off", "")},
        api=True,
    )
    lead_ms: float = option(
        0.0,
        "Predict live points this far ahead, to compensate for camera and display latency.",
        TRACKING,
        flag="--lead",
        metavar="MS",
        least=0,
        most=100,
    )
    fov: float = option(
        65.0,
        "The camera's field of view along the longer side, for head poses.",
        TRACKING,
        metavar="DEGREES",
        least=1,
        most=170,
        api=True,
    )
    backend: BackendName = option(
        "auto", "What runs the network; auto takes the fastest that works here.", MACHINE, api=True, shapes=False
    )
    weights: Path | None = option(
        None,
        "Use another network: an .onnx file with its .json card beside it, or their folder.",
        MACHINE,
        metavar="PATH",
        api=True,
        shapes=False,
    )
    precision: Precision = option(
        "fp32", "Precision of the network on a GPU; the processor runs fp32.", MACHINE, api=True
    )
    device: int = option(
        0, "Number of the NVIDIA GPU to use.", MACHINE, metavar="N", least=0, most=255, api=True, shapes=False
    )
    keep_compiled: bool = option(
        True,
        "Cache what TensorRT compiles.",
        MACHINE,
        switches={"--no-cache": (False, "Do not use or keep TensorRT engines compiled for this GPU.")},
        api=True,
    )
    threads: int = option(
        1,
        "Processor threads for detector, network and picture operations.",
        MACHINE,
        metavar="N",
        least=1,
        most=256,
        api=True,
        shapes=False,
    )

    def __post_init__(self) -> None:
        refuse_undeclared(self)
        if self.covers_heads and self.pace != 1:
            raise ValueError(
                f"detect_every is {self.detect_every}, expected 1 if heads are covered ({self.privacy}): "
                "between two detections a newcomer would be visible"
            )

    @property
    def files(self) -> tuple[Path, ...]:
        """The files and folders to write; those of a batch may be URLs, which are no `Path`."""
        recording = self.rerun if isinstance(self.rerun, Path) else None
        return tuple(each for each in (self.out, *self.keypoints, recording) if each is not None)

    @property
    def writes_files(self) -> bool:
        """Whether files are written: then no window is needed, and a film runs as fast as possible."""
        return bool(self.files)

    @property
    def outputs(self) -> dict[str, Any]:
        """The value of each requested output, by its name in `sinks.registry.OUTPUTS`."""
        asked = {name: getattr(self, name) for name in OUTPUTS}
        return {name: place for name, place in asked.items() if place is not None and place not in (False, ())}

    @property
    def runtime(self) -> Settings:
        """How the backend runs."""
        return Settings(threads=self.threads, precision=self.precision, device=self.device, keep=self.keep_compiled)

    @property
    def tells_poses(self) -> bool:
        """Whether an output contains or shows head poses."""
        return self.show_pose or any(OUTPUTS[name].poses for name in self.outputs)

    @property
    def streams(self) -> bool:
        """Whether an output feeds another program or a viewer live."""
        return any(OUTPUTS[name].live and not isinstance(place, Path) for name, place in self.outputs.items())

    @property
    def covers_heads(self) -> bool:
        """Whether a missed face would be visible in the output."""
        return self.privacy in ("blur", "pixelate")

    @property
    def drawn_style(self) -> StyleName:
        """`style`, settled: over a covered head nothing is drawn unless it was asked for."""
        return self.style or ("none" if self.covers_heads else "classic")

    @property
    def pace(self) -> int | Literal["auto"]:
        """`detect_every`, settled."""
        return self.detect_every or (1 if self.covers_heads else "auto")


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Everything a batch depends on."""

    sources: tuple[Path, ...]
    """Films, pictures, folders, and patterns with wildcards."""
    each: Options
    """For every film; `out` and `keypoints` are folders, or names in which `{}` stands for the film's."""
    jobs: int | None = option(
        None, "Track N films at the same time.", BATCH, metavar="N", least=1, usual="one per two processors"
    )
    ray: str | None = option(
        None,
        "Run on the Ray cluster at HOST:PORT or ray://HOST:PORT; auto: this machine's cluster.",
        BATCH,
        metavar="ADDRESS",
    )


def refuse_undeclared(options: Any) -> None:
    """Raise ValueError for the first value outside its vocabulary, type or bounds."""
    types = {each.name: each.type for each in fields(options)}
    for name, said in declared(options).items():
        value, kinds = getattr(options, name), kinds_of(types[name])
        if not any(_fits(value, kind, said) for kind in kinds):
            raise ValueError(f"{name} is {value!r}, expected {' or '.join(filter(None, _expected(kinds, said)))}")


def kinds_of(kind: Any) -> tuple[Any, ...]:
    """The types that a union is made of; a type that is no union is its only one."""
    return get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)


def _fits(value: Any, kind: Any, said: Declared) -> bool:
    if get_origin(kind) is Literal:
        return type(value) is str and value in get_args(kind)
    if kind in (int, float):
        allowed = int if kind is int else (int, float)
        least, most = said.least, said.most
        return (
            isinstance(value, allowed)
            and not isinstance(value, bool)
            and math.isfinite(value)
            and (least is None or value >= least)
            and (most is None or value <= most)
        )
    if kind in (bool, type(None), str):
        return isinstance(value, kind)
    return value is not None and not isinstance(value, int | float)  # a place: its opener judges it


def _expected(kinds: tuple[Any, ...], said: Declared) -> list[str]:
    """The allowed values, in words."""
    words = []
    for kind in kinds:
        if get_origin(kind) is Literal:
            words.append(", ".join(map(repr, get_args(kind))))
        elif kind in (int, float):
            bounds = f" from {said.least:g}" if said.least is not None else ""
            bounds += f" to {said.most:g}" if said.most is not None else ""
            words.append(("a whole number" if kind is int else "a number") + bounds)
        else:
            words.append("None" if kind is type(None) else getattr(kind, "__name__", str(kind)))
    return words
