"""Everything a run can be told, and the vocabularies that its options take."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tracker.support.address import Address

FormatName = Literal["jsonl", "csv", "parquet", "openface", "coco"]
DetectorName = Literal["yunet", "mediapipe"]
BackendName = Literal["auto", "tensorrt", "tensorrt-rtx", "cuda", "cpu"]
Precision = Literal["fp32", "fp16"]
Smoothing = Literal["offline", "live", "off"]
StyleName = Literal["classic", "dots", "lines", "mesh", "none"]
ApiName = Literal["v4l2", "dshow", "msmf", "avfoundation", "gstreamer"]
Privacy = Literal["blur", "pixelate", "hide"]
PeerName = Literal["mediapipe"]

STDOUT = Path("-")
"""A name that means standard output."""
DEFAULT_FOV_DEG = 65.0
"""A usual webcam."""
DETECT_SIZE = 320
"""Finds what has 26 px between the eyes in 640x480; see the README."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Everything a run of `fkp-track` depends on."""

    source: Path | None = None
    """A film, a picture or a folder of pictures; None for the camera or the demo."""
    called: str | None = None
    """What the outputs say of where they come from, where that is not `source`."""
    camera: int = 0
    width: int | None = None
    """Of a camera's pictures, px, as the camera is asked for; like `height` and `fps` None for what it likes."""
    height: int | None = None
    fps: float | None = None
    backend_api: ApiName | None = None
    """What OpenCV opens cameras with; None for the fastest here."""
    demo: bool = False
    out: Path | None = None
    keypoints: tuple[Path, ...] = ()
    """Files, or STDOUT."""
    format: FormatName | None = None
    """Of those keypoints whose name leaves it open; see `tracker.sinks.keypoints.registry.format_of`."""
    show: bool = False
    udp: Address | None = None
    """Where to send JSON datagrams."""
    osc: Address | None = None
    """Where to send Open Sound Control."""
    serve: Address | None = None
    """Where to show a page; port 0 takes a free one."""
    rerun: Path | Address | None = None
    """An .rrd file, or where a Rerun viewer listens."""
    virtual_camera: bool = False
    overwrite: bool = False
    detector: DetectorName = "yunet"
    detect_every: int | Literal["auto"] | None = None
    """Ask the detector on every n-th frame or when it is needed; in between the faces' own keypoints are followed.

    None: when needed, but on every frame where heads are covered.
    """
    detect_size: int = DETECT_SIZE
    """Long side of the picture that the detector sees, px."""
    smooth: Smoothing | None = None
    """None: offline where a film becomes a file, else live."""
    lead_ms: float = 0.0
    """How far ahead live smoothing shows the points, to make up for what camera and screen take."""
    style: StyleName = "classic"
    show_sigma: bool = False
    privacy: Privacy | None = None
    """What is done to the pictures so that nobody is recognised."""
    mirror: bool = False
    backend: BackendName = "auto"
    precision: Precision = "fp32"
    """On a GPU."""
    keep_compiled: bool = True
    """Whether what TensorRT compiles is kept in the user's cache."""
    weights: Path | None = None
    """None for the weights that ship with the package."""
    threads: int = 1
    fov: float = DEFAULT_FOV_DEG
    """The camera's field of view, degrees, along the longer side of the picture; for head poses."""
    show_pose: bool = False

    @property
    def files(self) -> tuple[Path, ...]:
        """The files and folders to make; those of a batch may be URLs, which are no `Path`."""
        recording = self.rerun if isinstance(self.rerun, Path) else None
        return tuple(each for each in (self.out, *self.keypoints, recording) if each is not None)

    @property
    def writes_files(self) -> bool:
        """Whether something is made that stays: then nothing needs to be shown, and a film runs as fast as it can."""
        return bool(self.files)

    @property
    def tells_poses(self) -> bool:
        """Whether an output says or shows where heads face."""
        told = (self.udp, self.osc, self.serve, self.rerun)
        return bool(self.keypoints) or self.show_pose or any(place is not None for place in told)

    @property
    def covers_heads(self) -> bool:
        """Whether a face that is overlooked would be seen by everybody."""
        return self.privacy in ("blur", "pixelate")

    @property
    def pace(self) -> int | Literal["auto"]:
        """`detect_every`, settled."""
        return self.detect_every or (1 if self.covers_heads else "auto")

    @property
    def streams(self) -> bool:
        """Whether another program listens or watches, now."""
        places = (self.udp, self.osc, self.serve, self.rerun)
        return self.virtual_camera or any(isinstance(place, Address) for place in places)
