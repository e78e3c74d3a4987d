"""Options of trainings: what is shown is taken, everything else is refused before it does anything."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from monai.bundle import ConfigParser

from monai_cellreg.apps.label_app.trained import BUNDLES
from monai_cellreg.apps.label_app.training_options import default_image_size, read_asked, shown_options
from monai_cellreg.engines import override
from monai_cellreg.methods.bundles import bundle_files


def as_a_table_sends_it(shown: dict[str, Any]) -> dict[str, Any]:
    """What 3D Slicer sends when nothing was changed: the first of every list."""
    return {name: value[0] if isinstance(value, list) else value for name, value in shown.items()}


@pytest.mark.parametrize("bundle", BUNDLES)
@pytest.mark.parametrize("trained_here", [False, True])
def test_what_is_shown_is_what_is_taken_when_nothing_is_said(bundle: str, trained_here: bool) -> None:
    shown = as_a_table_sends_it(shown_options(bundle, trained_here=trained_here))
    asked = read_asked(bundle, {"model": bundle, "local_rank": 0, **shown}, trained_here=trained_here)
    assert asked == read_asked(bundle, {}, trained_here=trained_here)
    assert asked.start_from == "shipped"
    assert all(asked.numbers[name] == value for name, value in shown.items() if isinstance(value, int | float))


@pytest.mark.parametrize("bundle", BUNDLES)
def test_the_bundle_has_every_key_that_it_is_told(bundle: str) -> None:
    parser = ConfigParser()
    parser.read_config(bundle_files(bundle))
    asked = read_asked(bundle, {"seed": 7, "learning_rate": "0.25"}, trained_here=False)
    override(parser, asked.overrides())
    assert (parser["seed"], parser["learning_rate"]) == (7, 0.25)
    assert parser.get_parsed_content("device") == torch.device(asked.device)
    if bundle != "dirnet":
        assert parser["crops"]["min_area_px"] == 100


def test_requests_for_all_bundles_name_them() -> None:
    """MONAI Label adds the options of one bundle to the request, and leaves those of all in it."""
    everything = {"joint": {"max_epochs": 5}, "dirnet": {"max_epochs": 7}}
    asked = read_asked("joint", {"model": "joint", "max_epochs": 5, **everything}, trained_here=False)
    assert asked.numbers["max_epochs"] == 5


def test_values_are_read_as_they_are_sent() -> None:
    request = {"max_epochs": "12", "image_size": 96.0, "start_from": "scratch", "unlabelled": "pseudo-labels"}
    asked = read_asked("joint", request, trained_here=False)
    assert (asked.numbers["max_epochs"], asked.numbers["image_size"]) == (12, 96)
    assert isinstance(asked.numbers["image_size"], int) and asked.with_unlabelled
    assert asked.start_from == "scratch"
    assert read_asked("dirnet", {"image_size": " 48 x 64x48"}, trained_here=False).image_size == (48, 64, 48)
    assert read_asked("dirnet", {"image_size": [128, 96]}, trained_here=False).image_size == (128, 96)


@pytest.mark.parametrize(
    ("bundle", "request_", "reason"),
    [
        ("joint", {"max_epoch": 5}, "option of the training of joint is 'max_epoch'.*did you mean 'max_epochs'"),
        ("joint", {"max_epochs": 0}, "max_epochs is 0; expected a whole number from 1 to 10000"),
        ("joint", {"max_epochs": 2.5}, "max_epochs is 2.5; expected a whole number"),
        ("joint", {"max_epochs": True}, "max_epochs is True; expected a whole number"),
        ("joint", {"max_epochs": [5]}, r"max_epochs is \[5\]; expected a whole number"),
        ("joint", {"max_epochs": None}, "max_epochs is None; expected a whole number"),
        ("dirnet", {"learning_rate": "nan"}, "learning_rate is 'nan'; expected a number from 1e-07 to 1"),
        ("dirnet", {"learning_rate": "$__import__('os').getpid()"}, "learning_rate is .*; expected a number"),
        ("dirnet", {"dataset_dir": "/etc"}, "option of the training of dirnet is 'dataset_dir'"),
        ("dirnet", {"seed": -1}, "seed is -1; expected a whole number from 0"),
        ("segreg", {"image_size": 100, "start_from": "scratch"}, "image_size is 100; expected a multiple of 32"),
        ("segreg", {"image_size": 320}, "image_size is 320 but the shipped weights of segreg are for 160"),
        ("segreg", {"start_from": "trained here"}, "start_from is 'trained here', expected one of"),
        ("segreg", {"device": "cuda:7; rm"}, "device is 'cuda:7; rm', expected one of"),
        ("segreg", {"unlabelled": ["leave out"]}, "unlabelled is .*expected one of 'leave out', 'pseudo-labels'"),
        ("dirnet", {"unlabelled": "leave out"}, "option of the training of dirnet is 'unlabelled'"),
        ("dirnet", {"image_size": 128}, "image_size is 128; expected '128x160'"),
        ("dirnet", {"image_size": "128x100"}, "image_size is '128x100'; expected"),
        ("dirnet", {"image_size": "16x32"}, "image_size is '16x32'; expected"),
        ("dirnet", {"image_size": "48x48x48x48"}, "image_size is '48x48x48x48'; expected"),
    ],
)
def test_other_requests_are_refused(bundle: str, request_: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        read_asked(bundle, request_, trained_here=False)


def test_limits_belong_to_what_is_taken() -> None:
    for size in (32, 1024):
        asked = read_asked("joint", {"image_size": size, "start_from": "scratch"}, trained_here=False)
        assert asked.numbers["image_size"] == size
    assert read_asked("dirnet", {"image_size": "32x32"}, trained_here=False).image_size == (32, 32)
    assert read_asked("dirnet", {"image_size": "16x24x16"}, trained_here=False).image_size == (16, 24, 16)


@pytest.mark.parametrize(
    ("shapes", "size"),
    [
        ([(80, 96)], (80, 96)),
        ([(20, 81)], (32, 96)),
        ([(700, 690), (40, 400), (81, 300)], (96, 256)),
        ([(36, 50, 35), (37, 120, 9)], (40, 96, 40)),
    ],
)
def test_size_is_chosen_by_the_images(shapes: list[tuple[int, ...]], size: tuple[int, ...]) -> None:
    assert default_image_size(shapes) == size
