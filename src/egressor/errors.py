"""
Every exception that Egressor raises itself.

The tree::

    EgressorError
    ├── ConfigError          also a ValueError: a setting or an argument is wrong
    ├── Rejected             the call was never sent
    │   ├── WaitTooLong      its turn comes after its deadline
    │   ├── QueueFull        too many calls wait already
    │   ├── NeverFits        its cost is above what the limit ever holds
    │   ├── CircuitOpen      the breaker is open
    │   ├── Banned           the service has banned us
    │   ├── BudgetExceeded   the money is spent
    │   ├── Paused           an operator paused the service
    │   └── StoreUnavailable the store is away and the policy says: closed
    └── PartialResponse      a stream broke after its first byte

Whatever the user's own function raises comes out as it was raised; none of these ever wraps it.
"""

from __future__ import annotations

__all__ = [
    "Banned",
    "BudgetExceeded",
    "CircuitOpen",
    "ConfigError",
    "EgressorError",
    "NeverFits",
    "PartialResponse",
    "Paused",
    "QueueFull",
    "Rejected",
    "StoreUnavailable",
    "WaitTooLong",
]


class EgressorError(Exception):
    """
    Root of all exceptions that Egressor raises itself.
    """


class ConfigError(EgressorError, ValueError):
    """
    A setting, or an argument of a call, is wrong.

    Args:
        message: What is wrong: the thing, the value, the limit.
        file: Path of the configuration file, if the setting came from one.
        line: Line in that file, counted from 1.
        key: Dotted name of the setting, for example ``services.openai.max_wait``.
        nearest: The valid name nearest to the one given, if there is one.
    """

    def __init__(
        self,
        message: str,
        *,
        file: str | None = None,
        line: int | None = None,
        key: str | None = None,
        nearest: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.file = file
        self.line = line
        self.key = key
        self.nearest = nearest

    def __str__(self) -> str:
        place = ":".join(str(part) for part in (self.file, self.line) if part is not None)
        hint = f" (did you mean {self.nearest!r}?)" if self.nearest else ""
        parts = [part for part in (place, self.key) if part]
        return ": ".join([*parts, self.message]) + hint


class Rejected(EgressorError):
    """
    The call was refused before anything was sent.

    Args:
        message: The refusal in words: the thing, the value, the limit.
        service: Name of the service.
        key: The limit, breaker or rule that refused, as ``explain`` prints it.
        reason: A stable, lower-case word for programs: ``wait_too_long``, ``queue_full``, ``never_fits``,
            ``circuit_open``, ``shed``, ``banned``, ``budget``, ``paused``, ``store``.
        retry_after: Seconds after which the same call may succeed; None where nobody knows.
    """

    reason = "rejected"

    def __init__(
        self,
        message: str,
        *,
        service: str = "",
        key: str = "",
        reason: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.service = service
        self.key = key
        self.retry_after = retry_after
        if reason is not None:
            self.reason = reason


class WaitTooLong(Rejected):
    """
    The call's turn would come after its deadline, or after the policy's ``max_wait``.
    """

    reason = "wait_too_long"


class QueueFull(Rejected):
    """
    As many calls as the policy's ``queue_size`` wait already.
    """

    reason = "queue_full"


class NeverFits(Rejected):
    """
    The cost is above what the limit ever holds at once: no wait would be enough.
    """

    reason = "never_fits"


class CircuitOpen(Rejected):
    """
    The service's breaker is open, or half-open with all of its probes out.

    Its reason is ``shed`` where the breaker is closed, but the service accepts so few calls that only those of higher
    priorities are sent.
    """

    reason = "circuit_open"


class Banned(Rejected):
    """
    The service has banned or suspended us, and the suspension is not over.
    """

    reason = "banned"


class BudgetExceeded(Rejected):
    """
    The estimate does not fit what is left of a hard budget.
    """

    reason = "budget"


class Paused(Rejected):
    """
    An operator paused the service.
    """

    reason = "paused"


class StoreUnavailable(Rejected):
    """
    The store is away, and the policy refuses calls while it is.
    """

    reason = "store"


class PartialResponse(EgressorError):
    """
    A streamed response broke after its first byte, so the call can't be sent again.

    Args:
        message: What happened.
        received: Bytes that had arrived.
    """

    def __init__(self, message: str, *, received: int = 0) -> None:
        super().__init__(message)
        self.received = received
