"""Peak memory of a call in a process of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from gearnn.bench.memory import peak_growth_mb


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the system does not tell peak memory")
def test_prime_takes_no_more_than_twice_its_batch() -> None:
    own = 3 * 64 * 3 * 32 * 32 * 4 / 1e6
    ours, torchs = peak_growth_mb("prime", 32, 64, 0), peak_growth_mb("prime-torch", 32, 64, 0)
    assert ours is not None and torchs is not None
    assert 0.9 * own < ours < 2 * own
    assert torchs > 10 * own
