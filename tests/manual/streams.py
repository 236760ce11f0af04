"""Tracks streams of a real sender on this machine, as FFmpeg's program serves them: RTMP, SRT, TCP, UDP.

    python tests/manual/streams.py FILM

Needs the program `ffmpeg` with SRT, as Debian has it.  PyAV's FFmpeg has no SRT: there the pipe is run that the message
of `fkp-track srt://...` names.  Prints one line per protocol and exits with 1 if one sent no face.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from programs import FKP_TRACK, headless

SECONDS = 8
FORMATS = {"rtmp": "flv", "srt": "mpegts", "tcp": "mpegts", "udp": "mpegts"}
LISTENING = {"rtmp": ("-listen", "1"), "srt": ("-mode", "listener"), "tcp": ("-listen", "1"), "udp": ()}


def free_port(scheme: str) -> int:
    kind = socket.SOCK_STREAM if scheme in ("rtmp", "tcp") else socket.SOCK_DGRAM
    with socket.socket(type=kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def command_for(url: str) -> str:
    """What tracks the stream: fkp-track, or the pipe that it names."""
    direct = " ".join([*FKP_TRACK, url])
    asked = subprocess.run(
        [*FKP_TRACK, "srt://127.0.0.1:1"], env=headless(), capture_output=True, text=True, check=False
    )
    if not url.startswith("srt:") or "has no srt" not in asked.stderr:
        return direct
    pipe = asked.stderr.rpartition(": ")[2].strip()
    return pipe.replace("srt://...", url).replace("fkp-track", " ".join(FKP_TRACK))


def tracked(scheme: str, film: Path, folder: Path) -> tuple[int, int]:
    """Frames of a stream, and those with a face."""
    url = f"{scheme}://127.0.0.1:{free_port(scheme)}/" + ("live/x" if scheme == "rtmp" else "")
    looped = ["ffmpeg", "-nostdin", "-v", "error", "-re", "-stream_loop", "-1", "-i", str(film), "-c", "copy"]
    send = [*looped, "-f", FORMATS[scheme], *LISTENING[scheme], url]
    track = f"{command_for(url)} --keypoints {folder / 'points.jsonl'} --overwrite"
    with subprocess.Popen(send, stderr=subprocess.DEVNULL) as sender:
        time.sleep(1)  # a listener takes a moment; nothing says when it is ready
        with subprocess.Popen(track, shell=True, env=headless(), stderr=subprocess.PIPE, start_new_session=True) as run:
            time.sleep(SECONDS)
            sender.terminate()
            time.sleep(1)
            os.killpg(run.pid, signal.SIGINT)
            run.communicate(timeout=60)
    records = [json.loads(line) for line in (folder / "points.jsonl").read_text().splitlines()[1:]]
    return len(records), sum(bool(record["faces"]) for record in records)


if __name__ == "__main__":
    with TemporaryDirectory() as place:
        results = {scheme: tracked(scheme, Path(sys.argv[1]), Path(place)) for scheme in FORMATS}
    for scheme, (frames, faces) in results.items():
        print(f"{scheme}: {frames} frames in {SECONDS} s, {faces} with a face")
    sys.exit(not all(faces for _, faces in results.values()))
