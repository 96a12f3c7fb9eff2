"""
What the classes of particular libraries say, where their names alone would be read wrongly or not at all.

By the first part of the module's name, then by the class's. A library is here if its classes carry the provider's own
meaning (ccxt's ``InsufficientFunds``), or if a name is vague or misleading elsewhere (redis's ``ResponseError``).
Sources: the libraries' own exception modules, in the versions of their names' last release in 2026.
"""

from __future__ import annotations

from typing import Final

from egressor._core.model import ErrorCategory as Kind
from egressor._core.type_rules import (
    AUTH,
    BUSY,
    CANCELLED,
    CLASH,
    CONNECT,
    DOWN,
    GARBLED,
    GEO,
    KEY,
    LIMITED,
    LOCKED,
    MAINTAINED,
    MALFORMED,
    MISSING,
    OURS,
    POOL,
    POOR,
    REDIRECTS,
    REFUSED,
    REPLY,
    RESET,
    RIGHTS,
    SETUP,
    SKEWED,
    TIMEOUT,
    TLS,
    WIRE,
    TypeRule,
)

__all__ = ["LIBRARIES", "STREAMED"]

_VAGUE_ANSWER: Final = TypeRule(Kind.UNKNOWN, "an error that the provider answered", vague=True)
_SOME_WIRE: Final = WIRE._replace(what="the network, or something in front of the service")
# A model's answer that ran into its limit of tokens: the same request runs into it again, and is paid again.
_CUT: Final = TypeRule(Kind.BAD_RESPONSE, "the answer was cut at its limit of tokens", ran=True, counts=False)

STREAMED: Final = DOWN._replace(what="an error in the middle of a stream", vague=True)
"""
These SDKs' plainest class is raised for an error in the middle of a stream: no status, and its sentence.
"""

_CCXT: Final = {
    "AccountNotEnabled": RIGHTS,
    "AccountSuspended": LOCKED,
    "AddressPending": MALFORMED,
    "ArgumentsRequired": OURS,
    "AuthenticationError": KEY,
    "BadRequest": MALFORMED,
    "BadResponse": GARBLED,
    "BadSymbol": MALFORMED,
    "CancelPending": CLASH,
    "ChecksumError": GARBLED,
    "ContractUnavailable": MALFORMED,
    # Rate limits, bans and edges' pages in one class: the answer decides where there is one.
    "DDoSProtection": LIMITED,
    "DuplicateOrderId": CLASH,
    "ExchangeClosedByUser": CANCELLED,
    "ExchangeError": _VAGUE_ANSWER,
    # An outage, an edge's page, or (in its asynchronous half) no connection at all: what is inside tells.
    "ExchangeNotAvailable": DOWN._replace(vague=True),
    "InsufficientFunds": POOR,
    "InvalidAddress": MALFORMED,
    "InvalidNonce": SKEWED,
    "InvalidOrder": MALFORMED,
    "InvalidProxySettings": SETUP,
    "ManualInteractionNeeded": RIGHTS,
    "MarginModeAlreadySet": MALFORMED,
    "MarketClosed": MALFORMED,
    "NetworkError": WIRE,
    "NoChange": MALFORMED,
    "NotSupported": OURS,
    "NullResponse": GARBLED,
    "OnMaintenance": MAINTAINED,
    "OperationFailed": DOWN,
    "OperationRejected": MALFORMED,
    "OrderImmediatelyFillable": MALFORMED,
    "OrderNotCached": MISSING,
    "OrderNotFillable": MALFORMED,
    "OrderNotFound": MISSING,
    "PermissionDenied": RIGHTS,
    "RateLimitExceeded": LIMITED,
    "RequestTimeout": TIMEOUT,
    "RestrictedLocation": GEO,
}

_TELEGRAM_BOT: Final = {
    "BadRequest": MALFORMED,
    "ChatMigrated": MALFORMED,
    "Conflict": CLASH,
    "EndPointNotFound": MISSING,
    "Forbidden": RIGHTS,
    "InvalidToken": AUTH,
    "NetworkError": _SOME_WIRE,
    "PassportDecryptionError": GARBLED,
    "RetryAfter": LIMITED,
    "TelegramError": _VAGUE_ANSWER,
    "TimedOut": TIMEOUT,
}

_AIOGRAM: Final = {
    "ClientDecodeError": GARBLED,
    "RestartingTelegram": DOWN,
    "TelegramAPIError": _VAGUE_ANSWER,
    "TelegramBadRequest": MALFORMED,
    "TelegramConflictError": CLASH,
    "TelegramEntityTooLarge": MALFORMED,
    "TelegramForbiddenError": RIGHTS,
    "TelegramMigrateToChat": MALFORMED,
    "TelegramNetworkError": _SOME_WIRE,
    # Telegram answers 404 to a wrong token.
    "TelegramNotFound": AUTH,
    "TelegramRetryAfter": LIMITED,
    "TelegramServerError": DOWN,
    "TelegramUnauthorizedError": AUTH,
    "UnsupportedKeywordArgument": OURS,
}

# What aiohttp's parser says, which stands inside of a ClientPayloadError.
_AIOHTTP: Final = {
    "BadHttpMessage": GARBLED,
    "ContentEncodingError": GARBLED,
    "ContentLengthError": RESET,
    "HttpProcessingError": GARBLED,
    "PayloadEncodingError": RESET,
    "TransferEncodingError": RESET,
}

# The classes above the 500 generated ones, whose names the dialect reads.
_TELETHON: Final = {
    "AuthKeyError": AUTH,
    "BadRequestError": MALFORMED,
    "BotTimeout": TIMEOUT,
    "FloodError": LIMITED,
    "ForbiddenError": RIGHTS,
    # Another data centre has it: the library goes there by itself.
    "InvalidDCError": TypeRule(Kind.UNKNOWN, "another data centre has it", retry=True, counts=False),
    "NotFoundError": MISSING,
    "RPCError": _VAGUE_ANSWER,
    "ServerError": DOWN,
    "TimedOutError": TIMEOUT,
    "UnauthorizedError": AUTH,
}

_PRAWCORE: Final = {
    "BadJSON": GARBLED,
    "BadRequest": MALFORMED,
    "Conflict": CLASH,
    "Forbidden": RIGHTS,
    "InsufficientScope": RIGHTS,
    "InvalidInvocation": OURS,
    "InvalidToken": AUTH,
    "NotFound": MISSING,
    "OAuthException": AUTH,
    # A subreddit that isn't there answers with a redirect to the search.
    "Redirect": MISSING,
    "RequestException": WIRE,
    "ServerError": DOWN,
    "SpecialError": MALFORMED,
    "TooLarge": MALFORMED,
    "TooManyRequests": LIMITED,
    "URITooLong": MALFORMED,
    "UnavailableForLegalReasons": GEO,
}

_PRAW: Final = {
    "ClientException": OURS,
    "DuplicateReplaceException": OURS,
    "InvalidFlairTemplateID": MALFORMED,
    "InvalidImplicitAuth": SETUP,
    "InvalidURL": OURS,
    "MediaPostFailed": MALFORMED,
    "MissingRequiredAttributeException": SETUP,
    "RedditAPIException": MALFORMED._replace(vague=True),
    "ReadOnlyException": SETUP,
    "TooLargeMediaException": MALFORMED,
    "WebSocketException": RESET,
}

_REDIS: Final = {
    "AskError": DOWN._replace(ran=False),
    "AuthenticationError": AUTH,
    "AuthenticationWrongNumberOfArgsError": AUTH,
    "AuthorizationError": RIGHTS,
    "BusyLoadingError": BUSY,
    "ClusterDownError": DOWN._replace(ran=False),
    "ClusterError": DOWN,
    "ConnectionError": CONNECT,
    "DataError": OURS,
    "ExecAbortError": MALFORMED,
    "InvalidResponse": GARBLED,
    "LockError": CLASH,
    "LockNotOwnedError": CLASH,
    "MasterDownError": DOWN._replace(ran=False),
    "MaxConnectionsError": POOL,
    "ModuleError": SETUP,
    "MovedError": DOWN._replace(ran=False),
    "NoPermissionError": RIGHTS,
    "NoScriptError": MISSING,
    "OutOfMemoryError": BUSY,
    "ReadOnlyError": DOWN._replace(ran=False),
    "ResponseError": REPLY,
    "TimeoutError": TIMEOUT,
    "TryAgainError": DOWN._replace(ran=False),
    "WatchError": CLASH._replace(retry=True),
}

_PSYCOPG: Final = {
    "AdminShutdown": DOWN,
    "CannotConnectNow": BUSY,
    "CheckViolation": MALFORMED,
    "NotNullViolation": MALFORMED,
    "DiskFull": DOWN,
    "ReadOnlySqlTransaction": DOWN._replace(ran=False),
    "ConnectionTimeout": TIMEOUT._replace(what="connecting took too long, nothing was sent", ran=False),
    "CrashShutdown": DOWN,
    "DataError": MALFORMED,
    "DeadlockDetected": CLASH._replace(retry=True),
    "ForeignKeyViolation": CLASH,
    "InsufficientPrivilege": RIGHTS,
    "IntegrityError": CLASH,
    "InterfaceError": OURS,
    "InternalError": DOWN,
    "InvalidAuthorizationSpecification": AUTH,
    "InFailedSqlTransaction": MALFORMED,
    "InvalidPassword": AUTH,
    "LockNotAvailable": CLASH._replace(retry=True),
    "NotSupportedError": OURS,
    "OperationalError": CONNECT,
    "PoolTimeout": POOL,
    "ProgrammingError": MALFORMED,
    "QueryCanceled": TIMEOUT,
    "SerializationFailure": CLASH._replace(retry=True),
    "TooManyConnections": BUSY,
    "UniqueViolation": CLASH,
}

_BINANCE: Final = {
    "BinanceAPIException": _VAGUE_ANSWER,
    "BinanceOrderException": MALFORMED,
    "BinanceRegionException": SETUP,
    # "Invalid Response: …": what came is no JSON.
    "BinanceRequestException": GARBLED,
    "BinanceWebsocketUnableToConnect": REFUSED,
}

_PYBIT: Final = {
    "FailedRequestError": _VAGUE_ANSWER,
    "InvalidChannelTypeError": OURS,
    "InvalidRequestError": MALFORMED._replace(vague=True),
    "TopicMismatchError": OURS,
    "UnauthorizedExceptionError": AUTH,
}

_TWSCRAPE: Final = {
    "AbortReqError": LOCKED._replace(what="the request was turned away, and the account with it"),
    "HandledError": LIMITED._replace(what="the account is locked until its limit resets"),
    "NoAccountError": LIMITED._replace(what="no account is left"),
}

_TWEEPY: Final = {
    "BadRequest": MALFORMED,
    "Forbidden": RIGHTS,
    "NotFound": MISSING,
    "TooManyRequests": LIMITED,
    "TwitterServerError": DOWN,
    "TweepyException": _SOME_WIRE,
    "Unauthorized": AUTH,
}

_DNS: Final = {
    "LifetimeTimeout": TIMEOUT._replace(what="the name was not resolved in time, nothing was sent", ran=False),
    "NXDOMAIN": REFUSED._replace(what="there is no such name, nothing was sent"),
    "NoAnswer": REFUSED._replace(what="the name has no address, nothing was sent"),
    "NoNameservers": REFUSED._replace(what="no name server answered, nothing was sent"),
    "YXDOMAIN": OURS,
}

_CRAWLEE: Final = {
    "HttpClientStatusCodeError": _VAGUE_ANSWER,
    "HttpStatusCodeError": _VAGUE_ANSWER,
    # It has waited for long enough, and gives the host up.
    "PersistentRateLimitError": LIMITED._replace(retry=False),
    "SessionError": RIGHTS._replace(vague=True),
}

_SCRAPY: Final = {
    "CannotResolveHostError": REFUSED._replace(what="the name was not resolved, nothing was sent"),
    "DownloadCancelledError": CANCELLED,
    "DownloadConnectionRefusedError": REFUSED,
    "DownloadFailedError": RESET,
    "DownloadTimeoutError": TIMEOUT,
    "HttpError": _VAGUE_ANSWER,
    "IgnoreRequest": CANCELLED,
    "ResponseDataLossError": RESET,
    "UnsupportedURLSchemeError": OURS,
}

# Where there is no reply with a code (``replies.py``).
_SMTP: Final = {
    "SMTPAuthenticationError": AUTH,
    "SMTPConnectError": CONNECT,
    "SMTPNotSupported": SETUP,
    "SMTPNotSupportedError": SETUP,
    "SMTPServerDisconnected": RESET,
}

LIBRARIES: Final[dict[str, dict[str, TypeRule]]] = {
    "aiogram": _AIOGRAM,
    "aiohttp": _AIOHTTP,
    "asyncpraw": _PRAW,
    "aiosmtplib": _SMTP,
    "anthropic": {"APIError": STREAMED, "APIWebhookValidationError": OURS},
    "asyncprawcore": _PRAWCORE,
    "binance": _BINANCE,
    "ccxt": _CCXT,
    "crawlee": _CRAWLEE,
    "dns": _DNS,
    "google": {"RefreshError": AUTH},
    "groq": {"APIError": STREAMED, "GroqError": SETUP},
    "instructor": {"IncompleteOutputException": _CUT},
    "mistralai": {"HTTPValidationError": MALFORMED, "NoResponseError": RESET},
    "openai": {
        "APIError": STREAMED,
        "APIWebhookValidationError": OURS,
        "LengthFinishReasonError": _CUT,
        "OpenAIError": SETUP,
        "WebSocketConnectionClosedError": RESET,
        "WebSocketQueueFullError": OURS,
    },
    "praw": _PRAW,
    "prawcore": _PRAWCORE,
    "psycopg": _PSYCOPG,
    "psycopg_pool": _PSYCOPG,
    "pybit": _PYBIT,
    "redis": _REDIS,
    "requests": {"TooManyRedirects": REDIRECTS},
    "scrapy": _SCRAPY,
    "smtplib": _SMTP,
    "ssl": {"SSLError": TLS},
    "stripe": {
        "AuthenticationError": KEY,
        "CardError": _VAGUE_ANSWER._replace(retry=False),
        "IdempotencyError": CLASH,
        "InvalidRequestError": MALFORMED._replace(vague=True),
        "PermissionError": RIGHTS,
        "RateLimitError": LIMITED,
        "SignatureVerificationError": OURS,
    },
    "telegram": _TELEGRAM_BOT,
    "telethon": _TELETHON,
    "tweepy": _TWEEPY,
    "twscrape": _TWSCRAPE,
    "valkey": _REDIS,
}
"""
Rules by library, then by class.
"""
