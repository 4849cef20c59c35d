"""Every command and snippet of README.md and docs/: all parse, snippets run, and the main path is walked on a few pictures."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple, Tuple

import numpy as np
import pytest
import tyro
from PIL import Image

from gearnn.cli import COMMANDS, main
from gearnn.errors import UserError

ROOT = Path(__file__).parents[1]
LANGUAGES = ("", "bash", "sh", "console", "python", "text", "toml", "json")  # without one it is commands; text is never run
PAGES = [
    "README.md",
    "benchmarks/README.md",
    "cmake/README.md",
    *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")),
]

# First words of lines that no test runs, and why.
NOT_RUN = {
    "make": "installs a virtual environment; the CI calls it",
    "pip": "installs packages",
    "python3": "makes a virtual environment",
    ".": "enters a virtual environment",
    "git": "needs a network",
    "cd": "changes the folder for the lines after it",
    "cmake": "needs nvcc; tests/test_cmake.py does it where there is one",
    "docker": "needs Docker's daemon",
    "sudo": "needs root on a Jetson",
    "scp": "needs a second machine",
}
# gearnn's own commands that are parsed, but not run on the main path, and why.
NOT_WALKED = {
    "build": "needs TensorRT and a GPU",
    "demo": "trains for minutes; it is gearnn run on the digits",
    "bench": "measures for minutes",
}
MAIN_PATH = ("README.md", "docs/tutorial.md")
# What makes the main path's commands take seconds.
LITTLE = {
    "run": "--image-size 16 --epochs.seed 2 --epochs.era 4 --threads 1 --optimizer.batch-size 16",
    "bundle": "--severities 3 --limit-test 6 --threads 1",
    "evaluate": "--severities 3 --limit-test 6",
    "profile": "--energy-seconds 0.1 --threads 1",
    "compare": "--threads 1",
}


class Block(NamedTuple):
    """A fenced block: where it starts, its language and its text."""

    page: str
    line: int
    language: str
    text: str


def blocks(page: str) -> List[Block]:
    """The fenced blocks of a page, those inside lists too."""
    text = (ROOT / page).read_text(encoding="utf-8")
    found = []
    for match in re.finditer(r"^( *)```(\w*)[^\n]*\n(.*?)^\1```$", text, re.DOTALL | re.MULTILINE):
        inner = re.sub(rf"^{match[1]}", "", match[3], flags=re.MULTILINE)
        found.append(Block(page, text[: match.start()].count("\n") + 1, match[2], inner))
    return found


def commands(block: Block) -> List[List[str]]:
    """The shell commands of a block, in words; none for other languages and for output, which is marked ``text``."""
    if block.language not in ("", "bash", "sh", "console"):
        return []
    joined = block.text.replace("\\\n", " ")
    parts = (part for line in joined.splitlines() for part in re.split(r"\s(?:&&|\|)\s", line))
    words = (shlex.split(part.lstrip("$ "), comments=True) for part in parts)
    return [line for line in words if line]


def inline(page: str) -> List[List[str]]:
    """The commands in running text, in words; ``…`` stands for what is left out."""
    text = re.sub(r"^ *```.*?^ *```$", "", (ROOT / page).read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    spans = re.findall(r"(?<!`)`(gearnn [^`]+)`(?!`)", text)
    return [[word for word in shlex.split(span) if word != "…"] for span in spans]


class _Parsed(BaseException):
    """Raised in place of running the command."""


@pytest.fixture()
def stop_after_parsing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    parse = tyro.cli

    def parse_only(*form: Any, **options: Any) -> None:
        parsed = parse(*form, **options)
        if options.get("return_unknown_args") and parsed[1]:
            raise UserError(f"there is no {parsed[1][0]}")
        raise _Parsed

    monkeypatch.setattr(tyro, "cli", parse_only)
    monkeypatch.chdir(tmp_path)


def check_parses(words: List[str], where: str, capsys: pytest.CaptureFixture) -> None:
    """The command and all its options exist."""
    try:
        main(words[1:])
    except _Parsed:
        return
    except SystemExit as stopped:
        if not stopped.code:  # --help
            return
    shown = capsys.readouterr()
    pytest.fail(f"{where}: {shlex.join(words)}\n{shown.err[-1500:]}")


@pytest.mark.parametrize("page", PAGES)
def test_every_command_parses(
    page: str, stop_after_parsing: None, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    for block in blocks(page):
        where = f"{page}:{block.line}"
        assert block.language in LANGUAGES, f"{where}: no test knows what {block.language} is"
        for words in commands(block):
            if words[:3] == ["python", "-m", "benchmarks.evidence"]:
                monkeypatch.syspath_prepend(str(ROOT))
                from benchmarks.evidence.command import main as evidence

                with pytest.raises(_Parsed):
                    evidence(words[3:])
            elif words[0] == "python":
                script = ROOT / words[1]
                assert script.is_file(), f"{where}: there is no {words[1]}"
                assert all(f'"{word}"' in script.read_text(encoding="utf-8") for word in words if word.startswith("--")), where
            elif words[0] == "torchrun":
                check_parses(words[words.index("gearnn") :], where, capsys)
            elif words[0] == "gearnn":
                check_parses(words, where, capsys)
            else:
                assert words[0] in NOT_RUN, f"{where}: no test runs {shlex.join(words)!r}, and NOT_RUN does not say why"
    for words in inline(page):
        if words[1] == "COMMAND" or (len(words) == 2 and words[1] in COMMANDS):  # a command's name, not a call of it
            continue
        check_parses(words, page, capsys)


def test_a_wrong_option_would_be_found(stop_after_parsing: None, capsys: pytest.CaptureFixture) -> None:
    for line in ("gearnn run --sede 1", "gearnn evalute runs/demo", "gearnn report", "gearnn bench growth --grower osg"):
        with pytest.raises(pytest.fail.Exception, match="README"):
            check_parses(line.split(), "README", capsys)
    assert commands(Block("", 1, "", "gearnn run --seed 1  # so\nmake demo && gearnn info")) == [
        ["gearnn", "run", "--seed", "1"],
        ["make", "demo"],
        ["gearnn", "info"],
    ]


@pytest.mark.parametrize("command", [*COMMANDS, "bench growth", "bench engine"])
def test_the_examples_of_help_parse(command: str, stop_after_parsing: None, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit):
        main([*command.split(), "--help"])
    shown = capsys.readouterr().out
    examples = [line for line in re.sub(r"[│╭╰]", " ", shown).splitlines() if line.strip().startswith(f"gearnn {command}")]
    assert examples
    for example in examples:
        check_parses(shlex.split(example), f"gearnn {command} --help", capsys)


def test_the_examples_of_the_overview_parse(stop_after_parsing: None, capsys: pytest.CaptureFixture) -> None:
    assert main(["--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    examples = [shlex.split(line) for line in lines if line.startswith("  gearnn ") and "COMMAND" not in line]
    assert len(examples) >= 2
    for words in examples:
        check_parses(words, "gearnn --help", capsys)


def main_path() -> List[Tuple[str, List[str]]]:
    """(place, words) of the commands that a newcomer gives, each once, in the order of the pages."""
    path: Dict[str, Tuple[str, List[str]]] = {}
    for page in MAIN_PATH:
        for block in blocks(page):
            for words in commands(block):
                if words[0] == "gearnn" and words[1] not in NOT_WALKED:
                    path.setdefault(shlex.join(words), (f"{page}:{block.line}", words))
    return list(path.values())


@pytest.fixture(scope="module")
def walked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder in which the main path was walked from its first command to its last, on 100 pictures of three kinds."""
    folder = tmp_path_factory.mktemp("walk")
    _photos(folder / "photos")
    shutil.copy(next((folder / "photos" / "cup").glob("*.jpg")), folder / "picture.jpg")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("GEARNN_DATA", raising=False)
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        for where, words in main_path():
            code = main([*words[1:], *LITTLE.get(words[1], "").split()])
            assert code == 0, f"{where}: {shlex.join(words)} ended with {code}"
        shutil.copytree(folder / "runs" / "photos", folder / "runs" / "demo", dirs_exist_ok=True)
        shutil.copy(folder / "runs" / "photos" / "model.onnx", folder / "model.onnx")
        yield folder


def _photos(folder: Path) -> None:
    """Scans of 0, 1 and 2 as photos of cups, spoons and plates."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    for index in np.flatnonzero(digits.target < 3)[:100]:
        kind = folder / ("cup", "spoon", "plate")[digits.target[index]]
        kind.mkdir(parents=True, exist_ok=True)
        ink = np.uint8(255 - 15.9 * digits.images[index])
        Image.fromarray(ink).convert("RGB").resize((40, 36), Image.BICUBIC).save(kind / f"{index:03}.jpg")


def test_the_main_path_ends_with_a_report_a_bundle_and_a_prediction(walked: Path, capsys: pytest.CaptureFixture) -> None:
    for name in ("model.onnx", "model.safetensors", "report.html", "result.json"):
        assert (walked / "runs" / "photos" / name).stat().st_size > 1000
    assert (walked / "photos.zip").is_file()
    assert main(["predict", str(walked / "photos.zip"), str(walked / "picture.jpg")]) == 0
    assert re.search(r"picture\.jpg: (cup|spoon|plate) \d", capsys.readouterr().out)
    walked_on = {words[1] for _, words in main_path()}
    assert walked_on >= {"run", "bundle", "predict", "evaluate", "profile", "report"}


def _stand_ins(page: str) -> Dict[str, Any]:
    """What a page's snippets take for granted: a network, its data, and arrays of images."""
    import torch
    from torch.utils.data import DataLoader, TensorDataset

    from gearnn.data import load_data

    torch.manual_seed(0)
    model = torch.nn.Sequential(
        *(torch.nn.Conv2d(3, 64, 3, 2, 1), torch.nn.BatchNorm2d(64), torch.nn.ReLU()),
        *(torch.nn.Conv2d(64, 128, 3, 2, 1), torch.nn.BatchNorm2d(128), torch.nn.ReLU()),
        *(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(128, 3)),
    )
    side = 32 if page == "docs/engine.md" else 16  # as the network is exported there, and as the run was made
    pixels = np.random.default_rng(0).integers(0, 256, (8, 3, side, side), dtype=np.uint8)
    few, labels = torch.from_numpy(pixels), torch.arange(8) % 3
    return {
        "model": model,
        "loader": DataLoader(TensorDataset(few.float() / 255, labels), batch_size=4),
        "x": few[:1].float() / 255,
        "batches": [(few, labels, torch.arange(8))],
        "epochs": 1,
        "optimizer": torch.optim.SGD(model.parameters(), lr=0.01),
        "indices": torch.arange(8),
        "dataset": load_data("photos", image_size=16, limit_test=4),
        "pixels": pixels,
        "images": {"docs/era.md": few, "docs/robustness.md": pixels}.get(page, np.float32(pixels) / 255),
        "labels": labels,
    }


@pytest.mark.parametrize("page", [page for page in PAGES if any(block.language == "python" for block in blocks(page))])
def test_every_snippet_runs(page: str, walked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The blocks of a page, in order, in one namespace."""
    monkeypatch.chdir(walked)
    names = _stand_ins(page)
    for block in blocks(page):
        if block.language == "python":
            exec(compile("\n" * block.line + block.text, page, "exec"), names)
