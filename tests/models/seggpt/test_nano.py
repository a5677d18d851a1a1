"""The network of seggpt-nano, without its training."""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F

from segcli.models.seggpt.nano import NanoConfig, Overall, SegGPTNano
from segcli.models.seggpt.nano_memory import remember

CONFIG = NanoConfig(side=64, hidden=16, embed=8, blocks=1, widths=(16, 16, 8))


def untrained() -> SegGPTNano:
    torch.manual_seed(0)
    return SegGPTNano(CONFIG).eval()


def test_before_training_it_answers_by_the_untrained_rule() -> None:
    network = untrained()
    with torch.inference_mode():
        features = network.features(torch.rand(2, 3, 64, 64) * 255)
        example, query = features.photos()
        target = torch.zeros(1, 64, 64)
        target[:, :32] = 1
        found = network.evidence(query, remember(example, target))
        answer = network.answer(features, [1], [found], ["semantic"])
    assert answer.logits is not None
    expected = network.gain.exp() * F.interpolate(
        found.rule[None, None], size=(16, 16), mode="bilinear", align_corners=False
    )
    torch.testing.assert_close(answer.logits, expected)


def test_a_lean_is_added_to_every_logit() -> None:
    network = untrained()
    torch.nn.init.normal_(network.decoder.again_out.weight, std=0.1)
    with torch.inference_mode():
        features = network.features(torch.rand(2, 3, 64, 64) * 255)
        example, query = features.photos()
        found = [network.evidence(query, remember(example, (torch.rand(1, 64, 64) > 0.5).float()))]
        upright = network.answer(features, [1], found, ["semantic"])
        network.config = replace(CONFIG, lean=0.7)
        leaning = network.answer(features, [1], found, ["semantic"])
    for one, other in zip(
        (upright.first, upright.coarse, upright.logits), (leaning.first, leaning.coarse, leaning.logits), strict=True
    ):
        torch.testing.assert_close(one + 0.7, other)


def test_the_second_look_at_a_photo_changes_the_answer_and_not_the_first_one() -> None:
    network = untrained()
    with torch.inference_mode():
        features = network.features(torch.rand(2, 3, 64, 64) * 255)
        example, query = features.photos()
        found = [network.evidence(query, remember(example, (torch.rand(1, 64, 64) > 0.5).float()))]
        before = network.answer(features, [1], found, ["semantic"])
        torch.nn.init.normal_(network.decoder.again_out.weight, std=0.1)
        after = network.answer(features, [1], found, ["semantic"])
    torch.testing.assert_close(before.first, after.first)
    torch.testing.assert_close(before.first, before.coarse)
    assert not torch.allclose(before.coarse, after.coarse)


def test_a_deeper_embedding_begins_with_the_keys_of_a_shallower_one() -> None:
    shallow = untrained()
    deep = SegGPTNano(replace(CONFIG, blocks=3)).eval()
    assert not deep.load_state_dict(shallow.state_dict(), strict=False).unexpected_keys
    photo = torch.rand(1, 3, 64, 64) * 255
    with torch.inference_mode():
        torch.testing.assert_close(deep.features(photo).keys[-1], shallow.features(photo).keys[-1])


def test_a_word_on_the_whole_plane_reaches_every_cell() -> None:
    torch.manual_seed(0)
    overall, plane = Overall(8), torch.randn(1, 8, 5, 5)
    other = plane.clone()
    other[:, :, 0, 0] += 5
    torch.testing.assert_close(overall(plane), plane)
    torch.nn.init.normal_(overall.leave.weight)
    assert bool(((overall(other) - other) != (overall(plane) - plane)).flatten(2).any(1).all())


def test_photos_of_a_batch_do_not_see_each_other() -> None:
    network = untrained()
    photos = torch.rand(3, 3, 64, 64) * 255
    with torch.inference_mode():
        together, alone = network.features(photos), network.features(photos[1:2])
    for one, other in zip(together.photos()[1], alone.photos()[0], strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-3)


def test_keys_are_unit_vectors_of_the_widths_that_it_names() -> None:
    network = untrained()
    with torch.inference_mode():
        (keys,) = network.features(torch.rand(1, 3, 64, 96) * 255).photos()
    assert tuple(k.shape[0] for k in keys) == network.key_widths
    assert [tuple(k.shape[1:]) for k in keys] == [(4, 6), (2, 3), (4, 6)]
    for key in keys:
        torch.testing.assert_close(key.norm(dim=0), torch.ones(key.shape[1:]))


def test_every_question_of_a_batch_is_answered_as_if_it_were_alone() -> None:
    network = untrained()
    torch.nn.init.normal_(network.decoder.fine_out.weight, std=0.1)
    with torch.inference_mode():
        features = network.features(torch.rand(2, 3, 64, 64) * 255)
        example, query = features.photos()
        targets = [(torch.rand(1, 64, 64) > t).float() for t in (0.3, 0.6)]
        found = [network.evidence(query, remember(example, target)) for target in targets]
        both = network.answer(features, [1, 1], found, ["semantic", "instance"]).logits
        second = network.answer(features, [1], found[1:], ["instance"]).logits
    assert both is not None
    assert second is not None
    torch.testing.assert_close(both[1:], second, atol=1e-4, rtol=1e-3)


def test_the_backbone_is_frozen() -> None:
    assert not any(p.requires_grad for p in untrained().backbone.parameters())
