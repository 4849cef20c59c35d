import numpy as np
import pytest

from gearnn.kernels.philox import below, philox4x32, split64, uniform, uniform_open

# Known answers of Random123 (kat_vectors, philox4x32 10 rounds): counter, key, result.
KNOWN = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN)
def test_known_answers(counter, key, expected):
    result = philox4x32(np.array(counter, np.uint32), key)
    assert result.dtype == np.uint32
    assert tuple(result) == expected


def test_blocks_of_an_array_are_those_of_its_counters():
    counters = np.random.default_rng(0).integers(0, 2**32, (3, 5, 4), dtype=np.uint32)
    together = philox4x32(counters, (7, 8))
    alone = [[philox4x32(counters[i, j], (7, 8)) for j in range(5)] for i in range(3)]
    np.testing.assert_array_equal(together, alone)


def test_words_are_uniform_and_uncorrelated():
    counters = np.zeros((40_000, 4), np.uint32)
    counters[:, 2] = np.arange(40_000)
    u = uniform(philox4x32(counters, (1, 2)))
    assert np.abs(u.mean(0) - 1 / 2).max() < 0.006  # 4 standard errors
    assert np.abs(u.var(0) - 1 / 12).max() < 0.002
    columns = np.column_stack([u[:-1], u[1:]])  # words of one block, and of neighbouring blocks
    assert np.abs(np.corrcoef(columns.T) - np.eye(8)).max() < 0.025


def test_uniform_ends():
    ends = np.array([0, 0xFFFFFFFF], np.uint32)
    low, high = uniform(ends)
    assert low == 0 and 1 - 2**-31 < high < 1
    low, high = uniform_open(ends)
    assert 0 < low < 2**-32 and 1 - 2**-32 < high < 1


def test_below_covers_every_value_evenly():
    words = np.arange(0, 2**32, 2**20, dtype=np.uint64).astype(np.uint32)
    values = below(words, 9)
    assert set(values) == set(range(9))
    assert np.ptp(np.bincount(values)) <= 1
    assert below(np.array([0xFFFFFFFF], np.uint32), 9)[0] == 8


def test_split64():
    assert split64(0x0123456789ABCDEF) == (0x89ABCDEF, 0x01234567)
    assert split64(-1) == (0xFFFFFFFF, 0xFFFFFFFF)
    assert split64(1 << 64) == (0, 0)


@pytest.mark.parametrize("shape", [(), (3,), (2, 5)])
def test_refuses_counters_that_are_not_four_words(shape):
    with pytest.raises(ValueError, match="last axis of 4"):
        philox4x32(np.zeros(shape, np.uint32), (0, 0))


@pytest.mark.parametrize("key", [(0,), (-1, 0), (0, 1 << 32)])
def test_refuses_keys_that_are_not_two_words(key):
    with pytest.raises(ValueError, match="key"):
        philox4x32(np.zeros(4, np.uint32), key)
