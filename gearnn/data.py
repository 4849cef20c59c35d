"""Any supported data set on disk -> uint8 arrays at one size, with labels, class names and statistics.

The layouts that are recognised, and every rule of conversion, are in ``docs/data.md``.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import List, Optional, Sequence, Tuple, Union

import numpy as np

from gearnn.errors import UserError
from gearnn.progress import Progress, no_progress
from gearnn.readers import digits
from gearnn.readers.audit import conversions, duplicates, imbalance, namer, one_line, short, statistics
from gearnn.readers.decode import LARGEST, SMALLEST
from gearnn.readers.detect import read_source
from gearnn.readers.source import Part, Source, listed
from gearnn.readers.store import Stored, store

_MOST_UNREADABLE = 0.01
_SPLIT, _LIMIT_TRAIN, LIMIT_TEST = range(3)  # separate random streams of one seed


@dataclass(frozen=True, eq=False)
class Split:
    """One part of a data set.

    Attributes:
        images: uint8 (N, C, H, W), in memory or a read-only ``np.memmap``.
        labels: int64 (N,), indices into the classes of the data set.
    """

    images: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set ready for training.

    Attributes:
        name: short name.
        source: layout and place.
        classes: class names; a label is an index into them.
        train, test: the two parts, with images of one shape.
        mean, std: per channel, over all pixels of the training images scaled to [0, 1]; std is at least 1/255.
        notes: what a person should know, such as unreadable files, conversions, a split that was made.
        skipped: the unreadable files among all, each with the reason.
    """

    name: str
    source: str
    classes: Tuple[str, ...]
    train: Split
    test: Split
    mean: Tuple[float, ...]
    std: Tuple[float, ...]
    notes: Tuple[str, ...] = ()
    skipped: Tuple[str, ...] = ()

    @property
    def num_classes(self) -> int:
        return len(self.classes)

    @property
    def image_size(self) -> int:
        """Side of the square images, in pixels."""
        return int(self.train.images.shape[2])

    @property
    def in_chans(self) -> int:
        """1 (grey) or 3 (RGB)."""
        return int(self.train.images.shape[1])


def load_data(
    path: Optional[Union[str, Path]] = None,
    *,
    image_size: Optional[int] = None,
    limit_train: Optional[int] = None,
    limit_test: Optional[int] = None,
    seed: int = 0,
    test_fraction: float = 0.2,
    memory_limit_mb: int = 2048,
    cache_dir: Optional[Path] = None,
    progress: Progress = no_progress,
    on_bad_image: str = "skip",
) -> Dataset:
    """Load a data set; the layout is recognised by what lies at ``path``.

    Args:
        path: a folder or an ``.npz`` file; without it the environment variable GEARNN_DATA, else the embedded digits.
        image_size: side of the square images in pixels, 16 to 224; by default the images' own size if they share a square
            one in that range, else 64.
        limit_train, limit_test: keep at most so many images, drawn per class in proportion, before anything is decoded.
        seed: of the draws for the limits and for a split that has to be made.
        test_fraction: the part of each class that is held out where the data has no test set, at least one image.
        memory_limit_mb: decoded images beyond this many MiB are streamed from a file under ``cache_dir``.
        cache_dir: by default ``gearnn`` in XDG_CACHE_HOME or ``~/.cache``.
        progress: called with (label, done, total) about once per percent.
        on_bad_image: "skip" leaves out unreadable files and names each in the notes, up to 1 % of all (or one file);
            "fail" refuses the data at the first one, in the order of the files.

    Returns:
        The data set; equal for equal files, options and seed, whatever the file system and the number of threads.

    Raises:
        UserError: the path or the data is unusable, or an option is out of range; one sentence says what to do.
    """
    _check_options(image_size, limit_train, limit_test, test_fraction, memory_limit_mb)
    if on_bad_image not in ("skip", "fail"):
        raise UserError(f"on_bad_image is {on_bad_image!r}: give 'skip' or 'fail'.")
    try:
        return _load(
            path, image_size, limit_train, limit_test, seed, test_fraction, memory_limit_mb, cache_dir, progress, on_bad_image
        )
    except UserError as error:
        if one_line(str(error)) == str(error):
            raise
        raise UserError(one_line(str(error))) from error
    except MemoryError as error:
        raise UserError(
            "The data does not fit into memory: choose a smaller image size, or limit the number of images."
        ) from error


def _load(
    path: Optional[Union[str, Path]],
    image_size: Optional[int],
    limit_train: Optional[int],
    limit_test: Optional[int],
    seed: int,
    test_fraction: float,
    memory_limit_mb: int,
    cache_dir: Optional[Path],
    progress: Progress,
    on_bad_image: str,
) -> Dataset:
    place = path if path is not None else os.environ.get("GEARNN_DATA") or None
    source = digits.read() if place is None else read_source(Path(place))
    notes = list(source.notes)

    train, test = source.train, source.test
    if test is None:
        train, test = _hold_out(train, source.classes, test_fraction, seed)
        notes.append(f"no test set given: {len(test)} of {len(train) + len(test)} images held out, per class, with seed {seed}")
    classes, train, test = _drop_absent(source, train, test, notes)
    train = limited(train, classes, limit_train, "limit_train", seed, _LIMIT_TRAIN, notes)
    test = limited(test, classes, limit_test, "limit_test", seed, LIMIT_TEST, notes)

    stored = store([train.images, test.images], image_size, memory_limit_mb, cache_dir, progress)
    train_labels, test_labels, skipped = _readable_labels(source, train, test, stored, notes, on_bad_image)
    _check_classes(source, classes, train_labels, test_labels)
    train_images, test_images = stored.images
    bad = {row for row, _ in stored.outcome.unreadable}
    name_train, name_test = namer(train, "train", 0, bad), namer(test, "test", len(train), bad)
    notes += duplicates(train_images, train_labels, test_images, name_train, name_test)
    notes += imbalance(classes, train_labels)
    notes += conversions(image_size, stored)

    mean, std = statistics(train_images)
    return Dataset(
        name=one_line(source.name),
        source=one_line(source.description),
        classes=tuple(one_line(name) for name in classes),
        train=Split(train_images, train_labels),
        test=Split(test_images, test_labels),
        mean=mean,
        std=std,
        notes=tuple(one_line(note) for note in notes),
        skipped=tuple(map(one_line, skipped)),
    )


def check_batch_size(dataset: Dataset, batch_size: int) -> None:
    """Make sure that one batch can be filled.

    Raises:
        UserError: ``batch_size`` is below 1, or there are fewer training images than that.
    """
    if batch_size < 1:
        raise UserError(f"The batch size is {batch_size}: give 1 or more.")
    if len(dataset.train) < batch_size:
        raise UserError(
            f"The training set of {dataset.name} has {len(dataset.train)} images, fewer than one batch of {batch_size}: add "
            f"images, or choose a batch size of at most {len(dataset.train)} (--optimizer.batch-size)."
        )


def skipped_note(skipped: Sequence[str], total: int, most: int = 5) -> str:
    """One sentence on unreadable files, of which ``most`` are named."""
    return f"{len(skipped)} of {total} files {'was' if len(skipped) == 1 else 'were'} skipped: {listed(list(skipped), most=most)}"


def _check_options(
    image_size: Optional[int], limit_train: Optional[int], limit_test: Optional[int], test_fraction: float, memory_limit_mb: int
) -> None:
    if image_size is not None and not SMALLEST <= image_size <= LARGEST:
        raise UserError(f"The image size is {image_size}: give {SMALLEST} to {LARGEST} pixels.")
    for name, limit in (("limit_train", limit_train), ("limit_test", limit_test)):
        if limit is not None and limit < 1:
            raise UserError(f"{name} is {limit}: give 1 or more, or leave it out.")
    if not 0 < test_fraction < 1:
        raise UserError(f"test_fraction is {test_fraction}: give a number between 0 and 1.")
    if memory_limit_mb < 0:
        raise UserError(f"memory_limit_mb is {memory_limit_mb}: give 0 (always stream) or more.")


def _hold_out(part: Part, classes: Sequence[str], fraction: float, seed: int) -> Tuple[Part, Part]:
    """Split every class at random: ``fraction`` of it, at least one image, for the test, the rest for training."""
    rng = np.random.default_rng([seed, _SPLIT])
    held = np.zeros(len(part), dtype=bool)
    for label, name in enumerate(classes):
        members = np.flatnonzero(part.labels == label)
        if len(members) == 1:
            raise UserError(
                f"The class '{name}' has a single image, so none can be held out for testing: add images or a test set."
            )
        if len(members):
            count = min(max(1, round(len(members) * fraction)), len(members) - 1)
            held[rng.permutation(members)[:count]] = True
    return part.take(np.flatnonzero(~held)), part.take(np.flatnonzero(held))


def _drop_absent(source: Source, train: Part, test: Part, notes: List[str]) -> Tuple[Tuple[str, ...], Part, Part]:
    """Number the classes anew if some have no image at all, then check the others."""
    present = np.union1d(train.labels, test.labels)
    classes = tuple(source.classes[label] for label in present)
    if len(classes) < len(source.classes):
        notes.append(f"classes without images left out: {listed([name for name in source.classes if name not in classes])}")
        train = Part(train.images, np.searchsorted(present, train.labels).astype(np.int64))
        test = Part(test.images, np.searchsorted(present, test.labels).astype(np.int64))
    _check_classes(source, classes, train.labels, test.labels)
    return classes, train, test


def _check_classes(source: Source, classes: Sequence[str], train_labels: np.ndarray, test_labels: np.ndarray) -> None:
    where = f"the data '{source.name}' ({source.description})"
    if len(classes) < 2:
        found = f"one class ('{classes[0]}')" if classes else "no images"
        raise UserError(f"There is only {found} in {where}: at least two classes are needed to learn to tell them apart.")
    for part, labels in (("test", test_labels), ("training", train_labels)):
        missing = [name for label, name in enumerate(classes) if not np.any(labels == label)]
        if missing:
            raise UserError(
                f"The {part} set of {where} has no images of {listed(missing)}: add some, or remove the class everywhere."
            )


def limited(
    part: Part, classes: Sequence[str], limit: Optional[int], option: str, seed: int, stream: int, notes: List[str]
) -> Part:
    """At most ``limit`` images, in their old order: per class in proportion (largest remainders), at least one each."""
    if limit is None or limit >= len(part):
        return part
    if limit < len(classes):
        raise UserError(f"{option} is {limit}, fewer than the {len(classes)} classes: give at least one image per class.")
    counts = np.bincount(part.labels, minlength=len(classes))
    share = 1 + (counts - 1) * ((limit - len(classes)) / (len(part) - len(classes)))
    quota = np.floor(share + 1e-9).astype(int)
    for label in np.argsort(quota - share, kind="stable")[: limit - int(quota.sum())]:
        quota[label] += 1
    rng = np.random.default_rng([seed, stream])
    chosen = [rng.permutation(np.flatnonzero(part.labels == label))[: quota[label]] for label in range(len(classes))]
    notes.append(f"{option}: {limit} of {len(part)} images, per class in proportion, with seed {seed}")
    return part.take(np.sort(np.concatenate(chosen)))


def _readable_labels(
    source: Source, train: Part, test: Part, stored: Stored, notes: List[str], on_bad_image: str
) -> Tuple[np.ndarray, np.ndarray, List[str]]:
    """The labels without those of unreadable files, and these files, which are named in the notes, or in the error if they are
    many."""
    unreadable = stored.outcome.unreadable
    if not unreadable:
        return train.labels, test.labels, []
    total = len(train) + len(test)
    paths = [path for part in (train, test) for path in part.images]
    names = [f"{short(paths[row])} ({reason})" for row, reason in unreadable]
    if on_bad_image == "fail":
        raise UserError(
            f"The image file {names[0]} of '{source.name}' ({source.description}) cannot be read: repair or remove it, or let "
            "such files be left out (--on-bad-image skip)."
        )
    if len(unreadable) > 1 and len(unreadable) > _MOST_UNREADABLE * total:
        raise UserError(
            f"{len(unreadable)} of the {total} image files of '{source.name}' ({source.description}) cannot be read: repair or "
            f"remove {listed(names)}."
        )
    notes.append(skipped_note(names, total, most=len(names)))
    keep = np.ones(total, dtype=bool)
    keep[[row for row, _ in unreadable]] = False
    return train.labels[keep[: len(train)]], test.labels[keep[len(train) :]], names
