"""
The entry point of the ``egressor`` command.
"""

from __future__ import annotations

import gc
import sys

__all__ = ["main"]

_EXTRA = ("click", "aiohttp")
# Objects between two looks of the garbage collector: what is imported stays, and looking at it takes a twentieth of
# the time until a command begins.
_LOOK_AFTER = 100_000


def main(args: list[str] | None = None) -> int:
    """
    Run the command line, and return its exit code.

    Args:
        args: The words after ``egressor``. Default: those of this process.
    """
    before = gc.get_threshold()
    gc.set_threshold(_LOOK_AFTER, *before[1:])
    try:
        from .group import run

        return run(args)
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in _EXTRA:
            raise
        sys.stderr.write(f"egressor: {missing} is not installed: pip install 'egressor[gateway]'\n")
        return 2
    finally:
        gc.set_threshold(*before)


if __name__ == "__main__":
    sys.exit(main())
