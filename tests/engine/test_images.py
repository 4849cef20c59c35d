"""One image file -> uint8 (C, size, size): every kind of file, and every kind of damage."""

from __future__ import annotations

import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from gearnn.engine.images import SUFFIXES, Header, UnreadableImageError, fit_array, read_header, read_image


def noise(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def smooth(side, channels=3):
    """A photo-like picture: what JPEG and resizing keep."""
    y, x = np.mgrid[0:side, 0:side] / side
    planes = [127 + 120 * np.sin(3 * x + channel) * np.cos(2 * y - channel) for channel in range(channels)]
    return np.stack(planes, axis=-1).astype(np.uint8)


def test_rgb_is_kept_to_the_bit(tmp_path):
    pixels = noise(32, 32, 3)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    array, header = read_image(tmp_path / "a.png", 32, 3)
    assert array.dtype == np.uint8
    np.testing.assert_array_equal(array, pixels.transpose(2, 0, 1))
    assert header == Header(32, 32, "RGB")
    assert read_header(tmp_path / "a.png") == header
    assert not header.grey


def test_grey_to_one_and_to_three_channels(tmp_path):
    pixels = noise(20, 20)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    one, header = read_image(tmp_path / "a.png", 20, 1)
    three, _ = read_image(tmp_path / "a.png", 20, 3)
    np.testing.assert_array_equal(one, pixels[None])
    np.testing.assert_array_equal(three, np.stack([pixels] * 3))
    assert header.grey


def test_colour_to_one_channel_is_luminance(tmp_path):
    Image.new("RGB", (16, 16), (0, 255, 0)).save(tmp_path / "a.png")
    array, _ = read_image(tmp_path / "a.png", 16, 1)
    assert array.shape == (1, 16, 16)
    assert abs(int(array[0, 0, 0]) - 150) <= 1  # 0.587 * 255


def test_black_and_white(tmp_path):
    bits = noise(16, 16) > 127
    Image.fromarray((bits * 255).astype(np.uint8)).convert("1").save(tmp_path / "a.png")
    array, header = read_image(tmp_path / "a.png", 16, 1)
    assert header.mode == "1"
    assert header.grey
    np.testing.assert_array_equal(array[0], bits * 255)


def test_sixteen_bits_are_scaled_to_eight(tmp_path):
    values = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)
    Image.fromarray(values).save(tmp_path / "a.png")
    array, header = read_image(tmp_path / "a.png", 16, 1)
    assert header.grey
    np.testing.assert_array_equal(array[0].ravel(), np.arange(256))


@pytest.mark.parametrize("values", [np.float32([[0.5, 2.0]]), np.int32([[0, 70000]])])
def test_pixels_without_an_agreed_range_are_unreadable(tmp_path, values):
    Image.fromarray(np.tile(values, (16, 8))).save(tmp_path / "a.tif")
    with pytest.raises(UnreadableImageError, match="no agreed range"):
        read_image(tmp_path / "a.tif", 16, 3)


def test_palette(tmp_path):
    pixels = noise(16, 16, 3)
    palette = Image.fromarray(pixels).convert("P", palette=Image.Palette.ADAPTIVE, colors=256)
    palette.save(tmp_path / "a.png")
    array, header = read_image(tmp_path / "a.png", 16, 3)
    assert header.mode == "P"
    np.testing.assert_array_equal(array, np.asarray(palette.convert("RGB")).transpose(2, 0, 1))


def test_alpha_is_composited_over_white(tmp_path):
    pixels = np.zeros((16, 16, 4), dtype=np.uint8)
    pixels[..., 0] = 200
    pixels[:8, :, 3] = 255
    pixels[8:12, :, 3] = 51  # one fifth
    Image.fromarray(pixels, "RGBA").save(tmp_path / "a.png")
    array, _ = read_image(tmp_path / "a.png", 16, 3)
    np.testing.assert_array_equal(array[:, 0, 0], [200, 0, 0])
    np.testing.assert_allclose(array[:, 10, 0], [244, 204, 204], atol=1)
    np.testing.assert_array_equal(array[:, 15, 0], [255, 255, 255])


def test_grey_with_alpha_stays_grey(tmp_path):
    pixels = np.full((16, 16, 2), 100, dtype=np.uint8)
    pixels[:8, :, 1], pixels[8:, :, 1] = 255, 0
    Image.fromarray(pixels, "LA").save(tmp_path / "a.png")
    array, header = read_image(tmp_path / "a.png", 16, 1)
    assert header.grey
    assert array[0, 0, 0] == 100
    assert array[0, 15, 0] == 255


def test_transparent_palette_colour_is_white(tmp_path):
    image = Image.new("P", (16, 16), 0)
    image.putpalette([10, 20, 30, 40, 50, 60] + [0] * 750)
    image.paste(1, (0, 0, 16, 8))
    image.save(tmp_path / "a.png", transparency=0)
    array, _ = read_image(tmp_path / "a.png", 16, 3)
    np.testing.assert_array_equal(array[:, 0, 0], [40, 50, 60])
    np.testing.assert_array_equal(array[:, 15, 0], [255, 255, 255])


def test_cmyk(tmp_path):
    Image.new("CMYK", (16, 16), (0, 255, 255, 0)).save(tmp_path / "a.jpg", quality=95)
    array, header = read_image(tmp_path / "a.jpg", 16, 3)
    assert header.mode == "CMYK"
    np.testing.assert_allclose(array[:, 8, 8], [255, 0, 0], atol=3)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "tif"])
def test_exif_orientation_is_applied(tmp_path, orientation, suffix):
    upright = smooth(32)
    upright[:16, :16] = 255
    # How the camera stored it: the inverse of what the tag tells a viewer to do.
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"quality": 98, "subsampling": 0} if suffix == "jpg" else {}
    Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / f"a.{suffix}", exif=exif, **options)
    array, _ = read_image(tmp_path / f"a.{suffix}", 32, 3)
    difference = np.abs(array.astype(int) - upright.transpose(2, 0, 1))
    assert difference.mean() < 3


def test_shorter_side_is_resized_and_the_centre_cut(tmp_path):
    pixels = np.zeros((40, 120, 3), dtype=np.uint8)
    pixels[:, 40:80] = smooth(40)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    array, header = read_image(tmp_path / "a.png", 20, 3)
    assert (header.width, header.height) == (120, 40)
    expected = np.asarray(Image.fromarray(pixels).resize((60, 20), Image.Resampling.BICUBIC))[:, 20:40].transpose(2, 0, 1)
    assert np.abs(array.astype(int) - expected).max() <= 1


def test_downscaling_is_antialiased(tmp_path):
    stripes = np.zeros((64, 64, 3), dtype=np.uint8)
    stripes[:, ::2] = 255
    Image.fromarray(stripes).save(tmp_path / "a.png")
    array, _ = read_image(tmp_path / "a.png", 16, 3)
    assert np.abs(array.astype(int) - 127).max() < 20  # skipping pixels would give all 0 or all 255


def test_large_jpeg_is_close_to_a_full_decode(tmp_path):
    Image.fromarray(smooth(640)).save(tmp_path / "a.jpg", quality=95)
    array, header = read_image(tmp_path / "a.jpg", 32, 3)
    assert (header.width, header.height) == (640, 640)
    with Image.open(tmp_path / "a.jpg") as image:
        full = np.asarray(image.resize((32, 32), Image.Resampling.BICUBIC)).transpose(2, 0, 1)
    assert np.abs(array.astype(int) - full).max() <= 3


def test_first_frame_of_an_animation(tmp_path):
    frames = [Image.new("L", (16, 16), value) for value in (30, 200)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    array, _ = read_image(tmp_path / "a.gif", 16, 3)
    assert abs(int(array[0, 0, 0]) - 30) <= 1


def test_truncated_empty_missing_and_other_files_are_unreadable(tmp_path):
    Image.fromarray(noise(64, 64, 3)).save(tmp_path / "whole.jpg")
    whole = (tmp_path / "whole.jpg").read_bytes()
    (tmp_path / "half.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "text.jpg").write_text("no image at all")
    for name, reason in [
        ("half.jpg", "truncated"),
        ("empty.png", "empty file"),
        ("text.jpg", "not an image"),
        ("no.jpg", "not found"),
    ]:
        with pytest.raises(UnreadableImageError, match=reason):
            read_image(tmp_path / name, 32, 3)
    with pytest.raises(UnreadableImageError, match="empty file"):
        read_header(tmp_path / "empty.png")


def test_damaged_png_is_unreadable(tmp_path):
    Image.fromarray(noise(64, 64, 3)).save(tmp_path / "a.png")
    data = bytearray((tmp_path / "a.png").read_bytes())
    data[200:400] = b"\0" * 200
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(UnreadableImageError):
        read_image(tmp_path / "a.png", 32, 3)


@pytest.mark.parametrize("side", [10_000, 20_000])  # Pillow alone warns of the first and refuses the second
def test_decompression_bomb_is_unreadable(tmp_path, side):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    (tmp_path / "a.png").write_bytes(
        b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")
    )
    limit = Image.MAX_IMAGE_PIXELS
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(UnreadableImageError, match="safe"):
            read_image(tmp_path / "a.png", 32, 3)
    assert limit == Image.MAX_IMAGE_PIXELS


def test_fit_array_resizes_and_changes_channels():
    grey = smooth(48, 1).transpose(2, 0, 1)
    assert fit_array(grey, 24, 1).shape == (1, 24, 24)
    assert fit_array(grey, 24, 3).shape == (3, 24, 24)
    colour = smooth(48).transpose(2, 0, 1)
    np.testing.assert_array_equal(fit_array(colour, 48, 3), colour)
    assert np.abs(fit_array(colour, 24, 3).mean((1, 2)) - colour.mean((1, 2))).max() < 1


def test_suffixes_are_lower_case_with_a_dot():
    assert {".jpg", ".jpeg", ".png"} <= SUFFIXES
    assert all(suffix.startswith(".") and suffix == suffix.lower() for suffix in SUFFIXES)
