"""`seg bench correspond`: Ego-Exo4D's correspondence."""

from __future__ import annotations

import json

import numpy as np
import pytest

from segcli.bench.correspond import CorrespondMeasure
from segcli.bench.run import run
from segcli.cli.app import main
from segcli.core.rle import decode, encode
from segcli.datasets.correspondence import CorrespondenceResults, correspondences
from segcli.metrics.relation import long_side_size, nearest, relation_score
from tests.datasets.test_lzstring import packed

EGO, EXO = "aria01_214-1", "cam04"


def square(size, y, x, side):
    mask = np.zeros(size, np.bool_)
    mask[y : y + side, x : x + side] = True
    return mask


TRUTHS = {  # camera -> frame -> mask as annotated
    EGO: {f: square((704, 704), 100, 200, 90) for f in ("0", "30", "60", "90")},
    EXO: {"0": square((540, 960), 60, 80, 120), "30": square((540, 960), 60, 80, 122)},
}
LOOKED = {EGO: [0, 30, 60, 90], EXO: [0, 30, 60]}  # nobody looked at the exo camera's frame 90


def relations():
    """As distributed: packed masks."""
    masks = {
        camera: {
            "annotation": {
                f: {"height": m.shape[0], "width": m.shape[1], "encodedMask": packed(encode(m).coco()["counts"])}
                for f, m in frames.items()
            },
            "annotated_frames": LOOKED[camera],
        }
        for camera, frames in TRUTHS.items()
    }
    alone = {EXO: masks[EXO]}  # no ego camera: not counted
    return {"annotations": {"take": {"take_name": "t", "object_masks": {"bowl_0": masks, "cup_0": alone}}}}


def processed():
    """As the official evaluation has it."""
    masks = {c: {f: encode(m).coco() for f, m in frames.items()} for c, frames in TRUTHS.items()}
    return {"annotations": {"take": {"masks": {"bowl_0": masks}, "annotated_frames": {"bowl_0": LOOKED}}}}


def answers(direction="ego-exo", **changed):
    source, target = (EGO, EXO) if direction == "ego-exo" else (EXO, EGO)
    size = (270, 480) if target == EXO else (480, 480)
    frames = {f: (square(size, 30, 50, 60), 0.9) for f in ("0", "30", "60")} | changed
    entries = {f: {"pred_mask": encode(m).coco(), "confidence": c} for f, (m, c) in frames.items()}
    return {direction: {"results": {"take": {"masks": {"bowl_0": {f"{source}_{target}": entries}}}}}}


@pytest.fixture
def scored(tmp_path, capsys):
    def typed(truth, results, *arguments):
        for name, content in (("truth.json", truth), ("found.json", results)):
            (tmp_path / name).write_text(content if isinstance(content, str) else json.dumps(content))
        paths = ["--data", str(tmp_path / "truth.json"), "--results", str(tmp_path / "found.json")]
        code = 0
        try:
            main(["bench", "correspond", *paths, *arguments])
        except SystemExit as ended:
            code = int(ended.code or 0)
        out = capsys.readouterr()
        return code, out.out, out.err

    return typed


@pytest.mark.parametrize("truth", [relations(), processed()])
def test_frames_that_both_cameras_were_looked_at_count_and_no_others(scored, truth):
    code, out, err = scored(truth, answers(), "--json")
    assert code == 0, err
    metrics = json.loads(out)["metrics"]
    expected = [
        relation_score(nearest(TRUTHS[EXO][f], (270, 480)), square((270, 480), 30, 50, 60)) for f in ("0", "30")
    ]
    assert metrics["frames"] == 3
    assert metrics["IoU"] == pytest.approx(np.mean([s.iou for s in expected]), abs=1e-12)
    assert metrics["contour"] == pytest.approx(np.mean([s.contour for s in expected]), abs=1e-12)
    assert metrics["location"] == pytest.approx(np.mean([s.location for s in expected]), abs=1e-12)
    assert metrics["existence"] == 0.5  # frame 60 is said to show it and does not


def test_existence_is_what_the_confidence_says_and_not_the_mask(scored):
    unsure = {"60": (square((270, 480), 30, 50, 60), 0.5)}
    assert json.loads(scored(relations(), answers(**unsure), "--json")[1])["metrics"]["existence"] == 1


def test_the_other_direction_asks_frames_that_the_exo_camera_shows(scored):
    metrics = json.loads(scored(relations(), answers("exo-ego"), "--json", "--direction", "exo-ego")[1])["metrics"]
    assert metrics["frames"] == 2
    assert metrics["existence"] == 1


@pytest.mark.parametrize(
    ("truth", "results", "code", "words"),
    [
        (relations(), answers(**{"30": (TRUTHS[EXO]["30"][::10, ::10], 1)}), 3, "frame 30: the result is 96x54"),
        (relations(), {"ego-exo": {"results": {}}}, 3, "has no pred_mask with a confidence"),
        (relations(), {"exo-ego": {"results": {}}}, 4, "found.json: has no ego-exo with results"),
        ({"annotations": {"t": {}}}, answers(), 4, "truth.json: no annotations of relations"),
        ({"annotations": {}}, answers(), 4, "no object that an ego and an exo camera show"),
        ("[", answers(), 4, "truth.json: not JSON"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_file_is_one_line(scored, truth, results, code, words):
    got, out, err = scored(truth, results)
    assert (got, out, len(err.splitlines())) == (code, "", 1)
    assert words in err


def test_a_mask_that_was_cut_names_take_object_and_frame(scored):
    truth = relations()
    entry = truth["annotations"]["take"]["object_masks"]["bowl_0"][EXO]["annotation"]["30"]
    entry["encodedMask"] = entry["encodedMask"][:9]
    code, _, err = scored(truth, answers())
    assert code == 3
    assert f"take/bowl_0/{EGO}_{EXO}, frame 30: its mask is no run-length code" in err


def test_another_direction_is_refused(scored):
    code, _, err = scored(relations(), answers(), "--direction", "up")
    assert code == 2
    assert "ego-exo, exo-ego" in err


def test_two_processes_score_as_one(tmp_path):
    truth = relations()
    truth["annotations"]["take"]["object_masks"]["bowl_1"] = truth["annotations"]["take"]["object_masks"]["bowl_0"]
    results = answers()
    masks = results["ego-exo"]["results"]["take"]["masks"]
    masks["bowl_1"] = masks["bowl_0"]
    for name, content in (("truth.json", truth), ("found.json", results)):
        (tmp_path / name).write_text(json.dumps(content))
    pairs = tuple(correspondences(tmp_path / "truth.json", "ego-exo"))
    measure = CorrespondMeasure(pairs, CorrespondenceResults(tmp_path / "found.json", "ego-exo"), "ego-exo")
    assert [r.values for r in run(measure, workers=2)] == [r.values for r in run(measure)]


@pytest.mark.parametrize(("height", "width"), [(1408, 1408), (2160, 3840), (448, 796), (796, 448), (7, 5)])
def test_masks_shrink_as_opencv_shrinks_them(height, width):
    cv2 = pytest.importorskip("cv2")
    size = long_side_size(height, width)
    rows = np.broadcast_to(np.arange(height, dtype=np.uint16)[:, None], (height, width))
    there = cv2.resize(np.ascontiguousarray(rows), size[::-1], interpolation=cv2.INTER_NEAREST)
    assert np.array_equal(nearest(rows, size), there)


def test_a_packed_mask_is_the_mask(tmp_path):
    (tmp_path / "t.json").write_text(json.dumps(relations()))
    (pair,) = correspondences(tmp_path / "t.json", "ego-exo")
    assert np.array_equal(decode(pair.truth("30")), TRUTHS[EXO]["30"])
    assert pair.truth("60") is None
