"""Detector, crop and network together on photographs."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tracker.errors import DataError
from train.cli import main
from train.data.faces68 import Crops68, read_faces68
from train.judge.photographs import _errors, judge_end_to_end, ours

try:
    import mediapipe
except ImportError:
    mediapipe = None


def test_errors_are_in_percent_of_the_outer_eyes_and_turn_with_the_face() -> None:
    """Both faces have outer eye corners 50 px apart and predictions 1 px further along that line."""
    level = np.zeros((15, 2), np.float32)
    level[3], level[5] = (50, 0), (0, 0)
    upright = level[:, ::-1].copy()
    for truth, along in ((level, (1, 0)), (upright, (0, 1))):
        far, near = truth + 5 * np.float32(along), truth + np.float32(along)
        nearest, _ = _errors(np.stack([far, near]), truth)
        np.testing.assert_allclose(nearest, np.tile([2.0, 0.0], (15, 1)), atol=1e-5)


def test_pictures_without_a_face_are_missed_and_nothing_but_them_is_refused(shared: Path) -> None:
    afw = read_faces68(shared / "data/faces68/afw.zip")
    few = Crops68(afw.images[:30], afw.landmarks[:30], afw.names[:30])
    dark = replace(few, images=[np.zeros_like(few.images[0]), *few.images[1:]])
    judged = judge_end_to_end(dark, ours())
    assert (judged.faces, judged.missed) == (30, 1)
    assert 1.0 < judged.error_without_offsets_percent < judged.error_percent < 5.0
    with pytest.raises(DataError, match="none of the 30"):
        judge_end_to_end(replace(few, images=[np.zeros_like(image) for image in few.images]), ours())


def wild(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    """`fkp-train wild ...`: its exit code."""
    monkeypatch.setattr("sys.argv", ["fkp-train", "wild", *map(str, words)])
    with pytest.raises(SystemExit) as end:
        main()
    return int(end.value.code or 0)


@pytest.mark.skipif(hasattr(mediapipe, "solutions"), reason="mediapipe is installed with its models")
def test_a_peer_that_cannot_be_used_is_told(
    shared: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert wild(monkeypatch, "--faces", shared / "data/faces68/afw.zip", "--peer", "mediapipe") == 5
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert "mediapipe" in err


@pytest.mark.skipif(not hasattr(mediapipe, "solutions"), reason="needs mediapipe 0.10.21 or older")
def test_a_peer_looks_at_the_same_pictures(
    shared: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert wild(monkeypatch, "--faces", shared / "data/faces68/afw.zip", "--peer", "mediapipe") == 0
    judged = json.loads(capsys.readouterr().out)
    assert judged["peer"]["name"].endswith("FaceMesh with attention")
    assert judged["peer"]["faces"] == judged["faces"] == 337
    assert judged["error_without_offsets_percent"] < judged["peer"]["error_without_offsets_percent"] < 4.5
