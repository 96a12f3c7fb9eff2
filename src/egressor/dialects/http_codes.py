"""
HTTP's statuses as codes, for providers that write them into a body: under HTTP 200, or in a stream.
"""

from __future__ import annotations

from typing import Final

from egressor._core.rule import Rule
from egressor._core.statuses import STATUSES

__all__ = ["STATUS_CODES"]

STATUS_CODES: Final = {
    str(status): Rule(rule.kind, rule.retry, "", rule.ran, source=rule.source) for status, rule in STATUSES.items()
}
"""
Rules by status, as text.
"""
