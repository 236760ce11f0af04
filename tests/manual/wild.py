"""How the tracker does away from talking heads: rolls, small faces, cuts, low rates, dark pictures, false faces.

    python tests/manual/wild.py [--faces DIR] [--empty DIR] [FILM ...]

Everything is made from the portrait that ships, or from the pictures in DIR (one face each; the first 80 are taken, and
where their eyes are is what the tracker finds in them upright).  Of each FILM it tells faces, ids and doubtful frames,
at its own rate and at 5 frames/s.  DIR of --empty has pictures without faces.  It uses only the
public API, so it measures any version that is on PYTHONPATH.
"""

import argparse
import itertools
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

import tracker
from tracker import INDEX, Tracker

EYES = [INDEX["left_eye_center"], INDEX["right_eye_center"]]
LIMIT_SIDES = 0.065
"""Mean sigma, sides of the region, above which a face is counted as doubtful."""
Image = np.ndarray


def portraits(folder: Path | None, finder: Tracker) -> list[tuple[Image, np.ndarray]]:
    """Pictures with one face, and where its eyes are, (2, 2) px."""
    names = [Path(tracker.__file__).parent / "sources" / "portrait.jpg"]
    if folder is not None:
        names = sorted(each for each in folder.iterdir() if each.suffix.lower() in (".jpg", ".png"))[:80]
    found = [(image, finder.image(image)) for image in map(cv2.imread, map(str, names)) if image is not None]
    return [(image, seen.keypoints[0, EYES]) for image, seen in found if len(seen.faces) == 1]


def turned(image: Image, eyes: np.ndarray, degrees: float) -> tuple[Image, np.ndarray]:
    """A square picture of 480 px around the face, turned clockwise about the middle between the eyes."""
    apart = float(np.hypot(*(eyes[0] - eyes[1])))
    middle = eyes.mean(0)
    matrix = cv2.getRotationMatrix2D((float(middle[0]), float(middle[1])), -degrees, 64 / apart)
    matrix[:, 2] += 240 - middle
    picture = cv2.warpAffine(image, matrix, (480, 480), borderMode=cv2.BORDER_REPLICATE)
    return picture, np.c_[eyes, [1, 1]] @ matrix.T


def is_right(seen: Any, eyes: np.ndarray) -> bool:
    """Whether a face of `seen` has its eyes within a quarter of their distance."""
    within = 0.25 * np.hypot(*(eyes[0] - eyes[1]))
    return any(np.hypot(*(points[EYES] - eyes).T).mean() < within for points in seen.keypoints)


def rolls(faces: list[tuple[Image, np.ndarray]], finder: Tracker) -> None:
    for degrees in (0, 45, 90, 135, 180, 270):
        pictures = [turned(*face, degrees) for face in faces]
        seen = [(finder.image(picture), eyes) for picture, eyes in pictures]
        found = sum(len(each.faces) > 0 for each, _ in seen)
        right = sum(is_right(each, eyes) for each, eyes in seen)
        shown = sum(len(each.faces) for each, _ in seen)
        print(f"roll {degrees:3d}: {right}/{len(seen)} right, in {found} pictures {shown} faces are shown")


LIGHTS = {"x 0.12": (0.12, 0, 2), "x 0.05": (0.05, 0, 2), "x 2": (2, 0, 2), "x 3": (3, 0, 2), "x 4": (4, 0, 2)}
LIGHTS |= {"fog": (0.06, 170, 1.4), "noise": (1, 0, 45), "dark with noise": (0.15, 0, 12)}
"""Gain, offset and standard deviation of the noise, gray levels."""


def light(faces: list[tuple[Image, np.ndarray]], finder: Tracker) -> None:
    noise = np.random.default_rng(0).normal(0, 1, (480, 480, 3))
    for name, (gain, offset, grain) in LIGHTS.items():
        pictures = [turned(*face, 0) for face in faces]
        lit = [
            (np.clip(each * gain + offset + grain * noise, 0, 255).astype(np.uint8), eyes) for each, eyes in pictures
        ]
        print(f"light {name}: {sum(is_right(finder.image(each), eyes) for each, eyes in lit)}/{len(lit)} right")


def empty(folder: Path, finder: Tracker) -> None:
    """What is taken for a face in pictures without any; look at those that are named."""
    pictures = [(name.name, cv2.imread(str(name))) for name in sorted(folder.iterdir())]
    counts = {name: len(finder.image(image).faces) for name, image in pictures if image is not None}
    print(f"empty: {sum(counts.values())} faces in {len(counts)} pictures:", *(name for name in counts if counts[name]))


def composed(faces: list[tuple[Image, np.ndarray]], size: tuple[int, int], eyes_px: int, seed: int) -> Any:
    """A textured picture with up to eight faces of that size: (picture, eyes (N, 2, 2))."""
    rng = np.random.default_rng(seed)
    layers = [cv2.resize(rng.normal(110, 45, (n, n, 3)), size, interpolation=cv2.INTER_CUBIC) for n in (4, 12, 60, 300)]
    picture = np.clip(np.mean(layers, axis=0) * 1.6 - 66, 0, 255).astype(np.uint8)
    truth: list[np.ndarray] = []
    for image, eyes in (faces[i] for i in rng.permutation(len(faces) * 8)[:8] % len(faces)):
        scale = eyes_px / np.hypot(*(eyes[0] - eyes[1]))
        small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        height, width = small.shape[:2]
        if scale > 1 or height > size[1] // 2:
            continue
        for _ in range(50):
            x, y = int(rng.integers(0, size[0] - width)), int(rng.integers(0, size[1] - height))
            at = eyes * scale + (x, y)
            if all(np.abs(at.mean(0) - other.mean(0)).max() > max(width, height) for other in truth):
                picture[y : y + height, x : x + width] = small
                truth.append(at)
                break
    return picture, truth


def sizes(faces: list[tuple[Image, np.ndarray]], finder: Tracker, hider: Tracker) -> None:
    for size in ((640, 480), (1920, 1080), (3840, 2160)):
        for eyes_px in (12, 16, 26, 52):
            found = bare = count = 0
            for seed in range(3):
                picture, truth = composed(faces, size, eyes_px, seed)
                seen, hidden = finder.image(picture), hider.image(picture).frame.image
                for eyes in truth:
                    (x, y), reach = np.rint(eyes.mean(0)).astype(int), eyes_px // 2
                    window = np.s_[max(0, y - reach) : y + reach, max(0, x - reach) : x + reach]
                    count += 1
                    found += is_right(seen, eyes)
                    bare += bool((hidden[window] == picture[window]).all(-1).mean() > 0.5)
            print(f"{size[0]}x{size[1]}, {eyes_px} px: {found}/{count} right, {bare} bare under --blur")


def spliced(films: list[list[Image]], finder: Tracker) -> None:
    """How often an id goes on from one film to another, across a hard cut or a dissolve."""
    long = [film for film in films if len(film) >= 60]
    for rate, mixes in ((30, 0), (5, 0), (30, 9), (30, 18)):
        crossed = 0
        pairs = list(itertools.permutations(long, 2))
        for before, after in pairs:
            ids = [{face.id for face in seen.faces} for seen in finder.video(mixed(before, after, mixes), fps=rate)]
            crossed += bool(set().union(*ids[:20]) & set().union(*ids[-8:]))
        print(f"{mixes} frames of dissolve at {rate}/s: an id crosses {crossed} of {len(pairs)}")


def mixed(before: list[Image], after: list[Image], mixes: int) -> list[Image]:
    """20 frames of one film, so many of both, and 14 of the other."""
    height, width = before[0].shape[:2]
    coming = [cv2.resize(each, (width, height)) for each in after[20 : 34 + mixes]]
    shares = np.arange(1, mixes + 1) / (mixes + 1)
    both = zip(before[20:], coming, shares, strict=False)
    return [*before[:20], *(cv2.addWeighted(a, 1 - share, b, share, 0) for a, b, share in both), *coming[mixes:]]


def told(results: Iterable[Any]) -> str:
    frames = list(results)
    shown = [(face, sigma) for seen in frames for face, sigma in zip(seen.faces, seen.sigma, strict=True)]
    doubtful = sum(float(sigma.mean()) > LIMIT_SIDES * face.region.side for face, sigma in shown)
    ids = {face.id for face, _ in shown}
    return f"{len(frames)} frames, {len(shown)} faces, {len(ids)} ids, {doubtful} doubtful"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faces", type=Path)
    parser.add_argument("--empty", type=Path)
    parser.add_argument("films", type=Path, nargs="*")
    asked = parser.parse_args()
    with Tracker(backend="cpu", smooth="off") as finder, Tracker(backend="cpu", privacy="blur") as hider:
        faces = portraits(asked.faces, finder)
        rolls(faces, finder)
        light(faces, finder)
        sizes(faces, finder, hider)
        if asked.empty is not None:
            empty(asked.empty, finder)
        films = {}
        for film in asked.films:
            full = list(itertools.islice(finder.video(film), 300))
            films[film.name] = [seen.frame.image for seen in full]
            seconds = full[-1].frame.timestamp - full[0].frame.timestamp if full else 0
            step = max(1, round((len(full) - 1) / max(seconds, 1e-9) / 5))
            slow = finder.video(films[film.name][::step], fps=5)
            print(f"{film.name}: {told(full)}; at 5/s {told(slow)}")
        spliced(list(films.values()), finder)


if __name__ == "__main__":
    main()
