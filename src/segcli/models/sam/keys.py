"""How files name SAM's tensors: transformers' own conversions, and the authors' file of the first SAM."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from torch import Tensor

from segcli.models.layers.loading import KeyTable, same_names

TIED = {"prompt_encoder.shared_embedding.positional_embedding": "shared_image_embedding.positional_embedding"}
"""Names of one tensor; a file may hold either or both."""

_PLACES: tuple[tuple[str, str], ...] = (
    (r"^image_encoder\.", "vision_encoder."),
    (r"^prompt_encoder\.pe_layer\.positional_encoding_gaussian_matrix$", "shared_image_embedding.positional_embedding"),
    (r"\.patch_embed\.proj\.", ".patch_embed.projection."),
    (r"^vision_encoder\.blocks\.", "vision_encoder.layers."),
    (r"\.neck\.0\.", ".neck.conv1."),
    (r"\.neck\.1\.", ".neck.layer_norm1."),
    (r"\.neck\.2\.", ".neck.conv2."),
    (r"\.neck\.3\.", ".neck.layer_norm2."),
    (r"\.norm(\d)\.", r".layer_norm\1."),
    (r"\.norm_final_attn\.", ".layer_norm_final_attn."),
    (r"\.point_embeddings\.", ".point_embed."),
    (r"\.mask_downscaling\.0\.", ".mask_embed.conv1."),
    (r"\.mask_downscaling\.1\.", ".mask_embed.layer_norm1."),
    (r"\.mask_downscaling\.3\.", ".mask_embed.conv2."),
    (r"\.mask_downscaling\.4\.", ".mask_embed.layer_norm2."),
    (r"\.mask_downscaling\.6\.", ".mask_embed.conv3."),
    (r"\.output_upscaling\.0\.", ".upscale_conv1."),
    (r"\.output_upscaling\.1\.", ".upscale_layer_norm."),
    (r"\.output_upscaling\.3\.", ".upscale_conv2."),
    (r"(iou_prediction_head|output_hypernetworks_mlps\.\d)\.layers\.0\.", r"\1.proj_in."),
    (r"(iou_prediction_head|output_hypernetworks_mlps\.\d)\.layers\.1\.", r"\1.layers.0."),
    (r"(iou_prediction_head|output_hypernetworks_mlps\.\d)\.layers\.2\.", r"\1.proj_out."),
)


def sam_original(key: str) -> str | None:
    """The authors' names of the first SAM onto transformers'."""
    for pattern, place in _PLACES:
        key = re.sub(pattern, place, key)
    return key


def sam2_transformers(key: str) -> str | None:
    """transformers' names of SAM 2; earlier conversions call the output projections of attention otherwise."""
    return re.sub(r"\.out_proj\.", ".o_proj.", key)


class WithTied(Mapping[str, Tensor]):
    """The tensors of a file, and under its other names one that the model holds twice."""

    def __init__(self, tensors: Mapping[str, Tensor], table: KeyTable) -> None:
        self._tensors = tensors
        found = {table(key): key for key in tensors}
        self._also = {
            lacking: found[held]
            for one, other in TIED.items()
            for lacking, held in ((one, other), (other, one))
            if lacking not in found and held in found
        }

    def shape(self, key: str) -> tuple[int, ...]:
        """Shape of a tensor."""
        real = self._also.get(key, key)
        shape = getattr(self._tensors, "shape", None)
        return tuple(shape(real) if callable(shape) else self._tensors[real].shape)

    def __getitem__(self, key: str) -> Tensor:
        return self._tensors[self._also.get(key, key)]

    def __iter__(self) -> Iterator[str]:
        yield from self._tensors
        yield from self._also

    def __len__(self) -> int:
        return len(self._tensors) + len(self._also)


SAM_TABLES: dict[str, KeyTable] = {"transformers": same_names, "seg": same_names, "original": sam_original}
SAM2_TABLES: dict[str, KeyTable] = {"transformers": sam2_transformers, "seg": same_names}
KEY_TABLES = SAM_TABLES
