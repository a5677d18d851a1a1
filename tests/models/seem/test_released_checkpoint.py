"""A file in the official format, from the folder where somebody put it to masks on disk.

All keys of focal-T v1 under their official names, as `torch.save` writes them, at a tiny width; the official widths are
held by test_keys.py, and benchmarks/seem_checkpoint.py does the same with the full 660 MB.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as Pillow
from tests.models.seem.conftest import DATA
from tests.models.seem.test_keys import released_keys

from segcli.cli.app import main
from segcli.core.ask import Ask, Point
from segcli.core.image import Image
from segcli.models.backbones.config import FocalConfig
from segcli.models.seem import config
from segcli.models.seem.config import DecoderConfig, PixelDecoderConfig, SeemConfig, TextConfig
from segcli.models.seem.model import SeemModel
from segcli.registry.load import open_model

TINY = SeemConfig(
    FocalConfig(8, (2, 2, 6, 2), (3, 3, 3, 3), depthwise=True),
    PixelDecoderConfig(dim=32, mask_dim=32, heads=4, ffn=48),
    DecoderConfig(32, 32, 32, 4, 48, queries=11, memories=6, text=TextConfig(width=32, heads=4)),
    short_side=64,
    long_side=96,
)
ENTRY = """
[my.seem]
system = "seem"
config = "tiny-v1"
folder = "{folder}"
files = [{{ name = "seem_tiny_v1.pt" }}]
keys = "original"
licence = "none"
accepts = ["point", "text", "reference", "classes", "video"]
"""

Change = Callable[[dict[str, torch.Tensor]], object]


def random_file() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    with torch.device("meta"):
        shapes = {key: value.shape for key, value in SeemModel(TINY).state_dict().items()}
    return {key: torch.randn(shape, generator=generator) * 0.1 for key, shape in shapes.items()}


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    pixels = np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)
    Pillow.fromarray(pixels).save(path)
    return path


@pytest.fixture
def put(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Change], None]:
    """Writes the file, changed, and the entry that names it, in an empty home."""
    for variable in ("HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME", "SEG_CACHE", "SEG_STATE"):
        monkeypatch.setenv(variable, str(tmp_path / variable.lower()))
    monkeypatch.setitem(config.PRESETS, "tiny", TINY)
    monkeypatch.chdir(tmp_path)

    def write(change: Change = lambda tensors: None) -> None:
        tensors = random_file()
        change(tensors)
        torch.save(tensors, tmp_path / "seem_tiny_v1.pt")
        own = tmp_path / "xdg_config_home" / "seg" / "weights.toml"
        own.parent.mkdir(parents=True)
        own.write_text(ENTRY.format(folder=tmp_path))

    return write


def test_the_tiny_file_has_every_official_key_of_focal_t():
    assert set(random_file()) == set(released_keys(DATA / "keys" / "focalt_v1.txt"))


def test_an_official_file_is_converted_loaded_strictly_and_masks_a_photo(put, photo: Path, tmp_path: Path, capsys):
    put()
    for folder in ("first", "second"):
        main_ends(0, ["point", str(photo), "--at", "30,20", "-m", "my.seem", "-f", "mask,jsonl", "-o", folder])
    assert capsys.readouterr().err.count("converting my.seem") == 1
    assert list((tmp_path / "seg_cache" / "converted" / "my.seem").glob("*.safetensors"))
    with Pillow.open(tmp_path / "first" / "mask" / "photo.png") as mask:
        assert mask.size == (90, 60)
    line = json.loads((tmp_path / "first" / "masks.jsonl").read_text())
    assert line["masks"], "an answer, though of random weights"
    same = [(tmp_path / folder / "mask" / "photo.png").read_bytes() for folder in ("first", "second")]
    assert same[0] == same[1], "the same click gives the same bytes from run to run"


def test_its_words_reach_its_masks(put, photo: Path):
    put()
    model = open_model("my.seem", device="cpu", say=lambda line: None)
    with Pillow.open(photo) as opened:
        image = Image(np.array(opened), (60, 90), "photo.png")
    (encoded,) = model.encode([image])
    click = Ask(points=(Point(30, 20),), classes=("cat", "sky"))
    said, whole = Ask(text="the red mug"), Ask(classes=("cat", "sky"), kind="semantic")
    labelled, named, every = model.decode(encoded, [click, said, whole])
    assert set(labelled.labels) <= {"cat", "sky"}
    assert all(0 <= score <= 1 for score in labelled.label_scores)
    assert set(named.phrases) <= {"the red mug"}
    assert sum(mask.area for mask in every.masks) == 60 * 90
    again = open_model("my.seem", device="cpu", say=lambda line: None)
    assert [p.masks for p in again.decode(again.encode([image])[0], [click, said, whole])] == [
        p.masks for p in (labelled, named, every)
    ]


def test_words_classes_regions_and_videos_reach_it_from_the_command_line(put, photo: Path, tmp_path: Path):
    put()
    (tmp_path / "frames").mkdir()
    for n in range(3):
        (tmp_path / "frames" / f"{n:05d}.png").write_bytes(photo.read_bytes())
    first = np.zeros((60, 90), np.uint8)
    first[20:50, 30:70] = 255
    Pillow.fromarray(first).save(tmp_path / "first.png")
    like, model = f"{photo}@30,20", ["-m", "my.seem", "-f", "jsonl", "-o"]
    main_ends(0, ["refer", "the red mug", str(photo), "--at", "30,20", "--like", like, *model, "mixed"])
    main_ends(0, ["refer", "the red mug", str(photo), "--all", "--threshold", "1", *model, "nothing"])
    main_ends(0, ["panoptic", str(photo), "--classes", "cat,sky", "--kind", "semantic", *model, "whole"])
    main_ends(0, ["point", str(photo), "--at", "30,20", "--classes", "cat,sky", *model, "labelled"])
    lines = {
        name: json.loads((tmp_path / name / "masks.jsonl").read_text())
        for name in ("mixed", "nothing", "whole", "labelled")
    }
    assert lines["mixed"]["masks"][0]["phrase"] == "the red mug"
    assert lines["nothing"]["masks"] == []
    assert sum(mask["area"] for mask in lines["whole"]["masks"]) == 60 * 90
    assert {mask["label"] for mask in lines["whole"]["masks"] + lines["labelled"]["masks"]} <= {"cat", "sky"}
    assert 0 < lines["labelled"]["masks"][0]["label_score"] < 1
    main_ends(0, ["vos", "frames", "--first", "first.png", "-m", "my.seem", "-o", "followed"])
    assert len(list((tmp_path / "followed").rglob("*.png"))) == 3


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda t: t.pop("backbone.norm3.bias"), "1 missing: backbone.norm3.bias"),
        (lambda t: t.update(extra=torch.zeros(1)), "1 unexpected: extra"),
        (
            lambda t: t.update({"sem_seg_head.predictor.query_feat.weight": torch.zeros(12, 32)}),
            "sem_seg_head.predictor.query_feat.weight is 12x32 and should be 11x32",
        ),
    ],
)
def test_one_wrong_key_ends_with_5_and_its_name(put, photo: Path, capsys, change: Change, says: str):
    put(change)
    main_ends(5, ["point", str(photo), "--at", "30,20", "-m", "my.seem"])
    said = capsys.readouterr().err
    assert says in said
    assert "Traceback" not in said


def main_ends(code: int, arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*arguments, "--device", "cpu"])
    assert ended.value.code == code
