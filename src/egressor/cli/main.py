"""
The entry point of the ``egressor`` command.
"""

from __future__ import annotations

import sys

__all__ = ["main"]

_EXTRA = ("click", "aiohttp")


def main(args: list[str] | None = None) -> int:
    """
    Run the command line, and return its exit code.

    Args:
        args: The words after ``egressor``. Default: those of this process.
    """
    try:
        from .group import run

        return run(args)
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in _EXTRA:
            raise
        sys.stderr.write(f"egressor: {missing} is not installed: pip install 'egressor[gateway]'\n")
        return 2


if __name__ == "__main__":
    sys.exit(main())
