"""
The SDKs, each on a transport of ours, with its own retries off.

What is said about a call travels beside it, in a context variable: the SDKs have no place for it. A hook of the HTTP
client puts it on the request, where our transport looks for it; below the transport each request that is sent is
counted.
"""

from __future__ import annotations

import asyncio
import os
from contextvars import ContextVar
from importlib import import_module
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from egressor.errors import ConfigError
from egressor.policies.redaction import learn
from egressor.transports.httpx import AsyncTransport, Transport
from egressor.transports.options import EXTENSION

from .vendors import vendor_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from egressor.governor import Governor
    from egressor.policies import Policy

    from .vendors import Vendor

__all__ = ["SENDING", "Clients", "Sending"]

_Key = tuple[str, str, str | None, str]


class Sending:
    """
    One call on its way.

    Attributes:
        options: What our transport is told.
        sent: Requests that were sent for it.
    """

    __slots__ = ("options", "sent")

    def __init__(self, options: Mapping[str, Any]) -> None:
        self.options = options
        self.sent = 0


SENDING: ContextVar[Sending | None] = ContextVar("egressor_llm_sending", default=None)


class Clients:
    """
    The SDKs' clients of one governor, each made at its first use.

    Blocking ones serve all threads. Awaiting ones belong to an event loop, as their connections do.
    """

    def __init__(self, gov: Governor) -> None:
        self._gov = gov
        self._lock = Lock()
        self._blocking: dict[_Key, Any] = {}
        self._awaiting: dict[asyncio.AbstractEventLoop, dict[_Key, Any]] = {}

    def blocking(self, service: str) -> Callable[..., Any]:
        """
        Return the ``create`` of *service*'s SDK.

        Raises:
            ConfigError: The SDK is not installed, or has no key.
        """
        with self._lock:
            return self._create(service, self._blocking, _blocking)

    def awaiting(self, service: str) -> Callable[..., Any]:
        """
        Return the awaiting ``create`` of *service*'s SDK, for the running event loop. As `blocking` otherwise.
        """
        with self._lock:
            loop = asyncio.get_running_loop()
            if loop not in self._awaiting:
                # Programs that run one loop after the other, and close no client, keep no more than the last one's.
                self._awaiting = {each: made for each, made in self._awaiting.items() if not each.is_closed()}
            made = self._awaiting.setdefault(loop, {})
            return self._create(service, made, _awaiting)

    def _create(self, service: str, made: dict[_Key, Any], make: Callable[..., Any]) -> Callable[..., Any]:
        policy = self._gov.gate(service).compiled.policy
        vendor = vendor_of(service, policy)
        # A reload may bring another address or key; who is under way with the old client goes on with it.
        key = (service, policy.dialect, policy.base_url, str(policy.api_key))
        if key not in made:
            made[key] = make(self._gov, service, vendor, policy)
        found = made[key]
        for name in vendor.method:
            found = getattr(found, name)
        create: Callable[..., Any] = found.create
        return create

    def close(self) -> None:
        """
        Close the blocking clients. They are made anew if they are needed again.
        """
        with self._lock:
            made, self._blocking = self._blocking, {}
        for each in made.values():
            each.close()

    async def aclose(self) -> None:
        """
        Close those of the running event loop, and the blocking ones.
        """
        with self._lock:
            made = self._awaiting.pop(asyncio.get_running_loop(), {})
        for each in made.values():
            await each.close()
        self.close()


def _blocking(gov: Governor, service: str, vendor: Vendor, policy: Policy) -> Any:
    sdk, httpx2 = _imported(vendor)
    transport = Transport(gov, service, inner=_Counted(httpx2.HTTPTransport(limits=_limits(httpx2))))
    client = httpx2.Client(transport=transport, timeout=None, event_hooks={"request": [_mark]})
    return getattr(sdk, vendor.blocking)(http_client=client, **_said(service, vendor, policy))


def _awaiting(gov: Governor, service: str, vendor: Vendor, policy: Policy) -> Any:
    sdk, httpx2 = _imported(vendor)
    transport = AsyncTransport(gov, service, inner=_AsyncCounted(httpx2.AsyncHTTPTransport(limits=_limits(httpx2))))
    client = httpx2.AsyncClient(transport=transport, timeout=None, event_hooks={"request": [_amark]})
    return getattr(sdk, vendor.awaiting)(http_client=client, **_said(service, vendor, policy))


def _imported(vendor: Vendor) -> tuple[Any, Any]:
    try:
        return import_module(vendor.package), import_module("httpx2")
    except ImportError as error:
        msg = f"the package {error.name or vendor.package} is missing: pip install 'egressor[llm]'"
        raise ConfigError(msg, key="models") from None


def _limits(httpx2: Any) -> Any:
    # How many calls go at once is the gate's to say.
    return httpx2.Limits(max_connections=None, max_keepalive_connections=100)


def _said(service: str, vendor: Vendor, policy: Policy) -> dict[str, Any]:
    # No time-out of the SDK's: the policy's holds, and waiting for a turn is no part of it.
    said: dict[str, Any] = {"max_retries": 0, "timeout": None}
    if policy.base_url is not None:
        said["base_url"] = policy.base_url
    where = f"services.{service}.api_key"
    if policy.api_key is not None:
        said["api_key"] = _key(policy.api_key.env, policy.api_key.file, where)
    elif not any(os.environ.get(name) for name in vendor.variables):
        msg = f"there is no key for {service}: set it, or the environment variable {vendor.variables[0]}"
        raise ConfigError(msg, key=where)
    return said


def _key(variable: str | None, file: str | None, where: str) -> str:
    if variable is not None:
        source, key = f"the environment variable {variable}", os.environ.get(variable, "")
    else:
        source = f"the file {file}"
        try:
            key = Path(str(file)).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            msg = f"{source} can't be read"
            raise ConfigError(msg, key=where) from None
    key = key.strip()
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        msg = f"{source} holds no key"
        raise ConfigError(msg, key=where)
    learn(key)
    return key


def _mark(request: Any) -> None:
    sending = SENDING.get()
    if sending is not None:
        request.extensions[EXTENSION] = sending.options


async def _amark(request: Any) -> None:
    _mark(request)


def _count() -> None:
    sending = SENDING.get()
    if sending is not None:
        sending.sent += 1


class _Counted:
    """
    A transport of httpx2's that counts what it sends.
    """

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def handle_request(self, request: Any) -> Any:
        """
        Send *request*.
        """
        _count()
        return self._inner.handle_request(request)

    def close(self) -> None:
        """
        Close the connections.
        """
        self._inner.close()


class _AsyncCounted:
    """
    Likewise, awaiting.
    """

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    async def handle_async_request(self, request: Any) -> Any:
        """
        Send *request*.
        """
        _count()
        return await self._inner.handle_async_request(request)

    async def aclose(self) -> None:
        """
        Close the connections.
        """
        await self._inner.aclose()
