"""Ignite engines for registration."""

from .checkpoints import Checkpoints, load_checkpoint, load_weights, save_checkpoint
from .handlers import EpochSeed, TrainingProgress, is_worker, loss_terms
from .metrics import additional_metrics, registration_iou_metric
from .prepare import PrepareKnownPairs, prepare_label_pairs, prepare_pairs
from .register_pair import GuideKeys, RegisteredKeys, RegisterPair, RegisterPaird
from .trainer import RegistrationTrainer
from .workflow import StrictConfigWorkflow, override, root_cause

__all__ = [
    "Checkpoints",
    "EpochSeed",
    "GuideKeys",
    "PrepareKnownPairs",
    "RegisterPair",
    "RegisterPaird",
    "RegisteredKeys",
    "RegistrationTrainer",
    "StrictConfigWorkflow",
    "TrainingProgress",
    "additional_metrics",
    "is_worker",
    "load_checkpoint",
    "load_weights",
    "loss_terms",
    "override",
    "prepare_label_pairs",
    "prepare_pairs",
    "registration_iou_metric",
    "root_cause",
    "save_checkpoint",
]
