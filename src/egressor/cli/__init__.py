"""
The command line: one file per group of commands, loaded when one of them is asked for.

Exit codes: 0 fine, 1 the thing asked about is unhealthy, 2 wrong usage or configuration. An error is one clear line on
stderr. `main` imports nothing that an extra installs, so that it can say what is missing.
"""

from __future__ import annotations
