"""Numbered DICOM files of a short-axis film, put into slices and time points, and checked against each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np

from ..formats.dicom import INSTANCE, ORIENTATION, POSITION, TRIGGER_TIME, Slice
from ..readers import ImageReadError

__all__ = ["Phases", "check_complete", "phases_of", "slices_of"]

SAME_PLACE_MM = 0.1


class Phases(NamedTuple):
    """Time indices of end diastole and end systole in one slice; None where the slice has no outline of it."""

    ed: int | None
    es: int | None


def slices_of(headers: Mapping[int, Slice]) -> list[list[int]]:
    """Gives the numbers of the files at each place: places in the order of the numbers, files in that of time.

    Args:
        headers: Number of a file to its header, all of one orientation and with a position.

    Raises:
        ImageReadError: If the numbers contradict the instance numbers in the files, or go back and forth between
            places, so that an outline, which is found by its number, would meet the image of another slice or time.
    """
    numbers = sorted(headers)
    _check_instances([headers[number] for number in numbers])
    orientation = headers[numbers[0]].numbers(ORIENTATION)
    normal = np.cross(orientation[:3], orientation[3:])
    found, direction = [[numbers[0]]], 0.0
    for previous, number in zip(numbers, numbers[1:], strict=False):
        step = headers[number].numbers(POSITION) - headers[previous].numbers(POSITION)
        if np.linalg.norm(step) <= SAME_PLACE_MM:
            found[-1].append(number)
            continue
        along = float(step @ normal)
        if abs(along) <= SAME_PLACE_MM or along * direction < 0:
            raise ImageReadError(
                f"path {str(headers[number].path)!r} lies {step.round(3).tolist()} mm from "
                f"{str(headers[previous].path)!r}, the number before it, {along:.4g} mm along the normal; expected "
                "numbers that go through the slices in one direction, all time points of a slice together: the files "
                "were renamed or mixed; take them from their source again"
            )
        direction = along
        found.append([number])
    return [sorted(run, key=lambda number: headers[number].moment()) for run in found]


def _check_instances(slices: Sequence[Slice]) -> None:
    instances = [one.numbers(INSTANCE) for one in slices]  # equal ones, as some tools leave them, say nothing
    if any(len(instance) != 1 for instance in instances):
        return
    for k in range(1, len(slices)):
        if instances[k][0] < instances[k - 1][0]:
            raise ImageReadError(
                f"path {str(slices[k].path)!r} has the instance number {instances[k][0]:g}, but "
                f"{str(slices[k - 1].path)!r}, whose name has a lower number, {instances[k - 1][0]:g}; expected names "
                "and instance numbers in one order: the files were renamed; take them from their source again"
            )


def check_complete(stacks: Sequence[Sequence[int]], headers: Mapping[int, Slice], outlined: set[int]) -> None:
    """Checks that every outlined slice has as many time points as the others, if there are others than outlined ones.

    Args:
        stacks: As `slices_of` gives them.
        headers: Number of a file to its header.
        outlined: Numbers that have an outline.

    Raises:
        ImageReadError: If a slice lacks a time point.
    """
    if outlined.issuperset(headers):
        return
    most = max(map(len, stacks))
    for numbers in stacks:
        if len(numbers) < most and outlined.intersection(numbers):
            gaps = sorted(set(range(min(numbers), max(numbers))) - set(numbers))
            raise ImageReadError(
                f"path {str(headers[min(numbers)].path)!r} begins a slice of {len(numbers)} time points but another "
                f"has {most}{f', the numbers {gaps} are missing' if gaps else ''}; expected all time points of every "
                "outlined slice: add the missing files, or keep none but the outlined ones"
            )


def phases_of(
    stacks: Sequence[Sequence[int]], headers: Mapping[int, Slice], outlined: Mapping[int, bool], folder: Path
) -> list[Phases]:
    """Decides which time points are end diastole and end systole.

    An image with an outer outline is ED. One with an inner outline alone counts to that phase whose trigger times over
    the patient have the nearer median (of ED: of images with an outer outline; of ES: of those without). Of several
    images of one phase in a slice, the one nearest to its median is taken.

    Args:
        stacks: As `slices_of` gives them.
        headers: Number of a file to its header.
        outlined: Numbers that have an outline, and whether they have an outer one.
        folder: Where the outlines lie, for the error text.

    Returns:
        The phases of every slice; all None where there are no outlines.

    Raises:
        ImageReadError: If the patient has outlines of one phase only.
    """
    clock = _clock(stacks, headers)
    if not outlined:
        return [Phases(None, None)] * len(stacks)
    times = {
        outer: [clock[number] for number, has_outer in outlined.items() if has_outer is outer]
        for outer in (True, False)
    }
    for outer, what in ((True, "end diastole (an outer outline)"), (False, "end systole (an inner outline alone)")):
        if not times[outer]:
            raise ImageReadError(
                f"path {str(folder)!r} has no outline of {what}; expected both phases: add the missing outlines, or "
                "take all of the patient out"
            )
    ed_time, es_time = median(times[True]), median(times[False])

    def is_ed(number: int) -> bool:
        return outlined[number] or abs(clock[number] - ed_time) < abs(clock[number] - es_time)

    def nearest(numbers: Sequence[int], time: float, *, ed: bool) -> int | None:
        fitting = [number for number in numbers if number in outlined and is_ed(number) is ed]
        return numbers.index(min(fitting, key=lambda number: abs(clock[number] - time))) if fitting else None

    return [Phases(nearest(numbers, ed_time, ed=True), nearest(numbers, es_time, ed=False)) for numbers in stacks]


def _clock(stacks: Sequence[Sequence[int]], headers: Mapping[int, Slice]) -> dict[int, float]:
    """Trigger time of every image in ms; its place in the film where the files do not tell."""
    triggers = {number: one.numbers(TRIGGER_TIME) for number, one in headers.items()}
    if all(len(trigger) == 1 for trigger in triggers.values()):
        return {number: float(trigger[0]) for number, trigger in triggers.items()}
    return {number: float(time) for numbers in stacks for time, number in enumerate(numbers)}
