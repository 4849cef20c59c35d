"""Which back ends exist, which can run here, and which one is used.

``auto`` takes the first that works and says so once if it is not the first choice; a back end that was asked for by name
works or raises, with the reason and the cure.
"""

from __future__ import annotations

import importlib
import warnings
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Callable, Dict, Sequence

from .errors import KernelError

BACKENDS = ("numba", "cuda", "cupy", "reference")
"""numba: compiled for the CPU. cuda: numba.cuda. cupy: CUDA C++ through CuPy. reference: NumPy and Pillow."""


@dataclass(frozen=True)
class Probe:
    """Whether a back end works here: it was imported, its device found, and a one-line kernel compiled and run."""

    name: str
    ready: bool
    reason: str
    """What it runs on, or why it cannot run."""
    cure: str
    """What would make it run; empty where it does."""


def probes() -> Dict[str, Probe]:
    """The state of every back end, by name."""
    return {name: probe(name) for name in BACKENDS}


@lru_cache(maxsize=None)
def probe(name: str) -> Probe:
    """Try a back end, once per process.

    Raises:
        KernelError: for a name that is not in ``BACKENDS``.
    """
    if name not in BACKENDS:
        raise KernelError(f"there is no kernel back end called {name!r}: choose auto or one of {', '.join(BACKENDS)}")
    trial, cure = _TRIALS[name]
    try:
        return Probe(name, True, trial(), "")
    except ImportError as error:
        return Probe(name, False, f"{error.name or error} is not installed", cure)
    except Exception as error:  # whatever a broken driver or compiler raises, the answer is: not here
        line = (str(error).strip() or type(error).__name__).splitlines()[0]
        return Probe(name, False, line, cure)


def choose(asked: str, order: Sequence[str], job: str) -> str:
    """The back end for a job.

    Args:
        asked: ``auto`` or a name.
        order: the back ends that can do the job on the arrays at hand, the best first.
        job: what is to be done, for messages ("ERA on CPU arrays").

    Raises:
        KernelError: if the back end asked for, or for ``auto`` every one in ``order``, cannot run; says why and what helps.
    """
    if asked == "auto":
        found = [probe(name) for name in order]
        for position, candidate in enumerate(found):
            if candidate.ready:
                if position:
                    missed = "; ".join(f"{one.name} cannot run: {one.reason} ({one.cure})" for one in found[:position])
                    _say_once(f"{job} runs on the {candidate.name!r} back end, since {missed}")
                return candidate.name
        raise KernelError(f"{job} has no back end that runs here: " + "; ".join(f"{one.name}: {one.reason}" for one in found))
    state = probe(asked)
    if asked not in order:
        raise KernelError(f"the {asked!r} back end does not do {job}: choose auto or one of {', '.join(order)}")
    if not state.ready:
        raise KernelError(f"the {asked!r} back end cannot run {job}: {state.reason}; {state.cure}, or choose auto")
    return asked


@lru_cache(maxsize=None)
def _say_once(message: str) -> None:
    warnings.warn(message, RuntimeWarning, stacklevel=3)


def _try_numba() -> str:
    numba = importlib.import_module("numba")
    from .compiling import cache_on_disk

    compiled: Callable[[int], int] = numba.njit(_successor)
    cache_on_disk(compiled, "probe")
    if compiled(41) != 42:
        raise RuntimeError("a one-line kernel gave a wrong result")
    return f"numba {numba.__version__} on the CPU"


def _try_cuda() -> str:
    import numpy as np

    numba = importlib.import_module("numba")
    cuda: Any = importlib.import_module("numba.cuda")
    if not cuda.is_available():
        raise RuntimeError("numba.cuda finds no usable GPU and driver")
    from .block_cuda import count, launchable

    values = cuda.to_device(np.arange(32, dtype=np.int32))
    launchable(cuda.jit(count), 1, (32,))(values)
    if (values.copy_to_host() != np.arange(1, 33)).any():
        raise RuntimeError("a one-line kernel gave a wrong result")
    name = getattr(cuda.current_context().device, "name", "the CUDA simulator")
    return f"numba {numba.__version__} on {name.decode() if isinstance(name, bytes) else name}"


def _try_cupy() -> str:
    cupy: Any = importlib.import_module("cupy")
    if not cupy.cuda.is_available():
        raise RuntimeError("CuPy finds no usable GPU and driver")
    source = 'extern "C" __global__ void count(int* out) { out[threadIdx.x] += 1; }'
    values = cupy.arange(32, dtype=cupy.int32)
    cupy.RawKernel(source, "count")((1,), (32,), (values,))
    if int((values != cupy.arange(1, 33)).sum()):
        raise RuntimeError("a one-line kernel gave a wrong result")
    name = cupy.cuda.runtime.getDeviceProperties(cupy.cuda.Device().id)["name"].decode()
    return f"cupy {cupy.__version__} on {name}"


def _try_reference() -> str:
    numpy, pillow = importlib.import_module("numpy"), importlib.import_module("PIL")
    return f"numpy {numpy.__version__} and Pillow {pillow.__version__}"


def _successor(x: int) -> int:
    return x + 1


_GPU = "it needs an NVIDIA GPU with its driver and pip install 'gearnn[cuda12]' (or [cuda11], [cuda13])"
_TRIALS: Dict[str, Any] = {
    "numba": (_try_numba, "pip install numba"),
    "cuda": (_try_cuda, _GPU),
    "cupy": (_try_cupy, _GPU),
    "reference": (_try_reference, "pip install numpy pillow"),
}
