"""The common clock of a film: the time of each packet of picture and sound, s since the film's start.

In: an open container.  Out: its packets, in order, with their times moved onto the common clock.  A container's own
clocks may start anywhere, go back where recordings were joined, jump ahead where one was interrupted, or wrap.  Every
reader of the same streams gets the same times, so picture and sound stay in step although they are read separately.
"""

import errno
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import av

from tracker.errors import SourceError

log = logging.getLogger(__name__)

BACK_S = 0.1
"""How far the decoding times of a stream may go back before that counts as a break; FFmpeg's own value."""

DISORDER_S = 1.0
"""The same for presentation times, which are out of order wherever a stream has B-frames."""

AHEAD_S = 10.0
"""How far times may jump ahead before that counts as a break; FFmpeg's own value."""

LONGEST_GAP_S = 3600.0
"""Longer gaps are removed from every film.  Shorter ones are kept if the container's clock does not break by design."""

JOIN_S = 1.0
"""How far a stream may go back to stay in step with one that passed a break before it."""

WRAP_S = float(Fraction(1 << 33, 90_000))
"""After this time the 33-bit clock of MPEG wraps to 0."""

MISSING_S = 1.0
MISSING_SHARE = 0.02
"""A film that ends earlier than its header says by this time and this share of its length counts as cut off."""

TOLD = 3
"""Number of breaks that are reported individually; the others are counted at the end."""

MAX_UNREADABLE = 1000
"""Consecutive errors after which the rest of a damaged container is skipped."""

DISK_FAILURES = frozenset({errno.EIO, errno.ENXIO, errno.ENODEV, errno.ESTALE, errno.ETIMEDOUT, errno.EACCES})
"""Errors of the system when the file is out of reach; every other error is damage in the film."""


@dataclass(slots=True)
class _Progress:
    """The position of one stream."""

    stretch: int
    """Index of the clock that its packets count by."""
    last_s: float
    """When its last packet is due, on the common clock."""
    next_s: float
    """When its next packet is expected."""
    step_s: float = 0.0
    """From its last packet but one to its last."""
    by_display: bool = False
    """Whether its last packet only said when it is shown, not when it is decoded."""
    tick_s: float = 0.0
    """What its packets count in; kept, because PyAV makes a fraction of it each time."""

    @property
    def end_s(self) -> float:
        """When its last packet ends; it lasts no longer than the one before, whatever it claims."""
        return min(self.next_s, self.last_s + self.step_s) if self.step_s > 0 else self.next_s


@dataclass(slots=True)
class Timeline:
    """Moves packets onto the common clock; feed it every packet of its streams, in the order of the file."""

    name: str
    """Of the film, for messages."""
    zero_s: float
    """The container's own time at the film's start."""
    breaks: bool
    """Whether clocks of this kind of container break by design, as those of broadcasts do."""
    offsets_s: list[float] = field(default_factory=list)
    """One per stretch of the film with a clock of its own: what is added to its times."""
    told: int | None = None
    """Breaks seen so far; None if they are not reported."""
    _progress: dict[int, _Progress] = field(default_factory=dict)

    def place(self, packet: Any) -> None:
        """Move the packet's times, in place.  A packet without a time stays as it is."""
        by_display = packet.dts is None
        claimed = packet.pts if by_display else packet.dts
        if claimed is None:
            return
        progress = self._progress.get(packet.stream_index)
        tick_s = float(packet.time_base) if progress is None else progress.tick_s
        claimed_s = claimed * tick_s
        if progress is None:
            progress = self._progress[packet.stream_index] = self._begun(claimed_s)
            progress.tick_s = tick_s
        elif not self._follows(claimed_s, progress, DISORDER_S if by_display or progress.by_display else BACK_S):
            progress.stretch = self._other_stretch(claimed_s, progress)
        at_s = claimed_s + self.offsets_s[progress.stretch]
        progress.step_s, progress.last_s = at_s - progress.last_s, at_s
        progress.next_s, progress.by_display = at_s + (packet.duration or 0) * tick_s, by_display
        _move(packet, self.offsets_s[progress.stretch], tick_s)

    def carry(self, packet: Any) -> None:
        """Move a packet of another stream, such as a subtitle, by the clock that the film has where it lies."""
        _move(packet, self.offsets_s[-1] if self.offsets_s else -self.zero_s, float(packet.time_base))

    def tell_end(self, promised_s: float | None) -> None:
        """Tell how many breaks were not reported one by one, or that the film ended before its header says, s."""
        if self.told is None:
            return
        if self.told > TOLD:
            log.warning("%s: its clock breaks %d more times", self.name, self.told - TOLD)
        end_s = max((each.next_s for each in self._progress.values()), default=0.0)
        whole = promised_s is None or promised_s - end_s < max(MISSING_S, MISSING_SHARE * promised_s)
        if not whole and len(self.offsets_s) == 1:
            told = "%s: it ends at %.1f s, but its header says %.1f s; if it is cut off, get a complete copy"
            log.warning(told, self.name, end_s, promised_s)

    def tell_damage(self) -> None:
        """Tell that nothing can be read from here on."""
        if self.told is not None:
            log.warning("%s: damaged from %.2f s on, the rest is lost; get another copy", self.name, self._end_s)

    @property
    def _end_s(self) -> float:
        return max((each.end_s for each in self._progress.values()), default=0.0)

    @property
    def _limit_s(self) -> float:
        return AHEAD_S if self.breaks else LONGEST_GAP_S

    def _begun(self, claimed_s: float) -> _Progress:
        """The first packet of a stream: on a known clock if that is plausible, else its own begins with the film."""
        if not self.offsets_s:
            far = abs(claimed_s - self.zero_s) > self._limit_s
            self.offsets_s.append(-claimed_s if far else -self.zero_s)
        for stretch in reversed(range(len(self.offsets_s))):
            at_s = claimed_s + self.offsets_s[stretch]
            if -self._limit_s <= at_s <= self._end_s + self._limit_s:
                return _Progress(stretch, at_s, at_s)
        at_s = self._end_s if self._end_s > AHEAD_S else 0.0
        self.offsets_s.append(at_s - claimed_s)
        return _Progress(len(self.offsets_s) - 1, at_s, at_s)

    def _follows(self, claimed_s: float, progress: _Progress, back_s: float) -> bool:
        """Whether the packet follows the last one of its stream; a kept gap is reported."""
        at_s = claimed_s + self.offsets_s[progress.stretch]
        jump_s = at_s - progress.end_s
        if at_s < progress.last_s - back_s:
            return False
        if jump_s <= AHEAD_S or jump_s < 4 * progress.step_s or self._others_are_at(at_s, progress):
            return True
        if jump_s > self._limit_s:
            return False
        self._tell(f"nothing comes for {jump_s:.1f} s at {progress.end_s:.2f} s; the gap is kept")
        return True

    def _others_are_at(self, at_s: float, progress: _Progress) -> bool:
        """Whether another stream has come as far by the same clock: then this one was only silent."""
        others = (each for each in self._progress.values() if each is not progress)
        return any(each.stretch == progress.stretch and abs(each.end_s - at_s) < AHEAD_S for each in others)

    def _other_stretch(self, claimed_s: float, progress: _Progress) -> int:
        """The stretch that the packet belongs to: a known one whose clock fits, or a new one after all others."""
        for stretch in reversed(range(len(self.offsets_s))):
            jump_s = claimed_s + self.offsets_s[stretch] - progress.end_s
            back_s = JOIN_S if stretch > progress.stretch else BACK_S
            if stretch != progress.stretch and -back_s <= jump_s <= AHEAD_S:
                return stretch
        own_s = self.offsets_s[progress.stretch]
        jump_s = claimed_s + own_s - progress.end_s
        if self.breaks and -BACK_S <= jump_s + WRAP_S <= AHEAD_S:
            self.offsets_s.append(own_s + WRAP_S)
        else:
            self.offsets_s.append(self._end_s - claimed_s)
            how = f"goes back by {-jump_s:.1f} s" if jump_s < 0 else f"jumps ahead by {jump_s:.1f} s"
            self._tell(f"its clock {how} at {self._end_s:.2f} s; picture and sound go on there without a gap")
        return len(self.offsets_s) - 1

    def _tell(self, what: str) -> None:
        if self.told is not None:
            self.told += 1
            if self.told <= TOLD:
                log.warning("%s: %s", self.name, what)


def _move(packet: Any, offset_s: float, tick_s: float) -> None:
    if offset_s == 0:
        return
    shift = round(offset_s / tick_s)
    packet.pts = None if packet.pts is None else packet.pts + shift
    packet.dts = None if packet.dts is None else packet.dts + shift


@dataclass(slots=True)
class Reader:
    """The packets of some streams of a container, on the common clock; damage is skipped and counted."""

    container: Any
    streams: Sequence[Any]
    timeline: Timeline
    texts: Sequence[Any] = ()
    """Subtitles that are read too, and do not make the clock."""
    skipped: int = 0
    """Places where the container could not be read."""
    gave_up: bool = False
    """Whether the film ended before anything could be read."""

    @property
    def _promised_s(self) -> float | None:
        """When the film ends by its header; None if that does not say it, or counts other streams too."""
        if self.timeline.breaks:
            return None
        lengths = [max(each.duration or 0, each.frames) for each in self.streams]  # an AVI counts frames only
        if all(lengths):
            begun = zip(self.streams, lengths, strict=True)
            ends_s = [float(((each.start_time or 0) + length) * each.time_base) for each, length in begun]
            return max(ends_s) - self.timeline.zero_s
        alone = len(self.streams) == len(self.container.streams)
        return self.container.duration / av.time_base if alone and self.container.duration else None

    def __iter__(self) -> Iterator[Any]:
        """Yields PyAV's packets, and at the end an empty one per stream.  Raises SourceError when the disk fails."""
        texts = {each.index for each in self.texts}
        in_a_row = 0
        while in_a_row < MAX_UNREADABLE:
            try:
                for packet in self.container.demux(*self.streams, *self.texts):
                    in_a_row = 0
                    (self.timeline.carry if packet.stream_index in texts else self.timeline.place)(packet)
                    yield packet
                self.timeline.tell_end(self._promised_s)
                return
            except IndexError:  # PyAV 18, at the very end: a stream that showed up while reading is unknown to it
                return
            except av.FFmpegError as error:
                if error.errno in DISK_FAILURES and not self.container.name.startswith("file:"):
                    break  # a server that is gone is not asked a thousand times
                if error.errno in DISK_FAILURES:
                    raise SourceError(
                        f"{self.timeline.name}: reading broke off: {error.strerror}; is the disk still there?"
                    ) from error
                self.skipped += in_a_row == 0
                in_a_row += 1
        self.gave_up = True
        self.timeline.tell_damage()


def open_reader(container: Any, name: str, streams: Sequence[Any], *, tell: bool, texts: Sequence[Any] = ()) -> Reader:
    """The packets of `streams` and `texts`; with `tell`, faults of the clock are logged, each once."""
    breaks = bool(container.format.flags & av.format.Flags.ts_discont.value)
    zero_s = (container.start_time or 0) / av.time_base
    return Reader(container, streams, Timeline(name, zero_s, breaks, told=0 if tell else None), texts)
