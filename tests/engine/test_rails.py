"""Sysfs trees as boards show them: the Xavier NX's labels and addresses are those of JetPack 5 (INA3221 at 7-0040 with VDD_IN,
VDD_CPU_GPU_CV and VDD_SOC; NVIDIA Jetson Linux developer guide, "Power rails"), the AGX Orin's has two sensors."""

from __future__ import annotations

import sys
import types

import pytest

from gearnn.engine.rails import find_meter


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{text}\n")


def sensor(root, address, rails, number=4):
    device = root / "sys/bus/i2c/devices" / address
    write(device / "name", "ina3221")
    for channel, (label, millivolts, milliamperes) in enumerate(rails, 1):
        folder = device / "hwmon" / f"hwmon{number}"
        write(folder / f"in{channel}_label", label)
        if millivolts is not None:
            write(folder / f"in{channel}_input", millivolts)
            write(folder / f"curr{channel}_input", milliamperes)
    return device / "hwmon" / f"hwmon{number}"


def xavier_nx(root):
    folder = sensor(root, "7-0040", [("VDD_IN", 4968, 1016), ("VDD_CPU_GPU_CV", 4968, 248), ("VDD_SOC", 4968, 232)])
    write(folder / "in7_label", "sum of shunt voltages")
    write(folder / "in7_input", 15)
    write(folder / "curr7_input", 9999)
    write(root / "sys/bus/i2c/devices/7-0041/name", "other")
    return folder


def test_xavier_nx(tmp_path):
    folder = xavier_nx(tmp_path)
    meter, source = find_meter(tmp_path)
    assert source == "INA3221, total VDD_IN"
    assert (meter.total, meter.cumulative) == ("VDD_IN", False)
    assert meter.read() == pytest.approx({"VDD_IN": 5.047488, "VDD_CPU_GPU_CV": 1.232064, "VDD_SOC": 1.152576})
    write(folder / "curr1_input", 2032)
    assert meter.read()["VDD_IN"] == pytest.approx(10.094976)
    (folder / "in2_input").unlink()
    assert set(meter.read()) == {"VDD_IN", "VDD_SOC"}


def test_agx_orin_has_two_sensors_and_no_total(tmp_path):
    sensor(tmp_path, "1-0040", [("VDD_GPU_SOC", 12000, 300), ("VDD_CPU_CV", 12000, 100), ("VIN_SYS_5V0", 5000, 700)], 3)
    sensor(tmp_path, "1-0041", [("NC", None, None), ("VDDQ_VDD2_1V8AO", 5000, 200), ("NC", 5000, 1)], 4)
    meter, source = find_meter(tmp_path)
    assert source == "INA3221, total the sum of VDD_GPU_SOC, VDD_CPU_CV, VIN_SYS_5V0, VDDQ_VDD2_1V8AO"
    assert meter.total == ""
    assert sum(meter.read().values()) == pytest.approx(3.6 + 1.2 + 3.5 + 1.0)


def rapl(root, name, zone, microjoules, largest=262143328850):
    folder = root / "sys/class/powercap" / zone
    write(folder / "name", name)
    write(folder / "energy_uj", microjoules)
    write(folder / "max_energy_range_uj", largest)
    return folder


def test_rapl_counts_packages_once(tmp_path):
    rapl(tmp_path, "package-0", "intel-rapl:0", 1_500_000)
    rapl(tmp_path, "core", "intel-rapl:0:0", 900_000)
    rapl(tmp_path, "package-1", "intel-rapl:1", 2_000_000)
    rapl(tmp_path, "psys", "intel-rapl:2", 9_000_000)
    meter, source = find_meter(tmp_path)
    assert source == "RAPL, total the sum of package-0, package-1 (processors only, not the board)"
    assert meter.cumulative
    assert meter.read() == pytest.approx({"package-0": 1.5, "package-1": 2.0})
    assert meter.wraps == pytest.approx({"package-0": 262143.32885, "package-1": 262143.32885})


def test_a_counter_that_may_not_be_read_says_how_to_allow_it(tmp_path, monkeypatch):
    folder = rapl(tmp_path, "package-0", "intel-rapl:0", 1)
    read = type(folder).read_text

    def refuse(path, *rest, **options):
        if path.name == "energy_uj":
            raise PermissionError(13, "Permission denied")
        return read(path, *rest, **options)

    monkeypatch.setattr(type(folder), "read_text", refuse)
    meter, reason = find_meter(tmp_path)
    assert meter is None
    assert reason.startswith("not measured: no INA3221 sensor in")
    assert "sudo chmod a+r /sys/class/powercap/intel-rapl:*/energy_uj" in reason


def test_nothing_at_all(tmp_path):
    meter, reason = find_meter(tmp_path)
    assert meter is None
    assert reason.startswith("not measured: no INA3221 sensor in /sys/bus/i2c/devices; no RAPL counter")


def test_nvml_where_the_real_root_has_nothing_else(monkeypatch):
    fake = types.ModuleType("pynvml")
    fake.nvmlInit = lambda: None
    fake.nvmlDeviceGetCount = lambda: 2
    fake.nvmlDeviceGetHandleByIndex = lambda index: index

    def power(handle):
        if handle == 1:
            raise RuntimeError("not supported")
        return 43_500

    fake.nvmlDeviceGetPowerUsage = power
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    monkeypatch.setattr("gearnn.engine.rails._ina3221", lambda root: (None, "no sensor"))
    monkeypatch.setattr("gearnn.engine.rails._rapl", lambda root: (None, "no counter"))
    meter, source = find_meter()
    assert source == "NVML, total the sum of GPU 0 (GPUs only)"
    assert meter.read() == {"GPU 0": 43.5}
    fake.nvmlInit = lambda: power(1)
    assert find_meter()[1] == "not measured: no sensor; no counter; NVML does not start (RuntimeError)"
