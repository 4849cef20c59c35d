from __future__ import annotations

import json
import math

import numpy as np
import pytest

from gearnn.engine.layer_table import LayerTable, Surface, resized, round_up, surface_shapes
from gearnn.engine.layers import LayerShape

CONDITIONS = {"runtime": "fake", "version": "1", "device": "board", "threads": 1}
SHAPES = [LayerShape("conv", 16, out, (3, 3), height=8, width=8) for out in (16, 32, 48)]


class FakeProfiler:
    """Times by formula, and what was asked for."""

    def __init__(self, step=1, factor=1.0):
        self.step, self.factor, self.asked = step, factor, []

    def __call__(self, shapes, progress):
        self.asked += shapes
        progress(0, len(shapes))
        progress(len(shapes), len(shapes))

        def padded(width):
            return math.ceil(width / self.step) * self.step

        return [self.factor * 1e-9 * (100 + padded(shape.inputs) * padded(shape.outputs)) for shape in shapes]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "layers" / "table.json"


def test_each_shape_is_profiled_once_and_kept_on_disk(path):
    first = FakeProfiler()
    table, steps = LayerTable(CONDITIONS, path, first), []
    table.measure([*SHAPES, SHAPES[0]], lambda *step: steps.append(step))
    table.measure(SHAPES)
    assert first.asked == SHAPES
    assert steps == [("profiling layers", 0, 3), ("profiling layers", 3, 3)]
    second = FakeProfiler()
    again = LayerTable(CONDITIONS, path, second)
    again.measure(SHAPES)
    assert not second.asked
    assert [again.seconds(shape) for shape in SHAPES] == [table.seconds(shape) for shape in SHAPES]


def test_what_another_process_added_is_kept(path):
    one, two = (LayerTable(CONDITIONS, path, FakeProfiler()) for _ in range(2))
    one.measure(SHAPES[:2])
    two.measure(SHAPES[2:])
    assert all(shape in LayerTable(CONDITIONS, path, FakeProfiler()) for shape in SHAPES)


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda text: "",
        lambda text: "[1, 2]",
        lambda text: text.replace('"format": 1', '"format": 99'),
        lambda text: text.replace('"board"', '"another board"'),
        lambda text: text.replace('"conv"', '"attention"'),
        lambda text: text.replace("[3, 3]", "3"),
        lambda text: json.dumps({**json.loads(text), "layers": [[*row[:-1], math.nan] for row in json.loads(text)["layers"]]}),
        lambda text: json.dumps({**json.loads(text), "layers": [[*row[:-1], -1.0] for row in json.loads(text)["layers"]]}),
        lambda text: json.dumps({**json.loads(text), "layers": [row[:-1] for row in json.loads(text)["layers"]]}),
    ],
)
def test_torn_and_foreign_files_are_rebuilt(path, damage):
    LayerTable(CONDITIONS, path, FakeProfiler()).measure(SHAPES)
    path.write_text(damage(path.read_text()))
    profiler = FakeProfiler()
    table = LayerTable(CONDITIONS, path, profiler)
    table.measure(SHAPES)
    assert profiler.asked == SHAPES
    assert SHAPES[0] in LayerTable(CONDITIONS, path, FakeProfiler())


@pytest.mark.parametrize("step", [1, 4, 8, 16, 32])
def test_the_runtimes_block_of_channels_is_found(path, step):
    assert LayerTable(CONDITIONS, path, FakeProfiler(step)).block() == step


def test_this_devices_table_has_its_conditions_and_place(tmp_path, monkeypatch):
    table = LayerTable.open(threads=1, cache_dir=tmp_path)
    assert table.path.parent == tmp_path / "layers"
    assert table.conditions["runtime"] == "onnxruntime"
    assert LayerTable.open(threads=2, cache_dir=tmp_path).path != table.path
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert LayerTable.open(threads=1).path.parent == tmp_path / "xdg" / "gearnn" / "layers"
    shape = LayerShape("elementwise", 8, 8, width=16)
    table.measure([shape])
    assert 0 < table.seconds(shape) < 1e-2
    assert shape in LayerTable.open(threads=1, cache_dir=tmp_path)


def test_surface_is_exact_for_bilinear_times_and_goes_on_beyond():
    def time(inputs, outputs):
        return 3 + 0.5 * inputs + 0.25 * outputs + 0.01 * inputs * outputs

    rows, columns = [16, 32, 64], [8, 16, 48]
    surface = Surface(rows, columns, np.array([[time(row, column) for column in columns] for row in rows]))
    for inputs, outputs in ((16, 8), (24, 40), (64, 48), (50, 9), (80, 64)):
        assert surface(inputs, outputs) == pytest.approx(time(inputs, outputs))
    assert surface(4, 8) == pytest.approx(time(16, 8))


def test_noisy_times_give_a_surface_that_never_falls():
    rows, columns = [16, 32, 64, 128], [16, 32, 48, 64, 96]
    noise = np.random.default_rng(3).uniform(0.5, 1.5, (4, 5))
    surface = Surface(rows, columns, np.outer(rows, columns) * noise)
    grid = np.array([[surface(row, column) for column in range(16, 100, 4)] for row in range(16, 130, 4)])
    assert (np.diff(grid, axis=0) >= 0).all()
    assert (np.diff(grid, axis=1) >= 0).all()
    assert grid[-1, -1] > 2 * grid[0, 0]


def test_grid_covers_the_range_in_whole_blocks():
    shape = LayerShape("conv", 8, 24, (3, 3), height=4, width=4)
    rows, columns, shapes = surface_shapes(shape, (8, 100), (24, 200), 16)
    assert (rows[0], rows[-1], columns[0], columns[-1]) == (8, 112, 32, 208)
    assert all(width % 16 == 0 for width in rows[1:] + columns)
    assert [[one.inputs for one in line] for line in shapes] == [[row] * len(columns) for row in rows]
    assert shapes[2][1] == resized(shape, rows[2], columns[1])


def test_grouped_layers_are_profiled_along_the_diagonal_with_groups_of_one_size():
    shape = LayerShape("conv", 16, 16, (3, 3), groups=4, height=4, width=4)
    rows, columns, shapes = surface_shapes(shape, (16, 64), (16, 64), 16)
    assert len(columns) == 1
    assert [(line[0].inputs, line[0].outputs, line[0].groups) for line in shapes] == [(row, row, row // 4) for row in rows]


def test_widths_are_rounded_up_to_blocks_but_small_ones_left():
    assert [round_up(width, 16) for width in (3, 8, 16, 17, 40, 48)] == [3, 8, 16, 32, 48, 48]
    assert round_up(17, 1) == 17
