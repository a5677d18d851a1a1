"""Sizes of SegGPT."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SegGPTConfig:
    """All sizes that the weights depend on. The defaults are the released ViT-L.

    canvas:        (height, width) in pixels; the upper half holds the example, the lower one the query.
    pretrain_size: side of the square photos for which the position table was made (it has one unused class slot).
    merge_after:   index of the block after which photo and mask streams are averaged into one.
    skips_after:   indices of the blocks whose normalised outputs the decoder reads.
    drop_path:     rate of the last block; the rates rise linearly from 0.

    Raises ValueError for a canvas that is not two squares of whole patches, and for skips that aren't different blocks.
    """

    canvas: tuple[int, int] = (896, 448)
    patch_size: int = 16
    embed_dim: int = 1024
    depth: int = 24
    num_heads: int = 16
    mlp_ratio: float = 4.0
    pretrain_size: int = 224
    decoder_dim: int = 64
    merge_after: int = 2
    skips_after: tuple[int, ...] = (5, 11, 17, 23)
    drop_path: float = 0.1

    def __post_init__(self) -> None:
        height, width = self.canvas
        if height != 2 * width or width % self.patch_size:
            raise ValueError(
                f"a canvas of {height}x{width} is not two squares of whole {self.patch_size}-pixel patches"
            )

        if len({*self.skips_after} & {*range(self.depth)}) != len(self.skips_after):
            raise ValueError(f"skips after blocks {self.skips_after} of a model with {self.depth} blocks")

    @property
    def grid(self) -> tuple[int, int]:
        """(rows, columns) of patches on the canvas."""
        return self.canvas[0] // self.patch_size, self.canvas[1] // self.patch_size

    @property
    def side(self) -> int:
        """Side in pixels of the square that a photo is resized to."""
        return self.canvas[1]

    @property
    def pretrain_grid(self) -> int:
        """Rows (and columns) of the position table."""
        return self.pretrain_size // self.patch_size


PRESETS: dict[str, SegGPTConfig] = {
    "vit-l": SegGPTConfig(),
    "tiny": SegGPTConfig(
        canvas=(64, 32), patch_size=4, embed_dim=16, num_heads=2, pretrain_size=16, decoder_dim=8, drop_path=0.0
    ),
}
"""`vit-l` is the published model; `tiny` has random weights only and serves tests."""
