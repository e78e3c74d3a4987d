"""Readers, public data sets, the simulator and made pairs."""

from .cardiac import read_cardiac
from .cine_slice import CineSlice
from .datasets.cell_tracking import write_cell_tracking
from .datasets.mnist import read_idx, read_mnist
from .image_groups import GroupSettings, group_items
from .listing import list_items, load_item
from .made_pairs import made_pairs, spread
from .movies import Movie, contrast_limits, write_mp4, write_ome_tiff
from .nuclei import nuclei_items
from .pairs_of_groups import PairsOfGroups
from .readers import ImageReadError, read_grid, read_image, read_label
from .split import split_by_group
from .synthetic import simulated_items
from .synthetic_digits import simulated_digits, write_digits
from .synthetic_events import HARD_FILMS
from .synthetic_heart import simulated_cardiac
from .synthetic_sequence import NucleusSequence, simulate_sequence
from .synthetic_settings import NucleusSettings, SequenceSettings, SpotSettings
from .training import training_items
from .writers import write_image

__all__ = [
    "HARD_FILMS",
    "CineSlice",
    "GroupSettings",
    "ImageReadError",
    "Movie",
    "NucleusSequence",
    "NucleusSettings",
    "PairsOfGroups",
    "SequenceSettings",
    "SpotSettings",
    "contrast_limits",
    "group_items",
    "list_items",
    "load_item",
    "made_pairs",
    "nuclei_items",
    "read_cardiac",
    "read_grid",
    "read_idx",
    "read_image",
    "read_label",
    "read_mnist",
    "simulate_sequence",
    "simulated_cardiac",
    "simulated_digits",
    "simulated_items",
    "split_by_group",
    "spread",
    "training_items",
    "write_cell_tracking",
    "write_digits",
    "write_image",
    "write_mp4",
    "write_ome_tiff",
]
