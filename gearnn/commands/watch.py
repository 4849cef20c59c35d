"""``gearnn watch``: a run as it goes."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Callable, List, Optional

import tyro
from typing_extensions import Annotated

from gearnn.commands.parsing import parse, print_json
from gearnn.errors import UserError

if TYPE_CHECKING:
    from gearnn.watching import Status


@dataclass(frozen=True)
class WatchArguments:
    """Show how far a run is until it ends: phase, epoch, loss, accuracies, time left, and whether a process is at work.

    It reads the files in the run folder and changes none, so it may be started, stopped and repeated at any time, also for runs
    that are over. Off a terminal it prints a line for each epoch. The exit code is 2 if the run has stopped without a result.

    Examples:

      gearnn watch runs/demo

      gearnn watch runs/photos --once --json

      gearnn watch runs/photos --tensorboard logs/photos
    """

    run: Annotated[Path, tyro.conf.Positional]
    """Run folder."""
    once: bool = False
    """Show the state at this moment and end."""
    interval: float = 2.0
    """Seconds between two looks."""
    tensorboard: Optional[Path] = None
    """Folder for TensorBoard's event files, which are written anew with every epoch; needs gearnn[tensorboard]."""
    seed: int = 0
    """Taken by every command; here nothing is drawn, so it changes nothing."""
    device: str = "auto"
    """Taken by every command; watching uses none, so it changes nothing."""
    json: bool = False
    """Print the state at this moment as JSON and end."""


def main(arguments: List[str]) -> int:
    """Show the run until it ends."""
    options = parse(WatchArguments, arguments, "watch")
    if not options.interval > 0:
        raise UserError(f"--interval must be above 0 seconds, not {options.interval:g}")
    from gearnn.watching import read_status

    if options.json or options.once:
        status = read_status(options.run)
        if options.tensorboard is not None:
            _log(options.tensorboard, status)
        if options.json:
            print_json(asdict(status))
        else:
            _show(status)
        return 0
    try:
        return 2 if _follow(options).state == "stopped" else 0
    except KeyboardInterrupt:  # ends the watching, not the run
        return 0


def _log(folder: Path, status: Status) -> None:
    from gearnn.tensorboard import write_events

    write_events(folder, status.rows)


def _show(status: Status) -> None:
    """The state at this moment."""
    from rich.console import Console

    from gearnn.watch_view import Lines, headline, table

    console = Console()
    if console.is_terminal:
        console.print(table(status, console))
    else:
        Lines()(status)
        print(headline(status))


def _follow(options: WatchArguments) -> Status:
    from rich.console import Console
    from rich.live import Live

    from gearnn.watch_view import Lines, headline, table
    from gearnn.watching import follow, read_status

    logged = -1

    def logging(show: Callable[[Status], None]) -> Callable[[Status], None]:
        """Also to TensorBoard, when there is a new epoch."""

        def shown(status: Status) -> None:
            nonlocal logged
            if options.tensorboard is not None and len(status.rows) != logged:
                _log(options.tensorboard, status)
                logged = len(status.rows)
            show(status)

        return shown

    console = Console()
    if not console.is_terminal:
        last = follow(options.run, options.interval, logging(Lines()))
        print(headline(last))
        return last
    with Live(table(read_status(options.run), console), console=console, auto_refresh=False) as live:
        return follow(options.run, options.interval, logging(lambda status: live.update(table(status, console), refresh=True)))
