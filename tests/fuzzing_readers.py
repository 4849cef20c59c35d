"""What reads data from outside, as functions of bytes: for the tests beside it and for long runs.

Every target puts its bytes where a user's file would lie and reads it. It lets `UserError` and, for images, their own
`UnreadableImageError` pass: anything else that comes out is a finding.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import pickle
import struct
import tempfile
import warnings
from pathlib import Path
from typing import Callable, Dict, List

import numpy as np
from PIL import Image

from gearnn.engine.images import UnreadableImageError, read_header, read_image
from gearnn.errors import UserError
from gearnn.readers import cifar, idx, npz, tiny_imagenet
from gearnn.readers.store import _read_index

Target = Callable[[bytes], bool]
"""Returns whether the bytes were taken."""


def targets() -> Dict[str, Target]:
    """A name for each loader, and the function that feeds it."""
    root = Path(tempfile.mkdtemp(prefix="gearnn-fuzz-"))
    folders = {name: root / name for name in seeds()}
    for folder in folders.values():
        folder.mkdir()
    (folders["tiny_imagenet"] / "train" / "n1").mkdir(parents=True)
    (folders["tiny_imagenet"] / "val").mkdir()
    labels = struct.pack(">2I", 2049, 2) + b"\0\1"
    for name in ("idx", "idx_gz"):
        (folders[name] / "train-labels-idx1-ubyte").write_bytes(labels)
    (folders["cifar_python"] / "test_batch").write_bytes(_batch(2))
    (folders["cifar_binary"] / "test_batch.bin").write_bytes(bytes(3073))
    (folders["store"] / "images.u8").write_bytes(bytes(4 * 256))

    def reading(place: str, name: str, read: Callable[[Path], object]) -> Target:
        file = folders[place] / name

        def target(data: bytes) -> bool:
            file.parent.mkdir(exist_ok=True)  # an index that is not sound is removed with its folder
            file.write_bytes(data)
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    read(file)
            except (UserError, UnreadableImageError) as error:
                assert "\n" not in str(error)
                return False
            return True

        return target

    def in_folder(read: Callable[[Path], object]) -> Callable[[Path], object]:
        return lambda file: read(file.parent)

    def image(file: Path) -> None:
        read_header(file)
        pixels, _ = read_image(file, 16, 3)
        assert pixels.shape == (3, 16, 16)

    def index(file: Path) -> None:
        images = file.with_name("images.u8")
        if not images.exists():
            images.write_bytes(bytes(4 * 256))
        found = _read_index(file.parent, 4)
        assert found is None or len(found["unreadable"]) <= 4

    return {
        "image": reading("image", "image.jpg", image),
        "npz": reading("npz", "data.npz", npz.read),
        "idx": reading("idx", "train-images-idx3-ubyte", in_folder(idx.read)),
        "idx_gz": reading("idx_gz", "train-images-idx3-ubyte.gz", in_folder(idx.read)),
        "cifar_python": reading("cifar_python", "data_batch_1", in_folder(cifar.read)),
        "cifar_binary": reading("cifar_binary", "data_batch_1.bin", in_folder(cifar.read)),
        "tiny_imagenet": reading("tiny_imagenet", "wnids.txt", _tiny),
        "store": reading("store", "index.json", index),
    }


def seeds() -> Dict[str, List[bytes]]:
    """Sound files for each target, to be mutated; small ones."""
    pixels = np.random.default_rng(0).integers(0, 256, (20, 24, 3), dtype=np.uint8)
    images = []
    for kind, mode in (
        ("JPEG", "RGB"),
        ("PNG", "RGBA"),
        ("PNG", "P"),
        ("GIF", "P"),
        ("BMP", "RGB"),
        ("TIFF", "L"),
        ("WEBP", "RGB"),
    ):
        stream = io.BytesIO()
        Image.fromarray(pixels).convert(mode).save(stream, kind)
        images.append(stream.getvalue())
    arrays = []
    for save in (np.savez, np.savez_compressed):
        stream = io.BytesIO()
        save(stream, x=pixels[None, :, :, 0].repeat(4, 0), y=[0, 1, 0, 1], classes=np.array(["a", "b"]))
        arrays.append(stream.getvalue())
    plain = struct.pack(">4I", 2051, 2, 4, 4) + bytes(range(32))
    index = {"bytes": 4 * 256, "form": [16, 1, True], "unreadable": [[1, "empty file"]], "modes": {"L": 3}}
    return {
        "image": images,
        "npz": arrays,
        "idx": [plain],
        "idx_gz": [gzip.compress(plain)],
        "cifar_python": [_batch(protocol) for protocol in (0, 2, 4)],
        "cifar_binary": [bytes([3]) + bytes(range(256)) * 12],
        "tiny_imagenet": [b"n1\nn2\n\0images/a.JPEG\tn1\t0\t0\t9\t9\n\0n1\tcat, tom\n"],
        "store": [json.dumps(index).encode()],
    }


def _batch(protocol: int) -> bytes:
    return pickle.dumps({b"data": np.arange(6144).astype(np.uint8).reshape(2, 3072), b"labels": [0, 1]}, protocol)


def _tiny(file: Path) -> None:
    """The bytes are the three text files, with zeros between."""
    wnids, _, rest = file.read_bytes().partition(b"\0")
    annotations, _, words = rest.partition(b"\0")
    file.write_bytes(wnids)
    (file.parent / "val" / "val_annotations.txt").write_bytes(annotations)
    (file.parent / "words.txt").write_bytes(words)
    with contextlib.suppress(OSError):  # `read_source` makes a sentence of it
        tiny_imagenet.read(file.parent)
