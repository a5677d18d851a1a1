"""Sizes of the backbones."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class FocalConfig:
    """FocalNet. `depthwise` is the published `focal_dw`: other block, other stem padding."""

    embed_dim: int
    depths: tuple[int, ...]
    focal_levels: tuple[int, ...]
    focal_windows: tuple[int, ...] = (3, 3, 3, 3)
    mlp_ratio: float = 4.0
    depthwise: bool = False


@dataclass(frozen=True)
class DavitConfig:
    """DaViT."""

    dims: tuple[int, ...]
    heads: tuple[int, ...]
    groups: tuple[int, ...]
    depths: tuple[int, ...] = (1, 1, 9, 1)
    patch: tuple[int, ...] = (7, 2, 2, 2)
    stride: tuple[int, ...] = (4, 2, 2, 2)
    padding: tuple[int, ...] = (3, 0, 0, 0)
    prenorm: tuple[bool, ...] = (False, True, True, True)
    window: int = 7


@dataclass(frozen=True)
class SamVitConfig:
    """SAM's image encoder with SEEM's pyramid instead of SAM's neck."""

    dim: int
    depth: int
    heads: int
    global_blocks: tuple[int, ...]
    image_size: int = 1024
    patch: int = 16
    window: int = 14
    mlp_ratio: float = 4.0
    out_dims: tuple[int, ...] = (128, 256, 512, 1024)
