"""What real networks write in their forwards: each form is either followed through growth, or fixed with the reason."""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Optional, Tuple

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gearnn.errors import UserError
from gearnn.growth.graph import trace_channels

Check = Callable[..., None]


class _Net(nn.Module):
    """Two convolutions, what a test puts between and behind them, and a classifier on 8 channels (or ``features``)."""

    def __init__(self, body: Callable[[Any, Tensor], Tensor], features: int = 8, **parts: Any) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 8, 3, padding=1)
        self.head = nn.Linear(features, 10)
        self.body = body
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(self, x)


def _pooled(net: Any, x: Tensor) -> Tensor:
    return net.head(x.mean((2, 3)))


def _squeeze_excite(net: Any, x: Tensor) -> Tensor:
    x = torch.relu(net.first(x))
    b, c, _, _ = x.size()
    gate = torch.sigmoid(net.up(F.relu(net.down(F.adaptive_avg_pool2d(x, 1).view(b, c))))).view(b, c, 1, 1)
    return _pooled(net, net.second(x * gate))


def _keep_dim(net: Any, x: Tensor) -> Tensor:
    x = net.second(torch.relu(net.first(x)))
    x = x - x.mean((2, 3), keepdim=True)
    return net.head(torch.flatten(F.adaptive_max_pool2d(x, 1), 1))


def _in_place(net: Any, x: Tensor) -> Tensor:
    x = net.relu(net.first(x))
    y = net.second(x)
    y += x
    y = net.third(net.relu(y))
    y.add_(x)
    return _pooled(net, y.mul_(0.5).relu_())


def _joined(net: Any, x: Tensor) -> Tensor:
    x = torch.relu(net.first(x))
    y = torch.cat(tensors=[x, net.second(x)], dim=-3)
    return _pooled(net, torch.concat((net.third(y), y), 1))


def _padded(net: Any, x: Tensor) -> Tensor:
    x = F.max_pool2d(F.pad(net.first(x), (0, 1, 0, 1)), 3, 2)
    x = F.avg_pool2d(F.interpolate(net.second(x), scale_factor=2.0), 2)
    return net.head(F.dropout(net.pool(x).reshape(x.shape[0], -1), 0.5, net.training))


def _flattened(net: Any, x: Tensor) -> Tensor:
    x = net.pool(F.leaky_relu(net.second(torch.tanh(net.first(x)))))
    return net.head(net.dropout(torch.relu(net.norm(net.hidden(x.flatten(1))))))


def _tokens(net: Any, x: Tensor) -> Tensor:
    """(B, C, H, W) → (B, T, C), a transformer's MLP block without attention."""
    x = net.second(net.first(x)).flatten(2).transpose(1, 2)
    x = x + net.narrow(F.gelu(net.wide(net.norm(x))))
    return net.head(x.mean(dim=1))


def _channels_last(net: Any, x: Tensor) -> Tensor:
    x = torch.permute(net.first(x), dims=(0, 2, 3, 1))
    x = net.wide(x).relu().permute((0, -1, 1, 2))
    return _pooled(net, net.third(x))


def _viewed(net: Any, x: Tensor) -> Tensor:
    """Standard deviations over positions, by views of several kinds."""
    x = net.first(x)
    y = x.view(x.size(0), x.size(1), -1)
    x = net.second(x - y.mean(2).view(x.shape[0], x.shape[1], 1, 1))
    b, c, h, w = x.shape
    spread = x.view(b, c, h * w).square().mean(-1).sqrt()
    return net.head(spread.view(-1, c * 1))


def _squeezed(net: Any, x: Tensor) -> Tensor:
    x = F.adaptive_avg_pool2d(net.second(net.first(x)), (1, 1))
    return net.head(x.squeeze(-1).unsqueeze(2).squeeze())


def _spatial_attention(net: Any, x: Tensor) -> Tensor:
    x = net.first(x)
    return _pooled(net, net.second(x) * torch.sigmoid(net.one(x)))


def _scaled(net: Any, x: Tensor) -> Tensor:
    x = net.first(x)
    return _pooled(net, x + net.alpha * net.second(x) ** 2 / 4)


def _strided(net: Any, x: Tensor) -> Tensor:
    x = torch.relu(net.first(x))
    return _pooled(net, torch.relu(net.second(F.avg_pool2d(x, 2)) + net.shortcut(x)))


def _with_parameter(net: Any, x: Tensor) -> Tensor:
    x = net.second(net.first(x))
    return _pooled(net, torch.cat([x, net.extra.expand(x.shape[0], -1, x.shape[2], x.shape[3])], 1))


# form, parts, groups: (name, consumers)
_FOLLOWED: Dict[str, Tuple[Callable, Dict[str, Any], int, List[Tuple[str, Tuple[str, ...]]]]] = {
    "squeeze-excite by views": (
        _squeeze_excite,
        {"down": nn.Linear(8, 4), "up": nn.Linear(4, 8)},
        8,
        [("first", ("down", "second")), ("down", ("up",)), ("second", ("head",))],
    ),
    "mean that keeps dimensions": (_keep_dim, {}, 8, [("first", ("second",)), ("second", ("head",))]),
    "in-place sums, one ReLU": (
        _in_place,
        {"relu": nn.ReLU(inplace=True), "third": nn.Conv2d(8, 8, 1)},
        8,
        [("first", ("second", "third", "head"))],
    ),
    "cat by keyword and negative dim": (
        _joined,
        {"third": nn.Conv2d(16, 4, 1)},
        20,
        [("first", ("second", "third", "head")), ("second", ("third", "head")), ("third", ("head",))],
    ),
    "padding, poolings, resizing": (
        _padded,
        {"pool": nn.AdaptiveAvgPool2d((2, 3))},
        48,
        [("first", ("second",)), ("second", ("head",))],
    ),
    "BatchNorm1d behind a flattening": (
        _flattened,
        {"pool": nn.AvgPool2d(4), "hidden": nn.Linear(32, 12), "norm": nn.BatchNorm1d(12), "dropout": nn.Dropout()},
        12,
        [("first", ("second",)), ("second", ("hidden",)), ("hidden", ("head",))],
    ),
    "linear layers on tokens": (
        _tokens,
        {"norm": nn.LayerNorm(8), "wide": nn.Linear(8, 16), "narrow": nn.Linear(16, 8)},
        8,
        [("first", ("second",)), ("second", ("wide", "head")), ("wide", ("narrow",))],
    ),
    "channels last": (
        _channels_last,
        {"wide": nn.Linear(8, 12), "third": nn.Conv2d(12, 8, 1)},
        8,
        [("first", ("wide",)), ("wide", ("third",)), ("third", ("head",))],
    ),
    "views": (_viewed, {}, 8, [("first", ("second",)), ("second", ("head",))]),
    "squeezes": (_squeezed, {}, 8, [("first", ("second",)), ("second", ("head",))]),
    "one channel broadcast": (
        _spatial_attention,
        {"one": nn.Conv2d(8, 1, 1)},
        8,
        [("first", ("second", "one")), ("second", ("head",))],
    ),
    "a scalar parameter and numbers": (
        _scaled,
        {"alpha": nn.Parameter(torch.tensor(0.7))},
        8,
        [("first", ("second", "head"))],
    ),
    "concatenated with a parameter": (
        _with_parameter,
        {"extra": nn.Parameter(torch.rand(1, 4, 1, 1))},
        12,
        [("first", ("second",)), ("second", ("head",))],
    ),
    "shortcut with a stride": (
        _strided,
        {"shortcut": nn.Conv2d(8, 8, 1, 2)},
        8,
        [("first", ("second", "shortcut")), ("second", ("head",))],
    ),
}


@pytest.mark.parametrize("form", _FOLLOWED)
def test_forms_that_are_followed(form: str, images: Tensor, stays_itself: Check) -> None:
    body, parts, features, groups = _FOLLOWED[form]
    model = _Net(body, features, **parts).eval()
    x = images[:, :, ::2, ::2]
    graph = trace_channels(model, x[:1])
    assert [(group.name, group.consumers) for group in graph.groups] == groups
    stays_itself(model, x)


def _shuffled(net: Any, x: Tensor) -> Tensor:
    x = net.first(x)
    b, c, h, w = x.size()
    x = x.view(b, 2, c // 2, h, w).transpose(1, 2).contiguous().view(b, -1, h, w)
    return _pooled(net, net.second(x))


def _written(net: Any, x: Tensor) -> Tensor:
    return net.head(F.adaptive_avg_pool2d(net.second(net.first(x)), 1).view(-1, 8))


def _chunked(net: Any, x: Tensor) -> Tensor:
    x = net.first(x)
    left, right = torch.chunk(x, 2, dim=1)
    return _pooled(net, net.second(x) + net.left(left) + net.right(right))


def _split(net: Any, x: Tensor) -> Tensor:
    left, right = net.first(x).split([3, 5], dim=1)
    return _pooled(net, net.second(torch.cat([right, left], 1)))


def _softmax(net: Any, x: Tensor) -> Tensor:
    return _pooled(net, net.second(F.softmax(net.first(x), dim=1)))


def _layer_scale(net: Any, x: Tensor) -> Tensor:
    x = net.first(x)
    return _pooled(net, x + net.gamma * net.second(x))


def _viewed_scale(net: Any, x: Tensor) -> Tensor:
    return _pooled(net, net.second(net.first(x) * net.gamma.view(1, -1, 1, 1)))


def _channel_mean(net: Any, x: Tensor) -> Tensor:
    x = net.first(x)
    gate = x.mean(1)  # (B, 8, 8): as wide as it is high
    return _pooled(net, net.second(x) * torch.sigmoid(gate).unsqueeze(1))


def _positions_first(net: Any, x: Tensor) -> Tensor:
    """(B, C, H, W) read as (B, H · W, C), where there are as many positions as channels."""
    x = net.second(net.first(x))
    b, c, h, w = x.shape
    return net.head(x.reshape(b, h * w, c).mean(2))


def _positions_left_open(net: Any, x: Tensor) -> Tensor:
    x = net.second(net.first(x))
    return net.head(x.view(x.size(0), -1, x.size(1)).mean(2))


def _twice(net: Any, x: Tensor) -> Tensor:
    x = net.second(net.first(x))
    return _pooled(net, torch.cat([x, x], dim=1))


def _twice_by_a_sum(net: Any, x: Tensor) -> Tensor:
    x = net.first(x)
    y = net.second(x)
    return net.head(torch.cat([x, y], dim=1).mean((2, 3))) + net.other((x + y).mean((2, 3)))


def _shared(net: Any, x: Tensor) -> Tensor:
    return _pooled(net, net.second(net.second(net.first(x))))


def _through(net: Any, x: Tensor) -> Tensor:
    return _pooled(net, net.second(net.part(net.first(x))))


def _functional(net: Any, x: Tensor) -> Tensor:
    x = net.second(net.first(x))
    return _pooled(net, x + F.conv2d(x, net.second.weight, padding=1))


def _pooled_across(net: Any, x: Tensor) -> Tensor:
    """Pooling over (W, C) of channels last mixes neighbouring channels."""
    x = net.first(x).permute(0, 2, 3, 1)
    return net.head(net.linear(F.max_pool2d(x, 3, 1, 1)).mean((1, 2)))


def _width_as_number(net: Any, x: Tensor) -> Tensor:
    x = net.first(x)
    return _pooled(net, net.second(x * x.shape[1] ** -0.5))


def _mixed_tokens(net: Any, x: Tensor) -> Tensor:
    x = net.second(net.first(x)).flatten(2)
    return net.head(net.token(x).mean(2))


def _zero_padded_shortcut(net: Any, x: Tensor) -> Tensor:
    x = net.first(x)
    return _pooled(net, net.second(x) + F.pad(net.left(x), (0, 0, 0, 0, 2, 2)))


def _weight_normed() -> nn.Module:
    return torch.nn.utils.weight_norm(nn.Conv2d(8, 8, 1)) if hasattr(torch.nn.utils, "weight_norm") else nn.Conv2d(8, 8, 1)


class _Standardised(nn.Conv2d):
    """Computes something else with the same attributes."""

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        return F.conv2d(x, weight, self.bias, self.stride, self.padding)


def _frozen(module: nn.Module) -> nn.Module:
    return module.requires_grad_(False)


# form, parts, features: fixed layer → words of its reason
_FIXED: Dict[str, Tuple[Callable, Dict[str, Any], int, Dict[str, str]]] = {
    "channel shuffle": (_shuffled, {}, 8, {"first": "view gives them another order"}),
    "sizes written into the code": (_written, {}, 8, {"second": "view gives them another order or size"}),
    "chunks": (
        _chunked,
        {"left": nn.Conv2d(4, 8, 1), "right": nn.Conv2d(4, 8, 1)},
        8,
        {"first": "pass through chunk"},
    ),
    "splits": (_split, {}, 8, {"first": "pass through split"}),
    "softmax over channels": (_softmax, {}, 8, {"first": "pass through softmax"}),
    "layer scale": (
        _layer_scale,
        {"gamma": nn.Parameter(torch.rand(8, 1, 1))},
        8,
        {"first": "gamma takes part in mul", "second": "gamma takes part in mul"},
    ),
    "layer scale by a view": (
        _viewed_scale,
        {"gamma": nn.Parameter(torch.rand(8))},
        8,
        {"first": "view takes part in mul"},
    ),
    "mean over channels": (_channel_mean, {}, 8, {"first": "mean combines or moves them"}),
    "as many positions as channels": (_positions_first, {"second": nn.Conv2d(8, 64, 1)}, 64, {"second": "reshape gives them"}),
    "as many positions as channels, left open": (
        _positions_left_open,
        {"second": nn.Conv2d(8, 64, 1)},
        64,
        {"second": "view gives them"},
    ),
    "twice in a concatenation": (_twice, {}, 16, {"second": "appear twice in a concatenation"}),
    "twice by a later sum": (
        _twice_by_a_sum,
        {"other": nn.Linear(8, 10)},
        16,
        {"first": "appear twice", "second": "appear twice"},
    ),
    "one layer twice": (_shared, {}, 8, {"first": "second is used more than once", "second": "second is used more than once"}),
    "transposed convolution": (
        _through,
        {"part": nn.ConvTranspose2d(8, 8, 2, 2)},
        8,
        {"first": "read by part, a ConvTranspose2d", "part": "it is a ConvTranspose2d"},
    ),
    "channel multiplier": (
        _through,
        {"part": nn.Sequential(nn.Conv2d(8, 16, 3, groups=8), nn.Conv2d(16, 8, 1, groups=8))},
        8,
        {"first": "several groups and another number of outputs", "part.0": "several groups", "part.1": "several groups"},
    ),
    "another computation in a subclass": (
        _through,
        {"part": _Standardised(8, 8, 1)},
        8,
        {"first": "pass through conv2d"},
    ),
    "a computed weight": (_through, {"part": _weight_normed()}, 8, {"first": "computed from", "part": "computed from"}),
    "frozen layer": (
        _through,
        {"part": _frozen(nn.Conv2d(8, 8, 1))},
        8,
        {"first": "part is frozen", "part": "part is frozen"},
    ),
    "frozen BatchNorm": (_through, {"part": _frozen(nn.BatchNorm2d(8))}, 8, {"first": "part is frozen"}),
    "a weight used outside of its layer": (
        _functional,
        {},
        8,
        {"first": "weights of second are used outside", "second": ""},
    ),
    "pooling across channels": (
        _pooled_across,
        {"linear": nn.Linear(8, 8)},
        8,
        {"first": "pass through boolean_dispatch|max_pool2d"},
    ),
    "the width as a number": (_width_as_number, {}, 8, {"first": "mul joins unlike channels"}),
    "mixing of positions": (_mixed_tokens, {"token": nn.Linear(64, 4)}, 8, {"second": "another axis", "token": "another axis"}),
    "shortcut padded with zeros": (
        _zero_padded_shortcut,
        {"left": nn.Conv2d(8, 4, 1)},
        8,
        {"second": "add joins unlike channels|pad", "left": "pass through pad"},
    ),
    "LayerNorm over all of an image": (_through, {"part": nn.LayerNorm([8, 8, 8])}, 8, {"first": "another axis"}),
    "one GroupNorm for several layers": (
        lambda net, x: _joined_norm(net, x),
        {"norm": nn.GroupNorm(2, 16)},
        16,
        {"first": "norm groups channels of several layers", "second": "norm groups channels of several layers"},
    ),
}


def _joined_norm(net: Any, x: Tensor) -> Tensor:
    x = net.first(x)
    return _pooled(net, net.norm(torch.cat([x, net.second(x)], 1)))


@pytest.mark.parametrize("form", _FIXED)
def test_forms_that_are_fixed(form: str, images: Tensor, stays_itself: Check) -> None:
    body, parts, features, reasons = _FIXED[form]
    model = _Net(body, features, **parts).eval()
    x = images[:, :, ::2, ::2]
    graph = trace_channels(model, x[:1])
    for layer, words in reasons.items():
        assert any(word in graph.fixed[layer] for word in words.split("|")), graph.fixed
    names = {group.name for group in graph.groups}
    assert not names & set(reasons)
    if names:  # what is left can be grown
        stays_itself(model, x)


class _Plain(nn.Conv2d):
    """A name of its own for the same computation."""


class _PlainNorm(nn.BatchNorm2d):
    pass


def test_subclasses_that_compute_the_same_are_what_they_inherit(images: Tensor, stays_itself: Check) -> None:
    model = _Net(_through, part=nn.Sequential(_Plain(8, 8, 3, padding=1, groups=8), _PlainNorm(8), nn.PReLU())).eval()
    x = images[:, :, ::2, ::2]
    first = trace_channels(model, x[:1]).group("first")
    assert (first.followers, first.norms) == (("part.0",), ("part.1",))
    stays_itself(model, x)


def test_tied_weights_are_left_alone(images: Tensor) -> None:
    model = _Net(_through, part=nn.Conv2d(8, 8, 3, padding=1))
    model.part.weight = model.second.weight
    graph = trace_channels(model, images[:1])
    assert not graph.groups
    assert "part shares weights with second" in graph.fixed["first"]
    assert "shares weights with" in graph.fixed["part"]


def test_a_value_with_several_parts_ends_growth_for_what_goes_in(images: Tensor, stays_itself: Check) -> None:
    """Of nn.MaxPool2d(return_indices=True), torch.max and so on, what comes out is followed on."""

    def body(net: Any, x: Tensor) -> Tensor:
        x, _ = net.pool(net.first(x))
        return _pooled(net, net.third(net.second(x)))

    model = _Net(body, pool=nn.MaxPool2d(2, return_indices=True), third=nn.Conv2d(8, 8, 1))
    graph = trace_channels(model, images[:1])
    assert [group.name for group in graph.groups] == ["second", "third"]
    assert "pool" in graph.fixed["first"]
    stays_itself(model, images[:, :, ::2, ::2])


def test_outputs_in_tuples_and_dicts_are_fixed(images: Tensor) -> None:
    def body(net: Any, x: Tensor) -> Any:
        x = net.first(x)
        y = net.second(x)
        return {"logits": _pooled(net, y), "maps": (x, [y])}

    graph = trace_channels(_Net(body), images[:1])
    assert not graph.groups
    assert graph.fixed == dict.fromkeys(("first", "second", "head"), "they are the network's outputs")


class _Optional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 8, 3), nn.Linear(8, 2)

    def forward(self, x: Tensor, mask: Optional[Tensor] = None, *, features: bool = False) -> Tensor:
        x = self.conv(x)
        if mask is not None:
            x = x * mask
        if features:
            return x
        return self.head(x.mean((2, 3)))


def test_optional_inputs_are_left_at_their_defaults(images: Tensor, stays_itself: Check) -> None:
    assert [group.name for group in trace_channels(_Optional(), images[:1]).groups] == ["conv"]
    stays_itself(_Optional(), images)


class _TwoInputs(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x + y


class _Branching(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        if x.sum() > 0:  # here
            return x
        return -x


def test_untraceable_networks_are_an_error_that_names_the_line(images: Tensor) -> None:
    with pytest.raises(UserError, match=r"cannot be traced .*test_walk\.py, line \d+: if x\.sum\(\) > 0"):
        trace_channels(_Branching(), images[:1])


def test_networks_that_do_not_fit_the_example_are_an_error_that_names_the_line(
    images: Tensor, capfd: pytest.CaptureFixture[str]
) -> None:
    model = _Net(lambda net, x: net.head(net.first(x).flatten(1)))
    with pytest.raises(UserError, match=r"shape \(1, 3, 32, 32\) .*test_walk\.py, line \d+: .*flatten\(1\).*shapes cannot be"):
        trace_channels(model, images[:1])
    with pytest.raises(UserError, match="missing 1 required positional argument: 'y'"):
        trace_channels(_TwoInputs(), images[:1])
    assert not capfd.readouterr().err  # fx prints a traceback of its own


class _Auxiliary(nn.Module):
    """GoogLeNet's way: a second classifier that only training sees."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3)
        self.aux, self.head = nn.Linear(8, 2), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Any:
        x = self.first(x)
        out = self.head(self.second(x).mean((2, 3)))
        return (out, self.aux(x.mean((2, 3)))) if self.training else out


def test_layers_that_only_training_runs_are_an_error(images: Tensor) -> None:
    model = _Auxiliary()
    with pytest.raises(UserError, match="in training this one also runs aux"):
        trace_channels(model, images[:1])
    assert model.training


def test_tensors_in_the_code_leave_no_trace(images: Tensor) -> None:
    model = _Net(lambda net, x: _pooled(net, net.second(net.first(x) * torch.full((1,), 2.0))))
    graph = trace_channels(model, images[:1])
    assert [group.name for group in graph.groups] == ["first", "second"]
    assert not [name for name in vars(model) if "constant" in name]
