"""
The decorators' wrappers, one for each kind of callable.

Functions, coroutine functions, and objects that are called like either go through `call` or `acall`. Generators of
both colours hold a permit from their first item to their end: what they yielded can't be taken back, so they are not
tried again.
"""

from __future__ import annotations

from functools import partial, update_wrapper
from inspect import isasyncgenfunction, iscoroutinefunction, isgeneratorfunction
from typing import TYPE_CHECKING, Any

from egressor._core.admission import shown
from egressor.errors import ConfigError

from .calls import acall, call
from .permit import Permit

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator

    from .calls import Context
    from .route import Route

__all__ = ["decorate", "is_async"]


def decorate(context: Context, route: Callable[[], Route], target: Any) -> Any:
    """
    Return *target* with every call through the gate.

    Args:
        context: What the governor's calls share.
        route: Returns where the calls go.
        target: A function, coroutine function, generator or async generator function, method, ``classmethod``,
            ``staticmethod``, ``functools.partial``, or an object with ``__call__``.

    Raises:
        ConfigError: *target* is a class, or is not callable.
    """
    if isinstance(target, (classmethod, staticmethod)):
        return type(target)(decorate(context, route, target.__func__))
    if isinstance(target, type):
        msg = f"a class can't be throttled: decorate a function that makes {target.__name__}"
        raise ConfigError(msg, key="throttled")
    if isinstance(target, property):
        msg = "a property can't be throttled: decorate the function, then make it a property"
        raise ConfigError(msg, key="throttled")
    if not callable(target):
        msg = f"only what can be called can be throttled, not {shown(target)}"
        raise ConfigError(msg, key="throttled")
    shape = _shape(target)
    if isasyncgenfunction(shape):
        governed: Any = _async_generator(context, route, target)
    elif isgeneratorfunction(shape):
        governed = _generator(context, route, target)
    elif iscoroutinefunction(shape):
        governed = _coroutine(context, route, target)
    else:
        governed = _function(context, route, target)
    return update_wrapper(governed, target)


def is_async(function: Any) -> bool:
    """
    Whether calling *function* gives something to await.
    """
    return iscoroutinefunction(_shape(function))


def _shape(target: Any) -> Any:
    while isinstance(target, partial):
        target = target.func
    if hasattr(target, "__code__") or hasattr(target, "__func__") or isinstance(target, type):
        return target
    return type(target).__call__


def _function(context: Context, route: Callable[[], Route], target: Callable[..., Any]) -> Callable[..., Any]:
    where = route()

    def governed(*args: Any, **kwargs: Any) -> Any:
        return call(context, where, target, args, kwargs)

    return governed


def _coroutine(context: Context, route: Callable[[], Route], target: Callable[..., Any]) -> Callable[..., Any]:
    where = route()

    async def governed(*args: Any, **kwargs: Any) -> Any:
        return await acall(context, where, target, args, kwargs)

    return governed


def _generator(context: Context, route: Callable[[], Route], target: Callable[..., Any]) -> Callable[..., Any]:
    where = route()

    def governed(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        with Permit(context, where, args, kwargs, nests=False) as permit:
            inner = target(*args, **kwargs)
            advance, value = inner.send, None
            while True:
                # The call is the innermost one only while its own code runs, not while its consumer's does.
                with permit.inside():
                    try:
                        item = advance(value)
                    except StopIteration as stop:
                        return stop.value
                try:
                    advance, value = inner.send, (yield item)
                except GeneratorExit:
                    with permit.inside():
                        inner.close()
                    raise
                except BaseException as error:  # noqa: BLE001 - thrown on into the generator it was meant for
                    advance, value = inner.throw, error

    return governed


def _async_generator(context: Context, route: Callable[[], Route], target: Callable[..., Any]) -> Callable[..., Any]:
    where = route()

    async def governed(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        async with Permit(context, where, args, kwargs, nests=False) as permit:
            inner = target(*args, **kwargs)
            advance, value = inner.asend, None
            while True:
                with permit.inside():
                    try:
                        item = await advance(value)
                    except StopAsyncIteration:
                        return
                try:
                    advance, value = inner.asend, (yield item)
                except GeneratorExit:
                    with permit.inside():
                        await inner.aclose()
                    raise
                except BaseException as error:  # noqa: BLE001 - thrown on into the generator it was meant for
                    advance, value = inner.athrow, error

    return governed
