"""What no shipped source may do: unpickle, run what it reads, or hand data to a shell."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Dict, Iterator, List, Tuple

import pytest

ROOT = Path(__file__).resolve().parents[1]
SHIPPED = ("gearnn", "engine", "kernels", "benchmarks", "setup.py")
PICKLES = {"pickle", "_pickle", "cPickle", "dill", "joblib", "cloudpickle", "shelve", "marshal", "jsonpickle", "pandas", "yaml"}
ARRAYS_ONLY = "gearnn/readers/cifar.py"
ALLOWED_NAMES = {"Unpickler", "UnpicklingError"}  # of pickle, there
SHELLS = {
    "os.system", "os.popen", "os.startfile", "pty.spawn", "commands.getoutput",
    "subprocess.getoutput", "subprocess.getstatusoutput", "asyncio.create_subprocess_shell",
}  # fmt: skip
PROCESSES = {"run", "Popen", "call", "check_call", "check_output"}
LOADS = {"load", "read_array"}


def names(tree: ast.AST) -> Dict[str, str]:
    """What local names stand for: ``np`` → ``numpy``, ``system`` → ``os.system``."""
    known: Dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                known[alias.asname or alias.name.split(".")[0]] = alias.name if alias.asname else alias.name.split(".")[0]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            known.update({alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names})
    return known


def full_name(node: ast.AST, known: Dict[str, str]) -> str:
    """``np.lib.format.read_array`` as ``numpy.lib.format.read_array``; "" for what has no name."""
    parts: List[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return ""
    return ".".join([known.get(node.id, node.id), *reversed(parts)])


def imports(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and not node.level:
        yield from (f"{node.module}.{alias.name}" for alias in node.names)


def keyword(call: ast.Call, name: str) -> object:
    """The constant given for a keyword; None if there is none, "?" if it is not a constant."""
    found = [entry.value for entry in call.keywords if entry.arg == name]
    return None if not found else found[0].value if isinstance(found[0], ast.Constant) else "?"


def faults(source: str, path: str = "gearnn/any.py") -> List[str]:
    """What is forbidden in a source file, one entry each."""
    tree = ast.parse(source)
    known, found = names(tree), []
    for node in ast.walk(tree):
        for name in imports(node):
            allowed = path == ARRAYS_ONLY and name == "pickle"
            if name.split(".")[0] in PICKLES and not allowed:
                found.append(f"imports {name}")
        if isinstance(node, ast.Attribute):
            name = full_name(node, known)
            if name.startswith("pickle.") and name.split(".")[1] not in ALLOWED_NAMES:
                found.append(f"uses {name}")
            if name in SHELLS or name in ("torch.load", "torch.jit.load", "torch.hub.load"):
                found.append(f"uses {name}")
            if name.startswith(("os.exec", "os.spawn")):
                found.append(f"uses {name}")
        if isinstance(node, ast.Call):
            found += call_faults(node, known)
    if path == ARRAYS_ONLY:
        found += unpickler_faults(tree, known)
    return found


def call_faults(call: ast.Call, known: Dict[str, str]) -> Iterator[str]:
    name = full_name(call.func, known)
    if isinstance(call.func, ast.Name) and name in ("eval", "exec", "compile", "__import__"):
        yield f"calls {name}"
    if name in SHELLS | {"torch.load"} and isinstance(call.func, ast.Name):
        yield f"calls {name}"
    if name.startswith("numpy.") and name.split(".")[-1] in LOADS and keyword(call, "allow_pickle") is not False:
        yield f"calls {name} without allow_pickle=False"
    if keyword(call, "shell") not in (None, False):
        yield "starts a shell"
    if name.startswith("subprocess.") and name.split(".")[-1] in PROCESSES:
        first = call.args[0] if call.args else next((entry.value for entry in call.keywords if entry.arg == "args"), None)
        if first is None or isinstance(first, (ast.Constant, ast.JoinedStr, ast.BinOp)):
            yield f"calls {name} with text instead of a list"


def unpickler_faults(tree: ast.AST, known: Dict[str, str]) -> Iterator[str]:
    """Unpickler may be a base class only, of classes that decide themselves what is found."""
    bases = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and any(full_name(base, known) == "pickle.Unpickler" for base in node.bases):
            bases.update(map(id, node.bases))
            if not any(isinstance(entry, ast.FunctionDef) and entry.name == "find_class" for entry in node.body):
                yield f"{node.name} has no find_class"
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and full_name(node, known) == "pickle.Unpickler" and id(node) not in bases:
            yield "uses pickle.Unpickler itself"


def sources() -> Iterator[Tuple[str, str]]:
    for name in SHIPPED:
        place = ROOT / name
        for path in [place] if place.is_file() else sorted(place.rglob("*.py")):
            yield path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")


def test_nothing_shipped_unpickles_runs_data_or_starts_a_shell() -> None:
    found = {path: faults(source, path) for path, source in sources()}
    assert len(found) > 200 and ARRAYS_ONLY in found
    assert {path: entries for path, entries in found.items() if entries} == {}


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from pickle import loads",
        "import joblib as j",
        "def f():\n    import dill",
        "import torch\ntorch.load('x')",
        "import torch as t\nt.load('x', weights_only=True)",
        "from torch import load\nload('x')",
        "import numpy as np\nnp.load('x')",
        "import numpy as np\nnp.load('x', allow_pickle=True)",
        "import numpy as np\nnp.load('x', allow_pickle=choice)",
        "from numpy import load as read\nread('x')",
        "import numpy as np\nnp.lib.format.read_array(f)",
        "from numpy.lib import format\nformat.read_array(f)",
        "eval(text)",
        "exec(text)",
        "compile(text, '', 'exec')",
        "import yaml\nyaml.load(f)",
        "import os\nos.system(f'ls {x}')",
        "from os import popen\npopen(x)",
        "import os\nrun = os.popen",
        "import subprocess\nsubprocess.run(['ls'], shell=True)",
        "import subprocess\nsubprocess.run(['ls'], shell=choice)",
        "import subprocess as s\ns.Popen('ls ' + x)",
        "from subprocess import check_output\ncheck_output(f'ls {x}')",
        "import subprocess\nsubprocess.getoutput('ls')",
    ],
)
def test_the_search_finds_what_it_is_for(source: str) -> None:
    assert faults(source)


@pytest.mark.parametrize(
    "source",
    [
        "import pickle\npickle.loads(b'')",
        "import pickle\npickle.Unpickler(f).load()",
        "import pickle\nclass Any(pickle.Unpickler):\n    pass",
        "from pickle import Unpickler",
    ],
)
def test_the_reader_of_arrays_may_not_unpickle_freely(source: str) -> None:
    assert faults(source, ARRAYS_ONLY)


@pytest.mark.parametrize(
    "source",
    [
        "import re\nre.compile('x')",
        "model.eval()",
        "import numpy as np\nnp.load('x', allow_pickle=False, mmap_mode='r')",
        "import subprocess\nsubprocess.run(['ls', x], shell=False)",
        "import json\njson.load(f)",
        "import torch\ntorch.compile(model)",
    ],
)
def test_what_is_allowed_is_not_found(source: str) -> None:
    assert faults(source) == []
