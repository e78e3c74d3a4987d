"""Learned methods: one pair or many at once, and an account of what was registered."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import monai_cellreg as mc
from monai_cellreg.data.synthetic_sequence import NucleusSequence
from monai_cellreg.geometry import AffineTransform, Pair, SpatialTransform
from monai_cellreg.inferers import PairInferer
from monai_cellreg.methods import AccountableMethod, BatchMethod, LearnedMethod, load_method
from monai_cellreg.methods.method import found_by
from monai_cellreg.networks import JointSegmentationRegistration

POINTS = np.array([[10.0, 20.0], [40.0, 33.0]])


def learned(*, segment: bool) -> LearnedMethod:
    """A network that moves every point, by how the pair looks."""
    torch.manual_seed(0)
    network = JointSegmentationRegistration((32, 32), segment=segment)
    nn.init.normal_(network.registration.stages[0].network.out.weight, std=0.02)
    return LearnedMethod(network, PairInferer(1))


@pytest.fixture
def pair(film: NucleusSequence) -> Pair:
    """Two frames and their labels."""
    images, labels = torch.from_numpy(film.images), torch.from_numpy(film.labels.astype(np.int32))
    return replace(Pair.of(*images), fixed_label=labels[0], moving_label=labels[1])


def unlabelled(pair: Pair) -> Pair:
    return replace(pair, fixed_label=None, moving_label=None)


@pytest.mark.parametrize("segment", [True, False])
def test_pairs_are_registered_together_as_alone(pair: Pair, segment: bool) -> None:
    method = learned(segment=segment)
    turned = Pair.of(pair.moving, pair.fixed)
    found = method.register_batch([pair, turned, unlabelled(pair)])
    for given, transform in zip((pair, turned, unlabelled(pair)), found, strict=True):
        expected = method.register(given).points(POINTS)
        np.testing.assert_allclose(transform.points(POINTS), expected, rtol=0, atol=1e-3)
        assert np.abs(expected - POINTS).max() > 0.5
    assert method.register_batch([]) == []


def test_account_says_which_segmentations_were_registered(pair: Pair) -> None:
    method = learned(segment=False)
    labels, images = method.run(pair), method.run(unlabelled(pair))
    assert labels.account == ("The given labels were registered, not the images.",)
    assert images.account == (
        "Segmentations made from the images by thresholds were registered: labels of both were not given.",
    )
    assert method.run(replace(pair, moving_label=None)).account == images.account
    np.testing.assert_array_equal(labels.transform.points(POINTS), method.register(pair).points(POINTS))
    assert np.abs(labels.transform.points(POINTS) - images.transform.points(POINTS)).max() > 1e-3


def test_network_that_segments_needs_no_account(pair: Pair) -> None:
    assert learned(segment=True).run(pair).account == ()


def test_labels_and_the_account_pass_through_register(film: NucleusSequence) -> None:
    images, labels = (list(part[:, 0]) for part in (film.images, film.labels))
    method = learned(segment=False)
    named = mc.register(*images, method=method, fixed_label=labels[0], moving_label=labels[1])
    plain = mc.register(*images, method=method)
    assert "The given labels were registered, not the images." in named.account
    assert any("made from the images by thresholds" in sentence for sentence in plain.account)
    assert np.abs(named.transform.points(POINTS) - plain.transform.points(POINTS)).max() > 1e-3


class Plain:
    """A method that only registers."""

    def register(self, pair: Pair) -> SpatialTransform:
        return AffineTransform(np.eye(2, 3))


def test_kinds_of_methods_are_told_apart(pair: Pair) -> None:
    method = learned(segment=False)
    assert isinstance(method, BatchMethod) and isinstance(method, AccountableMethod)
    assert not isinstance(Plain(), BatchMethod) and not isinstance(Plain(), AccountableMethod)
    assert not isinstance(load_method("auto"), BatchMethod)
    transform, account = found_by(method, pair)
    assert len(account) == 1
    np.testing.assert_array_equal(transform.points(POINTS), method.register(pair).points(POINTS))
    assert found_by(Plain(), pair)[1] == ()
