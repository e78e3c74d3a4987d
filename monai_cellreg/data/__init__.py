"""Readers, public data sets, the simulator and made pairs."""

from .listing import list_items, load_item
from .made_pairs import made_pairs, spread
from .movies import Movie, contrast_limits, write_mp4, write_ome_tiff
from .nuclei import nuclei_items
from .readers import ImageReadError, read_grid, read_image, read_label
from .split import split_by_group
from .synthetic import simulated_items
from .training import training_items
from .writers import write_image

__all__ = [
    "ImageReadError",
    "Movie",
    "contrast_limits",
    "list_items",
    "load_item",
    "made_pairs",
    "nuclei_items",
    "read_grid",
    "read_image",
    "read_label",
    "simulated_items",
    "split_by_group",
    "spread",
    "training_items",
    "write_image",
    "write_mp4",
    "write_ome_tiff",
]
