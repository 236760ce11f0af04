"""How closely the detector looks at each frame, from what is known of the faces and from the picture itself."""

import math
from typing import Literal

import cv2
import numpy as np
import pytest

from tracker.core.association import Followed
from tracker.core.cuts import Thumbnail
from tracker.core.schedule import EveryFrame, LookPlan, OnDemand, schedule_of
from tracker.detectors.search import parts_of
from tracker.types import ALL_TURNS, CLOSE, EVERY_PART, EVERY_PART_TURNED, Frame, Look, Region

EMPTY, LARGE = np.zeros((480, 640, 3), np.uint8), np.zeros((1080, 1920, 3), np.uint8)
PERSON = Region(507.0, 325.0, 37.0, 0.0)
"""Where the face is in `room`."""
GLANCE = Look(smallest=PERSON.side)
SURE = Followed((PERSON,), in_doubt=False, is_sure=True, rested_s=0.2, close_rested_s=0.2, period_s=1 / 30)
UNSURE = SURE._replace(in_doubt=True, is_sure=False)


def seeing(image: np.ndarray, faces: Followed = SURE, **known: float) -> tuple[Frame, Followed]:
    """A frame, and what is known of its faces."""
    return frame(image), faces._replace(thumbnail=Thumbnail.of(image), **known)


def frame(image: np.ndarray = EMPTY) -> Frame:
    return Frame(image, 0, 0.0)


def test_every_n_looks_at_the_first_and_each_nth_frame_and_sooner_in_doubt() -> None:
    every_third = schedule_of(3)
    looks = [every_third(frame(), SURE) for _ in range(7)]
    assert [look is None for look in looks] == [False, True, True, False, True, True, False]
    assert None not in [every_third(frame(), UNSURE) for _ in range(3)]
    every_one = schedule_of(1)
    assert None not in [every_one(frame(), SURE) for _ in range(3)]


def test_every_third_look_is_close_and_so_is_every_look_in_doubt() -> None:
    schedule = schedule_of(1)
    looks = [schedule(frame(), SURE) for _ in range(7)]
    assert looks == [CLOSE, GLANCE, GLANCE, CLOSE, GLANCE, GLANCE, CLOSE]
    assert [schedule(frame(), UNSURE) for _ in range(3)] == [CLOSE] * 3


def test_without_glances_every_look_is_close() -> None:
    schedule = schedule_of(1, LookPlan(glances=0))
    assert [schedule(frame(), SURE) for _ in range(4)] == [CLOSE] * 4


@pytest.mark.parametrize(("rest_s", "glances"), [(1 / 3, 2), (0.5, 1), (0.9, 1), (1.0, 0), (2.0, 0)])
def test_whoever_looks_seldom_looks_closely_once_a_second(rest_s: float, glances: int) -> None:
    schedule = schedule_of(1)
    close_rested_s, looks = rest_s, []
    for _ in range(2 + glances):
        looks.append(schedule(frame(), SURE._replace(rested_s=rest_s, close_rested_s=close_rested_s)))
        close_rested_s = rest_s if looks[-1] == CLOSE else close_rested_s + rest_s
    assert looks == [CLOSE, *[GLANCE] * glances, CLOSE]


def test_a_glance_or_a_skipped_frame_that_leaves_doubt_is_followed_by_a_close_look() -> None:
    schedule = schedule_of(1)
    schedule(frame(), SURE)
    assert schedule(frame(), SURE) == GLANCE
    assert schedule.closer(GLANCE) == CLOSE
    assert [schedule(frame(), SURE) for _ in range(3)] == [GLANCE, GLANCE, CLOSE]
    assert schedule.closer(None) == CLOSE
    assert EveryFrame().closer(CLOSE) is None


def test_a_close_look_that_leaves_doubt_is_followed_by_a_search_but_not_all_the_time() -> None:
    schedule = schedule_of(1)
    searched = []
    for index in range(30):
        look = schedule(Frame(EMPTY, index, index / 30), UNSURE)
        searched.append(schedule.closer(look) == Look(turns=ALL_TURNS))
    assert [index for index, yes in enumerate(searched) if yes] == [0, 15]
    assert schedule.closer(Look(turns=ALL_TURNS)) is None
    again = schedule(Frame(EMPTY, 30, 1.01), UNSURE._replace(begins_shot=True))
    assert schedule.closer(again) == Look(turns=ALL_TURNS)


def test_rolled_people_are_looked_at_as_they_are_rolled() -> None:
    schedule = schedule_of(1)
    lying = SURE._replace(turns=(3,))
    assert [schedule(frame(), lying) for _ in range(2)] == [Look(turns=(0, 3)), Look(PERSON.side, (3,))]


def test_large_pictures_are_looked_at_part_by_part_between_other_looks() -> None:
    for image, expected in ((LARGE, [0, 1, 2, 3]), (EMPTY, [])):
        schedule = schedule_of(100, LookPlan(in_parts=True))
        looks = [schedule(Frame(image, index, index / 30), SURE) for index in range(12)]
        assert looks[0] == CLOSE
        assert [look.part for look in looks[1:] if look is not None] == expected


@pytest.mark.parametrize("every", [1, "auto"])
def test_parts_and_the_whole_take_turns_while_somebody_is_in_doubt(every: int | Literal["auto"]) -> None:
    """Small newcomers are seen in parts only, and an empty scene is always in doubt."""
    for rate, parts in ((30, 6), (5, 12)):
        schedule = schedule_of(every, LookPlan(in_parts=True))
        looks = [schedule(Frame(LARGE, index, index / rate), UNSURE) for index in range(24)]
        assert None not in looks
        assert parts <= sum(look.part is not None for look in looks) <= 12


def test_every_part_is_searched_upright_lying_on_either_side_and_as_people_are_rolled() -> None:
    schedule = schedule_of("auto", LookPlan(in_parts=True))
    seen = [schedule(Frame(LARGE, index, index / 5), UNSURE) for index in range(200)]
    turns = [set() for _ in range(3)]
    for look in seen:
        if look.part is not None and look.part % len(parts_of(1920, 1080)) < 3:
            turns[look.part % len(parts_of(1920, 1080))] |= {*look.turns}
    assert turns == [{0, 1, 3}] * 3
    lying = schedule(Frame(LARGE, 200, 40.0), SURE._replace(turns=(0, 2)))
    assert 2 in lying.turns


def test_a_thorough_search_of_live_pictures_takes_every_other_frame_at_most() -> None:
    looks = LookPlan(0, in_parts=True, thorough=True, all_parts_s=math.inf, all_turns_s=math.inf)
    schedule = schedule_of(1, looks)
    parts = [
        schedule(Frame(EMPTY, index, index / 10), SURE._replace(begins_shot=index == 0)).part for index in range(6)
    ]
    assert parts == [EVERY_PART_TURNED, 0, None, 1, None, 2]
    assert schedule(Frame(EMPTY, 7, 9.0), SURE._replace(begins_shot=True)).part is None


def test_a_shot_of_a_film_begins_with_a_look_at_all_parts() -> None:
    schedule = schedule_of("auto", LookPlan(in_parts=True, all_parts_s=math.inf))
    assert schedule(*seeing(EMPTY, Followed(begins_shot=True))).part == EVERY_PART
    assert schedule(*seeing(EMPTY, UNSURE)).part is None


def test_a_picture_that_has_changed_is_looked_at_closely() -> None:
    schedule = schedule_of("auto")
    grays = [(UNSURE, 0), (SURE, 100), (SURE._replace(rested_s=0.5), 200), (SURE._replace(rested_s=0.5), 200)]
    looks = [schedule(*seeing(np.full_like(EMPTY, gray), faces)) for faces, gray in grays]
    assert looks == [CLOSE, CLOSE, CLOSE, GLANCE]


@pytest.fixture
def room(portrait: np.ndarray) -> np.ndarray:
    """A person in the right half of an empty room, (480, 640, 3)."""
    room = np.full((480, 640, 3), 120, np.uint8)
    room[280:, 460:560] = cv2.resize(portrait, (200, 200), interpolation=cv2.INTER_AREA)[:, 40:140]
    return room


@pytest.fixture
def on_demand(room: np.ndarray) -> OnDemand:
    """It has looked once at the room."""
    schedule = OnDemand()
    assert schedule(*seeing(room, UNSURE)) == CLOSE
    return schedule


def test_on_demand_a_picture_that_stays_the_same_is_not_looked_at(on_demand: OnDemand, room: np.ndarray) -> None:
    noise = np.random.default_rng(0).normal(0, 4, room.shape)
    assert on_demand(*seeing(np.clip(room + noise, 0, 255).astype(np.uint8))) is None
    assert on_demand(*seeing(room, UNSURE)) is not None


def test_on_demand_somebody_who_enters_is_looked_at(on_demand: OnDemand, room: np.ndarray) -> None:
    entering = room.copy()
    entering[280:, :100] = room[280:, 460:560]
    assert on_demand(*seeing(entering, rested_s=0.05)) is None
    assert on_demand(*seeing(entering, rested_s=0.1)) == CLOSE
    assert on_demand(*seeing(entering)) is None


def test_on_demand_somebody_who_moves_is_no_news(on_demand: OnDemand, room: np.ndarray) -> None:
    moved = np.full_like(room, 120)
    moved[287:, 455:555] = room[280:473, 460:560]
    assert on_demand(*seeing(moved)) is None


def test_on_demand_a_picture_of_another_size_is_looked_at(on_demand: OnDemand, room: np.ndarray) -> None:
    assert on_demand(*seeing(room[:400])) is not None


def test_a_number_of_frames_must_be_one_or_more() -> None:
    with pytest.raises(ValueError, match="1 or more"):
        schedule_of(0)
