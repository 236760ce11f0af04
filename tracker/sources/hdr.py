"""High dynamic range (HLG, PQ) to what every screen, detector and 8-bit film knows: tone mapping to BT.709.

In: decoded pictures whose transfer is HLG or PQ and whose primaries are BT.2020.  Out: the same as standard range, 8
bits.  A table of 33x33x33 colours, made once, holds all of it; FFmpeg's `lut3d` applies it, which costs 13 ms of
processor time for 960x540.
"""

import tempfile
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

Colours = NDArray[np.float64]

PQ, HLG = 16, 18
"""FFmpeg's numbers of the two transfers."""

PEAK_NITS = 1000.0
"""What HLG is made for, and most of PQ too; brighter parts of PQ are cut there."""
WHITE_NITS = 203.0
"""White in such pictures (ITU-R BT.2408), which becomes the white of the standard range."""
GAMMA = 2.4
"""Of a screen of standard range (ITU-R BT.1886)."""
SIZE = 33

LUMINANCE = np.array([0.2627, 0.6780, 0.0593])
"""Of BT.2020's red, green and blue."""
BT709_FROM_BT2020 = np.array([[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]])

_M1, _M2 = 2610 / 16384, 2523 / 4096 * 128
_C1, _C2, _C3 = 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
"""SMPTE ST 2084."""
_A, _B, _C = 0.17883277, 0.28466892, 0.55991073
"""HLG, ITU-R BT.2100."""


def is_hdr(picture: Any) -> bool:
    """Whether a decoded picture has to be mapped."""
    return picture.color_trc in (PQ, HLG)


class ToneMap:
    """Maps pictures of one transfer, whatever their size."""

    def __init__(self, transfer: int) -> None:
        self._table = standard_from_hdr(_grid(), transfer)
        self._form: tuple[Any, ...] = ()
        self._graph: Any = None

    def __call__(self, picture: Any) -> Any:
        """A PyAV frame -> one of standard range, planar 8-bit RGB."""
        form = picture.width, picture.height, picture.format.name
        if form != self._form:
            self._form, self._graph = form, self._filter(*form, picture.time_base)
        self._graph.push(picture)
        return self._graph.pull()

    def _filter(self, width: int, height: int, format: str, time_base: Any) -> Any:
        graph = av.filter.Graph()
        with tempfile.TemporaryDirectory(prefix="fkp-") as folder:
            table = Path(folder) / "hdr.cube"
            rows = "\n".join(" ".join(f"{value:.6f}" for value in colour) for colour in self._table)
            table.write_text(f"LUT_3D_SIZE {SIZE}\n{rows}\n")
            graph.link_nodes(
                graph.add_buffer(width=width, height=height, format=av.VideoFormat(format), time_base=time_base),
                graph.add("scale", flags="bilinear"),
                graph.add("format", pix_fmts="gbrp10le"),
                graph.add("lut3d", file=str(table), interp="tetrahedral"),
                graph.add("format", pix_fmts="gbrp"),
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
