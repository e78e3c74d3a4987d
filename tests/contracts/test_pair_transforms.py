"""What every MONAI transform of the package keeps. A new one is tested by one more line in TRANSFORMS."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from monai.data import DataLoader, Dataset, MetaTensor
from monai.transforms import Compose, MapTransform, Randomizable
from monai.utils import set_determinism

from monai_cellreg.geometry import SamplingGrid
from monai_cellreg.transforms import (
    DeformationRange,
    KnownPairKeys,
    NormalizePercentilesd,
    PadToMultipled,
    RandAppearanced,
    RandKnownDeformationd,
    RandPairPosed,
    RandStaind,
    ResizeWithLandmarksd,
    SeparateStainsd,
)

KEYS = KnownPairKeys("fixed", "fixed_label", "world")
TRANSFORMS: dict[str, Callable[[], MapTransform]] = {
    "pose": lambda: RandPairPosed(
        ["fixed", "moving"], label_keys="fixed_label", landmark_keys=["world"], truth_keys="fixed_to_moving"
    ),
    "known_spline": lambda: RandKnownDeformationd(KEYS, control_shape=4, pose=True),
    "known_affine": lambda: RandKnownDeformationd(KEYS, deformation=DeformationRange(family="affine")),
    "known_bspline": lambda: RandKnownDeformationd(KEYS, deformation=DeformationRange(family="bspline")),
    "known_velocity": lambda: RandKnownDeformationd(KEYS, deformation=DeformationRange(family="velocity")),
    "appearance": lambda: RandAppearanced(["fixed", "moving"]),
    "percentiles": lambda: NormalizePercentilesd(["fixed", "moving"]),
    "stains": lambda: SeparateStainsd(["fixed", "moving"]),
    "stain_variation": lambda: RandStaind(["fixed", "moving"]),
    "resize": lambda: ResizeWithLandmarksd(["fixed", "moving"], (20, 20), landmark_keys="index"),
    "pad": lambda: PadToMultipled(["fixed", "moving"], 8, landmark_keys=["index"]),
}
EVERY = pytest.mark.parametrize("name", TRANSFORMS)
RANDOM = [name for name, make in TRANSFORMS.items() if isinstance(make(), Randomizable)]
FLAT = ["resize"]  # given in two dimensions above

Data = dict[str, Any]


def data(dims: int = 2, seed: int = 0) -> Data:
    """An RGB pair with labels, landmarks and a truth, on turned grids of uneven spacing."""
    random = np.random.default_rng(seed)
    shape = (18, 22, 14)[:dims]
    affine = np.diag([0.5, 2.0, 1.5][:dims] + [1.0])
    affine[:-1, :-1] = np.roll(affine[:-1, :-1], 1, axis=0)
    affine[:-1, -1] = [5.0, -7.0, 9.0][:dims]
    grid = SamplingGrid(shape, affine, unit="µm")
    draw = lambda channels: torch.from_numpy(random.uniform(0.05, 1, (channels, *shape))).float()  # noqa: E731
    images = {"fixed": draw(3), "moving": draw(3), "fixed_label": (draw(1) > 0.5).to(torch.uint8)}
    made: Data = {key: grid.to_image(MetaTensor(image, meta={"name": key})) for key, image in images.items()}
    index = torch.from_numpy(random.uniform(6, 9, (4, dims)))
    truth = torch.from_numpy(random.normal(size=(dims, *shape))).float()
    return made | {"index": index, "world": grid.index_to_world(index), "fixed_to_moving": truth}


def same(one: Data, other: Data) -> bool:
    assert set(one) == set(other)
    return all(np.array_equal(one[key], other[key]) for key in one)


@EVERY
def test_inputs_are_kept_and_something_changes(name: str, spatial_dims: int) -> None:
    if name in FLAT and spatial_dims == 3:
        pytest.skip("its size is given in two dimensions")
    given = data(spatial_dims)
    before = copy.deepcopy(given)
    make = TRANSFORMS[name]()
    if isinstance(make, Randomizable):
        make.set_random_state(0)
    out = make(given)
    assert same(given, before)
    assert all(given[key].applied_operations == [] for key in ("fixed", "moving", "fixed_label"))
    assert not (set(out) == set(before) and same(out, before))
    for value in out.values():
        assert torch.as_tensor(value).isfinite().all()


@EVERY
def test_metadata_are_kept_and_affines_tell_the_truth(name: str) -> None:
    given = data()
    out = TRANSFORMS[name]()(given)
    for key in ("fixed", "moving"):
        assert isinstance(out[key], MetaTensor)
        assert out[key].meta["unit"] == "µm" and out[key].meta["space"] == "index"
        old, new = SamplingGrid.from_image(given[key]), SamplingGrid.from_image(out[key])
        if new.shape == old.shape:
            assert new.matches(old)
        else:
            assert np.abs(new.index_to_world(out["index"]) - given["world"]).max() < 1e-9
    kept = "moving" if name.startswith("known") else "fixed"
    assert out[kept].meta["name"] == "fixed"


@pytest.mark.parametrize("name", RANDOM)
def test_seed_alone_decides(name: str) -> None:
    def made(seed: int) -> list[Data]:
        chain = Compose([TRANSFORMS[name]()]).set_random_state(seed)
        return [chain(data()), chain(data())]

    first, again, other = made(1), made(1), made(2)
    assert all(same(a, b) for a, b in zip(first, again, strict=True))
    assert not same(first[0], first[1]) and not same(first[0], other[0])


@pytest.mark.parametrize("name", RANDOM)
def test_global_state_is_left_alone(name: str) -> None:
    torch.manual_seed(1)
    np.random.seed(1)
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # type: ignore[index]
    TRANSFORMS[name]().set_random_state(0)(data())  # type: ignore[attr-defined]
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert np.array_equal(np.random.get_state()[1], numpy_state)  # type: ignore[index]


def test_set_determinism_reaches_every_transform() -> None:
    def made() -> list[Data]:
        set_determinism(7)
        return [Compose([TRANSFORMS[name]()])(data()) for name in RANDOM]

    try:
        first, again = made(), made()
    finally:
        set_determinism(None)
    assert all(same(a, b) for a, b in zip(first, again, strict=True))


@EVERY
def test_copies_work_alike(name: str) -> None:
    make = TRANSFORMS[name]()
    make(data())  # what it keeps from a first call is copied as well
    outs = []
    for copied in (copy.deepcopy(make), pickle.loads(pickle.dumps(make))):
        if isinstance(copied, Randomizable):
            copied.set_random_state(3)
        outs.append(copied(data()))
    assert same(*outs)


@pytest.mark.parametrize("workers", [0, 2])
def test_data_loader_collates_and_each_item_has_its_own_draw(workers: int) -> None:
    chain = Compose([TRANSFORMS["known_spline"](), TRANSFORMS["appearance"](), TRANSFORMS["pose"]()])
    items = [data() for _ in range(4)]
    batches = []
    for _ in range(2):
        chain.set_random_state(5)
        loader = DataLoader(Dataset(items, chain), batch_size=2, num_workers=workers)
        set_determinism(5)
        try:
            batches.append(list(loader))
        finally:
            set_determinism(None)
    fixed = torch.cat([batch["fixed"] for batch in batches[0]]).as_tensor()
    assert fixed.shape == (4, 3, 18, 22)
    assert batches[0][0]["fixed_to_moving"].shape == (2, 2, 18, 22)
    assert len({float(image.double().sum()) for image in fixed}) == 4
    if workers:  # MONAI seeds the workers by the loader's generator: the same for the same seed
        again = torch.cat([batch["fixed"] for batch in batches[1]]).as_tensor()
        assert torch.equal(fixed, again)


@EVERY
def test_missing_keys_are_named(name: str) -> None:
    given = data()
    del given["fixed"]
    with pytest.raises(KeyError, match="fixed"):
        TRANSFORMS[name]()(given)
