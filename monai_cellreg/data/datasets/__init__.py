"""Layouts of folders: one public kind a file, each with `list_items(root)`."""

from . import cell_tracking, image_folder

__all__ = ["cell_tracking", "image_folder"]
