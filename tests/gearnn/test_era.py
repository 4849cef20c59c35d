import numpy as np
import pytest
import torch

from gearnn.augmenter import to_levels
from gearnn.era import ERA


def pictures(batch=4, channels=3, height=32, width=32, seed=0):
    rng = np.random.default_rng(seed)
    surface = rng.normal(size=(batch, channels, height, width)).cumsum(2).cumsum(3)
    surface -= surface.min((2, 3), keepdims=True)
    return torch.from_numpy((255 * surface / surface.max((2, 3), keepdims=True)).astype(np.uint8))


@pytest.mark.parametrize("channels", [1, 3])
def test_views(channels):
    images = pictures(channels=channels, height=24, width=17)
    views = ERA()(images, seed=0)
    assert views.shape == (4, 4, channels, 24, 17) and views.dtype == torch.float32
    assert views.min() >= 0 and views.max() <= 1
    torch.testing.assert_close(views[0], images / 255, rtol=0, atol=0)
    for image in range(4):
        for view in range(1, 4):
            for other in range(view):
                assert not torch.equal(views[view, image], views[other, image])


def test_augmix_is_a_setting():
    era = ERA(width=3, depth=None, views=3)
    assert era(pictures(), seed=1).shape[0] == 3
    plan = era.plan([0], seed=1, image_size=(32, 32))
    assert plan.ops.shape == (1, 2, 3, 3)


def test_one_view_is_the_clean_one():
    images = pictures()
    assert torch.equal(ERA(views=1)(images)[0], images / 255)


def test_crop_and_flip_are_shared_by_the_views_of_an_image():
    images = pictures(32)
    era = ERA(views=1, pad=4, flip=True)
    clean = era(images, seed=3)[0]
    plan = era.plan(range(32), seed=3, image_size=(32, 32))
    assert plan.flip.any() and not plan.flip.all()
    for image, view, (dy, dx), flip in zip(images, clean, plan.crop, plan.flip):
        canvas = np.pad(image.numpy(), ((0, 0), (4, 4), (4, 4)))
        expected = canvas[:, 4 + dy : 36 + dy, 4 + dx : 36 + dx]
        expected = expected[:, :, ::-1] if flip else expected
        np.testing.assert_array_equal(view.numpy(), expected.astype(np.float32) / 255)
    assert torch.equal(ERA(pad=4, flip=True)(images, seed=3)[0], clean)


def test_a_sample_gets_the_same_views_in_any_batch():
    images = pictures(12)
    era = ERA(pad=4, flip=True, width=2)
    indices = torch.arange(100, 112)
    whole = era(images, indices=indices, seed=7, epoch=2)
    part = era(images[[9, 2]], indices=indices[[9, 2]], seed=7, epoch=2)
    assert torch.equal(part, whole[:, [9, 2]])
    assert not torch.equal(era(images, indices=indices, seed=7, epoch=3)[1:], whole[1:])
    assert not torch.equal(era(images, indices=indices, seed=8, epoch=2)[1:], whole[1:])


def test_replays_a_plan():
    images = pictures()
    era = ERA(pad=2, flip=True)
    plan = era.plan([5, 6, 7, 8], seed=1, epoch=9, image_size=(32, 32))
    replayed = era(images, plan=plan)
    assert torch.equal(replayed, era(images, indices=[5, 6, 7, 8], seed=1, epoch=9))


def test_without_a_seed_the_generator_of_torch_decides():
    images, era = pictures(), ERA()
    torch.manual_seed(0)
    first, second = era(images), era(images)
    torch.manual_seed(0)
    assert torch.equal(era(images), first)
    assert not torch.equal(second[1:], first[1:])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
def test_floating_point_images_are_rounded_to_levels(dtype):
    images = pictures()
    torch.testing.assert_close(ERA()((images / 255).to(dtype), seed=0), ERA()(images, seed=0), rtol=0, atol=0)
    assert to_levels(torch.tensor([[[0.0, 0.4 / 255, 0.6 / 255, 1.0]]])).flatten().tolist() == [0, 0, 1, 255]


def test_single_image_and_empty_batch():
    image = pictures(1)
    assert torch.equal(ERA()(image[0], seed=0), ERA()(image, seed=0)[:, 0])
    assert ERA()(image[:0], seed=0).shape == (4, 0, 3, 32, 32)


@pytest.mark.parametrize("views", [2, 4])
def test_input_is_left_alone_and_needs_no_layout(views):
    images = pictures(1)
    kept = images.clone()
    era = ERA(views=views)
    expected = era(images, seed=0)
    assert torch.equal(images, kept)
    strided = images.to(memory_format=torch.channels_last)
    assert torch.equal(era(strided, seed=0), expected)
    assert torch.equal(era(images.flip(3).flip(3), seed=0), expected)


def test_no_gradient_no_state_and_a_readable_repr():
    era = ERA(severity=2, pad=4)
    views = era(pictures().div(255).requires_grad_(), seed=0)
    assert not views.requires_grad
    assert not era.state_dict() and not list(era.parameters())
    assert repr(era) == "ERA(severity=2, width=1, depth=3, views=4, alpha=1.0, pad=4, flip=False)"


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((1, 3, 8, 8), np.uint8), "tensor"),
        (torch.zeros(8, 8, dtype=torch.uint8), "tensor"),
        (torch.zeros(1, 3, 8, 8, dtype=torch.int64), "int64"),
        (torch.full((1, 3, 8, 8), 1.5), "divide by 255"),
        (torch.full((1, 3, 8, 8), -0.5), "divide by 255"),
        (torch.full((1, 3, 8, 8), float("nan")), "divide by 255"),
    ],
)
def test_refuses_images_in_one_sentence(images, message):
    with pytest.raises(ValueError, match=message) as error:
        ERA()(images)
    assert "\n" not in str(error.value)


def test_refuses_a_plan_or_indices_of_another_batch():
    era = ERA()
    plan = era.plan([0, 1], seed=0, image_size=(32, 32))
    with pytest.raises(ValueError, match="plan is for 2 images"):
        era(pictures(3), plan=plan)
    with pytest.raises(ValueError, match="plan is for 2 images"):
        era(pictures(3), indices=[0, 1])


@pytest.mark.parametrize("setting", [{"severity": 0}, {"severity": 11}, {"width": 0}, {"depth": 0}, {"views": 0}, {"pad": -1}])
def test_refuses_settings_out_of_range(setting):
    with pytest.raises(ValueError, match=next(iter(setting))):
        ERA(**setting)
