"""Class banks and their cache."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from segcli.models.seem.bank import class_bank, in_templates, spoken_name
from segcli.models.seem.config import TextConfig
from segcli.models.seem.text import LanguageEncoder


@pytest.fixture
def encoder() -> LanguageEncoder:
    torch.manual_seed(0)
    return LanguageEncoder(TextConfig(16, 8, 30, 1, 2), 16).requires_grad_(False)


@pytest.fixture
def ids() -> torch.Tensor:
    ids = torch.randint(0, 28, (3, 5, 8), generator=torch.Generator().manual_seed(1))
    ids[:, :, -1] = 29
    return ids


class Counting:
    """Counts how often a bank is really computed."""

    def __init__(self, encoder: LanguageEncoder) -> None:
        self.calls = 0
        self.logit_scale = encoder.logit_scale
        self._bank = encoder.bank

    def bank(self, ids: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return self._bank(ids)


def test_the_second_bank_costs_nothing_and_is_the_same(encoder, ids, tmp_path: Path):
    counting = Counting(encoder)
    first, second = (class_bank(counting, ids, "abc", tmp_path / "banks") for _ in range(2))
    assert counting.calls == 1
    assert torch.equal(first, second)
    assert torch.equal(first, encoder.bank(ids))


def test_other_weights_or_other_names_make_another_bank(encoder, ids, tmp_path: Path):
    counting = Counting(encoder)
    class_bank(counting, ids, "abc", tmp_path)
    class_bank(counting, ids, "abd", tmp_path)
    changed = ids.clone()
    changed[0, 0, 0] += 1
    assert torch.equal(class_bank(counting, changed, "abc", tmp_path), encoder.bank(changed))
    assert counting.calls == 3


@pytest.mark.parametrize("content", [b"", b"not safetensors", bytes(100)])
def test_a_broken_file_is_made_anew(encoder, ids, tmp_path: Path, content: bytes):
    whole = class_bank(encoder, ids, "abc", tmp_path)
    (file,) = tmp_path.iterdir()
    file.write_bytes(content)
    assert torch.equal(class_bank(encoder, ids, "abc", tmp_path), whole)
    counting = Counting(encoder)
    class_bank(counting, ids, "abc", tmp_path)
    assert counting.calls == 0


def test_nothing_is_kept_without_a_directory(encoder, ids, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    counting = Counting(encoder)
    for _ in range(2):
        class_bank(counting, ids, "abc", None)
    assert counting.calls == 2
    assert not list(tmp_path.iterdir())


def test_names_lose_cocos_suffixes_before_they_are_put_into_templates():
    assert [spoken_name(name) for name in ("tree-merged", "water-other", "rock-merged", "floor-wood")] == [
        "tree",
        "water",
        "rock",
        "floor-wood",
    ]
    assert in_templates(["sky-other-merged"], ["{}.", "a photo of a {}."]) == [["sky.", "a photo of a sky."]]
