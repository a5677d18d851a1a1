"""`seg bench panoptic|semantic|instance|group -m NAME`: a model that reads the truth off the photo scores 100."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import pytest

from segcli.bench.predicting import numbered
from segcli.cli.app import main
from segcli.core.ask import PromptKind
from segcli.core.errors import UsageError
from segcli.core.prediction import Prediction
from segcli.core.rle import decode, encode
from tests.bench.conftest import Discs, save

RED, BLUE = (230, 0, 0), (0, 0, 230)


@dataclass
class Colours(Discs):
    """Knows red things and blue stuff by their colour, and of groups the candidates that a reference touches."""

    words: tuple[str, ...] = ("cat", "sky")

    def check_words(self, words):
        for word in words:
            if word not in self.words:
                raise UsageError(f"{word}: not a word")

    def decode(self, encoded, asks):
        self.asked += asks
        return [self._grouped(encoded, a) if a.candidates else self._named(encoded, a) for a in asks]

    def _named(self, image, ask):
        shown = {"cat": image.pixels[..., 0] > 128, "sky": image.pixels[..., 2] > 128}
        found = {w: shown[w] for w in ask.classes if shown[w].any() and (ask.kind != "instance" or w == "cat")}
        return Prediction(image.size, tuple(encode(m) for m in found.values()), labels=tuple(found))

    def _grouped(self, image, ask):
        place = np.logical_or.reduce([decode(r.region) for r in ask.references])
        return Prediction(image.size, tuple(c for c in ask.candidates if (decode(c) & place).any()))


@pytest.fixture
def seg(capsys, monkeypatch):
    model = Colours(name="colours")
    monkeypatch.setattr("segcli.registry.load.open_model", lambda name, **options: model)

    def typed(*arguments):
        code = 0
        try:
            main(["bench", *map(str, arguments)])
        except SystemExit as error:
            code = int(error.code or 0)
        out = capsys.readouterr()
        return code, out.out, out.err

    typed.model = model
    return typed


@pytest.fixture
def photo(tmp_path):
    """A red square on blue, as `photos/a.png`, and its class ids (1 red, 2 blue)."""
    pixels = np.full((20, 30, 3), BLUE, np.uint8)
    pixels[5:15, 5:20] = RED
    save(tmp_path / "photos" / "a.png", pixels)
    return np.where(pixels[..., 0] > 0, 1, 2)


def panoptic(tmp_path, ids, names=("cat", "sky")):
    save(tmp_path / "gt" / "a.png", np.stack([ids, 0 * ids, 0 * ids], -1))
    segments = [{"id": i, "category_id": 10 * i, "area": int((ids == i).sum()), "iscrowd": 0} for i in (1, 2)]
    content = {
        "images": [{"id": 1, "file_name": "a.png"}],
        "categories": [{"id": 10 * i, "isthing": int(i == 1), "name": n} for i, n in enumerate(names, 1)],
        "annotations": [{"image_id": 1, "file_name": "a.png", "segments_info": segments}],
    }
    (tmp_path / "gt.json").write_text(json.dumps(content))
    return "panoptic", "--data", tmp_path / "gt.json", "-m", "colours", "--images", tmp_path / "photos"


def test_panoptic_asks_the_model_for_the_categories_of_the_truth(seg, tmp_path, photo):
    code, out, err = seg(*panoptic(tmp_path, photo), "--json", "--report", tmp_path / "r.html")
    assert code == 0, err
    assert json.loads(out)["metrics"]["PQ"] == 100
    (ask, *_) = seg.model.asked
    assert (ask.classes, ask.things, ask.kind) == (("cat", "sky"), (True, False), "panoptic")
    assert (tmp_path / "r.html").read_text().count("data:image/jpeg") == 1


def test_classes_that_the_model_does_not_know_are_left_out_and_said(seg, tmp_path, photo):
    code, out, err = seg(*panoptic(tmp_path, photo, ("cat", "wall")), "--json")
    assert code == 0, err
    found = json.loads(out)
    assert found["settings"]["classes left out"] == 1
    assert found["settings"]["first left out"] == ["wall"]
    assert (found["metrics"]["PQ-things"], found["metrics"]["PQ-stuff"]) == (100, 0)
    code, _, err = seg(*panoptic(tmp_path, photo, ("dog", "wall")))
    assert code == 2
    assert "knows none of the 2 classes" in err


def test_semantic_asks_for_the_names_in_the_order_of_the_classes(seg, tmp_path, photo):
    save(tmp_path / "d" / "masks" / "a.png", photo - 1)
    (tmp_path / "photos").rename(tmp_path / "d" / "images")
    code, out, err = seg("semantic", "--data", tmp_path / "d", "-m", "colours", "--names", "cat,sky", "--json")
    assert code == 0, err
    assert json.loads(out)["metrics"]["mIoU"] == 100
    code, out, err = seg("semantic", "--data", tmp_path / "d", "-m", "colours", "--names", "sky,cat", "--json")
    assert json.loads(out)["metrics"]["mIoU"] == 0
    code, _, err = seg("semantic", "--data", tmp_path / "d", "-m", "colours")
    assert code == 2
    assert "--names" in err


def test_instance_ranks_what_the_model_finds_in_all_photos(seg, tmp_path, photo):
    square = encode(photo == 1)
    truth = {
        "images": [{"id": i, "file_name": "a.png", "height": 20, "width": 30} for i in (1, 2)],
        "categories": [{"id": 3, "name": "cat"}],
        "annotations": [
            {"id": i, "image_id": i, "category_id": 3, "area": 150, "iscrowd": 0, "bbox": [5, 5, 15, 10],
             "segmentation": square.coco()}
            for i in (1, 2)
        ],
    }  # fmt: skip
    (tmp_path / "gt.json").write_text(json.dumps(truth))
    typed = ["instance", "--data", tmp_path / "gt.json", "-m", "colours", "--images", tmp_path / "photos", "--json"]
    code, out, err = seg(*typed)
    assert code == 0, err
    assert json.loads(out)["metrics"]["AP"] == pytest.approx(100)
    code, out, err = seg(*typed, "--subset", 1)
    assert json.loads(out)["metrics"]["AP"] == pytest.approx(100)


def test_group_hands_over_the_sentence_the_references_and_the_candidates(seg, tmp_path, photo):
    red, blue = encode(photo == 1).coco(), encode(photo == 2).coco()
    line = {
        "image": "a.png", "height": 20, "width": 30, "prompt": "like <mask-ref>", "refs": [red],
        "candidates": [red, blue], "targets": [red],
    }  # fmt: skip
    (tmp_path / "g.jsonl").write_text(json.dumps(line) + "\n")
    typed = ["group", "--data", tmp_path / "g.jsonl", "-m", "colours"]
    code, out, err = seg(*typed, "--images", tmp_path / "photos", "--json")
    assert code == 0, err
    assert json.loads(out)["metrics"]["gIoU"] == 100
    assert seg.model.asked[0].text == "like {1}"
    code, _, err = seg(*typed)
    assert (code, "--images DIR" in err) == (2, True)
    code, _, err = seg(*typed, "--best-candidates")
    assert (code, "one of -m NAME" in err) == (2, True)


@pytest.mark.parametrize(("protocol", "data"), [("panoptic", "gt.json"), ("instance", "gt.json"), ("semantic", ".")])
def test_a_model_that_takes_no_classes_is_refused(seg, tmp_path, photo, protocol, data):
    panoptic(tmp_path, photo)
    (tmp_path / "gt.json").write_text((tmp_path / "gt.json").read_text())
    seg.model.accepts = frozenset({PromptKind.POINT})
    typed = [protocol, "--data", tmp_path / data, "-m", "colours"]
    typed += ["--names", "cat,sky"] if protocol == "semantic" else ["--images", tmp_path / "photos"]
    code, _, err = seg(*typed)
    assert code == 2
    assert "takes no class names" in err


def test_markers_are_numbered_in_order():
    assert numbered("left of <mask-ref> and <mask-ref>") == "left of {1} and {2}"
    assert numbered("everything red") == "everything red"
