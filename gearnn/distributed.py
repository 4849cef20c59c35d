"""A run on several processes: who is who, and what they tell each other, over torch.distributed (Gloo, or NCCL on GPUs).

torchrun starts the processes and tells each its place in the environment. Each works on its part of every batch, and gradients
are added up over all of them. BatchNorm normalises by the part's statistics; where it is asked to, by those of the whole batch,
and then the steps are those of one process, but for rounding.
"""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Callable, Iterator, List, Mapping, Sequence

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from gearnn.accumulation import Outcome
from gearnn.checkpoint import State, load_checkpoint, save_checkpoint
from gearnn.config import RunConfig
from gearnn.engine.errors import reason
from gearnn.errors import UserError

PATIENCE = timedelta(minutes=30)
"""How long a process waits for the others; one that has ended is noticed at once, since its connections close."""
_NEEDED = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True)
class Team:
    """The processes of a run, as one of them sees it.

    Attributes:
        rank: of this process, from 0; process 0 leads: it alone writes files and judges the networks.
        size: how many there are.
        local_rank, local_size: the same among those on this machine.
        device: where messages have to lie: on the GPU for NCCL.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1
    device: str = "cpu"

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def part_of(self, indices: np.ndarray) -> np.ndarray:
        """This process's part of a batch; parts differ by one image at most."""
        return np.array_split(indices, self.size)[self.rank]

    def shared_out(self, costs: Sequence[float]) -> List[int]:
        """The process that does each job: the dearest first, each by the one that has least to do."""
        workers, loads = [0] * len(costs), [0.0] * self.size
        for job in sorted(range(len(costs)), key=lambda job: -costs[job]):
            workers[job] = loads.index(min(loads))
            loads[workers[job]] += costs[job]
        return workers

    def add_up(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors of one type by their sums over all processes, in place, in one message."""
        if self.size == 1:
            return
        # Convolutions' gradients are channels last: in that order they are copied in one piece.
        seen = [tensor.movedim(1, -1) if tensor.dim() == 4 else tensor for tensor in tensors]
        flat = torch.cat([tensor.reshape(-1) for tensor in seen])
        with _talking():
            dist.all_reduce(flat)
        for tensor, total in zip(seen, flat.split([tensor.numel() for tensor in seen])):
            tensor.copy_(total.view(tensor.shape))

    def gather(self, tensor: Tensor) -> Tensor:
        """The tensors (n,) of all processes, in the order of their ranks, as (size, n)."""
        found = [torch.empty_like(tensor) for _ in range(self.size)]
        with _talking():
            dist.all_gather(found, tensor)
        return torch.stack(found)

    def told(self, content: bytes) -> bytes:
        """What process 0 holds; the others' own is ignored."""
        if self.size == 1:
            return content
        length = torch.tensor([len(content)], device=self.device)
        with _talking():
            dist.broadcast(length, 0)
            if not int(length):
                return b""  # Gloo sends no empty messages
            message = torch.empty(int(length), dtype=torch.uint8, device=self.device)
            if self.leads:
                message.copy_(torch.frombuffer(bytearray(content), dtype=torch.uint8))
            dist.broadcast(message, 0)
        return message.cpu().numpy().tobytes()

    def summed(self, model: nn.Module, found: Outcome) -> Outcome:
        """Add up the gradients of a model over all processes, and what they found on their parts of a batch; and give all of them
        the mean of their BatchNorm layers' running statistics."""
        if self.size == 1:
            return found
        gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
        figures = torch.tensor([found.loss, found.correct], dtype=torch.float32, device=self.device)
        statistics = [
            statistic.div_(self.size)
            for layer in _batch_norms(model)
            for statistic in (layer.running_mean, layer.running_var)
            if statistic is not None
        ]
        self.add_up([*gradients, *statistics, figures])
        return Outcome(float(figures[0]), int(figures[1]))

    def state(self, make: Callable[[], State]) -> State:
        """The state that process 0 makes, on all of them, so that they go on from the same bits."""
        if self.size == 1:
            return make()
        mine = make() if self.leads else None
        with tempfile.TemporaryDirectory(prefix="gearnn-state-") as folder:
            path = Path(folder, "state.safetensors")
            if mine is not None:
                save_checkpoint(path, mine)
                self.told(path.read_bytes())
                return mine
            path.write_bytes(self.told(b""))
            return load_checkpoint(path)


ALONE = Team()


def team_of(environment: Mapping[str, str]) -> Team:
    """The team that torchrun's variables speak of; without them, a process on its own.

    Raises:
        UserError: if some of them are missing or make no sense.
    """
    if environment.get("WORLD_SIZE", "1") == "1":
        return ALONE
    missing = [name for name in _NEEDED if name not in environment]
    if missing:
        raise UserError(f"WORLD_SIZE is set but {', '.join(missing)} not: start the processes with torchrun, or unset WORLD_SIZE")
    try:
        rank, size = int(environment["RANK"]), int(environment["WORLD_SIZE"])
        local_rank, local_size = int(environment.get("LOCAL_RANK", rank)), int(environment.get("LOCAL_WORLD_SIZE", size))
    except ValueError as error:
        raise UserError(f"RANK, WORLD_SIZE and the like must be whole numbers ({error}): start them with torchrun") from error
    if not 0 <= rank < size:
        raise UserError(f"there is no rank {rank} among {size} processes: start them with torchrun")
    return Team(rank, size, local_rank, local_size)


def check_team(config: RunConfig, team: Team) -> None:
    """Refuse what several processes cannot do together.

    Raises:
        UserError: naming the option.
    """
    if team.size == 1:
        return
    for given, option, why in (
        (config.budget.train_time is not None, "--budget.train-time", "their clocks differ"),
        (config.memory_limit is not None, "--memory-limit", "one cannot halve its batches by itself"),
        (config.shots == "auto", "--shots auto", "one would have to take back what the others keep"),
    ):
        if given:
            raise UserError(f"{option} does not go with several processes, since {why}: leave it out, or start one process")
    if config.optimizer.images_per_step < 2 * team.size:
        raise UserError(
            f"a batch of {config.optimizer.images_per_step} images is too small for {team.size} processes: raise "
            f"--optimizer.batch-size to at least {2 * team.size}, or start fewer"
        )


@contextmanager
def joined(team: Team, device: torch.device) -> Iterator[Team]:
    """Connect the processes of a team for the block; ``device`` is what this one trains on.

    Raises:
        UserError: if this build of torch cannot, or the others cannot be reached.
    """
    if team.size == 1:
        yield team
        return
    backend = "nccl" if device.type == "cuda" else "gloo"
    if not dist.is_available() or not (dist.is_nccl_available() if backend == "nccl" else dist.is_gloo_available()):
        raise UserError(f"this torch has no {backend} to connect processes with: start one process, or install another build")
    if device.type == "cuda":
        torch.cuda.set_device(device)  # else every process would take memory of the first GPU too
    with _talking():
        dist.init_process_group(backend, timeout=PATIENCE, rank=team.rank, world_size=team.size)
    try:
        yield replace(team, device=str(device))
    finally:
        dist.destroy_process_group()


@contextmanager
def _talking() -> Iterator[None]:
    try:
        yield
    except (RuntimeError, ValueError) as error:
        raise UserError(
            "another process of this run has ended or cannot be reached: see what it said, and go on with the same command and "
            f"--resume (torch says: {reason(error)})"
        ) from error


@contextmanager
def whole_batches(model: nn.Module, team: Team) -> Iterator[None]:
    """BatchNorm layers in training normalise by the statistics of the batches of all processes together, for the block."""
    layers = _batch_norms(model) if team.size > 1 else []
    for layer in layers:
        layer.forward = lambda images, layer=layer: _normalized(layer, images, team)
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward


def _batch_norms(model: nn.Module) -> List[Any]:
    return [layer for layer in model.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]


def _normalized(layer: Any, images: Tensor, team: Team) -> Tensor:
    """What ``layer`` (BatchNorm, in training) makes of this process's part; running statistics move as for the whole batch."""
    weight = images.new_ones(images.shape[1]) if layer.weight is None else layer.weight
    bias = images.new_zeros(images.shape[1]) if layer.bias is None else layer.bias
    out, mean, variance, count = _WholeBatch.apply(images, weight, bias, layer.eps, team)
    if layer.track_running_stats:
        layer.num_batches_tracked.add_(1)
        share = 1 / float(layer.num_batches_tracked) if layer.momentum is None else layer.momentum
        layer.running_mean.lerp_(mean, share)
        layer.running_var.lerp_(variance * (count / (count - 1)), share)
    found: Tensor = out
    return found


class _WholeBatch(torch.autograd.Function):
    """Batch normalisation (Ioffe & Szegedy 2015, arXiv 1502.03167) of parts of a batch by the mean and variance of all of it."""

    @staticmethod
    def forward(ctx, images, weight, bias, eps, team):  # type: ignore[no-untyped-def]
        channels = images.shape[1]
        mean, variance = torch.batch_norm_update_stats(images, None, None, 0.0)  # eight times as fast as var_mean
        parts = team.gather(torch.cat([mean, variance, mean.new_tensor([images.numel() / channels])]))
        means, variances, counts = parts[:, :channels], parts[:, channels:-1], parts[:, -1:]
        count = counts.sum()
        mean = (counts * means).sum(0) / count
        variance = (counts * (variances + (means - mean) ** 2)).sum(0) / count
        ctx.save_for_backward(images, weight, mean, variance)
        ctx.eps, ctx.team, ctx.count = eps, team, count
        ctx.mark_non_differentiable(mean, variance, count)
        return nn.functional.batch_norm(images, mean, variance, weight, bias, False, 0.0, eps), mean, variance, count

    @staticmethod
    def backward(ctx, gradient, *unused):  # type: ignore[no-untyped-def]
        images, weight, mean, variance = ctx.saved_tensors
        # As if mean and variance were constants; then the parts that go through them, which are sums over the whole batch.
        by_images, by_weight, by_bias = torch.ops.aten.native_batch_norm_backward(
            gradient, images, weight, mean, variance, None, None, False, ctx.eps, [True, True, True]
        )
        sums = torch.stack([by_bias, by_weight])
        ctx.team.add_up([sums])
        inverse = (variance + ctx.eps).rsqrt()
        slope = weight * inverse / ctx.count
        shape = [1, -1, *[1] * (images.dim() - 2)]
        by_variance = slope * inverse * sums[1]
        offset = slope * sums[0] - by_variance * mean
        by_images.addcmul_(images, by_variance.view(shape).to(images.dtype), value=-1).sub_(offset.view(shape).to(images.dtype))
        return by_images, by_weight, by_bias, None, None
