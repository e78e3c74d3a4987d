"""Public data sets and layouts of folders, one a file."""

from . import acdc, cell_tracking, image_folder, mnist, sunnybrook

__all__ = ["acdc", "cell_tracking", "image_folder", "mnist", "sunnybrook"]
