"""SAM 2 through a video, a frame at a time, with transformers' streaming session as its memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from segcli.core.errors import UsageError
from segcli.core.image import Image
from segcli.models.api import ObjectMasks
from segcli.models.layers.memory import memory_errors
from segcli.models.sam.frames import Frame

_POINTERS = 16  # as many of the latest frames lend their object pointers
_KINDS = ("cond_frame_outputs", "non_cond_frame_outputs")


class Sam2Tracker:
    """`segcli.models.api.Tracker` for SAM 2. Frames that were given masks stay in memory, of the others the latest."""

    def __init__(self, model: nn.Module, name: str, device: torch.device, dtype: torch.dtype, side: int) -> None:
        from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceSession

        self.model, self.name, self.device, self.dtype, self.side = model, name, device, dtype, side
        self.frame = 0
        self.session: Any = Sam2VideoInferenceSession(inference_device=device, dtype=dtype)

    def step(self, frame: Image, masks: ObjectMasks | None = None) -> ObjectMasks:
        """Masks of `frame`; given ones are taken as true. No object yet: nothing. Raises DeviceError."""
        place = Frame(frame.size, self.side, stretch=True)
        session, now = self.session, self.frame
        given = {number: mask for number, mask in (masks or {}).items() if mask.any()}
        with torch.inference_mode(), memory_errors(self.name):
            session.add_new_frame(place.pixels(frame.pixels), now)
            for number, mask in given.items():
                if mask.shape != frame.size:
                    raise UsageError(f"{frame.name}: the mask of object {number} has another size than the frame")
                index = session.obj_id_to_idx(int(number))
                session.add_mask_inputs(index, now, (place.mask(mask, self.side) >= 0.5).float())
            session.obj_with_new_inputs = [int(number) for number in given]
            found: dict[int, NDArray[np.bool_]] = {}
            if session.get_obj_num():
                answer = self.model(session, frame_idx=now)
                for number, logits in zip(answer.object_ids, answer.pred_masks, strict=True):
                    found[int(number)] = (place.back(logits)[0] > 0).cpu().numpy()
        self._forget(now)
        self.frame += 1
        return {**found, **given}

    def drop(self, number: int) -> None:
        """Forget an object. Raises UsageError for one that is not followed."""
        state = self.state()
        mine = {key for key in state if key.startswith(f"{number}/")}
        if not mine:
            raise UsageError(f"object {number} is not followed")
        self.restore({key: value for key, value in state.items() if key not in mine})

    def state(self) -> dict[str, NDArray[Any]]:
        """Everything remembered of each object and frame, as arrays."""
        session = self.session
        found: dict[str, NDArray[Any]] = {"frame": np.array(self.frame)}
        for index, outputs in session.output_dict_per_obj.items():
            number = session.obj_idx_to_id(index)
            for kind, name in enumerate(_KINDS):
                for at, values in outputs[name].items():
                    for key, value in values.items():
                        if isinstance(value, Tensor):
                            found[f"{number}/{kind}/{at}/{key}"] = value.float().cpu().numpy()
            found[f"{number}/tracked"] = np.array(sorted(session.frames_tracked_per_obj[index]), np.int64)
        return found

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Put back what `state` returned."""
        session = self.session
        session.reset_inference_session()
        self.frame = int(state["frame"])
        session.processed_frames = {at: torch.empty(0) for at in range(self.frame)}
        for key, value in state.items():
            parts = key.split("/")
            if len(parts) == 1:
                continue
            index = session.obj_id_to_idx(int(parts[0]))
            if parts[1] == "tracked":
                session.frames_tracked_per_obj[index] = {int(at): {"reverse": False} for at in value}
                continue
            place = session.output_dict_per_obj[index][_KINDS[int(parts[1])]].setdefault(int(parts[2]), {})
            place[parts[3]] = torch.from_numpy(np.array(value)).to(self.device, self.dtype)
        for outputs in session.output_dict_per_obj.values():
            for name in _KINDS:
                outputs[name] = dict(sorted(outputs[name].items()))

    def _forget(self, now: int) -> None:
        """Drop what no later frame will look at; the number of frames itself counts, so their places stay."""
        session = self.session
        session.processed_frames[now] = torch.empty(0)
        for index, outputs in session.output_dict_per_obj.items():
            session.mask_inputs_per_obj[index].pop(now, None)
            late = outputs["non_cond_frame_outputs"]
            for at in [at for at in late if at <= now - _POINTERS]:
                del late[at]
