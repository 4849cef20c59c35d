"""What later commands take from a run folder's config.json and result.json, held against what it must be."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, Mapping, Sequence, Tuple

from gearnn.engine.places import unfinished
from gearnn.errors import UserError

_LARGEST = 10**15
_OPTIONS: Dict[str, Tuple[type, ...]] = {
    "data": (str, type(None)), "seed": (int,), "limit_train": (int, type(None)), "limit_test": (int, type(None)),
}  # fmt: skip
_FACTS: Dict[str, Tuple[type, ...]] = {
    "arch": (str,), "method": (str,), "preset": (str,), "classes": (list,), "image_size": (int,), "in_chans": (int,),
    "seed": (int,), "clean_accuracy": (int, float), "params_seed": (int,), "params_final": (int,), "dataset": (dict,),
}  # fmt: skip
_DATASET: Dict[str, Tuple[type, ...]] = {"name": (str,), "source": (str,), "n_train": (int,), "n_test": (int,), "notes": (list,)}


def check_types(config: Any, path: Path, needed: Sequence[str] = ()) -> None:
    """Do nothing if the options in a config.json that are used again are of their types.

    Raises:
        UserError: naming the file and the option.
    """
    _check(config, {name: _OPTIONS[name] for name in needed}, path)
    _check(config, {name: kinds for name, kinds in _OPTIONS.items() if name in config}, path)


def check_result(result: Any, path: Path) -> None:
    """Do nothing if the facts in a result.json that a bundle is made from are of their types.

    Raises:
        UserError: naming the file and the fact.
    """
    _check(result, _FACTS, path)
    _check(result["dataset"], _DATASET, path)
    for name, texts in (("classes", result["classes"]), ("notes", result["dataset"]["notes"])):
        if not all(isinstance(text, str) for text in texts) or (name == "classes" and not texts):
            raise _wrong(path, name)


def check_finished(run: Path) -> None:
    """Do nothing if a folder holds a run that has come to its end.

    Raises:
        UserError: saying what is there instead, and how to go on.
    """
    if (run / "result.json").exists():
        return
    if not run.exists():
        raise UserError(f"there is no {run}: give the folder that gearnn run wrote")
    raise UserError(
        unfinished(run) or f"{run} is not a run's folder, as it holds no result.json: give the one that gearnn run wrote"
    )


def _check(found: Any, kinds: Mapping[str, Tuple[type, ...]], path: Path) -> None:
    if not isinstance(found, dict):
        raise UserError(f"{path} does not hold what a run writes: restore it or start the run anew")
    for name, wanted in kinds.items():
        value = found.get(name)
        absurd = isinstance(value, (int, float)) and not 0 <= value < _LARGEST
        if name not in found or type(value) not in wanted or absurd or (isinstance(value, str) and "\0" in value):
            raise _wrong(path, name)


def _wrong(path: Path, name: str) -> UserError:
    return UserError(f"{name!r} in {path} is missing or not what a run writes there: restore it or start the run anew")
