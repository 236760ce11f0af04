"""Pictures in, annotated pictures out: same names, same formats, nothing lost."""

import cv2
import numpy as np
import pytest
from films import nobody

from tracker.errors import SinkError
from tracker.sinks.images import open_images
from tracker.sources.contract import SourceInfo
from tracker.types import Frame


def info_of(path):
    return SourceInfo("images", str(path), 512, 512, None, 1, path)


def result(image, name):
    return nobody(Frame(image, 0, 0.0, name))


@pytest.fixture
def pictures(tmp_path, portrait):
    """A folder with pictures in several formats and a file that is none."""
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("a.jpg", "b.PNG", "c.webp", "d.pgm"):
        cv2.imwrite(str(folder / name), portrait)
    (folder / "notes.txt").write_text("hello")
    return folder


def test_a_folder_comes_out_as_a_folder_with_the_same_names(tmp_path, pictures, portrait):
    sink = open_images(tmp_path / "out", info_of(pictures), overwrite=False)
    for name in ("a.jpg", "b.PNG", "c.webp", "d.pgm"):
        sink.write(result(portrait, name))
    sink.close()
    sink.close()
    written = {file.name: cv2.imread(str(file)) for file in (tmp_path / "out").iterdir()}
    assert sorted(written) == ["a.jpg", "b.PNG", "c.webp", "d.pgm.png"]  # a gray format cannot show colours
    assert (written["b.PNG"] == portrait).all()
    assert np.abs(written["a.jpg"].astype(int) - portrait).mean() < 2


def test_one_picture_may_go_to_a_file_in_another_format(tmp_path, pictures, portrait):
    sink = open_images(tmp_path / "new.png", info_of(pictures / "a.jpg"), overwrite=False)
    sink.write(result(portrait, "a.jpg"))
    sink.close()
    assert (cv2.imread(str(tmp_path / "new.png")) == portrait).all()


def test_one_picture_may_go_to_a_folder(tmp_path, pictures, portrait):
    sink = open_images(tmp_path / "out", info_of(pictures / "b.PNG"), overwrite=False)
    sink.write(result(portrait, "b.PNG"))
    assert (cv2.imread(str(tmp_path / "out" / "b.PNG")) == portrait).all()


def test_existing_pictures_are_refused_before_any_work(tmp_path, pictures, portrait):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "c.webp").write_bytes(b"precious")
    with pytest.raises(SinkError, match=r"c\.webp exists already; add --overwrite"):
        open_images(tmp_path / "out", info_of(pictures), overwrite=False)
    open_images(tmp_path / "out", info_of(pictures), overwrite=True).write(result(portrait, "c.webp"))
    assert cv2.imread(str(tmp_path / "out" / "c.webp")).shape == portrait.shape


@pytest.mark.parametrize("overwrite", [False, True])
def test_the_source_itself_is_never_written_over(pictures, overwrite):
    before = {file.name: file.read_bytes() for file in pictures.iterdir()}
    with pytest.raises(SinkError, match="is the source itself"):
        open_images(pictures, info_of(pictures), overwrite=overwrite)
    with pytest.raises(SinkError, match="is the source itself"):
        open_images(pictures / "a.jpg", info_of(pictures / "a.jpg"), overwrite=overwrite)
    assert {file.name: file.read_bytes() for file in pictures.iterdir()} == before


@pytest.mark.parametrize("name", ["out.png", "out.mp4"])
def test_a_folder_of_pictures_does_not_fit_a_file(tmp_path, pictures, name):
    with pytest.raises(SinkError, match=r"looks like a file, but these pictures need a folder; try .*out"):
        open_images(tmp_path / name, info_of(pictures), overwrite=False)


@pytest.mark.parametrize("name", ["out.mp4", "out.avif", "out.gif"])
def test_one_picture_is_refused_by_the_format_that_is_not_written(tmp_path, pictures, name):
    with pytest.raises(SinkError, match=rf"{name}: cannot write pictures as \.\w+, only \.jpg, "):
        open_images(tmp_path / name, info_of(pictures / "a.jpg"), overwrite=False)


def test_a_folder_that_cannot_be_made_is_one_message(tmp_path, pictures):
    (tmp_path / "file").write_text("")
    with pytest.raises(SinkError, match="cannot make the folder"):
        open_images(tmp_path / "file" / "out", info_of(pictures), overwrite=False)


def test_a_picture_too_large_for_its_format_is_one_message(tmp_path, pictures):
    sink = open_images(tmp_path / "out", info_of(pictures), overwrite=False)
    with pytest.raises(SinkError, match=r"20000x8 px do not fit \.webp"):
        sink.write(result(np.zeros((8, 20_000, 3), np.uint8), "c.webp"))
    assert not (tmp_path / "out" / "c.webp").exists()
