"""
The keys that clients of the gateway show.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from egressor.policies.checks import SettingError, many, optional, text, whole
from egressor.policies.parts import to_budget, to_priority
from egressor.policies.settings import Settings, setting

if TYPE_CHECKING:
    from egressor._core.model import Priority
    from egressor.policies.parts import BudgetPolicy

__all__ = ["KEY", "ClientKey", "host_name"]

KEY = "key:"
"""
How the name of a key's budget begins.
"""

_SCOPE = text(r"[^\x00-\x1f\x7f]{1,256}", what="1 to 256 printable characters")
_SERVICE = text(r"[a-z0-9][a-z0-9_.-]{0,63}", what="a service's name")
_MODEL = text(r"[!-~]{1,200}", what="a model's name, or one with * for any text")

host_name = text(
    r"(?!.*://)(?:[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,252})|\[[0-9A-Fa-f:.]{2,45}\])",
    what="a host's name or address without a scheme or a port",
)
"""
The check of a name under which the gateway is reached.
"""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class ClientKey(Settings):
    """
    One client's key, of which only the hash is known.

    Attributes:
        name: What the log calls the client.
        sha256: SHA-256 of the key, 64 hexadecimal digits: ``egressor key`` prints both.
        user: The scope's user of all of its calls. Default: what the client says.
        feature: The scope's feature of all of its calls. Default: what the client says.
        services: The services that it may call. Default: all.
        models: The models that it may ask of services that may have any, with ``*`` for any text. Default: all.
        max_priority: The highest priority that its requests have; a higher one is lowered to it, whoever gives it.
            Default: every one.
        budget: Money that its requests may cost, to all services together that may have models, besides the services'
            own budgets. Default: no bound.
        max_in_flight: Requests that it may have open at a time, those that wait included, per worker; one more gets
            429. Default: no bound.
    """

    name: str = setting("", text(r"[A-Za-z0-9][A-Za-z0-9_.@-]{0,63}", what="1 to 64 of A-Z, a-z, 0-9, _, ., @ and -"))
    sha256: str = setting("", text(r"[0-9a-f]{64}", what="a SHA-256 of 64 lower-case hexadecimal digits", hidden=True))
    user: str | None = setting(None, optional(_SCOPE))
    feature: str | None = setting(None, optional(_SCOPE))
    services: tuple[str, ...] = setting((), many(_SERVICE))
    models: tuple[str, ...] = setting((), many(_MODEL))
    max_priority: Priority | None = setting(None, optional(to_priority))
    budget: BudgetPolicy | None = setting(None, optional(to_budget))
    max_in_flight: int | None = setting(None, optional(whole(at_least=1, at_most=1_000_000)))

    def _agree(self, given: object) -> None:  # noqa: ARG002
        for each in ("name", "sha256"):
            if not getattr(self, each):
                message = "a client's key needs both: egressor key NAME prints them"
                raise SettingError(message, at=(each,))
        if self.budget is not None and not self.budget.is_bound:
            message = "a key's budget bounds something: hour, day, week, month or total"
            raise SettingError(message, at=("budget",))

    @property
    def owner(self) -> str:
        """
        Whose its budgets are, as their names begin. No service has a colon in its name.
        """
        return f"{KEY}{self.name}"

    def __repr__(self) -> str:
        return f"ClientKey(name={self.name!r})"

    def __str__(self) -> str:
        return self.name
