"""Both images of a pair and their labels get one geometry, exactly where axes are mirrored or exchanged."""

from __future__ import annotations

from itertools import permutations, product

import pytest
import torch
from scipy.ndimage import affine_transform
from torch import Tensor

from monai_cellreg.transforms import AugmentationRange, PairAugmentation

STILL = {"flips": False, "turns": False, "rotation_deg": 0, "zoom": 0, "shift": 0, "gamma": 0, "contrast": 0}


def augmentation(seed: int = 0, **changes: float) -> PairAugmentation:
    return PairAugmentation(torch.Generator().manual_seed(seed), settings=AugmentationRange(**{**STILL, **changes}))


def pair(*shape: int, batch: int = 3) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(7)
    fixed, moving = (torch.rand(batch, 1, *shape, generator=generator) for _ in range(2))
    return {
        "fixed": fixed,
        "moving": moving,
        "fixed_label": (fixed > 0.5).to(torch.uint8),
        "moving_label": (moving > 0.5).float(),
    }


def symmetries(image: Tensor, shape: tuple[int, ...], *, turns: bool) -> list[Tensor]:
    """All mirror images (C, *shape) of an image that has this shape again, and all exchanges of axes of equal size."""
    dims, found = len(shape), []
    for order in permutations(range(dims)) if turns else [tuple(range(dims))]:
        if tuple(shape[k] for k in order) == shape:
            turned = image.permute(0, *(1 + k for k in order))
            found += [
                turned.flip([1 + k for k in range(dims) if flips[k]]) for flips in product((False, True), repeat=dims)
            ]
    return found


@pytest.mark.parametrize("shape", [(6, 6), (4, 7), (5, 5, 5), (5, 3, 5)])
@pytest.mark.parametrize("turns", [False, True])
def test_mirrors_and_turns_are_exact_all_occur_and_are_those_of_both_images(
    shape: tuple[int, ...], turns: bool
) -> None:
    given = pair(*shape, batch=400)
    given = {name: image[:1].expand_as(image) for name, image in given.items()}
    new = augmentation(flips=True, turns=turns)(given)
    expected = {name: symmetries(image[0], shape, turns=turns) for name, image in given.items()}
    seen = set()
    for one in range(400):
        which = {k for k, image in enumerate(expected["fixed"]) if torch.equal(image, new["fixed"][one])}
        assert len(which) == 1
        seen |= which
        for name in given:
            assert torch.equal(new[name][one], expected[name][next(iter(which))])
    assert len(seen) == len(expected["fixed"])


@pytest.mark.parametrize("turns", [False, True])
def test_mirrors_come_half_of_the_time(turns: bool) -> None:
    ramp = torch.arange(4.0).expand(2000, 1, 3, 4) / 4
    new = augmentation(flips=True, turns=turns)({"fixed": ramp, "moving": ramp})["fixed"]
    assert abs(float((new[:, 0, 0, 0] > 0.5).float().mean()) - 0.5) < 0.05


def test_pose_is_scipy_s_about_the_middle() -> None:
    """Each voxel is read where the matrix, found by least squares from images of coordinates, says."""
    shape = (24, 30)
    row, column = (grid.float() / 30 for grid in torch.meshgrid(*map(torch.arange, shape), indexing="ij"))
    image = torch.rand(shape, generator=torch.Generator().manual_seed(1))
    smooth = torch.nn.functional.avg_pool2d(image[None, None], 5, 1, 2)[0, 0]
    stack = [x.expand(4, 1, *shape) for x in (row, column, smooth)]
    settings = {"rotation_deg": 12, "zoom": 0.1, "shift": 0.05}
    posed = [augmentation(5, **settings)({"fixed": x, "moving": row.expand(4, 1, *shape)}) for x in stack]
    assert torch.equal(posed[0]["fixed"], posed[0]["moving"])
    for one in range(4):
        rows, columns, values = (p["fixed"][one, 0].double() for p in posed)
        inside = (slice(9, 15), slice(11, 19))
        points = torch.stack([30 * row[inside].flatten(), 30 * column[inside].flatten(), torch.ones(48)], 1).double()
        where = torch.stack([30 * rows[inside].flatten(), 30 * columns[inside].flatten()], 1)
        solved = torch.linalg.lstsq(points, where).solution.T  # (2, 3)
        matrix = solved[:, :2]
        zoom = matrix.det().sqrt()
        assert torch.allclose(matrix @ matrix.T, zoom**2 * torch.eye(2).double(), atol=1e-4)
        assert abs(float(zoom.log())) <= 0.1 and abs(float(torch.atan2(matrix[1, 0], matrix[0, 0]))) <= 0.21
        middle = torch.tensor([11.5, 14.5]).double()
        shift = matrix @ middle + solved[:, 2] - middle
        assert (shift.abs() <= torch.tensor([0.05 * 24, 0.05 * 30]) + 1e-3).all() and float(shift.abs().max()) > 0.01
        expected = affine_transform(smooth.double(), matrix.numpy(), solved[:, 2].numpy(), order=1, mode="nearest")
        assert float((torch.as_tensor(expected) - values).abs().max()) < 1e-3


@pytest.mark.parametrize("shape", [(20, 26), (14, 16, 12)])
def test_labels_stay_whole_and_with_their_image(shape: tuple[int, ...]) -> None:
    given = pair(*shape)
    box = (slice(None), slice(None), *(slice(s // 4, s // 2) for s in shape))
    for side in ("fixed", "moving"):
        given[side] = torch.zeros(3, 1, *shape)
        given[side][box] = 1.0
        given[f"{side}_label"] = given[side].to(torch.uint8) * 3
    new = PairAugmentation(torch.Generator().manual_seed(2), settings=AugmentationRange(gamma=0, contrast=0))(given)
    for name, image in new.items():
        assert image.shape == given[name].shape and image.dtype == given[name].dtype
    assert set(new["fixed_label"].unique().tolist()) == {0, 3}
    assert torch.equal(new["fixed"], new["moving"]) and torch.equal(new["fixed_label"], new["moving_label"])
    differ = ((new["fixed"] > 0.5) != (new["fixed_label"] > 0)).float().mean()
    assert float(differ) < 0.01
    assert not torch.equal(new["fixed"], given["fixed"])


def test_a_turn_leaves_the_middle_and_keeps_distances_in_three_dimensions() -> None:
    shape = (17, 17, 17)
    axes = torch.meshgrid(*[torch.arange(17.0)] * 3, indexing="ij")
    coordinates = [(axis / 16).expand(2, 1, *shape) for axis in axes]
    read = torch.cat([augmentation(3, rotation_deg=20)({"fixed": x, "moving": x})["fixed"] for x in coordinates], 1)
    read = (read * 16 - 8)[:, :, 5:12, 5:12, 5:12]
    assert read[:, :, 3, 3, 3].abs().max() < 1e-4
    here = torch.stack(axes)[None, :, 5:12, 5:12, 5:12] - 8
    assert torch.allclose(read.norm(dim=1), here.norm(dim=1).expand(2, -1, -1, -1), atol=1e-3)
    assert float((read - here).norm(dim=1).max()) > 0.3


def test_gamma_is_that_of_both_images_and_a_little_of_each() -> None:
    half = torch.full((500, 1, 4, 4), 0.5)
    for independent in (0.0, 0.2):
        new = augmentation(gamma=0.3, independent=independent)({"fixed": half, "moving": half})
        assert torch.equal(new["fixed"], new["moving"]) == (independent == 0)
        logs = torch.stack([(new[side][:, 0, 0, 0].log() / half[:, 0, 0, 0].log()).log() for side in new])
        assert 0.27 < float(logs.abs().max()) < 0.3 * (1 + independent) + 1e-6
        assert float((logs[0] - logs[1]).abs().max()) <= 2 * 0.3 * independent + 1e-6
        assert abs(float(logs.mean())) < 0.03


def test_contrast_is_about_one_half_and_stays_in_range() -> None:
    image = torch.tensor([0.0, 0.25, 0.5, 0.9, 1.0]).expand(200, 1, 2, 5)
    new = augmentation(contrast=0.2, independent=0.0)({"fixed": image, "moving": image})
    factor = (0.5 - new["fixed"][:, 0, 0, 1]) / 0.25
    assert 0.18 < float(factor.log().abs().max()) <= 0.2 + 1e-5
    assert torch.allclose(
        new["fixed"][:, 0, 0], (0.5 + (image[:, 0, 0] - 0.5) * factor[:, None]).clamp(0, 1), atol=1e-6
    )
    assert float(new["fixed"].max()) == 1.0 and float(new["fixed"].min()) == 0.0


def test_generator_alone_decides_and_nothing_given_is_changed() -> None:
    given = pair(12, 12)
    before = {name: image.clone() for name, image in given.items()}
    generator = torch.Generator().manual_seed(4)
    change = PairAugmentation(generator)
    first, second = change(given), change(given)
    generator.manual_seed(4)
    again = change(given)
    assert all(torch.equal(first[name], again[name]) for name in given)
    assert not torch.equal(first["fixed"], second["fixed"]) and not torch.equal(first["fixed"][0], first["fixed"][1])
    assert all(torch.equal(given[name], before[name]) for name in given)
    assert float(first["fixed"].min()) >= 0 and float(first["fixed"].max()) <= 1


def test_every_device_gives_the_same(device: str) -> None:
    given = pair(8, 9, 7)
    expected, new = (
        PairAugmentation(torch.Generator().manual_seed(6))({name: image.to(where) for name, image in given.items()})
        for where in ("cpu", device)
    )
    for name in given:
        assert new[name].device.type == device and new[name].dtype == expected[name].dtype
        assert float((new[name].cpu().float() - expected[name].float()).abs().mean()) < 1e-4


def test_images_without_labels_get_the_same_change() -> None:
    given = pair(10, 14)
    images = {side: given[side] for side in ("fixed", "moving")}
    with_labels, without = (PairAugmentation(torch.Generator().manual_seed(1))(x) for x in (given, images))
    assert set(without) == {"fixed", "moving"}
    assert all(torch.equal(with_labels[side], without[side]) for side in without)


def test_without_changes_all_is_as_it_was() -> None:
    given = pair(8, 9)
    new = augmentation()(given)
    assert all(torch.equal(new[name], given[name]) for name in given)


def test_wrong_shapes_and_ranges_are_refused() -> None:
    given = pair(8, 9)
    with pytest.raises(ValueError, match="moving has shape 3x1x8x8 but fixed has shape 3x1x8x9"):
        augmentation()({**given, "moving": given["moving"][..., :8]})
    for name in ("rotation_deg", "zoom", "shift", "gamma", "contrast", "independent"):
        with pytest.raises(ValueError, match=f"{name} is -0.1"):
            AugmentationRange(**{name: -0.1})
