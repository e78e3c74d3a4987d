"""The command line: ``monai-cellreg``, or ``python -m monai_cellreg``."""

from .main import build_parser, main

__all__ = ["build_parser", "main"]
