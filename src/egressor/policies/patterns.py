"""
The user's own reading of errors: what a message, a status, a code or an exception means here.

Patterns are asked before everything else, in the order of the file; the first that matches decides. A pattern matches
if each kind of mark that it names is found: one of its *messages* or *regex*, one of its *statuses*, one of its
*codes*, one of its *exceptions*. A regular expression is compiled to a machine that reads a text once
(`egressor._core.linear`), so none of them can hang; one that would need more is refused when the file is read.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from egressor._core.answers import codes_of
from egressor._core.evidence import document
from egressor._core.grade import failure
from egressor._core.linear import Linear, PatternError
from egressor._core.model import ErrorCategory, ErrorSeverity
from egressor._core.retry_after import retry_after
from egressor.policies.checks import SettingError, flag, many, number, one_of, text, whole
from egressor.policies.settings import Settings, setting

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Set as AbstractSet

    from egressor._core.evidence import Evidence
    from egressor._core.model import Verdict

__all__ = ["ErrorPattern", "compile_patterns"]

_TEXT: Final = 1024
_RETRIED: Final = frozenset(
    {
        ErrorCategory.RATE_LIMIT,
        ErrorCategory.NETWORK,
        ErrorCategory.TIMEOUT,
        ErrorCategory.SERVER_ERROR,
        ErrorCategory.OVERLOADED,
        ErrorCategory.MAINTENANCE,
        ErrorCategory.BAD_RESPONSE,
        ErrorCategory.CLOCK_SKEW,
    }
)


def _linear(value: object) -> Linear:
    if isinstance(value, Linear):
        return value
    if not isinstance(value, str):
        message = f"expected a regular expression, got {type(value).__name__}"
        raise SettingError(message)
    try:
        return Linear(value)
    except PatternError as error:
        message = f"{value[:64]!r} can't be matched in linear time: {error}"
        raise SettingError(message) from None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class ErrorPattern(Settings):
    """
    What an error means that the dialect doesn't know, or reads otherwise.

    Attributes:
        messages: Pieces of the body or of the exception's message, in any case. Default: none.
        regex: Regular expressions, matched in linear time: no back-references, no look-around, at most 256 characters.
            Default: none.
        statuses: HTTP statuses, 100 to 999. Default: none.
        codes: Codes in the body, as the provider writes them. Default: none.
        exceptions: Names of exceptions or of their bases: ``RateLimitError`` or ``openai.RateLimitError``. Default:
            none.
        category: What it is.
        severity: How much it matters. Default: as the category has it.
        retryable: Whether the same attempt may succeed later. Default: as is usual for the category.
        backoff: What the pause before the next attempt is multiplied by, 0.1 to 100. Default: 1.
    """

    messages: tuple[str, ...] = setting((), many(text(r".{1,256}", what="a piece of a message: 1 to 256 characters")))
    regex: tuple[Linear, ...] = setting((), many(_linear))
    statuses: tuple[int, ...] = setting((), many(whole(at_least=100, at_most=999)))
    codes: tuple[str, ...] = setting((), many(text(r"\S{1,96}", what="a code: 1 to 96 characters without spaces")))
    exceptions: tuple[str, ...] = setting((), many(text(r"[\w.]{1,128}", what="an exception's name")))
    category: ErrorCategory = setting(lambda: ErrorCategory.UNKNOWN, one_of(*ErrorCategory, kind=ErrorCategory))
    severity: ErrorSeverity | None = setting(None, one_of("low", "medium", "high", "critical", kind=ErrorSeverity))
    retryable: bool | None = setting(None, flag)
    backoff: float = setting(1.0, number(at_least=0.1, at_most=100))

    def _agree(self, given: AbstractSet[str]) -> None:
        if "category" not in given:
            message = "it says what to look for and not what it is: name a category"
            raise SettingError(message, at=("category",))
        if not given & {"messages", "regex", "statuses", "codes", "exceptions"}:
            message = "it would match everything: name messages, regex, statuses, codes or exceptions"
            raise SettingError(message, at=("messages",))

    def verdict(self, evidence: Evidence, position: int) -> Verdict:
        """
        Build the verdict of the pattern at *position* of its service.
        """
        status = evidence.status
        retryable = self.category in _RETRIED if self.retryable is None else self.retryable
        return failure(
            self.category,
            fingerprint=f"pattern.{position}.{self.category.value}",
            why=f"errors[{position}] of the policy",
            retryable=retryable,
            retry_after=retry_after(evidence.headers, status=status, now=evidence.now),
            may_have_run=status is None or status >= 500 or status < 300,
            severity=self.severity,
            backoff=self.backoff,
            source="the policy",
        )


@lru_cache(maxsize=256)
def compile_patterns(
    patterns: tuple[ErrorPattern, ...],
) -> Callable[[BaseException | None, Evidence], Verdict | None] | None:
    """
    Compile a service's patterns to the function that `egressor.dialects.classify` asks first; None if there are none.

    The last 256 services' are kept.
    """
    rows = tuple(
        (pattern, tuple(each.lower() for each in pattern.messages), frozenset(each.lower() for each in pattern.codes))
        for pattern in patterns
    )
    if not rows:
        return None

    def ask(exc: BaseException | None, evidence: Evidence) -> Verdict | None:
        names = _names(exc) if exc is not None else frozenset[str]()
        said = codes = None
        for position, (pattern, messages, wanted) in enumerate(rows):
            if pattern.statuses and evidence.status not in pattern.statuses:
                continue
            if pattern.exceptions and names.isdisjoint(pattern.exceptions):
                continue
            if wanted or messages or pattern.regex:
                if said is None or codes is None:
                    said, codes = _said(exc, evidence)
                if wanted and codes.isdisjoint(wanted):
                    continue
                if (messages or pattern.regex) and not _is_said(said, messages, pattern.regex):
                    continue
            return pattern.verdict(evidence, position)
        return None

    return ask


def _names(exc: BaseException) -> frozenset[str]:
    kind: type = type(exc)
    found: set[str] = set()
    for each in kind.__mro__[:16]:
        module, name = each.__module__, each.__name__
        if isinstance(module, str) and isinstance(name, str):
            found |= {name, f"{module}.{name}", f"{module.split('.')[0]}.{name}"}
    return frozenset(found)


def _said(exc: BaseException | None, evidence: Evidence) -> tuple[str, frozenset[str]]:
    """
    Collect what can be matched: the beginnings of the body and of the message, and the codes in the body.
    """
    pieces: list[str] = []
    codes: frozenset[str] = frozenset()
    if evidence.body is not None:
        parsed, body = document(evidence.body)
        pieces.append(body[:_TEXT])
        if parsed is not None:
            found, prose = codes_of(parsed)
            pieces.append(prose[:_TEXT])
            codes = frozenset(found) | _exact(parsed)
    if exc is not None:
        try:
            pieces.append(str(exc)[:_TEXT])
        except Exception:  # noqa: BLE001 - somebody's __str__ may raise anything
            pieces.append("")
    return "\n".join(pieces).lower(), codes


def _exact(parsed: object) -> frozenset[str]:
    """
    Collect the codes of a document as they are written, numbers too: the values beside words like "code" and "type".
    """
    found: set[str] = set()
    level: list[object] = [parsed]
    for _ in range(3):
        nodes = [node for item in level[:8] for node in (item[:4] if isinstance(item, list) else [item])]
        level = []
        for node in nodes:
            if isinstance(node, dict):
                for name, value in list(node.items())[:32]:
                    if isinstance(value, (dict, list)):
                        level.append(value)
                    elif isinstance(value, str) and len(value) <= 96:
                        found.add(value.lower())
                    elif isinstance(name, str) and "code" in name.lower() and type(value) is int:
                        found.add(str(value) if -(10**12) < value < 10**12 else "")
            elif isinstance(node, str) and len(node) <= 96:
                found.add(node.lower())
    return frozenset(found)


def _is_said(said: str, messages: tuple[str, ...], regex: tuple[Linear, ...]) -> bool:
    return any(each in said for each in messages) or any(each.search(said[: 2 * _TEXT]) for each in regex)
