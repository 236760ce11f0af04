"""How much live keypoints tremble on real films, beside MediaPipe's face mesh on the same frames.

    python tests/manual/jitter.py FILM ...

Jitter of a frame: the second difference of its keypoints, RMS over the 15, divided by the square root of 6, so that it
is the size of white noise; % of the distance between the eyes.  Real acceleration counts too, for both alike.  "At
rest": the quarter of the frames around which the eyes, as both see them together, move least for half a second.  Only
frames count around which both follow the same face.  It needs mediapipe 0.10.21, the last version with a face mesh.
"""

import argparse
from contextlib import closing

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from tracker import INDEX, track_video
from tracker.bench.mediapipe_baseline import open_peer

EYES = [INDEX["left_eye_center"], INDEX["right_eye_center"]]
Points = np.ndarray
REST_FRAMES = 15


def followed(film: str) -> Points:
    """(2, N, 15, 2): the keypoints of ours and of the peer, frame px; NaN unless both see one and the same face."""
    both = []
    with closing(open_peer(None)) as peer:
        for seen in track_video(film, smooth="live"):
            faces = seen.keypoints, peer(seen.frame)
            pair = np.full((2, 15, 2), np.nan)
            if all(len(points) == 1 for points in faces):
                pair = np.concatenate(faces).astype(float)
                middles = pair[:, EYES].mean(1)
                if np.hypot(*(middles[0] - middles[1])) > apart(pair[0]) / 2:
                    pair[:] = np.nan
            both.append(pair)
    return np.stack(both, axis=1)


def apart(points: Points) -> Points:
    """(..., 15, 2) -> (...): the distance between the eyes."""
    return np.linalg.norm(points[..., EYES[0], :] - points[..., EYES[1], :], axis=-1)


def jitter(points: Points) -> Points:
    """(N, 15, 2) -> (N - 2,) %; NaN where a frame is missing."""
    bends = np.linalg.norm(points[2:] - 2 * points[1:-1] + points[:-2], axis=-1)
    return 100 * np.sqrt(np.square(bends).mean(-1) / 6) / apart(points[1:-1])


def motion(both: Points) -> Points:
    """(2, N, 15, 2) -> (N - 2,): how fast the eyes move around a frame, in their distance per frame."""
    middles = both[:, :, EYES].mean((0, 2))
    steps = np.linalg.norm(np.diff(middles, axis=0), axis=-1) / apart(both.mean(0))[1:]
    padded = np.pad(steps[:-1], REST_FRAMES // 2, mode="edge")
    return sliding_window_view(padded, REST_FRAMES).mean(-1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("film", nargs="+")
    for film in parser.parse_args().film:
        both = followed(film)
        found = np.stack([jitter(points) for points in both])
        known = ~np.isnan(found).any(0)
        if not known.any():
            print(f"{film}: no face that both follow")
            continue
        speed = motion(both)
        rest = known & (speed <= np.nanquantile(speed[known], 0.25))
        for name, chosen in (("all", known), ("at rest", rest)):
            ours, peer = np.median(found[:, chosen], axis=1)
            print(f"{film}, {name} ({chosen.sum()} frames): ours {ours:.3f} %, peer {peer:.3f} %, {ours / peer:.2f}")


if __name__ == "__main__":
    main()
