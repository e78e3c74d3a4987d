"""A few steps of optimisation after a network."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from ..engines.instance import DeformableSettings, Images, optimise_deformation
from ..engines.instance.judging import folded_share
from ..engines.instance.similarity import LocalAndGlobalCorrelation
from ..geometry import AffineTransform, SamplingGrid, SpatialTransform, compose
from ..inferers import PairPrediction
from ..utils import check_not_negative, check_positive

WINDOW = 9
SHRINK = 2  # the steps are taken at half the network's resolution and coarser
LEAST_SIDE = 40  # voxels; of shorter images they are taken at full resolution, too


class Refinement:
    """Improves the map of a network by what the pair itself shows: correlation of the images, overlap of the heat maps.

    A network gives what was best on average over its training; a few steps downhill fit it to this pair, also where
    nothing but the inside tells how it moved. A result that folds is left out.

    Args:
        iterations: most steps at each resolution.
        stiffness: see :class:`~monai_cellreg.engines.instance.DeformableSettings`.
        overlap: weight of the mean squared difference of the heat maps against the correlation of the images.

    Raises:
        ValueError: for a number that is negative, or no iterations.
    """

    def __init__(self, iterations: int = 20, *, stiffness: float = 1.0, overlap: float = 30.0) -> None:
        check_positive("iterations", iterations)
        check_not_negative("stiffness", stiffness)
        check_not_negative("overlap", overlap)
        self.settings = DeformableSettings(iterations=iterations, stiffness=stiffness)
        self.overlap = overlap

    def __call__(self, found: PairPrediction) -> SpatialTransform:
        """From fixed to moving world points."""
        fixed_to_world, moving_to_world = (AffineTransform(g.affine) for g in (found.fixed_grid, found.moving_grid))
        grids = (SamplingGrid(g.shape) for g in (found.fixed_grid, found.moving_grid))  # as the network sees them
        images = Images(found.fixed.float(), found.moving.float(), *grids)
        if min(found.fixed_grid.shape) >= LEAST_SIDE:
            images = images.coarser(SHRINK)
        start = compose([fixed_to_world, found.transform, moving_to_world.inverse()])
        loss = _ImagesAndHeatMaps(images.dims, self.overlap)
        deformation, _ = optimise_deformation(images, loss, start, self.settings)
        if folded_share(images, compose([deformation, start])) > folded_share(images, start):
            return found.transform
        return compose([fixed_to_world.inverse(), deformation, fixed_to_world, found.transform])


class _ImagesAndHeatMaps(nn.Module):
    """The loss of images and, where there are any, heat maps: the first and the second channel."""

    def __init__(self, spatial_dims: int, overlap: float) -> None:
        super().__init__()
        self.correlation, self.overlap = LocalAndGlobalCorrelation(spatial_dims, WINDOW, 1.0), overlap

    def forward(self, pred: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """Both (1, 1 or 2, *spatial); there are no masks, so there is no weight."""
        images = self.correlation(pred[:, :1], target[:, :1], weight)
        if pred.shape[1] == 1:  # a network without heat maps
            return images
        return images + self.overlap * functional.mse_loss(pred[:, 1:], target[:, 1:])
