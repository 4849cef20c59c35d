"""Image folders: ``train/<class>/...`` with ``test/``, ``val/`` or ``valid/`` beside it, or ``<class>/...`` alone."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path
from typing import Dict, List, Optional, Set, Tuple

import numpy as np

from gearnn.engine.images import SUFFIXES
from gearnn.errors import UserError
from gearnn.readers.source import Part, Source, listed

_TRAIN = ("train", "training")
_TEST = ("test", "testing", "val", "valid", "validation")

ClassFiles = Dict[str, List[Path]]


def matches(path: Path) -> bool:
    """True for a folder with class folders, or with a training folder that has them."""
    if not path.is_dir():
        return False
    inside = subfolders(path)
    if len(inside) == 1 and not _named(path, _TRAIN):
        # One class if it has images, else a wrapper around a data set.
        return _has_images(inside[0])
    return bool(inside) or _has_images(path)


def read(path: Path) -> Source:
    """List the image files of every class; nothing is decoded yet.

    Classes are the names of the sub-folders in sorted order; files are sorted too, so nothing depends on the file system.
    Hidden files and folders are skipped, links are followed, but not in circles.

    Raises:
        UserError: no images, images without a class folder, or class names that differ between training and test folder.
    """
    trains = _named(path, _TRAIN)
    if not trains:
        notes: List[str] = []
        train = _class_files(path, notes)
        return _source(path, "image folders", train, None, notes)
    notes = []
    train = _class_files(trains[0], notes)
    candidates = [(folder, _class_files(folder, notes, required=False)) for folder in _named(path, _TEST)]
    # A test folder without labels (Tiny ImageNet's) shares no class with the training folder; then val/ is the one to use.
    fitting = [(folder, files) for folder, files in candidates if set(files) & set(train)] or candidates
    if not fitting:
        notes.append(f"no test/ or val/ beside {trains[0].name}/")
        return _source(path, "image folders", train, None, notes)
    folder, test = fitting[0]
    unused = [other.name + "/" for other, _ in candidates if other != folder]
    if unused:
        notes.append(f"{folder.name}/ is the test set; {listed(unused)} is not used")
    return _source(path, f"image folders {trains[0].name}/ and {folder.name}/", train, test, notes)


def subfolders(path: Path) -> List[Path]:
    """The visible sub-folders, sorted by name; links that lead back to a folder above are left out."""
    here = os.path.realpath(path)
    with os.scandir(path) as entries:
        found = [Path(entry.path) for entry in entries if not _hidden(entry.name) and entry.is_dir()]
    return sorted((folder for folder in found if not _leads_back(folder, here)), key=lambda folder: folder.name)


def image_files(folder: Path) -> Tuple[List[Path], List[str]]:
    """All image files at any depth under ``folder``, sorted, and the names of the visible files that are no images."""
    images: List[str] = []
    others: List[str] = []
    seen: Set[str] = set()
    stack = [str(folder)]
    while stack:
        current = stack.pop()
        here = os.path.realpath(current)
        if here in seen:
            continue
        seen.add(here)
        with os.scandir(current) as entries:
            for entry in entries:
                if _hidden(entry.name):
                    continue
                if entry.is_dir():
                    if not entry.is_symlink() or not _leads_back(Path(entry.path), here):
                        stack.append(entry.path)
                elif not _is_image(entry.name):
                    others.append(entry.name)
                # A link to nowhere stays in the list, to be named as unreadable; a pipe or device would block.
                elif entry.is_file() or not os.path.exists(entry.path):  # noqa: PTH110
                    images.append(entry.path)
                else:
                    others.append(f"{entry.name} (a pipe, socket or device)")
    return [Path(image) for image in sorted(images)], sorted(others)


def readable(name: str) -> str:
    """A file name as text that can be printed and stored: composed Unicode, undecodable bytes replaced."""
    return unicodedata.normalize("NFC", os.fsencode(name).decode("utf-8", "replace"))


def _class_files(root: Path, notes: List[str], required: bool = True) -> ClassFiles:
    files: ClassFiles = {}
    others: List[str] = []
    empty: List[str] = []
    for folder in subfolders(root):
        images, ignored = image_files(folder)
        others += ignored
        if images:
            files.setdefault(readable(folder.name), []).extend(images)
        else:
            empty.append(readable(folder.name))
    loose = sorted(readable(file.name) for file in root.iterdir() if _is_image(file.name) and not _hidden(file.name))
    if required and not files:
        if loose:
            raise UserError(
                f"{root} has {len(loose)} images but no class folders with images: put the images of each class into a "
                "sub-folder named after the class."
            )
        raise UserError(f"{root} holds no images: each class needs a sub-folder with its images ({', '.join(sorted(SUFFIXES))}).")
    if empty and files:
        notes.append(f"folders without images in {readable(root.name)}/ skipped: {listed(empty)}")
    if loose and files:
        told = "1 image {} has no class and is" if len(loose) == 1 else f"{len(loose)} images {{}} have no class and are"
        notes.append(f"{told.format(f'directly in {readable(root.name)}/')} not used: {listed(loose)}")
    if others and files:
        unknown = [readable(name) for name in others]
        told = "1 file in {}/ is no image and" if len(others) == 1 else f"{len(others)} files in {{}}/ are no images and"
        notes.append(f"{told.format(readable(root.name))} not used: {listed(unknown)}")
    return files


def _source(path: Path, layout: str, train: ClassFiles, test: Optional[ClassFiles], notes: List[str]) -> Source:
    classes = tuple(sorted({*train, *(test or {})}))
    return Source(
        name=readable(path.resolve().name) or "images",
        description=f"{layout} in {readable(str(path))}",
        classes=classes,
        train=_part(train, classes),
        test=None if test is None else _part(test, classes),
        notes=tuple(notes),
    )


def _part(files: ClassFiles, classes: Tuple[str, ...]) -> Part:
    paths = [path for name in classes for path in files.get(name, [])]
    counts = [len(files.get(name, [])) for name in classes]
    return Part(paths, np.repeat(np.arange(len(classes), dtype=np.int64), counts))


def _named(path: Path, names: Tuple[str, ...]) -> List[Path]:
    """Sub-folders of ``path`` with one of ``names`` (any case) that have folders in turn, in the order of ``names``.

    A folder called ``train`` that holds images directly is a class of its own (of vehicles, say).
    """
    found = {folder.name.lower(): folder for folder in subfolders(path)}
    return [found[name] for name in names if name in found and subfolders(found[name])]


def _has_images(folder: Path) -> bool:
    return any(_is_image(file.name) for file in folder.iterdir())


def _hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"  # what macOS adds to its archives


def _is_image(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in SUFFIXES  # noqa: PTH122


def _leads_back(folder: Path, here: str) -> bool:
    """True if the link ``folder``, which lies in ``here``, points to ``here`` or to a folder above it."""
    if not folder.is_symlink():
        return False
    target = os.path.realpath(folder)
    return here == target or here.startswith(target.rstrip(os.sep) + os.sep)
