"""The state of the device that a measurement depends on: power mode, clocks, temperature, other work.

Jetson: nvpmodel keeps its mode in ``/var/lib/nvpmodel/status`` and the modes' names in ``/etc/nvpmodel.conf``; jetson_clocks
locks clocks by making the lowest frequency the highest. The memory's clock can be read by root only, and is not looked at.
"""

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
_NO_SENSOR = "PMIC-Die"  # tells a constant, 100 °C on most boards up to Xavier, cold or hot
_SLOWING = re.compile(r"throttle-alert|hot-surface|cpufreq|devfreq")  # cooling devices that take clocks down; fans do not


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
        slowed_by: cooling devices that are taking a clock down now; empty where none is, or none can be read.
        load: processes that ran or waited in the last minute, on average.
        memory_available_mb: that a new process could take, in MB (10⁶ bytes); shared with the GPU on a Jetson.
        warnings: what makes figures hard to compare, with the cure.
    """

    model: Optional[str]
    jetson: bool
    power_mode: Optional[str]
    clocks_locked: Optional[bool]
    governor: Optional[str]
    temperature_c: Optional[float]
    slowed_by: Tuple[str, ...]
    load: Optional[float]
    memory_available_mb: Optional[float]
    warnings: Tuple[str, ...]

    def to_dict(self) -> Dict[str, Any]:
        """JSON-ready."""
        return asdict(self)

    def line(self) -> str:
        """On one line, for people: what is known."""
        clocks = {True: "clocks locked", False: "clocks not locked", None: ""}[self.clocks_locked]
        if self.jetson and self.clocks_locked is None:
            clocks = "clocks unknown"
        parts = (
            self.model or "",
            f"power mode {self.power_mode or 'unknown'}" if self.jetson else "",
            clocks,
            f"governor {self.governor}" if self.governor else "",
            f"{self.temperature_c:.0f} °C" if self.temperature_c is not None else "",
            f"load {self.load:.1f}" if self.load is not None else "",
            f"{self.memory_available_mb:,.0f} MB of memory free" if self.memory_available_mb is not None else "",
        )
        return ", ".join(part for part in parts if part)


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
    temperature, slowed, load = _hottest(root), _slowed_by(root), _load(root)
    warnings = [*_of_settings(jetson, mode, locked, governor), *_of_heat(temperature, slowed)]
    if load is not None and load > _BUSY * usable_cores():
        warnings.append(f"other work keeps the processor busy (load {load:.1f}): stop it for figures that can be compared")
    return BoardState(model, jetson, mode, locked, governor, temperature, slowed, load, _memory_available(root), tuple(warnings))


def heat_warnings(before: BoardState, after: BoardState) -> List[str]:
    """What the measurement itself has brought about: warnings of heat in the state after it that were not there before."""
    known = _of_heat(before.temperature_c, before.slowed_by)
    return [] if known else _of_heat(after.temperature_c, after.slowed_by)


def _of_settings(jetson: bool, mode: Optional[str], locked: Optional[bool], governor: Optional[str]) -> List[str]:
    found = []
    if jetson and mode is None:
        found.append("the power mode is unknown: sudo nvpmodel -q shows it")
    if jetson and locked is False:
        found.append("the clocks are not locked, so latencies depend on what ran before: sudo jetson_clocks locks them")
    if jetson and locked is None:
        found.append(
            "whether the clocks are locked cannot be read here: sudo jetson_clocks --show tells, sudo jetson_clocks locks"
        )
    if not jetson and governor not in (None, "performance"):
        found.append(f"the processor's clock follows its load (governor {governor}): sudo cpupower frequency-set -g performance")
    return found


def _of_heat(temperature: Optional[float], slowed: Tuple[str, ...]) -> List[str]:
    if slowed:
        hot = f" at {temperature:.0f} °C" if temperature is not None else ""
        return [f"the device is slowing itself down{hot} ({', '.join(slowed)}): let it cool"]
    if temperature is not None and temperature >= HOT:
        return [f"the device is at {temperature:.0f} °C and may be slowing down: let it cool"]
    return []


def _power_mode(root: Path) -> Optional[str]:
    """The status is ``pmode:0002``, or more words after that; the table has ``< POWER_MODEL ID=2 NAME=MODE_15W_6CORE >``."""
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
        sensible = re.fullmatch(r"-?\d+", text) and -50_000 < int(text) < 200_000  # sensors that are off give nonsense
        if sensible and _read(zone / "type") != _NO_SENSOR:
            found.append(int(text) / 1000)
    return max(found) if found else None


def _slowed_by(root: Path) -> Tuple[str, ...]:
    active = set()
    for device in (root / "sys/class/thermal").glob("cooling_device*"):
        kind, state = _read(device / "type") or "", _read(device / "cur_state") or ""
        if _SLOWING.search(kind) and state.isdigit() and int(state) > 0:
            active.add(kind)
    return tuple(sorted(active))


def _load(root: Path) -> Optional[float]:
    text = _read(root / "proc/loadavg")
    try:
        return float(text.split()[0]) if text else (os.getloadavg()[0] if root == Path("/") else None)
    except (ValueError, OSError):
        return None


def _memory_available(root: Path) -> Optional[float]:
    found = re.search(r"^MemAvailable:\s*(\d+) kB", _read(root / "proc/meminfo") or "", re.MULTILINE)
    return int(found[1]) * 1024 / 1e6 if found else None


def _read(path: Path) -> Optional[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip() or None
    except OSError:
        return None
