"""The published files of CIFAR-10-C, CIFAR-100-C and Tiny-ImageNet-C (Hendrycks & Dietterich, ICLR 2019), read as they are.

CIFAR: ``<corruption>.npy``, uint8 (50000, 32, 32, 3), one block of 10,000 images per severity, and ``labels.npy``, (50000,).
Tiny ImageNet: ``<corruption>/<severity>/<class>/*.JPEG``, the same file names everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Generator, List, Optional, Sequence, Tuple, Union

import numpy as np

from gearnn.data import LIMIT_TEST, Dataset, limited
from gearnn.engine.errors import reason
from gearnn.engine.images import UnreadableImageError, read_image
from gearnn.errors import UserError
from gearnn.readers.cifar import NAMES_10
from gearnn.readers.folders import image_files, readable, subfolders
from gearnn.readers.source import Part, listed
from gearnn.robustness.corruptions import ALL_CORRUPTIONS, SEVERITIES
from gearnn.robustness.generated import Batch, Cell, in_order, slices

BLOCK = 10_000
"""Test images of all three data sets: so many per corruption and severity."""


@dataclass(frozen=True, eq=False)
class Official:
    """Published corrupted images; made by `open_official`.

    Attributes:
        folder: where they lie.
        labels: int64 (N,), indices into the classes of the data set that they were opened for.
        parameters: "cifar" or "tiny-imagenet".
        place: the file or folder of a corruption and severity.
        read: corruption, severity and rows among ``labels`` → uint8 (n, 3, H, W).
        workers: threads that read.
    """

    folder: Path
    labels: np.ndarray
    parameters: str
    place: Callable[[str, int], Path]
    read: Callable[[str, int, slice], np.ndarray]
    workers: int = 1
    kind: str = "official"

    def check(self, cells: Sequence[Cell]) -> None:
        """Raise UserError, with their names, if some files are missing."""
        places = dict.fromkeys(self.place(*cell) for cell in cells)
        missing = [str(place.relative_to(self.folder)) for place in places if not place.exists()]
        if missing:
            raise UserError(
                f"{self.folder} lacks {', '.join(missing)}: unpack the whole archive, or name the others with --corruptions"
            )

    def batches(self, cells: Sequence[Cell], batch_size: int) -> Generator[Batch, None, None]:
        """All images of the first cell in order, then of the next one; a few batches at a time are in memory."""
        tasks = ((cell, rows) for cell in cells for rows in slices(len(self.labels), batch_size))
        for (cell, rows), images in in_order(lambda task: self.read(*task[0], task[1]), tasks, self.workers):
            yield Batch(cell, rows, images)


def open_official(
    folder: Union[str, Path],
    dataset: Dataset,
    *,
    limit: Optional[int] = None,
    seed: int = 0,
    block: int = BLOCK,
    workers: int = 1,
) -> Official:
    """Open the published files for networks that were made for a data set.

    Args:
        folder: of either layout.
        dataset: CIFAR-10, CIFAR-100 or Tiny ImageNet, in any layout: its classes are matched with those of the files.
        limit: at most so many images, the same of every corruption and severity. They are chosen as `load_data` chooses
            with ``limit_test``, per class in proportion.
        seed: of that choice.
        block: images per corruption and severity.
        workers: threads that read.

    Raises:
        UserError: if the folder has neither layout, a file is not what was published (type, shape, number of images, labels),
            or the data set has other classes, labels, colours or another size.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}: name the one with the unpacked files, such as CIFAR-10-C")
    if any((folder / f"{name}.npy").exists() for name in (*ALL_CORRUPTIONS, "labels")):
        return _open_cifar(folder, dataset, limit, seed, block, workers)
    trees = [folder / name for name in ALL_CORRUPTIONS if (folder / name).is_dir()]
    if not trees:
        raise UserError(
            f"{folder} holds neither <corruption>.npy (CIFAR-10-C, CIFAR-100-C) nor <corruption>/<severity>/ (Tiny-ImageNet-C): "
            "name the folder in which gaussian_noise lies"
        )
    return _open_tiny_imagenet(folder, trees[0], dataset, limit, seed, block, workers)


def _open_cifar(folder: Path, dataset: Dataset, limit: Optional[int], seed: int, block: int, workers: int) -> Official:
    _check_form(folder, dataset, 32)
    total = len(SEVERITIES) * block
    stored = _array(folder / "labels.npy", (total,), np.integer).astype(np.int64)
    blocks = stored.reshape(len(SEVERITIES), block)
    if (blocks != blocks[0]).any():
        raise UserError(f"the labels of the severities disagree in {folder / 'labels.npy'}: unpack the archive again")
    count = dataset.num_classes
    if not np.array_equal(np.unique(blocks[0]), np.arange(count)):
        raise UserError(
            f"{folder / 'labels.npy'} has {len(np.unique(blocks[0]))} labels from {blocks[0].min()} to {blocks[0].max()}, but "
            f"{dataset.name} has {count} classes: name the files that belong to it"
        )
    labels = _published_order(folder, dataset)[blocks[0]]
    chosen = _chosen(folder, labels, dataset, limit, seed)
    arrays = {
        name: _array(folder / f"{name}.npy", (total, 32, 32, 3), np.uint8)
        for name in ALL_CORRUPTIONS
        if (folder / f"{name}.npy").exists()
    }

    def read(corruption: str, severity: int, rows: slice) -> np.ndarray:
        images = arrays[corruption][(severity - 1) * block + chosen[rows]]
        return np.ascontiguousarray(images.transpose(0, 3, 1, 2))

    return Official(folder, labels[chosen], "cifar", lambda corruption, _: folder / f"{corruption}.npy", read, workers)


def _open_tiny_imagenet(
    folder: Path, tree: Path, dataset: Dataset, limit: Optional[int], seed: int, block: int, workers: int
) -> Official:
    _check_form(folder, dataset, 64)
    first = next((tree / str(severity) for severity in SEVERITIES if (tree / str(severity)).is_dir()), None)
    if first is None:
        raise UserError(f"{tree} has no folders 1 to 5, one for each severity: unpack the whole archive")
    classes = subfolders(first)
    order = _folder_order(folder, [readable(path.name) for path in classes], dataset)
    names: List[Path] = []
    found: List[int] = []
    for label, path in zip(order, classes):
        files = [file.relative_to(first) for file in image_files(path)[0]]
        names += files
        found += [label] * len(files)
    if len(names) != block:
        raise UserError(f"{first} has {len(names):,} images, not {block:,}: unpack the whole archive")
    labels = np.array(found, dtype=np.int64)
    chosen = _chosen(folder, labels, dataset, limit, seed)

    def place(corruption: str, severity: int) -> Path:
        return folder / corruption / str(severity)

    def read(corruption: str, severity: int, rows: slice) -> np.ndarray:
        here = place(corruption, severity)
        return np.stack([_image(here / names[index], 64) for index in chosen[rows]])

    return Official(folder, labels[chosen], "tiny-imagenet", place, read, workers)


def _check_form(folder: Path, dataset: Dataset, side: int) -> None:
    if (dataset.in_chans, dataset.image_size) != (3, side):
        raise UserError(
            f"the images in {folder} are RGB of {side} × {side} pixels, but the network's have {dataset.in_chans} channels and "
            f"{dataset.image_size} × {dataset.image_size}: official files fit networks of their own size only"
        )


def _array(path: Path, shape: Tuple[int, ...], kind: type) -> np.ndarray:
    """A mapped array, read-only."""
    if path.exists() and not path.is_file():
        raise UserError(f"{path} is not a regular file: unpack the archive again")
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError as error:
        raise UserError(f"there is no {path}: unpack the whole archive") from error
    except Exception as error:  # NumPy and zipfile have many words for a damaged file
        why = reason(error) if str(error) else "it is empty"
        raise UserError(f"{path} is no plain NumPy array ({why}): unpack the archive again") from error
    if not isinstance(array, np.ndarray) or array.shape != shape or not np.issubdtype(array.dtype, kind):
        form = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else "an archive of arrays"
        wanted = "integers" if kind is np.integer else kind.__name__
        raise UserError(f"{path} holds {form}, but {wanted} {shape} were published: unpack the archive again")
    return array


def _image(path: Path, side: int) -> np.ndarray:
    try:
        image, header = read_image(path, side, 3)
    except UnreadableImageError as error:
        raise UserError(f"{path} cannot be read ({error}): unpack the archive again") from error
    if (header.width, header.height) != (side, side):
        raise UserError(f"{path} has {header.width} × {header.height} pixels, not {side} × {side}: unpack the archive again")
    return image


def _published_order(folder: Path, dataset: Dataset) -> np.ndarray:
    """(K,): the data set's index of every published CIFAR label; those follow the alphabet, in CIFAR-100 too."""
    names = dataset.classes
    if all(name.isdigit() for name in names):  # arrays without names
        return np.arange(len(names))
    if len(names) == len(NAMES_10) and set(names) != set(NAMES_10):
        raise UserError(
            f"the files in {folder} have the classes of CIFAR-10 ({', '.join(NAMES_10[:3])}, …), but {dataset.name} has "
            f"{listed(sorted(names))}: name its classes as CIFAR-10 does, or leave out --official"
        )
    return np.argsort(names)


def _folder_order(folder: Path, folders: Sequence[str], dataset: Dataset) -> List[int]:
    """The data set's index of every class folder (WordNet ids, sorted)."""
    if set(folders) == set(dataset.classes):
        return [dataset.classes.index(name) for name in folders]
    if len(folders) == dataset.num_classes and dataset.name == "Tiny ImageNet":  # whose classes are sorted by id, shown by name
        return list(range(len(folders)))
    raise UserError(
        f"the {len(folders)} classes in {folder} ({', '.join(folders[:3])}, …) are not the {dataset.num_classes} of "
        f"{dataset.name} ({', '.join(dataset.classes[:3])}, …): name the files that belong to it"
    )


def _chosen(folder: Path, labels: np.ndarray, dataset: Dataset, limit: Optional[int], seed: int) -> np.ndarray:
    """Indices of the images to use, sorted."""
    counts, own = (np.bincount(part, minlength=dataset.num_classes) for part in (labels, dataset.test.labels))
    if len(labels) == len(dataset.test.labels) and not np.array_equal(counts, own):
        worst = int(np.abs(counts - own).argmax())
        raise UserError(
            f"the labels in {folder} disagree with the test set of {dataset.name}: {counts[worst]} images of "
            f"'{dataset.classes[worst]}', not {own[worst]}, so name the files that belong to it"
        )
    part = limited(Part(np.arange(len(labels)), labels), dataset.classes, limit, "limit_test", seed, LIMIT_TEST, [])
    return np.asarray(part.images)
