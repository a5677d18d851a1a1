"""Tiny trees in the layouts that data sets really have."""

from __future__ import annotations

import json
import pickle
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from segcli.core.errors import ItemError, StorageError, UsageError
from segcli.core.rle import encode
from segcli.datasets import video
from segcli.datasets.coco import panoptic_pairs, read_instances, read_results
from segcli.datasets.fewshot import coco_lists, fold_classes, fss_classes, pascal_list, resize_nearest
from segcli.datasets.groups import read_groups
from segcli.datasets.interactive import open_interactive
from segcli.datasets.pickles import read_plain_pickle
from segcli.datasets.referring import draw, grefcoco, refcoco
from segcli.datasets.semantic import class_maps, read_prediction


def save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(array, np.uint8)).save(path)


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def frames(folder, count=3, value=1):
    for k in range(count):
        save(folder / f"{k:05d}.png", np.full((8, 9), value))


def test_davis_2017_names_sequences_in_a_list(tmp_path):
    frames(tmp_path / "Annotations" / "480p" / "dog", 4)
    save(tmp_path / "JPEGImages" / "480p" / "dog" / "00001.jpg", np.zeros((8, 9, 3)))
    write(tmp_path / "ImageSets" / "2017" / "val.txt", "dog\n")
    (found,) = video.davis_sequences(tmp_path, results=tmp_path / "out")
    assert (found.name, found.frames) == ("dog", ("00000", "00001", "00002", "00003"))
    assert found.photo("00001").shape == (8, 9, 3)
    with pytest.raises(ItemError, match=r"out.dog.00002.png: no such file"):
        found.prediction("00002")


def test_davis_2016_masks_become_one_object(tmp_path):
    frames(tmp_path / "Annotations" / "480p" / "dog", 3, value=255)
    lines = [f"/JPEGImages/480p/dog/{k:05d}.jpg /Annotations/480p/dog/{k:05d}.png" for k in range(3)]
    write(tmp_path / "ImageSets" / "480p" / "val.txt", "\n".join(lines))
    (found,) = video.davis_sequences(tmp_path, year=2016)
    assert found.truth("00000").max() == 1


def test_an_unknown_split_names_the_others(tmp_path):
    write(tmp_path / "ImageSets" / "2017" / "train.txt", "dog\n")
    with pytest.raises(StorageError, match="other splits: train"):
        video.davis_sequences(tmp_path, "val")


def test_youtube_vos_brings_its_meta_entries(tmp_path):
    frames(tmp_path / "valid" / "Annotations" / "v1")
    meta = {"videos": {"v1": {"objects": {"1": {"category": "dog", "frames": ["00000", "00001"]}}}}}
    write(tmp_path / "valid" / "meta.json", meta)
    (found,) = video.youtube_sequences(tmp_path)
    assert found.meta["objects"]["1"]["category"] == "dog"


@pytest.mark.parametrize("meta", ["{", '{"videos": []}', '{"videos": {"v": {"objects": {"1": {}}}}}'])
def test_a_broken_meta_json_is_refused(tmp_path, meta):
    write(tmp_path / "valid" / "meta.json", meta)
    with pytest.raises(StorageError, match=r"meta.json"):
        video.youtube_sequences(tmp_path)


def test_mose_takes_every_folder_of_annotations(tmp_path):
    for name in ("b", "a"):
        frames(tmp_path / "valid" / "Annotations" / name)
    assert [v.name for v in video.mose_sequences(tmp_path)] == ["a", "b"]


def test_plain_sequences_have_masks_beside_frames_or_masks_alone(tmp_path):
    frames(tmp_path / "s1" / "masks")
    frames(tmp_path / "s2")
    assert [v.annotations.name for v in video.folder_sequences(tmp_path)] == ["masks", "s2"]


@pytest.mark.parametrize(("layout", "images", "masks"), [("berkeley", "images", "masks"), ("davis345", "img", "gt")])
def test_photos_and_masks_meet_by_stem(tmp_path, layout, images, masks):
    save(tmp_path / images / "x.jpg", np.zeros((5, 6, 3)))
    save(tmp_path / masks / "x.png", np.full((5, 6), 200))
    (photo,) = open_interactive(tmp_path, layout)
    ((_, truth),) = photo.targets()
    assert truth.dtype == np.int8
    assert (truth == 1).all()


def test_a_photo_without_its_mask_is_named(tmp_path):
    save(tmp_path / "data_GT" / "x.jpg", np.zeros((5, 6, 3)))
    (tmp_path / "boundary_GT").mkdir()
    with pytest.raises(ItemError, match=r"x.jpg: has no mask"):
        list(open_interactive(tmp_path, "grabcut"))


def test_ade20k_counts_from_one_and_ignores_zero(tmp_path):
    save(tmp_path / "annotations" / "validation" / "x.png", [[0, 1, 150]])
    (entry,) = class_maps(tmp_path, "ade20k", "validation")
    assert entry.truth().tolist() == [[255, 0, 149]]


def test_pascal_context_459_keeps_classes_above_255(tmp_path):
    path = tmp_path / "annotations" / "val" / "x.png"
    path.parent.mkdir(parents=True)
    Image.fromarray(np.array([[0, 1, 459]], np.uint16)).save(path)
    (entry,) = class_maps(tmp_path, "pascal-context-459", "val")
    assert entry.truth().tolist() == [[65535, 0, 458]]
    assert entry.ignored == 65535


def test_cityscapes_lies_in_a_folder_for_each_city(tmp_path):
    save(tmp_path / "gtFine" / "val" / "ulm" / "ulm_1_gtFine_labelTrainIds.png", [[0, 18, 255]])
    (entry,) = class_maps(tmp_path, "cityscapes", "val")
    assert entry.name == "ulm_1"
    assert entry.image.name == "ulm_1_leftImg8bit.png"


def test_a_missing_class_map_is_named(tmp_path):
    with pytest.raises(ItemError, match=r"x.png: no such file"):
        read_prediction(tmp_path, "x")


def test_an_unknown_layout_names_the_known_ones(tmp_path):
    with pytest.raises(UsageError, match="ade20k"):
        class_maps(tmp_path, "nonsense", "val")


INSTANCES = {
    "images": [{"id": 9, "height": 40, "width": 50, "file_name": "9.jpg"}],
    "annotations": [
        {"id": 5, "image_id": 9, "category_id": 1, "iscrowd": 0, "segmentation": [[5, 5, 15, 5, 15, 15, 5, 15]]},
        {"id": 6, "image_id": 9, "category_id": 1, "iscrowd": 1,
         "segmentation": {"counts": [0, 2000], "size": [40, 50]}},
    ],
    "categories": [{"id": 1, "name": "dog"}],
}  # fmt: skip


def refs(ann_id, cls=list):
    sentences = [{"sent_id": 1, "raw": "A", "sent": "a", "tokens": ["a"]}, {"sent_id": 2, "sent": "b"}]
    return cls([{"ref_id": 3, "image_id": 9, "ann_id": ann_id, "split": "val", "sentences": sentences}])


def test_refcoco_gives_a_sample_for_each_sentence(tmp_path):
    write(tmp_path / "instances.json", INSTANCES)
    (tmp_path / "refs(unc).p").write_bytes(pickle.dumps(refs(5), protocol=0))
    found = list(refcoco(tmp_path))
    assert [(s.sentence_id, s.text, s.image) for s in found] == [(1, "a", "9.jpg"), (2, "b", "9.jpg")]
    assert found[0].mask().sum() == 100


def test_grefcoco_knows_no_target_and_leaves_crowds_out(tmp_path):
    write(tmp_path / "instances.json", INSTANCES)
    write(tmp_path / "grefs(unc).json", refs([-1]))
    assert not next(grefcoco(tmp_path)).mask().any()
    write(tmp_path / "grefs(unc).json", refs([5, 6]))
    sentence = next(grefcoco(tmp_path))
    assert sentence.mask().sum() == 100
    assert sentence.mask((80, 100)).sum() == 400


def test_a_reference_to_a_missing_annotation_is_named(tmp_path):
    write(tmp_path / "instances.json", INSTANCES)
    write(tmp_path / "grefs(unc).json", refs([77]))
    with pytest.raises(ItemError, match="reference 3 names annotation 77"):
        list(grefcoco(tmp_path))


def test_two_lists_of_references_ask_which_one(tmp_path):
    write(tmp_path / "instances.json", INSTANCES)
    for name in ("umd", "google"):
        (tmp_path / f"refs({name}).p").write_bytes(pickle.dumps(refs(5)))
    with pytest.raises(StorageError, match="google, umd; choose one"):
        list(refcoco(tmp_path))
    assert len(list(refcoco(tmp_path, splits_by="umd"))) == 2


class Bomb:
    def __reduce__(self):
        return (print, ("run by the reader",))


@pytest.mark.parametrize("protocol", range(6))
def test_a_pickle_that_names_code_is_refused_without_running_it(tmp_path, capsys, protocol):
    path = tmp_path / "x.p"
    path.write_bytes(pickle.dumps([Bomb()], protocol=protocol))
    with pytest.raises(StorageError, match="refused"):
        read_plain_pickle(path)
    assert capsys.readouterr().out == ""


@given(st.binary(max_size=60))
def test_no_bytes_make_the_pickle_reader_fail_in_another_way(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("p") / "x.p"
    path.write_bytes(content)
    with suppress(StorageError):
        read_plain_pickle(path)


def test_pascal_5i_lists_hold_name_and_class(tmp_path):
    path = write(tmp_path / "fold0.txt", "2007_000033__01\n2007_000042__05\n")
    assert pascal_list(path) == [("2007_000033", 0), ("2007_000042", 4)]
    with pytest.raises(StorageError, match="2007_000033_01"):
        pascal_list(write(path, "2007_000033_01"))


def test_coco_20i_lists_are_pickled_dicts(tmp_path):
    path = tmp_path / "x.pkl"
    path.write_bytes(pickle.dumps({0: ["train2014/a.jpg"]}))
    assert coco_lists(path) == {0: ["train2014/a.jpg"]}


def test_folds_of_pascal_are_neighbours_and_of_coco_every_fourth():
    assert fold_classes("pascal", 1) == (5, 6, 7, 8, 9)
    assert fold_classes("coco", 2)[:3] == (2, 6, 10)


def test_fss_images_come_in_string_order(tmp_path):
    for k in (1, 2, 10):
        save(tmp_path / "ant" / f"{k}.jpg", np.zeros((4, 4, 3)))
    assert fss_classes(tmp_path, "val") == [(520, "ant", ("1", "10", "2"))]


@given(st.integers(1, 40), st.integers(1, 40))
def test_nearest_resizing_takes_the_pixel_at_the_floor(source, target):
    line = np.arange(source)[None]
    taken = resize_nearest(line, (1, target))[0]
    assert taken[0] == 0
    assert (np.diff(taken) >= 0).all()
    assert taken[-1] <= source - 1


def panoptic(tmp_path, prediction_images=(1,)):
    image = {"id": 1, "file_name": "a.jpg", "height": 4, "width": 4}
    segments = [{"id": 5, "category_id": 1, "area": 16, "iscrowd": 0}]
    for name, images in (("gt", (1,)), ("pr", prediction_images)):
        save(tmp_path / name / "a.png", np.tile(np.uint8([5, 0, 0]), (4, 4, 1)))
        entries = [{"image_id": i, "file_name": "a.png", "segments_info": segments} for i in images]
        content = {"images": [image], "categories": [{"id": 1, "isthing": 1, "name": "cat"}], "annotations": entries}
        write(tmp_path / f"{name}.json", content)
    return tmp_path / "gt.json", tmp_path / "pr.json"


def test_panoptic_pngs_lie_in_folders_named_like_the_json(tmp_path):
    pairs, things, names = panoptic_pairs(*panoptic(tmp_path))
    assert pairs[0].truth_png == tmp_path / "gt" / "a.png"
    assert (things, names) == ({1: True}, {1: "cat"})


def test_an_image_without_a_panoptic_prediction_is_named(tmp_path):
    with pytest.raises(ItemError, match=r"pr.json: has no annotation of image 1"):
        panoptic_pairs(*panoptic(tmp_path, prediction_images=()))


def test_json_of_the_wrong_form_is_named(tmp_path):
    with pytest.raises(StorageError, match="has no images"):
        read_instances(write(tmp_path / "a.json", {}))
    with pytest.raises(StorageError, match="entry 0 is no detection"):
        read_results(write(tmp_path / "a.json", [{"image_id": 1}]))
    with pytest.raises(StorageError, match="not JSON"):
        read_results(write(tmp_path / "a.json", "["))


def test_groups_are_json_lines_with_a_marker_for_each_reference(tmp_path):
    mask = encode(np.ones((3, 4), np.bool_)).coco()
    entry = {"image": "a.jpg", "height": 3, "width": 4, "prompt": "like <mask-ref>", "refs": [mask], "targets": []}
    (group,) = read_groups(write(tmp_path / "g.jsonl", json.dumps(entry)))
    assert group.masks("refs")[0].all()
    with pytest.raises(StorageError, match="1 times <mask-ref> but 0 refs"):
        read_groups(write(tmp_path / "g.jsonl", json.dumps(entry | {"refs": []})))
    with pytest.raises(StorageError, match=r"g.jsonl:1: a mask has another size"):
        read_groups(write(tmp_path / "g.jsonl", json.dumps(entry | {"height": 9})))


def test_coco_gives_every_instance_that_is_no_crowd(tmp_path):
    write(tmp_path / "annotations" / "instances_val2017.json", INSTANCES)
    (photo,) = open_interactive(tmp_path, "coco", "val2017")
    ((name, truth),) = photo.targets()
    assert (photo.name, photo.image, name, truth.sum()) == ("9", tmp_path / "val2017" / "9.jpg", "5", 100)


def test_open_images_masks_are_brought_to_the_photos_size(tmp_path):
    write(tmp_path / "validation-annotations-object-segmentation.csv", "MaskPath,ImageID\nm1.png,a\nm2.png,a\n")
    save(tmp_path / "validation" / "a.jpg", np.zeros((8, 12, 3)))
    for k in (1, 2):
        save(tmp_path / "masks" / f"m{k}.png", np.repeat(np.uint8([[255, 0]]), 4, axis=0))
    (photo,) = open_interactive(tmp_path, "openimages", "validation")
    assert [(n, t.shape, int(t.sum())) for n, t in photo.targets()] == [("m1", (8, 12), 48), ("m2", (8, 12), 48)]


def test_youtube_vos_categories_come_from_the_training_set(tmp_path):
    objects = {"1": {"category": "dog", "frames": ["0"]}, "2": {"category": "ape", "frames": ["0"]}}
    path = write(tmp_path / "meta.json", {"videos": {"v": {"objects": objects}}})
    assert video.youtube_categories(path) == ("ape", "dog")


@pytest.mark.parametrize("shape", [[[1, 2]], [], "x", {"counts": "9", "size": [40, 50]}, {"size": [1]}])
def test_an_annotation_that_can_not_be_drawn_is_named(shape):
    with pytest.raises(ItemError, match="annotation 8: can't be drawn"):
        draw([{"id": 8, "segmentation": shape}], (40, 50))


@pytest.mark.parametrize("change", [{"sentences": 5}, {"sentences": [{}]}, {"image_id": []}])
def test_a_broken_reference_is_refused(tmp_path, change):
    write(tmp_path / "instances.json", INSTANCES)
    write(tmp_path / "grefs(unc).json", [refs([5])[0] | change])
    with pytest.raises(StorageError, match="a reference is broken"):
        list(grefcoco(tmp_path))
