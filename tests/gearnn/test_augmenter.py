"""What comes out of ERA and PRIME, and what is refused when they are made."""

from __future__ import annotations

import pytest
import torch

from gearnn.era import ERA
from gearnn.prime import PRIME


@pytest.mark.parametrize("kind", [ERA, PRIME])
def test_normalised_narrow_and_channels_last(kind: type) -> None:
    images = (torch.arange(4 * 3 * 12 * 10).view(4, 3, 12, 10) * 7 % 256).to(torch.uint8)
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
    plain = kind()(images, seed=0)
    made = kind(mean=mean, std=std, dtype=torch.float16, memory_format=torch.channels_last)(images, seed=0)
    assert made.dtype == torch.float16 and made.flatten(0, 1).is_contiguous(memory_format=torch.channels_last)
    expected = (plain - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    torch.testing.assert_close(made.float(), expected, rtol=1e-3, atol=2e-3)


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ({"dtype": torch.float64}, "dtype must be"),
        ({"backend": "nope"}, "backend must be auto or one of"),
        ({"mean": [0.5] * 3}, "both or neither"),
        ({"memory_format": torch.preserve_format}, "memory_format must be"),
    ],
)
def test_output_settings_are_refused_at_once(output: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ERA(**output)
