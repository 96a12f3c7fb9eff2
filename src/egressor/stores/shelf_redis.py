"""
Where answers are kept for a fleet: the store's Redis or Valkey server.

*Keys.* Of each service a hash of answers, one of their sizes, and a sorted set of when each has to go; a key for each
call under way; and one secret for all, of which keys of answers are made. Each has a time to live.

*One trip.* A look finds the answer, or claims the call, in one trip to the server, and all that are sought at once
share it: one thread asks for all of this process.

*Nobody waits for it.* A trip may take 50 ms, and else is a miss; only the first one of all may take as long as a
request to the store, as there is no connection yet. A server that does not answer is left alone until the thread that
writes has had an answer of it: it asks twice a second, as long as somebody looks.

*Bounds* hold for each service: what has the least time left goes first.

*Time* is the server's. What is kept says when it came by the server's clock; whoever finds it learns how old it is.

Sources: https://redis.io/docs/latest/commands/set/ (NX, PX); the commands are among those of the store.
"""

from __future__ import annotations

import logging
import os
import struct
from functools import partial
from importlib.resources import files
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from egressor._core.cache import pack, unpack

from . import PATIENCE, StoreAway
from .redis_line import Said
from .redis_place import Place
from .redis_way import Way
from .redis_words import Tags, sent
from .shelf import Kept
from .shelf_shared import AWAY, LEASE, PATIENT, Clerk, Looked, Name, Scout, Sought

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

__all__ = ["AnswerServer"]

_LOG = logging.getLogger("egressor")
_BUSY: Final = 0.05
_AWAY: Final = 1.0
_PROBES: Final = 0.5
_QUIET: Final = 60.0
_SALT_FOR: Final = 5.0
_SALT_KEPT: Final = 30 * 86_400_000
_TIMES: Final = struct.Struct(">qq")
_LEASE_MS: Final = LEASE // 1000
# An own claim only: after a pause somebody else may have it.
_RENEW: Final = "if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end"

_Reply = TypeVar("_Reply")


class _Ask(Protocol):
    """
    Asks commands of the server that holds a tag, and returns the answers.
    """

    def __call__(self, tag: bytes, *commands: tuple[Any, ...]) -> list[Any]:
        """
        Ask.
        """


class _Road:
    """
    The way to the server, for any thread.

    Args:
        place: Where it is.
        patience: Seconds that a request may take.
        probe: Called where somebody looks while it is away, twice a second; `back` ends that. None lets him try.
    """

    def __init__(self, place: Place, patience: float, probe: Callable[[], None] | None = None) -> None:
        self._probe = probe
        self._is_away = False
        self._place = place
        self._patience = patience
        self._way = Way(place)
        self._is_known = False
        self._away_until = 0.0
        self._logged_at = -_QUIET

    def use(self, work: Callable[[_Ask], _Reply], *, away: _Reply, busy: _Reply) -> _Reply:  # noqa: ARG002 - it is never
        """
        Return what *work* makes of it, *away* if it can't be asked.
        """
        if monotonic() < self._away_until:
            return away
        if self._is_away and self._probe is not None:
            self._away_until = monotonic() + _PROBES
            self._probe()
            return away
        try:
            reply = work(self._ask)
        except StoreAway as error:
            self._away_until = monotonic() + _AWAY
            self._is_away = True
            self._is_known = True
            if monotonic() - self._logged_at >= _QUIET:
                self._logged_at = monotonic()
                _LOG.warning("answers can't be shared, and miss: %s", error)
            return away
        return reply

    def back(self) -> None:
        """
        Let the next one try it again: it has answered somebody.
        """
        self._is_away = False
        self._away_until = 0.0

    def close(self) -> None:
        """
        End its connections.
        """
        self._way.close()

    def _ask(self, tag: bytes, *commands: tuple[Any, ...]) -> list[Any]:
        patience = self._patience if self._is_known else max(self._patience, PATIENCE)
        answers = self._way.ask(tag, *commands, until=monotonic() + patience)
        said = next((each for each in answers if isinstance(each, Said)), None)
        if said is not None:
            msg = f"Redis at {self._place}: {said.reason()}"
            raise StoreAway(msg)
        self._is_known = True
        return answers


class AnswerServer:
    """
    The answers on a server, as one process has them.

    Args:
        address: The store's; see `redis_place`.
        wall: Time since 1970, in microseconds.
        busy: How many seconds a look may take. Default: 0.05.

    Raises:
        ConfigError: The address can't be read.
    """

    def __init__(self, address: str, *, wall: Callable[[], int], busy: float = _BUSY) -> None:
        place = Place(address)
        self._wall = wall
        self._owner = os.urandom(8).hex()
        self._namespace = place.namespace
        self._put = files(__package__).joinpath("lua", "keep.lua").read_bytes()
        self._clerk: Clerk[_Ask] = Clerk(_Road(place, PATIENT), _Renewal(place.namespace, self._owner))
        looks = _Looks(place, busy, self._clerk, wall=wall, owner=self._owner)
        self._reading = looks.road
        self._secret = looks.salt
        self._scout = Scout(looks)

    @property
    def dropped(self) -> int:
        """
        Answers that were not kept as the queue of the writing thread was full.
        """
        return self._clerk.dropped

    def find(self, sought: Sought) -> Looked:
        """
        Look for *sought*, blocking.
        """
        return self.seek(sought).result()

    def seek(self, sought: Sought) -> Future[Looked]:
        """
        Look for *sought* on the thread that looks for all.
        """
        return self._scout.seek(sought)

    def put(self, service: str, key: str | Name, kept: Kept, *, until: int, most: tuple[int, int]) -> None:
        """
        Keep an answer soon, at most until *until*; of the service *most* answers and bytes.
        """
        tag = Tags(self._namespace, service).tag

        def write(ask: _Ask) -> None:
            now = _micros(ask(tag, ("TIME",))[0])
            wall = self._wall()
            data = _TIMES.pack(now - max(0, wall - kept.at), kept.fresh_for) + pack(kept.entry)
            name = key if isinstance(key, str) else key(self._secret(ask))
            if until > wall:
                names = (tag + b":answers", tag + b":answer-sizes", tag + b":answer-ends")
                values = (name, data, now // 1000, (until - wall) // 1000 + 1, *most)
                ask(tag, ("EVAL", self._put, len(names), *names, *values))

        self._clerk.keep(write)

    def release(self, service: str, key: str) -> None:
        """
        Let others make the call of *key*, as soon as its answer is written. The collector may do this.
        """
        claim = service, key
        self._clerk.released(claim, _releasing(self._namespace, claim, self._owner))

    def renew(self) -> None:
        """
        Claim for longer what is under way.
        """
        self._clerk.renew()

    def flush(self, seconds: float = 5.0) -> bool:
        """
        Wait until all that was ordered is done; false if that takes longer than *seconds*.
        """
        return self._clerk.flush(seconds)

    def close(self) -> None:
        """
        Write what was ordered, for a second at most, and end the connections.
        """
        for claim in self._clerk.claims:
            self.release(*claim)
        self._scout.close()
        self._clerk.close()
        self._reading.close()


class _Looks:
    """
    What the thread does that looks for all. It doesn't hold the answers' owner, so it ends with it.

    Attributes:
        road: How it asks.
    """

    def __init__(self, place: Place, busy: float, clerk: Clerk[_Ask], *, wall: Callable[[], int], owner: str) -> None:
        self._namespace = place.namespace
        self._is_cluster = place.kind == "cluster"
        self._clerk = clerk
        self._wall = wall
        self._owner = owner
        self._salt = b""
        self._salt_until = 0.0
        self.road = _Road(place, busy, self._probe)

    def _probe(self) -> None:
        def ask_something(ask: _Ask) -> None:
            ask(_salt_key(self._namespace), ("TIME",))
            self.road.back()

        self._clerk.order(ask_something)

    def __call__(self, orders: list[tuple[Sought, Future[Looked]]]) -> None:
        """
        Look for all that is sought, and tell each.
        """
        if not self.road.use(partial(self._look, orders), away=False, busy=False):
            for sought, future in orders:
                if not future.done():
                    self._tell(sought, future, AWAY)

    def _look(self, orders: list[tuple[Sought, Future[Looked]]], ask: _Ask) -> bool:
        salt = self.salt(ask)
        parts: dict[bytes, list[tuple[Sought, Future[Looked], str]]] = {}
        for sought, future in orders:
            tag = Tags(self._namespace, sought.service).tag
            # Only in a cluster services may be on different servers.
            parts.setdefault(tag if self._is_cluster else b"", []).append((sought, future, sought.name(salt)))
        for part in parts.values():
            commands = [command for sought, _, key in part for command in self._commands(sought, key)]
            tag = Tags(self._namespace, part[0][0].service).tag
            *found, time = ask(tag, *commands, ("TIME",))
            answers, now = iter(found), _micros(time)
            for sought, future, key in part:
                is_mine = sought.is_alive is not None and next(answers) is not None
                self._tell(sought, future, Looked(key, self._read(next(answers), now), is_mine))
        return True

    def _commands(self, sought: Sought, key: str) -> list[tuple[Any, ...]]:
        tag, name = _claim(self._namespace, (sought.service, key))
        look = ("HGET", tag + b":answers", key)
        # Whoever had the claim before may have kept an answer: so it is looked for after that.
        return [look] if sought.is_alive is None else [("SET", name, self._owner, "NX", "PX", _LEASE_MS), look]

    def _read(self, data: object, now: int) -> Kept | None:
        if not isinstance(data, bytes) or len(data) < _TIMES.size:
            return None
        at, fresh_for = _TIMES.unpack_from(data)
        entry = unpack(data[_TIMES.size :])
        return None if entry is None else Kept(entry, self._wall() - (now - at), fresh_for)

    def _tell(self, sought: Sought, future: Future[Looked], looked: Looked) -> None:
        if looked.key and looked.is_mine and sought.is_alive is not None:
            claim = sought.service, looked.key
            if looked.kept is not None and sought.is_enough(looked.kept):
                looked = looked._replace(is_mine=False)
                self._clerk.released(claim, _releasing(self._namespace, claim, self._owner))
            else:
                self._clerk.claimed(claim, is_alive=sought.is_alive)
        future.set_result(looked)

    def salt(self, ask: _Ask) -> bytes:
        """
        Return the secret that all processes make keys with.

        Raises:
            StoreAway: It can't be had.
        """
        if monotonic() >= self._salt_until:
            # A server that was emptied has another one.
            key = _salt_key(self._namespace)
            _, found, _ = ask(
                key, ("SET", key, os.urandom(32), "NX", "PX", _SALT_KEPT), ("GET", key), ("PEXPIRE", key, _SALT_KEPT)
            )
            if not isinstance(found, bytes) or len(found) != 32:
                msg = "what keys are made with on the server is no secret of ours"
                raise StoreAway(msg)
            self._salt = found
            self._salt_until = monotonic() + _SALT_FOR
        return self._salt


class _Renewal:
    """
    What claims again.
    """

    def __init__(self, namespace: str, owner: str) -> None:
        self._namespace = namespace
        self._owner = owner

    def __call__(self, claims: list[tuple[str, str]]) -> Callable[[_Ask], object]:
        """
        Return the order.
        """

        def renew(ask: _Ask) -> None:
            for claim in claims:
                tag, name = _claim(self._namespace, claim)
                ask(tag, ("EVAL", _RENEW, 1, name, self._owner, _LEASE_MS))

        return renew


def _salt_key(namespace: str) -> bytes:
    return b"{egressor:" + sent(namespace) + b"}:salt"


def _releasing(namespace: str, claim: tuple[str, str], owner: str) -> Callable[[_Ask], object]:
    """
    Return the order that gives up a claim.
    """
    tag, name = _claim(namespace, claim)
    return lambda ask: ask(tag, ("EVAL", _RENEW, 1, name, owner, 0))


def _claim(namespace: str, claim: tuple[str, str]) -> tuple[bytes, bytes]:
    """
    Return a claim's tag and key.
    """
    tag = Tags(namespace, claim[0]).tag
    return tag, tag + b":call:" + sent(claim[1])


def _micros(time: Any) -> int:
    """
    Read the server's ``TIME``, in microseconds.
    """
    return int(time[0]) * 1_000_000 + int(time[1])
