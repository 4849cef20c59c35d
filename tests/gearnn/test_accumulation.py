"""Batches in parts, where memory runs out."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Callable, Dict, List

import pytest
import torch
from torch import Tensor, nn

from gearnn import trainer as trainer_module
from gearnn.accumulation import MicroBatches, Outcome, is_out_of_memory, parts, release
from gearnn.checkpoint import checkpoint_path, load_checkpoint
from gearnn.config import Epochs, RunConfig
from gearnn.data import Dataset
from gearnn.engine.profile import resident_mb
from gearnn.errors import UserError
from gearnn.phases import phases_of
from gearnn.progress import no_progress
from gearnn.trainer import Trainer
from gearnn.training import Amp

CPU = torch.device("cpu")


class Narrow(nn.Module):
    """Has memory for so many images at a time; the error is the one given."""

    def __init__(self, images: int, error: Exception) -> None:
        super().__init__()
        self.images, self.error, self.seen = images, error, []  # type: ignore[var-annotated]

    def forward(self, images: Tensor) -> Tensor:
        self.seen.append(len(images))
        if len(images) > self.images:
            raise self.error
        return images


def _network(*before_the_limit: nn.Module, narrow: nn.Module) -> nn.Sequential:
    torch.manual_seed(0)
    convolution, linear = nn.Conv2d(1, 4, 3), nn.Linear(4, 3)
    return nn.Sequential(convolution, *before_the_limit, nn.Tanh(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), narrow, linear)


def _learn(model: nn.Module, micro_batches: MicroBatches, views: int = 3, batch: int = 10) -> Outcome:
    draw = torch.Generator().manual_seed(1)
    images, labels = torch.randn(views, batch, 1, 8, 8, generator=draw), torch.arange(batch) % 3
    forget = lambda: model.zero_grad(set_to_none=True)  # noqa: E731
    backward = Amp(CPU, {}).backward
    return micro_batches.learn(model.train(), images, labels, 12.0, autocast=nullcontext, forget=forget, backward=backward)


def _gradients(model: nn.Module) -> Dict[str, Tensor]:
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters() if parameter.grad is not None}


@pytest.mark.parametrize(
    "error",
    [
        torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_gradients_of_the_parts_add_up_to_those_of_the_whole(error: Exception) -> None:
    whole = _network(narrow=nn.Identity())
    expected, sizes = _learn(whole, MicroBatches()), []
    narrow = Narrow(3 * 3, error)
    model = _network(narrow=narrow)
    micro_batches = MicroBatches(halved=sizes.append)
    found = _learn(model, micro_batches)
    assert sizes == [5, 3]
    assert narrow.seen == [30, 15, 6, 9, 6, 9]  # three views each: 10 refused, 5 refused, then parts of 2, 3, 2 and 3
    assert found.loss == pytest.approx(expected.loss, rel=1e-5)
    assert found.correct == expected.correct
    gradients = _gradients(model)
    for name, gradient in _gradients(whole).items():
        assert gradient.abs().max() > 1e-4
        torch.testing.assert_close(gradients[name], gradient, rtol=1e-4, atol=1e-6)


def test_nothing_is_left_of_a_failed_attempt() -> None:
    """BatchNorm has seen the images before memory runs out: the attempt's statistics and gradients must go."""
    at_once, after_failures = (
        _network(nn.BatchNorm2d(4), narrow=Narrow(9, MemoryError())),
        _network(nn.BatchNorm2d(4), narrow=Narrow(9, MemoryError())),
    )
    _learn(at_once, MicroBatches(size=3))
    _learn(after_failures, MicroBatches())
    for name, tensor in at_once.state_dict().items():
        assert torch.equal(after_failures.state_dict()[name], tensor), name
    for name, gradient in _gradients(at_once).items():
        assert torch.equal(_gradients(after_failures)[name], gradient), name
    assert at_once.state_dict()["1.num_batches_tracked"] == 4


def test_a_failure_in_the_backward_pass_leaves_no_gradients() -> None:
    """Two parts have added their gradients when the third does not fit."""
    plain, model = _network(narrow=nn.Identity()), _network(narrow=nn.Identity())
    calls: List[int] = []
    backward = Amp(CPU, {}).backward

    def failing(loss: Tensor) -> None:
        calls.append(1)
        backward(loss)
        if len(calls) == 3:
            raise MemoryError

    images, labels = torch.randn(1, 8, 1, 8, 8, generator=torch.Generator().manual_seed(2)), torch.arange(8) % 3
    for network, size, back in ((plain, 1, backward), (model, 2, failing)):
        forget: Callable[[], None] = lambda network=network: network.zero_grad(set_to_none=True)  # type: ignore[misc]  # noqa: E731
        MicroBatches(size).learn(network, images, labels, 12.0, autocast=nullcontext, forget=forget, backward=back)
    assert len(calls) == 3 + 8
    for name, gradient in _gradients(plain).items():
        assert torch.equal(_gradients(model)[name], gradient), name


def test_one_image_that_does_not_fit_is_said_in_a_sentence() -> None:
    with pytest.raises(
        UserError, match=r"even one image at a time \(no room\): end other programs, raise --memory-limit"
    ) as told:
        _learn(_network(narrow=Narrow(0, MemoryError("no room"))), MicroBatches())
    assert "\n" not in str(told.value)
    # A single value per channel is too little for BatchNorm; that is no traceback either.
    single = nn.Sequential(nn.Flatten(), nn.Linear(64, 3), nn.BatchNorm1d(3), Narrow(1, MemoryError()))
    with pytest.raises(UserError, match="even one image at a time"):
        _learn(single, MicroBatches(), views=1)


def test_other_errors_pass() -> None:
    for error in (RuntimeError("shapes cannot be multiplied"), ValueError("Expected more than 1 value per channel")):
        with pytest.raises(type(error), match=str(error)):
            _learn(_network(narrow=Narrow(0, error)), MicroBatches())


def test_torchs_own_refusal_is_recognised() -> None:
    with pytest.raises(RuntimeError) as refused:
        torch.empty(2**55, dtype=torch.uint8)
    assert is_out_of_memory(refused.value)


@pytest.mark.parametrize(
    ("message", "of_memory"),
    [
        ("could not create a primitive", True),  # oneDNN has no room for its code: at the real wall below, one time in twenty
        ("could not execute a primitive", True),
        ("could not create a primitive descriptor for a matmul primitive", False),
        ("Unable to find a valid cuDNN algorithm to run convolution", True),
        ("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`", True),
        ("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED", False),
    ],
)
def test_refusals_of_the_libraries_below(message: str, of_memory: bool) -> None:
    assert is_out_of_memory(RuntimeError(message)) is of_memory
    assert not is_out_of_memory(ValueError(message))


@pytest.mark.parametrize(
    ("total", "size", "lengths"), [(8, 0, [8]), (8, 8, [8]), (33, 16, [11, 11, 11]), (5, 2, [1, 2, 2]), (2, 1, [1, 1])]
)
def test_parts_are_even(total: int, size: int, lengths: List[int]) -> None:
    found = parts(total, size)
    assert [len(part) for part in found] == lengths
    assert [number for part in found for number in part] == list(range(total))


@pytest.mark.skipif(resident_mb() is None, reason="needs /proc")
def test_the_process_keeps_to_its_limit() -> None:
    """A real limit: 64 images leave 67 MB of activations for the backward pass; 45 MB are left."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 64, 3, padding=1), nn.Tanh(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 3))
    images, labels = torch.randn(1, 64, 1, 64, 64), torch.arange(64) % 3
    release()
    held = resident_mb()
    assert held is not None
    sizes: List[int] = []
    micro_batches = MicroBatches(limit=int((held + 45) * 1e6), halved=sizes.append)
    forget = lambda: model.zero_grad(set_to_none=True)  # noqa: E731
    micro_batches.learn(model, images, labels, 0.0, autocast=nullcontext, forget=forget, backward=Amp(CPU, {}).backward)
    assert sizes
    assert 4 <= micro_batches.size <= 32


_AT_A_WALL = """
import resource
from contextlib import nullcontext
from pathlib import Path
import torch
from torch import nn
from gearnn.accumulation import MicroBatches
torch.set_num_threads(1)
model = nn.Sequential(nn.Conv2d(1, 64, 3, padding=1), nn.Tanh(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 3))
images, labels, sizes = torch.randn(1, 64, 1, 64, 64), torch.arange(64) % 3, []
forget = lambda: model.zero_grad(set_to_none=True)
micro_batches = MicroBatches(2, halved=sizes.append)
how = {"autocast": nullcontext, "forget": forget, "backward": lambda loss: loss.backward()}
learn = lambda: micro_batches.learn(model, images, labels, 0.0, **how)
learn()  # whatever threads and libraries take once
status = Path("/proc/self/status").read_text().split("VmSize:")[1]
resource.setrlimit(resource.RLIMIT_AS, (int(status.split()[0]) * 1024 + 60_000_000,) * 2)
micro_batches.size = 0
print(learn().loss > 0, sizes)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc and address-space limits")
def test_torchs_allocator_at_a_real_wall() -> None:
    """The address space is limited to 60 MB more than the process has: torch's own error, and parts that fit."""
    done = subprocess.run([sys.executable, "-c", _AT_A_WALL], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("True [32")


def test_a_run_remembers_its_parts(
    tiny_dataset: Dataset, tiny_config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory runs out in the second epoch; the run goes on, is interrupted, and goes on in parts without trying more."""
    config = dataclasses.replace(tiny_config, method="fixed", epochs=Epochs(seed=0, era=3))
    real, sizes = trainer_module.train_epoch, []

    def short_of_memory(model: nn.Module, *rest: object, **options: object) -> object:
        epoch = rest[4]

        def refuse(module: nn.Module, inputs: tuple) -> None:
            sizes.append((epoch, len(inputs[0])))
            if epoch == 1 and len(inputs[0]) > 3 * 8:
                raise MemoryError

        hook = model.register_forward_pre_hook(refuse)
        try:
            return real(model, *rest, **options)  # type: ignore[arg-type]
        finally:
            hook.remove()

    monkeypatch.setattr(trainer_module, "train_epoch", short_of_memory)

    def cut(label: str, done: int, total: int) -> None:
        if done == 7:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        Trainer.start(config, tiny_dataset, phases_of(config), tmp_path, CPU, cut).work()
    saved = load_checkpoint(checkpoint_path(tmp_path)).progression
    assert (saved.epoch, saved.micro_batch) == (2, 8)
    trainer = Trainer.resume(config, tiny_dataset, phases_of(config), tmp_path, CPU, no_progress)
    trainer.work()
    assert {size for epoch, size in sizes if epoch == 0} == {96}
    assert [size for epoch, size in sizes if epoch == 1][:3] == [96, 48, 24]
    assert {size for epoch, size in sizes if epoch == 2} == {24}
    first, second = trainer.state.progression.remarks
    assert first.startswith("Memory ran out in epoch 2 of phase era: from there on at most 16 of a batch's 32 images")
    assert "at most 8 of" in second


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_batch_that_a_gpu_has_no_memory_for_goes_through_in_parts() -> None:
    device = torch.device("cuda")
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 64, 3, padding=1), nn.Tanh(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 3)
    model = nn.Sequential(*layers).to(device)
    images, labels = torch.randn(1, 4096, 3, 32, 32, device=device), torch.arange(4096, device=device) % 3
    forget = lambda: model.zero_grad(set_to_none=True)  # noqa: E731
    found = []
    release()
    for gigabytes in (None, 2):  # a whole batch takes over three
        if gigabytes is not None:
            torch.cuda.set_per_process_memory_fraction(gigabytes * 1e9 / torch.cuda.get_device_properties(0).total_memory)
        said: List[int] = []
        micro_batches = MicroBatches(0, None, said.append)
        try:
            outcome = micro_batches.learn(
                model, images, labels, 0.0, autocast=nullcontext, forget=forget, backward=lambda loss: loss.backward()
            )
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0)
        found.append((said, outcome, _gradients(model)))
    (whole, first, expected), (parts_, second, gradients) = found
    assert whole == [] and parts_ and parts_[0] == 2048
    assert second.loss == pytest.approx(first.loss, rel=1e-3) and abs(second.correct - first.correct) <= 40
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, expected[name], rtol=0.02, atol=1e-4)
