"""Optimisation of one pair without training, as a method that can be named, stored and limited."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch

from ..engines.instance import AutoRegistration, AutoSettings, Registered
from ..geometry import Pair, SpatialTransform
from ..utils import check_positive


@dataclass(frozen=True)
class Optimisation:
    """:class:`~monai_cellreg.engines.instance.AutoRegistration` under a name of the table of methods.

    Args:
        name: of the method.
        settings: of the optimisation.
    """

    name: str
    settings: AutoSettings = field(default_factory=AutoSettings)

    def register(self, pair: Pair) -> SpatialTransform:
        """The map from fixed to moving world points."""
        return self.run(pair).transform

    def run(self, pair: Pair) -> Registered:
        """The map from fixed to moving world points, and what was done, a sentence each."""
        return AutoRegistration(self.settings).run(pair)

    def limited(self, *, device: str | None = None, time_limit: float | None = None) -> Optimisation:
        """The same method elsewhere, or for less time.

        Args:
            device: where to compute, such as ``"cuda"``.
            time_limit: seconds after which the deformable stage takes what it has.

        Raises:
            ValueError: for a device that is not there, a limit that is not positive, or one of a method without
                deformable stage.
        """
        settings = self.settings
        if device is not None:
            _check_device(device)
            settings = replace(settings, device=device)
        if time_limit is not None:
            check_positive("time_limit", time_limit)
            if settings.deformable is None:
                raise ValueError(
                    f"time_limit is {time_limit:g} s but method {self.name!r} has no deformable stage, which alone can "
                    "be cut short; leave it out"
                )
            settings = replace(settings, deformable=replace(settings.deformable, time_limit=time_limit))
        return replace(self, settings=settings)


def _check_device(device: str) -> None:
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:  # an unknown name, or PyTorch without CUDA
        reason = str(error).splitlines()[0].rstrip(".")
        raise ValueError(
            f"device is {device!r}, which cannot be used here ({reason}); expected 'cpu' or a GPU such as "
            "'cuda' that PyTorch finds"
        ) from error
