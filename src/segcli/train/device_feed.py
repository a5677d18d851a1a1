"""Batches made ahead of the training step, on a stream of their own where the device has streams."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from segcli.train.device_views import DeviceViews
from segcli.train.seem import ObjectBatch, ahead

_DEPTH = 2


def feed(views: DeviceViews, number: int) -> Iterator[ObjectBatch]:
    """The batches `number`, `number` + 1, … of `views`.

    On CUDA a thread launches the next batches beside the running step; the step waits for its batch on the device, the
    CPU for neither. Elsewhere nothing could run beside the step, and batches are made when they are asked for.
    """
    if views.photos.device.type != "cuda":
        yield from views.stream(number)
        return
    device = views.photos.device
    side = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    side.wait_stream(torch.cuda.current_stream(device))  # the photos must be there

    def made() -> Iterator[tuple[ObjectBatch, torch.cuda.Event]]:
        stream = views.stream(number)
        while True:
            with torch.cuda.stream(side):
                batch = next(stream)
                yield batch, side.record_event()

    for batch, ready in ahead(made(), _DEPTH):
        step = torch.cuda.current_stream(device)
        step.wait_event(ready)
        for tensor in (batch.images, batch.truth, batch.valid, batch.image_of):
            tensor.record_stream(step)  # its memory may be used again when the step is through with it
        yield batch
