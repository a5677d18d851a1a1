"""What is refused before anything is read: one line that names the item, and the right code."""

from __future__ import annotations

from pathlib import Path

import pytest

from segcli.cli.app import main

from .support import PHOTOS

CAT = str(PHOTOS / "chelsea.jpg")

REFUSED = [
    (["point"], "seg point: nothing is pointed at"),
    (["point", CAT, "--not-at", "3,4"], "only what is not the object"),
    (["point", CAT, "--at", "3"], "--at 3: is not x,y; type for example --at 120,80"),
    (["point", CAT, "--at", "3,4,5"], "--at 3,4,5"),
    (["point", CAT, "--at", "nan,3"], "--at nan,3"),
    (["point", CAT, "--at", "120%,3"], "--at 120%,3"),
    (["point", CAT, "--not-at", "x,y"], "--not-at x,y"),
    (["point", CAT, "--box", "1,2,3"], "--box 1,2,3: is not x0,y0,x1,y1"),
    (["point", CAT, "--box", "9,2,3,4"], "--box 9,2,3,4: has no inside"),
    (["point", CAT, "--scribble", ""], "--scribble: the scribble is empty"),
    (["point", CAT, "--scribble", " ; "], "--scribble: the scribble is empty"),
    (["point", CAT, "--scribble", "no-such.png"], "--scribble no-such.png: no such file"),
    (["point", CAT, "--polygon", "1,2;3,4"], "--polygon 1,2;3,4: needs three points"),
    (["point", CAT, "--mask", "no-such.png"], "--mask no-such.png: no such file"),
    (["point", CAT, "--refine", "no-such.png"], "--refine no-such.png: no such file"),
    (["point", CAT, "--at", "3,4", "--classes", " ,"], "--classes: no words"),
    (["point", CAT, "--at", "3,4", "--scribble", "1,2;3,4", "--each"], "--each is for --at and --box"),
    (["point", CAT, "--at", "3,4", "--prompts", "-"], "--prompts brings photos and prompts itself"),
    (["point", "--prompts", "no-such.jsonl"], "--prompts no-such.jsonl: no such file"),
    (["point", "--prompts", "-", "-o", "masks"], "writes no files"),
    (["point", "--prompts", "-", "--shard", "1/2"], "has no use for --shard"),
    (["point", "--prompts", "-", "--json"], "answers with JSON lines anyway"),
    (["point", "--at", "3,4"], "no photos given"),
    (["point", CAT, "--at", "3,4", "-m", "seem-nanno"], "did you mean seem-nano"),
    (["point", CAT, "--at", "3,4", "-m", "sam.sam3", "--scribble", "3,4"], "--scribble: sam.sam3 does not take"),
    (["point", CAT, "--at", "3,4", "--classes", "cat", "-m", "sam.vit-b"], "--classes: sam.vit-b does not take"),
    (["point", CAT, "--at", "3,4", "-f", "mask,nope"], "-f nope: unknown format; choose from mask"),
    (["point", CAT, "--at", "3,4", "-o", ""], "-o is empty"),
    (["point", CAT, "--at", "3,4", "-o", "-", "-f", "mask,svg"], "-o - takes one format"),
    (["point", CAT, str(PHOTOS / "coffee.jpg"), "--at", "3,4", "-o", "-"], "-o - takes one photo with -f mask"),
    (["point", CAT, "--at", "3,4", "-o", "-", "--json"], "--json and -o - both write to stdout"),
    (["point", CAT, "--at", "3,4", "--crop"], "--crop and --margin are for cut-outs"),
    (["point", CAT, "--at", "3,4", "-f", "cutout", "--margin", "3"], "--margin goes with --crop"),
    (["point", CAT, "--at", "3,4", "-f", "cutout", "--crop", "--margin", "x"], "--margin x: is not a whole number"),
    (["point", CAT, "--at", "3,4", "-f", "cutout", "--background", "mauve"], "--background: 'mauve' is no colour"),
    (["point", CAT, "--at", "3,4", "-f", "cutout", "--background", "no.png"], "or name a picture that exists"),
    (["point", CAT, "--at", "3,4", "--background", CAT], "--background is for cut-outs; add -f cutout"),
    (["point", CAT, "--at", "3,4", "-f", "coco", "--matte"], "--matte is for masks and cut-outs; add -f mask"),
    (["point", CAT, "--at", "3,4", "-f", "coco", "--grow", "-2"], "--grow is for masks and cut-outs"),
    (["point", CAT, "--at", "3,4", "-f", "svg,npz", "--feather", "2"], "--feather is for masks and cut-outs"),
    (["point", CAT, "--at", "3,4", "--matte", "--soft"], "--soft and --matte are two ways to a soft border"),
    (["point", CAT, "--at", "3,4", "--grow", "2", "--soft"], "--grow moves the border away from where --soft knows it"),
    (["point", CAT, "--at", "3,4", "--grow", "2%"], "--grow 2%: is not a whole number from -10000 to 10000"),
    (["point", CAT, "--at", "3,4", "--feather", "-1"], "--feather -1: is not a whole number from 0 to 10000"),
    (["point", CAT, "--at", "3,4", "--matte-width", "9"], "--matte-width goes with --matte; add --matte"),
    (["point", CAT, "--at", "3,4", "--matte", "--matte-width", "0"], "--matte-width 0: leaves nothing to look at"),
    (["masks", "convert", "no.json", "--matte"], "--matte is for masks and cut-outs; add -f mask"),
    (["masks", "convert", "no.json", "-f", "coco", "--crop"], "--crop and --margin are for cut-outs"),
    (["point", CAT, "--at", "3,4", "--image-type", "jpg"], "--image-type jpg: unknown; type png or webp"),
    (["point", CAT, "--at", "3,4", "--coco-images", "x.json"], "--coco-images is for COCO files"),
    (["point", CAT, "--at", "3,4", "-f", "coco", "--soft"], "--soft is for masks and cut-outs"),
    (["point", CAT, "--at", "3,4", "--image-type", "webp"], "--image-type is for cut-outs"),
    (["point", CAT, "--at", "3,4", "--device", "gpu"], "--device gpu: unknown; type auto, cpu"),
    (["point", CAT, "--at", "3,4", "--dtype", "int8"], "--dtype int8: unknown"),
    (["point", CAT, "--at", "3,4", "--seed", "-1"], "--seed -1: is not a whole number from 0 on"),
    (["point", CAT, "--at", "3,4", "--batch", "0"], "--batch 0: is not a whole number from 1 on"),
    (["point", CAT, "--at", "3,4", "--threads", "2.5"], "--threads 2.5: is not a whole number"),
    (["point", CAT, "--at", "3,4", "--shard", "3/2"], "--shard 3/2: is not i/n"),
    (["point", CAT, "--at", "3,4", "-0"], "-0 is for --files-from only"),
    (["point", CAT, "--at", "3,4", "-q", "-v"], "-q and -v contradict each other"),
    (["point", CAT, "--at", "3,4", "--fail-fast", "--max-failures", "2"], "--fail-fast is --max-failures 1"),
    (["point", CAT, "--at"], "option '--at' requires an argument"),
    (["point", CAT, "--at", "3,4", "--classes", "none.txt"], "--classes none.txt: no such file"),
    (["refer"], "seg refer: nothing is asked for"),
    (["refer", CAT], "is a photo; what is meant comes first"),
    (["refer", "cat", CAT, "-m", "seggpt.vit-l"], "TEXT: seggpt.vit-l does not take"),
    (["refer", "cat", CAT, "--like", "x.png"], "--like x.png: says no place"),
    (["panoptic", CAT, "--kind", "all"], "--kind all: unknown"),
    (["panoptic", CAT, "-m", "seggpt.vit-l"], "--classes: seggpt.vit-l does not take"),
    (["point", CAT, "--nope"], "no such option: --nope"),
    (["pint", CAT], "Did you mean 'point'?"),
    ([], "seg: missing command"),
    (["train", "seem"], "seg train: --data DIR|FILE is missing; see `seg train seem --help`"),
    (["models", "pull"], "seg models: NAME is missing"),
    (["models"], "seg models: missing command"),
    (["--nope"], "seg: no such option: --nope"),
]


@pytest.mark.parametrize(("arguments", "said"), REFUSED, ids=lambda v: " ".join(v)[-60:] if isinstance(v, list) else "")
def test_a_wrong_command_line_is_refused_in_one_line_with_exit_2(
    arguments: list[str], said: str, capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as left:
        main(arguments)
    out, err = capfd.readouterr()
    assert left.value.code == 2, err
    assert said in err
    assert err.count("\n") == 1
    assert (out, list(tmp_path.iterdir())) == ("", [])


def test_a_coco_file_that_is_none_ends_the_run_with_exit_4(capfd: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as left:
        main(["point", CAT, "--at", "3,4", "-f", "coco", "--coco-images", CAT, "--dry-run"])
    assert left.value.code == 4
    assert CAT in capfd.readouterr().err


def test_missing_photos_are_exit_4(capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as left:
        main(["point", "no-such.jpg", "--at", "3,4"])
    assert left.value.code == 4
    assert "no-such.jpg: no such file" in capfd.readouterr().err


def test_two_photos_that_a_template_would_call_the_same_are_refused(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    for output, said in (("one.png", "add {stem}"), ("{parent}.png", "both be written"), ("{stm}.png", "{stm}")):
        if output == "{parent}.png":
            arguments = [str(PHOTOS / "chelsea.jpg"), str(PHOTOS / "coffee.jpg")]
        else:
            arguments = [str(PHOTOS)]
        with pytest.raises(SystemExit) as left:
            main(["point", *arguments, "--at", "3,4", "-o", output])
        err = capfd.readouterr().err
        assert left.value.code == 2, err
        assert said in err or "add {stem}" in err


def test_the_traceback_is_shown_on_request_only(capfd: pytest.CaptureFixture[str]):
    for more, shown in (([], False), (["--debug"], True)):
        with pytest.raises(SystemExit) as left:
            main(["point", CAT, "--at", "3", *more])
        assert left.value.code == 2
        assert ("Traceback" in capfd.readouterr().err) == shown


def test_a_bug_of_ours_is_exit_1_in_one_line_that_asks_for_a_report(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    def broken(*_: object) -> None:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr("segcli.registry.weights.find", broken)
    with pytest.raises(SystemExit) as left:
        main(["point", CAT, "--at", "3,4"])
    assert left.value.code == 1
    err = capfd.readouterr().err
    assert err.count("\n") == 1
    assert "please report" in err
    assert "--debug" in err
