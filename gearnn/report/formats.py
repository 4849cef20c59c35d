"""How numbers are written on the page; what is missing is said to be."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Optional

MISSING = "not measured"
NARROW = "\u202f"  # narrow no-break space, between a number and its unit
MINUS = "\u2212"


def percent(fraction: Optional[float]) -> str:
    """0.9831 → 98.3 %."""
    return MISSING if fraction is None else f"{100 * fraction:.1f}{NARROW}%"


def spread(low: float, high: float) -> str:
    """An interval of fractions, in whole percents where it is wide: (0.576, 0.821) → 58 to 82 %."""
    digits = 0 if high - low >= 0.05 else 1
    return f"{100 * low:.{digits}f} to {100 * high:.{digits}f}{NARROW}%"


def points(difference: Optional[float]) -> str:
    """A difference of two fractions in percentage points, with its sign: -0.0042 → −0.4."""
    if difference is None:
        return MISSING
    rounded = round(100 * difference, 1)
    sign = "+" if rounded > 0 else MINUS if rounded < 0 else "±"
    return f"{sign}{abs(rounded):.1f}"


def less(left: Optional[float], right: Optional[float]) -> Optional[float]:
    """left - right, where both are known."""
    return None if left is None or right is None else left - right


def count(value: Optional[float]) -> str:
    """210882 → 210,882."""
    return MISSING if value is None else f"{value:,.0f}"


def decimal(value: Optional[float], digits: int = 2) -> str:
    """1234.567 → 1,234.57."""
    return MISSING if value is None else f"{value:,.{digits}f}"


def milliseconds(value: Optional[float]) -> str:
    """Three significant digits: 1.2346 → 1.23 ms."""
    if value is None:
        return MISSING
    digits = 2 if value <= 0 else max(0, 2 - math.floor(math.log10(value)))
    return f"{value:,.{min(digits, 3)}f}{NARROW}ms"


def duration(seconds: Optional[float]) -> str:
    """4.21 → 4.2 s; 192 → 3 min 12 s; 3840 → 1 h 04 min."""
    if seconds is None:
        return MISSING
    if seconds < 9.95:
        return f"{seconds:.1f}{NARROW}s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}{NARROW}s"
    if whole < 3600:
        return f"{whole // 60}{NARROW}min {whole % 60:02d}{NARROW}s"
    minutes = round(seconds / 60)
    return f"{minutes // 60:,}{NARROW}h {minutes % 60:02d}{NARROW}min"


def size(count_of_bytes: Optional[float]) -> str:
    """Decimal units: 244599 → 245 kB."""
    if count_of_bytes is None:
        return MISSING
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count_of_bytes >= factor:
            value = count_of_bytes / factor
            return f"{value:.{0 if value >= 99.5 else 1}f}{NARROW}{unit}"
    return f"{count_of_bytes:,.0f}{NARROW}bytes"


def joules(value: Optional[float]) -> str:
    """812.3 → 812 J; 16240 → 16.2 kJ."""
    if value is None:
        return MISSING
    return f"{value:,.0f}{NARROW}J" if abs(value) < 1000 else f"{value / 1000:,.1f}{NARROW}kJ"


def quantity(value: Optional[float], unit: Optional[str]) -> str:
    """A budgeted quantity in its unit: "bytes", "ms", or a plain count."""
    return {"bytes": size, "ms": milliseconds}.get(unit or "", count)(value)


def small(value: Optional[float]) -> str:
    """Scientific with two digits: 0.0000012 → 1.2 × 10⁻⁶."""
    if value is None:
        return MISSING
    if value == 0:
        return "0"
    mantissa, exponent = f"{value:.1e}".split("e")
    raised = str(int(exponent)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"{mantissa.replace('-', MINUS)} × 10{raised}"


def place(written: str) -> str:
    """A text that may hold a path, without detours and with a short home: "folders in /data/new/../photos" → "… /data/photos".

    For people only: beyond a link, the folder above is another one.
    """
    before = ""
    while before != written:
        before, written = written, re.sub(r"(?<=/)(?!\.\.?/)[^/]+/\.\.(?:/|$)", "", written)
    written = written.replace("/./", "/")
    home = str(Path.home())
    return re.sub(rf"(?<![^\s]){re.escape(home)}(?=/|$)", "~", written) if len(home) > 1 else written


def words(name: str) -> str:
    """gaussian_noise → gaussian noise."""
    return name.replace("_", " ")
