import numpy as np
import pytest

from monai_cellreg.data.synthetic_settings import NucleusSettings
from monai_cellreg.data.synthetic_specimen import draw_specimen

PIXELS = np.indices((120, 120), dtype=np.float32)


def specimen(seed=0, **settings):
    settings = {"neighbours": 0.0, "debris": 0.0, **settings}
    return draw_specimen(np.random.default_rng(seed), NucleusSettings(**settings), size=120)


def test_outline_stays_inside_the_frame_with_the_wanted_extent():
    extents = []
    for seed in range(25):
        _, label = specimen(seed).brightness(PIXELS)
        assert not (label[[0, -1]].any() or label[:, [0, -1]].any())
        edge = np.argwhere(label)
        middle = np.array(specimen(seed).nucleus.centre)
        assert np.abs(middle - 59.5).max() <= 0.08 * 120
        extents.append(2 * np.hypot(*(edge - middle).T).max() / 120)
    assert 0.33 < min(extents) < 0.45
    assert 0.65 < max(extents) < 0.76


def test_moved_points_move_the_picture():
    matter = specimen(3, diameter=(0.4, 0.4))
    light, label = matter.brightness(PIXELS)
    moved_light, moved_label = matter.brightness(PIXELS + np.float32([[[7]], [[-12]]]))
    assert np.array_equal(moved_label[:-7, 12:], label[7:, :-12])
    np.testing.assert_allclose(moved_light[1:-8, 13:-1], light[8:-1, 1:-13], atol=1e-4)


def test_phase_renews_the_chromatin_within_an_unchanged_outline():
    matter = specimen(1, nucleoplasm=(0.1, 0.1), nucleoli=(0, 0), tilt=(0, 0), doming=(0, 0))
    first, label = matter.brightness(PIXELS)

    def likeness(phase_rad):
        later, same = matter.brightness(PIXELS, phase_rad=phase_rad)
        assert np.array_equal(same, label)
        return np.corrcoef(first[label > 0], later[label > 0])[0, 1]

    assert likeness(0.0) == 1.0
    assert likeness(0.2) > 0.9
    assert likeness(np.pi / 2) < 0.5


def test_neighbours_and_debris_stay_clear_of_the_nucleus():
    for seed in range(10):
        crowded = specimen(seed, neighbours=4.0, debris=4.0)
        _, label = crowded.brightness(PIXELS)
        assert len(crowded.neighbours) + len(crowded.specks) > 0
        for outline, _ in crowded.neighbours:
            assert not (label * (outline.level(PIXELS) > 0)).any()
        for row, column, *_ in crowded.specks:
            assert label[min(119, round(row)), min(119, round(column))] == 0


def test_nucleoli_are_dark():
    settings = {"nucleoplasm": (1, 1), "tilt": (0, 0), "doming": (0, 0)}
    light, label = specimen(4, nucleoli=(3, 3), **settings).brightness(PIXELS)
    plain, _ = specimen(4, nucleoli=(0, 0), **settings).brightness(PIXELS)
    assert plain[label > 0].min() > 0.4  # the edge crosses pixels
    holes = [
        light[round(float(row)), round(float(column))] for row, column, *_ in specimen(4, nucleoli=(3, 3)).nucleoli
    ]
    assert holes and max(holes) < 0.85


def test_arrays_cannot_be_changed():
    with pytest.raises(ValueError, match="read-only"):
        specimen().texture[:] = 0
