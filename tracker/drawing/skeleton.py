"""Which keypoints are joined by lines."""

import itertools

from tracker.spec import INDEX

CHAINS: tuple[tuple[str, ...], ...] = (
    *((f"{side}_eye_inner_corner", f"{side}_eye_center", f"{side}_eye_outer_corner") for side in ("left", "right")),
    *((f"{side}_eyebrow_inner_end", f"{side}_eyebrow_outer_end") for side in ("left", "right")),
    *(("mouth_left_corner", f"mouth_center_{lip}_lip", "mouth_right_corner") for lip in ("top", "bottom")),
)
"""Keypoints in the order in which a pen would join them: eyes, brows, lips."""

PAIRS: tuple[tuple[int, int], ...] = tuple(
    (INDEX[start], INDEX[end]) for chain in CHAINS for start, end in itertools.pairwise(chain)
)
"""Both ends of each line, as rows of the keypoints."""
