"""RAS: one token a mask, a language model that reads context and then all candidates again, a classifier a candidate.

maps      of the frozen encoders, and a position map
pooling   features inside each mask, concatenated  -> mask projector -> one mask token
sequence  photo's tokens, candidates, sentence with its references, candidates again (see `layout`)
classifier on the hidden state at each second mask token -> chosen or not
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from segcli.models.ras.colours import COLOURS
from segcli.models.ras.config import LanguageConfig, RasConfig
from segcli.models.ras.encoders import VisualEncoder, build_encoder
from segcli.models.ras.layout import Layout, layout
from segcli.models.ras.matches import Matches, Related, Said
from segcli.models.ras.names import Forms, Names, owned
from segcli.models.ras.pooling import GEOMETRY, pooled
from segcli.models.ras.positions import position_map
from segcli.models.ras.text import PLACE, references_in


@dataclass(frozen=True, eq=False)
class Question:
    """One sentence about one photo, everything frozen already done.

    candidates: [N, F] pooled features, in the order in which they are fed; references: [R, F], in order of their place.
    before:     token ids up to the photo's tokens; between: from there to the candidates; after: the sentence,
                `PLACE` for each reference.
    visual:     [V, C] features of the first encoder, or None.
    related:    how the masks stand to each other, for a network whose config asks for it.
    chances:    [N + R, names] for candidates and references, in place of what the network's own head says: what heads
                said that were trained without this photo.
    """

    candidates: Tensor
    references: Tensor
    before: Sequence[int]
    between: Sequence[int]
    after: Sequence[int]
    visual: Tensor | None = None
    related: Related | None = None
    chances: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Fed:
    """Embeddings [L, D] of one question, where they stand, and its mask tokens [N, D]."""

    embeddings: Tensor
    layout: Layout
    mask_tokens: Tensor
    context: int


@dataclass(frozen=True, eq=False)
class Spoken:
    """Of `Names`: how colours and names are said [colours + names, D], and which tokens say them."""

    words: Tensor
    forms: Forms


class Ras(nn.Module):
    """The network. The encoders are frozen in every stage of training."""

    def __init__(self, config: RasConfig) -> None:
        super().__init__()
        self.config = config
        width = config.language.hidden
        self.encoders = nn.ModuleList(build_encoder(e) for e in config.encoders)
        self.mask_projector = _mlp(self.feature_width, width, width)
        self.image_projector = _mlp(self._encoder(0).widths[0], width, width) if config.visual_tokens else None
        self.language_model = _llama(config.language)
        self.mask_pool_pre = nn.Parameter(torch.randn(width) * 0.02) if config.pre_tokens != "none" else None
        self.mask_ref_pre = (
            nn.Parameter(torch.randn(width) * 0.02) if config.pre_tokens in ("different", "added") else None
        )
        self.names = Names(self.feature_width, config.names, width) if config.names else None
        self.matches = Matches(width) if config.relations else None
        self.classifier = _mlp(width, width, 1) if config.decoding == "parallel" else None
        self.pointer = nn.Linear(width, width) if config.decoding == "autoregressive" else None
        self.stop = nn.Parameter(torch.randn(width) * 0.02) if config.decoding == "autoregressive" else None

    def _encoder(self, number: int) -> VisualEncoder:
        encoder = self.encoders[number]
        assert isinstance(encoder, VisualEncoder)
        return encoder

    @property
    def grids(self) -> list[int]:
        """Sides of all maps that are pooled, the position map's last."""
        sides = [side for n in range(len(self.encoders)) for side in self._encoder(n).grids]
        return [*sides, *([self.config.position_side] if self.config.positions else [])]

    @property
    def feature_width(self) -> int:
        """Channels of a mask's pooled features: the encoders' in order, positions, geometry."""
        return sum(sum(self._encoder(n).widths) for n in range(len(self.encoders))) + self.place_width

    @property
    def place_width(self) -> int:
        """How many of them, the last ones, say only where a mask is."""
        return self.config.positions + (GEOMETRY if self.config.geometry else 0)

    def positions(self, like: Tensor) -> list[Tensor]:
        """The position map as a list of one, or an empty one."""
        channels = self.config.positions
        return [position_map(self.config.position_side, channels).to(like)] if channels else []

    def mask_features(self, maps: Sequence[Tensor], weights: Sequence[Tensor], geometry: Tensor | None) -> Tensor:
        """Features [N, F] of masks whose weights on each map are given ([N, n, n] each)."""
        parts = [pooled(one, weight) for one, weight in zip(maps, weights, strict=True)]
        if self.config.geometry:
            assert geometry is not None
            parts.append(geometry.to(parts[0]))
        return torch.cat(parts, 1)

    def sequence(self, question: Question, spoken: Spoken | None = None) -> Fed:
        """Everything that the language model reads; spoken: of `spoken`, which a batch needs once.

        Raises ValueError when references and their places differ.
        """
        places, given = references_in(question.after), len(question.references)
        if places != given:
            raise ValueError(f"the sentence has {places} places for references, {given} were given")
        spoken = self.spoken() if spoken is None else spoken
        said = self.said(torch.cat([question.candidates, question.references]), question.chances, spoken)
        count = len(question.candidates)
        candidates, references = said.tokens[:count], said.tokens[count:]
        pool = self._paired(candidates, self.mask_pool_pre)
        pre = self.mask_pool_pre if self.mask_ref_pre is None else self.mask_ref_pre
        prefix = [self._words(question.before)]
        if self.image_projector is not None and question.visual is not None:
            prefix.append(self.image_projector(question.visual))
        prefix.append(self._words(question.between))
        text: list[Tensor] = []
        waiting: list[int] = []
        taken = 0
        for token in question.after:
            if token != PLACE:
                waiting.append(token)
                continue
            text += [self._words(waiting), self._paired(references[taken : taken + 1], pre)]
            waiting, taken = [], taken + 1
        text.append(self._words(waiting))
        before, after = torch.cat(prefix), torch.cat(text)
        again = [self._told(pool, said, question, spoken)] if self.config.decoding == "parallel" else []
        embeddings = torch.cat([before, pool, after, *again])
        placed = layout(len(before), count, len(after), self.config.pair, self.config.decoding_attention)
        return Fed(embeddings, placed, candidates, len(before) + len(pool) + len(after))

    def said(self, features: Tensor, chances: Tensor | None, spoken: Spoken | None) -> Said:
        """Mask tokens of features [N, F]; where the config has names, with what is known of names and colours."""
        tokens = self.mask_projector(features)
        if self.names is None or spoken is None:
            return Said(tokens, tokens.new_zeros(len(tokens), 0), tokens.new_zeros(len(tokens), 0))
        if chances is None:
            chances = self.names(features).float().softmax(1)
        colours = owned(self._shares(features))
        return Said(tokens + self.names.say(chances, colours, spoken.words).to(tokens), chances, colours)

    def spoken(self) -> Spoken | None:
        """How names and colours are said, None where the config has none."""
        if self.names is None:
            return None
        table = self.language_model.get_submodule("embed_tokens").get_parameter("weight")
        return Spoken(self.names.words(table), self.names.forms())

    @property
    def colour_columns(self) -> slice:
        """Where among a mask's features the shares of named colours are; empty without an encoder of colours."""
        start = 0
        for number in range(len(self.encoders)):
            encoder = self._encoder(number)
            start += sum(encoder.widths)
            if encoder.config.kind == "colours":
                return slice(start - len(COLOURS), start)
        return slice(0, 0)

    def _shares(self, features: Tensor) -> Tensor:
        """The shares of named colours [N, colours] among features [N, F]; 0 without an encoder of colours."""
        columns = self.colour_columns
        known = columns.stop > columns.start
        return features[:, columns] if known else features.new_zeros(len(features), len(COLOURS))

    def _told(self, pool: Tensor, said: Said, question: Question, spoken: Spoken | None) -> Tensor:
        """The second copies: the first ones, with what the sentence says of each by name and by references.

        Raises ValueError for a question without relations where the config asks for them.
        """
        count = len(question.candidates)
        mine, theirs = (
            Said(said.tokens[p], said.chances[p], said.colours[p]) for p in (slice(count), slice(count, None))
        )
        more: Tensor = torch.zeros_like(mine.tokens)
        if self.matches is not None:
            if question.related is None:
                raise ValueError("this network's config asks for relations, and the question has none")
            more = more + self.matches(mine, theirs, question.related)
        if self.names is not None and spoken is not None:
            more = more + self.names.hear(question.after, spoken.forms, mine.chances, mine.colours).to(more)
        if self.matches is None and self.names is None:
            return pool
        if self.config.pair == 1:
            return pool + more
        return pool + torch.stack([torch.zeros_like(more), more], 1).flatten(0, 1)

    def forward(self, questions: Sequence[Question]) -> list[Tensor]:
        """Logits [N] of each question's candidates, in one pass (parallel decoding)."""
        assert self.classifier is not None
        spoken = self.spoken()
        sequences = [self.sequence(question, spoken) for question in questions]
        hidden = self.hidden(sequences)
        reads = [one[s.layout.reads.to(one.device)] for one, s in zip(hidden, sequences, strict=True)]
        logits = self.classifier(torch.cat(reads)).squeeze(-1)
        return list(logits.split([len(r) for r in reads]))

    def hidden(self, sequences: Sequence[Fed]) -> Tensor:
        """Hidden states [B, L, D] after the last norm; shorter sequences are filled up behind their end."""
        device, dtype = sequences[0].embeddings.device, sequences[0].embeddings.dtype
        longest = max(len(s.embeddings) for s in sequences)
        embeddings = nn.utils.rnn.pad_sequence([s.embeddings for s in sequences], batch_first=True)
        positions = torch.zeros(len(sequences), longest, dtype=torch.long, device=device)
        mask = None
        for row, s in enumerate(sequences):
            positions[row, : len(s.embeddings)] = s.layout.positions[: len(s.embeddings)].to(device)
            if s.layout.allowed is None:
                continue  # nothing before the filling sees it, so a plainly causal sequence needs no mask
            if mask is None:
                least = torch.finfo(dtype).min
                mask = torch.full((len(sequences), 1, longest, longest), least, dtype=dtype, device=device)
                mask[:, 0].diagonal(dim1=1, dim2=2).zero_()  # the filling sees itself, so that no row is empty
            length = len(s.embeddings)
            mask[row, 0, :length, :length].masked_fill_(s.layout.allowed[:length, :length].to(device), 0)
        states: Tensor = self.language_model(
            inputs_embeds=embeddings, attention_mask=mask, position_ids=positions, use_cache=False
        ).last_hidden_state
        return states

    def _paired(self, tokens: Tensor, pre: Tensor | None) -> Tensor:
        """[N, D] -> [2 N, D] with the pre token before each; or [N, D], with it added or as they are."""
        if pre is None:
            return tokens
        if self.config.pair == 1:
            return tokens + pre.to(tokens)
        return torch.stack([pre.to(tokens).expand_as(tokens), tokens], 1).flatten(0, 1)

    def _words(self, ids: Sequence[int]) -> Tensor:
        table = self.language_model.get_submodule("embed_tokens")
        assert isinstance(table, nn.Embedding)
        words: Tensor = table(torch.tensor(list(ids), dtype=torch.long, device=table.weight.device))
        return words.to(next(self.mask_projector.parameters()).dtype)


def _mlp(width: int, hidden: int, out: int) -> nn.Sequential:
    """Two layers with GELU, as LLaVA's projector; width and activation of the mask projector are our choice."""
    return nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, out))


def _llama(sizes: LanguageConfig) -> nn.Module:
    """transformers' LLaMA without its head."""
    from transformers.models.llama.configuration_llama import LlamaConfig
    from transformers.models.llama.modeling_llama import LlamaModel

    return LlamaModel(
        LlamaConfig(
            vocab_size=sizes.vocabulary,
            hidden_size=sizes.hidden,
            intermediate_size=sizes.ffn,
            num_hidden_layers=sizes.layers,
            num_attention_heads=sizes.heads,
            num_key_value_heads=sizes.heads,
            max_position_embeddings=sizes.context,
            rms_norm_eps=sizes.eps,
            initializer_range=sizes.hidden**-0.5,  # for training from nothing, where small members need more than 0.02
            pad_token_id=None,
        )
    )
