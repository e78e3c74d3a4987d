"""Maps of the affine group from corresponding points of which some are wrong.

References:
    Fischler and Bolles, Random sample consensus, Communications of the ACM 1981.
    Moisan and Stival, A probabilistic criterion to detect rigid point matches between two images and estimate the
    fundamental matrix, IJCV 2004: the number of false alarms. Our region of agreement is a ball instead of a strip, and
    the space that wrong points may lie in the box around the moving points.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..utils import check_choice, check_positive
from .affine import AFFINE_KINDS, AffineTransform
from .fitting import MAX_CONDITION, Points, check_pairs, fit_affine, needed_pairs, solve_affine

RESIDUALS = 1 << 22  # (hypotheses x pairs) a block: 64 MiB in 2D
REFITS = 10


@dataclass(frozen=True)
class RobustFit:
    """What :func:`fit_robust` found.

    Args:
        transform: the least-squares map of the inliers.
        inliers: (N,), true for the pairs that the transform is fitted to.
        false_alarms: how many maps would be expected to find as many inliers if the moving points were scattered at
            random; small when the agreement cannot be chance.
    """

    transform: AffineTransform
    inliers: Tensor
    false_alarms: float


def fit_robust(
    fixed_points: Points,
    moving_points: Points,
    *,
    threshold: float,
    kind: str = "affine",
    iterations: int = 1000,
    generator: torch.Generator | None = None,
) -> RobustFit:
    """The map on which most pairs agree, by random samples (RANSAC), fitted to these pairs by least squares.

    Each sample has as few pairs as the kind needs. The best is the one with the least sum of squared distances, each
    counted up to the threshold (MSAC), and is refitted to its inliers until they no longer change. Gradients reach the
    points of the inliers.

    Args:
        fixed_points: (N, D), one set.
        moving_points: (N, D), row by row the moving points of ``fixed_points``, some of them wrong.
        threshold: largest distance of an inlier from its mapped point, in world units.
        kind: see :func:`fit_affine`.
        iterations: number of samples. With a share q of inliers and samples of s pairs, about 7 / q^s find the
            inliers in 999 of 1000 cases.
        generator: source of the samples, on the CPU; a fresh one of seed 0 when omitted, so that equal points give
            equal maps.

    Raises:
        ValueError: as :func:`fit_affine`; and when no map has more inliers than chance allows (one false alarm or more
            expected), with the number of inliers.
    """
    fixed, moving, _ = check_pairs(fixed_points, moving_points)
    check_choice("kind", kind, AFFINE_KINDS)
    check_positive("threshold", threshold)
    check_positive("iterations", iterations)
    if fixed.shape[0] > 1:
        raise ValueError(
            f"fixed_points or moving_points hold {fixed.shape[0]} sets; expected one (N, D), fit each alone"
        )
    x, y, sample = fixed[0], moving[0], needed_pairs(kind, fixed.shape[-1])
    inliers = torch.zeros(len(x), dtype=torch.bool, device=x.device)
    if len(x) > sample:
        source = torch.Generator().manual_seed(0) if generator is None else generator
        with torch.no_grad():
            matrix = _best_sample(x, y, kind, threshold, iterations, source)
            inliers = _agreeing(x, y, kind, threshold, matrix)
    chance = false_alarms(y.detach(), int(inliers.sum()), sample, threshold)
    if not chance < 1:
        raise ValueError(
            f"fixed_points and moving_points agree on no map of kind {kind!r}: the best has {int(inliers.sum())} "
            f"inliers of {len(x)} within threshold {threshold:g}, and points at random give {chance:.2g} such maps; "
            "expected less than one. Raise iterations, set threshold to the error of right pairs, or find other pairs"
        )
    return RobustFit(fit_affine(x[inliers], y[inliers], kind=kind), inliers, chance)


def false_alarms(moving_points: Tensor, inliers: int, sample: int, threshold: float) -> float:
    """Expected number of maps with that many inliers, were the moving points spread at random over their box.

    Args:
        moving_points: (N, D).
        inliers: how many of them lie within the threshold of a map.
        sample: number of pairs that determine a map.
        threshold: in world units.

    Returns:
        ``(N - s) C(N, k) C(k, s) a^(k - s)`` for k inliers and samples of s, where a is the volume of the ball of the
        threshold over that of the box; infinite unless there are more inliers than a sample has.
    """
    count, dims = moving_points.shape
    if inliers <= sample:
        return math.inf
    box = moving_points.amax(0) - moving_points.amin(0) + 2 * threshold  # wrong points may lie as far out
    log_share = math.log({2: math.pi, 3: 4 / 3 * math.pi}[dims]) + float((threshold / box).log().sum())
    log_ways = math.log(count - sample) + math.log(math.comb(count, inliers)) + math.log(math.comb(inliers, sample))
    return math.exp(min(log_ways + (inliers - sample) * log_share, 700.0))


def _best_sample(
    fixed: Tensor, moving: Tensor, kind: str, threshold: float, iterations: int, generator: torch.Generator
) -> Tensor:
    """The map (1, D, D+1), among those of random samples, with the least truncated sum of squares."""
    count, dims = fixed.shape
    best, least = fixed.new_zeros(1, dims, dims + 1), torch.inf
    block = max(1, RESIDUALS // count)
    for done in range(0, iterations, block):
        draws = torch.rand(min(block, iterations - done), count, generator=generator)
        picks = draws.topk(needed_pairs(kind, dims), dim=1).indices.to(fixed.device)  # (samples, s), no pair twice
        weights = fixed.new_ones(picks.shape)
        matrices, condition = solve_affine(fixed[picks], moving[picks], weights, kind=kind)
        cost = _squared_residuals(fixed, moving, matrices).clamp_max(threshold**2).sum(dim=1)
        cost = torch.where(condition < MAX_CONDITION, cost, torch.inf)
        lowest = int(cost.argmin())
        if float(cost[lowest]) < least:
            best, least = matrices[lowest, None], float(cost[lowest])
    return best


def _agreeing(fixed: Tensor, moving: Tensor, kind: str, threshold: float, matrix: Tensor) -> Tensor:
    """The pairs (N,) within the threshold of a map, and of the fit to them, until these are the same."""
    inliers = torch.zeros(len(fixed), dtype=torch.bool, device=fixed.device)
    for _ in range(REFITS):
        again = _squared_residuals(fixed, moving, matrix)[0] <= threshold**2
        if bool((again == inliers).all()):
            break
        inliers = again
        matrix, condition = solve_affine(fixed[None], moving[None], inliers[None].to(fixed), kind=kind)
        if not float(condition) < MAX_CONDITION:
            break
    return inliers


def _squared_residuals(fixed: Tensor, moving: Tensor, matrices: Tensor) -> Tensor:
    """Squared distances (H, N) of moving points (N, D) from the fixed ones mapped by (H, D, D+1); float64."""
    mapped = fixed @ matrices[..., :-1].mT + matrices[..., -1][:, None]
    return (mapped - moving).square().sum(dim=-1)
