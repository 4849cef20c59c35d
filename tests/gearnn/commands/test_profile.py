from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from torch import nn

from gearnn.cli import main
from gearnn.commands.profile import _print_table
from gearnn.engine.board import board_state
from gearnn.engine.export import export_onnx
from gearnn.engine.rails import Meter


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.Flatten(), nn.Linear(128, 3)).eval()
    return export_onnx(model, (3, 8, 8), tmp_path_factory.mktemp("net") / "net.onnx", pixels=True)


def test_prints_latency_memory_energy_and_layers(network, tmp_path, capsys):
    arguments = ["profile", str(network), "--iterations", "20", "--threads", "1", "--layers", "--energy-seconds", "0.3"]
    assert main([*arguments, "--trtexec", str(tmp_path / "layers.json")]) == 0
    printed = capsys.readouterr()
    for expected in ("p50 ms", "memory of the process: before", "energy: ", "/0/Conv + /1/Relu", "  0, 1\n", "adds 1 to 2 µs"):
        assert expected in printed.out
    assert "device ms" not in printed.out
    assert "timing batch 1 (1 of 2)" in printed.err
    content = json.loads((tmp_path / "layers.json").read_text())
    assert sum(entry["percentage"] for entry in content[1:]) == pytest.approx(100)


def test_json(network, capsys):
    arguments = ["profile", str(network), "--batch-sizes", "1", "4", "--iterations", "5", "--threads", "1", "--device", "cpu"]
    assert main([*arguments, "--energy-seconds", "0", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert [row["batch"] for row in printed["results"]] == [1, 4]
    assert printed["results"][0]["device_p50_ms"] is None
    assert (printed["layers"], printed["energy"], printed["metadata"]["runs_on"]) == (None, None, "cpu")
    assert printed["memory"]["resident_peak_mb"] >= printed["memory"]["resident_before_mb"]
    assert "warnings" in printed["metadata"]["board"]
    assert printed["metadata"]["warnings_after"] == []
    assert printed["memory"]["device_mb"] is None
    assert printed["memory"]["device_source"].startswith("not measured: the processor")


def test_the_state_of_the_board_is_said_and_the_meter_read(network, tmp_path, capsys, monkeypatch):
    state = board_state(tmp_path)
    jetson = replace(state, model="Jetson", jetson=True, power_mode="15W", clocks_locked=False, warnings=("not locked",))
    states = [jetson, replace(jetson, temperature_c=88.0)]
    monkeypatch.setattr("gearnn.engine.board.board_state", lambda: states.pop(0))
    meter = Meter("a test", "VDD_IN", False, lambda: {"VDD_IN": 5.0, "VDD_SOC": 1.0}, {})
    monkeypatch.setattr("gearnn.engine.power.find_meter", lambda root: (meter, meter.source))
    arguments = ["profile", str(network), "--batch-sizes", "1", "--iterations", "5", "--threads", "1", "--energy-seconds", "0.2"]
    assert main(arguments) == 0
    printed = capsys.readouterr()
    assert "board: Jetson, power mode 15W, clocks not locked\nwarning: not locked\n" in printed.err
    assert "warning: the device is at 88 °C" in printed.err
    assert "mJ per image, 5.00 W (a test;" in printed.out
    assert "mJ per image by rail: VDD_IN " in printed.out


def test_a_network_for_one_batch_size_is_timed_at_it(tmp_path, capsys):
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(144, 2)).eval()
    path = export_onnx(model, (3, 8, 8), tmp_path / "fixed.onnx", batch=2)
    assert main(["profile", str(path), "--iterations", "3", "--threads", "1", "--energy-seconds", "0", "--json"]) == 0
    assert [row["batch"] for row in json.loads(capsys.readouterr().out)["results"]] == [2]


def test_a_table_by_rich_on_a_terminal(network, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    _print_table(["share", "layer"], [["9%", "[ReorderInput]"]], 1)
    shown = capsys.readouterr().out
    assert "[ReorderInput]" in shown
    assert "│" in shown


def test_needs_no_torch(network):
    code = (
        "import sys\n"
        "class Blocker:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in ('torch', 'onnx', 'scipy', 'numba'):\n"
        "            raise ModuleNotFoundError(f'{name} is blocked', name=name)\n"
        "sys.meta_path.insert(0, Blocker())\n"
        "from gearnn.cli import main\n"
        "sys.exit(main(['profile', sys.argv[1], '--iterations', '3', '--threads', '1', '--layers', '--energy-seconds', '0.1']))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(network)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "images/s" in done.stdout


@pytest.mark.parametrize(
    "wrong",
    [["--trtexec", "x.json"], ["--energy-seconds", "-1"], ["--device", "tpu"], ["--batch-sizes", "0"], ["--runtime", "magic"]],
)
def test_mistakes_are_one_sentence(network, capsys, wrong):
    assert main(["profile", str(network), *wrong]) == 2
    assert len([line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]) == 1


def test_a_path_with_nothing_is_refused_before_anything_is_said_of_the_board(capsys):
    assert main(["profile", "nope"]) == 2
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("", "error: there is no nope: give a run folder, an .onnx file or an engine\n")
