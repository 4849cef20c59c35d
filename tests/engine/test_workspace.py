"""How much memory a build may use."""

from __future__ import annotations

from pathlib import Path

import pytest

from gearnn.engine.errors import EngineError
from gearnn.engine.workspace import available_mb, choose_workspace


def _meminfo(root: Path, available_kb: int) -> Path:
    (root / "proc").mkdir()
    (root / "proc" / "meminfo").write_text(
        f"MemTotal:        7773808 kB\nMemFree:          99999 kB\nMemAvailable:   {available_kb} kB\n"
    )
    return root


@pytest.mark.parametrize(("available_kb", "mb"), [(2_000_000, 488), (6_912_345, 1024), (40_000, 16)])
def test_a_quarter_of_what_is_free_within_bounds(tmp_path: Path, available_kb: int, mb: int) -> None:
    chosen = choose_workspace(root=_meminfo(tmp_path, available_kb))
    assert chosen.mb == mb
    assert str(chosen).startswith(f"workspace {mb} MiB") and f"{available_kb // 1024} MiB of memory available" in str(chosen)


def test_what_was_asked_for_is_taken(tmp_path: Path) -> None:
    chosen = choose_workspace(4000, root=_meminfo(tmp_path, 2_000_000))
    assert (chosen.mb, chosen.available_mb) == (4000, 1953)
    with pytest.raises(EngineError, match="0 MiB is too small"):
        choose_workspace(0)


def test_where_memory_cannot_be_read_the_default_says_so(tmp_path: Path) -> None:
    assert available_mb(tmp_path) is None
    chosen = choose_workspace(root=tmp_path)
    assert chosen.mb == 256 and "not known" in str(chosen)
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc" / "meminfo").write_text("MemTotal: 5 kB\nMemAvailable: unknown\n")
    assert available_mb(tmp_path) is None
