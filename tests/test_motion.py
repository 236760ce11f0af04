"""The one alpha-beta filter: what moves evenly is foreseen, what trembles is averaged, a start is followed at once."""

import math

import numpy as np
import pytest

from tracker.core.motion import Motion, Place


def test_even_motion_growth_and_roll_are_foreseen() -> None:
    motion = Motion(Place(0j, 0j))
    for index in range(1, 31):
        motion.follow(Place(index * (4 + 2j), index * (0.01 + 0.02j)), 1 / 30, half=0.1, half_turn=0.001)
    assert motion.after(1 / 30).centre == pytest.approx(31 * (4 + 2j), abs=0.01)
    assert motion.after(1 / 30).turn == pytest.approx(31 * (0.01 + 0.02j), abs=0.001)


def test_a_tremble_is_halved_and_a_jump_is_followed() -> None:
    rng = np.random.default_rng(0)
    motion, seen, kept = Motion(Place(0j, 0j)), [], []
    for _ in range(200):
        place = Place(complex(*rng.normal(0, 0.1, 2)), 0j)
        motion.follow(place, 1 / 30, half=1.0, half_turn=0.01)
        seen.append(place.centre)
        kept.append(motion.place.centre)
    assert np.std(kept) < 0.5 * np.std(seen)
    motion.follow(Place(100 + 0j, 0j), 1 / 30, half=1.0, half_turn=0.01)
    assert motion.place.centre.real > 95


def test_a_roll_takes_the_short_way_round() -> None:
    motion = Motion(Place(0j, complex(0, math.radians(179))))
    motion.follow(Place(0j, complex(0, math.radians(-179))), 1 / 30, half=1.0, half_turn=0.001)
    assert math.degrees(motion.place.turn.imag) == pytest.approx(181, abs=0.2)
