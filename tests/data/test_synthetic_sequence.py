import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from monai_cellreg.data.synthetic_sequence import Motion, SequenceSettings, simulate_sequence
from monai_cellreg.data.synthetic_settings import NucleusSettings

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


def test_backward_inverts_forward_and_turns_rows_towards_columns():
    still = np.zeros((2, 1, 2))
    quarter = Motion(
        np.array([10.0, 20.0]), np.array([0, np.pi / 2]), np.zeros((2, 2)), np.ones((1, 2)), np.ones(1), still
    )
    points = np.array([[13.0, 10.0], [20.0, 24.0]])  # (2, N): one point below the centre, one right of it
    np.testing.assert_allclose(quarter.forward(points, 1), [[10, 6], [23, 20]], atol=1e-12)
    waves = np.array([[[0.0, 0.0]], [[2.0, -3.0]]])
    bent = Motion(
        np.array([10.0, 20.0]),
        np.array([0, 0.2]),
        np.array([[0, 0], [3.0, -5.0]]),
        np.array([[0.1, 0.05]]),
        np.ones(1),
        waves,
    )
    np.testing.assert_allclose(bent.backward(bent.forward(points, 1), 1), points, atol=2e-3)
    assert bent.steepness(200) == pytest.approx(np.hypot(2, 3) * np.hypot(0.1, 0.05), rel=0.01)


def test_bad_numbers_are_refused():
    with pytest.raises(ValueError, match="frames is 1, expected at least 2"):
        simulate_sequence(1)
    with pytest.raises(ValueError, match="size is 20, expected at least 32"):
        simulate_sequence(2, size=20)
    with pytest.raises(ValueError, match=r"do not bring the mean overlap down to 0\.2"):
        simulate_sequence(2, size=40, settings=SequenceSettings(overlap=(0.2, 0.2)))
