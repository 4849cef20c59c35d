"""A run folder that is to be worked in: a new one, or one whose run is gone on with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Dict, Literal, Tuple, Union, get_type_hints

from gearnn.checkpoint import has_checkpoint
from gearnn.config import Augmentation, Budget, Epochs, GrowthConfig, Optimizer, RunConfig, differences
from gearnn.errors import UserError
from gearnn.files import read_json
from gearnn.run_facts import check_types


class RunExistsError(UserError):
    """There is a run in the folder already, which was not to be continued."""


def open_folder(config: RunConfig) -> Tuple[Path, RunConfig]:
    """The run folder: a new one, or with ``resume`` one whose configuration is the same; data that are not named are the run's.

    Raises:
        UserError: if a run is there already and is not to be continued, or was started with other options.
    """
    folder = Path(str(config.out))
    saved = folder / "config.json"
    if not saved.exists():
        if has_checkpoint(folder):
            raise UserError(f"{folder} holds a run without its config.json: restore that, or choose another --out")
        if config.resume:
            raise UserError(f"there is no run to resume in {folder}: leave out --resume to start one")
        return folder, config
    if not config.resume:
        raise RunExistsError(f"there is a run in {folder} already: continue it with --resume, or choose another --out")
    options = read_json(saved)
    check_types(options, saved)
    config = as_begun(config, folder)
    changed = differences(options, config)
    if changed:
        raise UserError(
            f"the run in {folder} was started with other options ({', '.join(changed)}): repeat those, or choose another --out"
        )
    return folder, config


def as_begun(config: RunConfig, folder: Path) -> RunConfig:
    """The data and the batch size of the run that is gone on with, where none are named."""
    saved = folder / "config.json"
    if not config.resume or not saved.exists():
        return config
    options = read_json(saved)
    check_types(options, saved)
    if config.data is None and options.get("data"):
        config = replace(config, data=Path(options["data"]))
    chosen = options["optimizer"].get("batch_size") if isinstance(options.get("optimizer"), dict) else None
    if config.optimizer.batch_size is None and type(chosen) is int:
        config = replace(config, optimizer=replace(config.optimizer, batch_size=chosen))
    return config


def config_of(folder: Path) -> RunConfig:
    """The options that the run in a folder was started with.

    Raises:
        UserError: if there is no run, or its config.json is not what a run writes.
    """
    saved = folder / "config.json"
    options = read_json(saved)
    check_types(options, saved)
    try:
        return _from_dict(options)
    except (TypeError, ValueError) as error:
        raise UserError(
            f"{saved} is not what a run of this version writes ({error}): restore it or start the run anew"
        ) from error


def _from_dict(options: Dict[str, Any]) -> RunConfig:
    """The configuration out of its JSON form; what it does not name is as in `RunConfig`.

    Raises:
        TypeError, ValueError: for an option that there is not, or a value of another type.
    """
    parts = {"epochs": Epochs, "budget": Budget, "growth": GrowthConfig, "augmentation": Augmentation, "optimizer": Optimizer}
    values = {name: _filled(parts[name], value) if name in parts else value for name, value in options.items()}
    paths = {name: Path(values[name]) for name in ("data", "out") if values.get(name) is not None}
    config: RunConfig = _filled(RunConfig, {**values, **paths})
    return config


def _filled(form: Any, values: Any) -> Any:
    """A dataclass with these values, each of its field's type."""
    if not isinstance(values, dict):
        raise TypeError(f"{form.__name__} is {values!r}")
    kinds = get_type_hints(form)
    for name, value in values.items():
        if name not in kinds:
            raise ValueError(f"there is no option {name!r}")
        if not _is_a(value, kinds[name]):
            raise TypeError(f"{name} is {value!r}")
    return form(**values)


def _is_a(value: Any, kind: Any) -> bool:
    """Whether a value is of a field's type; a whole number stands for a fraction, too."""
    origin = getattr(kind, "__origin__", None)
    if origin is Union:
        return any(_is_a(value, one) for one in kind.__args__)
    if origin is Literal:
        return value in kind.__args__
    return type(value) in ((float, int) if kind is float else (kind,)) or (kind is Path and isinstance(value, Path))
