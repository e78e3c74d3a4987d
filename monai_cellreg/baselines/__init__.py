"""Classical programs as methods."""

from .ants import Ants
from .elastix import Elastix
from .simpleitk import SimpleITKAffine, SimpleITKBSpline, SimpleITKDemons

__all__ = ["Ants", "Elastix", "SimpleITKAffine", "SimpleITKBSpline", "SimpleITKDemons"]
