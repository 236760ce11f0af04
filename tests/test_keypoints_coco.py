"""COCO's keypoint format, as its own reader takes it."""

import json
import re

import numpy as np
import pytest
from test_keypoints_record import HEADER, tracked, write_all

from tracker.sinks.keypoints.coco import open_coco
from tracker.spec import KEYPOINTS


def written(tmp_path, results):
    write_all(open_coco(tmp_path / "x.json", HEADER, overwrite=False), results)
    return json.loads((tmp_path / "x.json").read_text())


def test_cocos_own_reader_finds_every_frame_and_face(tmp_path):
    from pycocotools.coco import COCO

    results = [tracked(0, 2), tracked(1, 0), tracked(2, 1)]
    written(tmp_path, results)
    coco = COCO(tmp_path / "x.json")
    assert [len(coco.getAnnIds(imgIds=[index])) for index in (0, 1, 2)] == [2, 0, 1]
    face = coco.loadAnns(coco.getAnnIds(imgIds=[0]))[1]
    triples = np.reshape(face["keypoints"], (15, 3))
    np.testing.assert_allclose(triples[:, :2], results[0].keypoints[1], atol=6e-4)
    assert (triples[:, 2] == 2).all()
    assert face["bbox"] == pytest.approx([10.123, 20, 100.865, 120])
    assert face["area"] == pytest.approx(100.865 * 120)
    assert (face["track_id"], face["num_keypoints"], face["iscrowd"]) == (8, 15, 0)
    (category,) = coco.loadCats(coco.getCatIds())
    assert category["keypoints"] == list(KEYPOINTS)
    assert {end for bone in category["skeleton"] for end in bone} == set(range(1, 16)) - {11}  # the nose stands alone


def test_ids_of_faces_begin_at_1_and_are_never_used_twice(tmp_path):
    document = written(tmp_path, [tracked(0, 2), tracked(1, 1)])
    assert [face["id"] for face in document["annotations"]] == [1, 2, 3]


def test_frames_are_named_as_they_are_extracted_and_pictures_by_their_files(tmp_path):
    document = written(tmp_path, [tracked(0, 0), tracked(1, 0, name="grün.jpg")])
    assert [image["file_name"] for image in document["images"]] == ["frame_000000.png", "grün.jpg"]
    assert [(image["width"], image["height"]) for image in document["images"]] == [(640, 480)] * 2
    assert document["info"]["weights_sha256"] == "ab" * 32


def test_without_a_frame_the_document_is_whole_and_empty(tmp_path):
    document = written(tmp_path, [])
    assert (document["images"], document["annotations"]) == ([], [])


def test_the_file_appears_when_it_is_whole(tmp_path):
    sink = open_coco(tmp_path / "x.json", HEADER, overwrite=False)
    sink.write(tracked(0, 1))
    (begun,) = tmp_path.iterdir()
    assert re.fullmatch(r"x\.partial-\d+\.json", begun.name)
    sink.close()
    sink.close()
    assert [path.name for path in tmp_path.iterdir()] == ["x.json"]
