"""Registration of any two images: what to compare, where to start and how stiff to be is read off the images."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import nn

from ...geometry import AffineTransform, Pair, SpatialTransform, compose
from .deformable import DeformableSettings, Landmarks, optimise_deformation
from .features import comparable
from .judging import (
    affine_correlation,
    affine_information,
    agreement,
    are_different,
    coverage,
    folded_share,
    is_plausible,
    similarities,
    small,
)
from .landmark_fit import LandmarkFit
from .linear import ImageLossFunction, LinearSettings, optimise_affine
from .pyramid import Images, voxel_sizes
from .search import candidates
from .similarity import EdgesAndInformation, LocalAndGlobalCorrelation, correlation_loss, mutual_information_loss

WINDOW = 9  # voxels of the local correlation, along an axis
STIFF_BELOW = 0.08  # local agreement at which the deformation is as soft as it gets; below it is stiffer
SOFTEST, STIFFEST = 0.5, 1.0  # voxels
OTHERWISE = 1.5  # voxels, stiffness for images whose intensities mean different things
CLEARLY = 0.7  # what is left of the disagreement when another start is clearly better
TURNED = 0.5  # the same for a start that turns the image by more than FAR_TURN
FAR_TURN = np.deg2rad(40)
CLEARLY_MORE = 1.1  # gain in mutual information that counts
UNSURE = 0.75  # correlation after the affine stage below which mutual information is tried as well
POOR = 0.5  # correlation below which bright structure need not be bright in the other image
FOLDS = 1e-3  # share of the voxels
LITTLE = 0.25  # local agreement at the end below which images that correlate poorly may not belong together


@dataclass(frozen=True)
class Registered:
    """What the optimisation gives: the map from fixed to moving world points, and what was done, a sentence each."""

    transform: SpatialTransform
    account: tuple[str, ...]


@dataclass(frozen=True)
class AutoSettings:
    """What a user may want to change.

    Args:
        linear: the affine stage.
        deformable: the deformable stage, or None to stop after the affine one; its ``stiffness`` is chosen.
        device: where to compute.
    """

    linear: LinearSettings = field(default_factory=LinearSettings)
    deformable: DeformableSettings | None = field(default_factory=DeformableSettings)
    device: torch.device | str = "cpu"


class AutoRegistration:
    """Registers a pair by optimisation without training, coarse to fine, and checks its own result.

    The affine stage starts from the images' own world coordinates and, where that is poor, from rotations and shifts
    that were searched on small images; the deformable stage maximises local correlation and is the stiffer the less
    the images agree locally. A stage that makes things worse is undone. With landmarks the affine stage starts from
    their own map, which is also the result where the images lead away from them.

    Args:
        settings: see :class:`AutoSettings`.
    """

    def __init__(self, settings: AutoSettings = AutoSettings()) -> None:
        self.settings = settings

    def register(self, pair: Pair) -> SpatialTransform:
        """The map from fixed to moving world points."""
        return self.run(pair).transform

    def run(self, pair: Pair, *, start: SpatialTransform | None = None) -> Registered:
        """Registers a pair.

        Args:
            pair: images, and optionally masks and landmarks, which guide.
            start: a map to refine, such as a network's, in place of the affine stage.

        Raises:
            ValueError: for an image that is constant, not finite or has another number of channels, and for landmarks
                that do not determine a map.
        """
        images, account = comparable(pair, device=self.settings.device)
        fit = LandmarkFit.of(pair) if start is None else None
        found = start
        if found is None:
            affine = self._linear(images, account) if fit is None else self._guided(images, fit, account)
            found = AffineTransform(affine)
        if self.settings.deformable is not None:
            found = self._deformable(images, pair, found, account)
        if fit is not None:
            sure = similarities(small(images), found)[0] >= UNSURE
            if objection := fit.objection(found, "The images", sure=sure):
                account.append(objection)
                found = fit.transform
        return Registered(_not_worse(images, found, fit, account), tuple(account))

    def _linear(self, images: Images, account: list[str]) -> np.ndarray:
        """The affine stage: from world coordinates, or the starts that were searched."""
        identity = np.eye(images.dims + 1)
        best, correlation = self._climb(images, identity, correlation_loss)
        account.append(f"Affine from the images' own coordinates: correlation {correlation:.3f}.")
        best, correlation = self._searched(images, best, correlation, account)
        if similarities(small(images), AffineTransform(best))[0] < UNSURE:
            best = self._by_information(images, best, identity, account)
        return best

    def _guided(self, images: Images, fit: LandmarkFit, account: list[str]) -> np.ndarray:
        """The affine stage from landmarks, which outweigh images of which the correlation is unsure."""
        account.append(f"The {len(fit.fixed)} landmarks gave the start, a map of kind {fit.kind}.")
        best, _ = self._climb(images, fit.matrix, correlation_loss)
        if similarities(small(images), AffineTransform(best))[0] >= UNSURE:
            return best
        if objection := fit.objection(AffineTransform(best), "Correlation"):
            account.append(objection)
            best = fit.matrix
        informed = self._by_information(images, best, fit.matrix, account)
        if objection := fit.objection(AffineTransform(informed), "Mutual information"):
            account.append(objection)
            return fit.matrix
        return informed

    def _climb(self, images: Images, start: np.ndarray, loss: ImageLossFunction) -> tuple[np.ndarray, float]:
        """An affine map from a start, and its correlation; the start itself where the result is not plausible."""
        if coverage(images, start) == 0:
            return start, -1.0
        matrix, _ = optimise_affine(images, loss, start, self.settings.linear)
        if not is_plausible(images, matrix, start):
            matrix = start
        return matrix, affine_correlation(images, matrix)

    def _searched(
        self, images: Images, best: np.ndarray, correlation: float, account: list[str]
    ) -> tuple[np.ndarray, float]:
        """The better of a map and what follows from the best starts of a search."""
        found = candidates(images)
        near = next(candidate for candidate in found if candidate.angle == 0)
        for candidate in [near, *[c for c in found[:2] if c.angle != 0]]:
            if (1 - candidate.correlation) > 2 * (1 - correlation):
                continue  # far behind already
            matrix, value = self._climb(images, candidate.matrix, correlation_loss)
            share = TURNED if abs(candidate.angle) > FAR_TURN else CLEARLY
            if 1 - value < share * (1 - correlation):
                turn = np.rad2deg(candidate.angle)
                account.append(f"A searched start, turned by {turn:.0f} degrees, is clearly better: {value:.3f}.")
                best, correlation = matrix, value
        return best, correlation

    def _by_information(self, images: Images, best: np.ndarray, start: np.ndarray, account: list[str]) -> np.ndarray:
        """The better of a map and what mutual information makes of a start."""
        matrix, _ = self._climb(images, start, mutual_information_loss)
        before, after = (affine_information(images, m) for m in (best, matrix))
        different = are_different(images, AffineTransform(matrix))
        if after <= (1.0 if different else CLEARLY_MORE) * before:
            return best
        account.append(f"The images look different; mutual information rises from {before:.3f} to {after:.3f}.")
        return matrix

    def _deformable(self, images: Images, pair: Pair, start: SpatialTransform, account: list[str]) -> SpatialTransform:
        """The deformable stage before a start; the start alone where it does not help or folds."""
        settings = self.settings.deformable
        assert settings is not None
        finest = images.coarser(voxel_sizes(images.fixed_grid, settings.most_voxels)[-1])
        before = agreement(finest, start)
        stiffness = float(np.clip(STIFF_BELOW / max(before, 1e-6), SOFTEST, STIFFEST))
        landmarks = None
        if pair.fixed_landmarks is not None and pair.moving_landmarks is not None:
            landmarks = Landmarks(pair.fixed_landmarks, pair.moving_landmarks)
        loss: nn.Module
        if are_different(images, start):
            account.append("Intensities mean different things in the two images: edges and mutual information decide.")
            loss, stiffness = EdgesAndInformation(), OTHERWISE
        else:
            alike = similarities(small(images), start)[0] >= POOR
            loss = LocalAndGlobalCorrelation(images.dims, WINDOW, float(alike))
        for attempt in (stiffness, 2 * stiffness):
            deformation, levels = optimise_deformation(
                images, loss, start, replace(settings, stiffness=attempt), landmarks=landmarks
            )
            found = compose([deformation, start])
            after, folds = agreement(finest, found), folded_share(finest, found)
            account.append(
                f"Deformable, {len(levels)} levels, stiffness {attempt:.2f}: local correlation {before:.3f} to "
                f"{after:.3f}, {folds:.2%} of the voxels folded."
            )
            if after <= before and landmarks is None:
                account.append("The deformation did not help and is left out.")
                return start
            if folds <= FOLDS:
                return found
        account.append("The deformation folds and is left out.")
        return start


def _not_worse(
    images: Images, found: SpatialTransform, fit: LandmarkFit | None, account: list[str]
) -> SpatialTransform:
    """The result, or the identity where both similarities say that nothing was gained and no landmarks object."""
    part, identity = small(images), AffineTransform(np.eye(images.dims + 1))
    before, after = (similarities(part, transform) for transform in (identity, found))
    possible = fit is None or not fit.is_missed_by(identity, sure=before[0] >= UNSURE)
    if possible and all(a < b for a, b in zip(after, before, strict=True)):
        account.append("The images agree better as they are than after registration: the identity is returned.")
        return identity
    if after[0] < POOR and after[1] < LITTLE:
        account.append(
            f"The images agree little even so (correlation {after[0]:.2f}, local correlation {after[1]:.2f}): "
            "they may not belong together."
        )
    return found
