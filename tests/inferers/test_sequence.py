from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from scipy.ndimage import gaussian_filter
from skimage.registration import phase_cross_correlation
from torch import Tensor

from monai_cellreg.data.synthetic_sequence import simulate_sequence
from monai_cellreg.geometry import (
    AffineTransform,
    DenseTransform,
    Pair,
    SamplingGrid,
    SpatialTransform,
    ThinPlateSplineTransform,
    resample,
)
from monai_cellreg.inferers import FrameMap, SequenceRegistration
from monai_cellreg.inferers.frame import register_frame
from monai_cellreg.inferers.group_mean import centred, mean_map

SHAPE = (40, 56)
AFFINE = np.array([[0.0, 2.0, 30.0], [-0.5, 0.0, -12.0], [0.0, 0.0, 1.0]])  # anisotropic, turned, away from the origin
GRID = SamplingGrid(SHAPE, AFFINE)
MIDDLE = GRID.index_to_world((torch.tensor(SHAPE, dtype=torch.float64) - 1) / 2)


class Movie(list[Tensor]):
    """Frames that count how often they are read."""

    def __init__(self, frames: Sequence[Tensor]) -> None:
        super().__init__(frames)
        self.reads: list[int] = []

    def frame(self, index: int) -> Tensor:
        self.reads.append(index)
        return self[index]


def texture(seed: int = 0, shape: Sequence[int] = SHAPE) -> np.ndarray:
    """Smooth noise that fades to the border, so that little depends on what comes in from outside."""
    window = np.prod(np.meshgrid(*(np.hanning(s) for s in shape), indexing="ij"), axis=0)
    return (gaussian_filter(np.random.default_rng(seed).normal(size=shape), 2.0) * window * 100).astype(np.float32)


def on_grid(values: np.ndarray | Tensor, grid: SamplingGrid = GRID) -> MetaTensor:
    return grid.to_image(torch.as_tensor(values).reshape(1, *grid.shape))


def moved(image: MetaTensor, to_first: SpatialTransform) -> MetaTensor:
    """A frame whose matter lies, at frame point y, where the first frame has ``to_first(y)``."""
    return on_grid(resample(image.as_tensor()[None], to_first, GRID, GRID, mode="cubic")[0])


def by_phase(pair: Pair) -> SpatialTransform:
    """Translation by phase correlation, whole voxels, found in index coordinates."""
    shift = phase_cross_correlation(pair.fixed[0].numpy(), pair.moving[0].numpy())[0]
    linear = pair.fixed_grid.affine[:-1, :-1]
    return AffineTransform.translation(-linear @ shift)


class Told:
    """A method that knows the true map between any two frames, told apart by their mean."""

    def __init__(self, frames: Sequence[Tensor], truth: Sequence[SpatialTransform]) -> None:
        self.frames, self.truth, self.calls = frames, truth, 0

    def number(self, image: Tensor) -> int:
        return next(n for n, frame in enumerate(self.frames) if torch.equal(torch.as_tensor(image), frame.as_tensor()))

    def __call__(self, pair: Pair) -> SpatialTransform:
        self.calls += 1
        fixed, moving = (self.truth[self.number(image)] for image in (pair.fixed, pair.moving))
        return fixed.inverse().then(moving)


def rigid_film(count: int = 5) -> tuple[list[MetaTensor], list[SpatialTransform]]:
    """A texture that turns about its middle and wanders, and the maps from the first frame."""
    first = on_grid(texture())
    maps = [
        AffineTransform.rigid(0.06 * t, shift=[0.7 * t, -0.4 * t], centre=MIDDLE + torch.tensor([3.0, -1.0]))
        for t in range(count)
    ]
    return [moved(first, each.inverse()) if t else first for t, each in enumerate(maps)], maps


def bent_film(count: int = 4) -> tuple[list[MetaTensor], list[SpatialTransform]]:
    first = on_grid(texture())
    knots = SamplingGrid((3, 3), GRID.resized((3, 3)).affine).world().reshape(-1, 2)
    rng = np.random.default_rng(2)
    maps: list[SpatialTransform] = [AffineTransform(np.eye(3))]
    for _ in range(count - 1):
        step = ThinPlateSplineTransform(knots, knots + torch.from_numpy(rng.normal(0, 0.4, (9, 2))))
        maps.append(maps[-1].then(step))
    return [moved(first, each.inverse()) if t else first for t, each in enumerate(maps)], maps


def gap(found: SpatialTransform, truth: SpatialTransform, grid: SamplingGrid = GRID) -> float:
    """Largest distance at the voxels, in world units."""
    return float((found.displacement(grid) - truth.displacement(grid)).norm(dim=1).max())


@pytest.mark.parametrize("reference", ["first", "previous", 2])
def test_maps_of_a_rigid_film_are_exact(reference: str | int) -> None:
    frames, truth = rigid_film()
    found = SequenceRegistration(reference)(Movie(frames), Told(frames, truth))
    start = truth[reference if isinstance(reference, int) else 0]
    for each, true in zip(found.maps, truth, strict=True):
        assert gap(each.transform, start.inverse().then(true)) < 1e-9
    expected = ["registered"] * len(frames)
    expected[found.reference] = "reference"
    assert [each.flag for each in found.maps] == expected
    assert found.grid.matches(GRID)


def test_chained_maps_that_bend_are_exact_at_the_voxels_however_long_the_chain() -> None:
    frames, truth = bent_film()
    found = SequenceRegistration("previous")(Movie(frames), Told(frames, truth))
    assert isinstance(found.maps[3].transform, DenseTransform)
    for each, true in zip(found.maps, truth, strict=True):
        assert gap(each.transform, true) < 1e-4
    assert gap(found.maps[3].transform, truth[2]) > 0.3


def test_volumes() -> None:
    grid = SamplingGrid((9, 14, 11), np.diag([2.0, 0.5, 1.0, 1.0]))
    volume = texture(1, grid.shape)
    frames = [on_grid(np.roll(volume, shift, (0, 1, 2)), grid) for shift in ((0, 0, 0), (1, 0, -2), (1, 2, -2))]
    for reference in ("first", "previous"):
        found = SequenceRegistration(reference)(Movie(frames), by_phase)
        assert gap(found.maps[2].transform, AffineTransform.translation([2.0, 1.0, -2.0]), grid) < 1e-9


def test_first_does_not_drift_where_previous_does() -> None:
    """A film of one position, read by a method that errs by a tenth of a voxel each time, always to the same side."""
    rng = np.random.default_rng(0)
    frames = [on_grid(texture() + rng.normal(0, 0.5, SHAPE).astype(np.float32)) for _ in range(12)]
    error = AffineTransform.translation([0.2, 0.0])

    def erring(pair: Pair) -> SpatialTransform:
        return error

    def last(reference: str, film: Sequence[Tensor]) -> float:
        found = SequenceRegistration(reference)(Movie(film), erring).maps[-1].transform
        return gap(found, AffineTransform(np.eye(3)))

    drifting = [moved(frame, AffineTransform.translation([-0.1 * t, 0.0])) for t, frame in enumerate(frames)]
    assert last("first", frames) < 0.201
    assert last("previous", drifting) > 1.0


def test_frame_that_is_far_away_is_reached_from_its_neighbour() -> None:
    """A method that finds no more than four voxels, and nonsense beyond."""

    def short_sighted(pair: Pair) -> SpatialTransform:
        found = by_phase(pair)
        far = np.abs(np.linalg.inv(AFFINE[:2, :2]) @ found.matrix[0, :, 2].numpy()).max() > 4
        return AffineTransform.translation([9.0, 5.0]) if far else found

    first = on_grid(texture())
    steps = AFFINE[:2, :2] @ np.array([0.0, 3.0])
    truth = [AffineTransform.translation(steps * t) for t in range(5)]
    frames = [moved(first, each.inverse()) for each in truth]
    found = SequenceRegistration()(Movie(frames), short_sighted)
    assert [each.flag for each in found.maps] == ["reference", "registered", "continued", "continued", "continued"]
    assert max(gap(each.transform, true) for each, true in zip(found.maps, truth, strict=True)) < 1e-9
    backward = SequenceRegistration(4)(Movie(frames), short_sighted)
    assert gap(backward.maps[0].transform, truth[4].inverse()) < 1e-9


def test_what_is_left_is_put_before_the_map_of_the_neighbour() -> None:
    """A turn and a shift, which do not commute; the method finds the turn only once the shift is taken out."""
    turn, shift = AffineTransform.rigid(0.3, centre=MIDDLE), AffineTransform.translation([6.0, -3.0])
    truth = turn.then(shift)
    first = on_grid(texture())
    pair = Pair.of(first, moved(first, truth.inverse()))
    answers = iter([AffineTransform.translation([30.0, 30.0]), turn])
    found = register_frame(pair, lambda pair: next(answers), shift)
    assert found.flag == "continued" and gap(found.transform, truth) < 1e-9
    assert gap(found.transform, shift.then(turn)) > 0.5


def test_poor_method_makes_nothing_worse() -> None:
    frames = [on_grid(texture() * (1 - 0.1 * t)) for t in range(3)]
    for reference, flags in (("first", ["identity"] * 2), ("previous", ["neighbour"] * 2)):
        found = SequenceRegistration(reference)(Movie(frames), lambda pair: AffineTransform.rigid(0.3, centre=MIDDLE))
        assert [each.flag for each in found.maps] == ["reference", *flags]
        assert all(gap(each.transform, AffineTransform(np.eye(3))) == 0 for each in found.maps)
        assert [round(each.similarity, 6) for each in found.maps][1:] == [1, 1]


def broken(kind: str) -> MetaTensor:
    image = on_grid(texture().copy())
    if kind == "not finite":
        image[0, 3, 4] = float("nan")
        return image
    return image * 0 if kind == "constant" else on_grid(np.random.default_rng(9).normal(size=SHAPE).astype(np.float32))


@pytest.mark.parametrize("reference", ["first", "previous", "mean"])
@pytest.mark.parametrize("kind", ["constant", "not finite", "unlike"])
def test_frame_that_cannot_be_used_takes_the_map_of_its_neighbour(reference: str, kind: str) -> None:
    frames = [on_grid(np.roll(texture(), shift, (0, 1))) for shift in ((0, 0), (1, 2), (0, 0), (-1, 4))]
    frames[2] = broken(kind)
    found = SequenceRegistration(reference, rounds=2)(Movie(frames), by_phase)
    assert [each.is_trusted for each in found.maps] == [True, True, False, True]
    assert found.maps[2].flag == kind
    near = found.maps[1].transform
    assert min(gap(found.maps[2].transform, near), gap(found.maps[2].transform, found.maps[3].transform)) < 1e-5
    assert bool(torch.isfinite(found.image).all())
    assert gap(found.maps[1].transform, found.maps[3].transform) > 0.3


def test_reference_that_cannot_be_used_is_replaced_by_the_nearest() -> None:
    frames, truth = rigid_film(4)
    frames[0] = frames[1] = broken("constant")
    truth[0] = truth[1] = truth[2]
    for reference in ("first", "previous", 1):
        found = SequenceRegistration(reference)(Movie(frames), Told(frames, truth))
        assert found.reference == 2
        assert [each.flag for each in found.maps] == ["constant", "constant", "reference", "registered"]
        assert gap(found.maps[3].transform, truth[2].inverse().then(truth[3])) < 1e-9


@pytest.mark.parametrize("reference", ["first", "previous", "mean", 1])
def test_movie_without_a_usable_frame_stays_as_it_is(reference: str | int) -> None:
    found = SequenceRegistration(reference)(Movie([broken("constant"), broken("not finite")]), by_phase)
    assert [each.flag for each in found.maps] == ["constant", "not finite"]
    assert all(gap(each.transform, AffineTransform(np.eye(3))) == 0 for each in found.maps)


def test_refused_frame_is_flagged_and_a_method_that_refuses_all_is_an_error() -> None:
    frames, truth = rigid_film(4)
    told = Told(frames, truth)

    def picky(pair: Pair) -> SpatialTransform:
        if torch.equal(torch.as_tensor(pair.moving), frames[2].as_tensor()) or pair.moving.shape != pair.fixed.shape:
            raise ValueError("this one I do not take")
        return told(pair)

    found = SequenceRegistration("previous")(Movie(frames), picky)
    assert [each.flag for each in found.maps] == ["reference", "registered", "failed", "registered"]
    assert found.maps[2].reason == "this one I do not take"
    assert gap(found.maps[3].transform, truth[3]) < 1e-9

    def refusing(pair: Pair) -> SpatialTransform:
        raise RuntimeError("out of luck")

    for reference in ("first", "previous", "mean"):
        with pytest.raises(ValueError, match="no frame could be registered; the method says: out of luck"):
            SequenceRegistration(reference)(Movie(frames), refusing)


def test_map_that_is_not_finite_counts_as_refused() -> None:
    frames, _ = rigid_film(2)
    frames.append(frames[1])
    answers = iter([AffineTransform.translation([float("nan"), 0.0]), *[by_phase(Pair.of(frames[0], frames[1]))] * 2])
    found = SequenceRegistration()(Movie(frames), lambda pair: next(answers))
    assert [each.flag for each in found.maps] == ["reference", "failed", "registered"]
    assert found.maps[1].reason == "the map is not finite"


def mean_displacement(maps: Sequence[FrameMap], grid: SamplingGrid) -> float:
    total = torch.stack([each.transform.displacement(grid) for each in maps]).mean(0)
    return float(total.norm(dim=1).max())


def test_mean_reference_is_the_mean_position_whatever_the_order() -> None:
    shifts = np.array([[0, 0], [4, -2], [-3, 3], [5, 1], [-6, 3]])
    frames = [on_grid(np.roll(texture(), shift, (0, 1))) for shift in shifts]
    expected = (shifts - shifts.mean(0)) @ AFFINE[:2, :2].T
    for order in ([0, 1, 2, 3, 4], [3, 1, 4, 0, 2]):
        found = SequenceRegistration("mean")(Movie([frames[n] for n in order]), by_phase)
        assert found.reference is None and found.convergence == (0.0,)
        for each, n in zip(found.maps, order, strict=True):
            assert gap(each.transform, AffineTransform.translation(expected[n])) < 1e-9
        assert {each.flag for each in found.maps} == {"registered"}
        assert mean_displacement(found.maps, GRID) < 1e-9


def test_mean_image_is_that_of_the_warped_frames() -> None:
    frames, truth = rigid_film(3)
    found = SequenceRegistration("mean", rounds=1)(Movie(frames), Told(frames, truth))
    warped = [
        resample(f.as_tensor()[None], m.transform, GRID, GRID)[0] for f, m in zip(frames, found.maps, strict=True)
    ]
    torch.testing.assert_close(found.image.as_tensor(), torch.stack(warped).mean(0), rtol=0, atol=1e-4)
    assert SamplingGrid.from_image(found.image).matches(GRID)


def test_group_mean_of_bending_maps_becomes_the_identity() -> None:
    _, truth = bent_film(5)
    maps = centred(truth, [True] * 5, GRID)
    total = torch.stack([each.displacement(GRID) for each in maps]).mean(0)
    before = torch.stack([each.displacement(GRID) for each in truth]).mean(0)
    assert float(before.norm(dim=1).max()) > 0.5
    assert float(total.norm(dim=1).max()) < 0.02  # maps are linear between voxels; the spacing is 0.5 and 2
    between = truth[1].inverse().then(truth[3])
    kept = maps[1].inverse().then(maps[3])
    inner = SamplingGrid((20, 28), AFFINE @ np.array([[1.0, 0, 10], [0, 1, 14], [0, 0, 1]]))
    assert gap(kept, between, inner) < 0.02  # only the reference moves, not what lies between the frames


def test_untrusted_maps_do_not_count_for_the_mean() -> None:
    maps = [AffineTransform.translation([float(x), 0.0]) for x in (0, 2, 100)]
    shifts = [float(each.displacement(GRID)[0, 0, 0, 0]) for each in centred(maps, [True, True, False], GRID)]
    assert shifts == [-1.0, 1.0, 99.0]
    with pytest.raises(ValueError, match="maps is empty; expected at least one map"):
        mean_map([], GRID)


def test_later_rounds_register_what_is_left() -> None:
    """A method that finds half of a shift: each round halves what is left."""
    first = on_grid(texture())
    steps = [AffineTransform.translation([x, 0.0]) for x in (-8.0, 0.0, 0.0, 0.0, 8.0)]
    frames = [moved(first, each.inverse()) for each in steps]

    def half(pair: Pair) -> SpatialTransform:
        return AffineTransform.translation(by_phase(pair).matrix[0, :, 2] / 2)

    rounds = [SequenceRegistration("mean", rounds=n)(Movie(frames), half) for n in (1, 2, 3)]
    errors = [max(gap(m.transform, s) for m, s in zip(r.maps, steps, strict=True)) for r in rounds]
    assert errors[0] > 3.9 and errors[0] > errors[1] + 0.9 and errors[1] > errors[2]
    assert len(rounds[2].convergence) == 2 and rounds[2].convergence[0] > rounds[2].convergence[1] > 0


@pytest.mark.parametrize("reference", ["first", "previous", "mean", 2])
def test_interrupted_run_goes_on_where_it_stopped(reference: str | int) -> None:
    frames, truth = rigid_film()
    kept: dict[tuple[int, int], FrameMap] = {}

    class Interrupted(Exception):
        pass

    def stop(done: int, total: int) -> None:
        if done == 3:
            raise Interrupted

    registration = SequenceRegistration(reference, rounds=2)
    with pytest.raises(Interrupted):
        registration(Movie(frames), by_phase, maps=kept, progress=stop)
    assert len(kept) == 3
    seen: list[tuple[int, int]] = []
    calls: list[int] = []

    def counting(pair: Pair) -> SpatialTransform:
        calls.append(1)
        return by_phase(pair)

    resumed = registration(Movie(frames), counting, maps=kept, progress=lambda *state: seen.append(state))
    whole_calls: list[int] = []

    def whole(pair: Pair) -> SpatialTransform:
        whole_calls.append(1)
        return by_phase(pair)

    complete = registration(Movie(frames), whole)
    assert len(calls) < len(whole_calls)
    for a, b in zip(resumed.maps, complete.maps, strict=True):
        assert gap(a.transform, b.transform) == 0 and a.flag == b.flag
    total = 10 if reference == "mean" else 5
    assert seen == [(n + 1, total) for n in range(total)]


def test_each_frame_is_read_once_and_nothing_is_modified() -> None:
    frames, truth = rigid_film()
    copies, film = [frame.clone() for frame in frames], Movie(frames)
    SequenceRegistration()(film, by_phase)
    assert sorted(film.reads) == [0, 0, 1, 2, 3, 4]  # the first one also to see whether it can be the reference
    assert all(torch.equal(a.as_tensor(), b.as_tensor()) for a, b in zip(frames, copies, strict=True))


def test_whole_numbers_and_colour() -> None:
    shifts = (0, 3, -2)
    base = (texture() * 4 + 100).astype(np.uint8)
    frames = [GRID.to_image(torch.from_numpy(np.roll(np.stack([base, base // 2, base]), s, 2))) for s in shifts]
    found = SequenceRegistration()(Movie(frames), by_phase)
    assert [each.flag for each in found.maps] == ["reference", "registered", "registered"]
    assert gap(found.maps[1].transform, AffineTransform.translation(AFFINE[:2, :2] @ [0.0, 3.0])) < 1e-9
    assert found.maps[1].similarity == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("seed", [0, 4])
def test_errors_add_up_over_the_film_of_a_nucleus_only_along_a_chain(seed: int) -> None:
    """Every registration errs by the same third of a pixel; warped labels are compared with the first."""
    film = simulate_sequence(8, size=64, seed=seed)
    grid = SamplingGrid((64, 64))
    truth = [DenseTransform(torch.from_numpy(d)[None].double(), grid) for d in film.displacement_vox]
    frames = [grid.to_image(torch.from_numpy(image)) for image in film.images]
    exact = Told(frames, truth)
    found = {
        name: SequenceRegistration(name)(Movie(frames), lambda pair: exact(pair).then(SHIFT)).maps
        for name in ("first", "previous")
    }
    kept = {name: overlaps(maps, film.labels, grid) for name, maps in found.items()}
    assert min(kept["first"]) > 0.92 and min(kept["first"]) > kept["previous"][-1] + 0.05
    errors = {name: gap(maps[-1].transform, truth[-1], grid) for name, maps in found.items()}
    assert errors["first"] < 0.5 and errors["previous"] > 3 * errors["first"]


SHIFT = AffineTransform.translation([0.3, -0.2])


def overlaps(maps: Sequence[FrameMap], labels: np.ndarray, grid: SamplingGrid) -> list[float]:
    first = labels[0, 0] > 0
    warped = [
        resample(torch.from_numpy(label)[None], each.transform, grid, grid, mode="nearest")[0, 0].numpy() > 0
        for label, each in zip(labels, maps, strict=True)
    ]
    return [float((first & w).sum() / (first | w).sum()) for w in warped]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: SequenceRegistration("last"),
            "reference is 'last'; expected 'first', 'previous', 'mean' or the number",
        ),
        (lambda: SequenceRegistration(-1), "reference is -1; expected"),
        (lambda: SequenceRegistration(True), "reference is True; expected"),
        (lambda: SequenceRegistration("mean", rounds=0), "rounds is 0; expected at least 1"),
        (lambda: SequenceRegistration()(Movie([]), by_phase), "frames is empty; expected a movie"),
        (
            lambda: SequenceRegistration(2)(Movie([on_grid(texture())] * 2), by_phase),
            "reference is 2 but the movie has 2 frames; expected 0 to 1",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
