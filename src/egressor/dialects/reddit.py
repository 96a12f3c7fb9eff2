"""
Reddit: names of errors inside of HTTP 200 for what is written, statuses for what is read.

Its window's rest comes as a float, its reset as seconds left. A 429 with most of the window left and no
``Retry-After`` is about requests at the same time, so that the reset says nothing then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from egressor.dialects.bodies import Answer, dig
from egressor.dialects.engine import Dialect
from egressor.dialects.forms import first, number, prose
from egressor.dialects.terms import (
    BAD,
    BAN_ACCOUNT,
    BAN_IP,
    CLASH,
    DOWN,
    KEY,
    LIMITED_ACCOUNT,
    LIMITED_RECIPIENT,
    MISSING,
    RECIPIENT,
    RIGHTS,
    phrases,
    sentences,
    table,
)

if TYPE_CHECKING:
    from egressor._core.rule import Rule

__all__ = ["DIALECT"]

_ERRORS: Final = "https://github.com/reddit-archive/reddit/blob/master/r2/r2/lib/errors.py"
_WIKI: Final = "https://github.com/reddit-archive/reddit/wiki/OAuth2"
_HELP: Final = "https://support.reddithelp.com/hc/en-us/articles/16160319875092"

_CODES: Final = {
    **table(
        _ERRORS,
        {
            LIMITED_ACCOUNT: "RATELIMIT QUOTA_FILLED",
            LIMITED_RECIPIENT: "SUBREDDIT_RATELIMIT",
            KEY: """
                USER_REQUIRED WRONG_PASSWORD NOT_USER EXPIRED OAUTH2_INVALID_CLIENT OAUTH2_INVALID_REFRESH_TOKEN
                OAUTH2_INVALID_REDIRECT_URI
            """,
            RIGHTS: """
                VERIFIED_USER_REQUIRED NOT_AUTHOR SUBREDDIT_NOTALLOWED OAUTH2_ACCESS_DENIED OAUTH2_INVALID_SCOPE NO_API
                MULTI_CANNOT_EDIT DOMAIN_BANNED NO_OTP_SECRET DRACONIAN
            """,
            RECIPIENT: "USER_BLOCKED",
            BAN_IP: "BANNED_IP",
            MISSING: """
                SUBREDDIT_NOEXIST USER_DOESNT_EXIST DELETED_LINK DELETED_COMMENT DELETED_THING MULTI_NOT_FOUND
                NO_INVITE_FOUND
            """,
            CLASH: """
                ALREADY_SUB SUBREDDIT_EXISTS MULTI_EXISTS USERNAME_TAKEN USERNAME_TAKEN_DEL CONFLICT ALREADY_MODERATOR
                CLAIMED_CODE USED_CNAME DEVELOPER_ALREADY_ADDED
            """,
            BAD: """
                NO_URL BAD_URL BAD_CAPTCHA BAD_USERNAME NO_THING_ID TOO_MANY_THING_IDS NO_SUBJECT NO_TEXT NO_SELFS
                NO_LINKS TOO_LONG TOO_OLD BAD_NUMBER BAD_STRING BAD_SR_NAME INVALID_OPTION JSON_PARSE_ERROR
                JSON_INVALID JSON_MISSING_KEY SUBREDDIT_REQUIRED NO_USER NO_NAME NOT_SUPPORTED BAD_IMAGE
                BAD_FLAIR_TARGET INVALID_PERMISSION_TYPE
            """,
        },
    ),
    # RFC 6749 5.2, as the token endpoint answers it, with HTTP 200 or 400.
    **table(
        _WIKI,
        {
            KEY: "invalid_grant invalid_client unauthorized_client",
            RIGHTS: "invalid_scope",
            BAD: "unsupported_grant_type invalid_request",
        },
    ),
}


# Of a list that grows: what the words in a name say, where the name is in no table.
_WORDS: Final = (
    ("RATELIMIT", LIMITED_ACCOUNT),
    ("NOTALLOWED", RIGHTS),
    ("NOT_ALLOWED", RIGHTS),
    ("BANNED", RIGHTS),
    ("LOCKED", RIGHTS),
    ("ARCHIVED", RIGHTS),
    ("RESTRICTED", RIGHTS),
    ("VERIFIED", RIGHTS),
    ("PERMISSION", RIGHTS),
    ("QUARANTINE", RIGHTS),
    ("PRIVATE", RIGHTS),
    ("DISABLED", RIGHTS),
    ("BLOCKED", RECIPIENT),
    ("NOEXIST", MISSING),
    ("DOESNT_EXIST", MISSING),
    ("NOT_FOUND", MISSING),
    ("DELETED", MISSING),
    ("EXISTS", CLASH),
    ("TAKEN", CLASH),
    ("ALREADY", CLASH),
    ("DUPLICATE", CLASH),
    ("BROKEN", DOWN),
    ("TRY_AGAIN", DOWN),
)


def _look(answer: Answer) -> tuple[str, Rule] | None:
    for name in answer.codes:
        if name in _CODES:
            return None
        if name.isupper():
            found = next(((words, rule) for words, rule in _WORDS if words in name), None)
            if found is not None:
                return found[0], found[1]._replace(source=_ERRORS)
    return None


def _find(parsed: object) -> tuple[str, ...]:
    """
    Name the errors in ``json.errors``, each a list that begins with its name; else a name on top.
    """
    errors = dig(parsed, ("json", "errors"))
    listed = errors if isinstance(errors, list) else []
    names = [each[0] for each in listed[:4] if isinstance(each, list) and each and isinstance(each[0], str)]
    top = [dig(parsed, ("error",)), dig(parsed, ("reason",))]
    return tuple(name[:64] for name in (*names, *top) if isinstance(name, str))


def _is_error(parsed: object) -> bool:
    errors = dig(parsed, ("json", "errors"))
    top = dig(parsed, ("error",))
    return (isinstance(errors, list) and bool(errors)) or (isinstance(top, str) and bool(top))


def _wait(answer: Answer) -> float | None:
    # "You are doing that too much. Try again in 9 minutes."
    said = prose(answer.said, "again in ")
    if said is None:
        said = prose(answer.said, "take a break for ")
    if said is not None or answer.status != 429:
        return said
    rest, reset = (number(first(answer.headers, f"x-ratelimit-{name}")) for name in ("remaining", "reset"))
    return reset if rest is not None and rest < 1 and reset is not None and reset >= 0 else None


DIALECT: Final = Dialect(
    name="reddit",
    source=_HELP,
    codes=_CODES,
    find=_find,
    phrases=sentences(
        phrases(
            _ERRORS,
            ("you are doing that too much", LIMITED_ACCOUNT),
            ("you're doing that too much", LIMITED_ACCOUNT),
            ("account has been suspended", BAN_ACCOUNT),
            ("blocked by network security", BAN_IP),
            ("network policy", BAN_IP),
        )
    ),
    statuses={},
    inside=True,
    is_error=_is_error,
    unknown=BAD._replace(source=_ERRORS),
    look=_look,
    wait=_wait,
    marks=("",),
)
