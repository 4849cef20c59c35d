"""What measures power on this device: a Jetson's INA3221 sensors, RAPL on x86, NVML for NVIDIA desktop GPUs.

INA3221: the kernel's driver (Documentation/hwmon/ina3221.rst) shows for channel N ``in{N}_label``, ``in{N}_input`` in mV and
``curr{N}_input`` in mA. On JetPack 5 and later there is one hwmon folder under each ``/sys/bus/i2c/devices/<bus>-<address>``.
RAPL: ``energy_uj`` counts microjoules and starts anew at ``max_energy_range_uj`` (Documentation/power/powercap/powercap.rst).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Optional, Tuple

_CHANNELS = range(1, 7)  # 7 is the sum of the shunt voltages, not a rail
_TOTALS = ("VDD_IN", "POM_5V_IN")  # what the whole module draws: Xavier NX and Orin; Nano and TX
_UNUSED = ("NC", "")


@dataclass(frozen=True)
class Meter:
    """Something that can be read again and again.

    Attributes:
        source: what it is, in words, and what its total is.
        total: rail that stands for the whole; "" if the rails add up to it.
        cumulative: readings are joules since some moment, else watts at the moment.
        read: rail → reading; a rail that cannot be read now is missing.
        wraps: of a cumulative rail, the joules at which it starts anew.
    """

    source: str
    total: str
    cumulative: bool
    read: Callable[[], Dict[str, float]]
    wraps: Mapping[str, float]


def find_meter(root: Path = Path("/")) -> Tuple[Optional[Meter], str]:
    """The best meter that can be read here, and its source in words; or None, and the reason why nothing is measured.

    Args:
        root: where ``sys`` is mounted; another folder in tests.
    """
    reasons: List[str] = []
    for look in (_ina3221, _rapl, _nvml):
        meter, said = look(root)
        if meter is not None:
            return meter, meter.source
        reasons.append(said)
    return None, "not measured: " + "; ".join(reasons)


def _ina3221(root: Path) -> Tuple[Optional[Meter], str]:
    rails: Dict[str, Tuple[Path, Path]] = {}
    for device in sorted((root / "sys/bus/i2c/devices").glob("*")):
        if "ina3221" not in _text(device / "name"):
            continue
        for folder in sorted([*device.glob("hwmon/hwmon*"), *device.glob("driver/hwmon*")]):
            for channel in _CHANNELS:
                label = _text(folder / f"in{channel}_label")
                voltage, current = folder / f"in{channel}_input", folder / f"curr{channel}_input"
                if label not in _UNUSED and _number(voltage) is not None and _number(current) is not None:
                    rails.setdefault(label, (voltage, current))
    if not rails:
        return None, "no INA3221 sensor in /sys/bus/i2c/devices"

    def read() -> Dict[str, float]:
        watts = {}
        for label, (voltage, current) in rails.items():
            millivolts, milliamperes = _number(voltage), _number(current)
            if millivolts is not None and milliamperes is not None:
                watts[label] = millivolts * milliamperes / 1e6
        return watts

    total = next((label for label in _TOTALS if label in rails), "")
    whole = f"total {total}" if total else f"total the sum of {', '.join(rails)}"
    return Meter(f"INA3221, {whole}", total, False, read, {}), ""


def _rapl(root: Path) -> Tuple[Optional[Meter], str]:
    found, refused = {}, False
    for zone in sorted((root / "sys/class/powercap").glob("intel-rapl:*")):
        if zone.name.count(":") != 1 or _text(zone / "name") == "psys":  # parts of a package, and what holds the packages
            continue
        try:
            int((zone / "energy_uj").read_text())
        except PermissionError:
            refused = True
        except (OSError, ValueError):
            continue
        else:
            found[f"{_text(zone / 'name') or zone.name}"] = zone
    if refused and not found:
        return None, "RAPL may not be read (sudo chmod a+r /sys/class/powercap/intel-rapl:*/energy_uj allows it)"
    if not found:
        return None, "no RAPL counter in /sys/class/powercap"

    def read() -> Dict[str, float]:
        joules = {}
        for name, zone in found.items():
            counted = _number(zone / "energy_uj")
            if counted is not None:
                joules[name] = counted / 1e6
        return joules

    wraps = {name: (_number(zone / "max_energy_range_uj") or 0.0) / 1e6 for name, zone in found.items()}
    return Meter(f"RAPL, total the sum of {', '.join(found)} (processors only, not the board)", "", True, read, wraps), ""


def _nvml(root: Path) -> Tuple[Optional[Meter], str]:
    if root != Path("/"):
        return None, "no other root has an NVIDIA driver"
    try:
        import pynvml

        pynvml.nvmlInit()
        handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
        readable = {f"GPU {index}": handle for index, handle in enumerate(handles) if _milliwatts(pynvml, handle) is not None}
    except ImportError:
        return None, "nvidia-ml-py is not installed"
    except Exception as error:  # NVML's errors share no base class with Python's
        return None, f"NVML does not start ({type(error).__name__})"
    if not readable:
        return None, "NVML shows no GPU that tells its power"

    def read() -> Dict[str, float]:
        found = {name: _milliwatts(pynvml, handle) for name, handle in readable.items()}
        return {name: value / 1e3 for name, value in found.items() if value is not None}

    return Meter(f"NVML, total the sum of {', '.join(readable)} (GPUs only)", "", False, read, {}), ""


def _milliwatts(pynvml: Any, handle: Any) -> Optional[float]:
    try:
        return float(pynvml.nvmlDeviceGetPowerUsage(handle))
    except Exception:
        return None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""


def _number(path: Path) -> Optional[float]:
    try:
        return float(_text(path))
    except ValueError:
        return None
