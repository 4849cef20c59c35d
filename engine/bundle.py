"""One folder or zip to copy to a device: the network at each precision, manifests, labels, model card, checksums.

Reading one trusts nothing in it: names are plain, links and folders inside a zip are refused, sizes are those announced, and
a file's checksum is compared before anything else reads the file.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import stat
import tempfile
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Dict, Iterator, Mapping, Sequence, Set, Tuple, Union

from gearnn.engine.errors import EngineError, printable, reason
from gearnn.engine.files import replacing
from gearnn.engine.json_text import parse_json
from gearnn.engine.manifest import PRECISIONS, manifest_path, sha256_of

INDEX, LABELS, CARD = "bundle.json", "labels.txt", "MODEL_CARD.md"
FORMAT = 1
_LARGEST_INDEX = 1 << 22
_LARGEST = 1 << 32  # bytes unpacked
_MOST = 64  # files
_PACKED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # LZMA may ask for gigabytes of memory


@dataclass(frozen=True)
class Bundle:
    """An opened bundle.

    Attributes:
        folder: where its files lie.
        name: of the network.
        classes: in the order of the logits.
        channels, size: of the images it takes: 1 (grey) or 3 (RGB), and the side in pixels.
        default: the precision to use unless told otherwise.
        precisions: facts for each precision, such as "file", "ready", "reason", "clean_accuracy", "robust_accuracy".
        checksums: SHA-256 of each file.
        origin: what a person named: the folder, or the zip that is unpacked there.
    """

    folder: Path
    name: str
    classes: Tuple[str, ...]
    channels: int
    size: int
    default: str
    precisions: Dict[str, Dict[str, Any]]
    checksums: Dict[str, str]
    origin: Path = Path()

    def model(self, precision: str = "auto") -> Path:
        """The ONNX file of a precision, its checksum compared.

        Raises:
            EngineError: if the bundle lacks that precision, or the file is not what it was.
        """
        name = self.default if precision == "auto" else precision
        if name not in PRECISIONS:
            raise EngineError(f"there is no precision {name!r}: choose {' or '.join(self.precisions)}, which {self.origin} holds")
        if name not in self.precisions:
            raise EngineError(
                f"{self.origin} holds no network at {name}: choose {' or '.join(self.precisions)}, or bundle it again with "
                f"--precisions {' '.join([*self.precisions, name])}"
            )
        return self.checked(str(self.precisions[name]["file"]))

    def checked(self, name: str) -> Path:
        """The path of a file whose checksum was compared; raises EngineError if it is not what it was."""
        path = self.folder / name
        _check_regular(path)
        found = sha256_of(path)
        if found != self.checksums.get(name):
            wanted = self.checksums.get(name, "none")
            raise EngineError(
                f"{self.origin / name} has another checksum ({found[:12]}…) than {INDEX} says ({wanted[:12]}…): copy it again"
            )
        return path


def is_bundle(path: Union[str, Path]) -> bool:
    """Whether a path is a folder or zip with a bundle's index in it."""
    path = Path(path)
    if path.is_dir():
        return (path / INDEX).is_file()
    return path.suffix == ".zip" and path.is_file()


def check_free(out: Union[str, Path], overwrite: bool = False) -> None:
    """Do nothing if a bundle may be written to ``out``: there is nothing yet, or with ``overwrite`` a bundle.

    Raises:
        EngineError: saying what is there.
    """
    out = Path(out)
    if not out.exists():
        return
    if not is_bundle(out) or (out.is_file() and not _has_index(out)):
        raise EngineError(f"{out} exists and is no bundle: choose another --out, or remove it")
    if not overwrite:
        raise EngineError(f"there is a bundle {out} already: replace it with --overwrite, or choose another --out")


def _has_index(path: Path) -> bool:
    """Whether a zip file has a bundle's index in it."""
    try:
        with zipfile.ZipFile(path) as archive:
            return INDEX in archive.namelist()
    except Exception:  # zipfile and struct have many words for damage
        return False


def write_bundle(
    out: Union[str, Path],
    models: Mapping[str, Path],
    *,
    name: str,
    classes: Sequence[str],
    channels: int,
    size: int,
    default: str,
    facts: Mapping[str, Mapping[str, Any]],
    card: str,
) -> Path:
    """Write a bundle, whole or not at all: a folder, or a zip if the name ends in .zip. An older bundle there is replaced.

    Args:
        models: ONNX file of each precision; the manifest beside it goes along.
        name, classes, channels, size, default: see `Bundle`.
        facts: JSON-ready, for each precision.
        card: text of the model card.

    Raises:
        EngineError: if the default is not among the models, ``out`` holds something else, or it cannot be written.
    """
    out = Path(out)
    if default not in models:
        raise EngineError(f"the bundle's default precision {default} is not among its networks ({', '.join(models)})")
    check_free(out, overwrite=True)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=str(out.parent), prefix=f".{out.name}.") as made:
            folder = Path(made) / "bundle"
            folder.mkdir()
            files = _gather(folder, models)
            (folder / LABELS).write_text("".join(f"{label}\n" for label in map(_one_line, classes)), encoding="utf-8")
            (folder / CARD).write_text(card, encoding="utf-8")
            index = {
                "format": FORMAT, "name": name, "classes": list(classes), "input": {"channels": channels, "size": size},
                "default": default,
                "precisions": {precision: {**facts.get(precision, {}), "file": files[precision]} for precision in models},
                "files": {
                    path.name: {"sha256": sha256_of(path), "bytes": path.stat().st_size} for path in sorted(folder.iterdir())
                },
            }  # fmt: skip
            (folder / INDEX).write_text(json.dumps(index, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
            _put(folder, out, Path(made) / "old")
    except OSError as error:
        raise EngineError(f"cannot write {out} ({error.strerror or error}): free some space or choose another place") from error
    return out


def _gather(folder: Path, models: Mapping[str, Path]) -> Dict[str, str]:
    """Copy networks and manifests; the name of each network's file."""
    files = {}
    for precision, source in models.items():
        files[precision] = "model.onnx" if precision == "fp32" else f"model.{precision}.onnx"
        shutil.copyfile(source, folder / files[precision])
        if manifest_path(source).is_file():
            content = json.loads(manifest_path(source).read_text(encoding="utf-8"))
            content["file"] = files[precision]
            manifest_path(folder / files[precision]).write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", "utf-8")
    return files


def _put(folder: Path, out: Path, aside: Path) -> None:
    """Move what was made to where it belongs."""
    if out.suffix == ".zip":
        with replacing(out) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
            for path in sorted(folder.iterdir()):
                archive.write(path, path.name)
        return
    if out.exists():
        out.replace(aside)
    folder.replace(out)


@contextlib.contextmanager
def open_bundle(path: Union[str, Path]) -> Iterator[Bundle]:
    """Open a bundle for reading; a zip is unpacked to a temporary folder for the time being.

    Raises:
        EngineError: if it is not a bundle, is damaged, or holds what a bundle must not.
    """
    path = Path(path)
    if path.is_dir():
        yield read_bundle(path)
        return
    with tempfile.TemporaryDirectory(prefix="gearnn-bundle-") as folder:
        _unpack(path, Path(folder))
        yield replace(read_bundle(Path(folder)), origin=path)


def read_bundle(folder: Path) -> Bundle:
    """The bundle in a folder; its files are checked when they are used.

    Raises:
        EngineError: if there is no index, or it does not hold what it must.
    """
    path = folder / INDEX
    if path.exists():
        _check_regular(path)
    try:
        if path.stat().st_size > _LARGEST_INDEX:
            raise ValueError("it is too large")
        return _parse(folder, parse_json(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise EngineError(
            f"{folder} is not a bundle ({INDEX}: {error.strerror or error}): make one with gearnn bundle RUN"
        ) from error
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise EngineError(f"{path} is not a bundle's index ({error}): copy the bundle again") from error


def _parse(folder: Path, content: Any) -> Bundle:
    if content["format"] != FORMAT:
        raise ValueError(f"its format is {content['format']!r}, not {FORMAT}")
    classes, size, channels = tuple(content["classes"]), content["input"]["size"], content["input"]["channels"]
    if len({name.casefold() for name in content["files"]}) != len(content["files"]):
        raise ValueError("two of its files differ in capitals only")
    checksums = {name: entry["sha256"] for name, entry in content["files"].items()}
    precisions = {name: dict(facts) for name, facts in content["precisions"].items()}
    for facts in precisions.values():
        if facts.get("reason"):
            facts["reason"] = printable(str(facts["reason"]))
    plain = all(_is_plain(name) and isinstance(digest, str) and digest.isalnum() for name, digest in checksums.items())
    known = all(name in PRECISIONS and facts["file"] in checksums for name, facts in precisions.items())
    if not (plain and known and content["default"] in precisions):
        raise ValueError("its files or precisions are not what they must be")
    if not (classes and all(isinstance(label, str) for label in classes) and isinstance(content["name"], str)):
        raise ValueError("its classes are not what they must be")
    if type(size) is not int or not 1 <= size <= 1 << 14 or type(channels) is not int or channels not in (1, 3):
        raise ValueError("its input is not what it must be")
    return Bundle(folder, content["name"], classes, channels, size, content["default"], precisions, checksums, folder)


def _unpack(path: Path, folder: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            if len(entries) > _MOST or sum(entry.file_size for entry in entries) > _LARGEST:
                limits = f"more than {_LARGEST >> 30} GiB or {_MOST} files"
                raise EngineError(f"{path} unpacks to {limits}, as no bundle does: do not use it")
            seen: Set[str] = set()
            for entry in entries:
                kind, folded = stat.S_IFMT(entry.external_attr >> 16), entry.filename.casefold()
                odd = not _is_plain(entry.filename) or kind not in (0, stat.S_IFREG) or entry.compress_type not in _PACKED
                if odd or entry.flag_bits & 1:
                    raise EngineError(f"{path} holds {entry.filename!r}, which no bundle does: do not use it")
                if folded in seen:
                    raise EngineError(f"{path} holds {entry.filename!r} twice (capitals aside): do not use it")
                seen.add(folded)
                with archive.open(entry) as source, (folder / entry.filename).open("xb") as target:
                    shutil.copyfileobj(source, target)
    except EngineError:
        raise
    except OSError as error:
        raise EngineError(
            f"cannot unpack {path} ({error.strerror or error}): check the path and the space in {folder.parent}"
        ) from error
    except Exception as error:  # zipfile, zlib and struct have many words for damage
        raise EngineError(f"{path} is not a readable zip file ({reason(error)}): copy the bundle again") from error


def _check_regular(path: Path) -> None:
    """Refuse links, which may lead out of the bundle, and pipes and devices, which may never end."""
    try:
        kind = stat.S_IFMT(path.lstat().st_mode)
    except OSError as error:
        raise EngineError(f"cannot read {path} ({error.strerror or error}): copy the bundle again") from error
    if kind != stat.S_IFREG:
        raise EngineError(f"{path} is not a regular file, as all in a bundle are: copy the bundle again, without links")


def _is_plain(name: str) -> bool:
    """A file's bare name: no folder, no drive, nothing hidden."""
    return (
        bool(name)
        and name.isprintable()
        and name == Path(name).name
        and "\\" not in name
        and ":" not in name
        and not name.startswith(".")
        and "\0" not in name
    )


def _one_line(label: str) -> str:
    return " ".join(label.split())
