"""
The governor.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Self, TypeVar

from egressor._core.admission import Denied, Why, shown
from egressor._core.breaker import BreakerState
from egressor._core.model import ErrorCategory, Priority, ServiceType
from egressor._drivers.clock import Clock
from egressor.errors import ConfigError
from egressor.ledger import LedgerAway, Pick
from egressor.ledger.entry import as_dict
from egressor.ledger.failures import Failures
from egressor.ledger.grouping import ERROR
from egressor.ledger.history import here
from egressor.ledger.opening import open_history, open_till
from egressor.policies import Config, Policy, from_services, load
from egressor.policies.reading import GLOBAL
from egressor.policies.redaction import learn_environment
from egressor.stores.compiled import Compiled
from egressor.stores.courier import Courier
from egressor.stores.gate import Gate
from egressor.stores.opening import open_store
from egressor.stores.shared import SharedGate, shared
from egressor.telemetry import Event, Taps

from . import bans
from .asked import check_count, check_kind, check_since
from .calls import Context, Here, athrough, through
from .decorate import Binding, decorate, is_async, refuse_async_fallback, refuse_blocking
from .explain import explain
from .handlers import Failure, to_category
from .incidents import Incidents
from .money import Money
from .permit import Permit
from .route import UNSET, Costs, Options, Route, Scope, tell_unstated

if TYPE_CHECKING:
    from decimal import Decimal
    from types import TracebackType

    from egressor._core.ban import BanNews
    from egressor._core.model import Outcome, Verdict
    from egressor.ledger.till import MemoryTill, Till

__all__ = ["Governor"]

_PRESETS = tuple(kind.value for kind in ServiceType)
_ROUTES = 4096
_Handler = TypeVar("_Handler", bound=Callable[[Failure], object])
# What is decorated keeps its type, and a call has its function's.
_Target = TypeVar("_Target")
_Value = TypeVar("_Value")


class Governor(Incidents):
    """
    One policy for all calls that a program makes.

    It may be used from any number of threads and event loops at once.

    Args:
        services: Tables of the same shape as the file's, or `Policy` objects, by the service's name. None: each
            `ServiceType` is a service with its preset.
        config: A whole `Config` instead of *services*.
        clock: The time; tests hand in `egressor.testing.FakeClock`.
        dice: Draws from 0 up to, not including, 1; for jitter.
        **settings: The ``[egressor]`` settings: *store*, *ledger*, *history_for*, *history_most*, *money_sync*,
            *on_store_loss*, *unknown_hosts*.

    Raises:
        ConfigError: A setting is wrong; the message says which, and names the nearest valid one.

    Attributes:
        ledger: The way into the ledger.
    """

    def __init__(
        self,
        services: Mapping[str, Mapping[str, Any] | Policy] | None = None,
        *,
        config: Config | None = None,
        clock: Clock | None = None,
        dice: Callable[[], float] | None = None,
        **settings: Any,
    ) -> None:
        if config is None:
            config = from_services(_presets() if services is None else services, **settings)
        elif services is not None or settings:
            msg = "a governor takes services and settings, or a config, not both"
            raise ConfigError(msg, key="config")
        self.config = config
        self.clock = clock or Clock()
        self.taps = Taps()
        self._file: Path | None = None
        self._lock = Lock()
        self._gates: dict[str, Gate] = {}
        # Services that a reload took away.
        self._removed: dict[str, Gate] = {}
        self._routes: dict[tuple[object, ...], Route] = {}
        self._plain: dict[str | None, dict[str, Route]] = {}
        self._is_closed = False
        store = open_store(config.store)
        if store is not None and type(self.clock) is not Clock:
            msg = 'a store of several processes goes by the real time: a clock of one\'s own needs "memory:"'
            raise ConfigError(msg, key="egressor.store")
        self._courier = None if store is None else Courier(store)
        self.ledger = open_history(config.ledger, wall=self.clock.wall, **_retention(config))
        # How bans stood when this began; the gates know since.
        self._bans = bans.newest(self.ledger)
        self._failures = Failures(self.ledger)
        self._context = Context(
            clock=self.clock,
            dice=dice or random.random,
            taps=self.taps,
            failures=self._failures,
            store=config.store,
        )
        # Tills of ledgers that reloads took away: calls that are under way hold what those gave.
        self._tills: list[Till | MemoryTill] = []
        self._open_till(config)
        learn_environment()
        for name, policy in config.services.items():
            self._gates[name] = self._gate_of(name, policy)

    @classmethod
    def from_file(cls, path: str | Path, **options: Any) -> Self:
        """
        Return a governor with the policies of the file at *path*.

        Raises:
            ConfigError: The file can't be read or holds a mistake: with file, line, key and nearest valid name.
        """
        governor = cls(config=load(path), **options)
        governor._file = Path(path)
        return governor

    # --- calls -------------------------------------------------------------------------------------------------------

    def throttled(
        self,
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
        Decorate a function so that each of its calls passes the gate.

        Args:
            service: The service's name, or a `ServiceType` for its preset.
            endpoint: A name for what is called; rules match on it.
            priority: `Priority` or its lower-case name. Default: the policy's.
            scope: Who and what for, ``{"user": "u1"}``; or a function of the call's arguments that returns it.
            cost: Amounts by unit, ``{"tokens": 800}``; or a function of the call's arguments. One request is added.
                ``usd`` is what all of a call may cost; calls inside that state theirs are held for besides, and what
                they were charged is taken off.
            deadline: Seconds in which all of a call must be over, its waits and retries too. Default: none.
            fallback: A value, or a function of no arguments, for a call that is refused or fails. A list or tuple in
                which a function stands is a chain: they are tried in order, the next one where a function raises.
                Default: the service's (`set_fallback`).
            idempotent: Whether a call that may have been executed may be made again. Default: true, as whoever
                decorates a function with a retrying policy wants it repeated.

        Raises:
            ConfigError: An argument is not valid, or what is decorated can't be throttled.
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
        return self._decorator(service, options)

    def handled(
        self,
        service: str | ServiceType,
        *,
        endpoint: str | None = None,
        fallback: object = UNSET,
        idempotent: bool = True,
    ) -> Callable[[_Target], _Target]:
        """
        Decorate a function with everything but limits: classification, retries, the breaker, counts.

        Args:
            service: The service's name, or a `ServiceType` for its preset.
            endpoint: A name for what is called.
            fallback: As for `throttled`.
            idempotent: Whether a call that may have been executed may be made again. Default: true.
        """
        return self._decorator(
            service, Options(endpoint=endpoint, fallback=fallback, idempotent=idempotent, limited=False)
        )

    def call(
        self,
        service: str | ServiceType,
        function: Callable[..., _Value],
        *args: Any,
        endpoint: str | None = None,
        priority: Priority | str | None = None,
        scope: Mapping[str, str] | None = None,
        cost: Mapping[str, float | Decimal] | None = None,
        deadline: float | None = None,
        fallback: object = UNSET,
        idempotent: bool = True,
        **kwargs: Any,
    ) -> _Value:
        """
        Call *function* with the other arguments through the gate, blocking. The options are those of `throttled`.

        Returns:
            What *function* returned, or the fallback.

        Raises:
            Rejected: The call was not sent.
            Exception: Whatever *function* raised last, as it was raised.
        """
        if is_async(function):
            msg = f"{shown(function)} is a coroutine function: use await gov.acall(…)"
            raise ConfigError(msg, key="call")
        refuse_async_fallback(fallback)
        route = self._route(
            service,
            Options(
                endpoint=endpoint,
                priority=priority,
                scope=scope,
                cost=cost,
                deadline=deadline,
                fallback=fallback,
                idempotent=idempotent,
            ),
        )
        value: _Value = through(Here(route), function)(*args, **kwargs)
        return value

    async def acall(
        self,
        service: str | ServiceType,
        function: Callable[..., Awaitable[_Value]],
        *args: Any,
        endpoint: str | None = None,
        priority: Priority | str | None = None,
        scope: Mapping[str, str] | None = None,
        cost: Mapping[str, float | Decimal] | None = None,
        deadline: float | None = None,
        fallback: object = UNSET,
        idempotent: bool = True,
        **kwargs: Any,
    ) -> _Value:
        """
        Call *function* with the other arguments through the gate, awaiting. As `call` otherwise.

        Raises:
            ConfigError: *function* gives nothing to await, by its kind or its annotation; it was not run.
        """
        refuse_blocking(function)
        route = self._route(
            service,
            Options(
                endpoint=endpoint,
                priority=priority,
                scope=scope,
                cost=cost,
                deadline=deadline,
                fallback=fallback,
                idempotent=idempotent,
            ),
        )
        value: _Value = await athrough(Here(route), function)(*args, **kwargs)
        return value

    def permit(
        self,
        service: str | ServiceType,
        *,
        endpoint: str | None = None,
        priority: Priority | str | None = None,
        scope: Mapping[str, str] | None = None,
        cost: Mapping[str, float | Decimal] | None = None,
        deadline: float | None = None,
    ) -> Permit:
        """
        Return leave for one attempt, to be taken by ``with`` or ``async with``. The options are those of `throttled`.
        """
        is_plain = endpoint is None and scope is None and cost is None and deadline is None
        if is_plain and type(service) is str and (priority is None or type(priority) is str):
            # The plainest permits are found by service and priority alone.
            routes = self._plain.get(priority)
            route = None if routes is None else routes.get(service)
            if route is None:
                route = self._route(service, Options(priority=priority))
                self._plain.setdefault(priority, {})[service] = route
            return Permit(route)
        options = Options(endpoint=endpoint, priority=priority, scope=scope, cost=cost, deadline=deadline)
        return Permit(self._route(service, options))

    def route(self, service: str | ServiceType, options: Options) -> Route:
        """
        Return where calls to *service* with *options* go.

        Raises:
            ConfigError: There is no such service, or an option is not valid.
        """
        gate = self.gate(service)
        if options.endpoint is not None:
            _check_endpoint(str(service), gate.compiled.policy, options.endpoint)
        return Route(str(service), gate, options, self._context)

    def gate(self, service: str | ServiceType) -> Gate:
        """
        Return the gate of *service*; that of a service type's preset is made at its first use.

        Raises:
            ConfigError: There is no such service.
        """
        gate = self._gates.get(service) if isinstance(service, str) else None
        if gate is not None and not self._is_closed:
            return gate
        if self._is_closed:
            msg = "the governor is closed"
            raise ConfigError(msg, key="service")
        return self._new_gate(service)

    # --- looking, and stepping in ------------------------------------------------------------------------------------

    def status(self) -> dict[str, dict[str, Any]]:
        """
        Return the state of every service, by its name, as plain values made at this moment.

        Each has ``state`` (``closed``, ``open``, ``half_open``, ``forced_open``, ``disabled``, ``paused`` or
        ``banned``), ``breaker``, ``limits`` (with what is ``left``), ``waiting`` (how many, by priority),
        ``in_flight``, ``admitted``, ``succeeded``, ``failed`` (with ``categories``), ``denied`` (by reason),
        ``retried``, ``ban``, ``retry_after_s``, ``slowed_s``, ``learned`` (what servers say of their limits),
        ``learned_dropped``, ``latency_s``, and ``cache``: this process's ``hits``, ``misses`` and ``stale`` answers,
        and the ``entries`` and ``bytes`` in its memory; None where there is none, or it was not used yet.
        """
        names = [each.name.lower() for each in Priority]
        result: dict[str, dict[str, Any]] = {}
        for name, gate in sorted(self._gates.items()):
            if isinstance(gate, SharedGate):
                gate.refresh()
            state: dict[str, Any] = gate.snapshot()
            state["waiting"] = dict(zip(names, state["waiting"], strict=True))
            state["waits"] = {
                level: {"count": count, "mean_s": total / count / 1e6 if count else 0.0, "max_s": longest / 1e6}
                for level, (count, total, longest) in zip(names, state["waits"], strict=True)
            }
            state["cache"] = self._context.caches.counts(name)
            state["type"] = None if gate.compiled.policy.type is None else gate.compiled.policy.type.value
            result[name] = state
        return result

    def fleet(self) -> dict[str, Any] | None:
        """
        Return what all processes on this governor's store do together; None where each counts by itself.

        The store is asked, which may take a quarter of a second: ``away`` is why it can't be, else empty, and
        ``services`` has for each service its ``state``, ``limits`` with what is left, ``waiting`` by priority,
        ``in_flight``, ``admitted`` and ``failed`` of all processes, and ``members``, how many have asked lately.
        """
        if self._courier is None:
            return None
        from egressor.stores.overview import summary

        return summary(self.config, self._courier.store)

    def explain(self, service: str | ServiceType) -> str:
        """
        Return, in words, the order of the steps that a call to *service* goes through.
        """
        gate = self.gate(service)
        return explain(str(service), gate.compiled)

    def pause(self, service: str | ServiceType, reason: str = "", *, by: str = "") -> None:
        """
        Refuse every call to *service* with `Paused` until `resume`; calls that wait are refused, too.

        Like whatever an operator does it is written to the ledger, as done *by* somebody. Default: this user, at this
        host, in this process.
        """
        self.gate(service).pause(reason or "an operator paused it")
        self._note("pause", service, by, reason=reason)

    def resume(self, service: str | ServiceType, *, by: str = "") -> None:
        """
        End a pause; nothing happens if there is none.
        """
        self.gate(service).resume()
        self._note("resume", service, by)

    def reset_breaker(self, service: str | ServiceType, *, by: str = "") -> None:
        """
        Close the breaker of *service* and forget what it has counted.
        """
        self.gate(service).set_breaker(BreakerState.CLOSED)
        self._note("reset-breaker", service, by)

    def force_open(self, service: str | ServiceType, *, by: str = "") -> None:
        """
        Open the breaker of *service* until `reset_breaker`.
        """
        self.gate(service).set_breaker(BreakerState.FORCED_OPEN)
        self._note("force-open", service, by)

    def set_fallback(self, service: str | ServiceType, fallback: object = UNSET) -> None:
        """
        Let calls of functions to *service* that state no fallback of their own fall back on *fallback*.

        Generators, permits and transports have none: nothing stands in for a part of an answer, or for a response.

        Args:
            service: The service.
            fallback: As for `throttled`; its functions don't await, as calls that block take it too. Default: none.

        Raises:
            ConfigError: There is no such service, or a function of *fallback* is a coroutine function.
        """
        self.gate(service)
        refuse_async_fallback(fallback)
        if fallback is UNSET:
            self._context.fallbacks.pop(str(service), None)
        else:
            self._context.fallbacks[str(service)] = fallback

    def on_error(
        self, service: str | ServiceType | None = None, *, category: ErrorCategory | str | None = None
    ) -> Callable[[_Handler], _Handler]:
        """
        Decorate a function, or a coroutine function, that is told of each attempt that failed.

        It is called with a `Failure`, on a thread of its own, after the attempt and beside the call: it can't change,
        break or delay one. What it returns counts for nothing, and what it raises is counted, see `error_handlers`.
        Its queue holds 1,000 failures, those beyond the first hundred without tracebacks; more are dropped and counted.
        Failures of calls that it makes itself are told to no handler. A refusal is no failure: nothing was sent.

        Args:
            service: Of this service only. Default: of all.
            category: Of this category only. Default: of all but ``cancelled``, which is nobody's failure.

        Raises:
            ConfigError: There is no such service or category, or there are 64 handlers already.
        """
        if callable(service):
            msg = f"on_error takes a service, or nothing, not {shown(service)}: write @gov.on_error()"
            raise ConfigError(msg, key="on_error")
        if service is not None:
            self.gate(service)
        name, wanted = None if service is None else str(service), to_category(category)

        def register(handler: _Handler) -> _Handler:
            self._context.handlers.add(handler, service=name, category=wanted)
            return handler

        return register

    def error_handlers(self) -> list[dict[str, Any]]:
        """
        Return how each error handler fares, in the order of `on_error`, as plain values.

        Each has its ``name``, ``service`` and ``category``; how many failures it has ``handled``, on how many of them
        it ``failed``, how many took it more than a second (``slow``), how many are ``waiting`` and how many were
        ``dropped``; ``longest_s``, and since how many seconds it has been at work on one (``busy_s``).
        """
        return self._context.handlers.snapshot()

    def lift_ban(self, service: str | ServiceType, *, by: str = "") -> None:
        """
        End a suspension, or a Retry-After, of *service* now.
        """
        # A ban that this process has not heard of yet is open in the ledger, and would be back after a restart.
        news = self.gate(service).lift_ban() or bans.open_one(self.ledger, str(service))
        self._note("lift-ban", service, by)
        if news is not None:
            bans.note(self.ledger, str(service), news, 0.0, who=by or here())

    def history(
        self, service: str | ServiceType = "", *, kind: str = "", since: float = 0.0, limit: int = 100
    ) -> list[dict[str, Any]]:
        """
        Return what the ledger holds, the newest first, as plain values: see `egressor.ledger`.

        Failed attempts are many, and `errors` adds them up: they are here only where *kind* asks for them.

        Args:
            service: Of this service only. Default: of all, and what concerns none.
            kind: ``operator``, ``breaker``, ``ban``, ``error`` or ``budget`` only. Default: all but ``error``.
            since: From this time on, in seconds since 1970.
            limit: So many at most.

        Raises:
            ConfigError: Neither the configuration nor the ledger knows *service*, there is no such *kind*, *since* is
                no time from 1970 to 9999, or *limit* no whole number of 0 or more.
        """
        begin, most = check_since(since), check_count(limit, "limit")
        self._failures.gather()
        name, kind = self._known(service), check_kind(kind, self.ledger)
        found = self.ledger.read(Pick(name, kind, since=begin, limit=most, without="" if kind else ERROR))
        return [as_dict(entry) for entry in found]

    def tap(self, observer: Callable[[Event], object]) -> None:
        """
        Call *observer* with each step of each call, on a thread of its own; it can't change, break or delay a call.
        """
        self.taps.add(observer)

    def reload(self, source: str | Path | Config | Mapping[str, Any] | None = None, *, by: str = "") -> None:
        """
        Take another policy, all or nothing: what is in flight or waits goes on, and cells keep what they counted.

        Args:
            source: A file, a `Config`, or tables by service, with which the other settings stay; None reads the
                governor's own file again.
            by: Who wants it, for the ledger. Default: this user, at this host, in this process.

        Raises:
            ConfigError: The new policy is wrong; the old one stays.
        """
        source = self._file if source is None else source
        if source is None:
            msg = "this governor has no file to read again"
            raise ConfigError(msg, key="reload")
        if isinstance(source, (str, Path)):
            config = load(source)
        elif isinstance(source, Config):
            config = source
        else:
            kept = {name: getattr(self.config, name) for name in GLOBAL}
            config = replace(from_services(source, **kept), prices=self.config.prices)
        if self.config.services and not config.services:
            msg = "there are no services any more: every call would be refused; if that is meant, close the governor"
            raise ConfigError(msg, key="services")
        if config.store != self.config.store:
            msg = "the store can't be changed by a reload: calls that are under way hold what the old one gave"
            raise ConfigError(msg, key="egressor.store")
        compiled = {name: self._compile(name, policy) for name, policy in config.services.items()}
        before, old = self.config, self.ledger
        self._change_ledger(config)
        with self._lock:
            for name, each in compiled.items():
                if name in self._removed:
                    self._gates[name] = self._removed.pop(name)
                    self._gates[name].bar(None)
                if name in self._gates:
                    self._gates[name].replace(each)
                else:
                    self._gates[name] = self._gate(each)
            for name in set(self._gates) - set(compiled):
                self._retire(name)
            self._set_loss(config.on_store_loss)
            self.config = config
            self._routes.clear()
            self._plain.clear()
        if self.ledger is not old:
            self._failures.gather()
            self._failures.history = self.ledger
            old.close()
        added, removed = set(config.services) - set(before.services), set(before.services) - set(config.services)
        self._note("reload", "", by, services=len(config.services), added=sorted(added), removed=sorted(removed))

    def close(self) -> None:
        """
        Refuse every further call; those that wait are refused now. What the ledger has not got yet is written first,
        for 2 s at most.
        """
        self._shut()
        try:
            self._let_go()
        finally:
            try:
                self._close_tills()
                self._failures.close()
            finally:
                self.ledger.close()

    async def aclose(self) -> None:
        """
        As `close`, without blocking the loop.
        """
        self._shut()
        try:
            if self._courier is not None:
                await asyncio.to_thread(self._let_go)
        finally:
            try:
                await asyncio.to_thread(self._close_tills)
                await asyncio.to_thread(self._failures.close)
            finally:
                if self.ledger.is_durable:
                    await asyncio.to_thread(self.ledger.close)
                self.ledger.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    # --- inside ------------------------------------------------------------------------------------------------------

    @property
    def context(self) -> Context:
        """
        What all calls of this governor share, for transports.
        """
        return self._context

    def _route(self, service: str | ServiceType, options: Options) -> Route:
        """
        Return the route of a call; one that says no more than endpoint and priority is made once.
        """
        plain = options.scope is None and options.cost is None and options.deadline is None
        if not plain or options.fallback is not UNSET:
            return tell_unstated(self.route(service, options))
        key = (service, options.endpoint, options.priority, options.idempotent)
        try:
            route = self._routes.get(key)
        except TypeError:
            return self.route(service, options)  # Not even hashable: it says what is wrong with it.
        if route is None:
            route = tell_unstated(self.route(service, options))
            if len(self._routes) < _ROUTES:
                self._routes[key] = route
        return route

    def _decorator(self, service: str | ServiceType, options: Options) -> Callable[[_Target], _Target]:
        route = self.route(service, options)

        def first() -> Route:
            return tell_unstated(route)

        def decorator(target: _Target) -> _Target:
            binding = Binding(first)
            decorated: _Target = decorate(binding, target, fallback=options.fallback)
            return decorated

        return decorator

    def _verdict(self, outcome: Outcome, gate: Gate) -> Verdict:
        return self._context.judge(outcome, gate)

    def _set_loss(self, on_loss: str) -> None:
        for gate in self._gates.values():
            if isinstance(gate, SharedGate):
                gate.on_loss = on_loss

    def _change_ledger(self, config: Config) -> None:
        is_other = config.ledger != self.config.ledger
        if is_other:
            self.ledger = open_history(config.ledger, wall=self.clock.wall, **_retention(config))
        else:
            self.ledger.retain(**_retention(config))
        self._open_till(config, None if is_other else self._context.money)

    def _open_till(self, config: Config, money: Money | None = None) -> None:
        """
        Have calls pay by *config*: into *money*, or a till of its own where there is none and somebody has a budget.

        Calls are under way meanwhile, and pay into what there was until all is ready.
        """
        if money is None and config.has_budgets:
            till = open_till(config.ledger, wall=self.clock.wall, keep_for=round(config.history_for * 1e6))
            self._tills.append(till)
            # Tables are made now, and not while a call waits for them.
            with suppress(LedgerAway):
                till.read(lambda _: None)
            money = Money(till, history=self.ledger, wall=self.clock.wall)
        if money is not None:
            money.prices = config.prices
            money.till.is_strict = config.money_sync == "full"
            money.load(config)
        self._context.money = money or self._context.money

    def _close_tills(self) -> None:
        for till in self._tills:
            till.close()

    def _let_go(self) -> None:
        self._context.caches.close()
        if self._courier is not None:
            self._courier.close()

    def _shut(self) -> None:
        self._is_closed = True
        self._context.handlers.close()
        for gate in self._gates.values():
            gate.bar(Denied(Why.PAUSED, "governor", None, "the governor is closed"))

    def _note(self, action: str, service: str | ServiceType, by: str, **data: object) -> None:
        given = {name: value for name, value in data.items() if value}
        self.ledger.note("operator", action, service=str(service), who=by or here(), data=given)

    def _breaker_changed(self, service: str, state: BreakerState) -> None:
        # Under the gate's lock: a note waits for nothing.
        self.ledger.note("breaker", state.value, service=service)

    def _ban_changed(self, service: str, news: BanNews, seconds: float) -> None:
        bans.note(self.ledger, service, news, seconds)

    def _retire(self, name: str) -> None:
        # Decorated functions hold their gate: a preset's goes back to the preset, any other waits for its return.
        if name in _PRESETS:
            self._gates[name].replace(self._compile(name, Policy(type=ServiceType(name))))
            return
        gate = self._gates.pop(name)
        self._removed[name] = gate
        gate.bar(Denied(Why.PAUSED, "governor", None, "the service was removed from the configuration"))

    def _gate_of(self, name: str, policy: Policy) -> Gate:
        return self._gate(self._compile(name, policy))

    def _compile(self, name: str, policy: Policy) -> Compiled:
        return Compiled(name, policy) if self._courier is None else shared(name, policy)

    def _gate(self, compiled: Compiled) -> Gate:
        clock, dice, courier = self.clock, self._context.dice, self._courier
        if courier is None:
            gate = Gate(compiled, clock=clock, dice=dice, keeper=clock.threads)
        else:
            on_loss = self.config.on_store_loss
            gate = SharedGate(compiled, clock=clock, dice=dice, keeper=clock.threads, link=courier, on_loss=on_loss)
            courier.serve(gate)
        gate.on_change = partial(self._breaker_changed, compiled.name)
        gate.on_ban = partial(self._ban_changed, compiled.name)
        if compiled.name in self._bans:
            gate.restore_ban(*self._bans[compiled.name])
        return gate

    def _new_gate(self, service: object) -> Gate:
        name = service.value if isinstance(service, ServiceType) else service
        with self._lock:
            if isinstance(name, str) and name in self._gates:
                return self._gates[name]
            if isinstance(name, str) and name in _PRESETS:
                gate = self._gates[name] = self._gate_of(name, Policy(type=ServiceType(name)))
                return gate
        nearest = _nearest(name, [*self._gates, *_PRESETS])
        msg = f"unknown service {shown(name)}: {', '.join(sorted(self._gates)) or 'none is configured'}"
        raise ConfigError(msg, key="service", nearest=nearest)


def _presets() -> dict[str, Mapping[str, Any]]:
    return {name: {"type": name} for name in _PRESETS}


def _nearest(name: object, names: list[str]) -> str | None:
    from difflib import get_close_matches

    return next(iter(get_close_matches(str(name)[:80], names, n=1)), None) if isinstance(name, str) else None


def _retention(config: Config) -> dict[str, Any]:
    return {"keep_for": round(config.history_for * 1e6), "keep_most": config.history_most}


def _check_endpoint(service: str, policy: Policy, endpoint: object) -> None:
    if not isinstance(endpoint, str) or not endpoint or len(endpoint) > 200 or not endpoint.isprintable():
        msg = f"an endpoint is a text of 1 to 200 printable characters, not {shown(endpoint)}"
        raise ConfigError(msg, key="endpoint")
    known = policy.endpoints
    if known and endpoint not in known and (nearest := _nearest(endpoint, sorted(known))) is not None:
        msg = f"{service} has no endpoint {shown(endpoint)}: {', '.join(sorted(known))}"
        raise ConfigError(msg, key="endpoint", nearest=nearest)
