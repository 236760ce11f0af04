"""What fkp makes of real V4L2 devices: run by `init` inside the virtual machine."""

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

DRIVER = Path("/sys/bus/platform/drivers/vivid")
SIZES = ((320, 180), (640, 360))


def say(what: str) -> None:
    print(f"[{time.monotonic():.0f} s] {what}", flush=True)


def frames(source: object, count: int) -> Iterator[tuple[float, tuple[int, ...]]]:
    for frame, _ in zip(source, range(count), strict=False):  # type: ignore[call-overload]
        yield frame.timestamp, frame.image.shape


def main() -> None:
    os.chdir("/tmp")
    say(f"devices: {sorted(path.name for path in Path('/dev').glob('video*'))}")
    from tracker.errors import SourceError
    from tracker.sources.camera import Wish, open_camera

    say("fkp is loaded")
    for number in (0, 1):
        with open_camera(number) as camera:
            say(f"camera {number}: {list(frames(camera, 3))}")
    for width, height in SIZES:
        with open_camera(0, Wish(width, height)) as camera:
            say(f"asked for {width}x{height}: {list(frames(camera, 2))}")
    try:
        open_camera(7)
    except SourceError as error:
        say(f"camera 7: {error}")
    with open_camera(0) as camera:
        arriving = iter(camera)
        say(f"before: {next(arriving).timestamp:.1f} s")
        (DRIVER / "unbind").write_text("vivid.0")
        time.sleep(3)
        (DRIVER / "bind").write_text("vivid.0")
        say("taken away and given back")
        times = [next(arriving).timestamp for _ in range(3)]
        say(f"after: {times}")
    for words in (["--list-cameras"], ["--camera", "0", "--keypoints", "-", "--backend", "cpu"]):
        with subprocess.Popen([*shlex.split(os.environ["FKP"]), *words], stdout=subprocess.PIPE, text=True) as run:
            assert run.stdout is not None
            for line, _ in zip(run.stdout, range(4), strict=False):
                say(f"{words[0]}: {line.strip()[:150]}")
            run.terminate()


if __name__ == "__main__":
    sys.exit(main())
