"""What a client may ask of a training on the datastore, and what the bundles are told for it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from ...utils import check_choice
from .trained import BUNDLES

__all__ = ["Asked", "default_image_size", "read_asked", "shown_options"]

SHIPPED, SCRATCH, TRAINED_HERE = "shipped", "scratch", "trained here"
LEAVE_OUT, PSEUDO_LABELS = "leave out", "pseudo-labels"
SHIPPED_SIZE = 160  # of joint and segreg, whose weights fit no other
SENT_BY_MONAI_LABEL = {"model", "name", "gpus", "multi_gpu", "local_rank", "client_id", "bundle_path", *BUNDLES}
CONTROL_STEP = {2: 16, 3: 8}  # voxels between the control points of dirnet's configurations
LARGEST_SIDE = {2: 256, 3: 96}  # chosen for dirnet when none is asked for: what two cores train in minutes


@dataclass(frozen=True)
class Number:
    """A number that can be asked for.

    Args:
        default: what is taken otherwise; a whole number where only whole ones make sense.
        lowest: that is taken.
        highest: that is taken.
        step: whole numbers must be its multiples.
    """

    default: float
    lowest: float
    highest: float
    step: int = 1

    def read(self, name: str, value: object) -> float:
        """A value as it was sent: a number, or the text of one, as tables of options send it.

        Raises:
            ValueError: for anything else.
        """
        whole = isinstance(self.default, int)
        number = _as_number(value)
        fits = self.lowest <= number <= self.highest and (not whole or number % self.step == 0)
        if not fits:  # also what is not a number
            kind = ("a whole number" if self.step == 1 else f"a multiple of {self.step}") if whole else "a number"
            raise ValueError(
                f"{name} is {value!r}; expected {kind} from {self.lowest:g} to {self.highest:g}, such as "
                f"{self.default:g}, which is the default"
            )
        return int(number) if whole else number


SEED = Number(0, 0, 2**31 - 1)
NUCLEI = {
    "max_epochs": Number(10, 1, 10_000),
    "image_size": Number(SHIPPED_SIZE, 32, 1024, step=32),
    "batch_size": Number(8, 1, 512),
    "learning_rate": Number(0.001, 1e-7, 1.0),
    "simulated": Number(0, 0, 100_000),
    "min_area_px": Number(100, 1, 10_000_000),
    "seed": SEED,
}
IMAGES = {
    "max_epochs": Number(15, 1, 10_000),
    "pairs_per_epoch": Number(400, 1, 1_000_000),
    "batch_size": Number(4, 1, 512),
    "learning_rate": Number(0.001, 1e-7, 1.0),
    "seed": SEED,
}
RENAMED = {"min_area_px": "crops::min_area_px"}


@dataclass(frozen=True)
class Asked:
    """A training as it was asked for.

    Args:
        bundle: its name.
        start_from: "shipped", "scratch" or "trained here".
        device: where to compute.
        numbers: all else that is a number, by its name.
        image_size: of dirnet, along each axis; none chooses it by the images.
        with_unlabelled: whether images without labels take part, with labels made from the pictures.
    """

    bundle: str
    start_from: str
    device: str
    numbers: Mapping[str, float] = field(default_factory=dict)
    image_size: tuple[int, ...] | None = None
    with_unlabelled: bool = False

    def overrides(self) -> dict[str, Any]:
        """Keys of the bundle's ``train.json`` with their values; only numbers and text of our own."""
        numbers = {RENAMED.get(name, name): value for name, value in self.numbers.items()}
        return {**numbers, "device": f"$torch.device('{self.device}')"}


def shown_options(bundle: str, *, trained_here: bool) -> dict[str, Any]:
    """Every option with its default; of choices all, the default first.

    Args:
        bundle: name of the bundle.
        trained_here: whether there are weights of an earlier training on the datastore.
    """
    devices = ["cuda", "cpu"] if torch.cuda.is_available() else ["cpu"]
    own = [TRAINED_HERE] if trained_here else []
    choices: dict[str, Any] = {"start_from": [SHIPPED, SCRATCH, *own]}
    if bundle == "dirnet":
        choices["image_size"] = ""
    else:
        choices["unlabelled"] = [LEAVE_OUT, PSEUDO_LABELS]
    return choices | {name: number.default for name, number in _numbers(bundle).items()} | {"device": devices}


def read_asked(bundle: str, request: Mapping[str, Any], *, trained_here: bool) -> Asked:
    """What a request asks for; options that it leaves out are the defaults.

    Args:
        bundle: name of the bundle.
        request: option to value, beside what MONAI Label adds to every request.
        trained_here: see :func:`shown_options`.

    Raises:
        ValueError: for an unknown option, or a value that cannot be.
    """
    shown = shown_options(bundle, trained_here=trained_here)
    given = {name: value for name, value in request.items() if name not in SENT_BY_MONAI_LABEL}
    for name in given:
        check_choice(f"option of the training of {bundle}", name, shown)
    chosen = {name: values[0] for name, values in shown.items() if isinstance(values, list)}
    for name in chosen.keys() & given.keys():
        check_choice(name, given[name], shown[name])
        chosen[name] = given[name]
    numbers = {name: number.read(name, given.get(name, number.default)) for name, number in _numbers(bundle).items()}
    size = None if bundle != "dirnet" else _image_size(given.get("image_size", ""))
    if bundle != "dirnet" and chosen["start_from"] == SHIPPED and numbers["image_size"] != SHIPPED_SIZE:
        raise ValueError(
            f"image_size is {numbers['image_size']} but the shipped weights of {bundle} are for {SHIPPED_SIZE}; "
            f"expected {SHIPPED_SIZE}, or start_from {SCRATCH!r}"
        )
    with_unlabelled = chosen.get("unlabelled") == PSEUDO_LABELS
    return Asked(bundle, chosen["start_from"], chosen["device"], numbers, size, with_unlabelled)


def default_image_size(shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """The size at which dirnet trains when none is asked for: that of the middlemost image along each axis, rounded up.

    Args:
        shapes: of the images, all of one dimension.

    Example:
        >>> default_image_size([(100, 90), (120, 300), (110, 260)])
        (112, 256)
    """
    dims = len(shapes[0])
    step, largest = CONTROL_STEP[dims], LARGEST_SIDE[dims]
    middle = (sorted(sizes)[len(sizes) // 2] for sizes in zip(*shapes, strict=True))
    return tuple(min(largest, max(2 * step, math.ceil(size / step) * step)) for size in middle)


def _numbers(bundle: str) -> Mapping[str, Number]:
    return IMAGES if bundle == "dirnet" else NUCLEI


def _as_number(value: object) -> float:
    try:
        return math.nan if isinstance(value, bool) else float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return math.nan


def _image_size(value: object) -> tuple[int, ...] | None:
    text = "x".join(map(str, value)) if isinstance(value, list | tuple) else str(value).replace(" ", "")
    if text == "":
        return None
    sizes = tuple(int(size) for size in text.split("x")) if re.fullmatch(r"\d{1,4}(x\d{1,4}){1,2}", text) else ()
    step = CONTROL_STEP.get(len(sizes), 0)
    if not sizes or any(size % step or size < 2 * step for size in sizes):
        raise ValueError(
            f"image_size is {value!r}; expected '128x160', multiples of {CONTROL_STEP[2]} of at least 32, for images, "
            f"or '48x64x48', multiples of {CONTROL_STEP[3]} of at least 16, for volumes; empty chooses by the images"
        )
    return sizes
