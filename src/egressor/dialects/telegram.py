"""
Telegram: the Bot API's sentences, and MTProto's names.

The Bot API says in words what its status says, and how long a flood lasts in ``parameters.retry_after``; a wrong
token is a 404. MTProto's errors reach us as exceptions only (Telethon's classes are made out of their names, so that
a name is found again in the class), or as ``RPCError 420: FLOOD_WAIT_42``. Names are read whole, then without their
number, then by their ending.
"""

from __future__ import annotations

from typing import Final

from egressor._core.model import ErrorCategory as Kind
from egressor._core.rule import Rule
from egressor.dialects.bodies import Answer, dig
from egressor.dialects.engine import Dialect
from egressor.dialects.forms import number, prose
from egressor.dialects.http_codes import STATUS_CODES
from egressor.dialects.terms import (
    BAD,
    BAN_ACCOUNT,
    BUSY,
    CLASH,
    DOWN,
    GARBLED,
    KEY,
    LATE,
    LIMITED,
    LIMITED_ACCOUNT,
    LIMITED_RECIPIENT,
    MISSING,
    NOT_NOW,
    RECIPIENT,
    RIGHTS,
    phrases,
    sentences,
    table,
)

__all__ = ["DIALECT"]

_BOTS: Final = "https://core.telegram.org/bots/api#making-requests"
_FAQ: Final = "https://core.telegram.org/bots/faq"
_METHODS: Final = "https://core.telegram.org/api/errors"
_NAMES: Final = "https://github.com/LonamiWebs/Telethon/blob/v1/telethon_generator/data/errors.csv"

# Another data centre has it: the library goes there by itself, and nobody has failed.
_ELSEWHERE: Final = Rule(Kind.UNKNOWN, retry=True, counts=False)
# What MTProto says, by name; a number in it stands as X.
_RPC: Final = table(
    _NAMES,
    {
        LIMITED: "FLOOD_WAIT_X FLOOD_WAIT FLOOD_TEST_PHONE_WAIT_X FLOOD_PREMIUM_WAIT_X TAKEOUT_INIT_DELAY_X",
        LIMITED_RECIPIENT: "SLOWMODE_WAIT_X SLOW_MODE_WAIT SLOW_MODE_WAIT_X",
        # They name no time, or one of a week: nothing to wait for.
        LIMITED_ACCOUNT._replace(retry=False): """
            2FA_CONFIRM_WAIT_X TWO_FA_CONFIRM_WAIT PHONE_NUMBER_FLOOD PHONE_PASSWORD_FLOOD PASSWORD_TOO_FRESH_X
            SESSION_TOO_FRESH_X PHONE_CODE_FLOOD
        """,
        BAN_ACCOUNT: """
            USER_DEACTIVATED_BAN PHONE_NUMBER_BANNED PEER_FLOOD USER_BANNED_IN_CHANNEL API_ID_PUBLISHED_FLOOD
            FROZEN_METHOD_INVALID
        """,
        KEY: """
            AUTH_KEY_UNREGISTERED AUTH_KEY_INVALID AUTH_KEY_DUPLICATED AUTH_KEY_PERM_EMPTY AUTH_BYTES_INVALID
            SESSION_EXPIRED SESSION_REVOKED SESSION_PASSWORD_NEEDED USER_DEACTIVATED ACTIVE_USER_REQUIRED
            ACCESS_TOKEN_EXPIRED ACCESS_TOKEN_INVALID API_ID_INVALID PASSWORD_HASH_INVALID PHONE_CODE_INVALID
            PHONE_CODE_EXPIRED AUTH_TOKEN_EXPIRED AUTH_TOKEN_INVALID AUTH_TOKEN_INVALIDX AUTH_TOKEN_INVALID2
            BOT_TOKEN_INVALID TOKEN_INVALID TEMP_AUTH_KEY_EMPTY
            PHONE_NUMBER_UNOCCUPIED PHONE_NUMBER_INVALID
        """,
        RIGHTS: """
            CHAT_ADMIN_REQUIRED CHAT_ADMIN_INVITE_REQUIRED CHANNEL_PRIVATE CHANNEL_PUBLIC_GROUP_NA CHAT_RESTRICTED
            PREMIUM_ACCOUNT_REQUIRED BOT_METHOD_INVALID UPDATE_APP_TO_LOGIN MESSAGE_AUTHOR_REQUIRED BOT_GROUPS_BLOCKED
            USER_CREATOR USER_KICKED USER_INVALID_ADMIN USER_ADMIN_INVALID USER_CHANNELS_TOO_MUCH
        """,
        RECIPIENT: """
            USER_IS_BLOCKED YOU_BLOCKED_USER USER_PRIVACY_RESTRICTED USER_NOT_MUTUAL_CONTACT INPUT_USER_DEACTIVATED
            USER_IS_BOT USER_BLOCKED CHANNEL_BANNED
        """,
        CLASH: """
            USERNAME_OCCUPIED PHONE_NUMBER_OCCUPIED PACK_SHORT_NAME_OCCUPIED RANDOM_ID_DUPLICATE
            USER_ALREADY_PARTICIPANT
        """,
        MISSING: "USERNAME_NOT_OCCUPIED PHONE_NOT_OCCUPIED",
        DOWN: "RPC_CALL_FAIL RPC_MCGET_FAIL INTERDC_X_CALL_ERROR INTERDC_X_CALL_RICH_ERROR",
        BUSY: "WORKER_BUSY_TOO_LONG_RETRY",
        NOT_NOW: "AUTH_RESTART",
        LATE: "TIMEOUT TIMED_OUT TIMEDOUT",
    },
)
# What an error's number says by itself. That of a 400, 406 or 420 may be many things.
_NUMBERS: Final = {
    "303": _ELSEWHERE,
    "401": KEY,
    "403": RIGHTS,
    "404": MISSING,
    "500": DOWN,
    "503": LATE,
}
_BASES: Final = {
    "ForbiddenError": "403",
    "InvalidDCError": "303",
    "NotFoundError": "404",
    "ServerError": "500",
    "TimedOutError": "503",
    "UnauthorizedError": "401",
}
# Last words that mean the same in all of the 600 names, whatever the number.
_ENDINGS: Final = (
    ("_FORBIDDEN", RIGHTS),
    ("_RESTRICTED", RIGHTS),
    ("_MIGRATE", _ELSEWHERE),
    ("_WAIT", LIMITED),
    ("_FLOOD", LIMITED_ACCOUNT._replace(retry=False)),
    ("_FLOOD_WEEKLY", LIMITED_ACCOUNT._replace(retry=False)),
    ("_FLOOD_MONTHLY", LIMITED_ACCOUNT._replace(retry=False)),
    ("_TIMEOUT", LATE),
)
# Those of a 400, which say no more than that it is one.
_PLAIN_ENDINGS: Final = (
    ("_OCCUPIED", CLASH),
    ("_NOT_FOUND", MISSING),
    ("_INVALID", BAD),
    ("_EMPTY", BAD),
    ("_TOO_LONG", BAD),
    ("_TOO_MUCH", BAD),
    ("_NOT_MODIFIED", BAD),
    ("_DUPLICATE", BAD),
    ("_EXPIRED", BAD),
    ("_MISSING", BAD),
)
_SENTENCES: Final = phrases(
    _FAQ,
    ("too many requests", LIMITED),
    ("flood control exceeded", LIMITED),
    ("retry after", LIMITED),
    ("bot was blocked by the user", RECIPIENT),
    ("user is deactivated", RECIPIENT),
    ("bot was kicked", RECIPIENT),
    ("bot is not a member", RECIPIENT),
    ("can't initiate conversation", RECIPIENT),
    ("can't send messages to bots", RECIPIENT),
    ("not enough rights", RIGHTS),
    ("have no rights", RIGHTS),
    ("chat owner", RIGHTS),
    ("is an administrator of the chat", RIGHTS),
    ("need administrator rights", RIGHTS),
    ("chat_write_forbidden", RIGHTS),
    ("chat_admin_required", RIGHTS),
    ("terminated by other getupdates", CLASH),
    ("can't use getupdates method while webhook", CLASH),
    ("unauthorized", KEY),
    ("logged out", KEY),
    ("api_id_invalid", KEY),
    ("restart", NOT_NOW),
    ("method not found", MISSING._replace(source=_BOTS)),
    ("invalid server response", GARBLED),
    ("request entity too large", BAD),
    ("bad gateway", DOWN),
    ("internal server error", DOWN),
)


_APART: Final = str.maketrans("',()", "    ")


def _is_named(text: str) -> bool:
    return len(text) <= 64 and text.isascii() and text.replace("_", "").isalnum() and text.isupper()


def _by_name(name: str, number: str = "") -> tuple[str, Rule] | None:
    """
    Look a name up whole, with its number as X, without it, then by its ending; then by the error's *number*.
    """
    words = name.split("_")
    spelt = "_".join("X" if word.isdigit() and word else word for word in words)
    for form in (name, spelt, spelt.removesuffix("_X"), f"{spelt}_X"):
        if form in _RPC:
            return form, _RPC[form]
    bare = spelt.removesuffix("_X")
    for ending, rule in _ENDINGS:
        if bare.endswith(ending):
            return ending[1:], rule._replace(source=_METHODS)
    if number in _NUMBERS:
        return number, _NUMBERS[number]._replace(source=_METHODS)
    for ending, rule in _PLAIN_ENDINGS:
        if bare.endswith(ending):
            return ending[1:], rule._replace(source=_METHODS)
    return None


def _named(text: str) -> tuple[str, Rule] | None:
    """
    Find MTProto's name in a message: ``RPCError 420: FLOOD_WAIT_42``, ``RpcError(401, 'AUTH_KEY_UNREGISTERED')``.
    """
    number = ""
    for word in text[:512].translate(_APART).split()[:24]:
        bare = word.strip('.:;[]"-')
        if "_" in bare and _is_named(bare):
            found = _by_name(bare, number)
            if found is not None:
                return found
        elif len(bare) == 3 and bare.isdigit():
            number = bare
    return None


def _look(answer: Answer) -> tuple[str, Rule] | None:
    text = answer.said or answer.text[:512]
    found = _named(text.upper() if answer.said else text) if "_" in text else None
    if found is not None:
        return found
    if answer.status == 404 and answer.said in {"not found", ""}:
        # The method's name and the token are both in the path.
        return "token", KEY._replace(source=_BOTS)
    return None


def _raised(exc: BaseException) -> tuple[str, Rule] | None:
    kind: type = type(exc)
    if not kind.__module__.startswith("telethon.errors.rpcerrorlist"):
        return None
    name = kind.__name__.removesuffix("Error")
    spelt = "".join(f"_{letter}" if letter.isupper() else letter for letter in name[:64]).upper().strip("_")
    bases = (_BASES.get(base.__name__, "") for base in kind.__mro__[1:4])
    return _by_name(spelt, next((number for number in bases if number), ""))


def _wait(answer: Answer) -> float | None:
    told = number(dig(answer.parsed, ("parameters", "retry_after")))
    if told is not None and told >= 0:
        return told
    text = answer.said or answer.text.lower()[:512]
    for before in ("retry after ", "retry in ", "a wait of ", "_wait_"):
        found = prose(text, before)
        if found is not None:
            return found
    return None


def _is_error(parsed: object) -> bool:
    return dig(parsed, ("ok",)) is False


DIALECT: Final = Dialect(
    name="telegram",
    source=_BOTS,
    # The Bot API's number is the status once more; it counts where the status is not at hand.
    codes={"404": KEY._replace(source=_BOTS), "420": STATUS_CODES["420"]},
    places=(("error_code",),),
    early=sentences(_SENTENCES),
    inside=True,
    is_error=_is_error,
    look=_look,
    wait=_wait,
    raised=_raised,
)
