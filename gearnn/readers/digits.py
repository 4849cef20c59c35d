"""The embedded default: scikit-learn's 1,797 handwritten digits, real 8x8 scans that need no download."""

from __future__ import annotations

import numpy as np

from gearnn.engine.images import fit_array
from gearnn.errors import UserError
from gearnn.readers.source import Part, Source

SIZE = 32


def read() -> Source:
    """The digits, uint8 (1797, 1, 32, 32), as ink on paper: 0..16 (ink) becomes 255..0, then resized bicubically.

    The scans are the test part of the UCI set "Optical Recognition of Handwritten Digits" (Alpaydin and Kaynak, 1998).

    Raises:
        UserError: scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise UserError("The embedded digits need scikit-learn: pip install 'gearnn[train]', or give your own data.") from error
    bunch = load_digits()
    scans = np.rint(255 - bunch.images * (255 / 16)).astype(np.uint8)
    images = np.stack([fit_array(scan[None], SIZE, 1) for scan in scans])
    return Source(
        name="digits",
        description="scikit-learn's load_digits (UCI Optical Recognition of Handwritten Digits)",
        classes=tuple(str(name) for name in bunch.target_names),
        train=Part(images, bunch.target.astype(np.int64)),
        test=None,
        notes=(f"8x8 scans, dark on white, brought to {SIZE}x{SIZE}",),
    )
