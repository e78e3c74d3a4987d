"""Cutting single nuclei, on a field of discs whose places and sizes are known."""

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from scipy.ndimage import binary_dilation, binary_erosion

from monai_cellreg.transforms.nuclei import (
    CropSettings,
    crop_nuclei,
    crop_track,
    scale_by_percentiles,
    whole_nuclei,
)

SHAPE = (90, 140)
DISCS = {
    1: (45.0, 40.0, 12.0),
    2: (45.0, 68.0, 12.0),
    3: (2.0, 100.0, 8.0),
    4: (70.0, 120.0, 3.0),
    5: (75.0, 20.0, 14.0),
}
# 1 and 2 are neighbours, 3 and 5 touch borders, 4 is small: (row, column, radius)


def field() -> tuple[torch.Tensor, torch.Tensor]:
    row, column = np.indices(SHAPE)
    image = np.random.default_rng(0).normal(100, 2, SHAPE)
    label = np.zeros(SHAPE, int)
    for number, (r, c, radius) in DISCS.items():
        inside = (row - r) ** 2 + (column - c) ** 2 <= radius**2
        label[inside] = number
        image[inside] = 1000 + 100 * number
    return torch.from_numpy(image[None]), torch.from_numpy(label[None])


def test_whole_nuclei_are_centred_and_fill_the_wanted_share():
    assert len(crop_nuclei(*field(), 64, settings=CropSettings(min_area_px=20))) == 3  # all but those at a border
    frames = crop_nuclei(*field(), 64, settings=CropSettings(fill=0.6))
    assert len(frames) == 2  # without the small one
    for frame in frames:
        mask = frame["label"][0].numpy() > 0
        rows, columns = np.nonzero(mask)
        np.testing.assert_allclose([rows.mean(), columns.mean()], [31.5, 31.5], atol=0.8)
        assert np.ptp(rows) + 1 == pytest.approx(0.6 * 64, abs=3)
        assert np.ptp(columns) + 1 == pytest.approx(0.6 * 64, abs=3)


def test_frames_have_the_promised_form():
    frame = crop_nuclei(*field(), 40)[0]
    for key in ("image", "label"):
        assert isinstance(frame[key], MetaTensor)
        assert (frame[key].shape, frame[key].dtype) == ((1, 40, 40), torch.float32)
        assert frame[key].meta["space"] == "index"
    assert frame["label"].unique().tolist() == [0, 1]
    assert (frame["image"].min(), frame["image"].max()) == (0, 1)


def test_rows_and_columns_are_not_swapped():
    image, label = (torch.zeros(1, 60, 80) for _ in range(2))
    label[0, 28:33, 20:60] = 1  # wide
    image[0, 28:33, 20:60] = torch.linspace(1, 2, 40)  # brighter to the right
    frame = crop_nuclei(image, label.int(), 50, settings=CropSettings(fill=0.9))[0]
    rows, columns = np.nonzero(frame["label"][0].numpy())
    assert np.ptp(columns) > 5 * np.ptp(rows)
    assert frame["image"][0, 25, 45] > frame["image"][0, 25, 10] > 0


def test_magnification_keeps_the_place_of_every_pixel():
    """A frame pixel k lies at centre + (k - (size - 1) / 2) * side / size of the field."""
    row, column = np.indices((81, 101))
    label = torch.zeros(1, 81, 101, dtype=torch.int)
    label[0, 35:46, 45:56] = 1  # centroid (40, 50), bounding circle 2 * 5 * sqrt(2) + 1
    side, size = (10 * 2**0.5 + 1) / 0.25, 41
    spot = np.exp(-((row - 60) ** 2 + (column - 27) ** 2) / (2 * 2.0**2))
    frame = crop_nuclei(torch.from_numpy(spot)[None], label, size, settings=CropSettings(fill=0.25))[0]["image"][0]
    weight = frame.numpy() / frame.numpy().sum()
    found = [(weight * axis).sum() for axis in np.indices((size, size))]
    np.testing.assert_allclose(found, (np.array([60, 27]) - [40, 50]) * size / side + (size - 1) / 2, atol=0.1)


def test_the_edge_of_a_touching_nucleus_is_not_painted_over():
    image, label = torch.full((1, 60, 70), 10.0), torch.zeros(1, 60, 70, dtype=torch.int)
    label[0, 20:40, 20:35], label[0, 20:40, 35:50] = 1, 2
    image[label > 0] = 100.0
    for frame in crop_nuclei(image, label, 50, settings=CropSettings(fill=0.6)):
        core = binary_erosion(frame["label"][0].numpy() > 0, iterations=2)
        assert frame["image"][0].numpy()[core].min() > 0.95


@pytest.mark.parametrize(("others", "bright"), [("paint_out", False), ("keep", True)])
def test_neighbours_are_painted_out_or_kept(others, bright):
    frame = crop_nuclei(*field(), 75, settings=CropSettings(fill=1 / 3, others=others, max_nuclei=None))[0]
    outside = frame["image"][0][frame["label"][0] == 0]
    assert bool((outside > 0.9).sum() > 300) is bright
    assert frame["image"][0][frame["label"][0] == 1].min() > 0.4


def test_beyond_the_border_lies_background_not_black():
    image, label = torch.full((1, 40, 50), 500.0), torch.zeros(1, 40, 50, dtype=torch.int)
    image += torch.from_numpy(np.random.default_rng(1).normal(0, 5, (1, 40, 50))).float()
    label[0, 2:14, 3:15] = 1
    image[label > 0] = 600
    frame = crop_nuclei(image, label, 48, settings=CropSettings(fill=0.3))[0]["image"][0].numpy()
    border, inside = frame[:6], frame[38:44, 20:30]  # rows beyond the field's border; field background
    assert border.std() > 0.02
    assert abs(border.mean() - inside.mean()) < 0.05


def test_shrinking_smooths_and_keeps_the_mean():
    """A fine checkerboard on the background must not turn into coarse stripes."""
    row, column = np.indices((300, 300))
    image = torch.from_numpy(100.0 * ((row + column) % 2))[None]
    label = torch.from_numpy((((row - 150) ** 2 + (column - 150) ** 2) < 60**2).astype(int))[None]
    image[label > 0] = 1000
    frame = crop_nuclei(image, label, 40, settings=CropSettings(fill=0.5))[0]["image"][0].numpy()
    assert frame[:6].std() < 0.01


def test_seeded_choice_of_nuclei_and_background():
    image, label = field()
    few = CropSettings(max_nuclei=1, min_area_px=20)

    def frames(seed):
        return crop_nuclei(image, label, 32, settings=few, seed=seed)

    assert len(frames(0)) == 1
    torch.testing.assert_close(frames(5)[0]["image"], frames(5)[0]["image"], rtol=0, atol=0)
    assert len({float(frames(seed)[0]["label"].sum()) for seed in range(12)}) > 1


def test_inputs_stay_as_they_were():
    image, label = field()
    before = image.clone(), label.clone()
    crop_nuclei(image, label, 32)
    assert torch.equal(image, before[0]) and torch.equal(label, before[1])


def test_a_crowded_nucleus_takes_the_darkest_pixels_for_background():
    image, label = torch.full((1, 30, 30), 900.0), torch.full((1, 30, 30), 2)
    label[0, 10:20, 9:21], image[0, 10:20, 9:21], image[0, 26:] = 1, 1000.0, 10.0
    frame = crop_nuclei(image, label, 30, settings=CropSettings(fill=0.5))[0]["image"][0]
    assert frame[:5].max() < 0.1  # the neighbour had 900 there


def test_nuclei_nearer_than_the_gap_to_another_are_left_out():
    # discs 1 and 2 have centres 28 and radii 12 apart: their pixels at columns 52 and 56 are 4 steps apart
    count = [len(crop_nuclei(*field(), 32, settings=CropSettings(min_area_px=20, gap_px=gap))) for gap in (0, 3, 4)]
    assert count == [3, 3, 1]


def test_wrong_arguments():
    image, label = field()
    with pytest.raises(ValueError, match=r"image has the shape \(1, 90, 140\) and label \(1, 90, 139\)"):
        crop_nuclei(image, label[..., 1:], 32)
    with pytest.raises(ValueError, match="size is 4; expected 8"):
        crop_nuclei(image, label, 4)
    for setting, text in [
        ({"fill": 0.0}, "fill is 0.0"),
        ({"fill": 1.5}, "fill is 1.5"),
        ({"others": "blur"}, "others is 'blur'"),
        ({"min_area_px": 0}, "min_area_px is 0"),
        ({"gap_px": -1}, "gap_px is -1"),
        ({"max_nuclei": 0}, "max_nuclei is 0"),
    ]:
        with pytest.raises(ValueError, match=text):
            CropSettings(**setting)


def test_scaling_by_percentiles():
    values = np.arange(201.0)
    scaled = scale_by_percentiles(values)
    np.testing.assert_allclose(scaled, np.clip((values - 1) / 198, 0, 1), atol=1e-6)
    assert scale_by_percentiles(np.full(5, 7.0)).tolist() == [0] * 5


def film(radii=(12.0, 8.0), places=((40, 50), (44, 61))):
    """Fields of one disc, number 7, that moves and shrinks, with a bright neighbour, number 3, beside it."""
    row, column = np.indices((90, 110))
    fields = []
    for radius, (r, c) in zip(radii, places, strict=True):
        label = np.zeros((90, 110), int)
        label[(row - r) ** 2 + (column - c - 30) ** 2 <= 36] = 3
        label[(row - r) ** 2 + (column - c) ** 2 <= radius**2] = 7
        fields.append(((10 + 500.0 * (label == 7) + 900 * (label == 3))[None], label[None]))
    return fields


def test_a_track_has_one_magnification_and_centres_every_frame():
    fields = film()
    frames = crop_track(fields, 7, 70, settings=CropSettings(fill=0.5))
    side = (2 * 12 + 1) / 0.5  # of the larger disc, in pixels of the field
    for frame, (_, label) in zip(frames, fields, strict=True):
        mask = frame["label"][0].numpy() > 0
        assert mask.sum() == pytest.approx((label == 7).sum() * (70 / side) ** 2, rel=0.02)
        np.testing.assert_allclose(np.argwhere(mask).mean(0), [34.5, 34.5], rtol=0, atol=0.1)
        assert frame["image"][0].numpy()[~binary_dilation(mask, iterations=3)].max() < 0.1  # the neighbour is gone


def test_a_track_of_one_field_is_the_crop_of_that_field():
    (field_0, _) = film()
    track = crop_track([field_0], 7, 48, settings=CropSettings(fill=0.5), seed=3)[0]
    alone = crop_nuclei(*field_0, 48, settings=CropSettings(fill=0.5), seed=3)[1]  # number 3 comes first
    np.testing.assert_allclose(track["label"], alone["label"], rtol=0, atol=0)
    assert np.abs(np.asarray(track["image"]) - np.asarray(alone["image"])).max() < 1e-6


def test_whole_nuclei_are_those_that_are_cut():
    assert whole_nuclei(field()[1], CropSettings(min_area_px=20)) == [1, 2, 4]
    assert whole_nuclei(field()[1], CropSettings(min_area_px=20, max_nuclei=1)) == [1, 2, 4]


def test_a_track_through_a_field_without_the_nucleus_is_refused():
    fields = film()
    absent = fields[1][0], np.where(fields[1][1] == 7, 0, fields[1][1])
    with pytest.raises(ValueError, match=r"number is 7, which does not lie whole and free in fields \[1\] of 2"):
        crop_track([fields[0], absent], 7, 32)
    with pytest.raises(ValueError, match=r"in fields \[\] of 0"):
        crop_track([], 7, 32)
