"""Inference on pairs."""

from .frame import FrameMap
from .overlaid import OverlaidInferer
from .pair import PairInferer, PairPrediction
from .refining import RefiningInferer
from .sequence import SequenceMaps, SequenceRegistration

__all__ = [
    "FrameMap",
    "OverlaidInferer",
    "PairInferer",
    "PairPrediction",
    "RefiningInferer",
    "SequenceMaps",
    "SequenceRegistration",
]
