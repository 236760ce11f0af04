"""The charts of a training's report, as SVG that takes its text and grid colours from the page it stands in.

In: figures from `train.metrics` and lines of history.jsonl.  Out: SVG elements as text, for a page that sets the
CSS colours `currentColor` and `--grid`; in a dark browser theme they are drawn light on dark.  Needs matplotlib.
"""

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tracker.spec import KEYPOINTS
from train.data.schemes import SCHEMES
from train.metrics import NORMAL, TOLERANCE, WITHIN, Report, reliability

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = {"A": "#3b82f6", "B": "#e8871e", "C": "#12a37f", "all": "#d6408f"}
"""Of the schemes and of all together; seen on white and on near black alike."""

MARKS = {"A": "o", "B": "s", "C": "^", "all": "D"}

PUBLISHED = (
    ("best on the board (an ensemble)", 1.282),
    ("best single network", 1.352),
    ("second on the board", 1.400),
    ("fully convolutional heat maps", 1.462),
    ("1.5 M parameters", 1.519),
    ("ensemble of CNNs", 1.646),
    ("hourglass", 1.808),
    ("masked loss, all rows", 1.84),
    ("plain CNN, a course project", 2.5),
    ("best CNN of five, a course project", 2.784),
    ("5 nearest neighbours, augmented", 3.983),
)
"""Private scores on Kaggle's board (public if no private one was published), px: the competition's leaderboard and
write-ups."""

_TEXT, _GRID = "#010203", "#040506"
"""Stand-ins that matplotlib writes and the page's colours replace."""

_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text: the page's font, can be searched and read aloud
    "svg.hashsalt": "fkp",  # the same figures give the same file
    "figure.constrained_layout.use": True,
    "font.size": 10,
    **dict.fromkeys(("text.color", "axes.labelcolor", "xtick.labelcolor", "ytick.labelcolor"), _TEXT),
    **dict.fromkeys(("axes.edgecolor", "grid.color", "xtick.color", "ytick.color"), _GRID),
    **dict.fromkeys(("axes.spines.top", "axes.spines.right", "legend.frameon"), False),
    **dict.fromkeys(("axes.grid", "axes.axisbelow"), True),
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "grid.linewidth": 0.8,
    "lines.markersize": 6,
}

_NAMES = [name.replace("_", " ") for name in KEYPOINTS]


def learning_curves(history: Sequence[Mapping[str, Any]]) -> str:
    """Hold-out RMSE and loss against the step, from history.jsonl's lines; the teachers' are dotted."""
    with _drawing(1, 2, (11, 3.9)) as (figure, (error, loss)):
        for stage, lines in _by_stage(history).items():
            ships, steps = stage == "net", [line["step"] for line in lines]
            style = "-" if ships else ":"
            for name in ("all", *SCHEMES) if ships else ("all",):
                key = name if name in SCHEMES else "kaggle_weighted"
                values = [line.get(key) for line in lines]  # None leaves a gap
                label = f"scheme {name}" if name in SCHEMES else "Kaggle-weighted"
                if not ships:  # one entry for all teachers: the legend leaves out labels that begin with an underscore
                    label = f"{label}, teachers" if stage == "teacher-1" else f"_{stage}"
                error.plot(steps, values, style, color=COLOURS[name], label=label, lw=2.2 if name == "all" else 1.4)
            loss.plot(steps, [line["loss"] for line in lines], style, color=_TEXT)
        error.set(title="Hold-out RMSE, px", xlabel="step", yscale="log")
        loss.set(title="Loss on augmented training faces", xlabel="step", yscale="log")
        for axes in (error, loss):
            _plain_numbers(axes)
            axes.margins(x=0.02)
        figure.legend(loc="outside lower center", ncols=5)
        return _svg(figure, "Learning curves")


def _by_stage(history: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    stages: dict[str, list[Mapping[str, Any]]] = {}
    for line in history:
        stages.setdefault(line.get("stage", "net"), []).append(line)
    return stages


def keypoint_errors(report: Report) -> str:
    """RMSE of each keypoint by scheme."""
    with _drawing(1, 1, (7, 5.2)) as (figure, axes):
        for scheme, errors in report.by_keypoint.items():
            _dots(axes, errors, scheme)
        axes.set(title="Hold-out RMSE, px", xlim=(0, None))
        _keypoint_rows(axes)
        figure.legend(loc="outside lower center", ncols=3)
        return _svg(figure, "Error of each keypoint by scheme")


def published_scores(report: Report) -> str:
    """Our hold-out figure among scores published for Kaggle's test set."""
    ours = ("this network, hold-out", report.kaggle_weighted)
    bars = sorted([*PUBLISHED, *([ours] if np.isfinite(ours[1]) else [])], key=lambda bar: bar[1])
    with _drawing(1, 1, (6, 4.6)) as (figure, axes):
        drawn = axes.barh(
            [name for name, _ in bars],
            [score for _, score in bars],
            color=[COLOURS["all"] if bar == ours else _GRID for bar in bars],
            height=0.7,
        )
        axes.bar_label(drawn, fmt="%.2f", padding=4)
        axes.invert_yaxis()
        axes.grid(visible=False)
        axes.spines[["left", "bottom"]].set_visible(False)
        axes.tick_params(length=0)
        axes.set(title="RMSE, px, beside scores on Kaggle's board", xticks=[], xlim=(0, 4.4))
        return _svg(figure, "Published scores")


def shares_within_sigma(report: Report) -> str:
    """Share of errors within 1 and 2 sigma, by keypoint and scheme, with the required band."""
    from matplotlib.ticker import MultipleLocator

    with _drawing(1, 2, (11, 5.2), sharey=True) as (figure, panels):
        for i, (axes, multiple, normal, tolerance) in enumerate(zip(panels, WITHIN, NORMAL, TOLERANCE, strict=True)):
            axes.axvspan(normal - tolerance, normal + tolerance, color=_GRID, alpha=0.35, lw=0)
            axes.axvline(normal, color=_TEXT, lw=1)
            for scheme, shares in (*report.calibration_by_scheme.items(), ("all", report.calibration)):
                _dots(axes, {name: pair[i] for name, pair in shares.items()}, scheme)
            axes.set_title(f"Errors within {multiple} sigma: {normal:.1%} ± {100 * tolerance:g} points")
            axes.xaxis.set_major_locator(MultipleLocator(0.05 if tolerance > 0.04 else 0.02))
            axes.xaxis.set_major_formatter("{x:.0%}")
        _keypoint_rows(panels[0])
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
        return _svg(figure, "Calibration by keypoint")


def reliability_curves(
    predicted: NDArray[np.floating],
    labels: NDArray[np.floating],
    sigma: NDArray[np.floating],
    scheme: NDArray[np.uint8],
) -> str:
    """Promised against kept: shares of errors within every multiple of sigma, and error against sigma itself.

    predicted and labels (N, 15, 2), sigma (N, 15), crop px, of rows of `scheme` (N,).
    """
    with _drawing(1, 2, (11, 4.2)) as (figure, (shares, sizes)):
        shares.plot([0, 1], [0, 1], color=_TEXT, lw=1)
        sizes.axline((1, 1), slope=1, color=_TEXT, lw=1)
        for index in np.unique(scheme):
            rows, name = scheme == index, SCHEMES[index]
            error = np.abs(predicted[rows] - labels[rows])
            shares.plot(*reliability(error, sigma[rows]), color=COLOURS[name], label=f"scheme {name}", lw=1.8)
            sizes.plot(*_binned(error, sigma[rows]), color=COLOURS[name], marker=MARKS[name], lw=1.4)
        shares.set(
            title="Share of errors within an interval", xlabel="promised by sigma", ylabel="seen", aspect="equal"
        )
        shares.legend(loc="upper left")
        sizes.set(title="Errors by the size of sigma, tenths of the points", xscale="log", yscale="log")
        sizes.set(xlabel="sigma, px", ylabel="68 % of errors are below, px")
        _plain_numbers(sizes)
        return _svg(figure, "Reliability")


def _binned(error: NDArray[np.floating], sigma: NDArray[np.floating]) -> tuple[list[float], list[float]]:
    """|error| (N, 15, 2), sigma (N, 15) px -> median sigma and 68 % quantile of the errors of each tenth by sigma."""
    labelled = np.isfinite(error).all(2)
    order = np.argsort(sigma[labelled])
    tenths = [tenth for tenth in np.array_split(order, 10) if len(tenth)]
    return (
        [float(np.median(sigma[labelled][tenth])) for tenth in tenths],
        [float(np.quantile(error[labelled][tenth], NORMAL[0])) for tenth in tenths],
    )


def _dots(axes: "Axes", values: Mapping[str, float], scheme: str) -> None:
    """One mark per keypoint that has a value."""
    rows = [i for i, name in enumerate(KEYPOINTS) if name in values]
    label = "all" if scheme == "all" else f"scheme {scheme}"
    axes.scatter(
        [values[KEYPOINTS[i]] for i in rows],
        rows,
        color=COLOURS[scheme],
        marker=MARKS[scheme],
        label=label,
        s=26,
        zorder=3,
    )


def _keypoint_rows(axes: "Axes") -> None:
    axes.set_yticks(range(len(KEYPOINTS)), _NAMES)
    axes.tick_params("y", length=0)
    axes.set_ylim(len(KEYPOINTS) - 0.5, -0.5)


def _plain_numbers(axes: "Axes") -> None:
    """Logarithmic axes with 0.5, 1, 2 instead of powers of ten."""
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    for axis in (axes.xaxis, axes.yaxis):
        if axis.get_scale() == "log":
            axis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
            axis.set_major_formatter(StrMethodFormatter("{x:g}"))
            axis.set_minor_formatter(NullFormatter())


@contextmanager
def _drawing(rows: int, columns: int, size: tuple[float, float], **layout: Any) -> Iterator[tuple["Figure", Any]]:
    """A figure of `size` inches with its axes; no window and no state of pyplot's is touched."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_STYLE):
        figure = Figure(size)
        yield figure, figure.subplots(rows, columns, **layout)


def _svg(figure: "Figure", title: str) -> str:
    """The figure as an `<svg>` element that scales with its page and is named for those who cannot see it."""
    drawn = io.StringIO()
    figure.savefig(drawn, format="svg", transparent=True, metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    text = drawn.getvalue()
    element = text[text.index("<svg") :].replace(_TEXT, "currentColor").replace(_GRID, "var(--grid)")
    return re.sub(r'<svg ([^>]*?)width="[^"]*"', rf'<svg role="img" aria-label="{title}" \1', element, count=1)
