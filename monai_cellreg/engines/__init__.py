"""Ignite engines for registration."""

from .checkpoints import Checkpoints, load_checkpoint, load_weights, save_checkpoint
from .handlers import EpochSeed, TrainingProgress, loss_terms
from .metrics import additional_metrics, registration_iou_metric
from .prepare import PrepareKnownPairs, prepare_pairs
from .trainer import RegistrationTrainer
from .workflow import StrictConfigWorkflow

__all__ = [
    "Checkpoints",
    "EpochSeed",
    "PrepareKnownPairs",
    "RegistrationTrainer",
    "StrictConfigWorkflow",
    "TrainingProgress",
    "additional_metrics",
    "load_checkpoint",
    "load_weights",
    "loss_terms",
    "prepare_pairs",
    "registration_iou_metric",
    "save_checkpoint",
]
