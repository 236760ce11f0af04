"""A process that has loaded our programs and forks a child for each run, half a second of processor time less a run.

Each line on stdin is a run: its code, its words, its folder, its environment and the files for its output.  stdout gets
its exit code.
"""

import atexit
import json
import os
import sys
import traceback
from typing import Any

import tracker.app.run
import tracker.backends.onnxruntime
import tracker.bench.speed
import tracker.core.smoothing_offline
import tracker.detectors.yunet
import tracker.sinks.keypoints.jsonl
import tracker.sources.demo  # noqa: F401
from tracker.commands import bench, track  # noqa: F401


def live(run: dict[str, Any]) -> None:
    """What the child does instead of going on here."""
    os.chdir(run["cwd"])
    os.environ.clear()
    os.environ.update(run["environment"])
    for number, place in enumerate((os.devnull, run["out"], run["err"])):
        os.dup2(os.open(place, os.O_RDWR), number)
    sys.stdin, sys.stdout = os.fdopen(0), os.fdopen(1, "w")
    sys.stderr = os.fdopen(2, "w", buffering=1, errors="backslashreplace")
    sys.argv = run["words"]
    code = 1
    try:
        exec(run["code"], {"__name__": "__main__"})
        code = 0
    except SystemExit as end:
        code = end.code or 0
    except BaseException:
        traceback.print_exc()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)


if __name__ == "__main__":
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            live(json.loads(line))
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
