"""What measures power on this device: a Jetson's INA3221 sensors, else RAPL on x86 and NVML for NVIDIA GPUs, together.

INA3221: the kernel's driver (Documentation/hwmon/ina3221.rst) shows for channel N ``in{N}_label``, ``in{N}_input`` in mV and
``curr{N}_input`` in mA. On JetPack 5 and later there is one hwmon folder under each ``/sys/bus/i2c/devices/<bus>-<address>``.
JetPack 4 had an iio folder there: ``rail_name_{N}``, ``in_voltage{N}_input`` in mV and ``in_current{N}_input`` in mA, from 0 on.
Which rail holds which: NVIDIA Jetson Linux Developer Guide, "Software-Based Power Consumption Modeling".
RAPL: ``energy_uj`` counts microjoules and starts anew at ``max_energy_range_uj`` (Documentation/power/powercap/powercap.rst).
NVML: nvmlDeviceGetTotalEnergyConsumption counts millijoules, from Volta on; nvmlDeviceGetPowerUsage tells milliwatts.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Optional, Tuple

_CHANNELS = range(7)  # hwmon counts them from 1, iio from 0; hwmon's 7 is the sum of the shunt voltages, not a rail
_LAYOUTS = (
    ("hwmon/hwmon*", "in{}_label", "in{}_input", "curr{}_input"),
    ("driver/hwmon*", "in{}_label", "in{}_input", "curr{}_input"),
    ("iio[_:]device*", "rail_name_{}", "in_voltage{}_input", "in_current{}_input"),
)
_TOTALS = ("VDD_IN", "POM_5V_IN")  # what the whole module draws: Xavier NX, Orin NX and Nano, TX2; Nano
_WITHIN = {"VDDQ_VDD2_1V8AO": "VIN_SYS_5V0"}  # AGX Orin: the memory's rail is fed by the other, which is measured before it
_UNUSED = ("NC", "")  # AGX Orin's channels without a rail, on JetPack 5 and on 6


@dataclass(frozen=True)
class Meter:
    """Something that can be read again and again.

    Attributes:
        source: what it is, in words, and what its total is.
        total: rail that stands for the whole; "" if the rails add up to it.
        cumulative: readings are joules since some moment, else watts at the moment.
        read: rail → reading; a rail that cannot be read now is missing.
        wraps: of a cumulative rail, the joules at which it starts anew; 0 if that is not known.
        within: rails that another rail holds already, so that they do not add up to the total.
    """

    source: str
    total: str
    cumulative: bool
    read: Callable[[], Dict[str, float]]
    wraps: Mapping[str, float]
    within: Tuple[str, ...] = ()


Finder = Callable[[Path], Tuple[Optional[Meter], str]]
"""From the folder where ``sys`` is mounted to a meter, or None and the reason, in a few words, why there is none here."""

_ADDED: List[Finder] = []


def register_meter(find: Finder) -> None:
    """Let `find_meter` ask ``find`` too, before it looks for meters of its own: whoever adds one knows the board."""
    _ADDED.append(find)


def find_meter(root: Path = Path("/")) -> Tuple[Optional[Meter], str]:
    """The best meter that can be read here, and its source in words; or None, and the reason why nothing is measured.

    Args:
        root: where ``sys`` is mounted; another folder in tests.
    """
    reasons = []
    for find in (*_ADDED, _ina3221):
        board, reason = find(root)
        if board is not None:
            return board, board.source
        reasons.append(reason)
    (processor, refused), (gpu, missing) = _rapl(root), _nvml(root)
    if processor is not None and gpu is not None and gpu.cumulative:
        both = _together(processor, gpu)
        return both, both.source
    if processor is not None:
        return processor, processor.source
    if gpu is not None:
        return gpu, gpu.source
    return None, f"not measured: {'; '.join([*reasons, refused, missing])}"


def _ina3221(root: Path) -> Tuple[Optional[Meter], str]:
    rails: Dict[str, Tuple[Path, Path]] = {}
    for device in sorted((root / "sys/bus/i2c/devices").glob("*")):
        if "ina3221" not in _text(device / "name"):
            continue
        for folders, *names in _LAYOUTS:
            for folder, channel in itertools.product(sorted(device.glob(folders)), _CHANNELS):
                label, voltage, current = (folder / name.format(channel) for name in names)
                if _text(label) not in _UNUSED and _number(voltage) is not None and _number(current) is not None:
                    rails.setdefault(_text(label), (voltage, current))
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
    within = tuple(label for label in rails if _WITHIN.get(label) in rails)
    held = "".join(f"; {label} is within {_WITHIN[label]}" for label in within)
    whole = f"total {total}" if total else f"total the sum of {', '.join(label for label in rails if label not in within)}{held}"
    return Meter(f"INA3221, {whole}", total, False, read, {}, within), ""


def _rapl(root: Path) -> Tuple[Optional[Meter], str]:
    found, refused = {}, False
    for zone in sorted((root / "sys/class/powercap").glob("intel-rapl:*")):
        name, inner = _text(zone / "name") or zone.name, zone.name.count(":") > 1
        if name == "psys" or (inner and name != "dram"):  # what holds the packages, and parts of a package; memory is not one
            continue
        try:
            int((zone / "energy_uj").read_text())
        except PermissionError:
            refused |= not inner  # a sum without the memory is named as such, one without a processor would be no total
        except (OSError, ValueError):
            continue
        else:
            found[f"{_text(zone.with_name(zone.name.rpartition(':')[0]) / 'name')} {name}" if inner else name] = zone
    if refused:
        return None, "RAPL may not be read (sudo chmod a+r /sys/class/powercap/intel-rapl:*/energy_uj allows it until a restart)"
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
    return Meter(
        f"RAPL, total the sum of {', '.join(found)} (processors and their memory, not the board)", "", True, read, wraps
    ), ""


def _nvml(root: Path) -> Tuple[Optional[Meter], str]:
    if root != Path("/"):
        return None, "no other root has an NVIDIA driver"
    try:
        import pynvml

        pynvml.nvmlInit()
        handles = {f"GPU {index}": pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())}
    except ImportError:
        return None, "nvidia-ml-py is not installed"
    except Exception as error:  # NVML's errors share no base class with Python's
        return None, f"NVML does not start ({type(error).__name__})"
    for function, cumulative in (("nvmlDeviceGetTotalEnergyConsumption", True), ("nvmlDeviceGetPowerUsage", False)):
        read = functools.partial(_thousandths, getattr(pynvml, function, None), handles)
        names = list(read())
        if names and (len(names) == len(handles) or not cumulative):
            return Meter(f"NVML, total the sum of {', '.join(names)} (GPUs only)", "", cumulative, read, {}), ""
    return None, "NVML shows no GPU that tells its power"


def _thousandths(ask: Any, handles: Mapping[str, Any]) -> Dict[str, float]:
    """Watts or joules of what NVML tells in thousandths, of the GPUs that it tells them of."""
    found = {}
    for name, handle in handles.items():
        with contextlib.suppress(Exception):
            found[name] = float(ask(handle)) / 1e3
    return found


def _together(processor: Meter, gpu: Meter) -> Meter:
    """Two meters that count energy as one."""
    names = ", ".join([*processor.wraps, *gpu.read()])
    source = f"RAPL and NVML, total the sum of {names} (processors and GPUs only, not the board)"
    return Meter(source, "", True, lambda: {**processor.read(), **gpu.read()}, processor.wraps)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except (OSError, TypeError):  # a TypeError is what Python makes of EAGAIN: a device that cannot answer now
        return ""


def _number(path: Path) -> Optional[float]:
    try:
        return float(_text(path))
    except ValueError:
        return None
