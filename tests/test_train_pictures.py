"""Labels that belong to other pictures are one message before anything learns from them."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from faces import cut_faces, write_training_csv
from numpy.typing import NDArray
from programs import fkp_train

from tracker.errors import DataError
from tracker.spec import INDEX
from train.data.faces68 import IBUG, LANDMARKS, LEFT_EYE, RIGHT_EYE, Crops68
from train.data.kaggle import Faces, read_training
from train.judge.pictures import FEWEST, refuse_others_labels, refuse_others_landmarks

Images = NDArray[np.uint8]
OTHERS: dict[str, Callable[[Images], Images]] = {
    "by one row": lambda images: np.roll(images, 1, 0),
    "transposed": lambda images: images.transpose(0, 2, 1),
    "mirrored": lambda images: images[:, :, ::-1],
    "upside down": lambda images: images[:, ::-1],
}
SAME: dict[str, Callable[[Images], Images]] = {
    "as they are": lambda images: images,
    "dark": lambda images: images // 8,
    "moved, as another convention of labels is": lambda images: np.roll(images, 3, 1),
    "noisy": lambda images: (
        (images + np.random.default_rng(0).normal(0, 30, images.shape)).clip(0, 255).astype(np.uint8)
    ),
}


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Faces:
    return read_training(
        write_training_csv(tmp_path_factory.mktemp("data") / "training.csv", "A" * 20 + "B" * 10 + "C" * 10)
    )


@pytest.mark.parametrize("change", OTHERS.values(), ids=OTHERS)
def test_labels_of_other_pictures_are_refused(faces: Faces, change: Callable[[Images], Images]) -> None:
    with pytest.raises(DataError, match=r"x\.csv, line \d+: \w+ is labelled at .* belong together"):
        refuse_others_labels(replace(faces, images=np.ascontiguousarray(change(faces.images))), Path("x.csv"))


@pytest.mark.parametrize("change", SAME.values(), ids=SAME)
def test_labels_of_their_own_pictures_are_taken(faces: Faces, change: Callable[[Images], Images]) -> None:
    refuse_others_labels(replace(faces, images=change(faces.images)), Path("x.csv"))


def test_landmarks_of_other_pictures_are_refused() -> None:
    images, points = cut_faces(FEWEST, size=192)
    landmarks = np.zeros((FEWEST, LANDMARKS, 2), np.float32)
    landmarks[:, LEFT_EYE], landmarks[:, RIGHT_EYE] = (
        points[:, [INDEX[f"{side}_eye_center"]]] for side in ("left", "right")
    )
    for name, ibug in IBUG.items():
        landmarks[:, ibug] = points[:, INDEX[name]]
    crops = Crops68(list(images), landmarks + 48, [f"{i}.png" for i in range(FEWEST)])
    refuse_others_landmarks(crops, Path("more.zip"))
    refuse_others_landmarks(crops.only(np.zeros(FEWEST, bool)), Path("more.zip"))
    with pytest.raises(DataError, match=r"more\.zip: \d+\.png: \w+ is labelled at .* belong together"):
        refuse_others_landmarks(replace(crops, images=[*images[1:], images[0]]), Path("more.zip"))


def test_a_training_on_shuffled_rows_ends_before_its_first_step(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_training_csv(tmp_path / "training.csv", "A" * 20 + "C" * 20)
    header, *rows = (line.rsplit(",", 1) for line in path.read_text().splitlines())
    pictures = [rows[-1][1], *(picture for _, picture in rows[:-1])]
    shuffled = [[labels, picture] for (labels, _), picture in zip(rows, pictures, strict=True)]
    path.write_text("".join(f"{labels},{picture}\n" for labels, picture in [header, *shuffled]))
    assert fkp_train("--data", path, "--out", tmp_path / "out") == 7
    assert "do labels and pictures belong together" in capsys.readouterr().err
    assert list((tmp_path / "out").iterdir()) == []
