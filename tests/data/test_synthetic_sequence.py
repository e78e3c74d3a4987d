import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from monai_cellreg.data import NucleusSettings, SequenceSettings, SpotSettings, simulate_sequence

SEEDS = (0, 3, 11)
CALM = NucleusSettings(
    shot_noise=(0, 0), read_noise=(0, 0), gradient=(0, 0), haze=(0, 0), camera_px=(1, 1), psf_px=(0.8, 0.8), debris=0.0
)


@pytest.fixture(scope="module")
def films():
    return {seed: simulate_sequence(6, seed=seed) for seed in SEEDS}


def pulled_back(picture, displacement):
    return map_coordinates(picture, np.indices(picture.shape) + displacement, order=1, mode="nearest")


def iou(first, second):
    return np.sum((first > 0.5) & (second > 0.5)) / np.sum((first > 0.5) | (second > 0.5))


def test_format(films):
    for film in films.values():
        assert film.images.shape == film.labels.shape == (6, 1, 160, 160)
        assert film.displacement_vox.shape == (6, 2, 160, 160)
        assert film.images.dtype == film.labels.dtype == film.displacement_vox.dtype == np.float32
        assert np.isfinite(film.images).all() and film.images.min() == 0 and film.images.max() == 1
        assert set(np.unique(film.labels)) == {0.0, 1.0}


def test_first_frame_has_not_moved(films):
    for film in films.values():
        assert not film.displacement_vox[0].any()
        assert np.abs(film.displacement_vox[1:]).max() > 2


def test_displacement_carries_every_label_onto_the_first(films):
    for film in films.values():
        for label, displacement in zip(film.labels[:, 0], film.displacement_vox, strict=True):
            assert iou(pulled_back(label, displacement), film.labels[0, 0]) > 0.97


def test_displacement_carries_the_matter_and_its_negative_does_not():
    film = simulate_sequence(3, seed=8, settings=SequenceSettings(CALM, bleaching=(0, 0), drift=0, renewal=(0, 0)))
    inside = film.labels[0, 0] > 0.5

    def likeness(picture):
        return np.corrcoef(film.images[0, 0][inside], picture[inside])[0, 1]

    for picture, displacement in zip(film.images[1:, 0], film.displacement_vox[1:], strict=True):
        assert likeness(pulled_back(picture, displacement)) > 0.995
        for wrong in (0 * displacement, -displacement, displacement[::-1]):
            assert likeness(pulled_back(picture, wrong)) < 0.97


@pytest.mark.parametrize("frames", [2, 7])
def test_mean_overlap_of_unregistered_frames(frames):
    for seed in range(4):
        labels = simulate_sequence(frames, seed=seed).labels
        assert 0.86 <= np.mean([iou(labels[0], label) for label in labels[1:]]) <= 0.88


def test_motion_never_folds(films):
    for film in films.values():
        for displacement in film.displacement_vox:
            mapped = np.indices(displacement.shape[1:]) + displacement
            (dr_dr, dr_dc), (dc_dr, dc_dc) = (np.gradient(component) for component in mapped)
            assert (dr_dr * dc_dc - dr_dc * dc_dr).min() > 0.1


def test_same_seed_same_film_other_seed_another():
    first, again, other = (simulate_sequence(3, size=64, seed=seed) for seed in (5, 5, 6))
    assert np.array_equal(first.images, again.images)
    assert np.array_equal(first.displacement_vox, again.displacement_vox)
    assert not np.array_equal(first.images, other.images)
    assert not np.array_equal(first.displacement_vox, other.displacement_vox)


def test_chromatin_changes_slowly_and_noise_is_fresh():
    settings = SequenceSettings(CALM, rotation_deg=1e-6, shift=1e-9, overlap=(0.999, 0.9999), renewal=(0.6, 0.6))
    film = simulate_sequence(4, seed=4, settings=settings)
    inside = film.labels[0, 0] > 0.5
    likeness = [np.corrcoef(film.images[0, 0][inside], picture[inside])[0, 1] for picture in film.images[1:, 0]]
    assert likeness[0] > likeness[1] > likeness[2]
    assert likeness[0] > 0.8
    outside = simulate_sequence(2, seed=4, size=64).images[:, 0, :4, :4]
    assert not np.array_equal(outside[0], outside[1])


def test_spots_are_where_the_motion_takes_them():
    settings = SequenceSettings(spots=SpotSettings(count=4, step_px=2.0))
    film = simulate_sequence(5, size=96, seed=2, settings=settings)
    assert film.spots.shape == film.spots_reference.shape == (5, 4, 2)
    np.testing.assert_array_equal(film.spots[0], film.spots_reference[0])
    for spots, reference, displacement in zip(
        film.spots, film.spots_reference, film.displacement_vox.astype(float), strict=True
    ):
        moved = [map_coordinates(component, reference.T, order=3) for component in displacement]
        np.testing.assert_allclose(spots, reference + np.transpose(moved), rtol=0, atol=2e-3)
    assert np.abs(film.spots - film.spots_reference)[1:].max() > 2
    assert np.abs(np.diff(film.spots_reference, axis=0)).max() > 1


@pytest.mark.parametrize("seed", SEEDS)
def test_spot_is_bright_where_it_is_said_to_be(seed):
    spots = SpotSettings(1, step_px=4.0, width_px=(3, 3), brightness=(60, 60))  # outshines the nucleus
    film = simulate_sequence(4, size=128, seed=seed, settings=SequenceSettings(CALM, spots=spots))
    for image, (spot,) in zip(film.images[:, 0], film.spots, strict=True):
        np.testing.assert_allclose(np.argwhere(image == 1).mean(axis=0), spot, rtol=0, atol=0.5)


def test_spots_stay_inside_of_the_label():
    for seed in range(4):
        film = simulate_sequence(4, size=96, seed=seed, settings=SequenceSettings(spots=SpotSettings(20, step_px=5)))
        for label, spots in zip(film.labels[:, 0], film.spots, strict=True):
            assert map_coordinates(label, spots.T, order=0).all()


def test_spots_leave_all_else_as_it_is():
    plain, spotted = (
        simulate_sequence(3, size=64, seed=7, settings=SequenceSettings(spots=SpotSettings(count))) for count in (0, 6)
    )
    assert plain.spots.shape == plain.spots_reference.shape == (3, 0, 2)
    assert np.array_equal(plain.labels, spotted.labels)
    assert np.array_equal(plain.displacement_vox, spotted.displacement_vox)
    assert np.abs(plain.images - spotted.images).max() > 0.2
    dark = SequenceSettings(spots=SpotSettings(6, brightness=(0, 0)))
    assert np.array_equal(plain.images, simulate_sequence(3, size=64, seed=7, settings=dark).images)
    again = simulate_sequence(3, size=64, seed=7, settings=SequenceSettings(spots=SpotSettings(6)))
    assert np.array_equal(spotted.spots, again.spots) and np.array_equal(spotted.images, again.images)


def test_one_nucleus_is_one_instance(films):
    for film in films.values():
        assert film.instances.dtype == np.int32
        assert np.array_equal(film.instances, film.labels)


def test_bad_numbers_are_refused():
    with pytest.raises(ValueError, match="frames is 1, expected at least 2"):
        simulate_sequence(1)
    with pytest.raises(ValueError, match="size is 20, expected at least 32"):
        simulate_sequence(2, size=20)
    with pytest.raises(ValueError, match=r"do not bring the mean overlap down to 0\.2"):
        simulate_sequence(2, size=40, settings=SequenceSettings(overlap=(0.2, 0.2)))
