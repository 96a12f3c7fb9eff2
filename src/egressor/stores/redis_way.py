"""
Which server a service's keys are on.

*One server.* The one that is named.

*Sentinel.* The sentinels are asked for the master, when there is none yet, when a line broke, and every few seconds in
between: an old master that a partition cut off from its sentinels still answers us, and what it counts will be lost.

*Cluster.* All keys of a service have one tag, so they are in one place; any node says where: it answers ``MOVED``. No
map of the cluster is kept, only for each tag the node that answered last.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Any

from . import StoreAway
from .redis_line import Line, Said
from .redis_lines import Lines

if TYPE_CHECKING:
    from .redis_place import Place

__all__ = ["Way"]

_HOPS = 5
_TAGS = 10_000
_AGAIN = 3.0
# After one of these another server may be the right one.
_ELSEWHERE = frozenset({"READONLY", "LOADING", "MASTERDOWN", "CLUSTERDOWN", "NOREPLICAS"})

_Where = tuple[str, int]


class Way:
    """
    The way to the servers of *place*, for any thread.
    """

    def __init__(self, place: Place) -> None:
        self._place = place
        self._lines: dict[_Where, Lines] = {}
        self._tags: dict[bytes, _Where] = {}
        self._first = 0
        self._asked_at = -_AGAIN

    def ask(self, tag: bytes, *commands: tuple[Any, ...], until: float) -> list[Any]:
        """
        Ask *commands* of the server that holds *tag*, and return the answers.

        Raises:
            StoreAway: They can't be had *until* then.
        """
        where = self._where(tag, until)
        answers: list[Any] = [None] * len(commands)
        left, asking = list(range(len(commands))), False
        for _ in range(_HOPS):
            sent = [commands[number] for number in left]
            if asking:
                # It counts for the next command only: https://redis.io/docs/latest/commands/asking/.
                found = self._ask_at(where, tuple([each for one in sent for each in (("ASKING",), one)]), until=until)
                found = found[1::2]
            else:
                found = self._ask_at(where, tuple(sent), until=until)
            for number, answer in zip(left, found, strict=True):
                answers[number] = answer
            said = next((answer for answer in found if isinstance(answer, Said)), None)
            if said is None:
                return answers
            if said.code not in {"MOVED", "ASK"}:
                if said.code in _ELSEWHERE:
                    self._forget(where)
                return answers
            # While keys move, some are here and some there already: what was done isn't done again.
            left = [number for number in left if _is_sent_on(answers[number])]
            # A node that doesn't know its own name leaves the host out: it is the one that was asked.
            host, _, port = said.rest.rpartition(" ")[2].rpartition(":")
            where = (host.strip("[]") or where[0], int(port))
            asking = said.code == "ASK"
            if not asking:
                self._learn(tag, where)
        msg = "Redis: the nodes of the cluster send us around in a circle"
        raise StoreAway(msg)

    def open(self, tag: bytes, until: float) -> Line:
        """
        Open a line of one's own to the server that holds *tag*, or to any that is as good.

        Raises:
            StoreAway: It can't be opened.
        """
        where = self._where(tag, until)
        try:
            return Line(self._place, *where)
        except StoreAway:
            self._forget(where)
            raise

    def close(self) -> None:
        """
        End all lines.
        """
        for lines in list(self._lines.values()):
            lines.close()

    def _ask_at(self, where: _Where, commands: tuple[tuple[Any, ...], ...], *, until: float) -> list[Any]:
        lines = self._lines.get(where)
        if lines is None:
            lines = self._lines.setdefault(where, Lines(lambda: Line(self._place, *where)))
        try:
            line = lines.take(until)
            answers = line.ask(*commands, until=until)
        except StoreAway:
            lines.drop()
            self._forget(where)
            raise
        lines.give(line)
        return answers

    def _where(self, tag: bytes, until: float) -> _Where:
        hosts = self._place.hosts
        if self._place.kind == "sentinel":
            if monotonic() - self._asked_at > _AGAIN:
                self._find_master(until)
            return self._tags[b""]
        if self._place.kind == "cluster":
            return self._tags.get(tag) or hosts[self._first % len(hosts)]
        return hosts[0]

    def _forget(self, where: _Where) -> None:
        if self._place.kind == "cluster":
            self._first += 1
            for tag in [tag for tag, known in list(self._tags.items()) if known == where]:
                self._tags.pop(tag, None)
        self._asked_at = -_AGAIN

    def _learn(self, tag: bytes, where: _Where) -> None:
        if len(self._tags) >= _TAGS:
            self._tags.clear()
        self._tags[tag] = where

    def _find_master(self, until: float) -> None:
        """
        Ask the sentinels, from the one that answered last on. None that answers: a master that is known will do.
        """
        hosts = self._place.hosts
        command = ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._place.master)
        text = "none of the sentinels answers"
        for turn in range(len(hosts)):
            number = (self._first + turn) % len(hosts)
            lines = self._sentinel(hosts[number])
            rest = until - monotonic()
            try:
                # One that is frozen may not take the time that the others need.
                line = lines.take(monotonic() + rest / 2)
                [found] = line.ask(command, until=monotonic() + rest / 2)
            except StoreAway:
                lines.drop()
                continue
            lines.give(line)
            if isinstance(found, list) and len(found) == 2:
                self._first = number
                self._asked_at = monotonic()
                self._master((found[0].decode(), int(found[1])))
                return
            text = found.reason() if isinstance(found, Said) else "the sentinels know no master of that name"
        if b"" not in self._tags:
            msg = f"Redis, sentinels at {self._place}: {text}"
            raise StoreAway(msg)
        # A master that answers is better than none, and the sentinels are asked again soon.
        self._asked_at = monotonic()

    def _master(self, where: _Where) -> None:
        known = self._tags.get(b"")
        self._tags[b""] = where
        if known not in (None, where):
            lines = self._lines.pop(known, None)
            if lines is not None:
                lines.close()

    def _sentinel(self, where: _Where) -> Lines:
        key = ("sentinel " + where[0], where[1])
        lines = self._lines.get(key)
        if lines is None:
            lines = self._lines.setdefault(key, Lines(lambda: Line(self._place, *where, is_sentinel=True)))
        return lines


def _is_sent_on(answer: object) -> bool:
    return isinstance(answer, Said) and answer.code in {"MOVED", "ASK"}
