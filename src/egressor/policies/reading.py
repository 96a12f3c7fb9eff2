"""
Tables of the file's shape, read into a `Config`: every leaf is checked, every error kept with its place.

The leaves are read with the checks that the constructors use, so that one run names all that is wrong; only what is
right on its own is built, and then checked as a whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from egressor.errors import ConfigError
from egressor.policies.checks import SettingError, nearest, show, unlike
from egressor.policies.keys import ClientKey
from egressor.policies.model import (
    LONELY,
    Config,
    Gateway,
    Policy,
    check_service_name,
    is_lonely,
    strangers,
    to_secret,
    unsupported,
)
from egressor.policies.parts import BanPolicy, BreakerPolicy, BudgetPolicy, CachePolicy, RetryPolicy, Rule, Secret
from egressor.policies.patterns import ErrorPattern
from egressor.policies.prices import Prices, read_prices
from egressor.policies.settings import PYTHON, Settings, cause_of, settings_of, with_sources

if TYPE_CHECKING:
    from collections.abc import Callable

    from egressor.policies.checks import Path

    Reader = Callable[[object, Path], object]

__all__ = ["GLOBAL", "ConfigErrors", "Reading"]

_SECTIONS = ("egressor", "services", "gateway", "prices")
GLOBAL = ("store", "ledger", "history_for", "history_most", "money_sync", "on_store_loss", "unknown_hosts")
_MAY_BE_OFF = ("api_key", "cache", "budget")
# What others call it, where that is spelt too differently to be found near.
_OTHER_WORDS: Mapping[str, str] = {
    **dict.fromkeys(("rate", "rates", "rps", "rpm", "qps", "tokens", "tpm", "quota", "throttle"), "limits"),
    **dict.fromkeys(("url", "host", "upstream", "origin", "api_base"), "base_url"),
    **dict.fromkeys(("max_retries", "attempts", "backoff"), "retry"),
    **dict.fromkeys(("parallel", "workers", "max_connections", "bulkhead"), "max_concurrency"),
    **dict.fromkeys(("ttl", "caching"), "cache"),
    **dict.fromkeys(("cost", "spend", "max_budget"), "budget"),
}
_TABLES: Mapping[str, type[Settings]] = {
    "breaker": BreakerPolicy,
    "retry": RetryPolicy,
    "ban": BanPolicy,
    "cache": CachePolicy,
    "budget": BudgetPolicy,
}

# What to write in place of true or false.
_INSTEAD: Mapping[type[Settings], str] = {
    BreakerPolicy: "breaker.consecutive = 0 counts no failures in a row, and without other conditions it never opens",
    RetryPolicy: "retry.attempts = 1 never tries again",
    BanPolicy: "it always holds; ban.challenge_for = 0 takes no challenge for a ban",
    CachePolicy: "cache.ttl is the seconds for which an answer is kept",
    BudgetPolicy: "budget.unbounded = true adds up costs and bounds nothing",
}

_Kind = TypeVar("_Kind", bound=Settings)


class ConfigErrors(ConfigError):
    """
    Several settings are wrong; ``file``, ``line``, ``key`` and ``nearest`` are the first one's.

    Attributes:
        errors: One `ConfigError` for each of them, in the order of the file.
    """

    def __init__(self, errors: tuple[ConfigError, ...]) -> None:
        first = errors[0]
        lines = [f"{len(errors)} settings are wrong:", *(f"  {error}" for error in errors)]
        super().__init__("\n".join(lines), file=first.file, line=first.line, key=first.key, nearest=first.nearest)
        self.errors = errors

    def __str__(self) -> str:
        return self.message


class Reading:
    """
    The state of one reading: where keys stand, and what was wrong so far.
    """

    def __init__(self, *, file: str | None, lines: Mapping[Path, int]) -> None:
        self.file = file
        self.lines = lines
        self.errors: list[ConfigError] = []

    def config(self, table: object) -> Config:
        """
        Read the whole table, or raise all that is wrong with it.
        """
        sections = self.sections(table)
        values = self.leaves(Config, sections["egressor"], ("egressor",), only=GLOBAL)
        services = sections["services"]
        policies = {
            name: policy
            for name, each in self.items(services, ("services",))
            if (policy := self.service(name, each)) is not None
        }
        gateway = self.build(Gateway, sections["gateway"], ("gateway",), readers={"keys": self.keys})
        for wrong in strangers(gateway, services) if gateway is not None and isinstance(services, Mapping) else ():
            self.add(wrong, ())
        store, ledger = (values.get(name) or "memory:" for name in ("store", "ledger"))
        if gateway is not None and is_lonely(store, ledger, gateway, policies):
            self.add(SettingError(LONELY), ("egressor", "ledger"))
        prices = self.prices(sections["prices"])
        if self.errors or gateway is None:
            self.errors.sort(key=lambda error: error.line or 0)
            raise self.errors[0] if len(self.errors) == 1 else ConfigErrors(tuple(self.errors))
        sources = {key: self.source(("egressor", key)) for key in values}
        config = Config(**values, services=policies, gateway=gateway, prices=prices)
        return with_sources(config, {**sources, "services": self.source(("services",))})

    def prices(self, table: object) -> Prices:
        """
        Read the section of prices; nothing of it if something is wrong with it.
        """
        try:
            prices = read_prices(table, file=self.file, lines=self.lines)
        except ConfigError as error:
            self.errors.append(error)
            return Prices()
        return with_sources(prices, {str(key): self.source(("prices", str(key))) for key, _ in self.items(table, ())})

    def sections(self, table: object) -> dict[str, object]:
        """
        Return the sections of the file, empty where it has none.
        """
        found: dict[str, object] = {name: {} for name in _SECTIONS}
        for key, value in self.items(table, ()):
            if key in found:
                found[key] = value
                continue
            home = f"egressor.{key}" if key in GLOBAL else None
            message = f"unknown section {show(key)}: a file has {', '.join(f'[{name}]' for name in _SECTIONS)}"
            self.add(SettingError(message, nearest=home or nearest(key, _SECTIONS)), (key,))
        return found

    def service(self, name: object, table: object) -> Policy | None:
        """
        Read one service; None if something is wrong with it.
        """
        path: Path = ("services", str(name))
        try:
            check_service_name(name)
        except SettingError as error:
            self.add(error, path)
        if isinstance(table, Policy):
            policy: Policy | None = table
            places: list[Path] = [(*path, "rules", position) for position in range(len(table.rules))]
        else:
            places = []
            policy = self.policy(table, path, places)
        for refused in unsupported(policy) if policy is not None else ():
            self.add(_placed(refused, path, places), ())
        return policy

    def policy(self, table: object, path: Path, places: list[Path]) -> Policy | None:
        """
        Read the table of a service; *places* gets the path of each of its rules.
        """
        known = len(self.errors)
        table = dict(self.items(table, path))
        endpoints = table.pop("endpoints", {})
        readers = {key: self.reader(kind) for key, kind in _TABLES.items()}
        readers["api_key"] = self.secret
        readers["rules"] = lambda value, here: self.rules(value, here, places)
        readers["errors"] = self.patterns
        values = self.leaves(Policy, table, path, readers=readers, extra=("endpoints",))
        rules = self.endpoints(endpoints, (*path, "endpoints"), places)
        if rules:
            values["rules"] = (*values.get("rules", ()), *rules)
        if len(self.errors) > known:
            return None
        try:
            policy = Policy(**values)
        except ConfigError as error:
            self.add(_placed(cause_of(error), path, places), ())
            return None
        return with_sources(policy, {key: self.source((*path, key)) for key in values})

    def rules(self, value: object, path: Path, places: list[Path]) -> tuple[Rule | None, ...]:
        """
        Read a service's list of rules.
        """
        if not isinstance(value, list | tuple):
            self.add(unlike(value, "a list of tables, [[…rules]]"), path)
            return ()
        places += [(*path, position) for position in range(len(value))]
        return tuple(
            each if isinstance(each, Rule) else self.rule(each, (*path, position))
            for position, each in enumerate(value)
        )

    def patterns(self, value: object, path: Path) -> tuple[ErrorPattern | None, ...]:
        """
        Read a service's list of patterns of errors.
        """
        if not isinstance(value, list | tuple):
            self.add(unlike(value, "a list of tables, [[…errors]]"), path)
            return ()
        return tuple(
            each if isinstance(each, ErrorPattern) else self.build(ErrorPattern, each, (*path, position))
            for position, each in enumerate(value)
        )

    def endpoints(self, value: object, path: Path, places: list[Path]) -> tuple[Rule | None, ...]:
        """
        Read ``[services.X.endpoints.NAME]``: short for a rule that matches the endpoint NAME.
        """
        rules: list[Rule | None] = []
        for name, table in self.items(value, path):
            here = (*path, name)
            settings = dict(self.items(table, here))
            if "match" in settings:
                message = "an endpoint's table matches its own name: to match more, write a rule"
                self.add(SettingError(message), (*here, "match"))
                continue
            places.append(here)
            rules.append(self.rule({"match": {"endpoint": name}, **settings}, here))
        return tuple(rules)

    def rule(self, table: object, path: Path) -> Rule | None:
        """
        Read one rule; None if something is wrong with it.
        """
        if isinstance(table, Mapping) and "match" not in table:
            self.add(SettingError('a rule needs match, for example { user = "*" }'), path)
            return None
        return self.build(Rule, table, path, readers={"budget": self.reader(BudgetPolicy)})

    def keys(self, value: object, path: Path) -> tuple[ClientKey | None, ...]:
        """
        Read the gateway's list of clients' keys.
        """
        if not isinstance(value, list | tuple):
            self.add(unlike(None, "a list of tables, [[gateway.keys]]"), path)
            return ()
        return tuple(self.key(each, (*path, position)) for position, each in enumerate(value))

    def key(self, value: object, path: Path) -> ClientKey | None:
        """
        Read one client's key; anything but a table is refused without being shown, as it may be the key.
        """
        if isinstance(value, ClientKey):
            return value
        if isinstance(value, Mapping):
            return self.build(ClientKey, value, path, readers={"budget": self.reader(BudgetPolicy)})
        message = "expected a table, [[gateway.keys]], with the key's hash, and no key: egressor key NAME prints it"
        self.add(SettingError(message), path)
        return None

    def secret(self, value: object, path: Path) -> object:
        """
        Read where a key is; anything but a table is refused without being shown, as it may be the key.
        """
        return self.build(Secret, value, path) if isinstance(value, Mapping) else self.checked(to_secret, value, path)

    def reader(self, kind: type[Settings]) -> Reader:
        """
        Return what reads a table as *kind*; objects of *kind* pass.
        """

        def read(value: object, path: Path) -> object:
            if isinstance(value, bool) and kind in _INSTEAD:
                self.add(SettingError(f"{unlike(value, 'a table').message}: {_INSTEAD[kind]}"), path)
                return None
            return value if isinstance(value, kind) else self.build(kind, value, path)

        return read

    def build(
        self,
        kind: type[_Kind],
        table: object,
        path: Path,
        *,
        readers: Mapping[str, Reader] | None = None,
    ) -> _Kind | None:
        """
        Read *table* as *kind*; None if something is wrong with it.
        """
        known = len(self.errors)
        values = self.leaves(kind, table, path, readers=readers or {})
        if len(self.errors) > known:
            return None
        try:
            built = kind(**values)
        except ConfigError as error:
            self.add(cause_of(error), path)
            return None
        return with_sources(built, {key: self.source((*path, key)) for key in values})

    def leaves(
        self,
        kind: type[Settings],
        table: object,
        path: Path,
        *,
        readers: Mapping[str, Reader] | None = None,
        only: tuple[str, ...] = (),
        extra: tuple[str, ...] = (),
    ) -> dict[str, Any]:
        """
        Check each key of *table* against the settings of *kind*.

        Args:
            kind: Whose settings the keys are.
            table: The table, as it was given.
            path: Where it stands.
            readers: What reads the values that are tables themselves.
            only: The settings that may stand here; none named means all.
            extra: Further names that may be meant by a misspelt key.
        """
        checks = {each.name: each.metadata["check"] for each in settings_of(kind) if not only or each.name in only}
        values: dict[str, Any] = {}
        for key, value in self.items(table, path):
            here = (*path, key if isinstance(key, str) else str(key))
            if key not in checks:
                known = (*checks, *extra)
                meant = _OTHER_WORDS.get(str(key).lower())
                near = meant if meant in known else nearest(key, known)
                self.add(SettingError("unknown setting", nearest=near), here)
            elif readers is not None and key in readers and not (key in _MAY_BE_OFF and value in (None, False)):
                values[key] = readers[key](value, here)
            else:
                values[key] = self.checked(checks[key], value, here)
        return values

    def checked(self, check: Callable[[object], object], value: object, path: Path) -> object:
        """
        Return the value as *check* keeps it; note what is wrong with it.
        """
        try:
            return check(value)
        except SettingError as error:
            self.add(error, path)
            return None

    def items(self, table: object, path: Path) -> list[tuple[Any, Any]]:
        """
        Return the items of *table*; none, and an error, if it isn't one.
        """
        if isinstance(table, Mapping):
            return list(table.items())
        self.add(unlike(table, "a table"), path)
        return []

    def add(self, error: SettingError, path: Path) -> None:
        """
        Note *error* of the setting *path*, and those that came with it.
        """
        for each in (error, *error.more):
            line = self.line((*path, *each.at))
            self.errors.append(each.config_error(key=path, file=self.file, line=line))

    def line(self, path: Path) -> int | None:
        """
        Return the line of *path*, or of the nearest table around it.
        """
        for length in range(len(path), 0, -1):
            if path[:length] in self.lines:
                return self.lines[path[:length]]
        return None

    def source(self, path: Path) -> str:
        """
        Return where the value at *path* came from.
        """
        line = self.line(path)
        if self.file is None:
            return PYTHON
        from pathlib import PurePath

        name = PurePath(self.file).name
        return name if line is None else f"{name}:{line}"


def _placed(error: SettingError, path: Path, places: list[Path]) -> SettingError:
    """
    Return *error* of a policy at its place: a rule may stand in the table of an endpoint.
    """
    if len(error.at) > 1 and error.at[0] == "rules" and isinstance(error.at[1], int):
        return SettingError(error.message, nearest=error.nearest, at=(*places[error.at[1]], *error.at[2:]))
    return error.inside(*path)
