"""Intensities as MONAI transforms: random appearance of microscopy images, and scaling by percentiles."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, Randomizable, RandomizableTransform, ScaleIntensityRangePercentiles
from torch import Tensor

from ..utils import check_finite, plain
from .appearance import AppearanceRange, RandomAppearance
from .items import Image, grid_of, like


class RandPerKeyd(Randomizable, MapTransform):
    """Applies a random array transform to each key with a draw of its own."""

    def __init__(self, keys: KeysCollection, transform: RandomizableTransform) -> None:
        MapTransform.__init__(self, keys)
        self.transform = transform

    def set_random_state(self, seed: int | None = None, state: np.random.RandomState | None = None) -> RandPerKeyd:
        """Seeds the draws; see MONAI's ``Randomizable``."""
        super().set_random_state(seed, state)
        self.transform.set_random_state(seed, state)
        return self

    def randomize(self, data: Any = None) -> None:
        """Draws nothing: the array transform draws anew for each key."""

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The data with the images of the keys changed."""
        d = dict(data)
        for key in self.key_iterator(d):
            d[key] = self.transform(d[key])
        return d


class RandAppearance(RandomizableTransform):
    """:class:`~monai_cellreg.transforms.RandomAppearance` of one image: drift, bleaching, texture, blur and noise.

    Args:
        settings: the largest changes.
        prob: probability of a change.

    Raises:
        ValueError: on a call, for values that are not finite or not in [0, 1].
    """

    def __init__(self, settings: AppearanceRange | None = None, prob: float = 1.0) -> None:
        RandomizableTransform.__init__(self, prob)
        self.settings, self.seed = settings or AppearanceRange(), 0

    def randomize(self, data: Any = None) -> None:
        """Draws whether there is a change, and its seed."""
        super().randomize(None)
        self.seed = int(self.R.randint(2**31 - 1))

    def __call__(self, img: Image) -> Tensor:
        """(C, *spatial) in [0, 1] to the same, float32."""
        image = plain(img).float()
        check_finite("img", image)
        check_unit_range(image, "scale it first, as by NormalizePercentiles")
        self.randomize()
        if self._do_transform:
            generator = torch.Generator().manual_seed(self.seed)
            image = RandomAppearance(generator, settings=self.settings)(image[None])[0]
        return like(img, image, grid_of(img))


class RandAppearanced(RandPerKeyd):
    """Dictionary form of :class:`RandAppearance`, with a draw for each key.

    Args:
        keys: images to change.
        settings: the largest changes.
        prob: probability of a change, for each key.
    """

    def __init__(self, keys: KeysCollection, settings: AppearanceRange | None = None, prob: float = 1.0) -> None:
        super().__init__(keys, RandAppearance(settings, prob))


class NormalizePercentiles(ScaleIntensityRangePercentiles):
    """MONAI's ``ScaleIntensityRangePercentiles`` to [0, 1] with clipping, that refuses values that are not finite.

    A constant image becomes 0, with MONAI's warning.

    Args:
        lower: percentile that becomes 0.
        upper: percentile that becomes 1.
        channel_wise: take the percentiles of each channel.

    Raises:
        ValueError: when the percentiles are not in order within [0, 100]; on a call, for NaN or infinity.

    Example:
        >>> NormalizePercentiles(0, 100)(torch.tensor([[[2.0, 4.0, 6.0]]])).tolist()
        [[[0.0, 0.5, 1.0]]]
    """

    def __init__(self, lower: float = 0.5, upper: float = 99.5, *, channel_wise: bool = False) -> None:
        if not 0 <= lower < upper <= 100:
            raise ValueError(f"lower is {lower} and upper {upper}; expected 0 <= lower < upper <= 100")
        super().__init__(lower, upper, 0.0, 1.0, clip=True, channel_wise=channel_wise)

    def __call__(self, img: Image) -> Image:
        """(C, *spatial) to the same shape in [0, 1], float32."""
        check_finite("img", plain(img))
        return super().__call__(img)


class NormalizePercentilesd(MapTransform):
    """Dictionary form of :class:`NormalizePercentiles`.

    Args:
        keys: images to scale, each by its own percentiles.
        lower: percentile that becomes 0.
        upper: percentile that becomes 1.
        channel_wise: take the percentiles of each channel.
    """

    def __init__(
        self, keys: KeysCollection, lower: float = 0.5, upper: float = 99.5, *, channel_wise: bool = False
    ) -> None:
        super().__init__(keys)
        self.transform = NormalizePercentiles(lower, upper, channel_wise=channel_wise)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The data with the images of the keys scaled."""
        d = dict(data)
        for key in self.key_iterator(d):
            d[key] = self.transform(d[key])
        return d


def check_unit_range(image: Tensor, advice: str) -> None:
    """Check that intensities lie in [0, 1]."""
    low, high = (float(x) for x in image.aminmax()) if image.numel() else (0.0, 0.0)
    if low < 0 or high > 1:
        raise ValueError(f"img has values from {low:.4g} to {high:.4g}; expected them within [0, 1]: {advice}")
