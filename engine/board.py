"""The state of the device that a measurement depends on: power mode, clocks, temperature, other work."""

from __future__ import annotations

import os
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

from gearnn.engine.environment import usable_cores

HOT = 80.0  # °C: boards slow down from there on, or soon
_BUSY = 0.5  # load for each core
_GPU = re.compile(r"gpu|gv11b|ga10b|gp10b|gm20b|nvgpu")


@dataclass(frozen=True)
class BoardState:
    """None where it cannot be read.

    Attributes:
        model: the board's name in the device tree.
        jetson: whether it is an NVIDIA Jetson.
        power_mode: nvpmodel's, by name where its table has one.
        clocks_locked: every CPU and GPU clock's lowest frequency is its highest; None on other machines than a Jetson.
        governor: of the first CPU's clock.
        temperature_c: of the hottest thermal zone.
        load: processes that ran or waited in the last minute, on average.
        warnings: what makes figures hard to compare, with the cure.
    """

    model: Optional[str]
    jetson: bool
    power_mode: Optional[str]
    clocks_locked: Optional[bool]
    governor: Optional[str]
    temperature_c: Optional[float]
    load: Optional[float]
    warnings: Tuple[str, ...]

    def to_dict(self) -> Dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


def board_state(root: Path = Path("/")) -> BoardState:
    """Read it.

    Args:
        root: where ``sys``, ``proc``, ``etc`` and ``var`` are; another folder in tests.
    """
    model = (_read(root / "proc/device-tree/model") or "").strip("\0 \n") or None
    jetson = bool(model and "jetson" in model.lower()) or (root / "etc/nv_tegra_release").exists()
    mode = _power_mode(root) if jetson else None
    locked = _clocks_locked(root) if jetson else None
    governor = _read(root / "sys/devices/system/cpu/cpufreq/policy0/scaling_governor")
    temperature, load = _hottest(root), _load(root)
    warnings = _warnings(jetson, mode, locked, governor, temperature, load)
    return BoardState(model, jetson, mode, locked, governor, temperature, load, tuple(warnings))


def _warnings(
    jetson: bool,
    mode: Optional[str],
    locked: Optional[bool],
    governor: Optional[str],
    temperature: Optional[float],
    load: Optional[float],
) -> List[str]:
    found = []
    if jetson and mode is None:
        found.append("the power mode is unknown: sudo nvpmodel -q shows it")
    if jetson and not locked:
        found.append("the clocks are not locked, so latencies depend on what ran before: sudo jetson_clocks locks them")
    if not jetson and governor == "powersave":
        found.append("the processor's clock is governed for saving power: sudo cpupower frequency-set -g performance")
    if temperature is not None and temperature >= HOT:
        found.append(f"the device is at {temperature:.0f} °C and may be slowing down: let it cool")
    if load is not None and load > _BUSY * usable_cores():
        found.append(f"other work keeps the processor busy (load {load:.1f}): stop it for figures that can be compared")
    return found


def _power_mode(root: Path) -> Optional[str]:
    """nvpmodel keeps the present mode as ``pmode:0002`` and names in lines like ``< POWER_MODEL ID=2 NAME=MODE_15W_6CORE >``."""
    number = re.search(r"pmode:\s*0*(\d+)", _read(root / "var/lib/nvpmodel/status") or "")
    if number is None:
        return None
    names = dict(re.findall(r"<\s*POWER_MODEL\s+ID=(\d+)\s+NAME=(\S+)\s*>", _read(root / "etc/nvpmodel.conf") or ""))
    return f"{names[number[1]]} (mode {number[1]})" if number[1] in names else f"mode {number[1]}"


def _clocks_locked(root: Path) -> Optional[bool]:
    pairs = [
        (_read(policy / "scaling_min_freq"), _read(policy / "scaling_max_freq"))
        for policy in (root / "sys/devices/system/cpu/cpufreq").glob("policy*")
    ]
    for clock in (root / "sys/class/devfreq").glob("*"):
        if _GPU.search(clock.name):
            pairs.append((_read(clock / "min_freq"), _read(clock / "max_freq")))
    known = [(lowest, highest) for lowest, highest in pairs if lowest and highest]
    return all(lowest == highest for lowest, highest in known) if known else None


def _hottest(root: Path) -> Optional[float]:
    found = []
    for zone in (root / "sys/class/thermal").glob("thermal_zone*"):
        text = _read(zone / "temp") or ""
        if re.fullmatch(r"-?\d+", text) and -50_000 < int(text) < 200_000:  # sensors that are off give nonsense
            found.append(int(text) / 1000)
    return max(found) if found else None


def _load(root: Path) -> Optional[float]:
    text = _read(root / "proc/loadavg")
    try:
        return float(text.split()[0]) if text else (os.getloadavg()[0] if root == Path("/") else None)
    except (ValueError, OSError):
        return None


def _read(path: Path) -> Optional[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip() or None
    except OSError:
        return None
