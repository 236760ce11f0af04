"""Drawing once for several sinks, and closing all of them whatever happens."""

from functools import partial

import numpy as np
import pytest
from films import nobody

from tracker.errors import SinkError
from tracker.sinks.contract import Quit, annotated, through
from tracker.types import Frame


class Kept:
    """Keeps what it is given; closing or writing fails where asked."""

    def __init__(self, *, write_error=None, close_error=None):
        self.written, self.closed = [], False
        self._write_error, self._close_error = write_error, close_error

    def write(self, tracked):
        self.written.append(tracked)
        if self._write_error is not None:
            raise self._write_error

    def close(self):
        self.closed = True
        if self._close_error is not None:
            raise self._close_error


def empty():
    return nobody(Frame(np.zeros((8, 8, 3), np.uint8), 3, 0.1, "a.png"))


def test_every_sink_gets_the_same_drawing_made_once():
    drawings = []

    def draw(tracked):
        drawings.append(tracked.frame.image + 1)
        return drawings[-1]

    first, second = Kept(), Kept()
    tracked = empty()
    through(partial(annotated, draw), [first, second]).write(tracked)
    assert len(drawings) == 1
    assert first.written[0].frame.image is second.written[0].frame.image is drawings[0]
    assert (tracked.frame.image == 0).all()
    assert first.written[0].frame.index == 3
    assert first.written[0].frame.name == "a.png"
    assert first.written[0].keypoints is tracked.keypoints


def test_a_viewer_who_quits_does_not_keep_the_frame_from_the_film_before():
    film, window = Kept(), Kept(write_error=Quit())
    with pytest.raises(Quit):
        through(lambda tracked: tracked, [film, window]).write(empty())
    assert len(film.written) == 1


def test_all_are_closed_even_where_one_fails():
    sinks = [Kept(), Kept(close_error=SinkError("disk full")), Kept()]
    with pytest.raises(SinkError, match="disk full"):
        through(lambda tracked: tracked, sinks).close()
    assert all(sink.closed for sink in sinks)
