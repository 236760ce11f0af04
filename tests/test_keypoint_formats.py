"""Which format a keypoint file gets, from its name and what the user asked for; and standard output in all of them."""

import json
import sys
from functools import partial
from pathlib import Path
from typing import get_args

import pytest
from programs import TRACK, run_code

from tracker.batch.plan import is_batch
from tracker.options import Options
from tracker.sinks.keypoints.registry import FORMATS, RECORDS, FormatName, format_of
from tracker.support.address import STDOUT


@pytest.mark.parametrize(
    ("name", "asked", "format"),
    [
        ("a.jsonl", None, "jsonl"),
        ("a.CSV", None, "csv"),
        ("a.parquet", None, "parquet"),
        ("a.openface.csv", None, "openface"),
        ("a.coco.json", None, "coco"),
        ("a.json", None, "coco"),
        ("a.txt", None, None),
        ("jsonl", None, None),
        ("-", None, "jsonl"),
        ("-", "csv", "csv"),
        ("a.csv", "openface", "openface"),
        ("a.csv", "csv", "csv"),
        ("a.txt", "csv", "csv"),
        ("a.jsonl", "openface", "jsonl"),
        ("a.openface.csv", "csv", "csv"),
        ("a.parquet", "csv", "parquet"),
    ],
)
def test_a_name_says_its_format_and_what_is_asked_for_settles_the_rest(name, asked, format):
    assert format_of(Path(name), asked) == format


def test_every_format_has_a_suffix_of_its_own_and_a_name_for_the_command_line():
    assert get_args(FormatName) == tuple(FORMATS)
    for name, format in FORMATS.items():
        assert format_of(Path(f"a{format.suffixes[0]}"), None) == name
    assert {".jsonl", ".csv", ".parquet", ".openface.csv", ".coco.json", ".json"} <= set(RECORDS)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A folder with the portrait, twice."""
    import cv2
    from skimage.data import astronaut

    folder = tmp_path_factory.mktemp("pictures")
    for name in ("1.png", "2.png"):
        cv2.imwrite(str(folder / name), astronaut()[..., ::-1])
    return folder


fkp_track = partial(run_code, TRACK, "fkp-track")
NOBODY_READS = """
import os, sys
reading, writing = os.pipe()
os.close(reading)
os.dup2(writing, 1)
before, sys.stdout = sys.stdout, os.fdopen(1, "w")
"""


@pytest.mark.slow
@pytest.mark.parametrize("format", [name for name in FORMATS if name != "openface"])  # which is written as csv is
def test_standard_output_takes_what_a_file_would(pictures, tmp_path, format):
    file = f"a{FORMATS[format].suffixes[0]}"
    done = fkp_track(pictures, "--keypoints", "-", "--keypoints", file, "--format", format, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.encode(errors="surrogateescape") == (tmp_path / file).read_bytes()
    assert len(done.stdout) > 500
    assert "stdout" in done.stderr.splitlines()[-1]
    assert [path.name for path in tmp_path.iterdir()] == [file]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows reports a closed pipe differently")
@pytest.mark.parametrize("format", [name for name in FORMATS if name != "openface"])  # which is written as csv is
def test_a_reader_that_leaves_ends_the_run_quietly_and_other_outputs_are_finished(pictures, tmp_path, format):
    args = (pictures, "--keypoints", "a.jsonl", "--keypoints", "-", "--format", format)
    done = run_code(NOBODY_READS + TRACK, "fkp-track", *args, cwd=tmp_path)
    assert done.returncode == 141, done.stderr
    assert all(line.startswith("fkp-track: ") for line in done.stderr.splitlines())
    assert "gone" not in done.stderr
    (written,) = tmp_path.iterdir()
    assert json.loads(written.read_text().splitlines()[0])["fkp"] == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--keypoints", "a.txt"], "a.txt does not end in one of .jsonl, .csv"),
        (["--keypoints", "a.jsonl", "--format", "openface"], "openface applies to none of the --keypoints outputs"),
        (["--format", "csv"], "csv applies to none of the --keypoints outputs"),
        (["--keypoints", "-", "--format", "xml"], "'xml'"),
        (["--keypoints", "-", "--keypoints", "-"], "two outputs are -"),
    ],
)
def test_a_format_that_cannot_be_is_a_usage_error(pictures, tmp_path, args, says):
    done = fkp_track(pictures, *args, cwd=tmp_path)
    assert done.returncode == 2
    assert says in " ".join(done.stderr.split())
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_missing_extra_is_named_before_anything_is_begun(pictures, tmp_path):
    code = f"import sys; sys.modules['pyarrow'] = None; {TRACK}"
    done = run_code(code, "fkp-track", pictures, "--keypoints", "a.parquet", cwd=tmp_path)
    assert done.returncode == 6
    (message,) = done.stderr.splitlines()
    assert 'pip install "fkp[parquet]"' in message
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_standard_output_of_one_film_is_no_folder_and_of_a_batch_a_usage_error(tmp_path):
    assert not is_batch([Path("talk.mp4")], Options(keypoints=(STDOUT,)))
    done = fkp_track("a.mp4", "b.mp4", "--keypoints", "-", cwd=tmp_path)
    assert done.returncode == 2
    assert "a batch only writes files" in done.stderr
