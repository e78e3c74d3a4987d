from __future__ import annotations

import numpy as np
import pytest

from monai_cellreg.methods import SequenceOptions


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"smoothing": -0.5}, "smoothing is -0.5, expected finite numbers of at least 0"),
        ({"coordinates": "pixels"}, "coordinates is 'pixels', expected one of 'index', 'corner', 'world'"),
        ({"labels_frame": 3}, "labels_frame is 3 and labels are missing"),
        ({"labels": np.ones((3, 4)), "labels_frame": -1}, "labels_frame is -1 and labels are given"),
    ],
)
def test_what_makes_no_sense_is_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SequenceOptions(**options)
