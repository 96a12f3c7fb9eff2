"""
The module level: one governor for programs that need no more.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeVar

from egressor.policies import Config

from .decorate import Binding, decorate
from .governor import Governor
from .route import UNSET, Costs, Options, Route, Scope, tell_unstated

if TYPE_CHECKING:
    from egressor._core.model import Priority, ServiceType

    from .permit import Permit


__all__ = ["acquire", "configure", "default", "handle_with_retry", "handled", "throttled"]

_LOCK = Lock()
_DEFAULT: list[Governor] = []
# What is decorated keeps its type, and a call has its function's.
_Target = TypeVar("_Target")
_Value = TypeVar("_Value")


def configure(source: str | Path | Config | Mapping[str, Any] | None = None, **settings: Any) -> Governor:
    """
    Make the default governor of this process, and return it.

    Calls that were decorated before go through it too, if it is configured before their first call.

    Args:
        source: A file, a `Config`, or tables by service. None: the file that ``EGRESSOR_CONFIG`` names, or presets.
        **settings: Further arguments of `Governor`.

    Raises:
        ConfigError: The configuration is wrong; a default governor that was there stays.
    """
    source = source if source is not None else os.environ.get("EGRESSOR_CONFIG")
    if isinstance(source, (str, Path)):
        governor = Governor.from_file(source, **settings)
    elif isinstance(source, Config):
        governor = Governor(config=source, **settings)
    else:
        governor = Governor(source, **settings)
    with _LOCK:
        _DEFAULT[:] = [governor]
    return governor


def default() -> Governor:
    """
    Return the default governor, made by `configure` or else at the first use.
    """
    if _DEFAULT:
        return _DEFAULT[0]
    source = os.environ.get("EGRESSOR_CONFIG")
    governor = Governor() if source is None else Governor.from_file(source)
    with _LOCK:
        if not _DEFAULT:
            _DEFAULT.append(governor)
        return _DEFAULT[0]


def throttled(
    service: str | ServiceType,
    *,
    endpoint: str | None = None,
    priority: Priority | str | None = None,
    scope: Scope | None = None,
    cost: Costs | None = None,
    deadline: float | None = None,
    fallback: object = UNSET,
    idempotent: bool = True,
) -> Callable[[_Target], _Target]:
    """
    As `Governor.throttled`, of the governor that is the default one at the function's first call.
    """
    options = Options(
        endpoint=endpoint,
        priority=priority,
        scope=scope,
        cost=cost,
        deadline=deadline,
        fallback=fallback,
        idempotent=idempotent,
    )
    return _decorator(service, options)


def handled(
    service: str | ServiceType, *, endpoint: str | None = None, fallback: object = UNSET, idempotent: bool = True
) -> Callable[[_Target], _Target]:
    """
    As `Governor.handled`, of the governor that is the default one at the function's first call.
    """
    return _decorator(service, Options(endpoint=endpoint, fallback=fallback, idempotent=idempotent, limited=False))


def handle_with_retry(function: Callable[[], _Value], component: str | ServiceType) -> _Value:
    """
    Call *function* with *component*'s retries and breaker, without limits; a coroutine function gives an awaitable.
    """
    return handled(component)(function)()


def acquire(service: str | ServiceType, priority: Priority | str | None = None, **options: Any) -> Permit:
    """
    Return a permit of the default governor for one attempt.

    Outside of an event loop it blocks until the permit is held; give it back by `Permit.release`, or use it with
    ``with``. Inside one nothing may block: take it by ``await`` or ``async with``.
    """
    permit = default().permit(service, priority=priority, **options)
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return permit.acquire()
    return permit


def _decorator(service: str | ServiceType, options: Options) -> Callable[[_Target], _Target]:
    def find() -> Route:
        return tell_unstated(default().route(service, options))

    if _DEFAULT:
        find()  # Decorators run while modules are imported, often before `configure`: a mistake is shown if it can be.

    def decorator(target: _Target) -> _Target:
        decorated: _Target = decorate(Binding(find), target, fallback=options.fallback)
        return decorated

    return decorator
