"""One followed face: its expected place, the best crops of it, and whether it is believed to be a face.

In: detections and the network's points for its crops.  Out: its region for the next frame, frame px.  The network's
sigma separates faces from false detections; it is measured in sides of the face's region, so that near and far faces
are treated alike.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tracker.core.likeness import Looks
from tracker.core.motion import Motion, Place
from tracker.geometry import region_from_keypoints
from tracker.types import Box, Detection, Region

BELIEVED = 0.065
"""Mean sigma, sides, for each unit of score: up to this, a detection is a face, and a face that the detector misses is
followed as long as patience lasts.  15 of 449 faces at 30 to 105 degrees of yaw are then not shown, and in 598 pictures
without people, two detections that are not even drawings of faces are shown."""
DISBELIEVED = 0.08
"""Mean sigma, sides, above which a face is no longer shown."""
DOUBTFUL = 0.035
"""Above this, other rolls and crops are tried for the face, and a face found turned is not believed: a search of all
turns has four times as many chances to be wrong.  It costs 3 of 575 turned faces."""
TURNS_OVER_S = 0.3
"""Somebody who was seen well less than this ago is hidden by something rather than turned over."""
SURE = 0.03
"""Up to this, a face is believed without the detector: it may lie, or be half hidden."""
STEEP = math.radians(45)
"""Detectors see a face that is rolled further only in a turned picture."""
LONGEST_UNSEEN_S = 10.0
"""A face that the detector misses for longer is dropped, however certain the network is."""
TRY_INSTEAD = 0.8
"""Another crop is better if its sigma is at most this share of the usual crop's."""
GROW = 1.3
"""For a doubtful face, a crop larger by this factor is tried too: crops shrink with collapsing points."""
WEIGH_BY_SIGMA = 0.015
"""Above this mean sigma, sides, points are weighted by their sigma; below it, equally.  If the frame cuts a face near
the middle, its side is then wrong by 5.1 instead of 6.3 %.  Ordinary faces have less."""

DOUBT = 1.3
"""A face without a detection triggers the detector if its sigma is higher than usual by this factor, which happens in
one frame of twenty to a hundred."""
SIGMA_SHARE = 0.1
"""Weight of each new sigma in the usual value."""

SURPRISE = 0.001
"""A crop moves half way to the face's measured place if that is this far from the expected place: in sides, in the
logarithm of the side, in radians.  Smaller surprises are mostly noise, larger ones motion.

The network reads a face that is off the crop's middle a little towards that middle, so crops that lag behind cost
more than crops that tremble: ten times this makes the error in motion three times as large, a tenth leaves the noise
of the keypoints in the crops and makes a still face's jitter half as large again.
"""
FORESIGHT_S = 0.2
"""Motion older than this says nothing about a face's present place."""

FASTEST_GROWTH = 2.0
"""Logarithm of the side per second: somebody who jumps at the camera.  Half hidden, keypoints change faster."""
FASTEST_ROLL = 6.0
"""Radians per second."""

COURSE_S = 0.1
"""Time over which motion is averaged to extrapolate it out of sight."""

STRAY_SIDES = 0.3
STRAY_RATIO = 1.3
STRAY_ROLL = math.radians(60)
"""If the region of keypoints is further than this from their crop, they belong to no face."""
FRESH_STRAY = 1.6
"""How many times as far they may lie from a detector's crop."""
SLACK_SIDES, SLACK_LOG_SIDE, SLACK_ROLL = 0.06, 0.16, math.radians(60)
"""How far a face's region may lie from its detection, which pulls it along: in each coordinate of the centre, in the
logarithm of the side, in radians.  Two to three times the noise of the detector's region; its roll is hardly known (see
`detectors.yunet.FRAMING`)."""
TURN_DOUBLING_SLACK = math.radians(15)
"""A detector that misjudges the roll by this much misjudges the place twice as far."""


class Answer(NamedTuple):
    """The network's answer for one crop of a face."""

    crop: Region
    region: Region
    """The face's region according to them, frame px."""
    sigma_sides: float
    """The mean of their sigma, in sides of `region`."""

    @classmethod
    def of(cls, crop: Region, keypoints: NDArray[np.float32], sigma: NDArray[np.float32], mean_px: float) -> "Answer":
        """Keypoints (15, 2) and sigma (15,) with its mean, frame px."""
        doubtful = WEIGH_BY_SIGMA * crop.side < mean_px < math.inf
        region = region_from_keypoints(keypoints, sigma if doubtful else None)
        sigma_sides = mean_px / region.side
        if not math.isfinite(sigma_sides + region.x + region.y):  # a network that overflows has found nothing
            return cls(crop, crop, math.inf)
        return cls(crop, region, sigma_sides)


@dataclass(slots=True, eq=False)
class Known:
    """A face that the tracker follows; without an id it is not yet believed to be one."""

    id: int | None
    region: Region
    """Its expected region in the current frame; frame px."""
    motion: Motion
    """Its place according to its keypoints, or to the detector if they made no sense; frame px."""
    settled_at: float
    """Timestamp of its last place, s."""
    box: Box
    box_region: Region
    """The region that the detector gave with `box`; without a detection the box moves and grows as the face does."""
    score: float
    detected_at: float
    """Timestamp of the last detection, s."""
    tries: tuple[Region, ...] = ()
    """Other crops to try in the current frame, frame px."""
    fresh: bool = True
    """Known only from the detector."""
    followed: bool = False
    """Followed into the current frame without a detection."""
    shown: bool = False
    """Whether it is believed to be a face."""
    detections: int = 1
    refused: int = 0
    """Consecutive looks that saw it while it was not believed."""
    step_s: float = 0.0
    """Duration of the last step that updated them."""
    course: complex = 0j
    """The velocity averaged over `COURSE_S`, for as long as the detector does not miss the face."""
    missed_at: float | None = None
    """Timestamp of the first look that missed it since it was detected, s."""
    sigma: float = 0.0
    """Mean sigma of its keypoints in the last frame, in sides of its region; infinite if they made no sense."""
    usual_sigma: float | None = None
    """The same while the detector sees it, averaged."""
    clear_at: float = -math.inf
    """Timestamp of the last frame in which it was not doubtful, s."""
    looks: Looks = field(default_factory=Looks)
    doubted: bool = True
    """Whether it may be somebody else than its id says."""

    @classmethod
    def born(cls, detection: Detection, now: float) -> "Known":
        """What a detection may show."""
        region = detection.region
        place = Motion(place_of(region))
        return cls(None, region, place, now, detection.box, region, detection.score, now, detection.alternatives)

    @property
    def is_doubtful(self) -> bool:
        return self.sigma > DOUBTFUL

    @property
    def is_clear(self) -> bool:
        """Whether it is seen so well that its look tells who it is."""
        return self.shown and not self.is_doubtful

    @property
    def last_region(self) -> Region:
        """Its region at the last update."""
        return region_of(self.motion.place)

    def foresee(self, now: float) -> None:
        """Predict its region, assuming that it moves, grows and turns as before."""
        self.region = region_of(self.motion.after((now - self.settled_at) * self._trust(now)))
        self.followed, self.tries = True, ()

    def confirm(self, detection: Detection, now: float) -> None:
        views = (detection.region, *detection.alternatives)
        if self.is_doubtful or self.looks.glimpsed_at == self.settled_at:  # or another face is elsewhere in the crop
            self.tries = views
        alike = min(views, key=partial(_unlike, self.region))
        if abs(_turn(self.region, alike)) <= STRAY_ROLL or self.is_doubtful:
            self.region = _leashed(self.region, alike)
        self.box, self.box_region = detection.box, alike
        self.detections += now > self.detected_at
        self.score, self.detected_at, self.missed_at, self.followed = detection.score, now, None, False

    def return_to(self, detection: Detection, now: float) -> None:
        """It was lost and is back."""
        self.region, self.motion = detection.region, Motion(place_of(detection.region))
        self.settled_at, self.fresh, self.doubted = now, True, True
        self.confirm(detection, now)
        self.tries = detection.alternatives

    def crops(self) -> list[tuple[Region, bool]]:
        """The regions to look at in this frame, and whether only the detector gave them; the usual one first."""
        may_have_shrunk = self.is_doubtful and not self.fresh and math.isfinite(self.sigma)
        larger = [(replace(self.region, side=GROW * self.region.side), False)] if may_have_shrunk else []
        return [(self.region, self.fresh), *((each, True) for each in self.tries), *larger]

    def learn(self, answers: Sequence[Answer], shape: tuple[int, ...], now: float) -> int:
        """Record the network's answers for `crops`; returns the index of the chosen one."""
        chosen = 0
        for i, answer in enumerate(answers):
            if not answers[chosen].sigma_sides * (TRY_INSTEAD if chosen == 0 else 1.0) <= answer.sigma_sides:
                chosen = i
        crop, region, sigma_sides = answers[chosen]
        reach = FRESH_STRAY if self.fresh or chosen else 1.0
        seen = not self.followed
        resizable = seen and sigma_sides <= SURE and (self.fresh or region.side < crop.side)
        resized = resizable and _is_concentric(region, crop)
        sensible = (resized or _is_near(region, crop, reach)) and _is_inside(region, shape)
        if sensible and not chosen:
            self._settle(region, now)
        else:
            self.motion, self.settled_at = Motion(place_of(region if sensible else self.region)), now
        self.sigma = sigma_sides if sensible or (seen and math.isfinite(sigma_sides)) else math.inf
        self.fresh = False
        self.clear_at = self.clear_at if self.is_doubtful else now
        if sensible and seen:
            usual = sigma_sides if self.usual_sigma is None else self.usual_sigma
            self.usual_sigma = usual + SIGMA_SHARE * (sigma_sides - usual)
        return chosen

    def may_be_turned(self, now: float) -> bool:
        """Whether the detector may have mistaken a rolled face for an upright one: nobody turns over in a moment."""
        return self.is_doubtful and not self.followed and now - self.clear_at >= TURNS_OVER_S

    def is_unsure(self) -> bool:
        """Whether it was followed without a detection and is less certain than usual."""
        return self.followed and self.sigma > DOUBT * (self.sigma if self.usual_sigma is None else self.usual_sigma)

    def is_lost(self, max_doubt: float) -> bool:
        """Whether its keypoints show that following it without a detection has failed."""
        usual = self.sigma if self.usual_sigma is None else self.usual_sigma
        return self.followed and self.sigma > max(max_doubt * usual, BELIEVED * self.score)

    def has_left(self, now: float, patience_s: float) -> bool:
        """Whether the detector has missed it for too long; longer if the network is certain."""
        longest_s = LONGEST_UNSEEN_S if self.sigma <= SURE else patience_s
        return self.missed_at is not None and now - self.missed_at >= longest_s

    def believe(self) -> None:
        """Decide whether it is shown."""
        turned = abs(self.last_region.roll) > STEEP
        new = min(BELIEVED * self.score, DOUBTFUL if turned else math.inf)
        self.shown = self.sigma <= (DISBELIEVED if self.shown else new)
        if not self.followed:
            self.refused = 0 if self.shown else self.refused + 1

    def as_detection(self) -> Detection:
        """A possible face, for privacy."""
        return Detection(self.moved_box(), self.score, self.region)

    def moved_box(self) -> Box:
        """The detector's box; if it did not see the face, its last box, moved and scaled with the face's region."""
        if not self.followed:
            return self.box
        old, new = self.box_region, self.region
        growth = new.side / old.side
        return self.box.mapped(lambda x, y: (new.x + (x - old.x) * growth, new.y + (y - old.y) * growth))

    def _trust(self, now: float) -> float:
        """How much of its velocity to believe, 0..1.

        Cameras deliver frames in bursts: motion within 2 ms says nothing about the next 60 ms.
        """
        elapsed = now - self.settled_at
        return min(1.0, 2 * self.step_s / elapsed) if 0 < elapsed <= FORESIGHT_S else 0.0

    def _settle(self, seen: Region, now: float) -> None:
        """Record its place according to the keypoints; only for the first look at a frame, if there are several."""
        elapsed, motion = now - self.settled_at, self.motion
        if elapsed == 0 and not self.fresh:
            return
        if elapsed > 0 and not self.fresh:
            trust = self._trust(now)
            motion.centre_speed, motion.turn_speed = trust * motion.centre_speed, trust * motion.turn_speed
            side = math.exp(motion.place.turn.real + elapsed * motion.turn_speed.real)
            motion.follow(place_of(seen), elapsed, SURPRISE * side, SURPRISE)
            growth, roll = motion.turn_speed.real, motion.turn_speed.imag
            motion.turn_speed = complex(_clip(growth, FASTEST_GROWTH), _clip(roll, FASTEST_ROLL))
            self.step_s = elapsed
            if self.missed_at is None:
                self.course += elapsed / (elapsed + COURSE_S) * (motion.centre_speed - self.course)
        else:
            motion.place = place_of(seen)
        self.settled_at = now


def place_of(region: Region) -> Place:
    return Place(complex(region.x, region.y), complex(math.log(region.side), region.roll))


def region_of(place: Place) -> Region:
    return Region(place.centre.real, place.centre.imag, math.exp(place.turn.real), place.turn.imag)


def _leashed(region: Region, holder: Region) -> Region:
    """`region`, pulled just far enough towards `holder`: steady while they agree, unable to drift away."""
    turn = _clip(_turn(region, holder), SLACK_ROLL)
    growth = _clip(math.log(region.side / holder.side), SLACK_LOG_SIDE)
    reach = SLACK_SIDES * holder.side * (1 + abs(turn) / TURN_DOUBLING_SLACK)
    return Region(
        holder.x + _clip(region.x - holder.x, reach),
        holder.y + _clip(region.y - holder.y, reach),
        holder.side * math.exp(growth),
        holder.roll + turn,
    )


def _turn(one: Region, other: Region) -> float:
    return math.remainder(one.roll - other.roll, math.tau)


def _unlike(one: Region, other: Region) -> float:
    """Distance in sides, plus the angle between them in rad."""
    return math.hypot(one.x - other.x, one.y - other.y) / other.side + abs(_turn(one, other))


def _is_inside(region: Region, shape: tuple[int, ...]) -> bool:
    return 0 <= region.x < shape[1] and 0 <= region.y < shape[0]


def _is_concentric(region: Region, crop: Region) -> bool:
    """Whether one lies within the other: the detector may be wrong about a face's size by a factor of three."""
    return math.hypot(region.x - crop.x, region.y - crop.y) <= abs(region.side - crop.side) / 2


def _is_near(region: Region, crop: Region, reach: float) -> bool:
    """Whether keypoints with this region can have been found in that crop.  False for keypoints that are not finite."""
    return (
        math.hypot(region.x - crop.x, region.y - crop.y) <= reach * STRAY_SIDES * crop.side
        and abs(math.log(region.side / crop.side)) <= reach * math.log(STRAY_RATIO)
        and abs(_turn(region, crop)) <= STRAY_ROLL
    )


def _clip(value: float, bound: float) -> float:
    return min(max(value, -bound), bound)
