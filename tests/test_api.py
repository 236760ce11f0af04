"""The tracker as a library: real films, pictures and frames in, the same results as the command line's."""

import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
from films import write_film
from PIL import Image
from programs import FKP_TRACK

import tracker
from tracker import INDEX, Tracker, track_video
from tracker.errors import SourceError, WeightsError

ROOT = Path(__file__).resolve().parents[1]
GUIDES = "\n".join((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "tracker/README.md"))
EXAMPLES = [code for code in re.findall(r"```python\n(.*?)```", GUIDES, re.DOTALL) if "from tracker" in code]


@pytest.fixture(scope="module")
def opened():
    with Tracker(backend="cpu") as tracker:
        yield tracker


@pytest.fixture
def moving(portrait):
    """Six frames of the portrait going right by 4 px each."""
    return [np.roll(portrait, 4 * step, axis=1) for step in range(6)]


@pytest.fixture
def film(moving, tmp_path):
    return write_film(tmp_path / "talk.mp4", moving)


def test_a_film_gives_a_result_per_frame_with_arrays_per_face(opened, film):
    results = list(opened.video(film))
    assert [tracked.frame.index for tracked in results] == list(range(6))
    assert {(t.keypoints.shape, t.sigma.shape, len(t.poses)) for t in results} == {((1, 15, 2), (1, 15), 1)}
    assert {face.id for tracked in results for face in tracked.faces} == {0}
    noses = [tracked.keypoints[0, INDEX["nose_tip"], 0] for tracked in results]
    assert noses[-1] - noses[0] == pytest.approx(20, abs=3)


def test_a_larger_picture_for_the_detector_shows_smaller_faces(opened, portrait):
    frame = np.full((480, 640, 3), 90, np.uint8)
    frame[200:290, 300:390] = cv2.resize(portrait, (90, 90), interpolation=cv2.INTER_AREA)  # 7 px between the eyes
    with Tracker(backend="cpu", detect_size=320) as fleeting, Tracker(backend="cpu", detect_size=640) as attentive:
        found = [len(tracker.image(frame).faces) for tracker in (fleeting, attentive, opened)]
    assert found == [0, 1, 1]


@pytest.mark.slow
def test_a_film_is_what_the_command_line_writes_of_it(opened, film, tmp_path):
    command = [*FKP_TRACK, str(film), "--backend", "cpu", "--keypoints", "points.jsonl"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    from tracker.sinks.keypoints.jsonl import open_jsonl
    from tracker.sinks.keypoints.record import Header

    sink = open_jsonl(tmp_path / "ours.jsonl", Header("", 0, 0, "", "", "", 65.0), overwrite=False)
    for tracked in opened.video(str(film)):
        sink.write(tracked)
    sink.close()
    ours, theirs = ((tmp_path / name).read_text().splitlines()[1:] for name in ("ours.jsonl", "points.jsonl"))
    assert ours == theirs


def test_own_frames_are_followed_at_the_rate_they_are_said_to_have(opened, moving):
    results = list(opened.video((image for image in moving), fps=10))
    assert [tracked.frame.timestamp for tracked in results] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.5])
    assert {face.id for tracked in results for face in tracked.faces} == {0}


def test_a_folder_of_pictures_gives_faces_that_have_nothing_to_do_with_each_other(opened, portrait, tmp_path):
    for name in ("1.png", "2.png"):
        cv2.imwrite(str(tmp_path / name), portrait)
    results = list(opened.video(tmp_path))
    assert [tracked.frame.name for tracked in results] == ["1.png", "2.png"]
    np.testing.assert_array_equal(results[0].keypoints, results[1].keypoints)


def test_frames_handed_over_one_by_one_are_followed_as_a_live_film_is(opened, moving):
    opened.reset()
    one_by_one = [opened.update(image, index / 30) for index, image in enumerate(moving)]
    at_once = list(opened.video(iter(moving), fps=30))
    for ours, theirs in zip(one_by_one, at_once, strict=True):
        assert [face.id for face in ours.faces] == [face.id for face in theirs.faces] == [0]
        np.testing.assert_array_equal(ours.keypoints, theirs.keypoints)
    assert [tracked.frame.index for tracked in one_by_one] == list(range(6))


def test_resetting_begins_another_stream(opened, moving):
    opened.reset()
    first = opened.update(moving[0], 5.0)
    opened.update(moving[5], 5.1)
    opened.reset()
    again = opened.update(moving[0], 1.0)
    assert (again.frame.index, again.faces[0].id) == (0, 0)
    np.testing.assert_array_equal(again.keypoints, first.keypoints)


def test_what_interrupts_one_frame_does_not_end_the_stream(opened, moving, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    opened.reset()
    opened.update(moving[0], 0.0)
    with monkeypatch.context() as patched:
        patched.setattr(tracker.core.loop, "_find", interrupted)
        with pytest.raises(KeyboardInterrupt):
            opened.update(moving[1], 0.1)
    again = opened.update(moving[2], 0.2)
    assert (again.frame.index, again.faces[0].id) == (0, 0)


def test_frames_without_a_time_get_the_time_of_the_call(opened, moving):
    opened.reset()
    times = [opened.update(image).frame.timestamp for image in moving[:3]]
    assert times == sorted(set(times))


def test_a_single_picture_leaves_the_stream_alone(opened, moving, portrait):
    opened.reset()
    opened.update(moving[0], 0.0)
    for _ in range(2):
        assert [face.id for face in opened.image(portrait).faces] == [0]
    assert [face.id for face in opened.update(moving[1], 1 / 30).faces] == [0]


def test_a_picture_without_a_face_gives_empty_arrays(opened):
    tracked = opened.image(np.zeros((120, 160, 3), np.uint8))
    assert (tracked.faces, tracked.poses) == ((), ())
    assert (tracked.keypoints.shape, tracked.sigma.shape) == ((0, 15, 2), (0, 15))


def test_a_view_of_an_array_is_as_good_as_a_copy(opened, portrait):
    mirrored = portrait[:, ::-1]
    np.testing.assert_array_equal(opened.image(mirrored).keypoints, opened.image(mirrored.copy()).keypoints)


@pytest.mark.parametrize(
    ("image", "error", "says"),
    [
        (None, TypeError, "NoneType; did cv2.imread find the file"),
        (np.zeros((9, 9, 3)), TypeError, "seen float64; scale it to 0..255"),
        (np.zeros((9, 9), np.uint8), ValueError, r"seen \(9, 9\); cv2.cvtColor"),
        (np.zeros((9, 9, 4), np.uint8), ValueError, r"seen \(9, 9, 4\); .*BGRA2BGR"),
        (np.zeros((9, 9, 3), np.uint16), TypeError, "seen uint16; scale 16 bits"),
        (Image.new("RGB", (9, 9)), TypeError, r"seen Image; np.asarray\(image.convert"),
        (np.zeros((0, 9, 3), np.uint8), ValueError, r"seen \(0, 9, 3\); this one is empty"),
        (np.zeros((9, 9, 2), np.uint8), ValueError, r"seen \(9, 9, 2\); give it with all three"),
        (np.zeros((9, 9, 3), np.int64), TypeError, "seen int64; convert values of 0..255"),
        ("photo.jpg", TypeError, "seen str; cv2.imread reads a file"),
    ],
)
def test_what_is_no_image_is_said_to_be_none(opened, image, error, says):
    with pytest.raises(error, match=says):
        opened.image(image)
    with pytest.raises(error, match=says):
        opened.update(image)


def test_threads_that_share_a_tracker_get_the_right_answers(opened, portrait):
    pictures = [
        portrait[:300, 90:360],
        cv2.resize(portrait[:300, 90:360], (540, 600)),
        np.zeros((200, 300, 3), np.uint8),
    ]
    expected = [opened.image(picture) for picture in pictures]

    def wrong(number):
        found = opened.image(pictures[number % 3])
        return not np.array_equal(found.keypoints, expected[number % 3].keypoints)

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(wrong, range(60))) == 0


@pytest.mark.parametrize("timestamp", [float("nan"), float("inf")])
def test_a_timestamp_that_is_no_number_is_refused_and_the_stream_goes_on(opened, portrait, timestamp):
    opened.reset()
    opened.update(portrait, 0.0)
    with pytest.raises(ValueError, match=r"timestamp is (nan|inf), expected seconds"):
        opened.update(portrait, timestamp)
    assert opened.update(portrait, 0.1).frame.index == 1


def test_a_rate_that_is_no_number_is_refused(opened, moving):
    for fps in (0, -1, float("nan")):
        with pytest.raises(ValueError, match="fps is"):
            next(opened.video(moving, fps=fps))


def test_who_runs_it_is_told(opened):
    assert opened.backend.startswith("onnxruntime-cpu")
    assert opened.detector.startswith("yunet")


def test_a_missing_film_is_a_source_error():
    with pytest.raises(SourceError, match=r"nowhere\.mp4 does not exist"):
        next(track_video("nowhere.mp4"))


def test_a_number_is_a_camera(opened):
    with pytest.raises(SourceError, match="camera 97"):
        next(opened.video(97))


def test_missing_weights_are_a_weights_error():
    with pytest.raises(WeightsError, match="nowhere"):
        Tracker(weights="nowhere.onnx")


def test_a_film_may_be_left_early(film):
    results = track_video(film)
    assert next(results).frame.index == 0
    results.close()
    film.unlink()


def test_the_settings_reach_the_stages(film, moving):
    with Tracker(backend="cpu", smooth="off", fov=30.0) as rough, Tracker(backend="cpu", smooth="live") as steady:
        assert next(rough.video(film)).poses[0].z > 1.5 * next(steady.video(film)).poses[0].z
        ours, theirs = (list(each.video(iter(moving)))[-1].keypoints for each in (rough, steady))
    assert np.abs(ours - theirs).max() > 0.1


@pytest.mark.parametrize("privacy", ["blur", "pixelate"])
def test_covered_heads_are_in_no_frame_of_the_results_and_in_all_of_your_own(privacy, film, moving):
    """Behind a picture without a face, so that a newcomer enters."""
    own = [np.zeros_like(moving[0]), *(image.copy() for image in moving)]
    with Tracker(backend="cpu", privacy=privacy) as tracker, Tracker(backend="cpu") as onlooker:
        streamed = list(tracker.video(iter(own)))
        found = [tracker.image(own[1]), *tracker.video(film), *streamed[1:], tracker.update(own[1])]
        assert {len(tracked.faces) for tracked in found} == {1}
        assert not any(onlooker.image(tracked.frame.image).faces for tracked in found)
        assert all(onlooker.image(image).faces for image in own[1:])
        np.testing.assert_allclose(found[0].keypoints, onlooker.image(own[1]).keypoints, atol=0.3)


def test_a_newcomer_in_a_film_is_covered_before_being_found(moving, tmp_path):
    """What is to come is looked at wherever results may be late."""
    room = cv2.resize(np.random.default_rng(0).integers(0, 256, (6, 6, 3), np.uint8), (512, 512))
    room[::16] = 0
    entered = []
    for picture in moving:
        entered.append(room.copy())
        entered[-1][150:300, 150:300] = cv2.resize(picture[:300, 90:390], (150, 150), interpolation=cv2.INTER_AREA)
    film = write_film(tmp_path / "enters.mp4", [room] * 6 + entered)
    bare, foreseen, live = (
        next(track_video(film, privacy=privacy, smooth=smooth)).frame.image
        for privacy, smooth in ((None, None), ("blur", None), ("blur", "live"))
    )
    assert (live == bare).all()
    assert np.abs(foreseen.astype(int) - bare).max() > 50


def test_hidden_frames_are_black(opened, film):
    assert not any(tracked.frame.image.any() for tracked in track_video(film, privacy="hide"))


def test_a_pace_that_would_overlook_a_head_to_cover_is_a_mistake():
    with pytest.raises(ValueError, match="detect_every is auto, expected 1 if heads are covered"):
        Tracker(privacy="blur", detect_every="auto")


@pytest.mark.slow
@pytest.mark.parametrize("example", EXAMPLES)
def test_the_examples_of_the_guides_run_as_written_and_leave_something(example, film, portrait, monkeypatch, capfd):
    monkeypatch.chdir(film.parent)
    cv2.imwrite("photo.jpg", portrait)
    if "table.read" in example:
        words = "interviews/ --keypoints points/ --format parquet"
        assert f"\nfkp-track {words}\n" in GUIDES
        Path("interviews").mkdir()
        shutil.copy(film, "interviews")
        subprocess.run([*FKP_TRACK, *words.split()], check=True, capture_output=True)
    exec(compile(example, "a guide", "exec"), {})
    assert capfd.readouterr().out or list(film.parent.glob("*.jpg"))[1:]


def test_nothing_is_printed(film, capfd):
    assert list(track_video(film))
    assert capfd.readouterr() == ("", "")


def test_the_names_handed_on_are_the_names_announced():
    assert set(tracker.__all__) == {"__version__", *tracker._HOME}
