"""Maps exchanged with ITK in memory move points as ITK moves them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from monai_cellreg.geometry import (
    AffineTransform,
    BSplineTransform,
    CompositeTransform,
    DenseTransform,
    InverseTransform,
    SamplingGrid,
    SpatialTransform,
    ThinPlateSplineTransform,
    VelocityTransform,
    control_lattice,
    from_itk,
    to_itk,
)
from monai_cellreg.geometry.itk import field_from_itk, field_to_itk, image_to_itk

Physical = Any
Images = tuple[sitk.Image, sitk.Image]


@pytest.fixture
def grid(physical: Physical, itk_images: Images) -> SamplingGrid:
    """Turned, anisotropic, away from the origin, in either frame."""
    return physical.grid(itk_images[0])


def rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def drawn(grid: SamplingGrid, *, low: float = 0.0, count: int = 1000) -> np.ndarray:
    """World points of a grid, at least ``low`` voxels inside it."""
    index = rng(5).uniform(low, np.array(grid.shape) - 1 - low, (count, grid.spatial_dims))
    return grid.index_to_world(torch.tensor(index)).numpy()


def bound(grid: SamplingGrid, turn: float = 0.0) -> SamplingGrid:
    """A grid of its own voxels, parallel to ``grid`` or not, that covers it with a margin."""
    shape = tuple(n + 11 for n in reversed(grid.shape))
    affine = grid.affine.copy()
    mix = np.eye(grid.spatial_dims)
    mix[:2, :2] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    affine[:-1, :-1] = mix @ affine[:-1, :-1] @ np.diag([1.4, 1.7, 1.3][: grid.spatial_dims])
    centre = grid.affine[:-1, :-1] @ ((np.array(grid.shape) - 1) / 2) + grid.affine[:-1, -1]
    affine[:-1, -1] = centre - affine[:-1, :-1] @ ((np.array(shape) - 1) / 2)
    return SamplingGrid(shape, affine, grid.frame)


def affine(grid: SamplingGrid, *, batch: int = 1) -> AffineTransform:
    """Not symmetric, so that a transposed matrix shows."""
    dims = grid.spatial_dims
    linear = np.eye(dims) + 0.1 * rng(3).normal(size=(batch, dims, dims))
    centre = grid.world().flatten(0, -2).mean(0).numpy()
    shift = centre - linear @ centre + [1.5, -0.7, 0.4][:dims]
    return AffineTransform(np.concatenate([linear, shift[..., None]], axis=-1))


def noise(grid: SamplingGrid, *, batch: int = 1, seed: int = 4) -> torch.Tensor:
    return torch.tensor(rng(seed).uniform(-1.2, 1.2, (batch, grid.spatial_dims, *grid.shape)))


def dense(grid: SamplingGrid) -> DenseTransform:
    own = bound(grid, turn=0.5)
    return DenseTransform(noise(own).float(), own)


def velocity(grid: SamplingGrid) -> VelocityTransform:
    own = bound(grid, turn=-0.4)
    return VelocityTransform(0.5 * noise(own), own)


def bspline(order: int) -> Callable[[SamplingGrid], BSplineTransform]:
    def made(grid: SamplingGrid) -> BSplineTransform:
        lattice = control_lattice(bound(grid, turn=0.5), control_spacing=(6, 7, 5)[: grid.spatial_dims], order=order)
        return BSplineTransform(noise(lattice), lattice, order=order)

    return made


def thin_plate(grid: SamplingGrid, *, batch: int = 1) -> ThinPlateSplineTransform:
    control = grid.resized((3,) * grid.spatial_dims).world().flatten(0, -2)
    shifts = rng(4).uniform(-1.5, 1.5, (batch, *control.shape))
    return ThinPlateSplineTransform(control, control + torch.tensor(shifts))


EXACT: dict[str, tuple[type[sitk.Transform], Callable[[SamplingGrid], SpatialTransform]]] = {
    "affine": (sitk.AffineTransform, affine),
    "dense": (sitk.DisplacementFieldTransform, dense),
    "velocity": (sitk.DisplacementFieldTransform, velocity),
    **{f"spline of order {order}": (sitk.BSplineTransform, bspline(order)) for order in (1, 2, 3)},
    "chain": (
        sitk.CompositeTransform,
        lambda grid: bspline(3)(grid).then(affine(grid)).then(dense(grid)).then(bspline(2)(grid)),
    ),
}


@pytest.mark.parametrize("kind", EXACT)
def test_itk_moves_points_exactly_as_our_map(grid: SamplingGrid, physical: Physical, kind: str) -> None:
    theirs, make = EXACT[kind]
    ours, x = make(grid), drawn(grid)
    exported = to_itk(ours, grid)
    assert isinstance(exported, theirs)
    assert np.abs(ours.points(x) - x).max() > 0.2
    np.testing.assert_allclose(physical.moved(exported, x), ours.points(x), rtol=0, atol=1e-9)
    again = from_itk(exported, grid.frame)
    np.testing.assert_allclose(again.points(x), ours.points(x), rtol=0, atol=1e-9)
    if isinstance(ours, CompositeTransform):
        assert [type(t) for t in again.transforms] == [type(t) for t in ours.transforms]


def test_spline_is_whole_on_the_border_of_its_region(physical: Physical, spatial_dims: int, turned: Callable) -> None:
    shape = (9, 7, 5)[:spatial_dims]
    for seed in range(20):  # at some angles, rounding takes voxels of the border out of ITK's valid region
        world = np.eye(spatial_dims + 1)
        world[:-1, :-1] = turned(spatial_dims, rng(seed).uniform(-1, 1)) * rng(seed).uniform(0.3, 2, spatial_dims)
        world[:-1, -1] = rng(seed).uniform(-90, 90, spatial_dims)
        grid = SamplingGrid(shape, world, physical.frame)
        lattice = control_lattice(grid, control_spacing=3)
        spline, x = BSplineTransform(noise(lattice), lattice), grid.world().flatten(0, -2).numpy()
        np.testing.assert_allclose(physical.moved(to_itk(spline, grid), x), spline.points(x), rtol=0, atol=1e-9)
    linear = BSplineTransform(noise(grid), grid, order=1)  # goes on for a cell as ours does
    outside = grid.index_to_world(torch.tensor([[-0.9] * spatial_dims, [4.3] + [-0.5] * (spatial_dims - 1)])).numpy()
    np.testing.assert_allclose(physical.moved(to_itk(linear, grid), outside), linear.points(outside), atol=1e-5)


def test_other_families_are_sampled_at_the_voxels_of_the_grid(grid: SamplingGrid, physical: Physical) -> None:
    for ours in (thin_plate(grid), InverseTransform(affine(grid)), affine(grid).then(thin_plate(grid))):
        exported = to_itk(ours, grid)
        assert isinstance(exported, sitk.DisplacementFieldTransform)
        x = grid.world().flatten(0, -2).numpy()
        np.testing.assert_allclose(physical.moved(exported, x), ours.points(x), rtol=0, atol=1e-6)
        again = from_itk(exported, grid.frame)
        assert isinstance(again, DenseTransform)
        assert again.grid.matches(grid)


def test_maps_after_the_last_sampled_one_stay_exact(grid: SamplingGrid, physical: Physical) -> None:
    warp, last = thin_plate(grid), dense(grid)
    ours = affine(grid).then(warp).then(last).then(affine(grid))
    exported = to_itk(ours, grid)
    assert [part.GetName() for part in (exported.GetNthTransform(n) for n in range(3))] == [
        "AffineTransform",
        "DisplacementFieldTransform",
        "DisplacementFieldTransform",
    ]
    x = grid.world().flatten(0, -2).numpy()
    np.testing.assert_allclose(physical.moved(exported, x), ours.points(x), rtol=0, atol=1e-9)
    far = grid.index_to_world(torch.full((1, grid.spatial_dims), -5.0)).double().numpy()  # ITK's field ends there
    expected = affine(grid).points(last.points(far))
    np.testing.assert_allclose(physical.moved(exported, far), expected, rtol=0, atol=1e-5)


def test_maps_on_a_sheared_grid_are_sampled(grid: SamplingGrid, physical: Physical) -> None:
    skew = np.eye(grid.spatial_dims + 1)
    skew[0, 1] = 0.3
    own = bound(grid)
    sheared = SamplingGrid(own.shape, own.affine @ skew, grid.frame)
    lattice = SamplingGrid((8,) * grid.spatial_dims, sheared.affine, grid.frame)
    x = grid.world().flatten(0, -2).numpy()
    for ours in (DenseTransform(noise(sheared), sheared), BSplineTransform(noise(lattice), lattice)):
        exported = to_itk(ours, grid)
        assert isinstance(exported, sitk.DisplacementFieldTransform)
        np.testing.assert_allclose(physical.moved(exported, x), ours.points(x), rtol=0, atol=1e-9)
        for ask in (to_itk, field_to_itk):
            with pytest.raises(
                ValueError, match=r"^grid is sheared .* expected axes at right angles, .* without shear"
            ):
                ask(ours, sheared)
    assert isinstance(to_itk(affine(grid), sheared), sitk.AffineTransform)
    assert isinstance(to_itk(dense(grid), sheared), sitk.DisplacementFieldTransform)


def test_frame_of_the_grid_rules_over_that_of_a_part(grid: SamplingGrid, physical: Physical) -> None:
    own = bound(grid)
    careless = SamplingGrid(own.shape, own.affine, "RAS" if grid.frame == "index" else "index")
    ours, x = DenseTransform(noise(careless), careless), drawn(grid, count=20)
    np.testing.assert_allclose(physical.moved(to_itk(ours, grid), x), ours.points(x), rtol=0, atol=1e-9)


def test_field_image_lies_on_the_grid(grid: SamplingGrid, physical: Physical) -> None:
    ours = dense(grid).then(affine(grid))
    image = field_to_itk(ours, grid)
    assert physical.grid(image).matches(grid)
    np.testing.assert_allclose(sorted(image.GetSpacing()), sorted(grid.spacing), rtol=1e-12)
    x = drawn(grid, count=20)
    moved = physical.moved(sitk.DisplacementFieldTransform(sitk.Image(image)), x)
    np.testing.assert_allclose(field_from_itk(image, grid.frame).points(x), moved, rtol=0, atol=1e-9)
    corner = grid.index_to_world(torch.zeros(1, grid.spatial_dims).double()).numpy()
    np.testing.assert_allclose(
        physical.points(np.array(image[(0,) * grid.spatial_dims])),
        (ours.points(corner) - corner)[0],
        rtol=0,
        atol=1e-12,
    )


def test_pixels_of_a_plain_picture_are_x_right_y_down() -> None:
    shift = AffineTransform(np.array([[1, 0, 5], [0, 1, -2]]))  # five rows, minus two columns
    assert to_itk(shift, SamplingGrid((20, 30))).TransformPoint((10, 0)) == (8, 5)


def test_anatomical_points_are_negated_along_the_first_two_axes() -> None:
    shift = AffineTransform(np.hstack([np.eye(3), [[1], [2], [3]]]))
    assert to_itk(shift, SamplingGrid((4, 5, 6), frame="RAS")).TransformPoint((0, 0, 0)) == (-1, -2, 3)


def test_one_map_of_a_batch_is_chosen(grid: SamplingGrid, physical: Physical) -> None:
    single, lattice = affine(grid), control_lattice(bound(grid), control_shape=(6,) * grid.spatial_dims)
    batches = [
        affine(grid, batch=2),
        thin_plate(grid, batch=2),
        BSplineTransform(noise(lattice, batch=2), lattice),
        dense(grid).then(affine(grid, batch=2)),
        single.then(thin_plate(grid, batch=2)).then(dense(grid)),
    ]
    x = grid.world().flatten(0, -2).numpy()
    for ours in batches:
        moved = [physical.moved(to_itk(ours, grid, index=row), x) for row in (0, 1)]
        np.testing.assert_allclose(moved, ours.points(x), rtol=0, atol=1e-9)
        fields = [
            from_itk(sitk.DisplacementFieldTransform(field_to_itk(ours, grid, index=row)), grid.frame) for row in (0, 1)
        ]
        np.testing.assert_allclose([f.points(x) for f in fields], moved, rtol=0, atol=1e-9)
        for ask in (to_itk, field_to_itk):
            for wrong in (2, -1):
                with pytest.raises(
                    ValueError, match=rf"^index is {wrong} but the transform holds 2 maps, counted from 0"
                ):
                    ask(ours, grid, index=wrong)
    with pytest.raises(ValueError, match="^index is 1 but the transform holds 1 maps"):
        to_itk(dense(grid).then(single), grid, index=1)


def test_gradients_and_inputs_are_left_alone(grid: SamplingGrid) -> None:
    lattice = control_lattice(grid, control_spacing=5)
    coefficients = noise(lattice).requires_grad_()
    before = coefficients.detach().clone()
    spline = BSplineTransform(coefficients, lattice)
    for ours in (spline, spline.inverse(), VelocityTransform(noise(grid).requires_grad_(), grid)):
        to_itk(ours, grid)
    torch.testing.assert_close(coefficients.detach(), before, rtol=0, atol=0)
    assert spline.points(torch.zeros(1, grid.spatial_dims)).requires_grad


# --- transforms of ITK ----------------------------------------------------------------------------------------------

CENTRE = [10.0, -4, 6]


def set_up(transform: sitk.Transform, parameters: list[float]) -> sitk.Transform:
    transform.SetParameters(parameters)
    return transform


def centred(kind: int, flat: list[float], deep: list[float]) -> Callable[[int], sitk.Transform]:
    """Makes a transform of an ITK kind from parameters in 2D and in 3D."""

    def made(dims: int) -> sitk.Transform:
        transform = sitk.Transform(dims, kind)
        transform.SetFixedParameters([*CENTRE[:dims], *[0.0] * (len(transform.GetFixedParameters()) - dims)])
        return set_up(transform, flat if dims == 2 else deep)

    return made


def solid(name: str, parameters: list[float]) -> Callable[[int], sitk.Transform]:
    """Makes a transform that ITK has in 3D only; in 2D, its identity."""
    return lambda dims: sitk.Transform(2, sitk.sitkIdentity) if dims == 2 else set_up(getattr(sitk, name)(), parameters)


def shear(dims: int) -> sitk.Transform:
    transform = sitk.AffineTransform(dims)
    transform.Shear(0, 1, 0.3)
    transform.SetCenter([5.0, 6, 7][:dims])
    return transform


def field_image(dims: int) -> sitk.Image:
    """Smooth vectors, on a grid of its own over all points that are asked for."""
    size = (25, 27, 28)[:dims]
    image = sitk.GetImageFromArray(rng(0).uniform(-4, 4, (*size[::-1], dims)), isVector=True)
    image.SetSpacing((2.2, 2.1, 2.3)[:dims])
    turn = np.eye(dims)
    turn[:2, :2] = [[np.cos(0.7), -np.sin(0.7)], [np.sin(0.7), np.cos(0.7)]]
    image.SetDirection(turn.ravel().tolist())
    centre = image.TransformContinuousIndexToPhysicalPoint([(s - 1) / 2 for s in size])
    image.SetOrigin((np.array([40.0, -15.0, 8.0][:dims]) - centre).tolist())
    return image


def field(dims: int) -> sitk.Transform:
    return sitk.DisplacementFieldTransform(field_image(dims))


def itk_spline(dims: int, order: int = 3) -> sitk.Transform:
    """Its mesh laid out by ITK, over all points that are asked for."""
    domain = field_image(dims)
    spline = sitk.BSplineTransform(dims, order)
    spline.SetTransformDomainOrigin(domain.GetOrigin())
    spline.SetTransformDomainDirection(domain.GetDirection())
    spline.SetTransformDomainPhysicalDimensions(
        [(n - 1) * s for n, s in zip(domain.GetSize(), domain.GetSpacing(), strict=True)]
    )
    spline.SetTransformDomainMeshSize((5, 4, 6)[:dims])
    return set_up(spline, rng(8).uniform(-4, 4, spline.GetNumberOfParameters()).tolist())


LINEAR: dict[str, Callable[[int], sitk.Transform]] = {
    "identity": lambda dims: sitk.Transform(dims, sitk.sitkIdentity),
    "translation": lambda dims: sitk.TranslationTransform(dims, [1.5, -2, 3][:dims]),
    "scale": centred(sitk.sitkScale, [1.5, 0.8], [1.5, 0.8, 0.6]),
    "scale logarithmic": centred(sitk.sitkScaleLogarithmic, [0.2, -0.1], [0.2, -0.1, 0.3]),
    "euler": centred(sitk.sitkEuler, [0.4, 1, 2], [0.4, 0.1, -0.2, 1, 2, 3]),
    "similarity": centred(sitk.sitkSimilarity, [1.2, 0.3, 2, -1], [0.1, -0.2, 0.15, 2, -1, 3, 1.2]),
    "versor": solid("VersorTransform", [0.1, -0.2, 0.15]),
    "versor rigid": solid("VersorRigid3DTransform", [0.1, -0.2, 0.15, 1, 2, 3]),
    "scale versor": solid("ScaleVersor3DTransform", [0.1, -0.2, 0.15, 1, 2, 3, 1.2, 0.9, 0.8]),
    "scale skew versor": solid(
        "ScaleSkewVersor3DTransform", [0.1, -0.2, 0.15, 1, 2, 3, 1.2, 0.9, 0.8, 0.1, 0, 0.2, 0, 0.1, 0]
    ),
    "affine": shear,
    "composite of affine": lambda dims: sitk.CompositeTransform([LINEAR["euler"](dims), shear(dims)]),
    "empty composite": sitk.CompositeTransform,
}
BENT: dict[str, Callable[[int], sitk.Transform]] = {
    "field": field,
    **{f"spline of order {order}": lambda dims, order=order: itk_spline(dims, order) for order in (1, 2, 3)},
    "composite": lambda dims: sitk.CompositeTransform([shear(dims), field(dims), LINEAR["euler"](dims)]),
    "nested": lambda dims: sitk.CompositeTransform(
        [LINEAR["euler"](dims), sitk.CompositeTransform([itk_spline(dims), shear(dims)]), field(dims)]
    ),
}


@pytest.mark.parametrize("kind", [*LINEAR, *BENT])
def test_transforms_of_itk_move_points_alike(grid: SamplingGrid, physical: Physical, kind: str) -> None:
    transform = {**LINEAR, **BENT}[kind](grid.spatial_dims)
    before, x = transform.GetParameters(), drawn(grid, low=1)
    ours = from_itk(transform, physical.frame)
    assert isinstance(ours, AffineTransform) == (kind in LINEAR)
    np.testing.assert_allclose(ours.points(x), physical.moved(transform, x), rtol=0, atol=1e-9)
    assert transform.GetParameters() == before


def test_composite_of_2d_and_3d_transforms_is_refused(tmp_path: Any) -> None:
    text = "#Insight Transform File V1.0\n#Transform 0\nTransform: CompositeTransform_double_2_2\n"
    for dims, zeros in ((2, "0 0"), (3, "0 0 0")):
        text += f"#Transform {dims - 1}\nTransform: TranslationTransform_double_{dims}_{dims}\nParameters: {zeros}\n"
        text += "FixedParameters: \n"
    (tmp_path / "mixed.tfm").write_text(text)
    with pytest.raises(ValueError, match=r"^transforms have \[2, 3\] spatial dimensions; expected"):
        from_itk(sitk.ReadTransform(str(tmp_path / "mixed.tfm")), "index")


def test_what_is_no_map_of_ours_is_refused(grid: SamplingGrid) -> None:
    dims = grid.spatial_dims
    nowhere = DenseTransform(torch.full((1, dims, *grid.shape), torch.nan), grid)
    flattened = InverseTransform(AffineTransform(np.zeros((dims, dims + 1))))
    sheared = SamplingGrid(grid.shape, grid.affine + 0.1 * np.eye(dims + 1, k=1))
    cases: list[tuple[Callable[[], Any], str]] = [
        (lambda: to_itk(nowhere, grid), "^transform holds .* values that are NaN or infinite"),
        (lambda: field_to_itk(affine(grid).then(nowhere), grid), "^transform holds .* values that are NaN"),
        (lambda: to_itk(AffineTransform(np.full((dims, dims + 1), np.inf)), grid), "^transform holds .* NaN"),
        (lambda: to_itk(flattened, grid), "^transform has no inverse at"),
        (lambda: to_itk(affine(grid), SamplingGrid((4,) * (5 - dims))), rf"^grid has {5 - dims} spatial axes"),
        (lambda: field_to_itk(affine(grid), SamplingGrid((4,) * (5 - dims))), rf"^grid has {5 - dims} spatial axes"),
        (lambda: from_itk(sitk.BSplineTransform(dims, 0), "index"), "^order is 0, expected one of 1, 2, 3"),
        (lambda: from_itk(sitk.DisplacementFieldTransform(dims), "index"), "^image has size 0x0.* expected displ"),
        (lambda: field_from_itk(sitk.Image([4] * dims, sitk.sitkFloat32), "index"), "with 1 values a voxel; expec"),
        (lambda: image_to_itk(torch.zeros(2, *grid.shape), grid), "^image has shape 2x.* but its grid is"),
        (lambda: image_to_itk(torch.zeros(1, *grid.shape), sheared), "^grid is sheared .* right angles, as ITK's im"),
        (lambda: from_itk(sitk.TranslationTransform(dims), "LPS"), "^frame is 'LPS', expected one of 'index', 'RAS'"),
    ]
    for ask, message in cases:
        with pytest.raises(ValueError, match=message):
            ask()


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_image_lies_for_itk_where_its_grid_says(grid: SamplingGrid, physical: Physical, dtype: torch.dtype) -> None:
    image = torch.tensor(rng(9).integers(0, 200, (1, *grid.shape))).to(dtype)
    exported = image_to_itk(image, grid)
    assert exported.GetPixelID() == (sitk.sitkUInt8 if dtype == torch.uint8 else sitk.sitkFloat32)
    for index in rng(1).integers(0, grid.shape, (20, grid.spatial_dims)):
        world = grid.affine[:-1, :-1] @ index + grid.affine[:-1, -1]
        assert exported[exported.TransformPhysicalPointToIndex(physical.points(world).tolist())] == image[(0, *index)]
