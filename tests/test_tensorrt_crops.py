"""The GPU's crops are the CPU's: the kernel's own source, compiled for this processor, against tracker/geometry.py."""

import ctypes
import importlib.util
import math
import shutil
import subprocess
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest

from tracker.backends.selfcheck import FACES, PORTRAIT
from tracker.backends.tensorrt import crops as gpu
from tracker.geometry import cut, patch_of
from tracker.spec import SIZE
from tracker.types import Image, Region

ON_THE_CPU = """
#include <math.h>
#define __device__
#define __global__
struct Index { unsigned x, y; };
static Index blockIdx, threadIdx, blockDim = {THREADS, 1};
#include "crop.cu"
extern "C" void launch(const void* faces, const unsigned char* pixels, unsigned char* crops, int blocks, int count) {
    for (blockIdx.y = 0; blockIdx.y < count; ++blockIdx.y)
        for (blockIdx.x = 0; blockIdx.x < blocks; ++blockIdx.x)
            for (threadIdx.x = 0; threadIdx.x < THREADS; ++threadIdx.x) cut_faces((const Face*)faces, pixels, crops);
}
"""

REGIONS = [
    Region(256.0, 140.0, 96.0, 0.0),
    Region(220.3, 130.7, 70.0, 0.3),
    Region(230.0, 120.0, 140.0, -2.0),
    Region(240.0, 160.0, 210.0, 0.7),
    Region(200.2, 181.9, 310.0, math.pi),
    Region(250.0, 250.0, 700.0, 0.1),
    Region(5.0, 500.0, 130.0, 0.2),
    Region(-400.0, 50.0, 90.0, 0.2),
    Region(64.0, 47.0, 1e-3, 0.0),
    *(Region(250.0 + shrink, 240.0 - shrink, 96.0 * shrink, 0.15 * shrink) for shrink in (4, 5, 6, 8, 12)),
]
"""Every shrink from 1 to 8 and 12, turned, at the frame's edges, beyond them, and of no size."""

Kernel = Callable[[Image, list[Region], int], Image]


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Kernel:
    """Stages and cuts as the GPU would: (image, regions, batch) -> (batch, 96, 96)."""
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("needs g++")
    folder = tmp_path_factory.mktemp("kernel")
    (folder / "cpu.cpp").write_text(ON_THE_CPU)
    flags = ["-O2", "-ffp-contract=off", "-shared", "-fPIC", f"-DTHREADS={gpu.THREADS}", f"-I{gpu.SOURCE.parent}"]
    subprocess.run([compiler, *flags, "-o", folder / "cpu.so", folder / "cpu.cpp"], check=True)
    library = ctypes.CDLL(str(folder / "cpu.so"))

    def run(image: Image, regions: list[Region], batch: int) -> Image:
        faces, pixels = np.zeros(batch, gpu.FACE), np.zeros(image.nbytes, np.uint8)
        patches = [patch_of(region, *image.shape[:2]) for region in regions]
        used = gpu.stage(image, patches, faces, pixels)
        pixels = pixels[:used].copy()  # the GPU never gets the rest
        crops = np.zeros((batch, SIZE, SIZE), np.uint8)
        addresses = [array.ctypes.data_as(ctypes.c_void_p) for array in (faces, pixels, crops)]
        library.launch(*addresses, math.ceil(SIZE * SIZE / gpu.THREADS), batch)
        return crops

    return run


@pytest.fixture(params=["portrait", "noise"])
def picture(request: pytest.FixtureRequest, portrait: Image) -> Image:
    """Noise is the hardest: every rounding shows."""
    if request.param == "portrait":
        return portrait
    return np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)


@pytest.mark.slow
@pytest.mark.parametrize("region", REGIONS, ids=lambda region: f"side {region.side:g}")
def test_each_crop_is_the_cpus_but_for_roundings(kernel: Kernel, picture: Image, region: Region) -> None:
    error = np.abs(kernel(picture, [region], 1)[0].astype(int) - cut(picture, [region])[0, 0])
    assert error.max() <= 1
    assert (error > 0).mean() < 0.002


def test_many_faces_are_cut_from_their_own_parts_and_the_batch_is_filled_up(kernel: Kernel, picture: Image) -> None:
    small = [region for region in REGIONS if region.side < 100]
    crops = kernel(picture, small, 8)
    expected = cut(picture, small)[:, 0]
    assert np.abs(crops[: len(small)].astype(int) - expected).max() <= 1
    assert (crops[len(small) :] == crops[0]).all()


def test_all_faces_are_cut_from_the_whole_frame_where_that_is_less(kernel: Kernel, picture: Image) -> None:
    crops = kernel(picture, REGIONS, len(REGIONS))
    assert np.abs(crops.astype(int) - cut(picture, REGIONS)[:, 0]).max() <= 1


def test_the_faces_that_a_gpu_is_checked_with_are_cut_to_the_last_gray_level(kernel: Kernel) -> None:
    portrait = cv2.imread(str(PORTRAIT))
    np.testing.assert_array_equal(kernel(portrait, FACES, len(FACES)), cut(portrait, FACES)[:, 0])


def test_no_more_is_staged_than_the_faces_or_the_frame() -> None:
    image = np.zeros((480, 640, 3), np.uint8)
    faces, pixels = np.zeros(len(REGIONS), gpu.FACE), np.zeros(image.nbytes, np.uint8)
    for regions, least, most in (
        ([REGIONS[0]], 96 * 96 * 3, 102 * 102 * 3),
        ([REGIONS[0]] * 2, 2 * 96 * 96 * 3, 2 * 102 * 102 * 3),
        (REGIONS, image.nbytes, image.nbytes),
    ):
        patches = [patch_of(region, *image.shape[:2]) for region in regions]
        used = gpu.stage(image, patches, faces, pixels)
        assert used == gpu.bytes_of(image, patches)
        assert least <= used <= most


def test_pictures_may_be_views_of_others(kernel: Kernel, portrait: Image) -> None:
    view = portrait[:, ::-1]
    assert np.abs(kernel(view, [REGIONS[1]], 1)[0].astype(int) - cut(view.copy(), [REGIONS[1]])[0, 0]).max() <= 1


def test_the_layout_of_a_face_is_the_same_on_both_sides() -> None:
    source = gpu.SOURCE.read_text()
    assert f"#define SIZE {SIZE}" in source
    declared = source[source.index("struct Face {") : source.index("};")]
    places = [declared.index(f" {name}") for name in gpu.FACE.names]
    assert places == sorted(places)
    assert gpu.FACE.itemsize == 4 * (6 + 5)


@pytest.fixture
def ptx() -> ModuleType:
    """tests/ptx.py"""
    spec = importlib.util.spec_from_file_location("ptx", Path(__file__).with_name("ptx.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_shipped_kernel_says_that_it_is_made_of_this_source(ptx: ModuleType) -> None:
    text = gpu.COMPILED.read_text()
    assert text.startswith(ptx.head())
    assert ".target sm_75" in text
    assert ".version 8.0" in text  # what drivers from 525 on read
    assert f".entry {gpu.KERNEL.decode()}(" in text


def test_nvidias_compiler_makes_the_shipped_kernel_of_this_source(ptx: ModuleType) -> None:
    try:
        made = ptx.compiled()
    except metadata.PackageNotFoundError:
        pytest.skip(f"needs {ptx.PACKAGE}")
    assert gpu.COMPILED.read_text() == made
