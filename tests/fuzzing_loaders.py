"""What reads networks, bundles and run folders, as functions of bytes, and ways to damage what they read.

As in the module for data sets beside this one, a target lets the tool's own errors pass: anything else that comes out is a
finding. `damaged` makes case number ``n`` of a seed, the same everywhere.
"""

from __future__ import annotations

import io
import json
import random
import struct
import tempfile
import warnings
import zipfile
from pathlib import Path
from typing import Any, Callable, Dict, List, NamedTuple, Tuple
from unittest import mock

import numpy as np
import torch
from torch import nn

from gearnn.checkpoint import Progression, State, load_checkpoint, save_checkpoint
from gearnn.config import RunConfig, to_dict
from gearnn.data import Dataset, Split
from gearnn.engine.bundle import open_bundle, read_bundle, write_bundle
from gearnn.engine.errors import EngineError
from gearnn.engine.export import export_onnx
from gearnn.engine.manifest import Manifest, manifest_path, read_manifest, sha256_of, write_manifest
from gearnn.engine.predict import load
from gearnn.engine.runtimes import load_runtime
from gearnn.errors import UserError
from gearnn.kernels.errors import KernelError
from gearnn.network import Card, load_deployable, save_network
from gearnn.report import describe
from gearnn.report.page import render
from gearnn.report.record import read_run
from gearnn.robustness.cache import CorruptionCache, Shelf
from gearnn.robustness.official import open_official
from gearnn.run_folder import open_folder

_OWN = (UserError, EngineError, KernelError)
_RENDERED = 50  # one report of so many is drawn, the others are read only
_CARD = Card("mobilenet_v1", (8,) * 14, ("cat", "dog"), (0.4,), (0.2,), 16, 1)


class Loader(NamedTuple):
    """Attributes: seeds: sound files; kind: how they are damaged, "bytes", "json", "lines", "safetensors" or "zip"; feed: returns
    whether a file was taken, raises what is a finding.
    """

    seeds: List[bytes]
    kind: str
    feed: Callable[[bytes], bool]


def loaders() -> Dict[str, Loader]:
    """Every loader by name; each works in a temporary folder of its own."""
    root = Path(tempfile.mkdtemp(prefix="gearnn-fuzz-"))
    made = {**_networks(root / "networks"), **_engines(root / "engines"), **_images(root / "images"), **_runs(root / "runs")}
    return {name: Loader(seeds, kind, _watched(feed)) for name, (seeds, kind, feed) in made.items()}


def _watched(feed: Callable[[bytes], None]) -> Callable[[bytes], bool]:
    def watched(data: bytes) -> bool:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                feed(data)
        except _OWN as error:
            assert "\n" not in str(error) and str(error), repr(str(error))
            return False
        return True

    return watched


def _reading(path: Path, read: Callable[[Path], object]) -> Callable[[bytes], None]:
    def feed(data: bytes) -> None:
        path.write_bytes(data)
        read(path)

    return feed


def _networks(root: Path) -> Dict[str, Tuple[List[bytes], str, Callable[[bytes], None]]]:
    root.mkdir()
    torch.manual_seed(0)
    model = _CARD.build()
    save_network(root / "net", model, _CARD)
    momentum = {name: torch.ones_like(value) for name, value in list(model.named_parameters())[:2]}
    rows = [{"phase": "seed", "epoch": 1}]
    progression = Progression(1, 1, rows, [{"name": "seed"}], {"seconds": 1.0})  # type: ignore[arg-type]
    save_checkpoint(root / "last", State(model, momentum, {}, _CARD, progression))
    network, checkpoint = ((root / name).read_bytes() for name in ("net", "last"))
    return {
        "network": ([network, _unsealed(network)], "safetensors", _reading(root / "fed", load_deployable)),
        "checkpoint": ([checkpoint, _unsealed(checkpoint)], "safetensors", _reading(root / "fed2", load_checkpoint)),
    }


def _engines(root: Path) -> Dict[str, Tuple[List[bytes], str, Callable[[bytes], None]]]:
    root.mkdir()
    torch.manual_seed(0)
    tiny = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 2))
    onnx = export_onnx(tiny, (1, 8, 8), root / "model.onnx", metadata={"classes": '["a", "b"]'})
    content = onnx.read_bytes()
    manifest = Manifest(
        "model.onnx",
        sha256_of(onnx),
        "onnxruntime",
        "1",
        "fp32",
        "images",
        (None, 1, 8, 8),
        "float32",
        "NCHW",
        "logits",
        (None, 2),
    )
    write_manifest(onnx, manifest)
    facts: Dict[str, Dict[str, Any]] = {"fp32": {"ready": True}}
    form: Dict[str, Any] = {"name": "n", "classes": ["a", "b"], "channels": 1, "size": 8, "default": "fp32", "facts": facts}
    folder, packed = (write_bundle(root / name, {"fp32": onnx}, card="# n\n", **form) for name in ("folder", "packed.zip"))
    (root / "guarded").mkdir()
    guarded = root / "guarded" / "model.onnx"
    write_manifest(guarded, manifest)
    described = root / "described.onnx"
    described.write_bytes(content)

    def plain(path: Path) -> None:
        with load_runtime(path, threads=1) as runtime:
            if runtime.image_shape == (1, 8, 8):
                runtime.run(np.zeros((1, 1, 8, 8), np.float32))

    def never(path: Path) -> None:
        if path.read_bytes() == content:
            return
        with mock.patch("onnxruntime.InferenceSession", side_effect=RuntimeError) as session:
            try:
                plain(path)
            finally:
                assert not session.called, "native code was given an altered file"

    def index(path: Path) -> None:
        read_bundle(path.parent).model()

    def zipped(path: Path) -> None:
        with open_bundle(path) as found:
            for precision in found.precisions:
                found.model(precision)

    def beside(path: Path) -> None:
        read_manifest(described)
        with load(described, threads=1):
            pass

    return {
        "onnx": ([content], "bytes", _reading(root / "fed.onnx", plain)),
        "onnx_with_manifest": ([content], "bytes", _reading(guarded, never)),
        "manifest": ([manifest_path(onnx).read_bytes()], "json", _reading(manifest_path(described), beside)),
        "bundle_index": ([(folder / "bundle.json").read_bytes()], "json", _reading(folder / "bundle.json", index)),
        "bundle_zip": ([packed.read_bytes()], "zip", _reading(root / "fed.zip", zipped)),
    }


def _images(root: Path) -> Dict[str, Tuple[List[bytes], str, Callable[[bytes], None]]]:
    official, cache = root / "official", CorruptionCache(root / "cache")
    official.mkdir(parents=True)
    labels = np.tile(np.arange(2), 5)
    pixels = np.random.default_rng(0).integers(0, 256, (10, 32, 32, 3), dtype=np.uint8)
    np.save(official / "labels.npy", labels)
    np.save(official / "fog.npy", pixels)
    split = Split(pixels[:2].transpose(0, 3, 1, 2).copy(), np.arange(2))
    dataset = Dataset("two", "here", ("0", "1"), split, split, (0.5,) * 3, (0.2,) * 3, ())

    def open_it(path: Path) -> None:
        found = open_official(official, dataset, block=2)
        list(found.batches([("fog", 1), ("fog", 5)], 2))

    def feeding(name: str) -> Callable[[bytes], None]:
        sound = (official / name).read_bytes()

        def feed(data: bytes) -> None:
            try:
                _reading(official / name, open_it)(data)
            finally:
                (official / name).write_bytes(sound)

        return feed

    shape = (4, 1, 8, 8)
    shelf = Shelf(cache, "0" * 64, shape, [("fog", 1)])
    writer = shelf.writer("fog", 1)
    writer.add(np.arange(256, dtype=np.uint8).reshape(shape))
    writer.finish()
    kept = next(cache.folder.glob("*.corrupted"))
    return {
        "official_images": ([(official / "fog.npy").read_bytes()], "bytes", feeding("fog.npy")),
        "official_labels": ([(official / "labels.npy").read_bytes()], "bytes", feeding("labels.npy")),
        "corruption_cache": ([kept.read_bytes()], "bytes", _reading(kept, lambda _: shelf.open("fog", 1))),
    }


def _runs(root: Path) -> Dict[str, Tuple[List[bytes], str, Callable[[bytes], None]]]:
    root.mkdir()
    config = RunConfig(out=root / "resumed", seed=3)
    (root / "resumed").mkdir()
    sound = {
        "config.json": json.dumps(to_dict(config)).encode(),
        "result.json": json.dumps(_RESULT).encode(),
        "metrics.jsonl": b"".join(json.dumps({"phase": "seed", "epoch": n, "loss": 1 / n}).encode() + b"\n" for n in (1, 2, 3)),
        "examples.npz": _examples(),
    }
    kinds = {"config.json": "json", "result.json": "json", "metrics.jsonl": "lines", "examples.npz": "zip"}
    for name, content in sound.items():
        (root / name).write_bytes(content)

    def feeding(name: str) -> Callable[[bytes], None]:
        fed = [0]

        def feed(data: bytes) -> None:
            fed[0] += 1
            (root / name).write_bytes(data)
            try:
                run = read_run(root)
                describe(root)
                if fed[0] % _RENDERED == 1:
                    with mock.patch("gearnn.report.page._plotly", lambda: ""):
                        render(run)
            finally:
                (root / name).write_bytes(sound[name])

        return feed

    def resume(path: Path) -> None:
        open_folder(RunConfig(out=path.parent, seed=3, resume=True))

    found = {f"run_{name.split('.')[0]}": ([sound[name]], kinds[name], feeding(name)) for name in sound}
    return {**found, "run_resumed": ([sound["config.json"]], "json", _reading(root / "resumed" / "config.json", resume))}


_RESULT: Dict[str, Any] = {
    "arch": "vgg19", "classes": ["a", "b"], "clean_accuracy": 0.9, "robust_accuracy": 0.5, "widths_seed": [8, 8],
    "widths_final": [8, 16], "width_layers": ["x", "y"], "params_seed": 10, "params_final": 20, "seed": 0, "warnings": ["w"],
    "dataset": {"name": "n", "source": "s", "n_train": 9, "n_test": 3, "notes": ["note"]}, "versions": {"python": "3"},
    "engine": {"runtime": "onnxruntime", "latency": [{"batch": 1, "p50_ms": 1.0, "images_per_s": 9.0}], "comparison": {"n": 3}},
    "networks": [
        {
            "name": "robust", "label": "l", "params": 20, "clean_accuracy": 0.9, "robust_accuracy": 0.5,
            "robustness": {"per_corruption": {"fog": [0.5, 0.4]}, "severities": [1, 2], "kind": "generated", "n": 3},
        }
    ],
    "growth": {"grower": "osg", "budget": [{"name": "p", "before": 1, "after": 2}],
               "layers": [{"name": "y", "before": 8, "after": 16}]},
    "phases": [{"name": "seed", "kind": "train", "views": 1, "epochs": 2, "seconds": 3.0, "images": 9}], "device": {"name": "d"},
}  # fmt: skip


def _examples() -> bytes:
    stream = io.BytesIO()
    pixels = np.arange(2 * 2 * 64, dtype=np.uint8).reshape(2, 2, 1, 8, 8)
    np.savez_compressed(stream, clean=pixels[:, 0], augmented=pixels, corrupted=pixels, labels=np.array([0, 1]))
    return stream.getvalue()


def _unsealed(content: bytes) -> bytes:
    """A safetensors file without its checksum: what is in it is read all the same."""
    header, body = _split(content)
    del header["__metadata__"]["sha256"]
    return _joined(header, body)


def _split(content: bytes) -> Tuple[Any, bytes]:
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def _joined(header: Any, body: bytes) -> bytes:
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body


def damaged(loader: Loader, seed: int, number: int) -> bytes:
    """Case ``number`` of a seed: a sound file with its structure or its bytes changed."""
    chance = random.Random(f"{seed}-{number}")  # the same on every machine
    content = chance.choice(loader.seeds)
    if chance.random() < 0.6:
        with_structure = {"json": _other_json, "lines": _other_lines, "safetensors": _other_tensors, "zip": _other_zip}
        if loader.kind in with_structure:
            return with_structure[loader.kind](content, chance)
    return _other_bytes(content, chance)


def _other_bytes(content: bytes, chance: random.Random) -> bytes:
    data = bytearray(content)
    for _ in range(chance.choice((0, 1, 1, 2, 4, 8))):
        at = chance.randrange(max(1, min(len(data), chance.choice((16, 200, 1 << 30)))))
        piece = chance.choice(
            (
                bytes([chance.randrange(256)]), b"\xff" * 8, bytes(8), b"\xff", b"\x7f\xff\xff\xff", b"\n", b"{", b'"', b"9" * 30,
                struct.pack("<Q", 1 << chance.randrange(64)), chance.getrandbits(64).to_bytes(8, "little"),
            )
        )  # fmt: skip
        data[at : at + chance.choice((0, len(piece)))] = piece
    if data and chance.random() < 0.3:
        del data[chance.randrange(len(data)) :]
    return bytes(data)


_STRANGE = (
    None, True, False, 0, -1, 1, 2.5, 1e308, float("nan"), float("inf"), 10**9, 10**18, 10**399, "", "text", "../../x",
    "/etc/passwd", "a\0b", "<script>", "\ud800", "x" * 2000, "line\nbreak", [], {}, [[]], [None], {"": None}, [1, "a", None],
    {"name": {"name": []}},
)  # fmt: skip


def _other_json(content: bytes, chance: random.Random) -> bytes:
    value = json.loads(content)
    for _ in range(chance.choice((1, 1, 2, 3))):
        value = _other_value(value, chance)
    text = json.dumps(value)
    if chance.random() < 0.02:
        text = chance.choice(("[" * 100_000, "9" * 5000, '{"a":' * 50_000, "1e999", "[" + text, text + text))
    return text.encode("utf-8", "surrogatepass")


def _other_value(value: Any, chance: random.Random) -> Any:
    """The same value with one part of it exchanged, removed, doubled or renamed."""
    if isinstance(value, (dict, list)) and value and chance.random() < 0.85:
        key = chance.choice(sorted(value)) if isinstance(value, dict) else chance.randrange(len(value))
        changed: Any = value.copy()
        act = chance.random()
        if act < 0.1:
            del changed[key]
        elif act < 0.2 and isinstance(value, dict):
            changed[str(chance.choice(_STRANGE))] = changed.pop(key)
        elif act < 0.2:
            changed.append(changed[key])
        else:
            changed[key] = _other_value(changed[key], chance)
        return changed
    return chance.choice(_STRANGE)


def _other_lines(content: bytes, chance: random.Random) -> bytes:
    lines = content.splitlines()
    at = chance.randrange(len(lines))
    lines[at] = _other_json(lines[at], chance)
    return b"\n".join(lines)


def _other_tensors(content: bytes, chance: random.Random) -> bytes:
    """With a header that is nearly right: a tensor's type, shape or place, or a string of ours."""
    header, body = _split(content)
    act = chance.random()
    if act < 0.5:
        strings = header["__metadata__"]
        name = chance.choice(sorted(strings))
        strings[name] = _other_json(strings[name].encode(), chance).decode("utf-8", "replace") if name != "sha256" else "0" * 64
    elif act < 0.7:
        name = chance.choice(sorted(header))
        header[chance.choice(("model.x", "x", "momentum.x"))] = header.pop(name)
    else:
        name = chance.choice([name for name in sorted(header) if name != "__metadata__"])
        entry = header[name]
        kind = chance.choice(("BF16", "F64", "I64", "BOOL", "F8_E4M3", "U8", "F16", "?"))
        entry.update(
            chance.choice(({"dtype": kind}, {"shape": [0, 1 << 40]}, {"shape": [-1]}, {"shape": []}, {"data_offsets": [8, 4]}))
        )
    return _joined(header, body)


def _other_zip(content: bytes, chance: random.Random) -> bytes:
    """Packed anew, one member changed, renamed, doubled, a link, or otherwise compressed."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = [(name, archive.read(name)) for name in archive.namelist()]
    at = chance.randrange(len(members))
    name, data = members[at]
    act = chance.randrange(5)
    if act == 0:
        other = _other_json if name.endswith(".json") else _other_bytes
        members[at] = name, other(data, chance)
    elif act == 1:
        members[at] = chance.choice(("../x", "/x", "", "a/b", "C:x", "x\ny", name.upper(), "bundle.json", "clean.npy")), data
    elif act == 2:
        members.append((chance.choice((name, name.upper())), data))
    elif act == 3:
        del members[at]
    stream = io.BytesIO()
    packing = chance.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA))
    with warnings.catch_warnings(), zipfile.ZipFile(stream, "w", packing) as archive:
        warnings.simplefilter("ignore")
        for member, inside in members:
            entry = zipfile.ZipInfo(member)
            entry.compress_type = packing
            if act == 4 and member == name:
                entry.external_attr = chance.choice((0o120777, 0o010644, 0o040755)) << 16
            archive.writestr(entry, inside)
    made = stream.getvalue()
    return _other_bytes(made, chance) if chance.random() < 0.3 else made
