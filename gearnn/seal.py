"""Checksums of tensor files: a file that is torn or altered is noticed, whatever the file system promised."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Dict, Mapping

import numpy as np
from torch import Tensor

KEY = "sha256"
"""The header string that holds the checksum of all the rest."""


def checksum(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    """SHA-256, in hexadecimal, over names, dtypes, shapes and bytes of tensors on the CPU, and over the other header strings."""
    digest = hashlib.sha256(json.dumps(sorted(item for item in metadata.items() if item[0] != KEY)).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        digest.update(np.ascontiguousarray(tensor.numpy()).tobytes())
    return digest.hexdigest()


def sealed(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> Dict[str, str]:
    """The header strings with the checksum."""
    return {**metadata, KEY: checksum(tensors, metadata)}


def is_whole(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> bool:
    """Whether content and checksum agree; a file without one, from elsewhere, passes."""
    return KEY not in metadata or metadata[KEY] == checksum(tensors, metadata)


def settle(path: Path) -> None:
    """Put a safetensors file's header strings in order, in place: the library writes them in a random one, so that equal content
    would give unequal files. The header keeps its length, padded with blanks as the format allows."""
    with path.open("rb+") as stream:
        length = int.from_bytes(stream.read(8), "little")
        header = json.loads(stream.read(length))
        header["__metadata__"] = dict(sorted(header.get("__metadata__", {}).items()))
        ordered = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        if len(ordered) <= length:
            stream.seek(8)
            stream.write(ordered.ljust(length))
