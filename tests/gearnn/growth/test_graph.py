"""Channel groups of all the networks, stated one by one."""

from __future__ import annotations

import linecache
from typing import Callable, Dict, List, Tuple

import pytest
import torch
from torch import Tensor, nn

from gearnn.growth.graph import ChannelGroup, Span, size, trace_channels


def _described(group: ChannelGroup) -> Tuple[object, ...]:
    return (group.name, group.width, group.block, group.producers, group.norms, group.followers, group.consumers)


_DENSE_CONSUMERS = ("convs.0", "convs.1", "convs.2", "transition.2")
_DENSE_NORMS = ("norms.0", "norms.1", "norms.2", "transition.0")
# name, width, block, producers, norms, followers, consumers
_EXPECTED: Dict[str, List[Tuple[object, ...]]] = {
    "bottleneck": [
        ("stem.0", 16, 1, ("stem.0",), ("stem.1",), (), ("reduce.0", "shortcut.0")),
        ("reduce.0", 8, 1, ("reduce.0",), ("reduce.1",), (), ("middle.0",)),
        ("middle.0", 8, 1, ("middle.0",), ("middle.1",), (), ("expand.0",)),
        ("expand.0", 32, 1, ("expand.0", "shortcut.0"), ("expand.1", "shortcut.1"), (), ("head",)),
    ],
    "inverted_residual": [
        ("stem.0", 8, 1, ("stem.0", "project.0"), ("stem.1", "project.1"), (), ("expand.0", "head")),
        ("expand.0", 24, 1, ("expand.0", "excite"), ("expand.1", "depthwise.1"), ("depthwise.0",), ("squeeze", "project.0")),
        ("squeeze", 8, 1, ("squeeze",), (), (), ("excite",)),
    ],
    "dense": [
        ("stem", 16, 1, ("stem",), _DENSE_NORMS, (), _DENSE_CONSUMERS),
        ("convs.0", 8, 1, ("convs.0",), _DENSE_NORMS[1:], (), _DENSE_CONSUMERS[1:]),
        ("convs.1", 8, 1, ("convs.1",), _DENSE_NORMS[2:], (), _DENSE_CONSUMERS[2:]),
        ("convs.2", 8, 1, ("convs.2",), _DENSE_NORMS[3:], (), _DENSE_CONSUMERS[3:]),
        ("transition.2", 16, 1, ("transition.2",), (), (), ("head",)),
    ],
    "branches": [
        ("stem.0", 16, 1, ("stem.0",), (), (), ("one", "three.0", "pool.1")),
        ("one", 8, 1, ("one",), ("norm",), (), ("last",)),
        ("three.0", 8, 1, ("three.0",), (), (), ("three.2",)),
        ("three.2", 16, 1, ("three.2",), ("norm",), (), ("last",)),
        ("pool.1", 8, 1, ("pool.1",), ("norm",), (), ("last",)),
        ("last", 24, 1, ("last",), (), (), ("head.1",)),
        ("head.1", 32, 1, ("head.1",), ("head.2",), (), ("head.4",)),
    ],
    "grouped": [
        ("stem.0", 16, 1, ("stem.0", "expand.0"), ("stem.1", "expand.1"), (), ("reduce.0", "head")),
        ("reduce.0", 16, 4, ("reduce.0",), ("reduce.1", "grouped.1"), ("grouped.0",), ("expand.0",)),
    ],
    "group_norm": [
        ("first", 16, 4, ("first",), ("first_norm",), (), ("second",)),
        ("second", 24, 8, ("second",), ("second_norm",), (), ("head",)),
    ],
    "layer_norm": [
        ("stem", 16, 16, ("stem", "narrow"), ("norm", "last_norm"), ("depthwise",), ("wide", "head")),
        ("wide", 32, 1, ("wide",), (), (), ("narrow",)),
    ],
}


@pytest.mark.parametrize("name", _EXPECTED)
def test_groups(name: str, small_network: Callable[[str], nn.Module], images: Tensor) -> None:
    model = small_network(name)
    graph = trace_channels(model, images[:1])
    assert [_described(group) for group in graph.groups] == _EXPECTED[name]
    assert [group.name for group in graph.groups if group.whole] == (["stem"] if name == "layer_norm" else [])
    head = "head.4" if name == "branches" else "head"
    assert graph.fixed == {head: "they are the network's outputs"}
    assert graph.widths() == {group.name: group.width for group in graph.groups}
    assert graph.group(graph.groups[1].name) is graph.groups[1]


def test_vgg_has_a_group_per_layer(small_network: Callable[[str], nn.Module], images: Tensor) -> None:
    model = small_network("vgg19")
    graph = trace_channels(model, images[:1])
    assert [group.name for group in graph.groups] == model.width_layers
    assert all(len(group.producers) == len(group.norms) == len(group.consumers) == 1 for group in graph.groups)
    assert graph.fixed == {"classifier": "they are the network's outputs"}


def test_depthwise_layers_follow_their_pointwise_ones(small_network: Callable[[str], nn.Module], images: Tensor) -> None:
    model = small_network("mobilenet_v1")
    graph = trace_channels(model, images[:1])
    assert [group.name for group in graph.groups] == model.width_layers
    first, last = graph.groups[0], graph.groups[-1]
    assert first.followers == ("features.2.0",)
    assert first.norms == ("features.0.1", "features.2.1")
    assert first.block == 1
    assert last.followers == ()
    assert last.consumers == ("classifier",)


def test_residual_streams_move_together(small_network: Callable[[str], nn.Module], images: Tensor) -> None:
    model = small_network("resnet18")
    graph = trace_channels(model, images[:1])
    assert {group.name for group in graph.groups} == set(model.width_layers)
    stem = graph.group("stem.0.0")
    assert stem.producers == ("stem.0.0", "stages.0.0.expand.0", "stages.0.1.expand.0")
    assert set(stem.consumers) == {"stages.0.0.reduce.0", "stages.0.1.reduce.0", "stages.1.0.reduce.0", "stages.1.0.shortcut.0"}
    second = graph.group("stages.1.0.expand.0")
    assert set(second.producers) == {"stages.1.0.expand.0", "stages.1.0.shortcut.0", "stages.1.1.expand.0"}


def test_layers_and_values_have_the_shapes_that_the_network_computes(
    network_name: str, small_network: Callable[[str], nn.Module], images: Tensor
) -> None:
    """Spans, positions and elements, against what forward hooks see."""
    model = small_network(network_name)
    graph = trace_channels(model, images[:1])
    seen: Dict[str, List[Tuple[int, ...]]] = {}
    for path, module in model.named_modules():
        module.register_forward_hook(lambda _, given, out, path=path: seen.setdefault(path, []).append(tuple(out.shape[1:])))
    model(images[:2])
    values = {value.layer: value for value in graph.values if value.layer}
    for path, layer in graph.layers.items():
        module, (shape,) = model.get_submodule(path), seen[path]
        elements = torch.Size(shape).numel()
        into, out = size(layer.inputs, {}), size(layer.outputs, {})
        weight = getattr(module, "weight", torch.ones(out))
        assert (out, into * layer.features) == (
            (weight.shape[0], weight.shape[1]) if layer.kind == "mixing" else (weight.shape[0],) * 2
        )
        assert layer.positions == elements // out
        assert (values[path].elements, values[path].positions) == (elements, elements // out)
        assert values[path].spans == layer.outputs
    known = {type(module) for path, module in model.named_modules() if path in graph.layers}
    layers = {path for path, module in model.named_modules() if isinstance(module, tuple(known))}
    assert set(graph.layers) == layers
    names = [value.name for value in graph.values]
    assert len(set(names)) == len(names)
    for number, value in enumerate(graph.values):
        assert set(value.inputs) <= set(names[:number])
        assert value.elements == size(value.spans, {}) * value.positions
    first, last = graph.values[0], graph.values[-1]
    assert (first.operation, first.spans, first.elements) == ("input", (Span(None, 3),), 3 * 32 * 32)
    assert (last.operation, last.spans, last.elements, last.positions) == ("Linear", (Span(None, 10),), 10, 1)


def test_values_are_the_operations_in_order(small_network: Callable[[str], nn.Module], images: Tensor) -> None:
    graph = trace_channels(small_network("inverted_residual"), images[:1])
    stream, wide, squeezed = Span("stem.0", 8), Span("expand.0", 24), Span("squeeze", 8)
    found = [(value.operation, value.layer, value.spans, value.positions) for value in graph.values]
    assert found[:4] == [
        ("input", None, (Span(None, 3),), 1024),
        ("Conv2d", "stem.0", (stream,), 256),
        ("BatchNorm2d", "stem.1", (stream,), 256),
        ("Hardswish", "stem.2", (stream,), 256),
    ]
    assert found[10:16] == [
        ("adaptive_avg_pool2d", None, (wide,), 1),
        ("Conv2d", "squeeze", (squeezed,), 1),
        ("relu", None, (squeezed,), 1),
        ("Conv2d", "excite", (wide,), 1),
        ("sigmoid", None, (wide,), 1),
        ("mul", None, (wide,), 256),
    ]
    by_name = {value.name: value for value in graph.values}
    (total,) = [value for value in graph.values if value.operation == "add"]
    assert [by_name[name].layer for name in total.inputs] == ["stem.2", "project.1"]


def test_concatenations_keep_their_order(small_network: Callable[[str], nn.Module], images: Tensor) -> None:
    graph = trace_channels(small_network("dense"), images[:1])
    stem, first, second = Span("stem", 16), Span("convs.0", 8), Span("convs.1", 8)
    assert graph.layers["convs.2"].inputs == (stem, first, second)
    assert graph.layers["norms.2"].outputs == (stem, first, second)
    assert graph.layers["head"].features == 256
    assert size(graph.layers["convs.2"].inputs, {"convs.0": 10, "elsewhere": 5}) == 34


def test_tracing_leaves_the_network_as_it_is(small_network: Callable[[str], nn.Module], images: Tensor) -> None:
    model = small_network("branches").train()
    model.norm.eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    attributes = set(vars(model))
    random = torch.random.get_rng_state()
    trace_channels(model, images[:2])
    assert model.training and model.last.training and not model.norm.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert set(vars(model)) == attributes
    assert torch.equal(torch.random.get_rng_state(), random)


def test_tracing_leaves_no_sources_behind(small_network: Callable[[str], nn.Module], images: Tensor) -> None:
    before = len(linecache.cache)
    trace_channels(small_network("mobilenet_v1"), images)
    assert len(linecache.cache) == before
