"""What becomes of rows whose labels are incomplete.

In and out: `Faces`, crop px.  A row is complete when all fifteen keypoints are labelled; Kaggle's scheme C labels four.
"""

from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tracker.errors import DataError
from train.data.kaggle import Faces

NEIGHBOURS = 5
"""Rows that lend a missing label, and the least number of complete ones; scikit-learn's own default."""


def complete(faces: Faces) -> Faces:
    """Only the complete rows.  Raises DataError when there are fewer than a recipe can learn from."""
    chosen = faces.only(is_complete(faces))
    if len(chosen.images) < NEIGHBOURS:
        raise DataError(
            f"{faces.name} leaves {len(chosen.images)} faces with all keypoints labelled to learn from, expected at "
            f"least {NEIGHBOURS}; give more of the download"
        )
    return chosen


def is_complete(faces: Faces) -> NDArray[np.bool_]:
    """(N,) which rows have all keypoints labelled."""
    return np.asarray(np.isfinite(faces.points).all((1, 2)))


def labelled(faces: Faces) -> Faces:
    """Every row with at least one label; missing labels stay missing."""
    return faces.only(faces.labelled)


def imputed(faces: Faces) -> Faces:
    """Every labelled row; a missing coordinate is the mean of the rows nearest in the coordinates that both have."""
    from sklearn.impute import KNNImputer

    complete(faces)  # no column may be empty
    faces = labelled(faces)
    return _with_labels(faces, KNNImputer(n_neighbors=NEIGHBOURS).fit_transform(_table(faces)))


def carried_forward(faces: Faces) -> Faces:
    """Every labelled row; a missing coordinate is that of the last row above that has it.

    Rows above the first complete one have none to take, so they are left out.
    """
    complete(faces)
    faces = labelled(faces)
    filled = _with_labels(faces, pd.DataFrame(_table(faces)).ffill().to_numpy())
    return complete(filled)


def _table(faces: Faces) -> NDArray[np.float32]:
    """(N, 30), Kaggle's columns."""
    return faces.points.reshape(len(faces.points), -1)


def _with_labels(faces: Faces, table: NDArray[np.floating]) -> Faces:
    return replace(faces, points=table.reshape(faces.points.shape).astype(np.float32))
