import numpy as np
import pytest
from scipy.ndimage import label, map_coordinates

from monai_cellreg.data.synthetic_events import HARD_FILMS, HardFilm, divide, fade, leave, vanish
from monai_cellreg.data.synthetic_sequence import SequenceSettings, SpotSettings, draw_scene, simulate_sequence
from monai_cellreg.data.synthetic_settings import NucleusSettings

SEEDS = (0, 1, 2, 3)
LONE = NucleusSettings(neighbours=0.0, debris=0.0)


def scene(seed=0, frames=6, size=80, **settings):
    return draw_scene(np.random.default_rng(seed), SequenceSettings(LONE, **settings), frames=frames, size=size)


def pixels(size=80):
    return np.indices((size, size), dtype=np.float32)


@pytest.mark.parametrize("name", HARD_FILMS)
def test_format_and_determinism(name):
    film, again = (HARD_FILMS[name](4, 48, 5) for _ in range(2))
    assert film.images.shape == film.labels.shape == film.instances.shape == (4, 1, 48, 48)
    assert film.displacement_vox.shape == (4, 2, 48, 48)
    assert film.images.dtype == film.labels.dtype == film.displacement_vox.dtype == np.float32
    assert np.isfinite(film.images).all() and film.images.min() == 0 and film.images.max() == 1
    assert np.array_equal(film.labels, film.instances > 0)
    assert not film.displacement_vox[0].any()
    for one, other in zip(vars(film).values(), vars(again).values(), strict=True):
        assert np.array_equal(one, other, equal_nan=True)
    assert not np.array_equal(film.images, HARD_FILMS[name](4, 48, 6).images)


def test_without_an_event_a_hard_film_is_an_ordinary_one():
    film, ordinary = HardFilm()(3, 64, 2), simulate_sequence(3, size=64, seed=2)
    assert np.array_equal(film.images, ordinary.images)
    assert np.array_equal(film.displacement_vox, ordinary.displacement_vox)


def test_light_falls_and_comes_back_while_contrast_swings():
    faded = fade(scene(frames=9), lowest=0.15, contrast=2.0)
    assert faded.light[0] == faded.gamma[0] == 1
    assert faded.light.min() == pytest.approx(0.15)
    assert faded.light[-1] > 1.5 * faded.light.min()
    assert faded.gamma.max() == pytest.approx(2, abs=0.1) and faded.gamma.min() == pytest.approx(0.5)
    assert np.diff(np.sign(np.diff(faded.gamma))).any()


def test_gamma_bends_the_tones_of_the_finished_picture():
    plain = scene(bleaching=(0, 0), drift=0.0)
    faded = fade(plain, lowest=1.0)  # the light stays, the tone curve alone changes
    bent, straight = (each.filmed(np.random.default_rng(1)).images for each in (faded, plain))
    for t in range(6):
        np.testing.assert_allclose(bent[t], straight[t].astype(float) ** faded.gamma[t], rtol=0, atol=1e-5)
    assert np.abs(bent - straight).max() > 0.2


@pytest.mark.parametrize("seed", SEEDS)
def test_noise_is_several_times_the_ordinary(seed):
    noisy, ordinary = HARD_FILMS["noise"](2, 96, seed), simulate_sequence(2, size=96, seed=seed)

    def roughness(film):
        return np.abs(np.diff(film.images[:, 0], n=2, axis=1)).mean()

    assert roughness(noisy) > 2 * roughness(ordinary)


@pytest.mark.parametrize("seed", SEEDS)
def test_nucleus_leaves_in_the_end_and_only_then(seed):
    film = HARD_FILMS["leaving"](6, 96, seed)
    area = film.labels.sum(axis=(1, 2, 3))
    assert area[0] > 0 and 0.8 * area[0] < area[1] < 1.2 * area[0]
    assert area[-1] == 0
    assert np.isfinite(film.displacement_vox).all()
    for t in (1, 2, 3):
        where = np.indices((96, 96)) + film.displacement_vox[t]
        pulled = map_coordinates(film.labels[t, 0], where, order=0, cval=-1)
        inside = (film.labels[0, 0] > 0) & (pulled >= 0)
        assert pulled[inside].mean() > 0.95
    last = film.displacement_vox[-1][:, film.labels[0, 0] > 0] + np.argwhere(film.labels[0, 0] > 0).T
    assert ((last < 0) | (last > 95)).any(axis=0).all()


@pytest.mark.parametrize("seed", SEEDS)
def test_nucleus_ends_as_far_outside_as_it_reaches(seed):
    gone = leave(scene(seed))
    middle = gone.motion.centre + gone.motion.shift_px[-1]
    outside = np.maximum(-middle, middle - 79).max()
    waves = np.linalg.norm(gone.motion.waves_px[-1], axis=-1).sum()
    assert outside == pytest.approx(gone.specimen.nucleus.radius + waves + 4 * gone.microscope.psf_px + 1)
    assert np.array_equal(gone.motion.shift_px[0], [0, 0])


def test_leaving_spots_are_followed_out_of_the_view():
    left = leave(scene(3, spots=SpotSettings(5))).filmed(np.random.default_rng(0))
    assert np.isfinite(left.spots).all()
    assert ((left.spots[-1] < 0) | (left.spots[-1] > 79)).any(axis=-1).all()
    assert np.array_equal(left.spots_reference, scene(3, spots=SpotSettings(5)).spots.reference)


def test_empty_frames_hold_background_and_noise_only():
    film = vanish(scene(spots=SpotSettings(3)), (0, 3)).filmed(np.random.default_rng(0))
    for t in range(6):
        is_empty = t in (0, 3)
        assert film.labels[t].any() != is_empty
        assert np.isnan(film.displacement_vox[t]).all() == is_empty == np.isnan(film.displacement_vox[t]).any()
        assert np.isnan(film.spots[t]).all() == np.isnan(film.spots_reference[t]).all() == is_empty
    middle = film.labels[1, 0] > 0
    contrast = [image[middle].mean() - image[~middle].mean() for image in film.images[:, 0]]
    assert max(abs(contrast[0]), abs(contrast[3])) < 0.3 * min(contrast[1], contrast[2], contrast[4], contrast[5])
    listed = HARD_FILMS["empty"](5, 64, 0).labels.any(axis=(1, 2, 3))
    assert listed.tolist() == [True, True, False, True, False]


@pytest.mark.parametrize("seed", SEEDS)
def test_division_gives_two_daughters_that_move_apart(seed):
    film = divide(scene(seed, frames=7), start=2).filmed(np.random.default_rng(0))
    assert [np.unique(each).tolist() for each in film.instances] == [[0, 1]] * 3 + [[0, 2, 3]] * 4
    assert film.instances[2].astype(bool).sum() < 0.6 * film.instances[1].astype(bool).sum()
    distances = []
    for instances in film.instances[3:, 0]:
        objects, count = label(instances, structure=np.ones((3, 3)))
        assert count == 2  # a gap of background lies between them
        middles = [np.argwhere(instances == number).mean(axis=0) for number in (2, 3)]
        distances.append(np.linalg.norm(middles[1] - middles[0]))
        sizes = [np.sum(instances == number) for number in (2, 3)]
        assert 0.6 < sizes[0] / sizes[1] < 1.7
    assert (np.diff(distances) > 0).all()
    assert np.isfinite(film.displacement_vox[:2]).all() and np.isnan(film.displacement_vox[2:]).all()


def test_division_keeps_the_light():
    whole = scene(1, frames=5)
    split = divide(whole, start=1)
    for frame in range(1, 5):
        before, after = (each.matter(pixels(), frame).sum() for each in (whole, split))
        assert after == pytest.approx(before, rel=1e-5)
    assert split.matter(pixels(), 1).max() > 1.2 * whole.matter(pixels(), 1).max()


def test_daughters_part_along_the_long_axis():
    whole = scene(2)
    first, second = divide(whole).nuclei[-1].values()
    apart = np.subtract(second.centre, first.centre)
    angle = whole.specimen.nucleus.angle_rad
    np.testing.assert_allclose(apart / np.linalg.norm(apart), [np.cos(angle), np.sin(angle)], atol=1e-12)
    np.testing.assert_allclose(np.add(second.centre, first.centre) / 2, whole.specimen.nucleus.centre)
    assert abs(np.cos(first.angle_rad - angle)) < 1e-12
