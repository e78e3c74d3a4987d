"""Cutting single nuclei out of labelled fields, each in a frame of its own as live-cell views show them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from monai.data import MetaTensor
from scipy.ndimage import affine_transform, binary_dilation, find_objects, gaussian_filter

__all__ = ["DEFAULT_CROPS", "CropSettings", "crop_nuclei", "crop_track", "scale_by_percentiles", "whole_nuclei"]

_HALO_PX = 3  # a nucleus' blur reaches this far past its label
_MIN_BACKGROUND_PX = 30
_LABEL_BLUR_PX = 0.7  # rounds the staircase of a label that is enlarged; its contour moves by less than 0.1 px


@dataclass(frozen=True)
class CropSettings:
    """Which nuclei are cut, and what their frames show.

    Args:
        fill: Diameter of the nucleus' bounding circle over the side of its frame, above 0, up to 1.
        others: "paint_out" replaces neighbouring nuclei by draws from the local background, "keep" shows them.
        min_area_px: Nuclei of fewer field pixels are left out.
        gap_px: Nuclei nearer than this to another are left out; 0 takes touching ones too, whose outlines are cut.
        max_nuclei: At most so many nuclei of a field, a seeded choice; None for all.

    Raises:
        ValueError: If a setting is out of range.
    """

    fill: float = 0.7
    others: Literal["paint_out", "keep"] = "paint_out"
    min_area_px: int = 100
    gap_px: int = 0
    max_nuclei: int | None = 12

    def __post_init__(self) -> None:
        if not 0 < self.fill <= 1:
            raise ValueError(f"fill is {self.fill}; expected a number above 0, up to 1")
        if self.others not in ("paint_out", "keep"):
            raise ValueError(f"others is {self.others!r}; expected 'paint_out' or 'keep'")
        if self.min_area_px < 1:
            raise ValueError(f"min_area_px is {self.min_area_px}; expected 1 or more")
        if self.gap_px < 0:
            raise ValueError(f"gap_px is {self.gap_px}; expected 0 or more")
        if self.max_nuclei is not None and self.max_nuclei < 1:
            raise ValueError(f"max_nuclei is {self.max_nuclei}; expected 1 or more, or None for all")


DEFAULT_CROPS = CropSettings()


class _Nucleus(NamedTuple):
    """A nucleus' label number, centroid and frame side, in pixels of its field."""

    number: int
    centre: np.ndarray
    side: float


def crop_nuclei(
    image: torch.Tensor | np.ndarray,
    label: torch.Tensor | np.ndarray,
    size: int,
    *,
    settings: CropSettings = DEFAULT_CROPS,
    seed: int = 0,
) -> list[dict[str, MetaTensor]]:
    """Cuts every whole nucleus of a labelled field as a square frame centred on its centroid.

    Nuclei that touch the field's border are left out. A frame that reaches over the border is filled with draws from
    the nucleus' surroundings, as are painted-out neighbours. Frames are resampled linearly (smoothed first where they
    shrink; labels always, then cut at one half) and scaled to [0, 1] by `scale_by_percentiles`. World == index in each
    frame.

    Args:
        image: (1, height, width) intensities.
        label: (1, height, width) instance numbers, 0 for background.
        size: Side of the frames in pixels.
        settings: Choice of nuclei and look of the frames.
        seed: Seed of the choice and the background draws; the same seed gives the same frames.

    Returns:
        One dictionary a nucleus, in the order of the instance numbers: "image" (1, size, size) float32 in [0, 1] and
        "label" (1, size, size) float32, 0 or 1.

    Raises:
        ValueError: If the shapes differ or are not (1, height, width), or `size` is below 8.
    """
    pixels, numbers = _planes(image, label, size)
    rng = np.random.default_rng(seed)
    nuclei = list(_whole_nuclei(numbers, settings))
    if settings.max_nuclei is not None and len(nuclei) > settings.max_nuclei:
        chosen = rng.choice(len(nuclei), settings.max_nuclei, replace=False)
        nuclei = [nuclei[index] for index in sorted(chosen)]
    return [_item(*_frame(pixels, numbers, nucleus, size, settings.others == "paint_out", rng)) for nucleus in nuclei]


def crop_track(
    fields: Sequence[tuple[torch.Tensor | np.ndarray, torch.Tensor | np.ndarray]],
    number: int,
    size: int,
    *,
    settings: CropSettings = DEFAULT_CROPS,
    seed: int = 0,
) -> list[dict[str, MetaTensor]]:
    """Cuts one nucleus out of the fields of a film: `crop_nuclei` with one magnification for all of them.

    Each frame is centred on the nucleus' centroid in its own field; all have the side length that the largest of them
    would have alone, so that growth stays growth.

    Args:
        fields: Images and labels (1, height, width) of the film, in the order of time.
        number: Instance number of the nucleus, the same in all fields.
        size: Side of the frames in pixels.
        settings: Choice and look of the frames; `max_nuclei` has no say.
        seed: Seed of the background draws.

    Returns:
        One dictionary a field, as `crop_nuclei` gives them.

    Raises:
        ValueError: If there is no field, the shapes in one differ, `size` is below 8, or a field is not one where
            `whole_nuclei` names the nucleus.
    """
    planes = [_planes(image, label, size) for image, label in fields]
    found = [next((n for n in _whole_nuclei(numbers, settings) if n.number == number), None) for _, numbers in planes]
    nuclei = [nucleus for nucleus in found if nucleus is not None]
    if not nuclei or len(nuclei) < len(found):
        missing = [place for place, nucleus in enumerate(found) if nucleus is None]
        raise ValueError(
            f"number is {number}, which does not lie whole and free in fields {missing} of {len(found)}; expected one "
            "or more fields where whole_nuclei names it"
        )
    rng, side = np.random.default_rng(seed), max(nucleus.side for nucleus in nuclei)
    return [
        _item(*_frame(pixels, numbers, nucleus._replace(side=side), size, settings.others == "paint_out", rng))
        for (pixels, numbers), nucleus in zip(planes, nuclei, strict=True)
    ]


def whole_nuclei(label: torch.Tensor | np.ndarray, settings: CropSettings = DEFAULT_CROPS) -> list[int]:
    """The numbers of the nuclei of a field that can be cut: whole, large enough and as free as the settings ask.

    Args:
        label: (1, height, width) instance numbers, 0 for background.
        settings: Choice of nuclei; `max_nuclei` has no say.
    """
    return [nucleus.number for nucleus in _whole_nuclei(np.asarray(label)[0].astype(np.int64), settings)]


def _planes(
    image: torch.Tensor | np.ndarray, label: torch.Tensor | np.ndarray, size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Intensities and instance numbers (height, width), once image, label and the size of the frames are checked."""
    if image.ndim != 3 or image.shape[0] != 1 or image.shape != label.shape:
        raise ValueError(
            f"image has the shape {tuple(image.shape)} and label {tuple(label.shape)}; expected both (1, height, width)"
        )
    if size < 8:
        raise ValueError(f"size is {size}; expected 8 pixels or more")
    return np.asarray(image, dtype=np.float32)[0], np.asarray(label)[0].astype(np.int64)


def _item(view: np.ndarray, mask: np.ndarray) -> dict[str, MetaTensor]:
    return {"image": _as_image(scale_by_percentiles(view)), "label": _as_image(mask.astype(np.float32))}


def scale_by_percentiles(values: np.ndarray, low: float = 0.5, high: float = 99.5) -> np.ndarray:
    """Scales intensities so that two percentiles become 0 and 1, and clips the rest; float32 of the same shape.

    >>> scale_by_percentiles(np.array([0.0, 5.0, 10.0]), 0, 100).tolist()
    [0.0, 0.5, 1.0]
    """
    bottom, top = np.percentile(values, (low, high))
    return np.clip((values - bottom) / max(top - bottom, 1e-6), 0, 1).astype(np.float32)


def _as_image(plane: np.ndarray) -> MetaTensor:
    return MetaTensor(torch.from_numpy(plane[None]), affine=torch.eye(4, dtype=torch.float64), meta={"space": "index"})


def _whole_nuclei(numbers: np.ndarray, settings: CropSettings) -> Iterator[_Nucleus]:
    limits = np.array(numbers.shape)
    for number, box in enumerate(find_objects(numbers), start=1):
        if box is None or any(s.start == 0 or s.stop == limit for s, limit in zip(box, limits, strict=True)):
            continue
        points = np.argwhere(numbers[box] == number) + [s.start for s in box]
        if len(points) < settings.min_area_px or not _is_free(numbers, number, box, settings.gap_px):
            continue
        centre = points.mean(0)
        diameter = 2 * np.linalg.norm(points - centre, axis=1).max() + 1
        yield _Nucleus(number, centre, diameter / settings.fill)


def _is_free(numbers: np.ndarray, number: int, box: tuple[slice, ...], gap: int) -> bool:
    """Says whether no other nucleus has a pixel within ``gap`` (city-block) pixels of this one."""
    if gap == 0:
        return True
    wide = tuple(slice(max(0, s.start - gap), s.stop + gap) for s in box)
    around = binary_dilation(numbers[wide] == number, iterations=gap)
    return not np.any(around & (numbers[wide] != 0) & (numbers[wide] != number))


def _frame(
    pixels: np.ndarray, numbers: np.ndarray, nucleus: _Nucleus, size: int, paint_out: bool, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Gives the frame of one nucleus and its mask, both (size, size)."""
    step = nucleus.side / size  # field pixels a frame pixel
    blur = max(0.0, (step - 1) / 2)
    first = np.floor(nucleus.centre - nucleus.side / 2 - 4 * blur).astype(int) - 1
    length = int(np.ceil(nucleus.side + 8 * blur)) + 4
    last = first + length
    window = tuple(slice(max(0, f), min(e, limit)) for f, e, limit in zip(first, last, numbers.shape, strict=True))
    margins = [(s.start - f, e - s.stop) for s, f, e in zip(window, first, last, strict=True)]
    view, near = np.pad(pixels[window], margins), np.pad(numbers[window], margins)
    outside = np.pad(np.zeros(pixels[window].shape, dtype=bool), margins, constant_values=True)
    own, others = near == nucleus.number, (near != 0) & (near != nucleus.number)
    replaced = outside | (binary_dilation(others, iterations=_HALO_PX) & ~own if paint_out else False)
    if replaced.any():
        view[replaced] = rng.choice(_background(view, near, outside), replaced.sum())
    if blur:
        view = gaussian_filter(view, blur, mode="nearest")
    offset = nucleus.centre - first - (size - 1) / 2 * step
    scale = {"matrix": [step, step], "offset": offset, "output_shape": (size, size), "mode": "nearest"}
    smooth = gaussian_filter(own.astype(np.float32), max(blur, _LABEL_BLUR_PX), mode="nearest")
    return affine_transform(view, order=1, **scale), affine_transform(smooth, order=1, **scale) > 0.5


def _background(view: np.ndarray, near: np.ndarray, outside: np.ndarray) -> np.ndarray:
    """Gives the intensities around a nucleus: clear of every halo, else the darkest tenth of what is in the field."""
    clear = ~binary_dilation(near != 0, iterations=_HALO_PX) & ~outside
    if clear.sum() >= _MIN_BACKGROUND_PX:
        return view[clear]
    inside = np.sort(view[~outside])
    return inside[: max(1, len(inside) // 10)]
