"""RAS behind seg's protocols: sentences, references, candidates, and one part of the model at a time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from segcli.core.ask import Ask, Point, Reference
from segcli.core.errors import CheckpointError, UsageError
from segcli.core.image import Image
from segcli.core.rle import Rle, encode
from segcli.models.api import Promptable
from segcli.models.ras.config import NANO, EncoderConfig, LanguageConfig, RasConfig, from_json
from segcli.models.ras.model import Ras
from segcli.models.ras.predictor import RasPredictor, build, empty, own_names, placed
from segcli.models.ras.text import PLACE, TENSOR, Words, framed
from segcli.train.ras import tokenizer

CPU = torch.device("cpu")
SIZE = (40, 60)
PHOTO = Image(np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8), SIZE, "p.png")
VIT = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "patch_size": 14, "intermediate_size": 32}


@pytest.fixture(scope="module")
def words() -> Words:
    return tokenizer(["cup", "dog"], 300)


def config(words: Words, **changes: Any) -> RasConfig:
    language = LanguageConfig(hidden=32, layers=2, heads=4, ffn=64, vocabulary=len(words), context=600)
    encoders = (EncoderConfig("clip", 56, VIT), EncoderConfig("colours", 16))
    return replace(RasConfig(encoders, language, positions=8, position_side=8), **changes)


def predictor(words: Words, **changes: Any) -> RasPredictor:
    torch.manual_seed(0)
    return RasPredictor(Ras(config(words, **changes)), words, "tiny", "0", CPU, lambda line: None)


def block(x: int, y: int, width: int, height: int) -> Rle:
    mask = np.zeros(SIZE, bool)
    mask[y : y + height, x : x + width] = True
    return encode(mask)


MASKS = (block(0, 0, 20, 20), block(30, 5, 10, 10), block(5, 25, 30, 12))


def scores(model: RasPredictor, ask: Ask) -> dict[Rle, float]:
    (encoded,) = model.encode([PHOTO])
    (answer,) = model.decode(encoded, [ask])
    assert answer.considered is not None
    return dict(zip(answer.considered.masks, answer.considered.scores, strict=True))


def test_it_answers_asks_like_any_other_model(words: Words) -> None:
    model = predictor(words)
    assert isinstance(model, Promptable)
    (encoded,) = model.encode([PHOTO])
    assert encoded.nbytes > 0
    (answer,) = model.decode(encoded, [Ask(text="every cup", candidates=MASKS, threshold=0.0)])
    assert set(answer.masks) == set(MASKS)
    assert list(answer.scores) == sorted(answer.scores, reverse=True)


def test_the_order_of_candidates_given_does_not_matter_in_any_mode(words: Words) -> None:
    """The network is fed by falling area, so that a plain language model's answers can be had again."""
    model = predictor(words)
    ask = Ask(text="every cup", candidates=MASKS)
    assert scores(model, ask) == scores(model, replace(ask, candidates=MASKS[::-1]))


def test_no_candidates_are_an_empty_group_without_a_pass(words: Words, monkeypatch: pytest.MonkeyPatch) -> None:
    model = predictor(words)
    monkeypatch.setattr(Ras, "forward", lambda *_: pytest.fail("the language model was asked"))
    (encoded,) = model.encode([PHOTO])
    hollow = encode(np.zeros(SIZE, bool))
    for candidates in ((), (hollow,)):
        (answer,) = model.decode(encoded, [Ask(text="every cup", candidates=candidates)])
        assert len(answer) == 0


def test_numbers_in_braces_become_places_in_their_order() -> None:
    ask = Ask(text=" larger than {2}  but not {1} ", references=tuple(Reference(None, m) for m in MASKS[:2]))
    sentence, masks = placed(ask, "p.png")
    assert sentence == "larger than <mask-ref> but not <mask-ref>"
    assert masks == [MASKS[1], MASKS[0]]


@pytest.mark.parametrize(
    ("text", "references", "message"),
    [
        ("like {2}", [MASKS[0]], r"has \{2\}, but there are 1 references"),
        ("everything", [MASKS[0]], r"reference 1 is not in the sentence"),
        ("  ", [], "the sentence is empty"),
        ("like {1}", [Point(3, 3)], "is a click or a box"),
        ("like {1}", [encode(np.zeros(SIZE, bool))], "nothing inside"),
    ],
)
def test_references_that_do_not_fit_the_sentence_are_refused(text: str, references: list[Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        placed(Ask(text=text, references=tuple(Reference(None, r) for r in references)), "p.png")


def test_candidates_beyond_the_context_are_cut_best_first_and_said(words: Words) -> None:
    said: list[str] = []
    model = predictor(words, candidates=2)
    model.say = said.append
    assert set(scores(model, Ask(text="all", candidates=MASKS))) == set(MASKS[:2])
    (line,) = said
    assert "3 candidates" in line
    assert "the best 2 are kept" in line


def test_a_context_that_is_nearly_full_bounds_the_candidates(words: Words) -> None:
    assert predictor(words).most == (600 - 16 - 256) // 4  # visual tokens, and a sentence of 256 tokens
    assert predictor(words, pre_tokens="none").most == (600 - 16 - 256) // 2
    assert predictor(words, decoding_attention="set").most == 256


def test_every_ablation_answers(words: Words) -> None:
    ask = Ask(text="like {1}", references=(Reference(None, MASKS[1]),), candidates=MASKS, threshold=0.0)
    seen = []
    for changes in (
        {"pre_tokens": "same"}, {"pre_tokens": "none"}, {"decoding": "autoregressive"}, {"pool": "nearest"},
        {"decoding_attention": "independent"}, {"encoders": (EncoderConfig("clip", 56, VIT),)}, {"positions": 0},
        {"visual_tokens": False}, {"geometry": True},
    ):  # fmt: skip
        found = scores(predictor(words, **changes), ask)
        assert set(found) == set(MASKS)
        seen.append(tuple(found.values()))
    assert len(set(seen)) == len(seen)


def test_autoregressive_choice_agrees_with_its_own_logits(words: Words) -> None:
    from segcli.models.ras.autoregressive import choose, teacher_forced

    model = predictor(words, decoding="autoregressive")
    (encoded,) = model.encode([PHOTO])
    with torch.inference_mode():
        question = model.question(encoded, Ask(text="every cup"), MASKS)  # type: ignore[arg-type]
        logits = choose(model.model, question)
        right = teacher_forced(model.model, question, (logits > 0).float())
        wrong = teacher_forced(model.model, question, (logits <= 0).float())
    assert logits.shape == (3,)
    assert torch.isfinite(right)
    assert right != wrong


def test_one_part_at_a_time_gives_equal_answers(words: Words, monkeypatch: pytest.MonkeyPatch) -> None:
    """With --low-memory the encoders and the language model take turns on the device."""
    ask = Ask(text="every cup", candidates=MASKS)
    model = predictor(words)
    expected = scores(model, ask)
    there: set[int] = set()
    most = [0]
    spare = torch.device("cpu", 0)

    def to(module: torch.nn.Module, device: Any) -> torch.nn.Module:
        if device == spare:
            there.add(id(module))
            most[0] = max(most[0], len(there))
        else:
            there.discard(id(module))
        return module

    for kind in (type(model.model.encoders[0]), type(model.model.encoders[1]), Ras):
        monkeypatch.setattr(kind, "to", to)
    model.spare = spare
    assert scores(model, ask) == expected
    assert most[0] == 1
    assert not there


def test_the_chat_frame_stands_around_photo_candidates_and_sentence(words: Words) -> None:
    before, between, after = framed(words, "like <mask-ref>.", "vicuna")
    assert before[: len(words.start)] == words.start
    assert between == words.ids("\n")
    assert after.count(PLACE) == 1
    assert after[-len(words.ids("ASSISTANT:")) :] == words.ids("ASSISTANT:")
    assert framed(words, "like <mask-ref>.", "plain")[0] == words.start


def saved(model: RasPredictor) -> dict[str, torch.Tensor]:
    return {**model.model.state_dict(), TENSOR: model.words.to_tensor()}


def test_a_checkpoint_gives_the_same_answers_and_brings_its_words(words: Words) -> None:
    model = predictor(words)
    given = {"keys": "seg", "name": "tiny", "revision": "0", "device": CPU, "dtype": torch.float32, "seed": 0}
    again = build(model.model.config.to_json(), saved(model), **given)  # type: ignore[arg-type]
    ask = Ask(text="every cup", candidates=MASKS)
    assert scores(again, ask) == scores(model, ask)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("broken", "message"),
    [("tokenizer", "has no tokenizer"), ("missing", r"missing.*classifier\.2\.bias"), ("keys", "never published")],
)
def test_a_checkpoint_that_is_not_one_is_refused_with_what_is_wrong(words: Words, broken: str, message: str) -> None:
    model = predictor(words)
    tensors = saved(model)
    if broken == "tokenizer":
        del tensors[TENSOR]
    if broken == "missing":
        del tensors["classifier.2.bias"]
    keys = "original" if broken == "keys" else "seg"
    with pytest.raises(CheckpointError, match=message):
        build(
            model.model.config.to_json(), tensors, keys=keys, name="tiny", revision="0", device=CPU,
            dtype=torch.float32, seed=0,
        )  # fmt: skip


def test_a_config_survives_json_and_unknown_words_are_named() -> None:
    assert from_json(NANO.to_json(), "x") == NANO
    with pytest.raises(CheckpointError, match="wheels"):
        from_json({**NANO.to_json(), "wheels": 4}, "x")


def test_nothing_is_left_on_the_meta_device_and_nothing_is_copied(words: Words) -> None:
    """Loading never holds two copies: what is mapped from the file becomes the parameter itself."""
    from segcli.models.layers.loading import load_strict

    model = predictor(words)
    tensors = saved(model)
    fresh = empty(model.model.config)
    load_strict(fresh, tensors, own_names)
    for name, parameter in fresh.named_parameters():
        assert parameter.data_ptr() == tensors[name].data_ptr()
