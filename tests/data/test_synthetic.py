import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from monai_cellreg.data.synthetic import NucleusSettings, draw_microscope, simulate_nucleus, simulated_items

PLAIN = {
    "nucleoplasm": (1, 1),
    "nucleoli": (0, 0),
    "tilt": (0, 0),
    "doming": (0, 0),
    "haze": (0, 0),
    "gradient": (0, 0),
    "shot_noise": (0, 0),
    "read_noise": (0, 0),
    "camera_px": (1, 1),
    "neighbours": 0.0,
    "debris": 0.0,
}


def nucleus(seed=0, size=96, **settings):
    return simulate_nucleus(size, np.random.default_rng(seed), settings=NucleusSettings(**settings))


def test_format_and_range():
    for seed in range(12):
        image, label = nucleus(seed, size=72)
        assert image.shape == label.shape == (1, 72, 72)
        assert image.dtype == label.dtype == np.float32
        assert np.isfinite(image).all()
        assert image.min() == 0 and image.max() == 1
        assert np.mean(image == 0) == pytest.approx(0.005, abs=0.002)
        assert set(np.unique(label)) == {0.0, 1.0}


def test_same_seed_same_picture_other_seed_another():
    image, label = nucleus(5)
    again, label_again = nucleus(5)
    other, _ = nucleus(6)
    assert np.array_equal(image, again) and np.array_equal(label, label_again)
    assert np.abs(image - other).mean() > 0.02


def test_global_random_state_is_neither_read_nor_changed():
    np.random.seed(1)
    before = np.random.get_state()[1].copy()
    image, _ = nucleus(2)
    assert np.array_equal(np.random.get_state()[1], before)
    np.random.seed(2)
    assert np.array_equal(image, nucleus(2)[0])


@pytest.mark.parametrize("psf_px", [0.0, 1.5, 3.0])
@pytest.mark.parametrize("camera_px", [1.0, 2.0])
def test_label_ends_where_the_edge_has_half_its_height(psf_px, camera_px):
    """A curved edge moves inwards by about psf^2 / (2 radius): 0.1 pixel at the most here."""
    for seed in range(5):
        settings = {**PLAIN, "psf_px": (psf_px, psf_px), "camera_px": (camera_px, camera_px)}
        settings |= {"diameter": (0.6, 0.7), "lobes": (0, 0.03), "bend": (0, 0)}
        image, label = nucleus(seed, size=160, **settings)
        half = image > 0.5
        perimeter = np.abs(np.diff(label[0], axis=0)).sum() + np.abs(np.diff(label[0], axis=1)).sum()
        assert np.sum(half != label) < 0.2 * perimeter
        assert abs(np.sum(half) - np.sum(label)) < 0.15 * perimeter


def test_label_covers_dim_nucleoplasm_that_a_threshold_at_half_height_misses():
    dim = {**PLAIN, "nucleoplasm": (0.1, 0.1), "sparseness": (1.5, 1.5), "sharpness": (4, 4), "grain": (0.15, 0.15)}
    image, label = nucleus(1, size=160, **dim, psf_px=(1, 1))
    assert (image > 0.5)[label > 0].mean() < 0.4
    inner = gaussian_filter(label, (0, 4, 4)) > 0.95
    assert image[inner].min() > 0.03 > image[gaussian_filter(label, (0, 4, 4)) < 0.01].max()


def test_picture_adds_fresh_noise_of_the_set_strength():
    settings = NucleusSettings(**{**PLAIN, "read_noise": (0.02, 0.02), "psf_px": (0, 0)})
    microscope = draw_microscope(np.random.default_rng(0), settings, size=128)
    step = np.zeros((128, 128), np.float32)
    step[:, :50] = 1
    rng = np.random.default_rng(3)
    first, second = microscope.picture(step, rng), microscope.picture(step, rng)
    scale = 1 + 2 * 0.02 * 2.4  # percentiles 0.5 and 99.5 of two equal plateaus lie 2.3 to 2.5 deviations outside
    assert np.std(first[:, :45] - second[:, :45]) == pytest.approx(0.02 * np.sqrt(2) / scale, rel=0.1)


def test_items_are_seeded_one_by_one():
    items = simulated_items(4, image_size=48, seed=3)
    longer = simulated_items(6, image_size=48, seed=3)
    assert [sorted(item) for item in items] == [["group", "image", "label"]] * 4
    assert len({item["group"] for item in longer}) == 6
    for item, same in zip(items, longer, strict=False):
        assert item["group"] == same["group"]
        assert np.array_equal(item["image"], same["image"]) and np.array_equal(item["label"], same["label"])
    assert not np.array_equal(items[0]["image"], simulated_items(1, image_size=48, seed=4)[0]["image"])
    assert not np.array_equal(items[0]["image"], items[1]["image"])


def test_items_are_varied():
    items = simulated_items(60, image_size=64)
    area = np.array([item["label"].mean() for item in items])
    inside = np.array([item["image"][item["label"] > 0].mean() for item in items])
    spread = np.array([item["image"][item["label"] > 0].std() for item in items])
    assert area.min() < 0.12 and area.max() > 0.3
    assert inside.min() < 0.35 and inside.max() > 0.75
    assert spread.min() < 0.14 and spread.max() > 0.25


def test_bad_numbers_are_refused():
    with pytest.raises(ValueError, match="size is 8, expected at least 16"):
        nucleus(size=8)
    with pytest.raises(ValueError, match="count is 0, expected at least 1"):
        simulated_items(0)
