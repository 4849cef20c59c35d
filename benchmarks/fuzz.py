"""Feeds damaged files to every loader, each in a process of its own, and records what came of it.

    python benchmarks/fuzz.py --cases 50000 --out benchmarks/results/fuzz.json

A case is a function of the seed and its number. A process that dies is a finding, as is a case of more than two seconds of
processor time or any error that is not the tool's own; after either the work goes on with the next case.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.util
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import ModuleType
from typing import Any, Dict, List

ROOT = Path(__file__).resolve().parents[1]
MEMORY = 6 << 30  # bytes of address space, libraries and their threads' stacks included
SLOW = 2.0  # seconds of processor time
STUCK = 60.0  # seconds without a finished case
_KEPT = 20  # findings described, of a loader


def module_of(name: str) -> ModuleType:
    """Targets, which the tests use too."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "tests" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def all_loaders(module: ModuleType) -> Dict[str, Any]:
    """Every loader by name; those of data sets are named ``reader_…``."""
    readers = module_of("fuzzing_readers")
    seeds, targets = readers.seeds(), readers.targets()
    return {**module.loaders(), **{f"reader_{name}": module.Loader(seeds[name], "bytes", targets[name]) for name in targets}}


def work(name: str, seed: int, start: int, cases: int) -> None:
    """Feed cases; a line for each finding, and for every case begun, on standard output."""
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(1, 2)
    module = module_of("fuzzing_loaders")
    loader = all_loaders(module)[name]
    for sound in loader.seeds:
        if not loader.feed(sound):
            raise SystemExit(f"{name}: a sound file is refused")
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    slowest, taken = 0.0, 0
    for number in range(start, start + cases):
        out.write(json.dumps({"case": number}) + "\n")
        data = module.damaged(loader, seed, number)
        began = time.process_time()
        try:
            taken += loader.feed(data)
        except Exception as error:  # a finding
            frame = error.__traceback__
            while frame is not None and frame.tb_next is not None:
                frame = frame.tb_next
            where = f"{Path(frame.tb_frame.f_code.co_filename).name}:{frame.tb_lineno}" if frame else ""
            out.write(json.dumps({"finding": f"{type(error).__name__} at {where}: {str(error)[:200]}", "at": number}) + "\n")
        took = time.process_time() - began
        slowest = max(slowest, took)
        if took > SLOW:
            out.write(json.dumps({"finding": f"{took:.1f} s", "at": number}) + "\n")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 // 10**6
    out.write(json.dumps({"slowest": slowest, "peak_mb": peak, "taken": taken}) + "\n")


def feed(name: str, seed: int, cases: int) -> Dict[str, Any]:
    """All cases of a loader, over as many processes as it takes."""
    start, found, crashes, facts = 0, [], 0, {"slowest": 0.0, "peak_mb": 0, "taken": 0}
    began = time.monotonic()
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    while start < cases:
        command = [
            sys.executable,
            __file__,
            "--work",
            name,
            "--seed",
            str(seed),
            "--start",
            str(start),
            "--cases",
            str(cases - start),
        ]
        with tempfile.TemporaryDirectory(prefix="gearnn-fuzz-") as scratch:
            place = {**environment, "TMPDIR": scratch}
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=place) as process:
                assert process.stdout is not None
                last, ended = start - 1, False
                for line in process.stdout:
                    entry = json.loads(line)
                    last = entry.get("case", last)
                    if "finding" in entry:
                        found.append({"case": entry["at"], "what": entry["finding"]})
                    if "slowest" in entry:
                        ended = True
                        facts = {key: max(facts[key], entry[key]) for key in facts}
        if ended:
            break
        if last < start:
            raise SystemExit(f"the process for {name} ended before its first case (exit {process.returncode})")
        crashes += 1
        found.append({"case": last, "what": f"the process ended with {process.returncode}"})
        start = last + 1
    return {
        "cases": cases,
        "findings": len(found),
        "crashes": crashes,
        "taken": facts["taken"],
        "slowest_s": round(facts["slowest"], 3),
        "peak_memory_mb": facts["peak_mb"],
        "seconds": round(time.monotonic() - began, 1),
        "first": found[:_KEPT],
    }


def main(arguments: List[str]) -> int:
    """Feed, print and record; exit code 1 if there were findings."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--cases", type=int, default=50_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--work", help=argparse.SUPPRESS)
    parser.add_argument("--start", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.work:
        work(options.work, options.seed, options.start, options.cases)
        return 0
    from gearnn.engine.environment import environment

    names = options.only or sorted(all_loaders(module_of("fuzzing_loaders")))
    results: Dict[str, Any] = {}
    for name in names:
        results[name] = feed(name, options.seed, options.cases)
        print(name, json.dumps(results[name]), flush=True)
        if options.out:
            record = {
                "date": datetime.date.today().isoformat(), "seed": options.seed, **environment(), "loaders": results,
            }  # fmt: skip
            options.out.parent.mkdir(parents=True, exist_ok=True)
            options.out.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return 1 if any(entry["findings"] for entry in results.values()) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
