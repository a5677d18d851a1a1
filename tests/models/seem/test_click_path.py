"""Prompts as maps: what the click path promises."""

from __future__ import annotations

import torch

from segcli.models.seem.click_path import ClickPath, DetailHead, PromptMaps, blobs, similarity

LEVELS = {"res2": 8, "res3": 8}
FIRST = torch.zeros(1, dtype=torch.long)


def prompts(points: list[list[float]], size: tuple[int, int] = (16, 16)) -> PromptMaps:
    plane = torch.zeros(1, 1, *size)
    return PromptMaps(torch.tensor([points]), plane + 0.5, plane)


def path() -> tuple[ClickPath, dict[str, torch.Tensor], torch.Tensor, list[torch.Tensor]]:
    torch.manual_seed(0)
    backbone = {"res2": torch.randn(2, 8, 16, 16), "res3": torch.randn(2, 8, 8, 8)}
    return (
        ClickPath(LEVELS, 16, (8, 16, 16)).eval(),
        backbone,
        torch.randn(2, 16, 16, 16),
        [torch.randn(2, 16, side, side) for side in (2, 4, 8)],
    )


def test_the_clicked_cell_is_most_like_itself() -> None:
    feature = torch.randn(1, 32, 16, 16, generator=torch.Generator().manual_seed(1))
    points = torch.tensor([[[4 * 5 + 1.5, 4 * 9 + 1.5, 1.0]]])  # the centre of cell (9, 5)
    maps = similarity(torch.nn.functional.normalize(feature, dim=1), points, FIRST, torch.Size((16, 16)))
    assert maps[0, 0].flatten().argmax().item() == 9 * 16 + 5
    torch.testing.assert_close(maps[0, 0, 9, 5], torch.tensor(1.0), atol=1e-4, rtol=0)


def test_without_a_click_of_a_sign_its_similarity_is_minus_one() -> None:
    maps = similarity(torch.randn(1, 8, 4, 4), torch.tensor([[[3.0, 3.0, 1.0]]]), FIRST, torch.Size((4, 4)))
    assert bool((maps[0, 1] == -1).all())


def test_a_blob_peaks_at_its_click_and_only_in_its_sign() -> None:
    maps = blobs(torch.tensor([[[4 * 3 + 1.5, 4 * 2 + 1.5, 0.0]]]), (8, 8))
    assert float(maps[0, :2].max()) == 0.0
    assert maps[0, 2].flatten().argmax().item() == 2 * 8 + 3
    assert float(maps[0, 2].max()) == 1.0


def test_points_that_fill_up_a_batch_change_nothing() -> None:
    model, backbone, features, scales = path()
    with torch.no_grad():
        short = model(model.prepare(backbone, features, scales), prompts([[9.0, 9.0, 1.0]]), FIRST)[0]
        filled = model(model.prepare(backbone, features, scales), prompts([[9.0, 9.0, 1.0], [0.0, 0.0, -1.0]]), FIRST)[
            0
        ]
    torch.testing.assert_close(short, filled)


def test_an_object_is_answered_from_its_own_photo() -> None:
    model, backbone, features, scales = path()
    one = prompts([[9.0, 9.0, 1.0]])
    both = PromptMaps(one.points.repeat(2, 1, 1), one.region.repeat(2, 1, 1, 1), one.previous.repeat(2, 1, 1, 1))
    with torch.no_grad():
        together, _ = model(model.prepare(backbone, features, scales), both, torch.tensor([1, 0]))
        alone, _ = model(model.prepare(backbone, features, scales), one, torch.tensor([1]))
    torch.testing.assert_close(together[:1], alone, atol=1e-5, rtol=1e-4)
    assert not torch.allclose(together[0], together[1])


def test_an_untrained_detail_head_is_the_bilinear_upsampling() -> None:
    logits = torch.randn(1, 2, 4, 4)
    head = DetailHead(stem_channels=3, dim=8)
    with torch.no_grad():
        image = head.prepare(torch.randn(1, 3, 8, 8), torch.randn(1, 3, 8, 8))
        fine = head(logits, torch.randn(1, 8, 4, 4), image, FIRST)
    plain = torch.nn.functional.interpolate(logits, scale_factor=2, mode="bilinear")
    assert head.out.bias is not None
    bias = float(head.out.bias.detach())
    torch.testing.assert_close(fine, plain + bias)
