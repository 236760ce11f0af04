"""Which faces train and which judge: identical pictures stay on one side, every label scheme is dealt evenly.

In: each row's duplicate group and label scheme.  Out: a fold number per row.
"""

import zlib

import numpy as np
from numpy.typing import NDArray

from train.data.faces68 import Crops68

JUDGE_PREFIX = "afw_"
"""Begins the names of the pictures made of AFW's faces, which only judge."""

SPLIT_SEED = 0
"""The hold-out stays the same whatever else a run draws at random, so that figures of runs can be compared."""


def folds(group: NDArray[np.int64], scheme: NDArray[np.uint8], count: int, *, seed: int) -> NDArray[np.int64]:
    """Deal rows (N,) into `count` folds (N,) int64, whole duplicate groups at a time, each scheme evenly.

    The order of the rows does not matter, only group numbers, schemes and seed.
    """
    names, first, size = np.unique(group, return_index=True, return_counts=True)
    shuffled = np.random.default_rng(seed).permutation(len(names))
    fold_of = np.empty(len(names), np.int64)
    for kind in np.unique(scheme):
        members = [i for i in shuffled if scheme[first[i]] == kind]
        # Large groups first, each to the fold that holds the fewest rows so far.
        load = np.zeros(count)
        for i in sorted(members, key=lambda i: -size[i]):
            fold_of[i] = np.argmin(load)
            load[fold_of[i]] += size[i]
    return fold_of[np.searchsorted(names, group)]


def hold_out(group: NDArray[np.int64], scheme: NDArray[np.uint8], *, seed: int = SPLIT_SEED) -> NDArray[np.bool_]:
    """(N,) bool: a tenth of the rows; `Faces.held` leaves out those that have near copies among the others."""
    return folds(group, scheme, 10, seed=seed) == 0


def dealt(crops: Crops68, *, judge: bool) -> Crops68:
    """The faces that only judge, or those to learn from: every tenth person judges, and so do AFW's pictures."""
    persons = crops.person or [""] * len(crops.names)
    judges = [
        name.startswith(JUDGE_PREFIX) or (bool(person) and zlib.crc32(person.encode()) % 10 == 0)
        for name, person in zip(crops.names, persons, strict=True)
    ]
    return crops.only(np.array(judges, bool) == judge)
