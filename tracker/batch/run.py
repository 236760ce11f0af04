"""Many films in one go: what is done is skipped, what is missing is tracked, and what failed is listed.

In: a `Batch`.  Out: trees of outputs, each with a record of every film.
"""

import logging
import os
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from tracker import __version__
from tracker.backends.weights import load
from tracker.batch.ledger import Ledger, open_ledger
from tracker.batch.plan import Output, Task, Tree, plan, tree_of
from tracker.batch.processes import in_processes
from tracker.batch.ray import on_ray
from tracker.batch.report import open_report
from tracker.batch.storage import move, remove
from tracker.batch.work import STAGING, Outcome, discard, facts_of, staged
from tracker.errors import SinkError
from tracker.options import Batch, Options, declared
from tracker.sinks.film import FORMATS
from tracker.sinks.keypoints.registry import RECORDS
from tracker.support.process import undisturbed

log = logging.getLogger(__name__)


def default_jobs() -> int:
    """Half of the processors: each film uses about two, because decoding and encoding run beside tracking."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, usable // 2)


def run_batch(batch: Batch) -> int:
    """Track every film whose outputs do not exist yet.  Returns the number of failures.

    Raises FkpError before the first film starts, if sources are missing, outputs would replace each other, or outputs
    exist that no batch made, or made of another film or under other settings, unless `overwrite` allows it.
    """
    trees = _trees(batch.each)
    tasks = plan(batch.sources, trees)
    settings = _settings(batch.each)
    origins = {task: facts_of(task.source) | {"settings": settings} for task in tasks}
    with _open_ledgers(trees) as ledgers:
        todo = _unfinished(origins, ledgers, overwrite=batch.each.overwrite)
        records = ", ".join(str(ledger.path) for ledger in ledgers.values())
        with (
            open_report(len(tasks), len(tasks) - len(todo), records) as report,
            closing(_worked_off(list(todo), batch, report.progressed)) as outcomes,
        ):
            for task, outcome in outcomes:
                origin = todo[task] | outcome.read
                report.ended(task, _settle(task, outcome, origin, ledgers, overwrite=batch.each.overwrite))
                if outcome.no_room:
                    raise SinkError(f"{outcome.failure}; make room, then run the same command to continue")
        return len(report.failures)


def _worked_off(
    tasks: list[Task], batch: Batch, progressed: Callable[[int], object]
) -> Generator[tuple[Task, Outcome], None, None]:
    """Each task with its outcome, as they end, wherever the batch is done."""
    if batch.ray is not None and tasks:
        return on_ray(tasks, batch.each, batch.ray, batch.jobs, progressed)
    return in_processes(tasks, batch.each, batch.jobs or default_jobs(), progressed)


def _trees(each: Options) -> list[Tree]:
    films = [] if each.out is None else [tree_of("out", each.out, FORMATS)]
    return [*films, *(tree_of("keypoints", path, RECORDS, format=each.format or "jsonl") for path in each.keypoints)]


def _settings(each: Options) -> dict[str, Any]:
    """Every option that shapes the outputs and is not at its default, and the sha256 of the weights; plain JSON values.

    Without the defaults, so that a batch continues under a later version with more options.
    """
    shaping = {name for name, said in declared(each).items() if said.shapes}
    told = {
        field.name: str(value)
        for field in fields(each)
        if field.name in shaping and (value := getattr(each, field.name)) != field.default
    }
    return told | {"weights_sha256": load(each.weights).sha256}


@contextmanager
def _open_ledgers(trees: Sequence[Tree]) -> Iterator[dict[Path, Ledger]]:
    """The records of all output folders, by folder; unfinished work of killed batches is removed there."""
    with ExitStack() as stack:
        ledgers = {root: stack.enter_context(open_ledger(root)) for root in dict.fromkeys(tree.root for tree in trees)}
        for root in ledgers:
            remove(root / STAGING)
            stack.callback(remove, root / STAGING)
        yield ledgers


def _unfinished(
    origins: Mapping[Task, dict[str, Any]], ledgers: Mapping[Path, Ledger], *, overwrite: bool
) -> dict[Task, dict[str, Any]]:
    """The tasks that still have something to make, reduced to that.

    Raises SinkError when that would replace what exists, without `overwrite`.
    """
    todo, in_the_way = {}, []
    for task, origin in origins.items():
        states = {output: ledgers[output.root].state(output.name, origin) for output in task.outputs}
        missing = tuple(output for output, state in states.items() if state != "done")
        in_the_way += [(output, state) for output, state in states.items() if state in _IN_THE_WAY]
        if missing:
            todo[replace(task, outputs=missing)] = origin
    if in_the_way and not overwrite:
        raise SinkError(_explanation(in_the_way))
    return todo


_IN_THE_WAY = {
    "foreign": "exists already and does not come from a batch",
    "stale": "was made with other settings, or from a film that has changed since",
    "interrupted": "was being replaced when the batch failed or stopped",
}
"""The states of outputs that are replaced only with `overwrite`, in words."""


def _explanation(in_the_way: Sequence[tuple[Output, str]]) -> str:
    output, state = in_the_way[0]
    more = Counter(state for _, state in in_the_way)
    counted = " and ".join(f"{count} {state}" for state, count in more.items())
    return (
        f"{output.path} {_IN_THE_WAY[state]} ({counted} in all); "
        "add --overwrite to make them again, or choose another folder to keep them"
    )


def _settle(
    task: Task, outcome: Outcome, origin: dict[str, Any], ledgers: Mapping[Path, Ledger], *, overwrite: bool
) -> Outcome:
    """Write down how a task ended and give what it made its names; returns the outcome, a failure if that fails.

    If a name is taken, `done` is written last: earlier, it would vouch for the old file until the new one is there.
    """
    with undisturbed():
        taken = [str(output.path) for output in task.outputs if output.path.exists()]
        if outcome.failure is None and taken and not overwrite:
            outcome = _failed(outcome, f"{taken[0]} appeared during the run and was not replaced")
        replacing = outcome.failure is None and bool(taken)
        _note(task, outcome, origin | {"status": "replacing"} if replacing else origin, ledgers)
        if outcome.failure is None:
            try:
                for output in task.outputs:
                    move(staged(output, outcome.stage), output.path)
            except OSError as error:
                outcome = _failed(outcome, f"cannot give {task.outputs[0].path} its name: {error}")
            if replacing or outcome.failure is not None:
                _note(task, outcome, origin, ledgers)
        discard(task, outcome.stage)
    return outcome


def _failed(outcome: Outcome, failure: str) -> Outcome:
    return replace(outcome, failure=failure, code=SinkError.exit_code)


def _note(task: Task, outcome: Outcome, origin: dict[str, Any], ledgers: Mapping[Path, Ledger]) -> None:
    """Write down how a task ended, in the folder of each of its outputs."""
    about = {"status": "done" if outcome.failure is None else "failed", "film": task.name, "source": str(task.source)}
    told = {key: getattr(outcome, key) for key in ("failure", "code", "details", "warnings", "skipped")}
    counted = {"frames": outcome.frames, "faces": outcome.faces, "seconds": outcome.seconds, "fkp": __version__}
    entry = about | {key: value for key, value in told.items() if value} | counted | origin
    for root in dict.fromkeys(output.root for output in task.outputs):
        ledgers[root].write(entry | {"outputs": [output.name for output in task.outputs if output.root == root]})
