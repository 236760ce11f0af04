"""Stage timing: what is counted, what is left out, and that a timed stage behaves like the stage."""

from time import perf_counter, sleep

import pytest

from tracker.support.timing import Percentiles, RecentRate, Timed, percentiles_ms


def test_a_timed_stage_passes_arguments_results_and_attributes_through() -> None:
    class Double:
        unit = "px"

        def __call__(self, value: int, *, plus: int = 0) -> int:
            return 2 * value + plus

    stage = Timed("double", Double())
    assert stage(3, plus=1) == 7
    assert stage.unit == "px"
    assert (stage.name, len(stage.durations_s)) == ("double", 1)


def test_a_failing_call_is_timed_and_its_error_passes_through() -> None:
    stage = Timed("divide", lambda value: 1 / value)
    with pytest.raises(ZeroDivisionError):
        stage(0)
    assert len(stage.durations_s) == 1


def test_time_spent_in_an_inner_timed_stage_is_counted_once() -> None:
    inner = Timed("inner", sleep)
    outer = Timed("outer", lambda: inner(0.02), without=inner)
    start = perf_counter()
    outer()
    elapsed = perf_counter() - start
    assert inner.durations_s[0] >= 0.02
    assert 0 <= outer.durations_s[0] <= elapsed - 0.02
    assert outer.total_s >= inner.total_s


def test_percentiles_are_milliseconds_of_what_follows_the_warm_up() -> None:
    durations_s = [9.0, 9.0] + [i / 1000 for i in range(101)]
    assert percentiles_ms(durations_s, warm_up=2) == Percentiles(p50=50.0, p95=95.0, p99=99.0)


def test_warm_up_alone_gives_no_percentiles() -> None:
    assert percentiles_ms([0.1] * 10, warm_up=10) is None


@pytest.mark.parametrize(
    ("instants_s", "rate"), [([1.0], None), ([1.0, 1.0], None), ([1.0, 1.5, 2.0], 2.0), ([1.0, 5.0, 5.5, 6.5], 4 / 3)]
)
def test_a_rate_counts_the_intervals_not_the_frames(instants_s: list[float], rate: float | None) -> None:
    recent = RecentRate()
    assert [recent(instant_s) for instant_s in instants_s][-1] == rate
