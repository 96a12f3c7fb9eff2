"""
The decorators' wrappers, one for each kind of callable.

Functions, coroutine functions, and objects that are called like either go `through` or `athrough`. Generators of
both colours hold a permit from their first item to their end: what they yielded can't be taken back, so they are not
tried again.
"""

from __future__ import annotations

import builtins
from functools import partial, update_wrapper
from inspect import CO_ITERABLE_COROUTINE, isasyncgenfunction, iscoroutinefunction, isgeneratorfunction, unwrap
from types import FunctionType, MethodType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Union, get_origin

from egressor._core.admission import shown
from egressor._drivers.job import chain
from egressor.errors import ConfigError

from .calls import athrough, through
from .permit import Permit
from .route import UNSET

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator

    from .route import Route

__all__ = ["Binding", "decorate", "is_async", "refuse_async_fallback", "refuse_blocking"]


class Binding:
    """
    Where a decorated function's calls go: looked up at the first of them, and then for good.

    Args:
        find: Returns the route.
    """

    __slots__ = ("_find", "route")

    route: Route

    def __init__(self, find: Callable[[], Route]) -> None:
        self._find = find

    def __getattr__(self, name: str) -> Any:
        # Only a slot that is still empty comes here.
        if name != "route":
            raise AttributeError(name)
        self.route = self._find()
        return self.route


def decorate(binding: Binding, target: Any, *, fallback: object = UNSET) -> Any:
    """
    Return *target* with every call through the gate.

    Args:
        binding: Where the calls go.
        target: A function, coroutine function, generator or async generator function, method, ``classmethod``,
            ``staticmethod``, ``functools.partial``, or an object with ``__call__``.
        fallback: What its calls fall back on, if anything.

    Raises:
        ConfigError: *target* is a class, is not callable, is a generator with a fallback, or blocks and has a fallback
            that has to be awaited.
    """
    if isinstance(target, (classmethod, staticmethod)):
        return type(target)(decorate(binding, target.__func__, fallback=fallback))
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
    if (isasyncgenfunction(shape) or isgeneratorfunction(shape)) and fallback is not UNSET:
        msg = "a generator has no fallback: what it has yielded can't be taken back"
        raise ConfigError(msg, key="fallback")
    if isasyncgenfunction(shape):
        governed: Any = _async_generator(binding, target)
    elif isgeneratorfunction(shape):
        governed = _generator(binding, target)
    elif iscoroutinefunction(shape):
        governed = athrough(binding, target)
    else:
        refuse_async_fallback(fallback)
        governed = through(binding, target)
    return update_wrapper(governed, target)


def refuse_async_fallback(fallback: object) -> None:
    """
    Refuse a fallback that a blocking call can't await.

    Raises:
        ConfigError: *fallback* is a coroutine function, or one stands in its chain.
    """
    for each in chain(fallback):
        if callable(each) and is_async(each):
            msg = f"a call that blocks can't await its fallback {shown(each)}: hand in a plain function or a value"
            raise ConfigError(msg, key="fallback")


def is_async(function: Any) -> bool:
    """
    Whether calling *function* gives something to await.
    """
    return iscoroutinefunction(_shape(function))


def refuse_blocking(function: Any) -> None:
    """
    Refuse a function that gives nothing to await, before it is run: it would have done its work, and have failed.

    A plain function may give something to await all the same, as those of some clients do, and wrappers around
    coroutine functions; only one whose annotation says that it doesn't is known not to.

    Raises:
        ConfigError: *function* is a generator, makes objects that can't be awaited, or is annotated to return something
            that can't.
    """
    if is_async(function):
        return
    inner = function
    while isinstance(inner, partial):
        inner = inner.func
    if isinstance(inner, type):
        gives = hasattr(inner, "__await__")
    elif isgeneratorfunction(inner) or isasyncgenfunction(inner):
        gives = bool(inner.__code__.co_flags & CO_ITERABLE_COROUTINE)
    elif isinstance(inner, (FunctionType, MethodType)):
        gives = inner.__name__ == "<lambda>" or iscoroutinefunction(unwrap(inner)) or _may_await(inner)
    else:
        # Of what is built in, and of an object, nobody can tell.
        gives = True
    if not gives:
        msg = (
            f"{shown(function)} is no coroutine function: use gov.call(…), or await asyncio.to_thread(gov.call, …); "
            "if it gives something to await all the same, hand in an async def or a lambda around it"
        )
        raise ConfigError(msg, key="acall")


def _may_await(function: Any) -> bool:
    """
    Whether what *function* returns may be awaited, as far as its annotation tells.
    """
    if "return" not in function.__annotations__:
        return True
    said = function.__annotations__["return"]
    if isinstance(said, str):
        # A name that its module knows; what is written otherwise is no such plain answer.
        name = said.partition("[")[0]
        said = function.__globals__.get(name, vars(builtins).get(name, None if name == "None" else Any))
    kind = get_origin(said) or said
    if kind in (Annotated, Union, UnionType):
        return True
    return kind is not None and (not isinstance(kind, type) or kind in (Any, object) or hasattr(kind, "__await__"))


def _shape(target: Any) -> Any:
    while isinstance(target, partial):
        target = target.func
    if hasattr(target, "__code__") or hasattr(target, "__func__") or isinstance(target, type):
        return target
    return type(target).__call__


def _generator(binding: Binding, target: Callable[..., Any]) -> Callable[..., Any]:
    def governed(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        with Permit.around(binding.route, args, kwargs) as permit:
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


def _async_generator(binding: Binding, target: Callable[..., Any]) -> Callable[..., Any]:
    async def governed(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        async with Permit.around(binding.route, args, kwargs) as permit:
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
