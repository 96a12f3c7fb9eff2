"""
What went wrong, and what it cost: the governor's view of failed attempts and bans, what an operator says of them, and
of the money.
"""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Any

from egressor._core.admission import shown
from egressor._core.fingerprint import FORM
from egressor._core.model import Outcome, ServiceType
from egressor.errors import ConfigError
from egressor.ledger import Pick
from egressor.ledger.bans import read_bans
from egressor.ledger.costs import MONTH, paid_for, read_costs
from egressor.ledger.failure import caught
from egressor.ledger.grouping import ERROR
from egressor.ledger.history import here
from egressor.ledger.memory import MemoryLedger
from egressor.ledger.plain import fitted
from egressor.ledger.statistics import LONGEST_MUTE, MARKS, WEEK, Window, read_errors

from .asked import check_count, check_service, check_since
from .money import standing
from .route import check_scope

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from egressor._core.model import Verdict
    from egressor._drivers.clock import Clock
    from egressor.ledger.failures import Failures
    from egressor.ledger.history import History
    from egressor.policies import Config
    from egressor.stores.gate import Gate

    from .calls import Context

__all__ = ["Incidents"]

_CONTEXT = 1_200
# Who looks at the costs waits no longer for a ledger that somebody else keeps, in seconds.
_PATIENCE = 0.5


class Incidents:
    """
    The part of a governor that looks at errors, bans and costs.
    """

    clock: Clock
    config: Config
    ledger: History
    _context: Context
    _failures: Failures
    _gates: dict[str, Gate]
    _removed: dict[str, Gate]

    def gate(self, service: str | ServiceType) -> Gate:
        """
        Return the gate of *service*.
        """
        raise NotImplementedError

    def errors(
        self,
        service: str | ServiceType = "",
        *,
        since: float | None = None,
        fingerprint: str = "",
        groups: int = 100,
        recent: int = 20,
    ) -> dict[str, Any]:
        """
        Return the failed attempts in the ledger, those of other processes on it, too, as plain values.

        In the result are the ``total`` of failed attempts and how many ``calls`` had one, of which some ``recovered``,
        ``fell_back`` or ``gave_up``; the ``recovery_rate``; counts ``by_category``, ``by_severity``, ``by_service`` and
        ``by_component``; a ``timeline`` by the hour; the most common ``groups`` with their fingerprint, state and
        counts; and the ``recent`` failures, the newest first. See the ledger's page for all fields.

        Args:
            service: Of this service only. Default: of all.
            since: From this time on, in seconds since 1970. Default: the last seven days.
            fingerprint: Of this group only. Default: of all.
            groups: So many groups at most, the most common first.
            recent: So many of the newest failures at most.

        Raises:
            ConfigError: Neither the configuration nor the ledger knows *service*, *since* is no time from 1970 to 9999,
                or *groups* or *recent* is no whole number of 0 or more.
        """
        begin = None if since is None else check_since(since)
        check_count(groups, "groups")
        check_count(recent, "recent")
        self._failures.gather()
        name, now = self._known(service), self.clock.wall()
        start = now - WEEK if begin is None else begin
        found = read_errors(self.ledger, Window(start, now, fingerprint, groups, recent), service=name)
        return {**found, "dropped": self._failures.dropped, "merged": self._failures.merged}

    def record_error(
        self,
        service: str | ServiceType,
        error: BaseException,
        *,
        endpoint: str = "",
        scope: Mapping[str, str] | None = None,
        context: object = None,
    ) -> Verdict:
        """
        Remember an *error* that a program has met outside of the gate, and return what it is.

        It counts as a call that gave up, in the history only: breaker, ban and limits don't hear of it.

        Args:
            service: The service that it is about.
            error: The exception.
            endpoint: A name for what was called.
            scope: Who and what for, ``{"user": "u1"}``.
            context: Whatever else helps, best a dictionary of texts and numbers. Secrets in it are hidden, and what is
                no plain value is told by its type; 1,200 bytes of it are kept.

        Raises:
            ConfigError: There is no such service, *error* is no exception, or *scope* is no scope of a call.
        """
        gate = self.gate(service)
        if not isinstance(error, BaseException):
            msg = f"record_error takes an exception, not {shown(error)}"
            raise ConfigError(msg, key="error")
        if not isinstance(endpoint, str):
            msg = f"an endpoint is a text, not {shown(endpoint)}"
            raise ConfigError(msg, key="endpoint")
        where = check_scope({} if scope is None else scope, endpoint or None)
        outcome = Outcome(error=error)
        verdict = self._verdict(outcome, gate)
        failure = caught(outcome, verdict, where, at=self.clock.wall())
        if context is not None:
            failure = failure._replace(context=fitted(context, _CONTEXT))
        self._failures.tell(gate.compiled.name, "gave_up", [failure])
        return verdict

    def bans(self, service: str | ServiceType = "", *, since: float = 0.0, limit: int = 100) -> dict[str, Any]:
        """
        Return the bans in the ledger, the newest first, and those that are ``active``, as plain values.

        Args:
            service: Of this service only. Default: of all.
            since: Those that began at this time or later, in seconds since 1970, or are active.
            limit: So many at most.

        Raises:
            ConfigError: Neither the configuration nor the ledger knows *service*, *since* is no time from 1970 to 9999,
                or *limit* no whole number of 0 or more.
        """
        begin, most, now = check_since(since), check_count(limit, "limit"), self.clock.wall()
        return read_bans(self.ledger, now=now, since=begin, service=self._known(service), limit=most)

    def costs(self, service: str | ServiceType = "", *, since: float | None = None) -> dict[str, Any]:
        """
        Return what calls with a budget have cost, those of other processes on the ledger, too, as plain values.

        In the result are the ``total`` and what was spent ``by_service``, ``by_model``, ``by_feature``, ``by_user`` and
        ``by_day``, each with ``calls``, ``usd`` and ``unknown_usd``; and the ``budgets``, with what is left of them,
        when they renew, and what will be spent by then if it goes on so. Those of the configuration come first, then
        those for each value of something, the nearest to their limit first: a thousand of these at most, and
        ``budgets_left_out`` says how many more there are. Amounts are US dollars with six places, as texts. A ledger
        that is locked is waited for for a second at most, and ``ledger`` says that it is ``away``.

        Args:
            service: Of this service only. Default: of all.
            since: From the day, in UTC, of this time on, in seconds since 1970. Default: the last 30 days.

        Raises:
            ConfigError: Neither the configuration nor the ledger knows *service*, or *since* is no time from 1970 to
                9999.
        """
        now, money = self.clock.wall(), self._context.money
        start = now - MONTH if since is None else check_since(since)
        if money is None:
            self._known(service)
            state = {"away": "", "owed": 0, "dropped": 0}
            return read_costs(MemoryLedger().money, (), now=now, since=start, state=state)
        read = partial(money.till.read, patience=_PATIENCE)
        name = self._known(service, paid=partial(paid_for, read))
        asks, state = standing(self.config, now), money.till.state()
        return read_costs(read, asks, now=now, since=start, state=state, service=name)

    def resolve_error(self, fingerprint: str, *, by: str = "") -> None:
        """
        Call the group *fingerprint* resolved; it is reopened when it is seen again.

        Raises:
            ConfigError: There is no such group in the ledger.
        """
        self._mark("resolve", fingerprint, by)

    def mute_error(self, fingerprint: str, *, seconds: float | None = None, by: str = "") -> None:
        """
        Mute the group *fingerprint* for *seconds*, 400 days at most, or until `unmute_error`: it is counted on.

        Raises:
            ConfigError: There is no such group in the ledger, or *seconds* is no such number.
        """
        if seconds is not None and not (isinstance(seconds, (int, float)) and 0 < seconds <= LONGEST_MUTE):
            msg = f"a group is muted for more than 0 and at most {LONGEST_MUTE} seconds, not {shown(seconds)}"
            raise ConfigError(msg, key="seconds")
        self._mark("mute", fingerprint, by, seconds=seconds)

    def unmute_error(self, fingerprint: str, *, by: str = "") -> None:
        """
        End a muting.

        Raises:
            ConfigError: There is no such group in the ledger.
        """
        self._mark("unmute", fingerprint, by)

    def _verdict(self, outcome: Outcome, gate: Gate) -> Verdict:
        raise NotImplementedError

    def _known(self, service: str | ServiceType, *, paid: Callable[[], Collection[str]] = tuple) -> str:
        # What a reload took away, and a preset that nobody has used yet, are no slips.
        if service in self._removed or service in {each.value for each in ServiceType}:
            return str(service)
        return check_service(service, self._gates, self.ledger, paid=paid)

    def _mark(self, action: str, fingerprint: str, by: str, **data: object) -> None:
        self._failures.gather()
        mark(self.ledger, action, fingerprint, by=by, **data)


def mark(history: History, action: str, fingerprint: object, *, by: str = "", **data: object) -> str:
    """
    Note in *history* what an operator says of a group; return its service.

    Raises:
        ConfigError: There is no such group.
    """
    service = _service_of(history, fingerprint)
    given = {"fingerprint": fingerprint, **{name: value for name, value in data.items() if value is not None}}
    history.note("operator", MARKS[action], service=service, who=by or here(), data=given)
    return service


def _service_of(history: History, fingerprint: object) -> str:
    if not isinstance(fingerprint, str) or re.fullmatch(FORM, fingerprint) is None:
        msg = f"a group's fingerprint looks like 0a1b-2c3d-4e5f, not {shown(fingerprint)}"
        raise ConfigError(msg, key="fingerprint")
    for entry in history.read(Pick(kind=ERROR, limit=200_000)):
        if entry.data.get("fingerprint") == fingerprint:
            return entry.service
    msg = f"the ledger holds no errors of the group {fingerprint}"
    raise ConfigError(msg, key="fingerprint")
