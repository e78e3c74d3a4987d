"""Ignite engines for registration."""

from .averaging import WeightAverage
from .checkpoints import Checkpoints, load_checkpoint, load_weights, save_checkpoint
from .freezing import freeze
from .handlers import EpochSeed, TrainingProgress, is_worker, loss_terms
from .metrics import additional_metrics, image_pair_metrics, registration_iou_metric, registration_ncc_metric
from .prepare import PrepareImagePairs, PrepareKnownPairs, prepare_image_pairs, prepare_label_pairs, prepare_pairs
from .register_pair import GuideKeys, RegisteredKeys, RegisterPair, RegisterPaird
from .trainer import RegistrationTrainer
from .workflow import StrictConfigWorkflow, override, root_cause

__all__ = [
    "Checkpoints",
    "EpochSeed",
    "GuideKeys",
    "PrepareImagePairs",
    "PrepareKnownPairs",
    "RegisterPair",
    "RegisterPaird",
    "RegisteredKeys",
    "RegistrationTrainer",
    "StrictConfigWorkflow",
    "TrainingProgress",
    "WeightAverage",
    "additional_metrics",
    "freeze",
    "image_pair_metrics",
    "is_worker",
    "load_checkpoint",
    "load_weights",
    "loss_terms",
    "override",
    "prepare_image_pairs",
    "prepare_label_pairs",
    "prepare_pairs",
    "registration_iou_metric",
    "registration_ncc_metric",
    "root_cause",
    "save_checkpoint",
]
