"""
What servers say in protocols that aren't HTTP: why a WebSocket was closed, SMTP's replies, MySQL's numbers, ODBC's
states.

Their codes look like HTTP's to whoever reads a number behind ``code``: SMTP's 451 is no block of a country, its 550 no
server's error, and nothing of a close with 1013 has a status. So an exception of such a client that holds a code is
placed by that code alone; one that holds none is placed by its type, as any other.

Sources: RFC 6455 7.4, RFC 5321 4.2 and RFC 3463;
https://www.iana.org/assignments/websocket for the codes of closes,
https://docs.discord.com/developers/topics/opcodes-and-status-codes#gateway-gateway-close-event-codes for Discord's;
https://dev.mysql.com/doc/mysql-errors/8.4/en/. Many services close with 4000 and the HTTP status (4401, 4429), as
https://github.com/enisdenjo/graphql-ws does.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from egressor._core.evidence import attribute
from egressor._core.exceptions import by_sqlstate
from egressor._core.model import ErrorCategory as Kind
from egressor._core.statuses import STATUSES
from egressor._core.type_rules import (
    AUTH,
    BUSY,
    CLASH,
    DNS,
    DOWN,
    LIMITED,
    MAINTAINED,
    MALFORMED,
    MISSING,
    REFUSED,
    RESET,
    RIGHTS,
    SETUP,
    SPENT,
    TIMEOUT,
    TLS,
    TypeRule,
)
from egressor._core.wordings import message, unaddressed

__all__ = ["reply"]

_SAID: Final = 512
_MANY: Final = 32
_HEAD: Final = 8
_AWAY: Final = DOWN._replace(ran=False)
_ENDED: Final = RESET._replace(what="the server closed the connection", counts=False)

# --- WebSockets ------------------------------------------------------------------------------------------------------

_CLOSED: Final = frozenset(
    {
        "ConnectionClosed",
        "ConnectionClosedError",
        "ConnectionClosedOK",
        "WSMessageTypeError",
        "WebSocketClosedError",
        "WebSocketConnectionClosedException",
        "WebSocketDisconnect",
    }
)
_DISCORD: Final = frozenset({"discord", "disnake", "hikari", "interactions", "nextcord"})
_CLOSES: Final[dict[int, TypeRule]] = {
    1000: _ENDED,
    1001: RESET,
    1002: MALFORMED,
    1003: MALFORMED,
    1007: MALFORMED,
    1008: RIGHTS,
    1009: MALFORMED,
    1010: MALFORMED,
    1011: DOWN,
    1012: DOWN,
    1013: BUSY,
    1014: DOWN,
    1015: TLS,
    3000: AUTH,
    3003: RIGHTS,
    3008: TIMEOUT,
}
_DISCORDS: Final[dict[int, TypeRule]] = {
    4000: DOWN,
    4001: MALFORMED,
    4002: MALFORMED,
    4003: AUTH,
    4004: AUTH,
    4005: MALFORMED,
    4007: RESET,
    4008: LIMITED,
    4009: RESET,
    4010: SETUP,
    4011: SETUP,
    4012: SETUP,
    4013: SETUP,
    4014: RIGHTS,
}
# Codes that leave the reason to the words beside them; above 4000 all do.
_OPEN: Final = frozenset({1000, 1001, 1008, 1011, 1013})
_REASONS: Final[tuple[tuple[str, TypeRule], ...]] = (
    ("rate limit", LIMITED),
    ("rate_limit", LIMITED),
    ("ratelimit", LIMITED),
    ("too many", LIMITED),
    ("too frequent", LIMITED),
    ("slow down", LIMITED),
    ("quota", SPENT),
    ("insufficient credit", SPENT),
    ("insufficient fund", SPENT),
    ("insufficient balance", SPENT),
    ("credits", SPENT),
    ("api key", AUTH),
    ("api_key", AUTH),
    ("apikey", AUTH),
    ("unauthorized", AUTH),
    ("not authorized", AUTH),
    ("authenticat", AUTH),
    ("credential", AUTH),
    ("token", AUTH),
    ("signature", AUTH),
    ("forbidden", RIGHTS),
    ("permission", RIGHTS),
    ("maintenance", MAINTAINED),
    ("overload", BUSY),
    ("capacity", BUSY),
    ("timed out", TIMEOUT),
    ("timeout", TIMEOUT),
    ("not found", MISSING),
)

# --- SMTP ------------------------------------------------------------------------------------------------------------

_MAILERS: Final = frozenset({"aiosmtplib", "smtplib"})
_BANNED: Final = TypeRule(Kind.BAN, "this address is on a list of those from which no mail is taken")
_SURE: Final = {**dict.fromkeys((530, 534, 535, 538), AUTH), **dict.fromkeys((521, 556), RIGHTS)}
# "Mailbox unavailable", "user not local": there is none, unless the words beside it are about something else.
_NOBODY: Final = frozenset({550, 551})
# Words of a reply after which no later try helps; "5.7" is security and policy (RFC 3463 3.8).
_REFUSALS: Final[tuple[tuple[str, TypeRule], ...]] = (
    ("spamhaus", _BANNED),
    ("blocklist", _BANNED),
    ("blacklist", _BANNED),
    ("block list", _BANNED),
    ("dnsbl", _BANNED),
    ("rate limit", LIMITED._replace(retry=False)),
    ("daily user sending", SPENT),
    ("sending quota", SPENT),
    ("sending limit", SPENT),
    ("authentication required", AUTH),
    ("user unknown", MISSING),
    ("no such user", MISSING),
    ("does not exist", MISSING),
    ("5.7.", RIGHTS),
    ("relay", RIGHTS),
    ("spam", RIGHTS),
    ("policy", RIGHTS),
    ("not permitted", RIGHTS),
    ("not allowed", RIGHTS),
    ("access denied", RIGHTS),
)
_HURRIES: Final = ("rate limit", "too many", "too fast", "4.7.28", "throttl", "unusual rate", "exceeded the rate")

# --- MySQL -----------------------------------------------------------------------------------------------------------

_DRIVERS: Final = frozenset({"MySQLdb", "aiomysql", "asyncmy", "mariadb", "mysql", "pymysql"})
_AGAIN: Final = CLASH._replace(retry=True)
_ERRORS: Final[dict[int, TypeRule]] = {
    **dict.fromkeys((1040, 1203, 1226), BUSY),
    **dict.fromkeys((1045, 1698, 1251), AUTH),
    **dict.fromkeys((1044, 1142, 1143, 1227, 1370), RIGHTS),
    **dict.fromkeys((1048, 1049, 1054, 1064, 1136, 1146, 1264, 1364, 1366, 1406), MALFORMED),
    **dict.fromkeys((1022, 1050, 1062, 1451, 1452), CLASH),
    **dict.fromkeys((1205, 1213), _AGAIN),
    **dict.fromkeys((1317, 3024), TIMEOUT),
    **dict.fromkeys((1290, 1836), _AWAY),
    **dict.fromkeys((1053, 1114, 1180, 1030), DOWN),
    **dict.fromkeys((2002, 2003), REFUSED),
    2005: DNS,
    **dict.fromkeys((2006, 2013, 2055, 1152, 1158, 1159, 1160, 1161), RESET),
    2026: TLS,
}


def reply(exc: BaseException) -> TypeRule | None:
    """
    Place *exc* by the code of a WebSocket's close, of SMTP's replies, of MySQL or ODBC; None if it holds none.
    """
    kind: type = type(exc)
    protocol = _protocol(kind)
    if not protocol:
        return None
    text = unaddressed(message(exc)[: 2 * _SAID])[:_SAID].lower()
    if protocol == "odbc":
        # "('08001', '[08001] [Microsoft]…')".
        return by_sqlstate(text[2:7].upper()) if text.startswith("('") else None
    if protocol == "mysql":
        # "(1045, 'Access denied …')", "1045 (28000): Access denied …".
        return _ERRORS.get(next((code for at, code in _numbers(text[:_HEAD], 4) if at <= 1), 0))
    return _mailed(exc, text) if protocol == "smtp" else _closed(text, is_discord=protocol == "discord")


# Remembers what never changes, for the types met last.
@lru_cache(maxsize=512)
def _protocol(kind: type) -> str:
    module, name = attribute(kind, "__module__"), attribute(kind, "__name__")
    root = module[:64].split(".")[0] if isinstance(module, str) else ""
    if root in _MAILERS:
        return "smtp"
    if root in _DRIVERS:
        return "mysql"
    if root == "pyodbc":
        return "odbc"
    if name not in _CLOSED:
        return ""
    return "discord" if root in _DISCORD else "websocket"


def _closed(text: str, *, is_discord: bool) -> TypeRule | None:
    """
    Read "received 1013 (try again later) …", "closed (code 1013)", "Received message 8:1013 is not …".
    """
    if text.startswith("received message") and not text.startswith("received message 8:"):
        # aiohttp's, of a message that was none of text: 256 and above say that the connection is gone.
        return RESET if text.startswith("received message 25") else None
    place, code = next(((at, code) for at, code in _numbers(text, 4) if 1000 <= code <= 4999), (0, 0))
    if not code:
        return None
    if is_discord and code in _DISCORDS:
        return _DISCORDS[code]
    rule = _CLOSES.get(code)
    if rule is None and 4400 <= code <= 4599:
        rule = _as_status(code - 4000)
    if code in _OPEN or (rule is None and code >= 3000):
        said = text[place + 4 :]
        rule = next((found for words, found in _REASONS if words in said), rule)
    return rule or RESET


def _as_status(status: int) -> TypeRule | None:
    found = STATUSES.get(status)
    return None if found is None else TypeRule(found.kind, "closed with a status of HTTP", found.retry, found.ran)


def _mailed(exc: BaseException, text: str) -> TypeRule | None:
    """
    Read a reply's three digits: 4yz may go better later, 5yz won't (RFC 5321 4.2.1).

    Of several recipients, the same message again is only worth it if all of them may take it then.
    """
    said = attribute(exc, "smtp_code") or attribute(exc, "code")
    codes = [said] if type(said) is int else [code for at, code in _numbers(text, 3) if text[at - 1 : at] == "("]
    code = max((code for code in codes if 400 <= code <= 599), default=0)
    if not code:
        return None
    if code < 500:
        return LIMITED if any(words in text for words in _HURRIES) else _AWAY
    if code in _SURE:
        return _SURE[code]
    by_default = MISSING if code in _NOBODY else MALFORMED
    return next((rule for words, rule in _REFUSALS if words in text), by_default)


def _numbers(text: str, digits: int) -> list[tuple[int, int]]:
    """
    Find the first numbers of so many *digits* in *text*, with their places.
    """
    found: list[tuple[int, int]] = []
    at = 0
    while at < len(text) and len(found) < _MANY:
        end = at
        while end < len(text) and "0" <= text[end] <= "9":
            end += 1
        if end - at == digits:
            found.append((at, int(text[at:end])))
        at = max(end, at + 1)
    return found
