"""
The meanings that the tables of codes are made of, and how a table is made.

A table groups codes by meaning, as vendors' pages do; ``table`` turns it around once, when its dialect is first met.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from egressor._core.model import ErrorCategory as Kind
from egressor._core.phrasebook import Phrasebook
from egressor._core.rule import Rule

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = [
    "BAD",
    "BAN_ACCOUNT",
    "BAN_IP",
    "BUSY",
    "CLASH",
    "CLASH_RETRY",
    "DOWN",
    "FUNDS",
    "GARBLED",
    "GEO",
    "KEY",
    "LATE",
    "LIMITED",
    "LIMITED_ACCOUNT",
    "LIMITED_ENDPOINT",
    "LIMITED_IP",
    "LIMITED_RECIPIENT",
    "MAINTENANCE",
    "MISSING",
    "NOT_NOW",
    "NOT_OFFERED",
    "NO_SENTENCES",
    "POLICY",
    "QUOTA",
    "RECIPIENT",
    "RIGHTS",
    "SETUP",
    "SKEW",
    "UNSURE",
    "Rows",
    "Sentences",
    "Table",
    "phrases",
    "sentences",
    "table",
]

Table = dict[str, Rule]
Rows = tuple[tuple[str, Rule], ...]
Sentences = Phrasebook[tuple[str, Rule]]

LIMITED: Final = Rule(Kind.RATE_LIMIT, retry=True)
LIMITED_IP: Final = LIMITED._replace(scope="ip")
LIMITED_ACCOUNT: Final = LIMITED._replace(scope="account")
LIMITED_ENDPOINT: Final = LIMITED._replace(scope="endpoint")
LIMITED_RECIPIENT: Final = LIMITED._replace(scope="recipient")
QUOTA: Final = Rule(Kind.QUOTA_EXHAUSTED)
KEY: Final = Rule(Kind.AUTHENTICATION)
RIGHTS: Final = Rule(Kind.PERMISSION)
# Somebody or something that we may not write to; the credential is as good as ever for all others.
RECIPIENT: Final = Rule(Kind.PERMISSION, scope="recipient")
BAN_IP: Final = Rule(Kind.BAN, scope="ip")
BAN_ACCOUNT: Final = Rule(Kind.BAN, scope="account")
# A challenge that only a human solves.
HUMAN: Final = Rule(Kind.CHALLENGE)
GEO: Final = Rule(Kind.GEO_BLOCK)
DOWN: Final = Rule(Kind.SERVER_ERROR, retry=True, ran=True)
# Turned away at the door: nothing ran.
NOT_NOW: Final = Rule(Kind.SERVER_ERROR, retry=True)
# HTTP 501: no wait brings it.
NOT_OFFERED: Final = Rule(Kind.SERVER_ERROR)
BUSY: Final = Rule(Kind.OVERLOADED, retry=True)
LATE: Final = Rule(Kind.TIMEOUT, retry=True, ran=True)
MAINTENANCE: Final = Rule(Kind.MAINTENANCE, retry=True)
BAD: Final = Rule(Kind.BAD_REQUEST)
GARBLED: Final = Rule(Kind.BAD_RESPONSE, retry=True, ran=True)
MISSING: Final = Rule(Kind.NOT_FOUND)
CLASH: Final = Rule(Kind.CONFLICT)
CLASH_RETRY: Final = Rule(Kind.CONFLICT, retry=True)
# Retryable once the clock is set right or the nonce is the next one.
SKEW: Final = Rule(Kind.CLOCK_SKEW, retry=True)
FUNDS: Final = Rule(Kind.INSUFFICIENT_FUNDS)
POLICY: Final = Rule(Kind.CONTENT_POLICY)
SETUP: Final = Rule(Kind.CONFIGURATION)
# It may have been executed, and nothing tells whether it was: ask for its state, never send it again blindly.
UNSURE: Final = Rule(Kind.OUTCOME_UNKNOWN, ran=True)


def table(source: str, rows: Mapping[Rule, str | Iterable[str]]) -> Table:
    """
    Make a table of codes.

    Args:
        source: The page that lists them.
        rows: Codes by meaning: one string with spaces between them, or several strings where codes hold spaces.
    """
    found: Table = {}
    for rule, codes in rows.items():
        here = rule if rule.source else rule._replace(source=source)
        for code in codes.split() if isinstance(codes, str) else codes:
            found[code] = here
    return found


def phrases(source: str, *rows: tuple[str, Rule]) -> Rows:
    """
    File sentences, in plain lower case, under the page that has them.
    """
    return tuple((words, rule if rule.source else rule._replace(source=source)) for words, rule in rows)


def sentences(*groups: Rows) -> Sentences:
    """
    Compile *groups* of sentences; the first that is found in a message decides, and names the reason.
    """
    return Phrasebook(((words,), (words.replace(" ", "_"), rule)) for rows in groups for words, rule in rows)


NO_SENTENCES: Final = sentences()
