"""Block programs under a magnifying glass: plain Python lanes with shadow memory.

Every race, every index out of bounds and every barrier that not all lanes reach is found, whatever the timing.
"""

from __future__ import annotations

import dataclasses
import sys
import threading
from typing import Any, Callable, Dict, List, Optional, Set, Tuple

import numpy as np
import pytest

from gearnn.kernels import era_operations
from gearnn.kernels.block import Block
from gearnn.kernels.era import era_views
from gearnn.kernels.era_body import make_views
from gearnn.kernels.era_plan import OPERATIONS, draw_plan
from gearnn.kernels.families import FAMILIES
from gearnn.kernels.prime_plan import PRIME_OPERATIONS, draw_prime_plan

COLUMNS, ROWS = 3, 2


class Lanes:
    """Runs one lane at a time from barrier to barrier, in an order that turns around at each; an epoch lies between barriers."""

    def __init__(self, count: int) -> None:
        self.count, self.epoch, self.forward = count, 0, True
        self.turn: Optional[int] = 0
        self.changed = threading.Condition()
        self.mine = threading.local()
        self.waiting: Dict[int, Tuple[int, ...]] = {}
        self.finished: Set[int] = set()
        self.faults: List[str] = []

    def run(self, work: Callable[[], None]) -> None:
        threads = [threading.Thread(target=self._lane, args=(number, work)) for number in range(self.count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _lane(self, number: int, work: Callable[[], None]) -> None:
        self.mine.number = number
        with self.changed:
            self.changed.wait_for(lambda: self.turn == number)
        try:
            work()
        except Exception as error:
            self.faults.append(repr(error))
        with self.changed:
            self.finished.add(number)
            self._pass_on()

    def barrier(self) -> None:
        number = self.mine.number
        place, frame = [], sys._getframe(1)
        while frame is not None and len(place) < 6:
            place.append(frame.f_lineno)
            frame = frame.f_back  # type: ignore[assignment]
        with self.changed:
            self.waiting[number] = tuple(place)
            self._pass_on()
            self.changed.wait_for(lambda: self.turn == number)

    def _pass_on(self) -> None:
        left = [lane for lane in range(self.count) if lane not in self.finished and lane not in self.waiting]
        if not left:
            if len(set(self.waiting.values())) > 1 or (self.waiting and self.finished):
                self.faults.append(f"not all lanes reach the same barrier: {set(self.waiting.values())}")
            left = sorted(self.waiting)
            self.waiting.clear()
            self.epoch += 1
            self.forward = not self.forward
        self.turn = (left[0] if self.forward else left[-1]) if left else None
        self.changed.notify_all()


class Shadow:
    """An array that remembers who touched which element in which epoch."""

    def __init__(self, name: str, size: int, dtype: Any, lanes: Lanes) -> None:
        self.array, self.name, self.lanes = np.full(size, 77, dtype), name, lanes
        self.dtype = self.array.dtype
        self.written: Dict[int, Tuple[int, int, bool]] = {}
        self.read: Dict[int, Tuple[int, Set[int]]] = {}

    def _now(self, index: Any) -> Tuple[int, int, int]:
        i = int(index)
        if not 0 <= i < len(self.array):
            raise IndexError(f"{self.name}[{i}] of {len(self.array)}")
        return i, self.lanes.epoch, self.lanes.mine.number

    def _fault(self, what: str, i: int) -> None:
        place = sys._getframe(2)
        self.lanes.faults.append(f"{self.name}[{i}]: {what} (line {place.f_lineno} in {place.f_code.co_name})")

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, index: Any) -> Any:
        i, epoch, lane = self._now(index)
        last = self.written.get(i)
        if last and last[0] == epoch and last[1] != lane:
            self._fault("read while another lane writes", i)
        if self.read.get(i, (-1, set()))[0] != epoch:
            self.read[i] = (epoch, set())
        self.read[i][1].add(lane)
        return self.array[i]

    def __setitem__(self, index: Any, value: Any) -> None:
        i, epoch, lane = self._now(index)
        last = self.written.get(i)
        if last and last[0] == epoch and last[1] != lane:
            self._fault("two lanes write", i)
        readers = self.read.get(i, (-1, set()))
        if readers[0] == epoch and readers[1] - {lane}:
            self._fault("written while another lane reads", i)
        self.written[i] = (epoch, lane, False)
        self.array[i] = value

    def atomic(self, index: Any, value: Any, combine: Callable[[Any, Any], Any]) -> None:
        i, epoch, lane = self._now(index)
        last = self.written.get(i)
        if last and last[0] == epoch and last[1] != lane and not last[2]:
            self._fault("atomic beside another lane's plain write", i)
        readers = self.read.get(i, (-1, set()))
        if readers[0] == epoch and readers[1] - {lane}:
            self._fault("atomic while another lane reads", i)
        self.written[i] = (epoch, lane, True)
        self.array[i] = combine(self.array[i], value)


def traced(lanes: Lanes) -> Block:
    """The primitives as plain Python on shadow memory."""

    def lane() -> int:
        return int(lanes.mine.number)

    def store(out: Shadow, index: Any, value: Any) -> None:
        out[index] = value

    return Block(
        compile=lambda function: function,
        index=int,
        column=lambda: lane() % COLUMNS,
        columns=lambda: COLUMNS,
        row=lambda: lane() // COLUMNS,
        rows=lambda: ROWS,
        lane=lane,
        lanes=lambda: COLUMNS * ROWS,
        barrier=lanes.barrier,
        add=lambda array, index, value: array.atomic(index, value, lambda a, b: a + b),
        lower=lambda array, index, value: array.atomic(index, value, min),
        raise_=lambda array, index, value: array.atomic(index, value, max),
        multiply_add=lambda a, b, c: a * b + c,
        blend=lambda a, b, part: a + (b - a) * part,
        store=store,
    )


def run(images: np.ndarray, plan: Any, channels_last: bool = False) -> Tuple[np.ndarray, List[str]]:
    """All views of a batch in one block, one image after the other in the same scratch, and the faults found."""
    batch, channels, height, width = images.shape
    family, size = FAMILIES[plan.family], channels * height * width
    lanes = Lanes(COLUMNS * ROWS)
    block = traced(lanes)
    views = make_views(block, family.make_step(block))
    scratch = [Shadow(name, size, family.level, lanes) for name in ("clean", "first", "second")]
    scratch.append(Shadow("total", size, np.float32, lanes))
    scratch.append(Shadow("table", family.table_size(channels, height, width), family.level, lanes))
    scratch.append(Shadow("counts", family.count_size(channels), np.int32, lanes))
    out = Shadow("out", plan.views * batch * size, np.float32, lanes)
    encoded = family.encode(plan, (height, width))
    mean, std = np.zeros(channels, np.float32), np.full(channels, 255, np.float32)
    mixture = (plan.chain_weights, plan.mix, plan.crop, plan.flip, mean, std)

    def work() -> None:
        for n in range(batch):
            views(n, images.reshape(batch, -1), *encoded, *mixture, *scratch, out, channels, height, width, channels_last)

    lanes.run(work)
    shape = (plan.views, batch, height, width, channels) if channels_last else (plan.views, *images.shape)
    result = out.array.reshape(shape)
    return (np.moveaxis(result, -1, 2) if channels_last else result), lanes.faults


def every_operation(family: str, size: Tuple[int, int], width: int) -> Any:
    """A plan of two images in which each operation of a family comes up, with arguments of both signs."""
    settings: Dict[str, Any] = {"seed": width, "epoch": 0, "image_size": size, "width": width, "views": 3, "pad": 2, "flip": True}
    if family == "augmix":
        plan = draw_plan(range(2), depth=4, **settings)
        args = np.array([0, 0, 3, 20, 100, 0.3, -0.3, 1.5, 2], np.float32)
        ops = (np.arange(plan.ops.size) + width) % len(OPERATIONS)
        return dataclasses.replace(
            plan, ops=ops.reshape(plan.ops.shape).astype(np.int32), args=args[ops].reshape(plan.args.shape)
        )
    prime = draw_prime_plan(range(2), depth=2, cut_max=6, **settings)
    ops = np.arange(prime.ops.size) % len(PRIME_OPERATIONS)
    args = np.array([[0.05, 5], [0.1, 7], [1, 0], [0.1, 0]], np.float32)[ops]
    return dataclasses.replace(prime, ops=ops.reshape(prime.ops.shape).astype(np.int32), args=args.reshape(prime.args.shape))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy scalars wrap around loudly
@pytest.mark.parametrize("family", ["augmix", "prime"])
@pytest.mark.parametrize(("height", "width", "channels"), [(7, 6, 3), (1, 5, 1), (5, 1, 3), (4, 6, 2)])
def test_lanes_do_not_race_and_stay_in_bounds(family: str, height: int, width: int, channels: int) -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, channels, height, width), dtype=np.uint8)
    for chains in (1, 2):
        plan = every_operation(family, (height, width), chains)
        result, faults = run(images, plan, channels_last=chains == 2)
        assert faults == []
        np.testing.assert_allclose(result, era_views(images, plan, threads=1), atol=0 if family == "augmix" else 1e-3)


def test_one_block_may_do_clean_views_of_several_images() -> None:
    images = np.random.default_rng(0).integers(0, 256, (4, 3, 5, 7), dtype=np.uint8)
    plan = draw_plan(range(4), seed=0, epoch=0, image_size=(5, 7), views=1, pad=2, flip=True)
    result, faults = run(images, plan)
    assert faults == []
    np.testing.assert_array_equal(result, era_views(images, plan))


@pytest.mark.parametrize("missing", range(6))
def test_a_missing_barrier_is_found(missing: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tables' barriers, left out one at a time: the check above can fail."""
    make_step = era_operations.make_step

    def without(block: Block) -> Any:
        state = threading.local()

        def barrier() -> None:
            state.calls = getattr(state, "calls", -1) + 1
            if state.calls % 7 != missing:
                block.barrier()

        return make_step(dataclasses.replace(block, barrier=barrier))

    family = dataclasses.replace(FAMILIES["augmix"], make_step=without)
    monkeypatch.setitem(FAMILIES, "augmix", family)
    images = np.random.default_rng(0).integers(0, 256, (1, 3, 6, 7), dtype=np.uint8)
    plan = draw_plan([0], seed=0, epoch=0, image_size=(6, 7), views=2, depth=2)
    ops = np.array([OPERATIONS.index("autocontrast"), OPERATIONS.index("equalize")], np.int32)
    _, faults = run(images, dataclasses.replace(plan, ops=ops.reshape(1, 1, 1, 2)))
    assert faults
