"""Tiny ImageNet as published: ``train/<wnid>/images/*.JPEG``, ``val/images`` labelled by ``val_annotations.txt``.

Its ``test/`` folder has no labels, so ``val/`` is the test set, as in the literature.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Dict, List, Tuple

import numpy as np

from gearnn.errors import UserError
from gearnn.readers.folders import image_files, subfolders
from gearnn.readers.source import Part, Source


def matches(path: Path) -> bool:
    """True if the validation labels lie where the published archive has them."""
    return (path / "val" / "val_annotations.txt").is_file() and (path / "train").is_dir()


def read(path: Path) -> Source:
    """List the image files; classes are WordNet ids in sorted order, shown by their first name in ``words.txt``.

    Raises:
        UserError: an annotation line is malformed or names an unknown class.
    """
    wnids = _wnids(path)
    index = {wnid: label for label, wnid in enumerate(wnids)}
    train: List[Path] = []
    train_labels: List[int] = []
    for wnid in wnids:
        folder = path / "train" / wnid
        files = image_files(folder)[0] if folder.is_dir() else []
        train += files
        train_labels += [index[wnid]] * len(files)
    test, test_labels = _annotated(path / "val", index)
    return Source(
        name="Tiny ImageNet",
        description=f"Tiny ImageNet in {path}",
        classes=_names(path, wnids),
        train=Part(train, np.array(train_labels, dtype=np.int64)),
        test=Part(test, np.array(test_labels, dtype=np.int64)),
        notes=("val/ is the test set: the labels of test/ are not published",),
    )


def _wnids(path: Path) -> List[str]:
    listing = path / "wnids.txt"
    if listing.is_file():
        wnids = sorted(set(listing.read_text(encoding="utf-8", errors="replace").split()))
        for wnid in wnids:
            if Path(wnid).name != wnid or wnid == ".." or "\0" in wnid or len(wnid) > 64:
                raise UserError(f"{listing} names the class {wnid[:40]!r}, which is no WordNet id: unpack the data again.")
        return wnids
    return [folder.name for folder in subfolders(path / "train")]


def _annotated(val: Path, index: Dict[str, int]) -> Tuple[List[Path], List[int]]:
    listing = val / "val_annotations.txt"
    rows = []
    for number, line in enumerate(listing.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        if not line.strip():
            continue
        fields = line.split("\t")
        if len(fields) < 2:
            raise UserError(f"Line {number} of {listing} is not 'file<TAB>class': unpack the data again.")
        if fields[1] not in index:
            raise UserError(f"Line {number} of {listing} names the class '{fields[1][:40]}', which train/ does not have.")
        rows.append((Path(fields[0]).name, index[fields[1]]))
    rows.sort()
    return [val / "images" / name for name, _ in rows], [label for _, label in rows]


def _names(path: Path, wnids: List[str]) -> Tuple[str, ...]:
    words: Dict[str, str] = {}
    listing = path / "words.txt"
    if listing.is_file():
        for line in listing.read_text(encoding="utf-8", errors="replace").splitlines():
            wnid, _, names = line.partition("\t")
            words[wnid] = names.split(",")[0].strip()
    first = [words.get(wnid) or wnid for wnid in wnids]
    shared = Counter(first)  # WordNet has two cranes: the bird and the machine
    return tuple(f"{name} ({wnid})" if shared[name] > 1 else name for name, wnid in zip(first, wnids))
