"""Operations beside AugMix's nine: one object and one registration each, drawn only where they are asked for by name.

Plans without them are executed by the same compiled code as ever. Plans with them belong to a family of their own: of the nine
and of all that are registered by then.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Callable, Dict, Tuple

import numpy as np

from .block import Block, Function
from .errors import KernelError

if TYPE_CHECKING:
    from PIL.Image import Image

BUILT_IN: Tuple[str, ...] = (
    "autocontrast",
    "equalize",
    "posterize",
    "rotate",
    "solarize",
    "shear_x",
    "shear_y",
    "translate_x",
    "translate_y",
)


@dataclass(frozen=True)
class Operation:
    """An operation on 256 levels.

    Attributes:
        name: by which plans and ``ERA`` ask for it.
        argument: (level float64 (N,) in 0..10, sign ±1.0 (N,), (height, width)) → the operation's argument (N,).
        make: compiles, with a block's primitives, ``apply(source, target, argument, channels, height, width)``, which writes
            every pixel of ``target`` from ``source``, both flat uint8 (C·H·W,); each by one lane only between two barriers.
        reference: the same in Pillow, for the back end of last resort and for tests: (image of mode L or RGB, argument) → image.
    """

    name: str
    argument: Callable[[np.ndarray, np.ndarray, Tuple[int, int]], np.ndarray]
    make: Callable[[Block], Function]
    reference: Callable[[Image, float], Image]


ADDED: Dict[str, Operation] = {}


def register_operation(operation: Operation) -> None:
    """Make an operation available to ``draw_plan`` and ``ERA`` by its name.

    The code that is compiled for it is kept on disk and found again by the content of the file that ``make`` stands in.

    Raises:
        KernelError: if the name is taken.
    """
    from .families import FAMILIES  # whose steps need this module

    if operation.name in operation_names():
        raise KernelError(f"there is an operation called {operation.name!r} already: choose another name")
    ADDED[operation.name] = operation
    operations = tuple(ADDED.values())
    FAMILIES[extended_family()] = replace(FAMILIES["augmix"], make_step=lambda block: _extended_step(block, operations))


def operation_names() -> Tuple[str, ...]:
    """AugMix's nine and the registered ones; a plan's ``ops`` are positions in it."""
    return (*BUILT_IN, *ADDED)


def extended_family() -> str:
    """The name of the family with all registered operations; it changes with their source."""
    return _family_of(tuple(ADDED.values()))


@lru_cache(maxsize=None)
def _family_of(operations: Tuple[Operation, ...]) -> str:
    digest = hashlib.sha256()
    for operation in operations:
        source = Path(operation.make.__code__.co_filename)
        # Typed in at a prompt, it has no file, and is compiled anew in each process.
        digest.update(operation.name.encode() + (source.read_bytes() if source.is_file() else repr(operation.make).encode()))
    return f"augmix+{digest.hexdigest()[:16]}"


def _extended_step(block: Block, operations: Tuple[Operation, ...]) -> Function:
    """AugMix's step, with the operations that come after it by their positions."""
    from .era_operations import make_step

    step = make_step(block)
    for place, operation in enumerate(operations, len(BUILT_IN)):
        step = _joined(block, place, operation.make(block), step)
    return step


def _joined(block: Block, place: int, apply: Function, others: Function) -> Function:
    @block.compile
    def step(op, args, words, source, target, table, counts, channels, height, width):  # type: ignore[no-untyped-def]
        if op == place:
            apply(source, target, args[0], channels, height, width)
            return True
        return others(op, args, words, source, target, table, counts, channels, height, width)

    return step
