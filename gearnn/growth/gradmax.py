"""GradMax: new neurons whose weights would learn fastest (Evci et al., ICLR 2022, arXiv 2201.05125).

For a neuron that is linear around its start, the gradient by its outgoing weights is M v, where v are its incoming weights and
M = Σ δ ⊗ x sums, over images and positions, the loss's gradient by the consumer's outputs times the producer's input patches. Its
norm is greatest for the leading singular vectors of M.

The paper starts from zero incoming and singular outgoing weights. Behind BatchNorm and ReLU that neuron is dead: its gradient is
zero. Here it is the other way round, the transposed problem of the paper's equation 11: singular incoming, zero outgoing weights.
"""

from __future__ import annotations

from typing import Any, Dict, List, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gearnn.growth.candidates import Offer, Splitting, Task, blank_bank, first_batches, he_rows, offered_counts, unscored


def gradmax(task: Task) -> Offer:
    """Leading singular vectors first; all groups grow alike, as published."""
    counts = offered_counts(task.graph, task.config, scored=False)
    bank = blank_bank(task, counts)
    pairs = [(producer, consumer) for group in task.graph.groups for producer in group.producers for consumer in group.consumers]
    moments = _moments(task, pairs)
    for group in task.graph.groups:
        for path in group.producers:
            weight = task.weight(path)
            matrix = torch.cat([moments.pop((path, consumer)).flatten(1) for consumer in group.consumers], dim=1)  # (d, rest)
            # On the CPU: CUDA's solver fails to converge at times, falls back to another and takes longer.
            vectors = torch.linalg.svd(matrix.cpu(), full_matrices=False)[0].to(matrix.device)
            rows = he_rows(task, path, counts[group.name])  # where there are more neurons than directions
            leading = vectors.t()[: len(rows)] * rows.flatten(1).norm(dim=1).mean()
            rows[: len(leading)] = leading.view(len(leading), *weight.shape[1:])
            bank.new_rows[path] = rows
    return Offer(bank, unscored(task, counts, splits=False), Splitting(gains=(1.0, 0.0)))


def _moments(task: Task, pairs: List[Tuple[str, str]]) -> Dict[Tuple[str, str], Tensor]:
    """M by (producer, consumer), float32 (input patch, consumer's outputs · its kernel)."""
    inputs: Dict[str, Tensor] = {}
    shapes: Dict[str, Tuple[int, ...]] = {}
    gradients: Dict[str, Tensor] = {}
    handles = []
    producers, consumers = (list(dict.fromkeys(pair[side] for pair in pairs)) for side in (0, 1))
    for path in dict.fromkeys(producers + consumers):

        def before(module: nn.Module, given: Any, path: str = path) -> None:
            shapes[path] = tuple(given[0].shape)
            if path in producers:
                inputs[path] = given[0].detach()

        def after(module: nn.Module, given: Any, out: Tensor, path: str = path) -> None:
            if path in consumers:
                out.register_hook(lambda gradient: gradients.__setitem__(path, gradient))

        module = task.model.get_submodule(path)
        handles += [module.register_forward_pre_hook(before), module.register_forward_hook(after)]
    weights: List[Tensor] = [task.model.get_submodule(path).weight for path in producers]  # type: ignore[misc]
    found: Dict[Tuple[str, str], Tensor] = {}
    try:
        for views, labels in first_batches(task):
            torch.autograd.grad(task.loss(views, labels), weights)  # calls the hooks and leaves no gradients behind
            for producer, consumer in pairs:
                patches = _patches(task.model.get_submodule(producer), inputs[producer])
                reader, features = task.model.get_submodule(consumer), task.graph.layers[consumer].features
                moment = _moment(reader, patches, shapes[consumer], gradients[consumer], features)
                found[producer, consumer] = found.get((producer, consumer), 0) + moment
    finally:
        for handle in handles:
            handle.remove()
    return found


def _patches(producer: nn.Module, x: Tensor) -> Tensor:
    """What each output position of a layer reads: (B, patch, H, W)."""
    if isinstance(producer, nn.Conv2d):
        kernel, stride, dilation = producer.kernel_size, producer.stride, producer.dilation
        reach = [(size - 1) * step for size, step in zip(kernel, dilation)]
        padding = [side // 2 if producer.padding == "same" else 0 for side in reach]
        padding = padding if isinstance(producer.padding, str) else list(producer.padding)
        height = (x.shape[2] + 2 * padding[0] - reach[0] - 1) // stride[0] + 1
        return F.unfold(x, kernel, dilation, tuple(padding), stride).unflatten(2, (height, -1))
    return _grid(x.movedim(-1, 1))


def _grid(x: Tensor) -> Tensor:
    """(B, C), (B, C, T) or (B, C, H, W) → (B, C, H, W)."""
    return x[(...,) + (None,) * (4 - x.dim())]


def _moment(consumer: nn.Module, patches: Tensor, shape: Tuple[int, ...], gradient: Tensor, features: int) -> Tensor:
    """Σ δ ⊗ patch over images and positions; poolings in between are taken as averages: (patch, outputs · kernel)."""
    if isinstance(consumer, nn.Conv2d):
        weight = patches.new_zeros((consumer.out_channels, patches.shape[1], *consumer.kernel_size)).requires_grad_()
        with torch.enable_grad():
            pooled = _resized(patches, shape[2], shape[3])
            out = F.conv2d(pooled, weight, None, consumer.stride, consumer.padding, consumer.dilation)
        (moment,) = torch.autograd.grad(out, weight, gradient)
        return moment.transpose(0, 1).flatten(1)
    if gradient.dim() > 2:  # channels last, at one or two dimensions of positions
        gradient = _grid(gradient.movedim(-1, 1))
        return torch.einsum("bphw,bohw->po", _resized(patches, gradient.shape[2], gradient.shape[3]), gradient)
    side = int(features**0.5)
    grid = (side, side) if side * side == features else (features, 1)
    return torch.einsum("bpf,bo->pof", _resized(patches, *grid).flatten(2), gradient).flatten(1)


def _resized(patches: Tensor, height: int, width: int) -> Tensor:
    """Positions on another grid: in their order where there are as many, else averaged."""
    if patches.shape[2] * patches.shape[3] == height * width:
        return patches.flatten(2).unflatten(2, (height, width))
    return F.adaptive_avg_pool2d(patches, (height, width))
