import numpy as np
import pytest
import torch

from monai_cellreg.geometry import Pair, SamplingGrid
from monai_cellreg.methods.agreement import agreement, covered, nmi


def test_covered_is_where_the_moving_image_is_read():
    field = torch.zeros(1, 2, 10, 12)
    field[:, 0], field[:, 1] = 3, -2
    inside = covered(field, SamplingGrid((10, 12)))
    expected = torch.zeros(10, 12, dtype=torch.bool)
    expected[:7, 2:] = True
    assert torch.equal(inside, expected)


def test_mutual_information_sees_any_relation():
    rng = np.random.default_rng(0)
    labels = torch.from_numpy(rng.integers(0, 4, (1, 60, 70)).astype(np.float32))
    other = (labels - 1.5) ** 2 + 10 * (labels == 3)  # 0 and 3 differ, 1 and 2 do not
    everywhere = torch.ones(60, 70, dtype=torch.bool)
    assert nmi(labels, -labels, everywhere) == pytest.approx(2)
    shares = torch.bincount(labels.long().flatten()).double() / labels.numel()
    entropy = float(-(shares * shares.log()).sum())
    merged = torch.stack([shares[0], shares[1] + shares[2], shares[3]])
    merged_entropy = float(-(merged * merged.log()).sum())
    assert nmi(labels, other, everywhere) == pytest.approx((entropy + merged_entropy) / entropy, rel=1e-6)


def test_only_what_is_inside_counts():
    rng = np.random.default_rng(1)
    first = torch.from_numpy(rng.uniform(size=(1, 40, 50)).astype(np.float32))
    second = first.clone()
    second[:, :, 25:] = 0.5
    inside = torch.zeros(40, 50, dtype=torch.bool)
    inside[:, :25] = True
    assert nmi(first, second, inside) == pytest.approx(2) and nmi(first, second, torch.ones_like(inside)) < 1.9


@pytest.mark.parametrize("image", [torch.zeros(1, 5, 5), torch.full((3, 5, 5), 7, dtype=torch.uint8)])
def test_nothing_to_compare_is_one(image):
    assert nmi(image, torch.rand(1, 5, 5), torch.ones(5, 5, dtype=torch.bool)) == 1
    assert nmi(torch.rand(1, 5, 5), torch.rand(1, 5, 5), torch.zeros(5, 5, dtype=torch.bool)) == 1


def test_before_is_where_the_grids_say():
    """The moving image is the same content, stored two voxels further; its grid says so."""
    rng = np.random.default_rng(2)
    scene = torch.from_numpy(rng.uniform(size=(1, 30, 40)).astype(np.float32))
    shifted = np.eye(3)
    shifted[:2, 2] = 4, 6
    pair = Pair(scene[:, :24, :30], scene[:, 4:, 6:], SamplingGrid((24, 30)), SamplingGrid((26, 34), shifted))
    field = torch.zeros(1, 2, 24, 30)
    field[:, 0], field[:, 1] = -4, -6
    found = agreement(pair, pair.fixed, field)
    assert found["nmi_before"] == pytest.approx(2) and found["nmi_after"] == pytest.approx(2)
    assert found["coverage"] == pytest.approx(20 * 24 / (24 * 30))
