"""seggpt-nano: in-context masks by comparing cells, SegGPT's contract at a nano size.

SegGPT paints (Wang et al. 2023): a ViT-L sees example and photo on one canvas. That needs pretraining which a nano
member can't have. This member keeps the contract (examples in, masks of the same ids out, several examples pooled by
their features) and answers otherwise: a frozen EfficientNet-Lite0, a small learned embedding beside its raw levels,
evidence maps (`nano_memory`), and a decoder that corrects the untrained rule (nearest features), looks again with the
photo as an example of itself (`nano_own`), and refines up to stride 4.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segcli.models.backbones.efficientnet_lite import EfficientNetLite
from segcli.models.seggpt.nano_memory import EVIDENCE, Evidence, Memory, evidence
from segcli.models.seggpt.nano_own import OWN, own_evidence

Kind = Literal["semantic", "instance"]
KINDS: tuple[Kind, ...] = ("semantic", "instance")
Keys = tuple[Tensor, ...]
LEVELS = ("res3", "res4", "res5")
_RULE_GAIN = 12.0
_L = TypeVar("_L", nn.Conv2d, nn.Linear)


@dataclass(frozen=True)
class NanoConfig:
    """Sizes. side: input pixels of a look, a multiple of 32. hidden, embed: channels of the embedding at stride 16.

    blocks: of the embedding. depth: residual blocks of each of the decoder's two stages at stride 16, dilated by 1, 2,
    4, … widths: decoder channels at strides 16, 8, 4. nearest: cells whose cosines are averaged. lean: added to every
    logit; what is unsure scores best when it is marked from less than a half on, and validation says from where.
    """

    backbone: str = "lite0"
    side: int = 320
    hidden: int = 160
    embed: int = 96
    blocks: int = 4
    depth: int = 3
    widths: tuple[int, int, int] = (64, 48, 24)
    nearest: int = 5
    lean: float = 0.0


@dataclass(frozen=True, eq=False)
class NanoFeatures:
    """B photos: fine [B, C2, H/4, W/4], middle [B, C3, H/8, W/8], hidden [B, C, H/16, W/16] for the decoder, and keys.

    keys: for each space (res4, res5, the learned one) [B, C_s, h_s, w_s], float32 unit vectors.
    """

    fine: Tensor
    middle: Tensor
    hidden: Tensor
    keys: tuple[Tensor, ...]

    def photos(self) -> list[Keys]:
        """The keys of each photo, for each space [C_s, h_s, w_s]."""
        return list(zip(*(key.unbind(0) for key in self.keys), strict=True))

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return sum(t.numel() * t.element_size() for t in (self.fine, self.middle, self.hidden, *self.keys))


class Residual(nn.Module):
    """x + two 3x3 convolutions of it, the first dilated. Starts as x: deeper may go on from what is shallower."""

    def __init__(self, channels: int, dilation: int = 1) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(8, channels)
        self.first = nn.Conv2d(channels, channels, 3, padding=dilation, dilation=dilation)
        self.second = _starts_at_zero(nn.Conv2d(channels, channels, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, h, w] -> the same."""
        y: Tensor = self.second(F.silu(self.first(F.silu(self.norm(x)))))
        return x + y


class Overall(nn.Module):
    """x + what all of x says, in every cell: that a target is not in a photo no cell can tell. Starts as x."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.enter = nn.Linear(2 * channels, channels)
        self.leave = _starts_at_zero(nn.Linear(channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, h, w] -> the same."""
        y: Tensor = self.leave(F.silu(self.enter(torch.cat([x.mean((2, 3)), x.amax((2, 3))], 1))))
        return x + y[:, :, None, None]


class Embedding(nn.Module):
    """Backbone levels at stride 16 -> hidden features and the learned keys, cell by cell but for one view of the scene.

    The levels have seen wide surroundings already; 3x3 convolutions here would cost ten times as much.
    """

    def __init__(self, channels: int, config: NanoConfig) -> None:
        super().__init__()
        self.enter = nn.Conv2d(channels, config.hidden, 1)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.GroupNorm(8, config.hidden),
                nn.SiLU(),
                _starts_at_zero(nn.Conv2d(config.hidden, config.hidden, 1)),
            )
            for _ in range(config.blocks)
        )
        self.scene = nn.Linear(config.hidden, config.hidden)
        self.leave = nn.Conv2d(config.hidden, config.embed, 1)

    def forward(self, levels: Tensor) -> tuple[Tensor, Tensor]:
        """[B, C, h, w] -> hidden [B, hidden, h, w] and keys [B, embed, h, w], not yet of unit length."""
        x: Tensor = self.enter(levels)
        x = x + self.scene(F.silu(x.mean((2, 3))))[:, :, None, None]
        for block in self.blocks:
            x = x + block(x)
        return x, self.leave(F.silu(x))


class Decoder(nn.Module):
    """Evidence and the photo's features -> corrections of the rule, coarse and then fine. Both start at zero."""

    def __init__(self, spaces: int, fine: int, middle: int, config: NanoConfig) -> None:
        super().__init__()
        coarse, mid, thin = config.widths
        self.enter = nn.Conv2d(config.hidden + 3 * config.embed + EVIDENCE * spaces + len(KINDS), coarse, 1)
        self.coarse = _stage(coarse, config.depth)
        self.coarse_out = _starts_at_zero(nn.Conv2d(coarse, 1, 1))
        self.own_in = nn.Conv2d(1 + OWN * spaces, coarse, 1)
        self.again = _stage(coarse, config.depth)
        self.again_out = _starts_at_zero(nn.Conv2d(coarse, 1, 1))
        self.middle_in = nn.Conv2d(middle, 32, 1)
        self.join_middle = nn.Conv2d(coarse + 33, mid, 3, padding=1)
        self.middle = Residual(mid)
        self.fine_in = nn.Conv2d(fine, 16, 1)
        self.join_fine = nn.Conv2d(mid + 16, thin, 3, padding=1)
        self.fine = Residual(thin)
        self.fine_out = _starts_at_zero(nn.Conv2d(thin, 1, 3, padding=1))

    def compare(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """maps [E, C, h, w] at stride 16 -> state [E, C', h, w] and correction [E, 1, h, w]."""
        state = self.coarse(self.enter(maps))
        return state, self.coarse_out(F.silu(state))

    def compare_again(self, state: Tensor, logits: Tensor, own: Tensor) -> tuple[Tensor, Tensor]:
        """State, logits [E, 1, h, w] so far and what the photo says about itself -> state and a further correction."""
        state = self.again(state + self.own_in(torch.cat([(logits / 4).tanh(), own], 1)))
        return state, self.again_out(F.silu(state))

    def refine(self, state: Tensor, logits: Tensor, middle: Tensor, fine: Tensor) -> Tensor:
        """State and logits [E, 1, h, w] at stride 16, photo features at 8 and 4 -> correction [E, 1, 4h, 4w]."""
        guess = torch.cat([state, (logits / 4).tanh()], 1)
        x = self.join_middle(torch.cat([_grown(guess, middle), self.middle_in(middle)], 1))
        x = _grown(self.middle(x), fine)
        x = self.fine(self.join_fine(torch.cat([x, self.fine_in(fine)], 1)))
        out: Tensor = self.fine_out(F.silu(x))
        return out


@dataclass(frozen=True, eq=False)
class NanoAnswer:
    """Logits of E questions: first and coarse [E, 1, H/16, W/16], and [E, 1, H/4, W/4] unless it was not asked for."""

    first: Tensor
    coarse: Tensor
    logits: Tensor | None


def _stage(channels: int, depth: int) -> nn.Sequential:
    """Residual blocks that see wider and wider, and before the last of them a word on the whole plane."""
    blocks: list[nn.Module] = [Residual(channels, 2**number) for number in range(depth)]
    return nn.Sequential(*blocks[:-1], Overall(channels), blocks[-1])


def _starts_at_zero(layer: _L) -> _L:
    nn.init.zeros_(layer.weight)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer


class SegGPTNano(nn.Module):
    """The whole network. `features` once a photo, then `answer` for every target."""

    def __init__(self, config: NanoConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = EfficientNetLite(config.backbone)
        self.backbone.requires_grad_(False)
        widths = self.backbone.channels
        self.embedding = Embedding(sum(widths[level] for level in LEVELS), config)
        spaces = len(LEVELS)  # res4, res5 and the learned one
        self.decoder = Decoder(spaces, widths["res2"], widths["res3"], config)
        self.key_widths = (widths["res4"], widths["res5"], config.embed)
        self.sharpness = nn.Parameter(torch.full((spaces,), 2.7))  # logarithm
        self.gain = nn.Parameter(torch.tensor(_RULE_GAIN).log())

    def features(self, pixels: Tensor) -> NanoFeatures:
        """RGB bytes as float [B, 3, H, W] in 0..255, sides multiples of 32 -> features."""
        with torch.no_grad():
            levels = self.backbone(pixels)
        return self.embed(levels)

    def embed(self, levels: Mapping[str, Tensor]) -> NanoFeatures:
        """The frozen backbone's res2 … res5 -> features."""
        grid = (levels["res4"].shape[-2], levels["res4"].shape[-1])
        raw = [F.adaptive_avg_pool2d(levels["res3"], grid), levels["res4"], levels["res5"]]
        units = [F.normalize(level.float(), dim=1) for level in raw]
        # each level comes with the same length, whatever its number of channels
        stacked = torch.cat([_grown(u, raw[1]) * u.shape[1] ** 0.5 for u in units], 1)
        hidden, keys = self.embedding(stacked.to(self.embedding.enter.weight.dtype))
        learned = F.normalize(keys.float(), dim=1)
        return NanoFeatures(levels["res2"], levels["res3"], hidden, (*units[1:], learned))

    def evidence(self, keys: Keys, memory: Memory, target: int = 0) -> Evidence:
        """What `memory` says about one photo and one target."""
        with torch.autocast(keys[0].device.type, enabled=False):
            return evidence(keys, memory, target, self.sharpness.float().exp(), nearest=self.config.nearest)

    def answer(
        self,
        features: NanoFeatures,
        photos: Sequence[int],
        found: Sequence[Evidence],
        kinds: Sequence[Kind],
        *,
        detail: bool = True,
    ) -> NanoAnswer:
        """Answers of E questions: which photo, its evidence, and what kind of target."""
        index = torch.tensor(list(photos), device=features.hidden.device)
        hidden, learned = (level.index_select(0, index) for level in (features.hidden.float(), features.keys[-1]))
        wide = features.keys[-1].shape[1] ** 0.5
        inside, outside = (torch.stack([e.prototypes[i] for e in found])[:, :, None, None] * wide for i in (0, 1))
        learned = learned * wide
        kind = torch.tensor([[float(k == name) for name in KINDS] for k in kinds], device=hidden.device)
        kind_planes = kind[:, :, None, None].expand(-1, -1, *hidden.shape[-2:])
        evidences = torch.stack([e.maps for e in found])
        maps = torch.cat([hidden, learned, learned * inside, learned * outside, evidences, kind_planes], 1)
        dtype = self.decoder.enter.weight.dtype
        state, correction = self.decoder.compare(maps.to(dtype))
        rule = torch.stack([e.rule for e in found])[:, None]
        first = self.gain.float().exp() * rule + correction.float()
        own = own_evidence([keys.detach().index_select(0, index) for keys in features.keys], first.detach().sigmoid())
        state, more = self.decoder.compare_again(state, first.to(dtype), own.to(dtype))
        coarse, lean = first + more.float(), self.config.lean
        if not detail:
            return NanoAnswer(first + lean, coarse + lean, None)
        middle, fine = (level[index].to(dtype) for level in (features.middle, features.fine))
        finer = self.decoder.refine(state, coarse.to(dtype), middle, fine)
        return NanoAnswer(first + lean, coarse + lean, _grown(coarse, fine) + finer.float() + lean)


def _grown(x: Tensor, like: Tensor) -> Tensor:
    """Bilinear to the grid of `like`."""
    if x.shape[-2:] == like.shape[-2:]:
        return x
    return F.interpolate(x, size=like.shape[-2:], mode="bilinear", align_corners=False)
