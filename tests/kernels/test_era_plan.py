import dataclasses

import numpy as np
import pytest

from gearnn.kernels.era_plan import NO_OPERATION, OPERATIONS, EraPlan, draw_plan

ARRAYS = [field.name for field in dataclasses.fields(EraPlan)]


def draw(indices=range(64), **settings):
    settings = {"seed": 0, "epoch": 0, "image_size": (32, 32), **settings}
    return draw_plan(list(indices), **settings)


def assert_same(a, b):
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)


def used_args(plan, name):
    return plan.args[plan.ops == OPERATIONS.index(name)]


def test_shapes_and_types():
    plan = draw(range(5), width=2, depth=4, views=3, pad=4, flip=True)
    assert (len(plan), plan.views) == (5, 3)
    expected = {
        "ops": ((5, 2, 2, 4), np.int32),
        "args": ((5, 2, 2, 4), np.float32),
        "chain_weights": ((5, 2, 2), np.float32),
        "mix": ((5, 2), np.float32),
        "crop": ((5, 2), np.int32),
        "flip": ((5,), np.bool_),
    }
    for name, (shape, dtype) in expected.items():
        array = getattr(plan, name)
        assert (array.shape, array.dtype) == (shape, dtype), name
        assert array.flags["C_CONTIGUOUS"], name


def test_operations_do_not_overlap_the_test_corruptions():
    assert len(OPERATIONS) == 9
    assert not set(OPERATIONS) & {"color", "colour", "contrast", "brightness", "sharpness"}


def test_known_plan():
    """The draws are a format: resumed runs and other executions of the plan count on them."""
    plan = draw_plan([0, 7], seed=2024, epoch=3, image_size=(32, 48), width=2, depth=None, views=2, alpha=0.5, pad=4, flip=True)
    np.testing.assert_array_equal(plan.ops, [[[[2, 8, -1], [7, 1, 2]]], [[[6, -1, -1], [0, 7, -1]]]])
    args = [[[[3, 2, 0], [-3, 0, 4]]], [[[0.06789421, 0, 0], [0, 0, 0]]]]
    np.testing.assert_allclose(plan.args, args, rtol=1e-6)
    np.testing.assert_allclose(plan.chain_weights, [[[0.9438908, 0.05610918]], [[0.16115135, 0.83884865]]], rtol=1e-5)
    np.testing.assert_allclose(plan.mix, [[0.23908834], [0.31147513]], rtol=1e-5)
    np.testing.assert_array_equal(plan.crop, [[-2, 3], [4, 2]])
    np.testing.assert_array_equal(plan.flip, [False, False])


@pytest.mark.parametrize("settings", [{}, {"width": 3, "depth": None, "views": 3}, {"width": 2, "alpha": 0.5}])
def test_a_sample_has_the_same_row_in_any_batch(settings):
    settings = {**settings, "pad": 4, "flip": True, "seed": 5, "epoch": 3}
    whole = draw(range(50), **settings)
    order = np.random.default_rng(0).permutation(50)[:17]
    assert_same(draw(order, **settings), whole.select(order))
    assert_same(draw([41], **settings), whole.select(slice(41, 42)))
    assert_same(draw(range(50), **settings), whole)


@pytest.mark.parametrize("change", [{"seed": 1}, {"epoch": 1}, {"seed": 1 << 40}, {"indices": range(2000, 4000)}])
def test_another_key_gives_other_draws(change):
    a = draw(range(2000), pad=4, flip=True)
    b = draw(**{"indices": range(2000), "pad": 4, "flip": True, **change})
    assert abs(np.mean(a.ops == b.ops) - 1 / 9) < 0.02
    assert abs(np.corrcoef(a.mix.ravel(), b.mix.ravel())[0, 1]) < 0.06
    assert abs(np.mean(a.flip == b.flip) - 1 / 2) < 0.06
    assert abs(np.mean(a.crop == b.crop) - 1 / 9) < 0.03


def test_views_width_and_depth_leave_the_remaining_draws_alone():
    small, large = draw(width=2, depth=2, views=2), draw(width=3, depth=5, views=4)
    np.testing.assert_array_equal(small.ops, large.ops[:, :1, :2, :2])
    np.testing.assert_array_equal(small.args, large.args[:, :1, :2, :2])
    np.testing.assert_array_equal(small.mix, large.mix[:, :1])


def test_large_indices_are_told_apart():
    plan = draw([1, 1 + (1 << 32), 1 + (1 << 40)])
    assert len(np.unique(plan.mix[:, 0])) == 3


def test_operations_are_equally_likely_and_independent():
    ops = draw(range(20_000), views=2, depth=2).ops[:, 0, 0]
    pairs = np.bincount(ops[:, 0] * 9 + ops[:, 1], minlength=81) / len(ops)
    assert np.abs(pairs - 1 / 81).max() < 0.0035  # 4.5 standard errors


@pytest.mark.parametrize("severity", [0.05, 1.0, 3.0, 10.0])
def test_ranges(severity):
    plan = draw(range(6000), severity=severity, image_size=(48, 96))
    top = max(severity, 0.1)
    for name, largest in (("rotate", 30), ("translate_x", 32), ("translate_y", 16)):
        args = used_args(plan, name)
        assert np.array_equal(args, np.trunc(args))
        assert np.abs(args).max() == np.trunc(np.float64(largest) * top / 10 - 1e-6), name
    for name in ("shear_x", "shear_y"):
        args = np.abs(used_args(plan, name))
        assert args.max() <= 0.03 * top + 1e-6 and args.max() > 0.029 * top
        assert args.min() >= 0.03 * min(severity, 0.1) - 1e-6
    bits, threshold = used_args(plan, "posterize"), used_args(plan, "solarize")
    assert bits.max() == 4 and bits.min() == 4 - np.trunc(0.4 * top - 1e-6)
    assert threshold.min() == 256 - np.trunc(25.6 * top - 1e-6)
    assert threshold.max() <= 256
    for name in ("autocontrast", "equalize"):
        assert not used_args(plan, name).any()


def test_signs_are_fair_and_levels_uniform():
    shear = used_args(draw(range(20_000), severity=3), "shear_x")
    assert abs(np.mean(shear > 0) - 1 / 2) < 0.03
    level = np.abs(shear) / 0.03
    assert abs(level.mean() - 1.55) < 0.05
    assert abs(level.var() - 2.9**2 / 12) < 0.04


def test_depth_none_draws_one_two_or_three_operations():
    plan = draw(range(4000), width=3, depth=None, views=3)
    assert plan.ops.shape[-1] == 3
    used = plan.ops != NO_OPERATION
    lengths = used.sum(-1)
    frequencies = np.bincount(lengths.ravel(), minlength=4) / lengths.size
    np.testing.assert_allclose(frequencies, [0, 1 / 3, 1 / 3, 1 / 3], atol=0.012)
    assert np.array_equal(used, np.arange(3) < lengths[..., None])
    assert not plan.args[~used].any()


def test_fixed_depth_uses_every_step():
    assert (draw(depth=5).ops != NO_OPERATION).all()


@pytest.mark.parametrize("alpha", [0.05, 0.5, 1.0, 2.0, 10.0])
def test_mix_is_beta(alpha):
    mix = draw(range(20_000), alpha=alpha, views=2, depth=1).mix.ravel()
    assert mix.min() >= 0 and mix.max() <= 1
    assert abs(mix.mean() - 0.5) < 0.015
    assert mix.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.05)
    # The fourth central moment tells a Beta from others with its mean and variance: excess kurtosis -6 / (2 alpha + 3).
    kurtosis = np.mean((mix - mix.mean()) ** 4) / mix.var() ** 2
    assert kurtosis == pytest.approx(3 - 6 / (2 * alpha + 3), rel=0.06)


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0])
def test_chain_weights_are_dirichlet(alpha):
    weights = draw(range(20_000), alpha=alpha, width=3, views=2, depth=1).chain_weights[:, 0]
    np.testing.assert_allclose(weights.sum(-1), 1, atol=1e-6)
    np.testing.assert_allclose(weights.mean(0), 1 / 3, atol=0.01)
    covariance = np.cov(weights.T)
    np.testing.assert_allclose(np.diag(covariance), 2 / 9 / (3 * alpha + 1), rtol=0.05)
    np.testing.assert_allclose(covariance[0, 1], -1 / 9 / (3 * alpha + 1), rtol=0.08)


def test_tiny_alpha_does_not_underflow():
    plan = draw(range(500), alpha=1e-4, width=3)
    assert np.isfinite(plan.mix).all() and np.isfinite(plan.chain_weights).all()
    np.testing.assert_allclose(plan.chain_weights.sum(-1), 1, atol=1e-6)


def test_one_chain_has_all_the_weight():
    assert (draw(width=1, alpha=0.5).chain_weights == 1).all()


def test_crop_and_flip():
    plan = draw(range(9000), pad=4, flip=True)
    for axis in range(2):
        counts = np.bincount(plan.crop[:, axis] + 4, minlength=9)
        assert len(counts) == 9 and np.abs(counts / 9000 - 1 / 9).max() < 0.015
    assert abs(np.corrcoef(plan.crop.T)[0, 1]) < 0.045
    assert abs(plan.flip.mean() - 0.5) < 0.022
    off = draw(pad=0, flip=False)
    assert not off.crop.any() and not off.flip.any()


def test_one_view_and_no_images():
    assert draw(views=1, width=3, depth=None).ops.shape == (64, 0, 3, 3)
    assert draw([], pad=2).ops.shape == (0, 3, 1, 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"severity": 0}, "severity"),
        ({"severity": 10.5}, "severity"),
        ({"severity": float("nan")}, "severity"),
        ({"alpha": 0}, "alpha"),
        ({"alpha": float("inf")}, "alpha"),
        ({"width": 0}, "width"),
        ({"depth": 0}, "depth"),
        ({"views": 0}, "views"),
        ({"views": 257}, "views"),
        ({"pad": -1}, "pad"),
        ({"epoch": -1}, "epoch"),
        ({"image_size": (0, 32)}, "image_size"),
        ({"indices": [-1]}, "indices"),
        ({"indices": [0.5]}, "indices"),
        ({"indices": [[1]]}, "indices"),
    ],
)
def test_refuses_in_one_sentence(change, message):
    with pytest.raises(ValueError, match=message) as error:
        draw(**change)
    assert "\n" not in str(error.value)
