"""
The codes of WebSockets' closes and of SMTP's replies, which are none of HTTP's.
"""

from __future__ import annotations

import asyncio
import smtplib

import aiohttp
import pytest
from aiohttp import web

from egressor._core.classify import classify
from tests.core.strangers import foreign


@pytest.mark.parametrize(
    ("text", "category", "retryable"),
    [
        ("received 1000 (OK); then sent 1000 (OK)", "network", True),
        ("received 1000 (OK) rate limit; then sent 1000 (OK)", "rate_limit", True),
        ("received 1001 (going away) Server shutdown; no close frame sent", "network", True),
        ("received 1002 (protocol error); then sent 1002 (protocol error)", "bad_request", False),
        ("received 1006 (connection closed abnormally [internal])", "network", True),
        ("received 1008 (policy violation); then sent 1008 (policy violation)", "permission", False),
        (
            "received 1008 (policy violation) Invalid API key; then sent 1008 (policy violation)",
            "authentication",
            False,
        ),
        ("received 1008 (policy violation) Too many requests", "rate_limit", True),
        ("received 1008 (policy violation) You have run out of credits", "quota_exhausted", False),
        ("received 1009 (message too big) frame exceeds limit of 1024 bytes", "bad_request", False),
        ("received 1011 (internal error) upstream failed; then sent 1011 (internal error)", "server_error", True),
        ("sent 1011 (internal error) keepalive ping timeout; no close frame received", "timeout", True),
        ("received 1012 (service restart); then sent 1012 (service restart)", "server_error", True),
        ("received 1013 (try again later); then sent 1013 (try again later)", "overloaded", True),
        ("code = 1013 (try again later), no reason", "overloaded", True),
        ("Connection closed (code 1013): busy", "overloaded", True),
        ("received 1015 (TLS handshake failure [internal])", "network", False),
        ("received 4401 (private use) who are you; then sent 4401 (private use) who are you", "authentication", False),
        ("received 4429 (private use); then sent 4429 (private use)", "rate_limit", True),
        ("received 4503 (private use)", "server_error", True),
        ("received 4499 (private use) going", "cancelled", False),
        ("received 4444 (private use)", "network", True),
        ("received 4005 (private use) something of theirs", "network", True),
        ("received 4100 (private use) Over capacity", "overloaded", True),
        ("no close frame received or sent", "network", True),
        ("Connection to wss://stream.example:9443/1013 was lost", "network", True),
    ],
)
def test_a_closed_websocket(text: str, category: str, *, retryable: bool) -> None:
    """
    The code says why a WebSocket was closed; where it leaves that open, the reason beside it does.
    """
    verdict = classify(foreign("ConnectionClosedError", module="websockets.exceptions")(text))

    assert (category, retryable) == (verdict.category, verdict.retryable), verdict.why


def test_an_end_counts_against_nobody() -> None:
    """
    A server that closes as agreed is well, and one that fails isn't.
    """
    ended, failed = (
        classify(foreign("ConnectionClosedOK", module="websockets.exceptions")(f"received {code} (x)"))
        for code in (1000, 1011)
    )

    assert (ended.counts, failed.counts) == (False, True)


@pytest.mark.parametrize(
    ("module", "code", "category", "retryable"),
    [
        ("discord.errors", 4004, "authentication", False),
        ("discord.errors", 4008, "rate_limit", True),
        ("discord.errors", 4014, "permission", False),
        ("discord.errors", 1013, "overloaded", True),
        ("client.errors", 4004, "network", True),
    ],
)
def test_a_vendors_own_code(module: str, code: int, category: str, *, retryable: bool) -> None:
    """
    Codes above 4000 are each vendor's own.
    """
    verdict = classify(foreign("ConnectionClosed", module=module)(f"Shard ID None WebSocket closed with {code}"))

    assert (category, retryable) == (verdict.category, verdict.retryable), verdict.why


@pytest.mark.parametrize(
    ("text", "category", "retryable"),
    [
        ("Received message 8:1013 is not WSMsgType.TEXT", "overloaded", True),
        ("Received message 257:None is not WSMsgType.TEXT", "network", True),
        ("Received message 2:b'1013' is not WSMsgType.TEXT", "unknown", False),
    ],
)
def test_a_message_that_is_no_text(text: str, category: str, *, retryable: bool) -> None:
    """
    Regression: a WebSocket that aiohttp's server closed was an error of the program.
    """
    verdict = classify(aiohttp.WSMessageTypeError(text))

    assert (category, retryable) == (verdict.category, verdict.retryable), verdict.why


@pytest.mark.parametrize(("code", "category"), [(1013, "overloaded"), (1011, "server_error"), (1000, "network")])
def test_a_real_server_closes(code: int, category: str) -> None:
    """
    What aiohttp's client raises of a real close is read by its code.
    """

    async def close(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.close(code=code)
        return socket

    async def ask() -> BaseException:
        app = web.Application()
        app.router.add_get("/", close)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        address = runner.addresses[0]
        try:
            async with (
                aiohttp.ClientSession() as session,
                session.ws_connect(f"http://{address[0]}:{address[1]}/") as ws,
            ):
                with pytest.raises(aiohttp.WSMessageTypeError) as caught:
                    await ws.receive_str()
                return caught.value
        finally:
            await runner.cleanup()

    verdict = classify(asyncio.run(ask()))

    assert (category, True) == (verdict.category, verdict.retryable), verdict.why


@pytest.mark.parametrize(
    ("error", "category", "retryable"),
    [
        (smtplib.SMTPConnectError(421, b"4.3.2 Service not available, closing"), "server_error", True),
        (smtplib.SMTPConnectError(421, b"4.7.0 Too many concurrent SMTP connections"), "rate_limit", True),
        (smtplib.SMTPDataError(450, b"4.2.0 Greylisted, see http://x/"), "server_error", True),
        (smtplib.SMTPDataError(451, b"4.3.0 Local error in processing"), "server_error", True),
        (smtplib.SMTPSenderRefused(452, b"4.3.1 Insufficient system storage", "a@b.example"), "server_error", True),
        (smtplib.SMTPAuthenticationError(535, b"5.7.8 Username and Password not accepted"), "authentication", False),
        (smtplib.SMTPSenderRefused(530, b"5.7.0 Must issue a STARTTLS", "a@b.example"), "authentication", False),
        (smtplib.SMTPDataError(550, b"5.1.1 The account that you tried to reach"), "not_found", False),
        (smtplib.SMTPDataError(550, b"5.4.5 Daily user sending limit exceeded"), "quota_exhausted", False),
        (smtplib.SMTPDataError(554, b"5.7.1 Service unavailable; blocked using zen.spamhaus.org"), "ban", False),
        (smtplib.SMTPDataError(552, b"5.3.4 Message too big"), "bad_request", False),
        (smtplib.SMTPHeloError(504, b"Need a name"), "bad_request", False),
        (smtplib.SMTPDataError(554, b"5.7.1 Relay access denied"), "permission", False),
        (smtplib.SMTPRecipientsRefused({"a@b.c": (450, b"4.2.0 unavailable")}), "server_error", True),
        (smtplib.SMTPRecipientsRefused({"a@b.c": (450, b"x"), "d@b.c": (550, b"5.1.1 none")}), "not_found", False),
        (smtplib.SMTPRecipientsRefused({}), "unknown", True),
        (smtplib.SMTPServerDisconnected("Connection unexpectedly closed"), "network", True),
        (smtplib.SMTPNotSupportedError("STARTTLS extension not supported by server."), "configuration", False),
    ],
)
def test_a_reply_of_smtp(error: Exception, category: str, *, retryable: bool) -> None:
    """
    Regression: SMTP's 451 was read as a block by country, its 450 as a bad request, its 550 as a server's error.
    """
    verdict = classify(error)

    assert (category, retryable, False) == (
        verdict.category,
        verdict.retryable,
        category != "network" and verdict.may_have_run,
    ), verdict.why


def test_several_recipients_of_another_library() -> None:
    """
    What aiosmtplib says of recipients is read from its words, and of one reply by its code.
    """
    kind = foreign("SMTPRecipientsRefused", module="aiosmtplib.errors")
    verdict = classify(kind("[SMTPRecipientRefused(450, '4.2.0 x', 'a@b'), SMTPRecipientRefused(451, '4.7.1', 'c@b')]"))

    assert (verdict.category, verdict.retryable) == ("server_error", True)


def test_what_the_caller_says_stands_above() -> None:
    """
    A status that the caller names decides, whatever the exception holds.
    """
    assert classify(smtplib.SMTPDataError(550, b"x"), status=429).category == "rate_limit"


@pytest.mark.parametrize(
    ("text", "category", "retryable"),
    [
        ("(1040, 'Too many connections')", "overloaded", True),
        ("(1045, \"Access denied for user 'a'@'h' (using password: YES)\")", "authentication", False),
        ("1045 (28000): Access denied for user 'a'@'h' (using password: YES)", "authentication", False),
        ("(1142, 'SELECT command denied')", "permission", False),
        ("(1062, 'Duplicate entry')", "conflict", False),
        ("(1064, 'You have an error in your SQL syntax')", "bad_request", False),
        ("(1205, 'Lock wait timeout exceeded')", "conflict", True),
        ("(1213, 'x')", "conflict", True),
        ("(1290, 'running with the --read-only option')", "server_error", True),
        ("(2003, \"Can't connect to MySQL server on 'db'\")", "network", True),
        ("(2006, 'MySQL server has gone away')", "network", True),
        ("(3024, 'Query execution was interrupted')", "timeout", True),
        ("(9999, 'x')", "unknown", True),
        ("nothing like it", "unknown", True),
    ],
)
def test_an_error_of_mysql(text: str, category: str, *, retryable: bool) -> None:
    """
    MySQL's number says more than the one class that most of its drivers raise.
    """
    verdict = classify(foreign("OperationalError", module="pymysql.err")(text))

    assert (category, retryable) == (verdict.category, verdict.retryable), verdict.why


@pytest.mark.parametrize(
    ("text", "category", "retryable"),
    [
        ("('08001', '[08001] [Microsoft][ODBC Driver 18 for SQL Server]TCP Provider: x (10054)')", "network", True),
        ("('28000', \"[28000] Login failed for user 'a'.\")", "authentication", False),
        ("('40001', '[40001] deadlocked')", "conflict", True),
        ("('HYT00', '[HYT00] Query timeout expired')", "timeout", True),
        ("('IM002', '[IM002] Data source name not found')", "configuration", False),
        ("('HY000', '[HY000] x')", "unknown", True),
        ("x", "unknown", True),
    ],
)
def test_a_state_of_odbc(text: str, category: str, *, retryable: bool) -> None:
    """
    What pyodbc raises begins with a state of SQL.
    """
    verdict = classify(foreign("OperationalError", module="pyodbc")(text))

    assert (category, retryable) == (verdict.category, verdict.retryable), verdict.why
