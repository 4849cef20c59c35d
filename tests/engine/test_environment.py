from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from gearnn.engine import environment as module
from gearnn.engine.environment import device_name, environment, usable_cores


def output_of(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_versions_and_device():
    facts = environment()
    assert set(facts) == {"versions", "device"}
    assert facts["versions"]["python"] == platform.python_version()
    for package in ("numpy", "onnxruntime", "torch", "onnx"):
        assert facts["versions"][package].split("+")[0] == metadata.version(package).split("+")[0]  # +cpu, +cu117: local labels
    assert set(facts["device"]) == {"name", "cores", "platform", "memory_mb"}
    assert facts["device"]["name"].strip()
    assert 1 <= facts["device"]["cores"] <= os.cpu_count()
    assert json.loads(json.dumps(facts)) == facts


def test_memory_is_the_machines():
    meminfo = Path("/proc/meminfo")
    if not meminfo.exists():
        pytest.skip("no /proc/meminfo to compare with")
    (total,) = (int(line.split()[1]) * 1024 for line in meminfo.read_text().splitlines() if line.startswith("MemTotal"))
    assert abs(environment()["device"]["memory_mb"] - total / 1e6) <= 1


def test_imports_nothing_heavy():
    code = "from gearnn.engine.environment import environment; environment(); import sys; print(*sys.modules)"
    assert not {"torch", "onnx", "onnxruntime", "numpy"} & set(output_of(code).split())


def test_packages_that_are_missing_are_left_out(monkeypatch):
    monkeypatch.setitem(module._PACKAGES, "onnx", ("no-such-distribution",))
    monkeypatch.delitem(sys.modules, "onnx", raising=False)
    assert "onnx" not in environment()["versions"]


def test_other_names_of_a_distribution_count(monkeypatch):
    monkeypatch.setitem(module._PACKAGES, "onnx", ("no-such-distribution", "numpy"))
    monkeypatch.delitem(sys.modules, "onnx", raising=False)
    assert environment()["versions"]["onnx"] == metadata.version("numpy")


def test_device_name(tmp_path):
    (tmp_path / "proc" / "device-tree").mkdir(parents=True)
    assert device_name(tmp_path) == (platform.processor() or platform.machine())
    (tmp_path / "proc" / "cpuinfo").write_text("processor\t: 0\nmodel name\t: ARMv8 Processor rev 0 (v8l)\nprocessor\t: 1\n")
    assert device_name(tmp_path) == "ARMv8 Processor rev 0 (v8l)"
    (tmp_path / "proc" / "device-tree" / "model").write_bytes(b"NVIDIA Jetson Xavier NX Developer Kit\0")
    assert device_name(tmp_path) == "NVIDIA Jetson Xavier NX Developer Kit"


def test_usable_cores_are_those_of_the_process():
    if hasattr(os, "sched_setaffinity"):
        code = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); "
        code += "from gearnn.engine.environment import usable_cores; print(usable_cores())"
        assert output_of(code) == "1\n"
    assert usable_cores() >= 1
