"""Trees as a Xavier NX with JetPack 5 and an Orin Nano with JetPack 6 show them: nvpmodel's status and table, clocks of CPUs and
GPU, thermal zones and cooling devices. Names are from NVIDIA's Jetson Linux Developer Guide, the readings are made up.
"""

from __future__ import annotations

import json
import shutil

import pytest

from gearnn.engine.board import board_state, heat_warnings

TABLE = """
< POWER_MODEL ID=0 NAME=MODE_15W_2CORE >
CPU_ONLINE CORE_0 1
< POWER_MODEL ID=2 NAME=MODE_15W_6CORE >
< POWER_MODEL ID=8 NAME=MODE_20W_6CORE >
"""


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{text}\n")


@pytest.fixture()
def xavier(tmp_path):
    write(tmp_path / "proc/device-tree/model", "NVIDIA Jetson Xavier NX Developer Kit\0")
    write(tmp_path / "proc/loadavg", "0.08 0.10 0.15 1/512 4321")
    write(tmp_path / "var/lib/nvpmodel/status", "pmode:0002")
    write(tmp_path / "etc/nvpmodel.conf", TABLE)
    for policy in (0, 2, 4):
        for kind in ("min", "max"):
            write(tmp_path / f"sys/devices/system/cpu/cpufreq/policy{policy}/scaling_{kind}_freq", 1420800)
    for kind in ("min", "max"):
        write(tmp_path / f"sys/class/devfreq/17000000.gv11b/{kind}_freq", 1109250000)
        write(tmp_path / f"sys/class/devfreq/emc/{kind}_freq", {"min": 1, "max": 2}[kind])
    for zone, (kind, temperature) in enumerate(
        [("CPU-therm", 41500), ("GPU-therm", 43000), ("AUX-therm", -256000), ("AO-therm", 40500), ("PMIC-Die", 100000)]
    ):
        write(tmp_path / f"sys/class/thermal/thermal_zone{zone}/type", kind)
        write(tmp_path / f"sys/class/thermal/thermal_zone{zone}/temp", temperature)
    for device, (kind, state) in enumerate([("thermal-cpufreq-0", 0), ("gpu-throttle-alert", 0), ("pwm-fan", 3)]):
        write(tmp_path / f"sys/class/thermal/cooling_device{device}/type", kind)
        write(tmp_path / f"sys/class/thermal/cooling_device{device}/cur_state", state)
    write(tmp_path / "proc/meminfo", "MemTotal:        7764000 kB\nMemAvailable:    5000000 kB")
    return tmp_path


def test_a_board_that_is_ready_to_be_measured(xavier):
    state = board_state(xavier)
    assert (state.model, state.jetson) == ("NVIDIA Jetson Xavier NX Developer Kit", True)
    assert (state.power_mode, state.clocks_locked, state.temperature_c) == ("MODE_15W_6CORE (mode 2)", True, 43.0)
    assert state.warnings == ()
    assert (state.slowed_by, state.memory_available_mb) == ((), 5120)
    assert state.line() == (
        "NVIDIA Jetson Xavier NX Developer Kit, power mode MODE_15W_6CORE (mode 2), clocks locked, 43 °C, load 0.1, "
        "5,120 MB of memory free"
    )
    json.dumps(state.to_dict())


@pytest.mark.parametrize(
    ("file", "text", "warning"),
    [
        ("sys/devices/system/cpu/cpufreq/policy2/scaling_min_freq", 115200, "sudo jetson_clocks"),
        ("sys/class/devfreq/17000000.gv11b/min_freq", 114750000, "sudo jetson_clocks"),
        ("sys/class/thermal/thermal_zone1/temp", 91000, "at 91 °C"),
        ("sys/class/thermal/cooling_device1/cur_state", 1, "slowing itself down at 43 °C (gpu-throttle-alert)"),
        ("sys/class/thermal/cooling_device0/cur_state", 4, "slowing itself down at 43 °C (thermal-cpufreq-0)"),
        ("proc/loadavg", "60.00 0.10 0.15 1/512 4321", "load 60.0"),
        ("var/lib/nvpmodel/status", "?", "power mode is unknown"),
    ],
)
def test_what_makes_figures_hard_to_compare_is_said(xavier, file, text, warning):
    write(xavier / file, text)
    (found,) = board_state(xavier).warnings
    assert warning in found


def test_clocks_that_cannot_be_read_are_not_called_unlocked(xavier):
    shutil.rmtree(xavier / "sys/devices/system/cpu/cpufreq")
    shutil.rmtree(xavier / "sys/class/devfreq")
    state = board_state(xavier)
    assert state.clocks_locked is None
    assert "clocks unknown" in state.line()
    (warning,) = state.warnings
    assert "cannot be read here" in warning


def test_heat_that_the_measurement_made_is_said_afterwards(xavier):
    before = board_state(xavier)
    assert heat_warnings(before, before) == []
    write(xavier / "sys/class/thermal/thermal_zone1/temp", 85000)
    after = board_state(xavier)
    (warning,) = heat_warnings(before, after)
    assert "at 85 °C" in warning
    assert heat_warnings(after, after) == []


def test_an_orin_nano(tmp_path):
    write(tmp_path / "proc/device-tree/model", "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super\0")
    write(tmp_path / "var/lib/nvpmodel/status", "pmode:0002 fmode:quiet")
    write(tmp_path / "etc/nvpmodel.conf", "< POWER_MODEL ID=0 NAME=15W >\n< POWER_MODEL ID=2 NAME=MAXN_SUPER >")
    for kind, frequency in (("min", 306000000), ("max", 1020000000)):
        write(tmp_path / f"sys/class/devfreq/17000000.gpu/{kind}_freq", frequency)
    write(tmp_path / "sys/class/thermal/thermal_zone8/type", "tj-thermal")
    write(tmp_path / "sys/class/thermal/thermal_zone8/temp", 51250)
    state = board_state(tmp_path)
    assert (state.power_mode, state.clocks_locked, state.temperature_c) == ("MAXN_SUPER (mode 2)", False, 51.25)
    assert len(state.warnings) == 1
    assert "sudo jetson_clocks" in state.warnings[0]


def test_a_mode_without_a_name_is_given_by_its_number(xavier):
    write(xavier / "var/lib/nvpmodel/status", "pmode:0010")
    assert board_state(xavier).power_mode == "mode 10"


def test_a_desktop(tmp_path):
    state = board_state(tmp_path)
    assert (state.model, state.jetson, state.clocks_locked, state.temperature_c, state.load, state.warnings) == (
        None, False, None, None, None, (),
    )  # fmt: skip
    assert state.line() == ""
    governor = tmp_path / "sys/devices/system/cpu/cpufreq/policy0/scaling_governor"
    for found in ("powersave", "schedutil"):
        write(governor, found)
        (warning,) = board_state(tmp_path).warnings
        assert f"governor {found}" in warning
    write(governor, "performance")
    assert board_state(tmp_path).warnings == ()
