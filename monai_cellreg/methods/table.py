"""The one table of method names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache, partial

from ..baselines import Ants, Elastix, SimpleITKAffine, SimpleITKBSpline, SimpleITKDemons
from ..engines.instance import AutoSettings, BSplineDeformation, DeformableSettings, VelocityDeformation
from ..utils import check_choice
from .bundles import bundle_method
from .method import Method
from .optimisation import Optimisation
from .refinement import Refinement
from .slices import BatchSliceWise, SliceWise


@dataclass(frozen=True)
class MethodEntry:
    """A line of the table.

    Args:
        make: makes the method.
        what: one line of description.
        dims: dimensions of the images that it takes.
        extra: of the package, that must be installed for it; empty for none.
        is_guided: whether it heeds masks and landmarks.
    """

    make: Callable[[], Method]
    what: str
    dims: tuple[int, ...] = (2, 3)
    extra: str = ""
    is_guided: bool = False


def _optimisation(name: str, deformable: DeformableSettings | None, what: str) -> MethodEntry:
    return MethodEntry(partial(Optimisation, name, AutoSettings(deformable=deformable)), what, is_guided=True)


def _dirnet(overlay: str, what: str, *, dims: tuple[int, ...], refined: bool = False) -> MethodEntry:
    refinement = Refinement(20, overlap=0.0) if refined else None
    make = partial(bundle_method, "dirnet", {"refinement": refinement}, overlays=(f"train_{overlay}.json",))
    return MethodEntry(make, f"network of the bundle dirnet, for {what}", dims=dims)


def _by_slices(entry: MethodEntry) -> MethodEntry:
    """The line of a network of images, that takes stacks of them as well."""
    return replace(entry, make=lambda: BatchSliceWise(entry.make(), is_guided=entry.is_guided), dims=(2, 3))


METHODS: Mapping[str, MethodEntry] = {
    "auto": _optimisation(
        "auto", DeformableSettings(), "optimises any pair: affine, then a dense field; chooses by the images"
    ),
    "affine": _optimisation("affine", None, "the affine stage of auto alone"),
    "bspline": _optimisation(
        "bspline", DeformableSettings(model=BSplineDeformation), "as auto, with a B-spline for the field"
    ),
    "velocity": _optimisation(
        "velocity", DeformableSettings(model=VelocityDeformation), "as auto, with a velocity, which can be inverted"
    ),
    "slices": MethodEntry(
        partial(SliceWise, Optimisation("slices")),
        "auto slice by slice, for volumes that are stacks of thick slices",
        is_guided=True,
    ),
    "joint": MethodEntry(
        partial(bundle_method, "joint"), "network of the bundle joint, for single nuclei, which it segments", dims=(2,)
    ),
    "segreg": MethodEntry(
        partial(bundle_method, "segreg"), "network of the bundle segreg, for segmented nuclei: their labels", dims=(2,)
    ),
    "dirnet-cardiac": _by_slices(
        _dirnet("cardiac", "short-axis slices of the heart or stacks of them, one patient's time points", dims=(2,))
    ),
    "dirnet-hippocampus": _dirnet(
        "brain", "crops around the hippocampus of two people, then a few steps on the pair", dims=(3,), refined=True
    ),
    "dirnet-mnist": _dirnet("mnist", "handwritten digits of one class", dims=(2,)),
    "elastix": MethodEntry(Elastix, "elastix: rigid, affine, B-spline; mutual information"),
    "simpleitk": MethodEntry(SimpleITKBSpline, "SimpleITK: affine, B-spline; mutual information"),
    "simpleitk-affine": MethodEntry(SimpleITKAffine, "SimpleITK: affine; mutual information"),
    "simpleitk-demons": MethodEntry(SimpleITKDemons, "SimpleITK: affine, diffeomorphic demons; equal contrast"),
    "ants": MethodEntry(Ants, "ANTs: affine, SyN; mutual information", extra="baselines"),
}
"""Every method by its name, in the order in which they are listed."""


def method_names() -> list[str]:
    """The names that ``method`` takes in Python and on the command line."""
    return list(METHODS)


@cache
def load_method(name: str) -> Method:
    """The method of a name, loaded once.

    Raises:
        ValueError: for an unknown name; the message lists the known ones.
        ImportError: for a method whose extra is not installed.
    """
    check_choice("method", name, method_names())
    return METHODS[name].make()


def limited_method(name: str, *, device: str | None = None, time_limit: float | None = None) -> Method:
    """A method of the table on another device, or for less time.

    Args:
        name: of a method that optimises one pair.
        device: see :meth:`Optimisation.limited`.
        time_limit: likewise, in seconds; for each slice where the method goes slice by slice.

    Raises:
        ValueError: for another method, or a limit that it cannot keep.
    """
    method = load_method(name)
    inner = method.method if isinstance(method, SliceWise) else method
    if not isinstance(inner, Optimisation):
        able = ", ".join(repr(other) for other, entry in METHODS.items() if entry.is_guided)
        raise ValueError(f"method is {name!r}, which takes no device and no time limit; expected one of {able}")
    limited = inner.limited(device=device, time_limit=time_limit)
    return replace(method, method=limited) if isinstance(method, SliceWise) else limited


def method_name(method: str | Method) -> str:
    """What a method is called in results."""
    if isinstance(method, SliceWise):
        return method_name(method.method)
    if isinstance(method, Optimisation):
        return method.name
    return method if isinstance(method, str) else type(method).__name__


def heeds_guides(method: str | Method) -> bool:
    """Whether a method heeds masks and landmarks; of one that is not in the table it is taken for granted."""
    return not isinstance(method, str) or METHODS[method].is_guided
