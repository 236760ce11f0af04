"""High dynamic range (HLG, PQ) to what every screen, detector and 8-bit film knows: tone mapping to BT.709.

In: decoded pictures whose transfer is HLG or PQ and whose primaries are BT.2020.  Out: the same as standard range, 8
bits.  A table of 33x33x33 colours holds all of it.  FFmpeg's `lut3d` would take 13 ms of processor time for a picture
of 960x540: so it maps 8 million colours once, and pictures are looked up in those, which takes 3 ms.
"""

import tempfile
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from tracker.types import Image

Colours = NDArray[np.float64]
Samples = NDArray[np.uint16]

PQ, HLG = 16, 18
"""FFmpeg's numbers of the two transfers."""

PEAK_NITS = 1000.0
"""What HLG is made for, and most of PQ too; brighter parts of PQ are cut there."""
WHITE_NITS = 203.0
"""White in such pictures (ITU-R BT.2408), which becomes the white of the standard range."""
GAMMA = 2.4
"""Of a screen of standard range (ITU-R BT.1886)."""
SIZE = 33
DITHER = np.array([[0, 4, 1, 5], [6, 2, 7, 3], [1, 5, 0, 4], [7, 3, 6, 2]], np.uint16)
"""Added before 3 bits of a sample are dropped: else smooth walls get edges.  Gray, which has none, stays gray."""

LUMINANCE = np.array([0.2627, 0.6780, 0.0593])
"""Of BT.2020's red, green and blue."""
BT709_FROM_BT2020 = np.array([[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]])

_M1, _M2 = 2610 / 16384, 2523 / 4096 * 128
_C1, _C2, _C3 = 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
"""SMPTE ST 2084."""
_A, _B, _C = 0.17883277, 0.28466892, 0.55991073
"""HLG, ITU-R BT.2100."""


def is_hdr(picture: Any) -> bool:
    """Whether pictures that say this of their colours have to be mapped."""
    return picture.color_trc in (PQ, HLG)


class ToneMap:
    """Maps pictures, whatever their size and form."""

    def __init__(self) -> None:
        self._reformatter = VideoReformatter()
        self._kind: tuple[int, ...] = ()
        self._table = np.empty(0, np.uint32)
        """BGRA of each colour of `_kind`, by `_index`."""

    def __call__(self, picture: Any) -> Image:
        """A PyAV frame -> (H, W, 3) BGR of standard range."""
        kind = picture.color_trc, picture.colorspace, picture.color_range
        if kind != self._kind:
            self._kind, self._table = kind, _table(*kind)
        planes = self._reformatter.reformat(picture, format="yuv420p10le", threads=1).planes
        bgra = np.take(self._table, _index(*map(_samples, planes)), mode="clip")
        return cv2.cvtColor(bgra.view(np.uint8).reshape(*bgra.shape, 4), cv2.COLOR_BGRA2BGR)


def _samples(plane: Any) -> Samples:
    return np.frombuffer(plane, np.uint16).reshape(plane.height, plane.line_size // 2)[:, : plane.width]


def _index(luma: Samples, blue: Samples, red: Samples) -> NDArray[np.int32]:
    """The index into the table for each px of 10-bit samples: 7 bits of each difference, then 9 of luma."""
    noise = np.tile(DITHER, (blue.shape[0] // 4 + 1, blue.shape[1] // 4 + 1))[: blue.shape[0], : blue.shape[1]]
    blue, red = (np.minimum(each + noise, 1023) >> 3 for each in (blue, red))
    difference = (blue << 7) | red
    wide = cv2.resize(difference, None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST)
    index: NDArray[np.int32] = np.left_shift(wide[: luma.shape[0], : luma.shape[1]], 9, dtype=np.int32)
    index |= luma >> 1
    return index


def _table(transfer: int, matrix: int, scale: int) -> NDArray[np.uint32]:
    """FFmpeg's conversion of pictures with all colours."""
    red, luma = np.mgrid[: 1 << 7, : 1 << 9].astype(np.uint16)
    parts = []
    with tempfile.TemporaryDirectory(prefix="fkp-") as folder:
        graph = _mapping(Path(folder) / "hdr.cube", transfer, *luma.shape)
        for blue in range(1 << 7):
            colours = av.VideoFrame(luma.shape[1], luma.shape[0], "yuv444p10le")
            for plane, samples in zip(colours.planes, (luma << 1, np.full_like(red, blue << 3), red << 3), strict=True):
                plane.update(samples.tobytes())
            colours.colorspace, colours.color_range, colours.pts = matrix, scale, blue
            graph.push(colours)
            parts.append(graph.pull().to_ndarray().view(np.uint32).ravel())
    return np.concatenate(parts)


def _mapping(cube: Path, transfer: int, height: int, width: int) -> Any:
    """FFmpeg's filter for yuv444p10le -> BGRA, whose colours are written to `cube`."""
    rows = "\n".join(" ".join(f"{value:.6f}" for value in colour) for colour in standard_from_hdr(_grid(), transfer))
    cube.write_text(f"LUT_3D_SIZE {SIZE}\n{rows}\n")
    graph = av.filter.Graph()
    graph.link_nodes(
        graph.add_buffer(width=width, height=height, format=av.VideoFormat("yuv444p10le"), time_base=Fraction(1, 25)),
        graph.add("scale", flags="bilinear"),
        graph.add("format", pix_fmts="gbrp10le"),
        graph.add("lut3d", file=str(cube), interp="tetrahedral"),
        graph.add("format", pix_fmts="bgra"),
        graph.add("buffersink"),
    ).configure()
    return graph


def standard_from_hdr(colours: Colours, transfer: int) -> Colours:
    """(N, 3) R'G'B' 0..1 of BT.2020, coded by `transfer` -> the same of BT.709, tone-mapped."""
    nits = _nits_from_hlg(colours) if transfer == HLG else _nits_from_pq(colours)
    brightest = nits.max(-1, keepdims=True)
    mapped = nits * _tone_mapped(brightest) / np.maximum(brightest, 1e-9)
    light = mapped / WHITE_NITS @ BT709_FROM_BT2020.T
    return np.clip(light, 0, 1) ** (1 / GAMMA)


def _grid() -> Colours:
    """Every colour of the table, red fastest, as .cube files have them."""
    steps = np.linspace(0, 1, SIZE)
    blue, green, red = np.meshgrid(steps, steps, steps, indexing="ij")
    return np.stack([red, green, blue], -1).reshape(-1, 3)


def _nits_from_hlg(colours: Colours) -> Colours:
    scene = np.where(colours <= 0.5, colours**2 / 3, (np.exp((colours - _C) / _A) + _B) / 12)
    return PEAK_NITS * scene * np.maximum(scene @ LUMINANCE, 1e-9)[..., None] ** 0.2


def _nits_from_pq(colours: Colours) -> Colours:
    root = np.clip(colours, 0, 1) ** (1 / _M2)
    return np.minimum(1e4 * (np.maximum(root - _C1, 0) / (_C2 - _C3 * root)) ** (1 / _M1), PEAK_NITS)


def _pq_from_nits(nits: Colours) -> Colours:
    power = (np.maximum(nits, 0) / 1e4) ** _M1
    return ((_C1 + _C2 * power) / (1 + _C3 * power)) ** _M2


def _tone_mapped(nits: Colours) -> Colours:
    """The curve of ITU-R BT.2390, 5.4: dark and middle tones stay as they are, bright ones are compressed to white."""
    peak = _pq_from_nits(np.array(PEAK_NITS))
    code, white = _pq_from_nits(nits) / peak, _pq_from_nits(np.array(WHITE_NITS)) / peak
    knee = 1.5 * white - 0.5
    t = (np.clip(code, knee, 1) - knee) / (1 - knee)
    bent = (2 * t**3 - 3 * t**2 + 1) * knee + (t**3 - 2 * t**2 + t) * (1 - knee) + (3 * t**2 - 2 * t**3) * white
    return _nits_from_pq(np.where(code < knee, code, bent) * peak)
