from __future__ import annotations

import pytest

from gearnn.report import formats
from gearnn.report.formats import MINUS, MISSING, NARROW


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (formats.percent(0.98314), f"98.3{NARROW}%"),
        (formats.percent(1.0), f"100.0{NARROW}%"),
        (formats.points(0.1296), "+13.0"),
        (formats.points(-0.0042), f"{MINUS}0.4"),
        (formats.points(-0.0001), "±0.0"),
        (formats.spread(0.5764, 0.8214), f"58 to 82{NARROW}%"),
        (formats.spread(0.9312, 0.9408), f"93.1 to 94.1{NARROW}%"),
        (formats.count(210882), "210,882"),
        (formats.decimal(1234.567), "1,234.57"),
        (formats.milliseconds(0.4123), f"0.412{NARROW}ms"),
        (formats.milliseconds(12.345), f"12.3{NARROW}ms"),
        (formats.milliseconds(1234.5), f"1,234{NARROW}ms"),
        (formats.milliseconds(0.0), f"0.00{NARROW}ms"),
        (formats.duration(4.21), f"4.2{NARROW}s"),
        (formats.duration(59.7), f"1{NARROW}min 00{NARROW}s"),
        (formats.duration(192), f"3{NARROW}min 12{NARROW}s"),
        (formats.duration(3599.6), f"1{NARROW}h 00{NARROW}min"),
        (formats.duration(3840), f"1{NARROW}h 04{NARROW}min"),
        (formats.size(512), f"512{NARROW}bytes"),
        (formats.size(441_000), f"441{NARROW}kB"),
        (formats.size(1_250_000), f"1.2{NARROW}MB"),
        (formats.small(1.24e-6), "1.2 × 10⁻⁶"),
        (formats.small(0.0), "0"),
        (formats.words("gaussian_noise"), "gaussian noise"),
    ],
)
def test_numbers_are_written_consistently(written: str, expected: str) -> None:
    assert written == expected


@pytest.mark.parametrize("name", ["percent", "points", "count", "decimal", "milliseconds", "duration", "size", "small"])
def test_what_is_missing_is_said_to_be(name: str) -> None:
    assert getattr(formats, name)(None) == MISSING


def test_a_difference_needs_both_sides() -> None:
    assert formats.less(0.9, 0.7) == pytest.approx(0.2)
    assert formats.less(None, 0.7) is None
    assert formats.less(0.9, None) is None


def test_paths_take_no_detours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    assert formats.place("image folders in /tmp/x/y/../../photos 2/./a") == "image folders in /tmp/photos 2/a"
    assert formats.place("/home/ada/photos") == "~/photos" and formats.place("/home/adam/photos") == "/home/adam/photos"
    assert formats.place("in /home/ada") == "in ~" and formats.place("/mnt/home/ada/x") == "/mnt/home/ada/x"
    assert formats.place("../photos") == "../photos" and formats.place("/a/..") == "/" and formats.place("not set") == "not set"
