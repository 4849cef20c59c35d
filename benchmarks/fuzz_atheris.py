"""Coverage-guided fuzzing (atheris, libFuzzer) of pure Python parsers: JSON text, an ONNX file's fields, a network's card.

    pip install atheris
    python benchmarks/fuzz_atheris.py --only onnx_file -max_total_time=100 -timeout=2 -rss_limit_mb=4096 -seed=1

Options with one dash are libFuzzer's. Whatever is not the parser's documented error ends it, with the input in a file crash-….
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Callable, Dict, List

import atheris

with atheris.instrument_imports(include=["gearnn.engine.json_text", "gearnn.engine.onnx_file", "gearnn.network"]):
    from gearnn.engine.json_text import parse_json
    from gearnn.engine.onnx_file import read_onnx
    from gearnn.network import Card

_ENTRY = b"\x0a\x01k\x12\x01v"
_NODE = b"\x1a\x01n\x22\x0eQuantizeLinear"
_CARD = Card("mobilenet_v1", (8,) * 14, ("cat", "dog"), (0.4,), (0.2,), 16, 1)
_FIELDS = _CARD.to_metadata()


def json_text(data: bytes) -> None:
    """Any text is JSON, or a ValueError."""
    try:
        parse_json(data.decode("utf-8", "replace"))
    except ValueError:
        return


def onnx_file(data: bytes) -> None:
    """Any bytes have fields, or are a ValueError."""
    try:
        read_onnx(data)
    except ValueError:
        return


def card(data: bytes) -> None:
    """Any header strings, one a line, make a sound card, or one of the errors that `Card.from_metadata` names."""
    texts = data.decode("utf-8", "replace").split("\n")
    try:
        Card.from_metadata(dict(zip(_FIELDS, texts)))
    except (KeyError, TypeError, ValueError):
        return


TARGETS: Dict[str, Callable[[bytes], None]] = {"json_text": json_text, "onnx_file": onnx_file, "card": card}
SEEDS: Dict[str, List[bytes]] = {
    "json_text": [b'{"a": [1, 2.5e3, null, true, "\\u00e9"]}', b"-12"],
    "onnx_file": [b"\x72\x06" + _ENTRY + b"\x3a\x15" + b"\x0a\x13" + _NODE, b"\x08\x01\x3a\x00"],
    "card": ["\n".join(_FIELDS.values()).encode()],
}


def main(arguments: List[str]) -> None:
    """Feed one target until libFuzzer's limits are reached."""
    name = arguments[arguments.index("--only") + 1] if "--only" in arguments else ""
    if name not in TARGETS:
        raise SystemExit(f"name a target with --only: {', '.join(TARGETS)}")
    read_onnx(SEEDS["onnx_file"][0])
    with tempfile.TemporaryDirectory(prefix="gearnn-atheris-") as corpus:
        for number, seed in enumerate(SEEDS[name]):
            Path(corpus, f"seed-{number}").write_bytes(seed)
        options = [argument for argument in arguments if argument.startswith("-") and argument != "--only"]
        atheris.Setup([sys.argv[0], *options, corpus], TARGETS[name])
        atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1:])
