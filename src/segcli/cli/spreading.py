"""`--on ray`: where photos are answered when it is not here."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated

import typer

from segcli.core.errors import UsageError

if TYPE_CHECKING:
    from segcli.pipeline.on_ray import Wish

_ON = re.compile(r"ray(:(?P<address>auto|(\[[0-9A-Fa-f:]+\]|[^\s:/\[\]]+):[0-9]{1,5}))?")


@dataclass(frozen=True)
class Spreading:
    """Where photos are answered; they are read, and results written, here."""

    on: Annotated[
        str | None,
        typer.Option(
            "--on",
            metavar="ray[:ADDRESS]",
            help="Answer photos by workers on Ray: on this machine, or on the cluster at HOST:PORT.",
        ),
    ] = None
    actors: Annotated[
        str | None,
        typer.Option(
            "--actors", metavar="N", help="--on ray: how many workers.", show_default="one a GPU, or as many as fit"
        ),
    ] = None
    cpus_per_actor: Annotated[
        str | None, typer.Option("--cpus-per-actor", metavar="N", help="--on ray: CPUs that a worker reserves.")
    ] = None

    def check_spread(self) -> None:
        """Refuse words that mean nothing, and an engine that is not installed. Raises UsageError."""
        from segcli.cli.options import number

        for option, value in (("--actors", self.actors), ("--cpus-per-actor", self.cpus_per_actor)):
            if value is not None:
                number(option, value, low=1)
                if self.on is None:
                    raise UsageError(f"{option} is for --on ray; add that, or take {option} away")
        if self.on is None:
            return
        if self.on.startswith("ray:ray://"):
            raise UsageError(
                f"--on {self.on}: Ray's client can't carry a run; type the cluster's own HOST:PORT, or auto"
            )
        if not _ON.fullmatch(self.on):
            raise UsageError(f"--on {self.on}: unknown; type ray, ray:auto, or for example ray:head.example.org:6379")
        spec = find_spec("ray")
        if spec is None or spec.origin is None:  # without an origin it is some directory of that name
            raise UsageError("--on ray: Ray is not installed; type pip install 'segcli[ray]'")

    def wish(self, device: str, threads: int | None) -> Wish | None:
        """The same for the pipeline, or None when photos are answered here. Raises UsageError for a GPU by number."""
        if self.on is None:
            return None
        if device.startswith("cuda:"):
            raise UsageError(f"--device {device}: Ray gives each worker a GPU of its own; type --device cuda")
        from segcli.pipeline.on_ray import Wish

        matched = _ON.fullmatch(self.on)
        return Wish(
            address=None if matched is None else matched["address"],
            actors=None if self.actors is None else int(self.actors),
            cpus=None if self.cpus_per_actor is None else int(self.cpus_per_actor),
            device=device,
            threads=threads,
        )
