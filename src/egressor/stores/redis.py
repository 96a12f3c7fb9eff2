"""
A store in a Redis or Valkey server, for a fleet.

*One step.* An exchange is one script (`lua/exchange.lua`), named by its hash; a server that has lost it, by
``SCRIPT FLUSH``, a restart or a failover, is handed the text again in the same breath. No other command of ours
writes, but for the list of services, which is for looking.

*Time.* It is the server's, as its script reads it, held: for each service this process knows what the store's time
should be, from its own steady clock and the latest reply. A server's clock that steps moves no limit: the fleet's
time goes on, and the step is logged. What a request's or an answer's way can explain is no step. The script says how.

*Bounded.* Nothing waits for longer than *patience*. A request whose answer is late is given up with its connection;
what became of it is not known, and requests may be made again.

*Calls.* Each process has a channel, on which others tell it the services for which its turn may have come.

*Forks.* A child has a name and connections of its own; those of its parent it leaves alone.
"""

from __future__ import annotations

import hashlib
import logging
import os
import secrets
import time
from importlib.resources import files
from threading import Event, Thread
from time import monotonic
from typing import TYPE_CHECKING, Any
from weakref import WeakMethod

from egressor.errors import ConfigError

from . import LATE, PATIENCE, Slept, StoreAway
from .redis_place import Place
from .redis_words import SCHEMA, Again, Foreign, Moment, Stepped, Tags, Unfit, ask, look, read, seen, sent

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from egressor._core.fleet import Reply, Request, State

__all__ = ["RedisStore"]

_LOG = logging.getLogger("egressor")
_MICRO = 1_000_000
_TURNS = 3
_STEP = 1_000_000
_PROMPT = _STEP // 2
_SILENCE = 3_600 * _MICRO
_LISTED = 3_600.0
_KEPT = 100 * 86_400
_QUIET = 60.0


class RedisStore:
    """
    What several processes share in a server at *address*. Nothing is opened before it is used.

    Args:
        address: Where it is; see `redis_place`.
        patience: How many seconds an exchange may take. Default: `PATIENCE`.
        now: The store's time, in microseconds, where it is not to be the server's: for tests.
        wall: Wall time, likewise. Default: *now*.

    Attributes:
        address: The channel on which this process is called.
        is_near: A server is a network away, so a thread of ours should ask, and not whoever wants something.
        shift: 0, as the server's time and this process's are two clocks.

    Raises:
        ConfigError: The address can't be read, or redis-py is not installed.
    """

    is_near = False
    shift = 0

    def __init__(
        self,
        address: str,
        *,
        patience: float = PATIENCE,
        now: Callable[[], int] | None = None,
        wall: Callable[[], int] | None = None,
    ) -> None:
        try:
            from .redis_way import Way
        except ImportError:
            msg = "a Redis store needs redis-py: pip install 'egressor[redis]'"
            raise ConfigError(msg, key="egressor.store") from None
        self._place = Place(address)
        self._open = Way
        self._patience = patience
        self._now = now
        self._wall = wall or now
        self._exchange = _Script("exchange")
        self._look = _Script("look")
        self._tags: dict[str, Tags] = {}
        self._times: dict[str, tuple[int, int, int]] = {}
        self._told: dict[tuple[str, str], tuple[str, str]] = {}
        self._listed: dict[str, float] = {}
        self._called: Callable[[str], object] | None = None
        self._logged_at = -_QUIET
        self._closed = Event()
        self._doubt = Event()
        self._begin()
        os.register_at_fork(after_in_child=_weakly(self._forked))

    def __repr__(self) -> str:
        return f"<RedisStore {self._place}>"

    def exchange(self, service: str, request: Request) -> Reply:
        """
        Do `egressor._core.fleet.exchange` with what is shared of *service*.

        Raises:
            StoreAway: It can't be asked; whether the request was done is not known.
        """
        until = monotonic() + self._patience
        tags = self._tags_of(service)
        member = (service, request.member)
        is_told = self._told.get(member) == (request.address, request.info)
        began = _steady()
        moment = self._moment(service)
        for _ in range(_TURNS):
            try:
                keys, values, names = ask(tags, request, moment, is_told=is_told)
            except Unfit as unfit:
                msg = f"a limit of {service} can't be kept in Redis: {unfit}"
                raise StoreAway(msg) from None
            asked = _steady()
            answer = self._run(self._exchange, tags, keys, values, until)
            heard = _steady()
            try:
                told = read(answer, names, request)
            except Again as again:
                moment = moment._replace(wall=again.wall)
            except Stepped as stepped:
                moment = moment.after(stepped, _steady() - began)
            except Foreign:
                raise self._foreign() from None
            else:
                break
        else:
            msg = f"Redis at {self._place}: its time goes on faster than a request gets there"
            raise StoreAway(msg)
        if told.reply.standing is None:
            self._told[member] = (request.address, request.info)
        # Who was suspended meanwhile can't say when it was that time.
        if self._now is None and heard - asked <= _PROMPT:
            self._times[service] = (told.reply.now, told.wall, heard)
        if told.step:
            self._flag(service, told.step)
        if told.is_new or monotonic() - self._listed.get(service, -_LISTED) >= _LISTED:
            self._list(service, told.reply.now, until)
        return told.reply

    def look(self, service: str) -> tuple[State, int]:
        """
        Return what is shared of *service*, and the store's time; nothing is changed.

        Of cells that a rule keeps for each user, or the like, a thousand are told.

        Raises:
            StoreAway: It can't be asked.
        """
        state, now, _ = self._looked(service)
        return state, self._now() if self._now is not None else now

    def services(self) -> list[str]:
        """
        Return the names of all services of which something was shared in the last hundred days.

        Raises:
            StoreAway: It can't be asked.
        """
        key = self._list_key()
        [names] = self._answers(key, ("ZRANGE", key, 0, -1), until=monotonic() + self._patience)
        return sorted(map(seen, names))

    def call(self, service: str, addresses: Sequence[str]) -> None:
        """
        Tell others that they should ask for *service*. A call may get lost: it only saves them time.
        """
        if not addresses:
            return
        commands = [("PUBLISH", sent(address), sent(service)) for address in addresses]
        try:
            self._way.ask(self._tags_of(service).tag, *commands, until=monotonic() + self._patience)
        except StoreAway:
            return

    def listen(self, called: Callable[[str], object]) -> None:
        """
        From now on hand the name of each service for which this process is called to *called*, on another thread.
        """
        is_first = self._called is None
        self._called = called
        if is_first:
            self._start()

    def close(self) -> None:
        """
        Let go of everything; nothing can be asked any more.
        """
        self._closed.set()
        self._way.close()

    def facts(self) -> dict[str, str | int | float]:
        """
        Return what `egressor doctor` tells of the server.

        Raises:
            StoreAway: It can't be asked.
        """
        from .redis_facts import facts

        lasting = 0
        for service in self.services():
            lasting += self._looked(service)[2]
        key = self._list_key()
        before = time.time()
        info, stamp, rest = self._answers(key, ("INFO",), ("TIME",), ("PTTL", key), until=monotonic() + self._patience)
        found = facts(info, stamp, (before + time.time()) / 2)
        found["keys_without_end"] = lasting + (rest == -1)
        return {"mode": self._place.kind, **found}

    # --- inside ------------------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        self._way = self._open(self._place)
        # Whoever else uses the server can't guess it; calls do no harm, but cost a look.
        self.address = f"egressor:{self._place.namespace}:{secrets.token_hex(8)}"

    def _forked(self) -> None:
        self._begin()
        self._told.clear()
        if self._called is not None and not self._closed.is_set():
            self._start()

    def _start(self) -> None:
        from .redis_ear import listen

        def open_line() -> Any:
            return self._way.open(self._list_key(), monotonic() + self._patience)

        def heard(service: str) -> None:
            if self._called is not None:
                self._called(service)

        settings = (open_line, self.address, heard, self._closed, self._doubt)
        Thread(target=listen, args=settings, name="egressor-redis", daemon=True).start()

    def _moment(self, service: str) -> Moment:
        if self._now is not None and self._wall is not None:
            return Moment(self._wall(), fixed=self._now())
        known = self._times.get(service)
        if known is None:
            return Moment(time.time_ns() // 1000)
        now, wall, at = known
        silence = _steady() - at
        if silence > _SILENCE:
            return Moment(wall + silence)
        # Clocks are slewed by up to half a thousandth.
        return Moment(wall + silence, now + silence, _STEP + silence // 1000)

    def _run(self, script: _Script, tags: Tags, keys: list[bytes], values: list[Any], until: float) -> list[Any]:
        """
        Run *script* by its hash, or by its text where the server doesn't know it, or no hashes.
        """
        rest = (len(keys), *keys, *values)
        code = ""
        if script.is_hashed:
            [answer] = self._asked(tags.tag, ("EVALSHA", script.sha, *rest), until=until)
            if isinstance(answer, list):
                return answer
            code = answer.code
            if code not in {"NOSCRIPT", "UNKNOWN", "NOPERM"}:
                raise self._refused(answer)
        [answer] = self._answers(tags.tag, ("EVAL", script.text, *rest), until=until)
        if code and code != "NOSCRIPT":
            script.is_hashed = False
        return list(answer)

    def _answers(self, tag: bytes, *commands: tuple[Any, ...], until: float) -> list[Any]:
        answers = self._asked(tag, *commands, until=until)
        for answer in answers:
            if isinstance(answer, Exception):
                raise self._refused(answer)
        return answers

    def _asked(self, tag: bytes, *commands: tuple[Any, ...], until: float) -> list[Any]:
        if self._closed.is_set():
            msg = "Redis: the store is closed"
            raise StoreAway(msg)
        try:
            return self._way.ask(tag, *commands, until=until)
        except StoreAway as error:
            self._doubt.set()
            if monotonic() > until + LATE:
                raise Slept(str(error)) from None
            raise

    def _looked(self, service: str) -> tuple[State, int, int]:
        tags = self._tags_of(service)
        answer = self._run(self._look, tags, tags.keys, [SCHEMA, tags.prefix], monotonic() + self._patience)
        try:
            return look(answer)
        except Foreign:
            raise self._foreign() from None

    def _tags_of(self, service: str) -> Tags:
        tags = self._tags.get(service)
        if tags is None:
            tags = self._tags.setdefault(service, Tags(self._place.namespace, service))
        return tags

    def _list_key(self) -> bytes:
        return f"{{egressor:{self._place.namespace}}}:services".encode()

    def _list(self, service: str, now: int, until: float) -> None:
        """
        Note that there is *service*, for whoever looks; to fail is no harm, and tried again.
        """
        key = self._list_key()
        seconds = now // _MICRO
        commands = (
            ("ZADD", key, seconds, sent(service)),
            ("ZREMRANGEBYSCORE", key, "-inf", seconds - _KEPT),
            ("EXPIRE", key, _KEPT),
        )
        try:
            self._answers(key, *commands, until=until)
        except StoreAway:
            return
        self._listed[service] = monotonic()

    def _flag(self, service: str, step: int) -> None:
        if monotonic() - self._logged_at < _QUIET:
            return
        self._logged_at = monotonic()
        _LOG.warning(
            "the clock of the Redis server at %s is %+.3f s off what it should be: the time of service %s goes on",
            self._place,
            step / _MICRO,
            service,
        )

    def _refused(self, said: Any) -> StoreAway:
        return StoreAway(f"Redis at {self._place}: {said.reason()}")

    def _foreign(self) -> StoreAway:
        return StoreAway(
            f"Redis at {self._place}: the keys of namespace {self._place.namespace!r} are of another version of "
            f"Egressor (this one's schema is {SCHEMA}); nothing was changed"
        )


class _Script:
    """
    A script of ours, by its name.

    Attributes:
        is_hashed: Whether the server runs scripts by their hash; some proxies don't.
    """

    def __init__(self, name: str) -> None:
        self.text = files(__package__).joinpath("lua", f"{name}.lua").read_bytes()
        self.sha = hashlib.sha1(self.text, usedforsecurity=False).hexdigest()
        self.is_hashed = True


def _steady() -> int:
    # Also on a machine that was asleep, where the system can tell.
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return (time.monotonic_ns() if clock is None else time.clock_gettime_ns(clock)) // 1000


def _weakly(method: Callable[[], None]) -> Callable[[], None]:
    weak = WeakMethod(method)

    def run() -> None:
        found = weak()
        if found is not None:
            found()

    return run
