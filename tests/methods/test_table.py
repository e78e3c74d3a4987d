"""Names lead to methods."""

from __future__ import annotations

import sys
from functools import partial

import numpy as np
import pytest
import torch

from monai_cellreg.baselines import Elastix, SimpleITKDemons
from monai_cellreg.data.synthetic_sequence import NucleusSequence
from monai_cellreg.engines.instance import BSplineDeformation, VelocityDeformation
from monai_cellreg.geometry import Pair
from monai_cellreg.methods import (
    METHODS,
    BatchMethod,
    LearnedMethod,
    Optimisation,
    Refinement,
    SliceWise,
    bundle_method,
    load_method,
    method_names,
)
from monai_cellreg.methods.table import heeds_guides, limited_method, method_name


def test_names_and_loading_once() -> None:
    assert method_names()[0] == "auto" and {"joint", "segreg", "elastix", "simpleitk", "ants", "affine"} < set(
        method_names()
    )
    assert load_method("joint") is load_method("joint")


@pytest.mark.parametrize("name", [name for name in METHODS if name != "ants"])
def test_every_name_gives_a_method(name: str) -> None:
    assert callable(load_method(name).register)
    assert METHODS[name].what and set(METHODS[name].dims) <= {2, 3}


def test_names_mean_what_they_say() -> None:
    assert isinstance(load_method("elastix"), Elastix) and isinstance(load_method("simpleitk-demons"), SimpleITKDemons)
    stages = {name: load_method(name).settings.deformable for name in ("affine", "bspline", "velocity")}
    assert stages["affine"] is None
    assert stages["bspline"].model is BSplineDeformation and stages["velocity"].model is VelocityDeformation


def test_unknown_method_is_told_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"method is 'jiont', expected one of 'auto', .*; did you mean 'joint'\?"):
        load_method("jiont")


def test_a_method_whose_extra_is_missing_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ants", None)
    load_method.cache_clear()
    assert METHODS["ants"].extra == "baselines"
    with pytest.raises(ImportError, match=r"pip install 'monai-cellreg\[baselines\]'"):
        load_method("ants")


@pytest.mark.parametrize(
    ("name", "overlay"), [("cardiac", "train_cardiac"), ("hippocampus", "train_brain"), ("mnist", "train_mnist")]
)
def test_dirnet_of_a_kind_of_images_is_the_bundle_with_its_overlay(name: str, overlay: str) -> None:
    refined = {"refinement": Refinement(20, overlap=0.0)} if name == "hippocampus" else {}
    method, built = load_method(f"dirnet-{name}"), bundle_method("dirnet", refined, overlays=[f"{overlay}.json"])
    dims = METHODS[f"dirnet-{name}"].dims
    assert dims == {"cardiac": (2, 3), "hippocampus": (3,), "mnist": (2,)}[name]
    assert len(built.network.image_size) == dims[0] and isinstance(method, BatchMethod)
    assert not heeds_guides(f"dirnet-{name}")
    rows = torch.linspace(0, 9, 37)
    scene = sum(torch.meshgrid(*[(rows + k).sin() for k in range(dims[0])], indexing="ij"))
    pair = Pair.of(scene[None], scene.roll(2, 0)[None])
    points = np.array([[10.0, 20.0, 14.0], [21.0, 13.0, 9.0]])[:, : dims[0]]
    found = [each.register(pair).points(points) for each in (method, built)]
    np.testing.assert_array_equal(*found)
    assert np.abs(found[0] - points).max() > 0.1


@pytest.mark.parametrize("name", ["joint", "segreg"])
def test_shipped_method_is_the_bundle_s(name: str, film: NucleusSequence) -> None:
    pair = Pair.of(*torch.from_numpy(film.images))
    points = np.array([[10.0, 20.0], [40.0, 33.0]])
    shipped, built = load_method(name), bundle_method(name)
    assert isinstance(built, LearnedMethod) and not heeds_guides(name)
    np.testing.assert_array_equal(shipped.register(pair).points(points), built.register(pair).points(points))


def test_limits_leave_the_named_method_as_it_is() -> None:
    limited = limited_method("bspline", device="cpu", time_limit=3)
    assert isinstance(limited, Optimisation) and method_name(limited) == "bspline"
    assert (limited.settings.device, limited.settings.deformable.time_limit) == ("cpu", 3)
    assert limited.settings.deformable.model is BSplineDeformation
    assert load_method("bspline").settings.deformable.time_limit is None
    slices = limited_method("slices", time_limit=4)
    assert isinstance(slices, SliceWise) and method_name(slices) == "slices" and slices.is_guided
    assert slices.method.settings.deformable.time_limit == 4
    assert load_method("slices") == SliceWise(Optimisation("slices"))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (partial(limited_method, "joint", device="cpu"), "method is 'joint', which takes no device .* one of 'auto'"),
        (partial(limited_method, "dirnet-cardiac", device="cpu"), "method is 'dirnet-cardiac', which takes no device"),
        (partial(limited_method, "affine", time_limit=1.0), "time_limit is 1 s but method 'affine' has no deformable"),
        (partial(limited_method, "auto", time_limit=-1.0), "time_limit is -1.0, expected finite numbers above 0"),
        (partial(limited_method, "auto", device="toaster"), "device is 'toaster', which cannot be used here"),
    ],
)
def test_limits_that_cannot_be_kept_are_refused(make: partial, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_names_and_guides_of_methods() -> None:
    assert method_name("auto") == "auto" and method_name(Elastix()) == "Elastix"
    assert [heeds_guides(name) for name in ("auto", "affine", "joint", "elastix")] == [True, True, False, False]
    assert heeds_guides(Elastix())
