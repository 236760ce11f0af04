"""Place and motion of a face: one alpha-beta filter, used to place crops and to smooth the shown points.

A similarity has two complex parts, in any space: its centre x + iy, and its turn, the logarithm of its size + i times
its roll (rad).  Each part is filtered with its speed, so that steady motion is predicted.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple


class Place(NamedTuple):
    """A similarity: place, size and roll."""

    centre: complex
    turn: complex


@dataclass(slots=True, eq=False)
class Motion:
    """An alpha-beta filter of a place.  Its alpha grows with the surprise, the part of a step that was not predicted.

    Half of a surprise of size `half` is believed, so the filter follows starts and stops within a frame and still
    averages noise.  Beta follows from alpha as in a critically damped filter (Benedict and Bordner 1962).
    """

    place: Place
    centre_speed: complex = 0j
    """Of the centre, per second."""
    turn_speed: complex = 0j

    def after(self, elapsed_s: float) -> Place:
        """The place `elapsed_s` later at constant motion."""
        centre, turn = self.place
        return Place(centre + elapsed_s * self.centre_speed, turn + elapsed_s * self.turn_speed)

    def follow(self, seen: Place, elapsed_s: float, half: float, half_turn: float) -> None:
        """Move towards the place `seen` `elapsed_s` later; surprises of `half` and `half_turn` count by half."""
        centre, turn = self.after(elapsed_s)
        turned = seen.turn - turn
        step, gain = _correction(seen.centre - centre, half)
        turn_step, turn_gain = _correction(complex(turned.real, math.remainder(turned.imag, math.tau)), half_turn)
        self.place = Place(centre + step, turn + turn_step)
        self.centre_speed += gain / elapsed_s
        self.turn_speed += turn_gain / elapsed_s


def _correction(surprise: complex, half: float) -> tuple[complex, complex]:
    """How much of a surprise to believe: of the place, and (per elapsed time) of the speed."""
    alpha = abs(surprise) / (abs(surprise) + half)
    return alpha * surprise, alpha**2 / (2 - alpha) * surprise
