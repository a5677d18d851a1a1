"""A small RAS that goes on from another one: its language model, projector and classifier, under a new head's names."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from segcli.core.errors import CheckpointError
from segcli.models.ras.model import Ras

_QUIET = 1 / 3  # how large what is said of names and colours is at first beside a mask token, which never heard it


def go_on(model: Ras, old: Ras, mean: Tensor, deviation: Tensor) -> None:
    """Take over what `old` knows; `model` sees features of mean 0 and deviation 1, `old` as they are.

    What `old` lacks begins without a say: what candidates are told of references and names at nothing, what mask
    tokens say of names quietly. The head that names masks is trained anew.
    Raises CheckpointError when it is of another size.
    """
    own, known = model.state_dict(), old.state_dict()
    taken = {k: v.float() for k, v in known.items() if not k.startswith(("encoders.", "names.layers.", "names.ids"))}
    odd = [k for k, v in taken.items() if k not in own or own[k].shape != v.shape]
    if odd:
        raise CheckpointError(f"--start: its {odd[0]} has another shape than the plan's; give a file of its sizes")
    model.load_state_dict(taken, strict=False)
    first = model.mask_projector[0]
    assert isinstance(first, nn.Linear)
    with torch.no_grad():
        first.bias.add_(first.weight @ mean)
        first.weight.mul_(deviation)
        if model.names is not None and "names.loudness" not in taken:
            tokens = model.mask_projector(torch.randn(256, first.in_features))
            words = model.language_model.get_submodule("embed_tokens").get_parameter("weight")
            model.names.loudness.fill_(_QUIET * float(tokens.std() / words.std()))
        fresh = [] if model.names is None or "names.heard.0.weight" in taken else [model.names.heard]
        if model.matches is not None and "matches.look.weight" not in taken:
            fresh += [model.matches.pair, model.matches.standing]
        for part in fresh:
            for parameter in part[-1].parameters():
                parameter.zero_()
