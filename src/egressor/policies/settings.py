"""
The base of all policies: settings that know their check, their default, and where their value came from.

A setting that was not given must stay distinguishable from one that was given its default, because a service type's
preset fills only what is left out. So every field's constructor default is `UNSET`; construction replaces it, checks
what was given, and notes the source of each value in ``sources``.
"""

from __future__ import annotations

from dataclasses import Field, dataclass, field, fields
from typing import TYPE_CHECKING, Any, Self, TypeVar

from egressor.errors import ConfigError
from egressor.policies.checks import SettingError, nearest
from egressor.policies.redaction import redact

if TYPE_CHECKING:
    from collections.abc import Mapping
    from collections.abc import Set as AbstractSet

    from egressor.policies.checks import Check

__all__ = [
    "DEFAULT",
    "PYTHON",
    "UNSET",
    "Settings",
    "cause_of",
    "ordered",
    "setting",
    "settings_of",
    "with_preset",
    "with_sources",
]

DEFAULT = "default"
PYTHON = "python"


class _Unset:
    """
    Stands for a setting that was not given.
    """

    def __repr__(self) -> str:
        return "UNSET"


UNSET: Any = _Unset()
"""
The constructor default of every setting: the preset's value, or else the documented default.
"""


def setting(default: object, check: Check) -> Any:
    """
    Declare a field with its *default* (a function of no arguments is called for it) and its *check*.
    """
    return field(default=UNSET, metadata={"default": default, "check": check})


def _shown(value: object) -> str:
    # A path of a URL may be a token (a Telegram bot's), and somebody pastes a key where its file is asked for.
    return repr(redact(value) if isinstance(value, str) else value)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Settings:
    """
    Settings that are checked when they are built, and never change.

    ``dataclasses.replace`` keeps every value that it isn't given, presets included; all of them then count as given.

    Attributes:
        sources: Where each value came from: ``default``, ``preset llm_api``, ``egressor.toml:12`` or ``python``.
    """

    sources: dict[str, str] = field(default_factory=dict, init=False)

    def __new__(cls, **given: object) -> Self:
        """
        Refuse a setting that there isn't, as the file's reader does.
        """
        names = [each.name for each in fields(cls) if each.init]
        for name in given:
            if name not in names:
                raise SettingError("unknown setting", nearest=nearest(name, names)).config_error(
                    key=(cls.__name__, name)
                )
        # With slots, dataclass makes the class anew, and super() knows the old one.
        return object.__new__(cls)

    def __post_init__(self) -> None:
        try:
            self._complete()
        except SettingError as error:
            raise error.config_error(key=(type(self).__name__,)) from None

    # Written once instead of generated for each class, which would make the import a third slower.
    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return all(getattr(self, each.name) == getattr(other, each.name) for each in settings_of(type(self)))

    def __hash__(self) -> int:
        values = (getattr(self, each.name) for each in settings_of(type(self)))
        return hash(tuple([value for value in values if not isinstance(value, dict)]))

    def __repr__(self) -> str:
        values = [f"{each.name}={_shown(getattr(self, each.name))}" for each in settings_of(type(self))]
        return f"{type(self).__name__}({', '.join(values)})"

    def _complete(self) -> None:
        self._settle({}, "")
        self._agree({name for name, source in self.sources.items() if source == PYTHON})

    def _settle(self, preset: Mapping[str, object], label: str) -> None:
        """
        Give every setting its final value: what was given, else the *preset*'s, else the default.
        """
        for each in settings_of(type(self)):
            value, source = getattr(self, each.name), PYTHON
            if value is UNSET:
                value, source = (preset[each.name], label) if each.name in preset else (_default(each), DEFAULT)
            if source != DEFAULT:
                try:
                    value = each.metadata["check"](value)
                except SettingError as error:
                    raise error.inside(each.name) from None
            object.__setattr__(self, each.name, value)
            self.sources[each.name] = source

    def _agree(self, given: AbstractSet[str]) -> None:
        """
        Check settings against each other, those in *given* only; raise `SettingError` with the culprit in ``at``.
        """


_Owner = TypeVar("_Owner", bound=Settings)


def _default(each: Field[Any]) -> object:
    default = each.metadata["default"]
    return default() if callable(default) else default


def settings_of(kind: type[Settings]) -> list[Field[Any]]:
    """
    Return the fields of *kind* that are settings, in the order of their declaration.
    """
    return [each for each in fields(kind) if "check" in each.metadata]


def with_sources(owner: _Owner, sources: Mapping[str, str]) -> _Owner:
    """
    Note where values came from, and return *owner*.
    """
    owner.sources.update(sources)
    return owner


def with_preset(owner: _Owner, preset: Mapping[str, object], label: str, name: str) -> _Owner:
    """
    Return *owner* with the *preset*'s values where it holds defaults, and all of its settings checked together.

    Raises:
        SettingError: They don't agree; *name* is what *owner* is called where it belongs.
    """
    values = {each.name: getattr(owner, each.name) for each in settings_of(type(owner))}
    filled = {key: value for key, value in preset.items() if owner.sources[key] == DEFAULT}
    try:
        merged = type(owner)(**{**values, **filled})
    except ConfigError as error:
        raise cause_of(error).inside(name) from None
    return with_sources(merged, {**owner.sources, **dict.fromkeys(filled, label)})


def cause_of(error: ConfigError) -> SettingError:
    """
    Return what made a constructor raise *error*: the same, with the place inside of the object.
    """
    cause = error.__context__
    return cause if isinstance(cause, SettingError) else SettingError(error.message, nearest=error.nearest)


def ordered(owner: Settings, given: AbstractSet[str], low: str, high: str, unit: str = "") -> None:
    """
    Refuse a setting *low* that is above the setting *high*, if both are *given*.
    """
    least, most = getattr(owner, low), getattr(owner, high)
    if low in given and high in given and least > most:
        message = f"{least:g}{unit} is above {high} ({most:g}{unit})"
        raise SettingError(message, at=(low,))
