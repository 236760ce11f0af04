"""Threads beside the loop: a signal's exception may come at any step of the main thread."""

import sys
import time
from itertools import count
from types import FrameType
from typing import Any

from tracker.support.threads import Behind


class Stop(BaseException):
    """As a signal handler raises it."""


def test_a_stop_at_any_step_of_handing_over_leaves_a_thread_that_ends() -> None:
    for step in count():
        done: list[int] = []
        behind = Behind(done.append, depth=2)
        behind.put(1)
        was_stopped = stopped_at(step, behind)
        time.sleep(0.002)  # the thread waits for more
        assert behind.close(patience_s=2.0) is None, f"stuck after a stop at step {step}"
        assert done in ([1], [1, 2])
        if not was_stopped:
            break
    assert step > 2


def stopped_at(step: int, behind: Behind[int]) -> bool:
    """Whether `put` was stopped, before that many of its lines, the standard library's included, had run."""
    left = step

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal left
        if event == "line" and "put" in (frame.f_code.co_name, *callers(frame)):
            left -= 1
            if left < 0:
                raise Stop
        return trace

    sys.settrace(trace)
    try:
        behind.put(2)
    except Stop:
        return True
    finally:
        sys.settrace(None)
    return False


def callers(frame: FrameType) -> list[str]:
    names = []
    while frame.f_back is not None:
        frame = frame.f_back
        names.append(frame.f_code.co_name)
    return names
