"""Ctrl-C and SIGTERM end a run between two steps; its folder can be gone on with."""

from __future__ import annotations

import os
import signal
import sys
import threading
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Iterator, Optional

from gearnn.progress import Progress

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(KeyboardInterrupt):
    """A signal asked for the end; ``number`` is the signal's."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.number = number

    @property
    def exit_code(self) -> int:
        """As shells have it: 130 after Ctrl-C, 143 after SIGTERM."""
        return 128 + self.number


@contextmanager
def stopping(progress: Progress) -> Iterator[Progress]:
    """Give a ``progress`` that raises `Stopped` once a signal has come; the second signal leaves at once.

    Work reports its progress after each step: in training, growth, export, judging and before the report. The signal waits
    until then, so that the optimizer's step is finished, and nothing is left half done. What a run goes on from is its last
    checkpoint, at the end of an epoch: that epoch's state leads to the same bits, since all that is random is keyed by the epoch,
    and it costs no second kind of checkpoint; at most the epoch in flight is worked through again. After the last step of a
    task, work goes on to where it saves.

    Handlers are set only in the main thread, where Python allows it, and the ones before are put back at the end. This is for
    the command line: a library does not take over its caller's signals.
    """
    if threading.current_thread() is not threading.main_thread():
        yield progress
        return
    asked: Optional[int] = None

    def handle(number: int, frame: Optional[FrameType]) -> None:
        nonlocal asked
        if asked is not None:
            _say("\033[?25h" if sys.stderr.isatty() else "")  # the cursor, which a progress bar may have hidden
            os._exit(128 + number)
        asked = number
        _say("\nstopping after this step; a second Ctrl-C leaves at once\n")

    def watched(label: str, done: int, total: int) -> None:
        progress(label, done, total)
        if asked is not None and done < total:
            raise Stopped(asked)

    before = {number: signal.signal(number, handle) for number in SIGNALS}
    try:
        yield watched
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _say(text: str) -> None:
    """Write to standard error past Python's buffers, which the handler may have interrupted."""
    with suppress(OSError):
        os.write(2, text.encode())
