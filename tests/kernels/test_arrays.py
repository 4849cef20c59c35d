"""Arrays pass in and out on the same memory."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gearnn.kernels.arrays import channels_second, dtype_name, host_view, like, on_device, to_host


def test_views_share_memory() -> None:
    tensor = torch.arange(24.0).view(2, 3, 4)
    view = host_view(tensor.transpose(0, 1))
    assert view.shape == (3, 2, 4)
    view[0, 0, 0] = 7
    assert tensor[0, 0, 0] == 7
    array = np.arange(3)
    assert host_view(array) is array and to_host(array) is array
    assert host_view(torch.ones(2, requires_grad=True)).tolist() == [1, 1]
    assert like(array, tensor).data_ptr() == array.ctypes.data


def test_type_names() -> None:
    assert dtype_name(torch.ones(1).bfloat16()) == "bfloat16" and dtype_name(np.ones(1, np.uint8)) == "uint8"


def test_other_libraries_come_by_dlpack() -> None:
    class Foreign:
        def __init__(self, array: np.ndarray) -> None:
            self.array = array
            self.dtype = array.dtype

        def __dlpack__(self, **options: object) -> object:
            return self.array.__dlpack__(**options)

        def __dlpack_device__(self) -> object:
            return self.array.__dlpack_device__()

    array = np.arange(4.0)
    assert host_view(Foreign(array)).ctypes.data == array.ctypes.data
    with pytest.raises(ValueError, match="expected an array in CPU memory.*got list"):
        host_view([1, 2])


def test_channels_second() -> None:
    for block in (np.zeros((2, 3, 4, 5, 6)), torch.zeros(2, 3, 4, 5, 6)):
        assert tuple(channels_second(block).shape) == (2, 3, 6, 4, 5)
        assert not on_device(block)
