"""What each method of the benchmark is shown, and how networks register and segment."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from monai_cellreg.benchmarks.contenders import check_methods, without_labels
from monai_cellreg.benchmarks.nuclei_contenders import DEFAULT_METHODS, network_contender, segmented
from monai_cellreg.benchmarks.nuclei_networks import NETWORKS
from monai_cellreg.benchmarks.nuclei_sequences import Film
from monai_cellreg.benchmarks.nuclei_training import TrainedNetwork
from monai_cellreg.data.synthetic_sequence import simulate_sequence
from monai_cellreg.geometry import SamplingGrid
from monai_cellreg.methods import LearnedMethod
from monai_cellreg.networks import JointSegmentationRegistration


@pytest.fixture(scope="module")
def film() -> Film:
    made = simulate_sequence(3, size=32, seed=2)
    return Film(torch.from_numpy(made.images), torch.from_numpy(made.labels))


def network(tmp_path: Path, name: str, *, segment: bool) -> TrainedNetwork:
    torch.manual_seed(0)
    weights = JointSegmentationRegistration((32, 32), transformer="tps", segment=segment).state_dict()
    for key, value in weights.items():  # the last layer of an untrained network ignores its input
        if value.dtype.is_floating_point and "running" not in key:
            value += 0.03 * torch.randn(value.shape)
    torch.save(weights, tmp_path / "model.pt")
    return TrainedNetwork(name, 3, tmp_path / "model.pt", 32, [])


@pytest.mark.parametrize(("name", "segment"), [("TPS", False), ("TPS-Joint", True)])
def test_a_batch_gives_the_maps_of_single_pairs(tmp_path: Path, film: Film, name: str, segment: bool) -> None:
    contender = network_contender(network(tmp_path, name, segment=segment))
    assert (contender.name, contender.label) == (name, f"{name}-3") and contender.weights
    pairs = film.pairs()
    points = np.argwhere(np.ones((32, 32))).astype(float)
    for pair, found in zip(pairs, contender.register(pairs), strict=True):
        assert found.failure is None and found.transform is not None and found.seconds > 0
        seen = without_labels(pair) if segment else pair
        alone = contender.method.register(seen).points(points)
        np.testing.assert_allclose(found.transform.points(points), alone, rtol=0, atol=1e-4)
    if not segment:  # from labels, not from masks made of the images
        made = contender.method.register(without_labels(pairs[0])).points(points)
        given = contender.register(pairs)[0].transform
        assert given is not None and np.abs(np.asarray(given.points(points)) - np.asarray(made)).max() > 1e-3


def test_an_empty_label_fails_alone(tmp_path: Path, film: Film) -> None:
    contender = network_contender(network(tmp_path, "TPS", segment=False))
    empty = Film(film.images, torch.cat([film.labels[:2], torch.zeros_like(film.labels[2:])]))
    whole, failed = contender.register(empty.pairs())
    assert whole.failure is None
    assert failed.transform is None and failed.failure is not None
    assert failed.failure.startswith("ValueError: moving has an empty segmentation")


def test_masks_are_those_of_the_network(tmp_path: Path, film: Film) -> None:
    contender = network_contender(network(tmp_path, "TPS-Joint", segment=True))
    assert isinstance(contender.method, LearnedMethod)
    image = film.images[0]
    low, high = np.percentile(image, (0.5, 99.5))
    scaled = ((image - float(low)) / float(high - low)).clamp(0, 1)
    with torch.no_grad():
        logits = contender.method.network.eval().logits(scaled[None].float())[0]
    mask = segmented(contender, image)
    assert mask is not None and mask.dtype == torch.bool
    assert int((mask != (logits > 0)).sum()) <= 2  # pixels at the threshold
    larger = SamplingGrid((64, 48)).to_image(torch.nn.functional.interpolate(image[None], (64, 48))[0])
    assert segmented(contender, larger).shape == (1, 64, 48)
    assert segmented(network_contender(network(tmp_path, "TPS", segment=False)), image) is None


def test_names_are_known() -> None:
    check_methods(DEFAULT_METHODS, NETWORKS)
