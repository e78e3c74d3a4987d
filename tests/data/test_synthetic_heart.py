"""Simulated hearts look and move like cine MRI, and their seed alone decides."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from monai_cellreg.data import CineSlice, simulated_cardiac
from monai_cellreg.data.cine_slice import LV_CAVITY, LV_MYOCARDIUM, RV


@pytest.fixture(scope="module")
def cines() -> list[CineSlice]:
    return simulated_cardiac(6, slices=2, phases=10, size=(112, 136), seed=4)


def mean(cine: CineSlice, time: int, label: int) -> float:
    return float(cine.images[time][cine.labels[time] == label].mean())


def test_slices_are_those_of_a_data_set(cines: list[CineSlice]) -> None:
    assert [(c.patient, c.slice_number) for c in cines[:3]] == [("heart000", 0), ("heart000", 1), ("heart001", 0)]
    for cine in cines:
        assert cine.images.shape == (10, 112, 136) and cine.images.dtype == torch.float32
        assert bool(cine.images.isfinite().all()) and float(cine.images.min()) >= 0
        assert (cine.ed, cine.es, sorted(cine.labels)) == (0, 4, list(range(10)))
        assert cine.grid.unit == "mm" and cine.grid.spacing == pytest.approx((1.4, 1.4))
        assert set(cine.labels[0].unique().tolist()) == {0, RV, LV_MYOCARDIUM, LV_CAVITY}


def test_blood_is_bright_and_muscle_dark_at_every_time(cines: list[CineSlice]) -> None:
    for cine in cines:
        for time in (0, 4, 7):
            assert mean(cine, time, LV_MYOCARDIUM) < 0.65 * min(mean(cine, time, LV_CAVITY), mean(cine, time, RV))


def test_heart_lies_whole_in_the_picture(cines: list[CineSlice]) -> None:
    for label in (label for cine in cines for label in cine.labels.values()):
        border = torch.cat([label[0], label[-1], label[:, 0], label[:, -1]])
        assert not border.any()


def test_systole_is_as_far_from_diastole_as_in_real_data(cines: list[CineSlice]) -> None:
    """ACDC, unregistered: right ventricle 0.63, myocardium 0.55, cavity 0.66."""
    for label, low, high in ((RV, 0.5, 0.75), (LV_MYOCARDIUM, 0.45, 0.65), (LV_CAVITY, 0.55, 0.75)):
        dice = []
        for cine in cines:
            ed, es = (cine.labels[time] == label for time in (cine.ed, cine.es))
            dice.append(2 * float((ed & es).sum() / (ed.sum() + es.sum())))
        assert low < np.mean(dice) < high


def test_texture_moves_with_the_tissue_and_noise_does_not_repeat(cines: list[CineSlice]) -> None:
    for cine in cines:
        assert not torch.equal(cine.images[0], cine.images[9])  # both at end diastole, with other noise
        assert torch.equal(cine.labels[0], cine.labels[9])
        heart = cine.labels[0] > 0
        still, beating = (np.corrcoef(cine.images[0][heart], cine.images[t][heart])[0, 1] for t in (9, 4))
        assert still > 0.97 and 0.25 < beating < 0.9


def test_seed_and_number_alone_decide(cines: list[CineSlice]) -> None:
    again = simulated_cardiac(1, slices=2, phases=10, size=(112, 136), seed=4)
    other = simulated_cardiac(1, slices=2, phases=10, size=(112, 136), seed=5)
    assert torch.equal(again[1].images, cines[1].images) and torch.equal(again[1].labels[4], cines[1].labels[4])
    assert not torch.equal(other[0].labels[0], cines[0].labels[0])


def test_patients_differ(cines: list[CineSlice]) -> None:
    areas = [float((cine.labels[0] == LV_CAVITY).sum()) for cine in cines[::2]]
    signals = [mean(cine, 0, LV_MYOCARDIUM) / mean(cine, 0, LV_CAVITY) for cine in cines[::2]]
    assert max(areas) > 1.2 * min(areas) and max(signals) > 1.1 * min(signals)


@pytest.mark.parametrize("name", ["slices", "phases", "size"])
def test_nothing_to_see_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} is "):
        simulated_cardiac(1, **{name: (0, 0) if name == "size" else 0})
    with pytest.raises(ValueError, match="patients is 0"):
        simulated_cardiac(0)
