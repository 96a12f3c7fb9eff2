"""
A call's part in its service's cache: what it finds there, whom it waits for, and what it leaves.

A call that finds an answer is over at once: it takes nothing of any limit or budget. One that finds an identical call
under way waits for its answer, as long as its own deadline allows; else it is the first, and makes the call. What ends
its crowd then is told in `egressor._drivers.crowd`. After three crowds that have failed it goes by itself: nobody has
to wait for as many failures as there are callers.
"""

from __future__ import annotations

import asyncio
import os
from array import array
from collections.abc import Callable, Generator
from contextlib import suppress
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import urlsplit

from egressor._core import cache as core
from egressor._core.admission import Denied, Why
from egressor._core.cache import Entry, Found, Taken, Use
from egressor._core.model import ServiceType
from egressor._core.steps import MISS
from egressor._drivers.crowd import Crowds
from egressor._host.fork import leak
from egressor.stores.opening import open_answers
from egressor.stores.shelf import Kept, MemoryShelf
from egressor.stores.shelf_shared import SharedShelf

from .nesting import CURRENT

if TYPE_CHECKING:
    from egressor._core.steps import Done, Recall
    from egressor._drivers.clock import Clock
    from egressor._drivers.crowd import Crowd
    from egressor.policies import CachePolicy, Policy
    from egressor.stores.gate import Gate
    from egressor.stores.shelf_shared import Answers, Looked, Name

    from .route import Route

__all__ = ["Caches", "Memory", "Tape"]

_LEADERS: Final = 3
# Microseconds between two looks at what other processes do, and how many of them in a row may come to nothing.
_LOOKS: Final = 25_000
_SILENT: Final = 8
_LLM: Final = frozenset({"anthropic", "gemini", "openai"})
_NOT_KEPT: Final = Denied(
    Why.WAIT_TOO_LONG, "only-if-cached", None, "it takes a kept answer only, and none that it takes is kept"
)
_LATE: Final = Denied(Why.WAIT_TOO_LONG, "deadline", None, "the answer to the same request did not come in time")

Pairs = list[tuple[str, str]]


class _Look(NamedTuple):
    """
    What a call wants to know of other processes: the answer; and, where *is_alive* is given, whether it may be made.
    """

    shelf: SharedShelf
    is_alive: Callable[[], bool] | None


_Story = Generator["_Look | tuple[Crowd, int]", Any, object]


class _Cache:
    """
    The cache of one service.
    """

    __slots__ = (
        *("_base", "_now", "clock", "crowds", "hits", "is_llm", "misses", "policy", "shared", "shelf", "spec", "stale"),
    )

    def __init__(self, policy: CachePolicy, service: Policy, clock: Clock, shared: SharedShelf | None) -> None:
        self.policy = policy
        self.clock = clock
        self.shared = shared
        self.hits = self.misses = self.stale = 0
        # What processes share goes by the clock that they share.
        self._now = clock.now if shared is None else clock.wall
        self.spec = policy.spec()
        self.crowds = Crowds(0)
        self.adapt(service)
        self.shelf = MemoryShelf(max_entries=policy.max_entries, max_bytes=policy.max_bytes)

    def adapt(self, service: Policy) -> None:
        """
        Go by *service*, of whose policy a reload may have changed other things.
        """
        self.is_llm = service.type is ServiceType.LLM_API or service.dialect in _LLM
        self._base = urlsplit(service.base_url or "").path.rstrip("/")
        # How long a call may wait for its turn, and its attempt take.
        self.crowds.longest = int((service.max_wait + service.timeout) * 1_000_000)

    def path(self, url: str) -> str:
        """
        Return the path of *url*, without that of the service's base URL.
        """
        path = urlsplit(url).path
        return path.removeprefix(self._base) if path.startswith(self._base + "/") else path

    def counts(self) -> dict[str, int]:
        """
        Return what the status says of it.
        """
        return {
            "hits": self.hits,
            "misses": self.misses,
            "stale": self.stale,
            "entries": len(self.shelf),
            "bytes": self.shelf.size,
        }

    def find(self, key: str) -> Found | None:
        """
        Return what this process has under *key*, fresh or stale.
        """
        found = self.worth(self.shelf.get(key))
        if found is None:
            self.shelf.drop(key)
        return found

    def take(self, key: str, kept: Kept | None) -> None:
        """
        Keep what another process has kept, if it is newer.
        """
        other, found = self.worth(kept), self.find(key)
        if kept is not None and other is not None and (found is None or other.age < found.age):
            self.shelf.put(key, kept, until=0)

    def worth(self, kept: Kept | None) -> Found | None:
        """
        Return what *kept* is worth now; None if it is too old.
        """
        if kept is None:
            return None
        # What another process has kept, or this program before, may be from a time when the policy's was longer.
        fresh_for = min(kept.fresh_for, self.spec.ttl)
        return core.found(kept.entry, at=kept.at, fresh_for=fresh_for, stale=self.spec.stale, now=self._now())

    def fresh(self, key: str, taken: Taken) -> Found | None:
        """
        Return what this process has under *key* if it is fresh, and one of those that are *taken*.
        """
        found = self.find(key)
        return None if found is None or found.is_stale or not taken.takes(found) else found

    def put(self, key: str, entry: Entry, fresh_for: int, *, shared_as: str | Name) -> None:
        """
        Keep *entry*, which has just come: here under *key*, and for other processes *shared_as* theirs.
        """
        now = self._now()
        kept = Kept(entry, now, fresh_for)
        self.shelf.put(key, kept, until=0)
        if self.shared is not None:
            self.shared.put(shared_as, kept, until=now + fresh_for + self.spec.stale)


class Caches:
    """
    The caches of all services of a governor that have one.

    Args:
        clock: The time.
        store: The store's address. All of its processes share their answers.
    """

    def __init__(self, clock: Clock, store: str = "memory:") -> None:
        self._clock = clock
        self._store = store
        self._answers: Answers | None = None
        self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._salt = os.urandom(32)
        self._lock = Lock()
        self._known: dict[str, _Cache] = {}
        if self._answers is not None:
            leak(self._answers)  # To close what the parent has open would end its locks.
            self._answers = None

    def close(self) -> None:
        """
        Write what is yet to be written, for a second at most.
        """
        if self._answers is not None:
            self._answers.close()

    def counts(self, service: str) -> dict[str, int] | None:
        """
        Return what the status says of a service's cache; None until it is used, or where there is none.
        """
        cache = self._known.get(service)
        return None if cache is None else cache.counts()

    def memory(
        self, route: Route, *, method: str, url: str, headers: Pairs, body: bytes | None, form: str = ""
    ) -> Memory | None:
        """
        Return the part that a request to *route* has in its service's cache; None if it has none.

        Args:
            route: Where it goes.
            method: Its method.
            url: Its whole URL.
            headers: Its headers, their names in lower case.
            body: Its body; None if that can't be looked at.
            form: What distinguishes the answers of this client from others' to the same request.
        """
        cache = self._of(route.gate)
        if cache is None or body is None:
            return None
        path = cache.path(url)
        computed = cache.is_llm and core.is_computed(method, path)
        asked = core.members(body) if computed else None
        use = core.use_of(method, path, headers, asked, spec=cache.spec)
        if use is Use.NONE:
            return None
        shaping = [*headers, ("egressor-form", form)] if form else headers
        content = core.canonical(body, asked)
        digest = core.request_digest(method=method, url=url, headers=shaping, body=content, is_computed=computed)
        return Memory(cache, self._salt, digest, use, asked=headers, is_computed=computed)

    def _of(self, gate: Gate) -> _Cache | None:
        service = gate.compiled.policy
        policy = service.cache
        if policy is None:
            return None
        if self._pid != os.getpid():
            self._begin()  # The calls under way, and whoever holds a lock, are the parent's.
        name = gate.compiled.name
        cache = self._known.get(name)
        return cache if cache is not None and cache.policy is policy else self._made(name, policy, service)

    def _made(self, name: str, policy: CachePolicy, service: Policy) -> _Cache:
        with self._lock:
            cache = self._known.get(name)
            if cache is not None and cache.policy == policy:
                # A reload has changed other things.
                cache.policy = policy
                cache.adapt(service)
            else:
                shared = self._shared(name, policy)
                cache = self._known[name] = _Cache(policy, service, self._clock, shared)
        return cache

    def _shared(self, name: str, policy: CachePolicy) -> SharedShelf | None:
        if self._answers is None:
            self._answers = open_answers(self._store, wall=self._clock.wall)
        if self._answers is None:
            return None
        return SharedShelf(self._answers, name, max_entries=policy.max_entries, max_bytes=policy.max_bytes)


class Tape:
    """
    An answer that is noted while it comes.

    Attributes:
        is_whole: Whether all of it has come.
        is_document: Whether it is no stream, and may be read before it is handed out: it states its length, or is the
            JSON that a model answers with. Nobody knows whether any other one has an end.
        most: Bytes that it may have.
        fresh_for: Microseconds that it will be fresh; 0 for one that is told to those that wait, and not kept.
        is_capped: Whether its length was bounded by us. If it was cut off by that, it is nothing for anybody else.
    """

    __slots__ = (
        *("_clock", "_crowd", "_head", "_left", "_said", "_sizes", "fresh_for", "is_capped", "is_document"),
        *("is_whole", "most"),
    )

    def __init__(
        self,
        clock: Clock,
        crowd: Crowd | None,
        head: tuple[int, str, Pairs],
        *,
        fresh_for: int,
        most: int,
        is_computed: bool,
    ) -> None:
        status, reason, headers = head
        self._clock = clock
        self._crowd = crowd
        self._head = status, reason, core.returned(headers)
        self._said: bytearray | None = bytearray()
        self._sizes = array("Q")
        kind = next((value for name, value in headers if name == "content-type"), "").partition(";")[0].strip().lower()
        is_stated = any(name == "content-length" for name, _ in headers)
        is_json = kind.endswith("json") and not kind.endswith("ndjson") and kind != "application/stream+json"
        self.is_document = kind != "text/event-stream" and (is_stated or (is_json and is_computed))
        self.is_whole = False
        self.most = self._left = most
        self.fresh_for = fresh_for
        self.is_capped = False

    @property
    def ahead(self) -> int:
        """
        Bytes of it that may be read before it is handed out; 0 for no more than are read anyway.
        """
        return self.most if self.fresh_for and self.is_document else 0

    def feed(self, part: bytes) -> None:
        """
        Note *part*, which has come.
        """
        if self._said is None or not part:
            return
        size = len(part)
        self._left -= size + core.SIZE
        if self._left < 0:
            self.spoil()
            return
        self._said += part
        self._sizes.append(size)
        if self._crowd is not None:
            self._crowd.moved_at = self._clock.now()

    def take(self, chunks: list[bytes], *, is_whole: bool) -> None:
        """
        Note what was read ahead, which is all of it or more than may be kept.
        """
        for chunk in chunks:
            self.feed(chunk)
        self.is_whole = is_whole
        if not is_whole and self.fresh_for:
            self.spoil()

    @property
    def is_kept(self) -> bool:
        """
        Whether it may be kept still.
        """
        return self._said is not None

    def spoil(self) -> None:
        """
        Keep nothing of it, and let nobody wait for it any more.
        """
        self._said = None
        if self._crowd is not None:
            self._crowd.end(scattered=True)

    def entry(self) -> Entry | None:
        """
        Return the answer, if it has come whole and was short enough.
        """
        if self._said is None or not (self.is_whole or self._has_said_all(self._said)):
            return None
        body = bytes(self._said)
        if self.is_capped and core.may_be_cut(self._head[2], body):
            return None
        return Entry(*self._head, body, array("Q", [len(body)]) if self.is_document else self._sizes)

    def _has_said_all(self, said: bytearray) -> bool:
        """
        Whether a stream of events has come to the mark after which SDKs read no further.
        """
        return not self.is_document and core.is_last(bytes(said[-sum(self._sizes[-8:]) :]))


class Memory:
    """
    What one call has to do with its service's cache, as its driver sees it.

    Attributes:
        key: The request's key in this process.
    """

    __slots__ = (
        "_asked",
        "_cache",
        "_crowd",
        "_is_claimed",
        "_is_computed",
        "_is_nested",
        "_name",
        "_shared_key",
        "_taken",
        "_tape",
        "_use",
        "key",
    )

    def __init__(self, cache: _Cache, salt: bytes, digest: bytes, use: Use, *, asked: Pairs, is_computed: bool) -> None:
        self._cache = cache
        self._use = use
        self._asked = asked
        self._taken = core.taken(asked)
        self._is_computed = is_computed
        self._is_nested = CURRENT.get() is not None
        self._is_claimed = False
        self._crowd: Crowd | None = None
        self._tape: Tape | None = None
        self._name: Name = partial(core.cache_key, digest=digest)
        self._shared_key = ""
        self.key = self._name(salt)

    def at_once(self) -> Found | None:
        """
        Return a fresh answer, if this process has one. Nothing is asked of others.
        """
        if self._use is not Use.ALL:
            return None
        found = self._cache.fresh(self.key, self._taken)
        if found is not None:
            self._cache.hits += 1
        return found

    def recall(self, step: Recall) -> object:
        """
        Do *step*, blocking.
        """
        story = self._older() if step.is_stale else self._story(step.until)
        looked = None
        try:
            while True:
                wish = story.send(looked)
                looked = None
                if isinstance(wish, _Look):
                    looked = self._look(wish)
                else:
                    self._cache.clock.rest(*wish)
        except StopIteration as end:
            return end.value if step.is_stale else self._counted(end.value)
        except BaseException:
            self.drop()
            raise

    async def arecall(self, step: Recall) -> object:
        """
        Do *step*, awaiting.
        """
        story = self._older() if step.is_stale else self._story(step.until)
        looked = None
        try:
            while True:
                wish = story.send(looked)
                looked = await (self._alook(wish) if isinstance(wish, _Look) else self._cache.clock.arest(*wish))
        except StopIteration as end:
            return end.value if step.is_stale else self._counted(end.value)
        except BaseException:
            self.drop()
            raise

    def _look(self, look: _Look) -> Looked:
        return look.shelf.find(self._name, is_enough=self._is_enough, is_alive=look.is_alive)

    async def _alook(self, look: _Look) -> Looked:
        """
        Look on another thread: an event loop that waits for a server holds up all of its tasks.
        """
        seeking = look.shelf.seek(self._name, is_enough=self._is_enough, is_alive=look.is_alive)
        loop = asyncio.get_running_loop()
        told = loop.create_future()
        seeking.add_done_callback(lambda _: _tell(loop, told))
        try:
            await told
        except BaseException:
            seeking.add_done_callback(lambda done: _give_back(look.shelf, done.result()))
            raise
        return seeking.result()

    def _is_enough(self, kept: Kept) -> bool:
        found = self._cache.worth(kept)
        return found is not None and not found.is_stale and self._taken.takes(found)

    def _shared(self, is_alive: Callable[[], bool] | None = None) -> Generator[_Look, Looked, bool | None]:
        """
        Look for what other processes have kept, and take it. Returns whether this one may make the call.
        """
        shelf = self._cache.shared
        if shelf is None:
            return True
        looked = yield _Look(shelf, is_alive)
        if looked.key:
            self._shared_key = looked.key
        if is_alive is not None:
            self._is_claimed = bool(looked.key and looked.is_mine)
        self._cache.take(self.key, looked.kept)
        return looked.is_mine

    def _counted(self, found: object) -> object:
        if found is MISS:
            self._cache.misses += 1
        elif not isinstance(found, Denied):
            self._cache.hits += 1
        return found

    def _older(self) -> _Story:
        found = None
        if self._use is Use.ALL:
            found = self._cache.find(self.key)
            if found is None or found.is_stale:
                # Another process may have had a newer one.
                yield from self._shared()
                found = self._cache.find(self.key)
        if found is None or not self._taken.takes(found):
            return MISS
        if found.is_stale and not core.may_be_stale(found.entry, is_computed=self._is_computed):
            return MISS
        if not found.is_stale:
            return self._counted(found)
        self._cache.stale += 1
        return found

    def _story(self, until: int | None) -> _Story:
        """
        Find an answer, or a crowd to wait with, or be the first of one. Yields whom to wait for, and until when, and
        what to look for.
        """
        cache = self._cache
        if self._taken.is_only:
            if self._use is Use.ALL:
                yield from self._shared()
            found = cache.fresh(self.key, self._taken) if self._use is Use.ALL else None
            return _NOT_KEPT if found is None else found
        if self._use is Use.RENEW:
            return MISS
        for _ in range(_LEADERS):
            crowd, is_first = cache.crowds.board(self.key, cache.clock.now())
            if is_first:
                self._crowd = crowd
                return (yield from self._lead(crowd, until))
            yield from self._wait(crowd, until)
            if crowd.answer is not None:
                return crowd.answer
            if crowd.is_scattered:
                return MISS
            if not crowd.is_over and until is not None and cache.clock.now() >= until:
                return _LATE
        return MISS

    def _lead(self, crowd: Crowd, until: int | None) -> _Story:
        """
        Be the first of a crowd; where other processes may have one of their own, find out whose turn it is.
        """
        now = self._cache.clock.now
        silent = 0
        while True:
            # Another crowd may have ended since this call has looked.
            found = self._cache.fresh(self.key, self._taken)
            is_mine: bool | None = False
            if found is None:
                is_mine = yield from self._shared(self._is_alive(crowd))
                found = self._cache.fresh(self.key, self._taken)
            if found is not None:
                self._end(found)
                return found
            if is_mine:
                return MISS
            silent = silent + 1 if is_mine is None else 0
            if silent > _SILENT:
                return MISS
            if until is not None and now() >= until:
                self._end(None)
                return _LATE
            if now() >= crowd.patience(is_nested=self._is_nested):
                return MISS
            yield crowd, min([now() + _LOOKS, *([] if until is None else [until])])

    def _is_alive(self, crowd: Crowd) -> Callable[[], bool]:
        clock = self._cache.clock

        def is_alive() -> bool:
            return not crowd.is_over and clock.now() < crowd.patience(is_nested=False)

        return is_alive

    def _wait(self, crowd: Crowd, until: int | None) -> Generator[tuple[Crowd, int], Any, None]:
        now = self._cache.clock.now
        while not crowd.is_over and (until is None or now() < until):
            patience = crowd.patience(is_nested=self._is_nested)
            if now() >= patience:
                crowd.forget()
                return
            yield crowd, patience if until is None else min(until, patience)

    def sent(self) -> None:
        """
        Note that the call has had its turn.
        """
        if self._crowd is not None:
            self._crowd.sent(self._cache.clock.now())

    def listen(self, status: int, reason: str, headers: Pairs, *, ok: bool) -> Tape | None:
        """
        Return what notes an attempt's answer; None if it is for this call only.

        Args:
            status: Its status.
            reason: The words beside it.
            headers: Its headers, their names in lower case.
            ok: Whether it is a good one.
        """
        self._tape = None
        cache = self._cache
        fresh_for = 0
        if ok:
            fresh_for = core.lifetime(
                status,
                headers,
                asked=self._asked,
                is_computed=self._is_computed,
                ttl=cache.spec.ttl,
                wall=cache.clock.wall() / 1_000_000,
            )
            if not fresh_for or _length(headers) > cache.spec.most:
                if self._crowd is not None:
                    self._crowd.end(scattered=True)
                return None
        head = status, reason, headers
        self._tape = Tape(
            cache.clock,
            self._crowd,
            head,
            fresh_for=fresh_for,
            most=cache.spec.most,
            is_computed=self._is_computed,
        )
        return self._tape

    def keep(self, done: Done | None) -> None:
        """
        Keep what the call came to, and tell those that wait for it.
        """
        tape, self._tape = self._tape, None
        found = None if done is None else self._worth(done, tape)
        if found is not None and tape is not None and tape.fresh_for and not found.is_stale:
            self._cache.put(self.key, found.entry, tape.fresh_for, shared_as=self._shared_key or self._name)
        self._end(found)

    def _worth(self, done: Done, tape: Tape | None) -> Found | None:
        if done.is_hit and done.outcome is not None:
            value: Any = done.outcome.value
            return value  # type: ignore[no-any-return]
        if tape is None or done.is_fallback or done.denied is not None or done.verdict is None:
            return None
        if not (done.verdict.ok or core.is_told(done.verdict)):
            return None
        entry = tape.entry()
        return None if entry is None else Found(entry)

    def drop(self) -> None:
        """
        Tell those that wait that nothing comes.
        """
        self._end(None)

    def _end(self, found: Found | None) -> None:
        crowd, self._crowd = self._crowd, None
        if crowd is not None:
            crowd.end(found)
        if self._is_claimed and self._cache.shared is not None:
            self._is_claimed = False
            self._cache.shared.release(self._shared_key)


def _tell(loop: asyncio.AbstractEventLoop, told: asyncio.Future[None]) -> None:
    """
    Wake the task that has looked; its loop may be closed by now.
    """
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(lambda: None if told.done() else told.set_result(None))


def _give_back(shelf: SharedShelf, looked: Looked) -> None:
    """
    Let others make a call that was claimed for somebody who has gone.
    """
    if looked.key and looked.is_mine:
        shelf.release(looked.key)


def _length(headers: Pairs) -> int:
    stated = next((value for name, value in headers if name == "content-length"), "")
    return int(stated) if stated.isascii() and stated.isdecimal() and len(stated) < 20 else 0
