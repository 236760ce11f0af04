"""Who is who, in scripted scenes whose truth is known: detections in, faces with lasting ids out."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import pytest

from tracker import track_video
from tracker.core.association import EachAlone, Identity
from tracker.core.known import TURNS_OVER_S
from tracker.core.schedule import Schedule, schedule_of
from tracker.geometry import MEAN_SHAPE, frame_from_unit
from tracker.types import CLOSE, Box, Detection, Face, Frame, Look, Points, Region, Seen, Settled

IMAGE = np.zeros((480, 640, 3), np.uint8)
RATE = 30
HERE, THERE = Region(200.0, 200.0, 100.0, 0.0), Region(450.0, 250.0, 120.0, 0.1)


def seen(region: Region, score: float = 0.9) -> Detection:
    half = region.side / 2.5
    return Detection(Box(region.x - half, region.y - half, region.x + half, region.y + half), score, region)


def shifted(region: Region, x: float = 0.0, y: float = 0.0, grow: float = 1.0, roll: float = 0.0) -> Region:
    return Region(region.x + x, region.y + y, region.side * grow, region.roll + roll)


class Scene:
    """Runs one Identity frame by frame; the network finds each face where `truth` says, else in its crop's middle.

    Where the detector sees nobody and `truth` says nothing, the network is unsure.
    """

    def __init__(self, identity: Identity | EachAlone | None = None, start: float = 0.0, rate: int = RATE) -> None:
        self.identity = Identity() if identity is None else identity
        self.index = 0
        self.start = start
        self.rate = rate
        self.image = IMAGE
        self.schedule: Schedule | None = None
        self.detect: Callable[..., list[Detection]] | None = None
        """Asked as `schedule` says, in place of the detections handed in."""
        self.needs_closer_look = False
        self.in_doubt = False

    def __call__(
        self,
        detections: Sequence[Detection] | None,
        truth: Sequence[Region] = (),
        *,
        sigma_px: float = 1.0,
        keypoints: np.ndarray | None = None,
    ) -> tuple[Face, ...]:
        frame = Frame(self.image, self.index, self.start + self.index / self.rate)
        self.index += 1
        expected = self.identity.expect(frame)
        self.in_doubt = expected.in_doubt
        look = None if detections is None else CLOSE
        if self.schedule is not None:
            look = self.schedule(frame, expected)
        settled = self.looked(frame, look, detections, truth, sigma_px, keypoints)
        while self.schedule is not None and settled.needs_closer_look and (look := self.schedule.closer(look)):
            settled = self.looked(frame, look, detections, truth, sigma_px, keypoints)
        self.needs_closer_look = settled.needs_closer_look
        return settled.faces

    def looked(
        self,
        frame: Frame,
        look: Look | None,
        detections: Sequence[Detection] | None,
        truth: Sequence[Region],
        sigma_px: float,
        keypoints: np.ndarray | None,
    ) -> Settled:
        """What one look at the frame comes to."""
        if self.detect is not None and look is not None:
            detections = self.detect(frame.image, *look)
        seen = None if look is None or detections is None else Seen(detections, look)
        faces = self.identity(frame, seen)
        found = np.empty((len(faces), 15, 2), np.float32)
        sigma = np.empty((len(faces), 15), np.float32)
        for row_number, (row, face) in enumerate(zip(found, faces, strict=True)):
            near = [region for region in truth if math.hypot(region.x - face.region.x, region.y - face.region.y) < 60]
            row[:] = frame_from_unit(MEAN_SHAPE, near[0] if near else face.region)
            if keypoints is not None:
                row[:] = keypoints
            sigma[row_number] = 20.0 if not near and (truth or detections == []) else sigma_px
        settled = self.identity.settle(faces, Points(found, sigma))
        assert len(settled.faces) == len(settled.points.keypoints) == len(settled.points.sigma)
        return settled

    def ids(self, detections: Sequence[Detection] | None, truth: Sequence[Region] = ()) -> list[int]:
        return [face.id for face in self(detections, truth)]


def test_the_first_frame_shows_its_faces_even_faint_ones() -> None:
    assert Scene().ids([seen(HERE, 0.61), seen(THERE, 0.9)]) == [0, 1]


def test_a_faint_face_that_is_seen_once_never_shows() -> None:
    scene = Scene()
    scene([])
    assert scene.ids([seen(HERE, 0.65)]) == []
    assert scene.ids([]) == []
    assert scene.ids([seen(HERE, 0.65)]) == []


def test_a_faint_face_shows_when_the_next_look_confirms_it() -> None:
    scene = Scene()
    scene([])
    assert scene.ids([seen(HERE, 0.65)]) == []
    assert scene.ids(None) == []
    assert scene.ids([seen(shifted(HERE, 3), 0.65)]) == [0]


def test_a_clear_face_shows_at_once() -> None:
    scene = Scene()
    scene([])
    assert scene.ids([seen(HERE, 0.8)]) == [0]


def test_faces_keep_their_ids_whatever_the_order_of_detections() -> None:
    scene = Scene()
    scene([seen(HERE), seen(THERE)])
    for i in range(1, 20):
        here, there = shifted(HERE, 6 * i), shifted(THERE, 0, -4 * i)
        faces = scene([seen(there), seen(here)] if i % 2 else [seen(here), seen(there)], [here, there])
        assert [face.id for face in faces] == [0, 1]
        assert faces[0].region.y == pytest.approx(200, abs=1)


def test_faces_that_pass_each_other_keep_their_ids() -> None:
    scene = Scene()
    for i in range(60):
        right, left = Region(100 + 7.0 * i, 180, 100, 0), Region(520 - 7.0 * i, 260, 100, 0)
        faces = scene([seen(left), seen(right)], [right, left])
        assert len(faces) == 2
    by_height = sorted(faces, key=lambda face: face.region.y)
    assert [face.id for face in by_height] == [1, 0]  # the first frame named the left-goer, seen first, 0


def test_a_missed_detection_is_bridged_then_the_face_is_gone() -> None:
    scene = Scene()
    for _ in range(5):
        scene([seen(HERE)], [HERE], sigma_px=3.5)
    shown = [bool(scene([], [HERE], sigma_px=3.5)) for _ in range(15)]
    assert shown == sorted(shown, reverse=True)
    assert sum(shown) == 9  # 0.3 s at 30 fps


def test_a_face_that_the_network_is_sure_of_is_followed_though_the_detector_misses_it() -> None:
    """It lies, or something is in front of it."""
    scene = Scene()
    scene([seen(HERE)], [HERE])
    assert all(scene.ids([], [HERE]) == [0] for _ in range(5 * RATE))
    shown = [bool(scene.ids([], [HERE])) for _ in range(6 * RATE)]
    assert sum(shown) == pytest.approx(5 * RATE, abs=1)  # but not for ever


def test_a_missed_face_is_carried_along_by_its_keypoints() -> None:
    scene = Scene()
    scene([seen(HERE)], [HERE])
    for i in range(1, 6):
        (face,) = scene([], [shifted(HERE, 5 * i)])
    assert face.region.x == pytest.approx(HERE.x + 25, abs=5)


@pytest.mark.parametrize(("where", "id"), [(shifted(HERE, 40, 30), 0), (THERE, 1), (shifted(HERE, grow=2), 1)])
def test_a_face_that_returns_soon_keeps_its_id_near_its_place(where: Region, id: int) -> None:
    scene = Scene()
    scene([seen(HERE)])
    for _ in range(40):
        scene([])
    assert scene.ids([seen(where)]) == [id]


def test_a_face_that_returns_late_is_a_new_one_and_ids_are_never_reused() -> None:
    scene = Scene()
    ids = []
    for _ in range(3):
        ids += scene.ids([seen(HERE)])
        for _ in range(70):
            assert len(scene.ids([])) <= 1
    assert ids == [0, 1, 2]


def test_between_looks_a_face_and_its_box_follow_the_keypoints() -> None:
    scene = Scene()
    (first,) = scene([seen(HERE)], [HERE])
    for i in range(1, 9):
        moved = shifted(HERE, 4 * i, 2 * i, grow=1.01**i, roll=0.02 * i)
        (face,) = scene(None if i % 4 else [seen(moved)], [moved])
    assert face.id == first.id
    assert face.region.x == pytest.approx(HERE.x + 32, abs=6)
    for _ in range(3):
        (after,) = scene(None, [moved])
    assert after.region.x == pytest.approx(moved.x, abs=0.03 * moved.side)
    assert after.region.roll == pytest.approx(0.16, abs=0.04)
    assert (after.box.left + after.box.right) / 2 == pytest.approx(moved.x, abs=0.03 * moved.side)
    assert after.box.right - after.box.left == pytest.approx(moved.side * 0.8, rel=0.04)


def test_patience_counts_from_the_first_miss_however_seldom_the_detector_looks() -> None:
    scene = Scene()
    scene([seen(HERE)])
    for _ in range(29):
        assert scene.ids(None, [HERE]) == [0]
    assert scene.ids([], [HERE]) == [0]
    for _ in range(9):
        assert scene.ids(None, [HERE]) == [0]
        assert scene.in_doubt
    assert scene.ids([seen(HERE)], [HERE]) == [0]
    assert scene.ids([seen(HERE)], [HERE]) == [0]
    assert not scene.in_doubt


@pytest.mark.parametrize(
    "keypoints",
    [
        np.full((15, 2), np.nan),
        np.full((15, 2), 200.0),
        frame_from_unit(MEAN_SHAPE, shifted(HERE, 70)),
        frame_from_unit(MEAN_SHAPE, shifted(HERE, grow=1.8)),
        frame_from_unit(MEAN_SHAPE, shifted(HERE, roll=2.0)),
    ],
    ids=["not finite", "all in one place", "beside the crop", "larger than the crop", "upside down"],
)
def test_keypoints_that_make_no_sense_are_not_followed(keypoints: np.ndarray) -> None:
    scene = Scene()
    scene([seen(HERE)], [HERE])
    assert scene(None, keypoints=keypoints) == ()
    assert scene.ids(None) == []
    assert scene.ids([seen(HERE)]) == [0]


def test_a_missed_face_is_gone_in_the_same_frame_when_the_network_is_unsure_of_it_too() -> None:
    scene = Scene()
    scene([seen(HERE)], [HERE], sigma_px=1.0)
    assert scene([], [HERE], sigma_px=6.2) == ()


def test_what_counts_as_unsure_is_learned_from_each_face() -> None:
    scene = Scene()
    scene([seen(HERE)], [HERE], sigma_px=4.0)
    assert len(scene([], [HERE], sigma_px=4.5)) == 1


def test_a_followed_face_that_becomes_unsure_calls_the_detector() -> None:
    scene, detector = watched(HERE, every=10)
    for sigma_px in (1.0, 1.0, 1.0, 1.4, 1.0, 1.0, 6.2, 1.0):
        scene(None, [HERE], sigma_px=sigma_px)
    assert detector.looks == [0, 4, 6]


def test_other_rolls_are_searched_only_if_a_doubt_lasts() -> None:
    """Whoever was seen well a moment ago is hidden; somebody new may be turned."""
    scene = Scene()
    assert not any(asks(scene, 1.0) for _ in range(RATE))
    asked = [asks(scene, 5.0) for _ in range(RATE)]
    assert asked.index(True) == pytest.approx(TURNS_OVER_S * RATE, abs=1)
    assert all(asked[asked.index(True) :])
    assert asks(Scene(), 5.0)


def asks(scene: Scene, sigma_px: float) -> bool:
    scene([seen(HERE)], [HERE], sigma_px=sigma_px)
    return scene.needs_closer_look


def test_the_detector_may_glance_unless_somebody_is_doubtful_or_lost() -> None:
    scene, detector = watched(HERE, THERE, every=1)
    for _ in range(3):
        scene(None, [HERE, THERE])
    assert detector.smallest == [None, pytest.approx(HERE.side), pytest.approx(HERE.side)]
    detector.faces = [HERE]
    for _ in range(RATE):
        scene(None, [HERE])
    assert set(detector.smallest[4:]) == {None}


class Watching:
    """A detector that sees `faces` and notes when it was asked."""

    name = "watching"

    def __init__(self, faces: Sequence[Region]) -> None:
        self.faces = faces
        self.scene: Scene
        self.looks: list[int] = []
        self.smallest: list[float | None] = []

    def __call__(self, image: np.ndarray, smallest: float | None = None, *_: object) -> list[Detection]:
        self.looks.append(self.scene.index - 1)
        self.smallest.append(smallest)
        return [seen(face) for face in self.faces]

    def close(self) -> None:
        pass


def watched(*faces: Region, every: int | Literal["auto"], rate: int = RATE) -> tuple[Scene, Watching]:
    """A scene whose detector sees `faces` when it is asked."""
    identity, detector = Identity(), Watching(faces)
    scene = Scene(identity, rate=rate)
    detector.scene, scene.detect, scene.schedule = scene, detector, schedule_of(every)
    return scene, detector


def on_demand(*faces: Region, rate: int = RATE) -> tuple[Scene, Watching]:
    """A scene whose detector is asked only on demand."""
    return watched(*faces, every="auto", rate=rate)


@pytest.mark.parametrize("rate", [1, 3, 15, 24, 30, 60])
def test_on_demand_a_sure_face_is_looked_at_twice_a_second_at_any_frame_rate(rate: int) -> None:
    scene, detector = on_demand(HERE, rate=rate)
    for _ in range(5 * rate):
        assert scene.ids(None, [HERE]) == [0]
    rests = np.diff([*detector.looks, 5 * rate]) / rate
    assert rests.max() <= max(0.5, 1 / rate)
    assert rests[:-1].min() > min(0.4, 0.9 / rate)


def test_on_demand_an_empty_scene_is_looked_at_in_every_frame() -> None:
    scene, detector = on_demand()
    for _ in range(10):
        assert scene.ids(None) == []
    assert sorted(set(detector.looks)) == list(range(10))


def test_on_demand_an_unsure_or_missed_face_is_looked_at_until_it_is_seen_again() -> None:
    scene, detector = on_demand(HERE)
    for sigma_px in (1.0, 1.0, 1.4, 1.0, 1.0):
        scene(None, [HERE], sigma_px=sigma_px)
    assert detector.looks == [0, 3]
    detector.faces = []
    scene(None, [HERE], sigma_px=1.4)
    for _ in range(3):
        scene(None, [HERE])
    detector.faces = [HERE]
    for _ in range(3):
        assert scene.ids(None, [HERE]) == [0]
    assert detector.looks == [0, 3, 6, 7, 8, 9]


def test_on_demand_a_lost_face_is_looked_for_until_it_is_forgotten() -> None:
    scene, detector = on_demand(HERE, THERE)
    scene(None, [HERE, THERE])
    detector.faces = [HERE]
    for _ in range(90):
        scene(None, [HERE])
    assert scene.ids(None, [HERE]) == [0]
    assert set(range(15, 60)) < set(detector.looks)
    assert not {72, 73} <= set(detector.looks)


def test_a_face_given_up_between_looks_is_asked_about_in_the_same_frame() -> None:
    """Blurred by a sudden move, it is no longer believed; but that is the detector's to say."""
    scene = Scene()
    scene([seen(HERE)], [HERE])
    assert scene(None, [HERE], sigma_px=6.2) == ()
    assert scene.needs_closer_look
    scene.index -= 1
    assert [face.fresh for face in scene([seen(HERE)], [HERE], sigma_px=6.2)] == [True]


def test_a_face_that_walks_on_out_of_sight_keeps_its_id_where_it_reappears() -> None:
    """It passes behind a pillar three faces wide."""
    scene = Scene()
    for i in range(10):
        where = shifted(HERE, 12 * i)
        (face,) = scene([seen(where)], [where])
    for i in range(10, 35):
        where = shifted(HERE, 12 * i)
        scene([])
    assert scene.ids([seen(where)]) == [face.id]


def test_a_face_that_stops_out_of_sight_keeps_its_id_too() -> None:
    scene = Scene()
    for i in range(10):
        where = shifted(HERE, 12 * i)
        (face,) = scene([seen(where)], [where])
    for _ in range(45):
        scene([])
    assert scene.ids([seen(shifted(where, 60))]) == [face.id]


def test_a_face_that_appears_away_from_the_course_of_a_lost_one_is_another() -> None:
    scene = Scene()
    for i in range(10):
        where = shifted(HERE, 12 * i)
        scene([seen(where)], [where])
    for _ in range(20):
        scene([])
    assert scene.ids([seen(shifted(where, -200))]) == [1]


def test_a_face_that_leaves_the_picture_is_not_followed() -> None:
    scene = Scene()
    at_edge = Region(20.0, 200.0, 100.0, 0.0)
    scene([seen(at_edge)], [at_edge])
    assert scene(None, [shifted(at_edge, -25)]) == ()


def test_what_the_network_sees_no_face_in_is_none_however_sure_the_detector_is() -> None:
    scene = Scene()
    for _ in range(5):
        assert scene([seen(HERE)], keypoints=np.full((15, 2), np.nan)) == ()
    for _ in range(5):
        assert scene([seen(HERE)], [HERE], sigma_px=7.0) == ()
    assert scene.ids([seen(HERE)], [HERE]) == [0]


def test_a_noisy_detector_does_not_shake_the_crop() -> None:
    scene, rng = Scene(), np.random.default_rng(0)
    regions = []
    for _ in range(60):
        dx, dy, size, roll = rng.normal(0, [1.8, 1.8, 0.05, 0.07])
        (face,) = scene([seen(shifted(HERE, dx, dy, math.exp(size), roll))], [HERE])
        regions.append([face.region.x, face.region.y, face.region.side, face.region.roll])
    spread = np.std(regions[5:], axis=0)
    assert (spread < [0.1, 0.1, 1.0, 0.01]).all()


def test_the_crop_of_a_still_face_trembles_less_than_its_keypoints() -> None:
    scene, rng = Scene(), np.random.default_rng(1)
    noise = np.array([0.05, 0.05, 0.0005, 0.0005])  # what the network has on a face without motion
    regions = []
    for _ in range(120):
        dx, dy, size, roll = rng.normal(0, noise)
        (face,) = scene([seen(HERE)], [shifted(HERE, dx, dy, math.exp(size), roll)])
        regions.append([face.region.x, face.region.y, math.log(face.region.side), face.region.roll])
    assert (np.std(regions[10:], axis=0) < 0.9 * noise).all()


@pytest.mark.parametrize("rate", [15, 30])
def test_the_crop_foresees_steady_motion_growth_and_roll(rate: int) -> None:
    scene = Scene(rate=rate)
    for i in range(rate):
        t = i / rate
        where = shifted(HERE, 80 * t, 40 * t, grow=1.3**t, roll=0.8 * t)
        (face,) = scene([seen(where)] if i == 0 else None, [where])
    assert (face.region.x, face.region.y) == pytest.approx((where.x, where.y), abs=0.3)
    assert face.region.side == pytest.approx(where.side, rel=0.003)
    assert face.region.roll == pytest.approx(where.roll, abs=0.004)


def test_keypoints_cannot_carry_the_crop_away_from_the_detection() -> None:
    scene, creeping = Scene(), HERE
    for _ in range(60):
        (face,) = scene([seen(HERE)], [creeping])
        creeping = shifted(face.region, 2, -1, grow=1.02)
    assert math.hypot(face.region.x - HERE.x, face.region.y - HERE.y) < 10
    assert face.region.side < 115


def test_the_crop_keeps_up_with_a_fast_head() -> None:
    scene = Scene()
    for i in range(20):
        where = shifted(HERE, 10 * i)  # three of its own widths per second
        (face,) = scene([seen(where)], [where])
    assert face.region.x == pytest.approx(where.x, abs=3)


def test_a_fast_head_is_followed_between_looks() -> None:
    scene = Scene()
    for i in range(20):
        where = shifted(HERE, 10 * i)
        (face,) = scene([seen(where)] if i % 5 == 0 else None, [where])
    assert face.region.x == pytest.approx(where.x, abs=3)


def test_keypoints_that_are_drawn_to_another_face_do_not_cost_the_id() -> None:
    """A face that comes out from behind another is half hidden, and its keypoints spread over both."""
    scene = Scene()
    for i in range(4):
        scene([seen(HERE)], [shifted(HERE, 6 * i, grow=1.18**i)])
    assert scene.ids([seen(HERE)], [HERE]) == [0]


def test_frames_that_come_in_bursts_do_not_throw_the_crop() -> None:
    """A camera hands over two frames 2 ms apart, then none for 64 ms; the face moved evenly."""
    scene = Scene(rate=1)  # 1 index = 1 s
    for i in range(40):
        where = shifted(HERE, 4 * i, grow=1.01**i)
        scene.start = i // 2 * 0.066 + i % 2 * 0.002 - scene.index
        (face,) = scene([seen(where)] if i == 0 else None, [where])
        assert math.hypot(face.region.x - where.x, face.region.y - where.y) < 10
        assert face.region.side == pytest.approx(where.side, rel=0.03)


def test_the_crop_takes_its_roll_from_the_keypoints_where_the_detector_sees_too_little() -> None:
    scene = Scene()
    rolled = shifted(HERE, roll=math.radians(40))
    for _ in range(3):
        (face,) = scene([seen(shifted(HERE, roll=math.radians(10)))], [rolled])
    assert math.degrees(face.region.roll) == pytest.approx(40, abs=2.1)


def test_a_face_followed_onto_another_is_dropped() -> None:
    scene = Scene()
    beside = shifted(HERE, 90)
    scene([seen(HERE), seen(beside)], [HERE, beside])
    for i in range(1, 5):
        merging = shifted(HERE, 90 - 18 * i)
        ids = scene.ids([seen(HERE)], [HERE] if i == 4 else [HERE, merging])
    assert ids == [0]


def test_what_the_network_refuses_replaces_no_face() -> None:
    """A look at another roll finds an upright face once more, rolled and beside its place."""
    face = Region(320.0, 240.0, 300.0, 0.0)
    wrong = seen(shifted(face, 65, grow=0.6, roll=math.pi / 2), 0.79)
    scene = Scene()
    assert scene.ids([seen(face)], [face]) == [0]
    for detections in (None, [wrong], None, None, [seen(face)], [wrong], None):
        assert scene.ids(detections, [face]) == [0]


def test_a_face_whose_size_the_detector_misjudges_is_one_face() -> None:
    """In crowds it gives small faces 0.6 to 3 times their size."""
    scene, tiny = Scene(), replace(HERE, side=30.0)
    for grow in (1.0, 2.0, 1.7, 3.0, 0.6, 1.0, 2.0):
        for detections in ([seen(shifted(tiny, 3, 4, grow=grow))], None):
            assert [face.id for face in scene(detections, [tiny], sigma_px=0.5)] == [0]


def test_walkers_keep_their_ids_at_low_frame_rates() -> None:
    """People as far apart as they move from frame to frame."""
    for rate, speed in ((5, 6.0), (10, 6.0), (30, 6.0)):
        scene, ids = Scene(rate=rate), set()
        for index in range(3 * rate // 2):
            people = [Region(50.0 + 60 * speed * index / rate, y, 60.0, 0.0) for y in (100.0, 300.0)]
            ids |= {face.id for face in scene([seen(each) for each in people], people)}
        assert ids == {0, 1}


def test_who_is_lost_beside_somebody_new_of_the_same_size_is_the_same() -> None:
    scene = Scene()
    scene([seen(HERE)], [HERE])
    jumped = shifted(HERE, 150)
    assert scene.ids([seen(jumped)], [jumped]) == [0]
    larger = shifted(jumped, -150, grow=1.5)
    assert scene.ids([seen(larger)], [larger]) == [1]


def test_a_false_face_is_suspected_but_never_shown_and_calls_for_few_looks() -> None:
    scene, detector = on_demand(HERE, THERE)
    for _ in range(3 * RATE):
        frame = Frame(IMAGE, scene.index, scene.index / RATE)
        expected = scene.identity.expect(frame)
        look = scene.schedule(frame, expected)
        scene.index += 1
        seen_now = None if look is None else Seen(detector(IMAGE, *look), look)
        faces = scene.identity(frame, seen_now)
        found = np.stack([frame_from_unit(MEAN_SHAPE, face.region) for face in faces]).astype(np.float32)
        sides = [(0.12 if face.region.x > 300 else 0.01) * face.region.side for face in faces]
        sigma = np.array(sides, np.float32)[:, None].repeat(15, axis=1)
        settled = scene.identity.settle(faces, Points(found, sigma))
        assert [face.id for face in settled.faces] == [0]
        assert [each.region.x > 300 for each in settled.suspected] == [True]
    assert len(detector.looks) < RATE


@pytest.mark.parametrize(
    ("score", "degrees", "sides"),
    [(0.95, 0, 0.055), (0.62, 30, 0.035), (0.95, 90, 0.03), (0.7, 180, 0.03), (0.4, 0, 0.02)],
)
def test_of_a_weak_or_turned_detection_the_network_must_be_surer(score: float, degrees: float, sides: float) -> None:
    there = replace(HERE, roll=math.radians(degrees))
    for sigma, count in ((sides, 1), (sides + 0.01, 0)):
        assert len(Scene(EachAlone(least_score=0.6))([seen(there, score)], sigma_px=sigma * HERE.side)) == count
        film = Scene(Identity(least_score=0.6))
        shown = [film([seen(there, score)], [there], sigma_px=sigma * HERE.side) for _ in range(3)]
        assert len(shown[-1]) == count


def test_a_face_does_not_flicker_at_the_limit_of_belief() -> None:
    scene = Scene()
    assert scene([seen(HERE)], [HERE], sigma_px=6.0) == ()
    scene([seen(HERE)], [HERE], sigma_px=4.5)
    assert all(scene([seen(HERE)], [HERE], sigma_px=sigma_px) for sigma_px in (6.0, 5.0, 6.0))
    assert scene([seen(HERE)], [HERE], sigma_px=9.0) == ()
    assert scene([seen(HERE)], [HERE], sigma_px=6.0) == ()
    assert [face.id for face in scene([seen(HERE)], [HERE], sigma_px=4.5)] == [0]


def test_a_weak_detection_is_a_face_when_the_network_is_sure_of_it_twice() -> None:
    scene = Scene(Identity(least_score=0.6))
    scene([])
    assert scene([seen(HERE, 0.35)], [HERE]) == ()
    assert scene.ids([seen(HERE, 0.35)], [HERE]) == [0]
    doubtful = Scene(Identity(least_score=0.6))
    doubtful([])
    assert not any(doubtful([seen(HERE, 0.35)], [HERE], sigma_px=4.5) for _ in range(5))


def test_the_crop_in_which_the_network_is_surer_counts() -> None:
    """After a fast turn the crop lags in the hair; the detector sees the face."""
    scene = Scene()
    scene([seen(HERE)], [HERE])
    turned = shifted(HERE, 20, grow=1.2, roll=math.radians(100))
    scene(None, [shifted(HERE, 5)], sigma_px=6.5)
    (face,) = scene([seen(turned)], [turned])
    assert math.degrees(face.region.roll) == pytest.approx(100, abs=1)
    assert face.id == 0


def test_nobody_keeps_an_id_across_a_cut_unless_they_look_the_same() -> None:
    rng = np.random.default_rng(0)
    rooms = [cv2.resize(rng.integers(0, 255, (6, 8, 3), np.uint8), (640, 480)) for _ in range(2)]
    people = [cv2.resize(rng.integers(0, 255, (9, 9, 3), np.uint8), (130, 130)) for _ in range(2)]

    def ids(*shots: tuple[int, int]) -> list[int]:
        scene, found = Scene(), []
        for room, person in shots:
            image = rooms[room].copy()
            image[135:265, 135:265] = people[person]
            for _ in range(10):
                scene.image = image
                found += scene.ids([seen(HERE)], [HERE])
        return found

    assert ids((0, 0), (1, 1)) == [0] * 10 + [1] * 10
    assert ids((0, 0), (1, 0)) == [0] * 20


def patch(seed: int, size: int = 130) -> np.ndarray:
    """What a person looks like, (size, size, 3)."""
    image: np.ndarray = cv2.resize(np.random.default_rng(seed).integers(0, 255, (9, 9, 3), np.uint8), (size, size))
    return image


def with_people(*people: tuple[Region, int]) -> np.ndarray:
    """A room with people, given by place and looks; the last one stands in front."""
    image: np.ndarray = cv2.resize(np.random.default_rng(99).integers(90, 150, (6, 8, 3), np.uint8), (640, 480))
    for at, looks in people:
        side = round(1.3 * at.side)
        x, y = round(at.x) - side // 2, round(at.y) - side // 2
        image[y : y + side, x : x + side] = patch(looks, side)
    return image


@pytest.mark.parametrize("gain", [1.0, 0.3])
def test_somebody_else_in_the_same_place_is_somebody_else(gain: float) -> None:
    """Two people are cut together in one room, or in one half of the picture."""
    scene, ids = Scene(), []
    for looks in (1, 2, 2, 3):
        image = cv2.convertScaleAbs(with_people((HERE, looks), (THERE, 4)), alpha=gain)
        for _ in range(10):
            scene.image = image
            ids.append(scene.ids([seen(HERE), seen(THERE)], [HERE, THERE]))
    assert ids == [[0, 1]] * 10 + [[1, 2]] * 20 + [[1, 3]] * 10


def test_ids_go_with_people_who_change_places_in_one_frame() -> None:
    """The tiles of a video call are dealt again."""
    scene, found = Scene(), []
    for looks in ((1, 2), (2, 1)):
        scene.image = with_people(*zip((HERE, THERE), looks, strict=True))
        for _ in range(10):
            faces = scene([seen(HERE), seen(THERE)], [HERE, THERE])
            found.append([face.id for face in sorted(faces, key=lambda face: face.region.x)])
    assert found == [[0, 1]] * 10 + [[1, 0]] * 10


def test_who_stays_before_a_fading_wall_keeps_the_id() -> None:
    """A speaker whose slides dissolve: that looks like a new shot, but for the speaker."""
    rng, scene, ids = np.random.default_rng(0), Scene(), []
    slides = [cv2.resize(rng.integers(0, 255, (6, 8, 3), np.uint8), (640, 480)) for _ in range(2)]
    for share in (*[0.0] * 40, *np.linspace(0, 1, 20), *[1.0] * 30):
        scene.image = cv2.addWeighted(slides[0], 1 - share, slides[1], share, 0)
        scene.image[135:265, 135:265] = patch(1)
        ids += scene.ids([seen(HERE)], [HERE])
    assert set(ids) == {0}


def test_people_keep_their_ids_though_the_camera_jumps_by_half_their_distance() -> None:
    scene, found = Scene(rate=10), []
    rows = [Region(x, 240.0, 60.0, 0.0) for x in (170.0, 270.0, 370.0)]
    for x in (*[0] * 12, 55, 0, 60, 5, 55, 0):
        at = [shifted(each, x) for each in rows]
        scene.image = with_people(*zip(at, (1, 2, 3), strict=True))
        faces = scene([seen(each) for each in at], at)
        found.append([face.id for face in sorted(faces, key=lambda face: face.region.x)])
    assert found == [[0, 1, 2]] * 18


def test_who_moves_or_is_lit_otherwise_is_the_same() -> None:
    scene = Scene()
    for gain, x in ((1.0, 0), (1.0, 30), (0.6, 30), (0.6, 0), (1.5, 10)):
        at = shifted(HERE, x)
        for _ in range(5):
            scene.image = cv2.convertScaleAbs(with_people((at, 1)), alpha=gain)
            assert scene.ids([seen(at)], [at]) == [0]


def test_a_cut_is_seen_though_every_frame_has_the_same_buffer() -> None:
    scene, ids = Scene(), []
    scene.image = buffer = np.empty_like(IMAGE)
    for shot in range(2):
        buffer[:] = cv2.resize(patch(shot), (640, 480))
        ids += [scene.ids([seen(HERE)], [HERE]) for _ in range(10)]
    assert ids == [[0]] * 10 + [[1]] * 10


@pytest.mark.parametrize("front", [0, 1])
def test_who_stands_in_front_keeps_the_own_id(front: int) -> None:
    """One walks before the other and stops half way, where the detector is off towards the other."""
    scene, behind = Scene(), 1 - front
    for x in (*[150] * 20, *range(150, 50, -10), *[28] * 10):
        at = {front: shifted(HERE, x), behind: HERE}
        scene.image = with_people((at[behind], behind), (at[front], front))
        visible = [at[front]] if x < 60 else [at[0], at[1]]
        ids = scene.ids([seen(shifted(each, -6 if x == 28 else 0)) for each in visible], visible)
    assert ids == [front]


def test_another_face_in_the_same_head_of_hair_is_somebody_else() -> None:
    scene, ids = Scene(), []
    for looks in (1, 2):
        scene.image = with_people((HERE, 1))
        scene.image[172:228, 172:228] = patch(looks)[37:93, 37:93]
        ids += [scene.ids([seen(HERE)], [HERE]) for _ in range(10)]
    assert ids == [[0]] * 10 + [[1]] * 10


def test_who_comes_back_later_and_elsewhere_is_known_by_looks() -> None:
    assert ids_of(100, [(HERE, 1)], [], [(THERE, 1)], [], [(HERE, 2)]) == [0] * 200 + [1] * 100


def test_who_comes_where_somebody_left_a_moment_ago_is_somebody_else() -> None:
    assert ids_of(20, [(HERE, 1)], [], [(HERE, 1)], [], [(HERE, 2)]) == [0] * 40 + [1] * 20


def ids_of(frames: int, *scenes: list[tuple[Region, int]]) -> list[int]:
    """The ids in a film that shows the places and looks of people in each of `scenes` for that many frames."""
    scene, ids = Scene(), []
    for people in scenes:
        scene.image = with_people(*people)
        for _ in range(frames):
            ids += scene.ids([seen(at) for at, _ in people], [at for at, _ in people])
    return ids


def test_of_two_views_of_a_detection_the_nearer_one_leads_the_crop() -> None:
    scene = Scene()
    detection = replace(seen(shifted(HERE, roll=0.1)), alternatives=(shifted(HERE, y=-50),))
    for _ in range(5):
        (face,) = scene([detection], [HERE])
        assert math.hypot(face.region.x - HERE.x, face.region.y - HERE.y) < 5


def test_nobody_keeps_an_id_across_a_dissolve() -> None:
    rng = np.random.default_rng(0)
    before, after = (cv2.resize(rng.integers(0, 255, (6, 8, 3), np.uint8), (640, 480)) for _ in range(2))
    scene, ids = Scene(), []
    for share in (*[0.0] * 30, *np.linspace(0, 1, 20), *[1.0] * 30):
        scene.image = cv2.addWeighted(before, 1 - share, after, share, 0)
        ids += scene.ids([seen(HERE)], [HERE])
    assert ids[:30] == [0] * 30
    assert ids[-30:] == [1] * 30


def test_a_new_object_knows_nobody() -> None:
    Scene()([seen(HERE), seen(THERE)])
    assert Scene(start=0.1).ids([seen(THERE)]) == [0]


def test_the_clock_may_start_anywhere() -> None:
    scene = Scene(start=5000.0)
    assert scene.ids([seen(HERE)]) == [0]
    assert scene.ids([], [HERE]) == [0]


def test_pictures_of_their_own_number_their_faces_from_zero() -> None:
    scene = Scene(EachAlone())
    assert scene.ids([seen(HERE, 0.65), seen(THERE)]) == [0, 1]
    assert scene.ids([seen(THERE)]) == [0]
    assert scene.ids([]) == []


def test_two_walkers_of_8_px_between_the_eyes_have_two_ids(shared: Path) -> None:
    results = track_video(shared / "cases" / "faces" / "two_walkers.gif", backend="cpu")
    assert {face.id for seen in results for face in seen.faces} == {0, 1}
