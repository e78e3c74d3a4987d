"""The shape and the motion of the ventricles of a heart in short-axis slices."""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, pi, radians, sin

import numpy as np
from numpy.typing import NDArray

from .cine_slice import LV_CAVITY, LV_MYOCARDIUM, RV

__all__ = ["SYSTOLE", "Array", "Ventricles", "contraction", "draw_ventricles"]

Array = NDArray[np.floating]
SYSTOLE, FILLED = 0.35, 0.85  # of the cycle: end systole, and when the ventricles have filled again


def contraction(cycle: float) -> float:
    """How far the heart has contracted at a part of its cycle: 0 at end diastole (0), 1 at end systole (0.35)."""
    cycle = cycle % 1
    part = cycle / SYSTOLE if cycle < SYSTOLE else max(1 - (cycle - SYSTOLE) / (FILLED - SYSTOLE), 0.0)
    return sin(pi / 2 * part) ** 2


@dataclass(frozen=True)
class Ventricles:
    """The ventricles in one slice, in mm and radians, and how they move.

    Convention: points (2, H, W) are row and column in mm from the axis of the left ventricle. Its cavity is a disc and
    its wall a ring once ``oval`` has taken points to round coordinates. The right ventricle is an ellipse less these.

    Args:
        oval: (2, 2) matrix of determinant 1.
        cavity: radius of the left cavity at end diastole.
        outer: radius of the left ventricle with its wall.
        emptying: share of the left cavity's area that is lost at end systole.
        thickening: share by which the area of the wall has grown then, as the ventricle gets shorter.
        twist: turn of the left ventricle then.
        drift: shift of the heart then (2,).
        side: unit vector from the left to the right ventricle (2,).
        reach: size of the right ventricle, about 1.
    """

    oval: Array
    cavity: float
    outer: float
    emptying: float
    thickening: float
    twist: float
    drift: Array
    side: Array
    reach: float

    def at_rest(self, points: Array, contracted: float) -> Array:
        """Where tissue that is now at these points (2, H, W) lies at end diastole; far from the heart nothing moves."""
        side, drift = self.side[:, None, None], self.drift[:, None, None]
        reach = np.hypot(*_mapped(self.oval, points)) / self.outer
        free_wall = np.hypot(*(points / self.outer - 1.8 * self.reach * side))
        inward = 0.5 * self.outer * np.exp(-(free_wall**2)) * _smooth_step((reach - 1) / 0.5)
        round_now = _mapped(self.oval, points + contracted * (inward * side + drift * np.exp(-(reach**2) / 8)))
        squared = round_now[0] ** 2 + round_now[1] ** 2 + 1e-6
        squared_at_rest = self._squared_at_rest(squared, contracted)
        turn = contracted * self.twist * np.exp(-squared_at_rest / self.outer**2)
        stretch = np.sqrt(squared_at_rest / squared)
        along, across = stretch * np.cos(turn), stretch * np.sin(turn)
        row, column = round_now
        round_at_rest = np.stack([along * row - across * column, across * row + along * column])
        return _mapped(np.linalg.inv(self.oval), round_at_rest)

    def _squared_at_rest(self, squared: Array, contracted: float) -> Array:
        """Squared distance from the axis at end diastole, of points at this squared distance now.

        All areas in the cavity shrink by one factor and all in the wall grow by another.
        """
        rest_in, rest_out = self.cavity**2, self.outer**2
        now_in, growth = rest_in * (1 - self.emptying * contracted), 1 + self.thickening * contracted
        now_out = now_in + growth * (rest_out - rest_in)
        fade = 1 - _smooth_step((squared - now_out) / (6 * rest_out))
        wall, outside = rest_in + (squared - now_in) / growth, squared + (rest_out - now_out) * fade
        return np.where(squared < now_in, squared * (rest_in / now_in), np.where(squared < now_out, wall, outside))

    def depths(self, at_rest: Array) -> tuple[Array, Array, Array]:
        """How deep points (2, H, W) at end diastole lie in left cavity, left ventricle and right ventricle, in mm."""
        radius = np.hypot(*_mapped(self.oval, at_rest))
        along, across = _mapped(np.stack([self.side, [-self.side[1], self.side[0]]]), at_rest)
        ellipse = np.hypot((along - 0.75 * self.outer) / (1.15 * self.reach), across / (1.1 * self.reach))
        return self.cavity - radius, self.outer - radius, self.outer - ellipse

    def label(self, at_rest: Array) -> NDArray[np.uint8]:
        """Labels (H, W) of tissue that lies at these points (2, H, W) at end diastole."""
        inside = [depth > 0 for depth in self.depths(at_rest)]
        return np.select(inside, [LV_CAVITY, LV_MYOCARDIUM, RV], 0).astype(np.uint8)


def draw_ventricles(rng: np.random.Generator, slices: int) -> list[Ventricles]:
    """The ventricles of one patient in each slice, from the base to the apex."""
    stretch, angle = exp(rng.uniform(0.01, 0.08)), rng.uniform(0, np.pi)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    outer, wall, side = rng.uniform(27, 34), rng.uniform(7, 11), radians(rng.uniform(-25, 15))
    common = {
        "oval": (turn @ np.diag([stretch, 1 / stretch]) @ turn.T).astype(np.float32),
        "emptying": rng.uniform(0.35, 0.7),
        "thickening": rng.uniform(0.1, 0.35),
        "drift": rng.uniform(-2, 2, 2).astype(np.float32),
        "side": np.array([-np.sin(side), -np.cos(side)], dtype=np.float32),
    }
    reach, twist = rng.uniform(0.9, 1.1), radians(rng.uniform(4, 10))
    found = []
    for place in np.linspace(0, 1, slices).tolist():
        radius = outer * (1 - 0.35 * place**2)
        shape = {"cavity": radius * (1 - wall / outer), "outer": radius, "reach": reach * (1 - 0.3 * place**2)}
        found.append(Ventricles(twist=twist * (2 * place - 0.6), **shape, **common))  # base and apex turn oppositely
    return found


def _smooth_step(x: Array) -> Array:
    """0 up to 0, 1 from 1 on, with continuous slope."""
    x = np.clip(x, 0, 1)
    return x**2 * (3 - 2 * x)


def _mapped(matrix: NDArray[np.floating], points: Array) -> Array:
    """Points (2, H, W) mapped by a matrix (2, 2)."""
    return np.tensordot(matrix.astype(np.float32), points, 1)
