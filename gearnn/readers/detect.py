"""Find out what a path holds, and read it."""

from __future__ import annotations

from pathlib import Path

from gearnn.errors import UserError
from gearnn.readers import cifar, folders, idx, npz, tiny_imagenet
from gearnn.readers.folders import subfolders
from gearnn.readers.source import Source

# The most specific layout first: image folders match almost anything that has sub-folders.
_READERS = (npz, tiny_imagenet, cifar, idx, folders)
_ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".xz", ".bz2", ".7z", ".rar", ".zst")


def read_source(path: Path) -> Source:
    """Read the data set at ``path``, whatever its layout.

    A folder whose only content is another folder is looked into, since archives often unpack that way.

    Raises:
        UserError: the path is missing, is not a data set, or holds a malformed one.
    """
    path = path.expanduser()
    try:
        if not path.exists():
            raise UserError(f"There is nothing at {path}: check the spelling of the path to the data.")
        return _read(path, unwrap=2)
    except OSError as error:
        where = error.filename if error.filename is not None else path
        raise UserError(f"{where} cannot be read ({error.strerror or error}): check the file and its permissions.") from error


def _read(path: Path, unwrap: int) -> Source:
    for reader in _READERS:
        if reader.matches(path):
            return reader.read(path)
    if path.is_file():
        cure = "unpack it and give the folder" if path.suffix.lower() in _ARCHIVES else "give a folder of images or an .npz file"
        raise UserError(f"{path} is not a data set: {cure}.")
    inside = subfolders(path)
    if unwrap and len(inside) == 1:
        return _read(inside[0], unwrap - 1)
    raise UserError(
        f"{path} holds no data set: put the images of each class into a sub-folder named after the class, or give another layout "
        "that docs/data.md names."
    )
