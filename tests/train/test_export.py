"""What a written checkpoint promises."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from segcli.core.errors import UsageError
from segcli.registry.writer import check_seal
from segcli.train.export import save_half, split


def test_a_file_is_half_precision_sealed_and_says_what_it_is(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_half({"w": torch.tensor([1.0, 2.5])}, path, {"seg.system": "seem"})
    assert check_seal(path)
    with safe_open(path, "pt") as file:
        assert file.metadata()["seg.system"] == "seem"
        assert file.get_tensor("w").dtype == torch.float16
        assert file.get_tensor("w").tolist() == [1.0, 2.5]


def test_the_same_tensors_give_the_same_bytes_in_any_order(tmp_path: Path) -> None:
    a, b = torch.ones(3), torch.zeros(2, 2)
    save_half({"a": a, "b": b}, tmp_path / "1", {})
    save_half({"b": b, "a": a}, tmp_path / "2", {})
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()


def test_values_beyond_half_precision_are_refused_and_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="a: scale: values do not fit half precision; lower lr"):
        save_half({"fine": torch.ones(1), "scale": torch.tensor([1e6])}, tmp_path / "a", {})


def test_the_backbone_is_split_off() -> None:
    shared, own = split({"backbone.stem": torch.ones(1), "direct": torch.ones(1)})
    assert list(shared) == ["backbone.stem"]
    assert list(own) == ["direct"]
