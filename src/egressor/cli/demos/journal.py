"""
What the services note: one line of JSON for each request that arrived, and for each thing that was done to them.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TextIO

__all__ = ["Arrival", "Journal", "Notes", "read"]


@dataclass(slots=True, kw_only=True)
class Arrival:
    """
    One request at a service.

    Attributes:
        service: Which.
        call: The call that it belongs to; a retry has the same.
        priority: Its priority, as the client named it.
        line: What it competes with: calls of the same service and line draw on the same limits.
        sent_ns: When the client began the call, in monotonic nanoseconds; all processes of a machine share them.
        at_ns: When the request arrived.
        done_ns: When its answer was given; 0 while it was not.
        wall: When it arrived, in seconds since 1970.
        cost: What it cost, in the service's unit.
        status: What was answered; 0 if the connection was cut.
        retry_after: The seconds of the answer's ``Retry-After``; 0 without.
        is_whole: Whether the answer came to its end.
        micro_usd: What the service bills for it, in micro-dollars.
    """

    service: str
    call: str
    priority: str
    line: str
    sent_ns: int
    at_ns: int
    wall: float
    done_ns: int = 0
    cost: int = 1
    status: int = 0
    retry_after: int = 0
    is_whole: bool = True
    micro_usd: int = 0

    @property
    def is_ok(self) -> bool:
        """
        Whether it was served, to the end.
        """
        return self.status == 200 and self.is_whole


@dataclass(slots=True)
class Notes:
    """
    A journal, read.

    Attributes:
        arrivals: Requests, in the order of their arrival.
        outages: Service, begin and end of each outage, in monotonic nanoseconds.
    """

    arrivals: list[Arrival] = field(default_factory=list)
    outages: list[tuple[str, int, int]] = field(default_factory=list)

    def of(self, service: str) -> list[Arrival]:
        """
        Return the requests at *service*.
        """
        return [each for each in self.arrivals if each.service == service]


class Journal:
    """
    Writes a journal, line by line, so that nothing is lost if its process is.
    """

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def arrival(self, arrival: Arrival) -> None:
        """
        Note a request, once its answer is known.
        """
        self._write({"arrival": asdict(arrival)})

    def event(self, service: str, event: str, at_ns: int) -> None:
        """
        Note what was done to *service*.
        """
        self._write({"event": event, "service": service, "at_ns": at_ns})

    def _write(self, row: dict[str, object]) -> None:
        self._file.write(json.dumps(row) + "\n")
        self._file.flush()


def read(path: Path) -> Notes:
    """
    Read the journal at *path*. An outage without an end lasts for ever.
    """
    notes = Notes()
    down: dict[str, int] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if "arrival" in row:
            notes.arrivals.append(Arrival(**row["arrival"]))
        elif row["event"] == "down":
            down[row["service"]] = row["at_ns"]
        elif row["event"] == "up" and row["service"] in down:
            notes.outages.append((row["service"], down.pop(row["service"]), row["at_ns"]))
    notes.outages += [(service, at, 1 << 62) for service, at in down.items()]
    notes.arrivals.sort(key=lambda each: each.at_ns)
    return notes
