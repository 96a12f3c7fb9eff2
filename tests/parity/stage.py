"""
A stage on which the same scene is played by either driver, with or without somebody watching.

Nothing here takes real time, and chance is the number 0.5 for ever, so a scene has one right course: what each call
came to, when each attempt was sent, and what the gate says afterwards. A tap turns the straight path off, so with a tap
the plan tells the whole story; without one a success takes the straight path. All must come to the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from egressor import Governor, Priority
from egressor._core.admission import Denied, Lease
from egressor.governor.route import Options
from egressor.stores import Parked
from egressor.testing import FakeClock

if TYPE_CHECKING:
    from egressor.telemetry import Event

__all__ = ["Answer", "Call", "Record", "Scene", "Stage", "perform"]

MICRO = 1_000_000


class Answer:
    """
    What looks like an HTTP response.
    """

    def __init__(self, status_code: int, **headers: str) -> None:
        self.status_code = status_code
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}

    def __repr__(self) -> str:
        return f"Answer {self.status_code}"


@dataclass(frozen=True)
class Call:
    """
    One call of a scene, with the options that it states.
    """

    options: Mapping[str, Any] = field(default_factory=dict)
    args: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Scene:
    """
    One row of the table.

    Attributes:
        name: What is tried.
        policy: The service's policy.
        acts: Calls, and things that happen between them.
        script: What the upstream does at each attempt: returns, raises, or calls with the stage and returns or raises.
        endings: What each call comes to.
        sent_at: Seconds from the beginning at which attempts were sent.
    """

    name: str
    policy: Mapping[str, Any]
    acts: Sequence[Call | Callable[[Stage], object]]
    script: Sequence[Any]
    endings: Sequence[str]
    sent_at: Sequence[float]


@dataclass
class Record:
    """
    What came of a scene.
    """

    endings: list[str]
    sent_at: list[float]
    elapsed: float
    bystanders: list[str]
    status: dict[str, Any]
    events: list[tuple[str, str, float]]


class Stage:
    """
    A governor with one service, ``s``, whose upstream follows a script.
    """

    def __init__(self, scene: Scene, *, tapped: bool) -> None:
        self.clock = FakeClock()
        self.gov = Governor({"s": scene.policy}, clock=self.clock, dice=lambda: 0.5)
        self.start = self.clock.now()
        self.sent_at: list[float] = []
        self.bystanders: list[Parked] = []
        self.events: list[Event] = []
        self._script = list(scene.script)
        self._leases: list[Lease] = []
        if tapped:
            self.gov.tap(self.events.append)

    @property
    def elapsed(self) -> float:
        """
        Seconds since the beginning.
        """
        return (self.clock.now() - self.start) / MICRO

    def attempt(self, *args: Any) -> Any:
        """
        Be the upstream.
        """
        self.sent_at.append(self.elapsed)
        item = self._script.pop(0)
        if callable(item):
            item = item(self)
        if isinstance(item, BaseException):
            raise item
        return item

    async def aattempt(self, *args: Any) -> Any:
        """
        Be the upstream of coroutines.
        """
        await asyncio.sleep(0)
        return self.attempt(*args)

    def later(self, seconds: float, function: Callable[[], object]) -> None:
        """
        Let something happen *seconds* from now.
        """
        self.clock.call_at(self.clock.now() + round(seconds * MICRO), function)

    def hold(self) -> None:
        """
        Let somebody else take a place, and keep it until `give_back`.
        """
        gate = self.gov.gate("s")
        lease = gate.admit(self.gov.route("s", Options()).ask((), {}), self.clock.now())
        assert isinstance(lease, Lease)
        self._leases.append(lease)

    def give_back(self) -> None:
        """
        Give back the first place of `hold`, under which nothing was sent.
        """
        self.gov.gate("s").undo(self._leases.pop(0))

    def bystand(self, priority: Priority, *, within: float = 60.0) -> None:
        """
        Let somebody else wait in the queue.
        """
        gate = self.gov.gate("s")
        parked = Parked(self.clock.threads, lambda: None)
        self.bystanders.append(parked)
        until = self.clock.now() + round(within * MICRO)
        assert gate.park(self.gov.route("s", Options(priority=priority)).ask((), {}), until, parked) is None

    def play(self, scene: Scene, *, decorated: bool) -> Record:
        """
        Play *scene*, blocking.
        """
        endings = []
        for act in scene.acts:
            if not isinstance(act, Call):
                act(self)
                continue
            try:
                if decorated:
                    value = self.gov.throttled("s", **act.options)(self.attempt)(*act.args)
                else:
                    value = self.gov.call("s", self.attempt, *act.args, **act.options)
                endings.append(f"returned {value!r}")
            except BaseException as error:  # noqa: BLE001 - scenes end with all kinds
                endings.append(raised(error))
        return self.record(endings)

    async def aplay(self, scene: Scene, *, decorated: bool) -> Record:
        """
        Play *scene*, awaiting.
        """
        endings = []
        for act in scene.acts:
            if not isinstance(act, Call):
                act(self)
                continue
            try:
                if decorated:
                    value = await self.gov.throttled("s", **act.options)(self.aattempt)(*act.args)
                else:
                    value = await self.gov.acall("s", self.aattempt, *act.args, **act.options)
                endings.append(f"returned {value!r}")
            except BaseException as error:  # noqa: BLE001 - scenes end with all kinds
                endings.append(raised(error))
        return self.record(endings)

    def record(self, endings: list[str]) -> Record:
        """
        Write down what came of it.
        """
        assert self.gov.taps.drain(10)
        assert self._script == []
        return Record(
            endings=endings,
            sent_at=self.sent_at,
            elapsed=self.elapsed,
            bystanders=[shown(parked.reply) for parked in self.bystanders],
            status=self.gov.status()["s"],
            events=[(type(each.step).__name__, shown(each.reply), self._at(each)) for each in self.events],
        )

    def _at(self, event: Event) -> float:
        return (event.now - self.start) / MICRO


def perform(scene: Scene, *, driver: str, way: str, tapped: bool) -> Record:
    """
    Play *scene* by the driver (``sync`` or ``async``), by ``call`` or ``decorator``.
    """
    stage = Stage(scene, tapped=tapped)
    decorated = way == "decorator"
    if driver == "sync":
        return stage.play(scene, decorated=decorated)
    return asyncio.run(stage.aplay(scene, decorated=decorated))


def raised(error: BaseException) -> str:
    """
    Show *error* with its notes, and the seconds after which to come back.
    """
    after = getattr(error, "retry_after", None)
    parts = [type(error).__name__, str(error), *getattr(error, "__notes__", ())]
    return " | ".join([*parts, *([] if after is None else [f"retry_after {after:g}"])])


def shown(reply: object) -> str:
    """
    Show the reply to a step, without what differs from run to run.
    """
    if isinstance(reply, Lease):
        return f"Lease probe={reply.probe}"
    if isinstance(reply, Denied):
        return f"Denied {reply.why} {reply.wait}"
    if isinstance(reply, str):
        return "the id of a hold"
    return repr(reply)
