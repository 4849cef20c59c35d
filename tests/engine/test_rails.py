"""Sysfs trees as boards show them.

Recorded: ``sysfs/*.json``, readings that owners of boards published, each with its source, what of it is recorded and what is
not; this project read none of them. jtop printed them, which takes them from the same files, or a person did; JSON null is a
file that exists and cannot be read. Of a Xavier NX only milliwatts were found, as tegrastats prints them: mV and mA are derived.

Made up: all readings in this file, of the size that boards show; layouts, addresses and labels are from public documents.
Xavier NX, Orin NX and Orin Nano: one INA3221 (7-0040; 1-0040) with VDD_IN, VDD_CPU_GPU_CV and VDD_SOC. AGX Orin: 1-0040 and
1-0041, of which VIN_SYS_5V0 holds VDDQ_VDD2_1V8AO. AGX Xavier: GPU, CPU, SOC and CV, VDDRQ, SYS5V. Nano with JetPack 4: 6-0040,
iio. Sources: NVIDIA Jetson Linux Developer Guide, "Software-Based Power Consumption Modeling" of each series; device tree of the
kernel (arch/arm64/boot/dts/nvidia/tegra234-p3701.dtsi, tegra234-p3767.dtsi); Documentation/hwmon/ina3221.rst.

Another Xavier NX with JetPack 5 has 7-0040/hwmon/hwmon4, in7_label too: https://github.com/OE4T/meta-tegra-community/pull/93.
AGX Orin with JetPack 5 labels unused channels NC: https://github.com/rbonghi/jetson_stats/issues/381.
"""

from __future__ import annotations

import json
import os
import sys
import time
import types
from pathlib import Path

import pytest

from gearnn.engine.power import PowerSampler, integrate
from gearnn.engine.rails import Meter, find_meter, register_meter


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


def recorded(root, name):
    """Lay out a recording. Instead of a file that cannot be read there is a folder: reading it is an OSError too."""
    recording = json.loads((Path(__file__).parent / "sysfs" / f"{name}.json").read_text(encoding="utf-8"))
    for path, text in recording["files"].items():
        if text is None:
            (root / path).mkdir(parents=True)
        else:
            write(root / path, text)
    return recording


@pytest.mark.parametrize(
    ("name", "total", "watts"),
    [
        ("xavier_nx_jetpack_5", "VDD_IN", {"VDD_IN": 2.76352, "VDD_CPU_GPU_CV": 0.65024, "VDD_SOC": 0.65024}),
        ("orin_nano_jetpack_5_idle", "VDD_IN", {"VDD_IN": 4.172736, "VDD_CPU_GPU_CV": 0.566272, "VDD_SOC": 1.377408}),
        ("orin_nano_jetpack_5_busy", "VDD_IN", {"VDD_IN": 6.81088, "VDD_CPU_GPU_CV": 2.2, "VDD_SOC": 1.80288}),
        ("orin_nano_jetpack_6", "VDD_IN", {"VDD_IN": 5.13344, "VDD_CPU_GPU_CV": 1.064448, "VDD_SOC": 1.540032}),
        ("agx_orin_jetpack_6", "", {"VDD_GPU_SOC": 3.57552}),
    ],
)
def test_recorded_boards(tmp_path, name, total, watts):
    recording = recorded(tmp_path, name)
    meter, source = find_meter(tmp_path)
    assert source == f"INA3221, total {total or 'the sum of VDD_GPU_SOC'}"
    assert (meter.total, meter.cumulative) == (total, False)
    assert meter.read() == pytest.approx(watts)
    shown = {rail: milliwatts / 1e3 for rail, milliwatts in recording["milliwatts"].items()}
    assert meter.read() == pytest.approx(shown, abs=1e-3)  # jtop and tegrastats cut off what is below 1 mW
    with PowerSampler(root=tmp_path, rate_hz=200) as sampler:
        time.sleep(0.05)
    assert sampler.energy.mean_watts == pytest.approx(watts[total or "VDD_GPU_SOC"])
    assert (sampler.energy.source, set(sampler.energy.rails), sampler.energy.reason) == (source, set(watts), None)


def xavier_nx(root):
    folder = sensor(root, "7-0040", [("VDD_IN", 4968, 1016), ("VDD_CPU_GPU_CV", 4968, 248), ("VDD_SOC", 4968, 232)])
    write(folder / "in7_label", "sum of shunt voltages")
    write(folder / "in7_input", 15)
    write(folder / "curr7_input", 9999)
    write(root / "sys/bus/i2c/devices/7-0041/name", "other")
    return folder


def test_what_is_no_rail_is_left_out(tmp_path):
    folder = xavier_nx(tmp_path)
    meter, source = find_meter(tmp_path)
    assert source == "INA3221, total VDD_IN"
    assert (meter.total, meter.cumulative) == ("VDD_IN", False)
    assert meter.read() == pytest.approx({"VDD_IN": 5.047488, "VDD_CPU_GPU_CV": 1.232064, "VDD_SOC": 1.152576})
    write(folder / "curr1_input", 2032)
    assert meter.read()["VDD_IN"] == pytest.approx(10.094976)
    (folder / "in2_input").unlink()
    assert set(meter.read()) == {"VDD_IN", "VDD_SOC"}


def test_orin_nano_is_read_at_its_own_address(tmp_path):
    sensor(tmp_path, "1-0040", [("VDD_IN", 5072, 992), ("VDD_CPU_GPU_CV", 5064, 176), ("VDD_SOC", 5064, 328)], 1)
    meter, source = find_meter(tmp_path)
    assert source == "INA3221, total VDD_IN"
    assert meter.read()[meter.total] == pytest.approx(5.031424)


def test_agx_orin_counts_the_memory_once(tmp_path):
    sensor(tmp_path, "1-0040", [("VDD_GPU_SOC", 19872, 160), ("VDD_CPU_CV", 19880, 40), ("VIN_SYS_5V0", 4968, 953)], 3)
    sensor(tmp_path, "1-0041", [("NC", None, None), ("VDDQ_VDD2_1V8AO", 4968, 80), ("NC", 0, 0)], 4)
    meter, source = find_meter(tmp_path)
    assert source == ("INA3221, total the sum of VDD_GPU_SOC, VDD_CPU_CV, VIN_SYS_5V0; VDDQ_VDD2_1V8AO is within VIN_SYS_5V0")
    assert (meter.total, meter.within) == ("", ("VDDQ_VDD2_1V8AO",))
    energy = integrate([(0.0, meter.read()), (2.0, meter.read())], meter)
    assert energy.joules == pytest.approx(2 * (3.17952 + 0.7952 + 4.734504))
    assert energy.rails["VDDQ_VDD2_1V8AO"] == pytest.approx(2 * 0.39744)


def test_agx_xavier_adds_up_two_sensors(tmp_path):
    sensor(tmp_path, "1-0040", [("GPU", 19216, 32), ("CPU", 19216, 40), ("SOC", 19200, 104)], 3)
    sensor(tmp_path, "1-0041", [("CV", 19216, 8), ("VDDRQ", 19200, 24), ("SYS5V", 4992, 520)], 4)
    meter, source = find_meter(tmp_path)
    assert source == "INA3221, total the sum of GPU, CPU, SOC, CV, VDDRQ, SYS5V"
    assert sum(meter.read().values()) == pytest.approx(6.59072)


@pytest.mark.parametrize("folder", ["iio:device0", "iio_device"])
def test_jetpack_4_shows_iio_channels_from_zero(tmp_path, folder):
    device = tmp_path / "sys/bus/i2c/devices/6-0040"
    write(device / "name", "ina3221x")
    for channel, (label, millivolts, milliamperes) in enumerate(
        [("POM_5V_IN", 5144, 352), ("POM_5V_GPU", 5144, 8), ("POM_5V_CPU", 5144, 56)]
    ):
        write(device / folder / f"rail_name_{channel}", label)
        write(device / folder / f"in_voltage{channel}_input", millivolts)
        write(device / folder / f"in_current{channel}_input", milliamperes)
    meter, source = find_meter(tmp_path)
    assert source == "INA3221, total POM_5V_IN"
    assert meter.read() == pytest.approx({"POM_5V_IN": 1.810688, "POM_5V_GPU": 0.041152, "POM_5V_CPU": 0.288064})


def test_xavier_nx_with_jetpack_4_is_read_through_the_links_of_the_bus(tmp_path):
    device = tmp_path / "sys/devices/c250000.i2c/i2c-7/7-0040"
    write(device / "name", "ina3221x")
    for channel, (label, milliamperes) in enumerate([("VDD_IN", 1016), ("VDD_CPU_GPU_CV", 248), ("VDD_SOC", 232)]):
        write(device / f"iio:device0/rail_name_{channel}", label)
        write(device / f"iio:device0/in_voltage{channel}_input", 4968)
        write(device / f"iio:device0/in_current{channel}_input", milliamperes)
        write(device / f"iio:device0/in_power{channel}_input", 9999)
    bus = tmp_path / "sys/bus/i2c/devices"
    bus.mkdir(parents=True)
    (bus / "7-0040").symlink_to("../../../devices/c250000.i2c/i2c-7/7-0040")
    meter, source = find_meter(tmp_path)
    assert source == "INA3221, total VDD_IN"
    assert meter.read() == pytest.approx({"VDD_IN": 5.047488, "VDD_CPU_GPU_CV": 1.232064, "VDD_SOC": 1.152576})


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs a file that answers EAGAIN")
def test_a_sensor_that_cannot_answer_now_is_no_reading(tmp_path, monkeypatch):
    folder = xavier_nx(tmp_path)
    meter = find_meter(tmp_path)[0]
    (folder / "curr2_input").unlink()
    os.mkfifo(folder / "curr2_input")
    writer = os.open(folder / "curr2_input", os.O_RDWR)  # open and silent: who reads without waiting gets EAGAIN

    def read_text(path, **options):
        with open(path, opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK), **options) as file:
            return file.read()

    monkeypatch.setattr(Path, "read_text", read_text)
    try:
        assert meter.read() == pytest.approx({"VDD_IN": 5.047488, "VDD_SOC": 1.152576})
    finally:
        os.close(writer)


def test_a_channel_without_a_current_is_no_rail(tmp_path):
    folder = xavier_nx(tmp_path)
    (folder / "curr3_input").unlink()
    assert set(find_meter(tmp_path)[0].read()) == {"VDD_IN", "VDD_CPU_GPU_CV"}


def rapl(root, name, zone, microjoules, largest=262143328850):
    folder = root / "sys/class/powercap" / zone
    write(folder / "name", name)
    write(folder / "energy_uj", microjoules)
    write(folder / "max_energy_range_uj", largest)
    return folder


def test_rapl_counts_packages_once(tmp_path):
    rapl(tmp_path, "package-0", "intel-rapl:0", 1_500_000)
    rapl(tmp_path, "core", "intel-rapl:0:0", 900_000)
    rapl(tmp_path, "dram", "intel-rapl:0:1", 700_000, largest=65_712_999_613)
    rapl(tmp_path, "package-1", "intel-rapl:1", 2_000_000)
    rapl(tmp_path, "psys", "intel-rapl:2", 9_000_000)
    meter, source = find_meter(tmp_path)
    assert source == "RAPL, total the sum of package-0, package-0 dram, package-1 (processors and their memory, not the board)"
    assert meter.cumulative
    assert meter.read() == pytest.approx({"package-0": 1.5, "package-0 dram": 0.7, "package-1": 2.0})
    assert meter.wraps == pytest.approx({"package-0": 262143.32885, "package-0 dram": 65712.999613, "package-1": 262143.32885})


@pytest.fixture()
def refuse(monkeypatch):
    """Files that only root may read, given by the end of their path."""
    read = Path.read_text

    def refusing(*ends):
        def read_text(path, *rest, **options):
            if str(path).endswith(ends):
                raise PermissionError(13, "Permission denied")
            return read(path, *rest, **options)

        monkeypatch.setattr(Path, "read_text", read_text)

    return refusing


def test_a_counter_that_may_not_be_read_says_how_to_allow_it(tmp_path, refuse):
    rapl(tmp_path, "package-0", "intel-rapl:0", 1)
    rapl(tmp_path, "package-1", "intel-rapl:1", 1)
    refuse("intel-rapl:1/energy_uj")
    meter, reason = find_meter(tmp_path)
    assert meter is None
    assert reason.startswith("not measured: no INA3221 sensor in")
    assert "sudo chmod a+r /sys/class/powercap/intel-rapl:*/energy_uj" in reason


def test_memory_that_may_not_be_read_is_not_in_the_sum(tmp_path, refuse):
    rapl(tmp_path, "package-0", "intel-rapl:0", 1_000_000)
    rapl(tmp_path, "dram", "intel-rapl:0:0", 1_000_000)
    refuse("intel-rapl:0:0/energy_uj")
    meter, source = find_meter(tmp_path)
    assert (set(meter.read()), source.partition(" (")[0]) == ({"package-0"}, "RAPL, total the sum of package-0")


def test_nothing_at_all(tmp_path):
    meter, reason = find_meter(tmp_path)
    assert meter is None
    assert reason.startswith("not measured: no INA3221 sensor in /sys/bus/i2c/devices; no RAPL counter")


@pytest.fixture()
def nvml(monkeypatch):
    """A driver with two GPUs that count energy; nothing else to measure with."""
    fake = types.ModuleType("pynvml")
    fake.nvmlInit = lambda: None
    fake.nvmlDeviceGetCount = lambda: 2
    fake.nvmlDeviceGetHandleByIndex = lambda index: index
    fake.nvmlDeviceGetTotalEnergyConsumption = lambda handle: 7_250 + handle
    fake.nvmlDeviceGetPowerUsage = lambda handle: 43_500
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    monkeypatch.setattr("gearnn.engine.rails._ina3221", lambda root: (None, "no sensor"))
    monkeypatch.setattr("gearnn.engine.rails._rapl", lambda root: (None, "no counter"))
    return fake


def not_supported(handle):
    raise RuntimeError("not supported")


def test_nvml_counts_energy(nvml):
    meter, source = find_meter()
    assert source == "NVML, total the sum of GPU 0, GPU 1 (GPUs only)"
    assert meter.cumulative
    assert meter.read() == {"GPU 0": 7.25, "GPU 1": 7.251}


def test_nvml_of_older_gpus_tells_power(nvml):
    nvml.nvmlDeviceGetTotalEnergyConsumption = not_supported
    meter, _ = find_meter()
    assert not meter.cumulative
    assert meter.read() == {"GPU 0": 43.5, "GPU 1": 43.5}
    nvml.nvmlDeviceGetPowerUsage = lambda handle: 43_500 if handle == 1 else not_supported(handle)
    assert find_meter()[1] == "NVML, total the sum of GPU 1 (GPUs only)"


def test_gpus_that_do_not_all_count_energy_are_read_by_power(nvml):
    nvml.nvmlDeviceGetTotalEnergyConsumption = lambda handle: 7_250 if handle == 0 else not_supported(handle)
    meter, source = find_meter()
    assert (meter.cumulative, source) == (False, "NVML, total the sum of GPU 0, GPU 1 (GPUs only)")


def test_processors_and_gpus_are_measured_together(nvml, monkeypatch):
    processor = Meter("RAPL", "", True, lambda: {"package-0": 5.0}, {"package-0": 100.0})
    monkeypatch.setattr("gearnn.engine.rails._rapl", lambda root: (processor, ""))
    meter, source = find_meter()
    assert source == "RAPL and NVML, total the sum of package-0, GPU 0, GPU 1 (processors and GPUs only, not the board)"
    assert (meter.cumulative, meter.wraps) == (True, {"package-0": 100.0})
    assert meter.read() == {"package-0": 5.0, "GPU 0": 7.25, "GPU 1": 7.251}
    nvml.nvmlDeviceGetTotalEnergyConsumption = not_supported
    assert find_meter() == (processor, "RAPL")


def test_a_driver_without_figures_says_so(nvml):
    nvml.nvmlDeviceGetTotalEnergyConsumption = nvml.nvmlDeviceGetPowerUsage = not_supported
    assert find_meter()[1] == "not measured: no sensor; no counter; NVML shows no GPU that tells its power"
    nvml.nvmlInit = lambda: not_supported(0)
    assert find_meter()[1] == "not measured: no sensor; no counter; NVML does not start (RuntimeError)"


def test_a_registered_meter_is_asked_first(tmp_path, monkeypatch):
    monkeypatch.setattr("gearnn.engine.rails._ADDED", [])
    supply = Meter("a meter on the supply", "supply", False, lambda: {"supply": 4.5}, {})

    def find(root):
        return (supply, "") if (root / "supply").exists() else (None, "no meter on the supply")

    register_meter(find)
    meter, reason = find_meter(tmp_path)
    assert meter is None and reason.startswith("not measured: no meter on the supply; no INA3221")
    (tmp_path / "supply").touch()
    assert find_meter(tmp_path) == (supply, "a meter on the supply")
