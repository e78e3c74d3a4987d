"""Readers, public data sets, the simulator and made pairs."""

from .datasets.cell_tracking import write_cell_tracking
from .listing import list_items, load_item
from .made_pairs import made_pairs, spread
from .movies import Movie, contrast_limits, write_mp4, write_ome_tiff
from .nuclei import nuclei_items
from .readers import ImageReadError, read_grid, read_image, read_label
from .split import split_by_group
from .synthetic import simulated_items
from .synthetic_events import HARD_FILMS
from .synthetic_sequence import NucleusSequence, simulate_sequence
from .synthetic_settings import NucleusSettings, SequenceSettings, SpotSettings
from .training import training_items
from .writers import write_image

__all__ = [
    "HARD_FILMS",
    "ImageReadError",
    "Movie",
    "NucleusSequence",
    "NucleusSettings",
    "SequenceSettings",
    "SpotSettings",
    "contrast_limits",
    "list_items",
    "load_item",
    "made_pairs",
    "nuclei_items",
    "read_grid",
    "read_image",
    "read_label",
    "simulate_sequence",
    "simulated_items",
    "split_by_group",
    "spread",
    "training_items",
    "write_cell_tracking",
    "write_image",
    "write_mp4",
    "write_ome_tiff",
]
