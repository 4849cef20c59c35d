"""Full disks, read-only folders, folders and files that vanish, clocks that jump."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Dict, List

import numpy as np
import pytest
import torch
from safetensors import SafetensorError

from gearnn import disk
from gearnn import network as network_module
from gearnn.checkpoint import checkpoint_path, load_checkpoint
from gearnn.config import Epochs, RunConfig
from gearnn.data import Dataset, load_data
from gearnn.disk import EVERY, LABEL, is_full, patiently
from gearnn.engine import files
from gearnn.errors import UserError
from gearnn.files import write_text
from gearnn.phases import phases_of
from gearnn.progress import no_progress
from gearnn.stopping import Stopped
from gearnn.timing_plan import stopwatch
from gearnn.trainer import Trainer

CPU = torch.device("cpu")
FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _short(config: RunConfig) -> RunConfig:
    return dataclasses.replace(config, method="fixed", epochs=Epochs(seed=2, era=0))


def _train(config: RunConfig, dataset: Dataset, folder: Path, progress: Any = no_progress) -> str:
    """Train; the SHA-256 of the weights."""
    trainer = Trainer.start(config, dataset, phases_of(config), folder, CPU, progress)
    trainer.work()
    return hashlib.sha256((folder / "networks" / "clean.safetensors").read_bytes()).hexdigest()


def test_a_full_disk_is_recognised_at_a_remove(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: Any, **options: Any) -> None:
        raise FULL

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(UserError) as error:
        write_text(tmp_path / "text", "content")
    assert is_full(error.value)
    assert list(tmp_path.iterdir()) == []

    def full_for_safetensors(*arguments: Any, **options: Any) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(network_module, "save_file", full_for_safetensors)
    with pytest.raises(UserError) as error:
        network_module.write_tensors(tmp_path / "tensors", {"a": torch.ones(2)}, {})
    assert is_full(error.value)
    assert not is_full(OSError(errno.EROFS, "read-only"))
    assert not is_full(UserError("anything else"))


def test_the_run_waits_and_ends_in_the_same_bits(
    tiny_dataset: Dataset, tiny_config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """Every third flush finds the disk full: metrics, checkpoints and networks are all hit."""
    config = _short(tiny_config)
    expected = _train(config, tiny_dataset, tmp_path / "room")
    real, flushes, waits, labels = os.fsync, [0], [], []

    def sometimes_full(handle: int) -> None:
        flushes[0] += 1
        if flushes[0] % 3 == 1:
            raise FULL
        real(handle)

    monkeypatch.setattr(files.os, "fsync", sometimes_full)
    monkeypatch.setattr(disk.time, "sleep", waits.append)
    found = _train(config, tiny_dataset, tmp_path / "full", lambda *step: labels.append(step))
    assert found == expected
    assert waits == [EVERY] * len(waits)
    assert len(waits) >= 3
    assert labels.count((LABEL, 0, 1)) == len(waits)
    assert (LABEL, 1, 1) in labels
    told = capsys.readouterr().err
    assert " is full (" in told
    assert "MB needed): the run waits and goes on by itself once there is room; Ctrl-C stops it" in told
    assert "there is room again" in told
    assert not list((tmp_path / "full").rglob(".*.part"))


def test_the_wait_can_be_stopped_and_other_errors_pass(tmp_path: Path) -> None:
    def write() -> None:
        raise UserError("cannot write") from FULL

    def stop(label: str, done: int, total: int) -> None:
        raise Stopped(2)

    with pytest.raises(Stopped):
        patiently(write, tmp_path, stop)

    def refused() -> None:
        raise OSError(errno.EACCES, "denied")

    with pytest.raises(OSError, match="denied"):
        patiently(refused, tmp_path, no_progress)


_IN_A_SMALL_DISK = """
import sys, threading, time, warnings
from pathlib import Path
warnings.simplefilter("ignore")
import numpy as np, torch
torch.set_num_threads(1)
from gearnn import disk
from gearnn.config import Augmentation, Epochs, Optimizer, RunConfig
from gearnn.data import Dataset, Split
from gearnn.phases import phases_of
from gearnn.progress import no_progress
from gearnn.trainer import Trainer

disk.EVERY = 0.05
root = Path(sys.argv[1])
draw = np.random.default_rng(0)
split = Split(draw.integers(0, 256, (32, 1, 8, 8), np.uint8), np.arange(32) % 2)
data = Dataset("noise", "made by a test", ("a", "b"), split, split, (0.5,), (0.25,), ())
config = RunConfig(arch="mobilenet_v1", method="fixed", seed_width=1 / 8, epochs=Epochs(seed=2, era=0), threads=1,
                   augmentation=Augmentation(pad=0, flip=False), optimizer=Optimizer(batch_size=16))
filler = root / "filler"
filler.write_bytes(b"x" * int(sys.argv[2]))
waits = []

def progress(label, done, total):
    if label == disk.LABEL and not done:
        waits.append(label)
        whole = [path.stat().st_size for path in (root / "run").rglob("*.safetensors")]
        assert not list((root / "run").rglob(".*.part")), "litter takes room"
        if len(waits) == 3 and filler.exists():
            filler.unlink()

trainer = Trainer.start(config, data, phases_of(config), root / "run", torch.device("cpu"), progress)
trainer.work()
from gearnn.checkpoint import load_state
assert load_state(root / "run").progression.phase == 1
print("waited", len(waits))
"""


def _in_a_tmpfs(folder: Path, options: str, script: str, *arguments: str) -> subprocess.CompletedProcess:
    """Run a script in a mount namespace of its own, with a small file system at ``folder``; skips where that is not allowed."""
    mount = f"mount -t tmpfs -o {options} none '{folder}'"
    unshare = shutil.which("unshare")
    if unshare is None or subprocess.run([unshare, "-rm", "sh", "-c", mount], check=False, capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    command = [unshare, "-rm", "sh", "-c", f'{mount} && exec "$@"', "sh", sys.executable, "-c", script, str(folder), *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=100)


def test_a_disk_that_is_really_full(tmp_path: Path) -> None:
    """A file system of 3 MB, most of it taken by a file that goes away when the run has waited for a while."""
    done = _in_a_tmpfs(tmp_path, "size=3m", _IN_A_SMALL_DISK, str(int(2.9 * 2**20)))
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[1]) >= 3
    assert f"the disk of {tmp_path}/run is full (" in done.stderr


_READ_ONLY = """
import os, sys
from pathlib import Path
from gearnn.cli import main
sys.exit(main(["run", "--out", sys.argv[1] + "/run", "--limit-train", "64", "--limit-test", "20", "--threads", "1"]))
"""


def test_a_read_only_folder_is_said_in_a_sentence(tmp_path: Path) -> None:
    done = _in_a_tmpfs(tmp_path, "ro", _READ_ONLY)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: cannot work in {tmp_path}/run (Read-only file system): choose another --out")
    assert "Traceback" not in done.stderr


_LIMITED = """
import resource, sys
from pathlib import Path
import torch
from gearnn.errors import UserError
from gearnn.network import read_tensors, write_tensors
path = Path(sys.argv[1], "file.safetensors")
write_tensors(path, {"a": torch.ones(8)}, {})
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    write_tensors(path, {"a": torch.zeros(4096)}, {})
except UserError as error:
    print(error)
assert bool((read_tensors(path)[0]["a"] == 1).all()), "the file from before"
assert [found.name for found in path.parent.iterdir()] == [path.name], "nothing is left behind"
"""


def test_a_file_that_may_not_grow_leaves_the_one_before(tmp_path: Path) -> None:
    pytest.importorskip("resource")
    done = subprocess.run([sys.executable, "-c", _LIMITED, str(tmp_path)], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"cannot write {tmp_path}/file.safetensors (")
    assert "File too large" in done.stdout


def test_a_run_folder_that_is_deleted_ends_the_run(tiny_dataset: Dataset, tiny_config: RunConfig, tmp_path: Path) -> None:
    folder = tmp_path / "run"

    def progress(label: str, done: int, total: int) -> None:
        if done == 4:  # in the second epoch
            folder.rename(tmp_path / "elsewhere")

    with pytest.raises(UserError, match="has lost its checkpoint while the run was in progress .*: put it back"):
        _train(_short(tiny_config), tiny_dataset, folder, progress)
    assert not folder.exists()
    assert load_checkpoint(checkpoint_path(tmp_path / "elsewhere")).progression.epoch == 1


@pytest.mark.parametrize("fault", ["clock", "slow disk"])
def test_jumping_clocks_and_slow_disks_change_nothing(
    fault: str, tiny_dataset: Dataset, tiny_config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, real = _short(tiny_config), os.fsync
    expected = _train(config, tiny_dataset, tmp_path / "even")
    looks = [0]

    def jumping() -> float:
        looks[0] += 1
        return float((-1) ** looks[0] * 1e9)

    def slow(handle: int) -> None:
        looks[0] += 1
        time.sleep(0.05)
        real(handle)

    if fault == "clock":
        monkeypatch.setattr(time, "time", jumping)
        clock = stopwatch()
        assert jumping() != jumping()
        assert 0 <= clock() < 60
    else:
        monkeypatch.setattr(files.os, "fsync", slow)
    assert _train(config, tiny_dataset, tmp_path / "uneven") == expected
    assert looks[0] > 0
    saved: Dict[str, Any] = vars(load_checkpoint(checkpoint_path(tmp_path / "uneven")).progression)
    assert 0 < saved["elapsed"] < 600
    assert all(0 < row["seconds"] < 600 for row in saved["metrics"])


def _pictures(folder: Path) -> List[Path]:
    from PIL import Image

    draw, paths = np.random.default_rng(0), []
    for split, count in (("train", 16), ("test", 4)):
        for name in ("a", "b"):
            (folder / split / name).mkdir(parents=True)
            for number in range(count):
                paths.append(folder / split / name / f"{number}.png")
                Image.fromarray(draw.integers(0, 256, (16, 16), np.uint8)).save(paths[-1])
    return paths


@pytest.mark.parametrize("limit_mb", [2048, 0])
def test_data_that_vanish_in_mid_run_are_not_missed(limit_mb: int, tiny_config: RunConfig, tmp_path: Path) -> None:
    """Decoded up front, in memory or in a mapped file, which the system keeps for as long as it is mapped."""
    _pictures(tmp_path / "images")
    data = load_data(tmp_path / "images", memory_limit_mb=limit_mb, cache_dir=tmp_path / "cache")
    assert isinstance(data.train.images, np.memmap) is (limit_mb == 0)
    optimizer = dataclasses.replace(tiny_config.optimizer, batch_size=16)
    config = dataclasses.replace(_short(tiny_config), optimizer=optimizer)
    expected = _train(config, data, tmp_path / "whole")

    def progress(label: str, done: int, total: int) -> None:
        if done == 1:
            for name in ("images", "cache"):
                shutil.rmtree(tmp_path / name, ignore_errors=True)

    assert _train(config, data, tmp_path / "run", progress) == expected
    assert not (tmp_path / "images").exists()


def test_a_file_that_vanishes_while_it_is_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from gearnn.readers import store

    paths, real = _pictures(tmp_path / "images"), store.choose_format

    def choose(*arguments: Any) -> Any:
        found = real(*arguments)
        paths[3].unlink()
        return found

    monkeypatch.setattr(store, "choose_format", choose)
    data = load_data(tmp_path / "images", on_bad_image="skip")
    assert len(data.train.labels) == 31
    assert any("3.png" in note for note in data.notes)
