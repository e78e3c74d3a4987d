"""Inference on pairs."""

from .frame import FrameMap
from .pair import PairInferer, PairPrediction
from .refining import RefiningInferer
from .sequence import SequenceMaps, SequenceRegistration

__all__ = ["FrameMap", "PairInferer", "PairPrediction", "RefiningInferer", "SequenceMaps", "SequenceRegistration"]
