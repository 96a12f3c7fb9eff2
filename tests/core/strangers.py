"""
Other people's exceptions and responses, made without their libraries.
"""

from __future__ import annotations

from typing import Any

__all__ = ["Locked", "Response", "carrying", "caused", "foreign"]


def foreign(name: str, *, bases: tuple[type, ...] = (Exception,), module: str = "client.errors") -> type:
    """
    Make the class of a client that isn't installed.
    """
    return type(name, bases, {"__module__": module})


def carrying(*args: object, name: str = "ApiError", **attributes: Any) -> Exception:
    """
    Make a client's exception with *attributes* of its own.
    """
    exc = foreign(name)(*args)
    exc.__dict__.update(attributes)
    assert isinstance(exc, Exception)
    return exc


def caused(outer: BaseException, inner: BaseException) -> BaseException:
    """
    Link as ``raise outer from inner`` does.
    """
    outer.__cause__ = inner
    return outer


class Response:
    """
    A client's response: whatever attributes it gets.
    """

    def __init__(self, **attributes: object) -> None:
        self.__dict__.update(attributes)


class Locked(Response):
    """
    A response that has not been read: asking for its body would read the network.
    """

    @property
    def content(self) -> bytes:
        """
        Fail, as the test must.
        """
        raise AssertionError
