"""``python -m gearnn`` is the command ``gearnn``."""

from gearnn.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
