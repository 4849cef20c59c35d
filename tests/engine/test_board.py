"""Trees as a Xavier NX with JetPack 5 shows them: nvpmodel's status and table, clocks of CPUs and GPU, thermal zones."""

from __future__ import annotations

import json

import pytest

from gearnn.engine.board import board_state

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
    write(tmp_path / "sys/class/thermal/thermal_zone0/temp", 41500)
    write(tmp_path / "sys/class/thermal/thermal_zone1/temp", 43000)
    write(tmp_path / "sys/class/thermal/thermal_zone2/temp", -256000)
    return tmp_path


def test_a_board_that_is_ready_to_be_measured(xavier):
    state = board_state(xavier)
    assert (state.model, state.jetson) == ("NVIDIA Jetson Xavier NX Developer Kit", True)
    assert (state.power_mode, state.clocks_locked, state.temperature_c) == ("MODE_15W_6CORE (mode 2)", True, 43.0)
    assert state.warnings == ()
    json.dumps(state.to_dict())


@pytest.mark.parametrize(
    ("file", "text", "warning"),
    [
        ("sys/devices/system/cpu/cpufreq/policy2/scaling_min_freq", 115200, "sudo jetson_clocks"),
        ("sys/class/devfreq/17000000.gv11b/min_freq", 114750000, "sudo jetson_clocks"),
        ("sys/class/thermal/thermal_zone1/temp", 91000, "at 91 °C"),
        ("proc/loadavg", "60.00 0.10 0.15 1/512 4321", "load 60.0"),
        ("var/lib/nvpmodel/status", "?", "power mode is unknown"),
    ],
)
def test_what_makes_figures_hard_to_compare_is_said(xavier, file, text, warning):
    write(xavier / file, text)
    (found,) = board_state(xavier).warnings
    assert warning in found


def test_a_mode_without_a_name_is_given_by_its_number(xavier):
    write(xavier / "var/lib/nvpmodel/status", "pmode:0010")
    assert board_state(xavier).power_mode == "mode 10"


def test_a_desktop(tmp_path):
    state = board_state(tmp_path)
    assert (state.model, state.jetson, state.clocks_locked, state.temperature_c, state.load, state.warnings) == (
        None, False, None, None, None, (),
    )  # fmt: skip
    write(tmp_path / "sys/devices/system/cpu/cpufreq/policy0/scaling_governor", "powersave")
    assert "performance" in board_state(tmp_path).warnings[0]
