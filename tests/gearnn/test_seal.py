"""Checksums in the headers of tensor files, and headers in one order."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from gearnn.seal import KEY, is_whole, sealed, settle


def test_equal_content_gives_equal_files(tmp_path: Path) -> None:
    tensors = {"b": torch.arange(6.0).reshape(2, 3), "a": torch.ones(4, dtype=torch.int64)}
    words = {f"name-{i}": "x" * i for i in range(8)}
    contents = set()
    for attempt in range(6):
        path = tmp_path / f"{attempt}.safetensors"
        save_file(tensors, str(path), dict(list(words.items())[attempt:] + list(words.items())[:attempt]))
        settle(path)
        contents.add(path.read_bytes())
        assert all(torch.equal(tensor, tensors[name]) for name, tensor in load_file(str(path)).items())
    assert len(contents) == 1


def test_any_change_is_noticed() -> None:
    tensors, words = {"a": torch.arange(6.0)}, {"classes": "[1]"}
    header = sealed(tensors, words)
    assert is_whole(tensors, header) and is_whole(tensors, words)  # one without a checksum is from elsewhere
    changed = tensors["a"].clone()
    changed[3] += 1e-6
    assert not is_whole({"a": changed}, header)
    assert not is_whole({"a": tensors["a"].reshape(2, 3)}, header)
    assert not is_whole({"b": tensors["a"]}, header)
    assert not is_whole(tensors, {**header, "classes": "[2]"})
    assert set(header) == {"classes", KEY}
