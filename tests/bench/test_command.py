"""`seg bench` as typed."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from segcli.cli.app import main
from segcli.core.rle import encode
from tests.bench.conftest import save


@pytest.fixture
def seg(capsys, discs, monkeypatch):
    """Runs `seg bench` in this process: (code, stdout, stderr)."""
    monkeypatch.setattr("segcli.registry.load.open_model", lambda name, **options: discs)

    def typed(*arguments):
        code = 0
        try:
            main(["bench", *map(str, arguments)])
        except SystemExit as error:
            code = int(error.code or 0)
        out = capsys.readouterr()
        return code, out.out, out.err

    return typed


def result(done):
    code, out, err = done
    assert code == 0, err
    return json.loads(out)


def without_seconds(document):
    return {k: v for k, v in document.items() if k != "seconds"}


def refused(done, code, *words):
    assert done[0] == code, done
    (line,) = done[2].splitlines()
    assert done[1] == ""
    for word in words:
        assert word in line


def test_noc_on_a_grabcut_folder_end_to_end(seg, photos, tmp_path):
    report = tmp_path / "r.html"
    found = result(seg("noc", "--data", photos, "-m", "discs", "--clicks", 6, "--json", "--report", report))
    assert found["data"]["layout"] == "grabcut"
    assert found["model"] == {"name": "discs", "revision": "abc"}
    assert found["metrics"]["objects"] == 3
    assert 0.5 < found["metrics"]["IoU@1"] < 1
    assert report.read_text().count("data:image/jpeg;base64") == 3


def test_two_runs_print_the_same_and_an_interrupted_one_resumes_to_it(seg, photos, tmp_path, discs):
    typed = ["noc", "--data", photos, "-m", "discs", "--clicks", 3, "--json", "--journal", tmp_path / "j"]
    first = result(seg(*typed))
    assert without_seconds(result(seg(*typed[:-2]))) == without_seconds(first)
    lines = (tmp_path / "j").read_bytes().splitlines(keepends=True)
    (tmp_path / "j").write_bytes(b"".join(lines[:2]) + lines[2][:30])
    discs.asked.clear()
    assert without_seconds(result(seg(*typed))) == without_seconds(first)
    assert len(discs.asked) == 2 * 3  # two photos were left


def test_each_photo_is_read_once_and_ahead_of_its_turn(seg, photos, monkeypatch):
    from segcli.bench.photos import AskedPhoto

    loaded = []
    load = AskedPhoto.load
    monkeypatch.setattr(AskedPhoto, "load", lambda self: (loaded.append(self.name), load(self))[1])
    result(seg("noc", "--data", photos, "-m", "discs", "--clicks", 2, "--json"))
    assert sorted(loaded) == ["a", "b", "c"]


def test_seems_rule_and_its_thresholds(seg, photos):
    found = result(seg("noc", "--data", photos, "-m", "discs", "--clicks", 3, "--rule", "seem", "--json"))
    assert "NoC@50" in found["metrics"]


def test_iou1_asks_once_for_each_kind(seg, photos, discs):
    found = result(seg("iou1", "--data", photos, "-m", "discs", "--prompts", "point,box", "--json"))
    assert set(found["metrics"]) == {"objects", "1-IoU point", "1-IoU box"}
    assert found["metrics"]["1-IoU box"] == 0  # this model only knows points
    assert len(discs.asked) == 6


def test_seems_box_is_only_a_click_in_its_middle(seg, photos, discs):
    seg("iou1", "--data", photos, "-m", "discs", "--prompts", "box", "--seem-box")
    assert all(len(a.points) == 1 and not a.boxes for a in discs.asked)


def test_youtube_vos_knows_the_seen_categories_from_its_training_set(seg, tmp_path):
    entry = {"videos": {"v": {"objects": {"1": {"category": "dog", "frames": ["00000", "00005"]}}}}}
    for split in ("valid", "train"):
        (tmp_path / split).mkdir()
        (tmp_path / split / "meta.json").write_text(json.dumps(entry))
    for t in (0, 5):
        save(tmp_path / "valid" / "Annotations" / "v" / f"{t:05d}.png", np.ones((9, 9)))
        save(tmp_path / "out" / "v" / f"{t:05d}.png", np.ones((9, 9)))
    found = result(seg("vos", "--data", tmp_path, "--results", tmp_path / "out", "--json"))
    assert (found["metrics"]["J_seen"], found["metrics"]["J_unseen"]) == (1, None)
    assert found["data"]["layout"] == "youtube-vos"


def test_a_kind_of_prompt_that_the_model_refuses_is_named(seg, photos, discs):
    discs.accepts = frozenset({"point"})
    refused(seg("iou1", "--data", photos, "-m", "discs"), 2, "discs takes no stroke")


def test_vos_needs_no_torch_and_meets_a_requirement(davis, tmp_path):
    root, results = davis
    code = (
        "import sys\nfrom segcli.cli.app import main\n"
        f"main(['bench', 'vos', '--data', {str(root)!r}, '--results', {str(results)!r}, '--require', 'J-Mean>=0.5'])\n"
        "assert not {'torch', 'transformers', 'cv2'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "met     J-Mean>=0.5" in done.stdout


def test_scores_of_results_that_were_replaced_since_are_not_taken_from_the_journal(seg, davis, tmp_path):
    root, results = davis
    typed = ["vos", "--data", root, "--results", results, "--journal", tmp_path / "j"]
    assert seg(*typed)[0] == seg(*typed)[0] == 0
    frame = next(results.rglob("*.png"))
    os.utime(frame, ns=(1, 1))
    refused(seg(*typed), 2, "belongs to another run; give another --journal")


def test_a_missed_requirement_exits_7_after_everything_was_written(seg, davis, tmp_path):
    root, results = davis
    typed = ["vos", "--data", root, "--results", results, "--require", "J-Mean>=0.99"]
    code, out, err = seg(*typed, "--junit", tmp_path / "j.xml")
    assert code == 7
    assert "J-Mean>=0.99" in err
    assert "J&F-Mean" in out
    assert 'failures="1"' in (tmp_path / "j.xml").read_text()


def test_a_regression_against_a_baseline_exits_7(seg, davis, tmp_path):
    root, results = davis
    perfect = tmp_path / "perfect.json"
    perfect.write_text(seg("vos", "--data", root, "--results", root / "Annotations" / "480p", "--json")[1])
    typed = ["vos", "--data", root, "--results", results, "--baseline", perfect]
    assert seg(*typed)[0] == 7
    assert seg(*typed, "--tolerance", "1")[0] == 0


def test_a_missing_frame_names_sequence_and_file(seg, davis):
    root, results = davis
    (results / "dog" / "00002.png").unlink()
    refused(seg("vos", "--data", root, "--results", results), 3, "dog, frame 00002", "no such file")


def test_a_frame_of_another_size_names_both_sizes(seg, davis):
    root, results = davis
    save(results / "dog" / "00002.png", np.zeros((4, 5)))
    refused(seg("vos", "--data", root, "--results", results), 3, "dog, frame 00002", "5x4", "60x40")


def test_a_label_over_the_number_of_objects_is_named(seg, davis):
    root, results = davis
    save(results / "cat" / "00002.png", np.full((40, 60), 4))
    refused(seg("vos", "--data", root, "--results", results), 3, "cat", "label 4")


def test_a_frame_that_is_no_image_is_named(seg, davis):
    root, results = davis
    (results / "cat" / "00002.png").write_bytes(b"text")
    refused(seg("vos", "--data", root, "--results", results), 3, "cat, frame 00002", "can't be read as an image")


def panoptic_files(tmp_path, things=1, images=(1,)):
    ids = np.zeros((8, 8, 3), np.uint8)
    ids[:4, :, 0] = 5
    entry = {"file_name": "a.png", "segments_info": [{"id": 5, "category_id": 1, "area": 32, "iscrowd": 0}]}
    for name, listed in (("gt", (1,)), ("pr", images)):
        save(tmp_path / name / "a.png", ids)
        content = {
            "images": [{"id": 1, "file_name": "a.jpg"}],
            "categories": [{"id": 1, "isthing": things, "name": "cat"}],
            "annotations": [{"image_id": i, **entry} for i in listed],
        }
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    return "--data", tmp_path / "gt.json", "--pred", tmp_path / "pr.json"


@pytest.mark.parametrize(("things", "absent"), [(1, "PQ-stuff"), (0, "PQ-things")])
def test_panoptic_without_stuff_or_things_says_so(seg, tmp_path, things, absent):
    found = result(seg("panoptic", *panoptic_files(tmp_path, things), "--json"))
    assert found["metrics"]["PQ"] == 100
    assert found["metrics"][absent] is None
    assert any(absent in w for w in found["warnings"])


def test_json_without_the_image_is_named(seg, tmp_path):
    refused(seg("panoptic", *panoptic_files(tmp_path, images=())), 3, "pr.json", "image 1")


def test_semantic_scores_a_folder_of_class_maps(seg, tmp_path):
    save(tmp_path / "d" / "masks" / "a.png", [[0, 1, 255]])
    save(tmp_path / "out" / "a.png", [[0, 0, 1]])
    typed = ["semantic", "--data", tmp_path / "d", "--results", tmp_path / "out"]
    found = result(seg(*typed, "--classes", 2, "--json"))
    assert found["metrics"]["mIoU"] == 25
    refused(seg(*typed), 2, "--classes N")
    (warning,) = result(seg(*typed, "--classes", 1, "--json"))["warnings"]
    assert warning.startswith("a: the annotation holds class 1, one too many")
    save(tmp_path / "out" / "a.png", [[0, 0, 9]])
    refused(seg(*typed, "--classes", 2), 3, "a: the prediction holds class 9")


def test_instance_scores_detections(seg, tmp_path):
    mask = np.zeros((50, 50), np.bool_)
    mask[5:25, 5:25] = True
    rle = encode(mask).coco()
    truth = {
        "images": [{"id": 1, "height": 50, "width": 50}],
        "categories": [{"id": 1, "name": "cat"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "area": 400, "iscrowd": 0,
             "bbox": [5, 5, 20, 20], "segmentation": rle}
        ],
    }  # fmt: skip
    (tmp_path / "gt.json").write_text(json.dumps(truth))
    (tmp_path / "dt.json").write_text(
        json.dumps([{"image_id": 1, "category_id": 1, "score": 0.9, "segmentation": rle}])
    )
    found = result(seg("instance", "--data", tmp_path / "gt.json", "--pred", tmp_path / "dt.json", "--json"))
    assert found["metrics"]["AP"] == pytest.approx(100)
    assert found["metrics"]["APl"] is None
    truth["images"] = []
    (tmp_path / "gt.json").write_text(json.dumps(truth))
    refused(seg("instance", "--data", tmp_path / "gt.json", "--pred", tmp_path / "dt.json"), 2, "lists no image")


@pytest.fixture
def sentences(tmp_path):
    """gRefCOCO with one sentence that has a target and one that has none."""
    root = tmp_path / "grefcoco"
    root.mkdir()
    annotation = {
        "id": 5,
        "image_id": 9,
        "category_id": 1,
        "iscrowd": 0,
        "segmentation": [[0, 0, 20, 0, 20, 20, 0, 20]],
    }
    images = [{"id": 9, "height": 40, "width": 50, "file_name": "9.jpg"}]
    (root / "instances.json").write_text(json.dumps({"images": images, "annotations": [annotation], "categories": []}))
    refs = [
        {"ref_id": k, "image_id": 9, "ann_id": [a], "split": "val", "sentences": [{"sent_id": k, "sent": "x"}]}
        for k, a in ((1, 5), (2, -1))
    ]
    (root / "grefs(unc).json").write_text(json.dumps(refs))
    save(tmp_path / "photos" / "9.jpg", np.zeros((40, 50, 3)))
    return root


def test_grefer_scores_answers_and_counts_a_missing_one(seg, sentences, tmp_path):
    mask = np.zeros((40, 50), np.bool_)
    mask[:20, :20] = True
    answers = tmp_path / "a.jsonl"
    lines = [{"id": 1, "rle": encode(mask).coco()}, {"id": 2, "rle": None}]
    answers.write_text("\n".join(map(json.dumps, lines)))
    typed = ["grefer", "--data", sentences, "--results", answers, "--json"]
    flagged = result(seg(*typed, "--nt-pixels", 50, "--gres-size", 0))["metrics"]
    assert (flagged["gIoU"], flagged["N_acc"], flagged["T_acc"]) == (100, 1, 1)
    assert result(seg(*typed))["metrics"]["N_acc"] == 0  # nobody said that nothing is meant
    answers.write_text(json.dumps(lines[0]))
    refused(seg(*typed), 3, "2: has no answer")


def test_a_model_without_words_is_refused_before_it_is_asked(seg, sentences, tmp_path, discs):
    discs.accepts = frozenset({"point"})
    typed = ["grefer", "--data", sentences, "-m", "discs", "--images", tmp_path / "photos"]
    refused(seg(*typed), 2, "discs takes no words")
    discs.accepts = frozenset({"text"})
    found = result(seg(*typed, "--json"))
    assert found["metrics"]["N_acc"] == 1  # it answers words with nothing
    assert [a.text for a in discs.asked] == ["x", "x"]


def test_groups_are_scored_with_and_without_references(seg, tmp_path):
    mask = np.zeros((6, 6), np.bool_)
    mask[:3] = True
    rle = encode(mask).coco()
    base = {"image": "a.jpg", "height": 6, "width": 6, "targets": [rle], "candidates": [rle]}
    lines = [{**base, "prompt": "all"}, {**base, "prompt": "like <mask-ref>", "refs": [rle]}]
    path = tmp_path / "g.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    answers = tmp_path / "a.jsonl"
    answers.write_text('{"id": 1, "masks": []}\n' + json.dumps({"id": 2, "masks": [{"rle": rle}]}))
    metrics = result(seg("group", "--data", path, "--results", answers, "--json"))["metrics"]
    assert (metrics["gIoU"], metrics["gIoU w/o refs"], metrics["gIoU w/ refs"]) == (50, 0, 100)
    best = result(seg("group", "--data", path, "--best-candidates", "--json"))["metrics"]
    assert best["cIoU"] == 100
    refused(seg("group", "--data", path), 2, "--best-candidates")


@pytest.fixture
def fss(tmp_path):
    root = tmp_path / "fss"
    for k in range(1, 11):
        save(root / "ant" / f"{k}.jpg", np.zeros((20, 20, 3)))
        mask = np.zeros((20, 20))
        mask[:k] = 255
        save(root / "ant" / f"{k}.png", mask)
    return root


def test_fewshot_episodes_are_listed_and_scored(seg, fss, tmp_path, discs):
    typed = ["fewshot", "--data", fss, "--layout", "fss-1000"]
    code, out, _ = seg(*typed, "--list")
    episodes = [json.loads(line) for line in out.splitlines()]
    assert (code, len(episodes)) == (0, 10)
    answers = tmp_path / "a.jsonl"
    lines = []
    for e in episodes:
        mask = np.array(Image.open(e["query"].replace(".jpg", ".png"))) > 0
        lines.append(json.dumps({"id": e["id"], "rle": encode(mask).coco()}))
    answers.write_text("\n".join(lines))
    assert result(seg(*typed, "--results", answers, "--json"))["metrics"] == {"mIoU": 100, "FB-IoU": 100}
    seg(*typed, "-m", "discs", "--json")
    assert {len(a.references) for a in discs.asked} == {1}
    refused(seg(*typed), 2, "either -m NAME or --results FILE")


def test_a_model_that_learns_examples_gets_those_of_each_episode(seg, fss, discs):
    learned = []
    discs.learn = lambda examples, kind: learned.append((kind, [(e.photo.size, int(e.ids.sum())) for e in examples]))
    result(seg("fewshot", "--data", fss, "--layout", "fss-1000", "-m", "discs", "--shots", 2, "--json"))
    assert len(learned) == 10
    assert {kind for kind, _ in learned} == {"semantic"}
    assert all(size == (20, 20) and area % 20 == 0 for _, shots in learned for size, area in shots)
    assert {len(shots) for _, shots in learned} == {2}


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        (["noc", "--data", "absent", "-m", "discs"], 4, "absent: no such folder"),
        (["noc", "--data", ".", "-m", "discs"], 4, "no images/ with masks/"),
        (["noc", "--data", ".", "-m", "discs", "--rule", "best"], 2, "ritm, seem"),
        (["noc", "--data", ".", "-m", "discs", "--clicks", "0"], 2, "--clicks 0"),
        (["noc", "--data", ".", "-m", "discs", "--at", "9"], 2, "--at 9"),
        (["noc", "--data", ".", "-m", "discs", "--layout", "x"], 2, "grabcut"),
        (["vos", "--data", ".", "--results", ".", "--layout", "x"], 2, "davis2017"),
        (["vos", "--data", ".", "--results", "absent"], 4, "absent"),
        (["panoptic", "--data", "a.json", "--pred", "b.json"], 4, "a.json: no such file"),
        (["instance", "--data", "a.json", "--pred", "b.json"], 4, "a.json: no such file"),
        (["refer", "--data", ".", "--rule", "x"], 2, "seem, psalm"),
        (["fewshot", "--data", ".", "--layout", "x"], 2, "pascal-5i"),
    ],
)  # fmt: skip
def test_every_wrong_word_has_one_line(seg, tmp_path, monkeypatch, arguments, code, word):
    monkeypatch.chdir(tmp_path)
    refused(seg(*arguments), code, word)


def test_a_wrong_requirement_is_refused_before_anything_is_measured(seg, photos, discs):
    refused(seg("noc", "--data", photos, "-m", "discs", "--require", "NoC"), 2, "--require NoC")
    assert not discs.asked


def test_no_model_is_a_line_that_says_what_to_type(seg, photos):
    refused(seg("noc", "--data", photos), 2, "-m seem-nano")
