"""
What a request says about its call, beside what its transport says about all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from egressor._core.admission import shown
from egressor.errors import ConfigError
from egressor.governor.route import Options

if TYPE_CHECKING:
    from decimal import Decimal

    from egressor._core.model import Priority

__all__ = ["EXTENSION", "CallOptions"]

EXTENSION = "egressor"
"""
The request's extension that holds its options.
"""

_KEYS = ("cost", "deadline", "endpoint", "priority", "scope")


class CallOptions:
    """
    What all requests of one transport say, unless they say otherwise.

    Args:
        priority: `Priority` or its lower-case name. Default: the policy's.
        scope: Who and what for; or a function of the request that returns it.
        cost: Amounts by unit, to which one request is added; or a function of the request.
        deadline: Seconds in which a call must have its response, its waits and retries included. Default: none.
        endpoint: A name for what is called; rules match on it.

    Attributes:
        plain: The options of a request that says nothing; None if they depend on the request.

    Raises:
        ConfigError: A value is not valid.
    """

    __slots__ = ("_said", "plain")

    def __init__(
        self,
        *,
        priority: Priority | str | None = None,
        scope: Mapping[str, str] | Callable[[Any], Mapping[str, str]] | None = None,
        cost: Mapping[str, float | Decimal] | Callable[[Any], Mapping[str, float | Decimal]] | None = None,
        deadline: float | None = None,
        endpoint: str | None = None,
    ) -> None:
        self._said: dict[str, Any] = {
            "priority": priority,
            "scope": scope,
            "cost": cost,
            "deadline": deadline,
            "endpoint": endpoint,
        }
        options = Options(**self._said)
        self.plain: Options | None = None if callable(scope) or callable(cost) else options

    def of(self, request: Any, own: object = None) -> Options:
        """
        Return the options of *request*: its *own* ones above the transport's; scopes and costs are joined, key by key.

        Raises:
            ConfigError: *own* holds an unknown key, or a value that is not valid.
        """
        own = _checked({} if own is None else own)
        said = {**self._said, **own}
        for key in ("scope", "cost"):
            said[key] = _joined(key, self._said[key], own.get(key), request)
        return Options(**said)


def _joined(key: str, base: Any, own: Any, request: Any) -> Any:
    found = [value for value in (base(request) if callable(base) else base, own) if value is not None]
    for value in found:
        if not isinstance(value, Mapping):
            msg = f"a {key} must be a mapping, not {shown(value)}"
            raise ConfigError(msg, key=key)
    return {name: value for each in found for name, value in each.items()} if found else None


def _checked(own: object) -> dict[str, Any]:
    if not isinstance(own, Mapping):
        msg = f"expected a mapping of {', '.join(_KEYS)}, not {shown(own)}"
        raise ConfigError(msg, key=f"extensions.{EXTENSION}")
    for key in own:
        if key not in _KEYS:
            from difflib import get_close_matches

            nearest = next(iter(get_close_matches(str(key)[:40].lower(), _KEYS, n=1)), None)
            msg = f"unknown key {shown(key)}: {', '.join(_KEYS)}"
            raise ConfigError(msg, key=f"extensions.{EXTENSION}", nearest=nearest)
    return {key: value for key, value in own.items() if value is not None}
