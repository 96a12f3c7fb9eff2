"""
Pages that stand where an answer is due: blocks, challenges, refusals by country.

Words like "blocked", "captcha" or "rate limit" anywhere in a body are right half of the time: articles, listings and
documentation hold them too, and every page behind a CDN carries its scripts. So each rule asks for what only the block
page itself has: its whole title, an element without which it can't work, or a sentence addressed to the reader; and for
a status that such pages have. A page with a good status needs the strictest marks, as it would be data otherwise.

Two tables. ``_SILENT`` holds the few pages that come with a good status. ``_REFUSED`` is for statuses with which
doors are closed. The first row whose words are all there decides. The text is at most 4 KiB, and cut into words once.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from egressor._core.model import ErrorCategory as Kind
from egressor._core.phrasebook import Phrasebook, plain, words_of
from egressor._core.rule import Rule

__all__ = ["READ", "Page", "page", "title_of"]

READ: Final = 4096
"""
Characters of a body in which pages are looked for.
"""
_DOORS: Final = frozenset({400, 401, 403, 405, 406, 418, 428, 429, 444, 451, 503, 520, 999})
_HOUR: Final = 3600.0

_CLOUDFLARE = "https://developers.cloudflare.com/support/troubleshooting/http-status-codes/cloudflare-1xxx-errors/"
_CHALLENGES = "https://developers.cloudflare.com/cloudflare-challenges/challenge-types/challenge-pages/detect-response/"
_DATADOME = "https://docs.datadome.co"
_HUMAN = "https://docs.humansecurity.com"
_AKAMAI = "https://errors.edgesuite.net"
_BOT_MANAGER = "https://techdocs.akamai.com/cloud-security/docs/handle-challenge-response"
_IMPERVA = "https://docs.imperva.com"
_AMAZON = "https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/http-403-permission-denied.html"
_GOOGLE = "https://support.google.com/websearch/answer/86640"
_WIKIMEDIA = "https://foundation.wikimedia.org/wiki/Policy:Wikimedia_Foundation_User-Agent_Policy"
_REDDIT = "https://support.reddithelp.com/hc/en-us/articles/16160319875092"
_DISCORD = "https://discord.com/developers/docs/topics/rate-limits#invalid-request-limit-aka-cloudflare-bans"
_BYBIT = "https://bybit-exchange.github.io/docs/v5/rate-limit"
_RFC_451 = "RFC 7725 3"


class Page(NamedTuple):
    """
    One page.

    Attributes:
        name: What the fingerprint calls it.
        words: Words that are all there; a word that begins with ``title:`` is the whole title.
        rule: What it means.
    """

    name: str
    words: tuple[str, ...]
    rule: Rule


def _challenge(source: str) -> Rule:
    return Rule(Kind.CHALLENGE, source=source)


def _ban(source: str, scope: str = "ip", wait: float | None = None) -> Rule:
    return Rule(Kind.BAN, scope=scope, wait=wait, source=source)


def _country(source: str) -> Rule:
    return Rule(Kind.GEO_BLOCK, source=source)


# Pages that come with 200, 202 or a redirect: only what no other page has.
_SILENT: Final = (
    Page("cloudflare_challenge", ("title:just a moment...",), _challenge(_CHALLENGES)),
    Page("cloudflare_challenge", ("window._cf_chl_opt", "challenge-platform"), _challenge(_CHALLENGES)),
    Page("cloudflare_block", ("title:attention required! | cloudflare",), _ban(_CLOUDFLARE)),
    Page("anubis", ("title:making sure you're not a bot!",), _challenge("https://anubis.techaro.lol/docs/")),
    # A page with nothing but the script. On a page with words it only watches.
    *(
        Page("incapsula", ("_incapsula_resource?", 'content="noindex,nofollow"', empty), _challenge(_IMPERVA))
        for empty in ("<body></body>", "<body>\n</body>", "<body>\r\n</body>")
    ),
    Page("incapsula", ("<iframe", "_incapsula_resource", "incident"), _challenge(_IMPERVA)),
    Page("incapsula", ("<iframe", "_incapsula_resource", "main-iframe"), _challenge(_IMPERVA)),
    Page("incapsula", ("request unsuccessful. incapsula incident id",), _challenge(_IMPERVA)),
    Page("amazon_captcha", ('action="/errors/validatecaptcha"',), _challenge(_AMAZON)),
    Page("amazon_captcha", ("/errors/validatecaptcha", "make sure you're not a robot"), _challenge(_AMAZON)),
    Page("amazon_captcha", ("to discuss automated access to amazon data please contact",), _challenge(_AMAZON)),
    Page("human", ("title:access to this page has been denied",), _challenge(_HUMAN)),
    Page("human", ('id="px-captcha"', "_pxappid"), _challenge(_HUMAN)),
    Page("datadome", ("var dd={", "captcha-delivery.com", "'t':'bv'"), _ban(_DATADOME)),
    Page("datadome", ("var dd={", "captcha-delivery.com", '"t":"bv"'), _ban(_DATADOME)),
    Page("datadome", ("var dd={", "captcha-delivery.com"), _challenge(_DATADOME)),
    Page("human", ("title:robot or human?", "px-captcha"), _challenge(_HUMAN)),
    Page("imperva", ("title:pardon our interruption", "you were a bot"), _challenge(_IMPERVA)),
    Page("cloudflare_challenge", ("title:please wait... | cloudflare",), _challenge(_CHALLENGES)),
    Page(
        "imunify",
        ("title:one moment, please...", "request is being verified"),
        _challenge("https://docs.imunify360.com"),
    ),
    Page("aws_waf", ("title:human verification", "awswaf"), _challenge("https://docs.aws.amazon.com/waf/")),
    Page("aws_waf", ("window.gokuprops =", "awswaf", "challenge.js"), _challenge("https://docs.aws.amazon.com/waf/")),
    Page("akamai", ("/_sec/cp_challenge/", "sec-if-cpt-container"), _challenge(_BOT_MANAGER)),
    Page("akamai", ("/_sec/verify?provider=interstitial",), _challenge(_BOT_MANAGER)),
    Page("sucuri", ("title:you are being redirected", "sucuri_cloudproxy_js"), _challenge("https://docs.sucuri.net")),
    Page(
        "f5",
        ("please enable javascript to view the page content", "support id"),
        _challenge("https://my.f5.com"),
    ),
    Page("godaddy", ("title:godaddy security - access denied",), _ban("https://www.godaddy.com/help")),
    Page("captcha", ("title:bot verification", "recaptcha"), _challenge("")),
    Page("radware", ("title:radware bot manager captcha",), _challenge("https://www.radware.com")),
    Page("radware", ("title:radware captcha page",), _challenge("https://www.radware.com")),
    Page("shieldsquare", ("title:shieldsquare captcha",), _challenge("https://www.radware.com")),
    Page("sucuri", ("title:sucuri website firewall - access denied",), _ban("https://docs.sucuri.net")),
    Page("siteground", ("/.well-known/sgcaptcha/", "http-equiv"), _challenge("https://www.siteground.com")),
    Page("alibaba", ("_____tmd_____/punish",), _challenge("https://www.alibabacloud.com/help/en/waf/")),
    Page("fastly", ("title:client challenge", "_fs-ch-"), _challenge("https://docs.fastly.com")),
    Page("yandex", ("/checkcaptcha", "smartcaptcha"), _challenge("https://yandex.com/support/smart-captcha/")),
    Page("vercel", ("title:vercel security checkpoint",), _challenge("https://vercel.com/docs")),
    Page("ddos_guard", ("title:ddos-guard",), _challenge("https://ddos-guard.net")),
    Page(
        "f5",
        ("title:request rejected", "the requested url was rejected", "support id"),
        _ban("https://my.f5.com"),
    ),
    Page("google_sorry", ("our systems have detected unusual traffic", "/sorry/"), _challenge(_GOOGLE)),
)

# Pages and messages that come with a status of refusal: what is said to the reader is enough.
_REFUSED: Final = (
    # Cloudflare's numbers. Those from 1100 on, and 1000 to 1004, 1016, 1033, tell of the origin and aren't here.
    Page("cloudflare_1015", ("error 1015",), _ban(_CLOUDFLARE)),
    Page("cloudflare_1015", ("error code: 1015",), _ban(_CLOUDFLARE)),
    *(
        Page(f"cloudflare_{number}", (f"{words} {number}",), rule)
        for words in ("error", "error code:")
        for number, rule in (
            ("1005", _ban(_CLOUDFLARE)),
            ("1006", _ban(_CLOUDFLARE)),
            ("1007", _ban(_CLOUDFLARE)),
            ("1008", _ban(_CLOUDFLARE)),
            ("1009", _country(_CLOUDFLARE)),
            ("1010", _ban(_CLOUDFLARE)),
            ("1012", _ban(_CLOUDFLARE)),
            ("1020", _ban(_CLOUDFLARE)),
            ("1106", _ban(_CLOUDFLARE)),
        )
    ),
    Page("cloudflare_block", ("sorry, you have been blocked",), _ban(_CLOUDFLARE)),
    Page("cloudflare_block", ("attention required! | cloudflare",), _ban(_CLOUDFLARE)),
    Page("cloudflare_block", ("used cloudflare to restrict access",), _ban(_CLOUDFLARE)),
    # Whatever language the title is in.
    Page("cloudflare_challenge", ("_cf_chl_opt",), _challenge(_CHALLENGES)),
    Page("cloudflare_challenge", ("/cdn-cgi/challenge-platform/", "/orchestrate/"), _challenge(_CHALLENGES)),
    Page("cloudflare_challenge", ("challenges.cloudflare.com", "cf-turnstile"), _challenge(_CHALLENGES)),
    Page("cloudflare_challenge", ("checking your browser before accessing",), _challenge(_CHALLENGES)),
    Page("cloudflare_challenge", ("enable javascript and cookies to continue",), _challenge(_CHALLENGES)),
    Page("cloudflare_challenge", ("please complete the security check to access",), _challenge(_CHALLENGES)),
    Page("datadome", ("captcha-delivery.com", "'t':'bv'"), _ban(_DATADOME)),
    Page("datadome", ("captcha-delivery.com", '"t":"bv"'), _ban(_DATADOME)),
    Page("datadome", ("captcha-delivery.com", "&t=bv"), _ban(_DATADOME)),
    Page("datadome", ("captcha-delivery.com",), _challenge(_DATADOME)),
    Page("human", ("px-captcha",), _challenge(_HUMAN)),
    Page("human", ('"blockscript"', '"appid"'), _challenge(_HUMAN)),
    Page("akamai", ("errors.edgesuite.net",), _ban(_AKAMAI)),
    Page("akamai", ("access denied", "you don't have permission to access", "reference"), _ban(_AKAMAI)),
    Page("akamai", ("sec-cp-challenge",), _challenge(_BOT_MANAGER)),
    Page("imperva", ("blocked by the security rules",), _ban(_IMPERVA)),
    Page("incapsula", ("incapsula incident id",), _ban(_IMPERVA)),
    Page("incapsula", ("_incapsula_resource",), _ban(_IMPERVA)),
    Page("cloudfront_country", ("cloudfront", "block access from your country"), _country(_AMAZON)),
    Page("cloudfront", ("request blocked", "could not be satisfied"), _ban(_AMAZON)),
    Page("cloudfront", ("request blocked", "cloudfront"), _ban(_AMAZON)),
    Page("amazon_captcha", ("/errors/validatecaptcha",), _challenge(_AMAZON)),
    Page("amazon", ("to discuss automated access",), _challenge(_AMAZON)),
    Page("google_sorry", ("unusual traffic from your computer network",), _challenge(_GOOGLE)),
    Page("google_sorry", ("/sorry/index",), _challenge(_GOOGLE)),
    Page("captcha", ("complete the captcha to",), _challenge("")),
    Page("kasada", ("/ips.js", "kpsdk"), _challenge("https://www.kasada.io")),
    Page("sucuri", ("sucuri website firewall", "access denied"), _ban("https://docs.sucuri.net")),
    Page("azure", ("<h2>the request is blocked",), _ban("https://learn.microsoft.com/azure/web-application-firewall/")),
    Page("mod_security", ("generated by mod_security",), _ban("https://modsecurity.org")),
    Page("fortinet", ("web page blocked", "attack id"), _ban("https://docs.fortinet.com")),
    # The words alone are what a forum says of one of its users: a wall has a number or a name for itself, too.
    *(
        Page("some_wall", ("you have been blocked", "<html", mark), _ban(""))
        for mark in ("incident", "reference id", "reference number", "request id", "ray id", "support id", "firewall")
    ),
    Page("wordfence", ("generated by wordfence",), _ban("https://www.wordfence.com/help/")),
    Page("wordfence", ("limited by the site owner",), _ban("https://www.wordfence.com/help/")),
    Page("reddit", ("whoa there, pardner", "network policy"), _ban(_REDDIT)),
    Page("reddit", ("blocked by network security",), _ban(_REDDIT)),
    Page("wikimedia", ("robot policy",), _ban(_WIKIMEDIA)),
    Page("bybit_ip", ("access too frequent",), _ban(_BYBIT, wait=600.0)),
    Page("discord", ("you are being blocked from accessing our api temporarily",), _ban(_DISCORD, wait=_HOUR)),
    Page("linkedin", ("/authwall?",), _challenge("https://www.linkedin.com")),
    *(
        Page("country", (words,), _country(_RFC_451))
        for words in (
            "restricted location",
            "restricted country",
            "unsupported_country",
            "country, region, or territory not supported",
            "country or region your ip address is in",
            "location is not supported",
            "not available in your country",
            "not available in your region",
            "not available in your location",
            "unavailable in your country",
            "unavailable in your region",
            "access from your country",
            "blocked in your country",
            "blocked from your country",
            "available in your jurisdiction",
            "restricted in your country",
            "restricted in your region",
            "country is restricted",
            "country has been blocked",
            "your country is not supported",
            "services are currently unavailable in the u.s",
            "is not supported in your country",
            "from your current location",
        )
    ),
    *(
        Page("captcha", (words,), _challenge(""))
        for words in (
            'class="g-recaptcha"',
            "class='g-recaptcha'",
            'class="h-captcha"',
            "class='h-captcha'",
            *(
                f"{verb}{that} {you} {what}"
                for verb in ("verify", "confirm", "prove", "make sure")
                for that in ("", " that")
                for you in ("you are", "you're")
                for what in ("human", "a human", "not a robot", "not a bot")
            ),
            "verifying you are human",
            "are you a robot?",
        )
    ),
    *(Page("address", ("your ip", words), _ban("")) for words in ("blocklist", "block list", "blacklist", "denylist")),
    *(
        Page("address", (words,), _ban(""))
        for words in (
            "your ip has been banned",
            "your ip was blocked",
            "your ip was banned",
            "your ip address was blocked",
            "your ip has been temporarily",
            "your network has been blocked",
            "blacklisted your ip",
            "ip is blacklisted",
            "ip has been blacklisted",
            "your ip has been blocked",
            "your ip is banned",
            "your ip is blocked",
            "your ip address has been banned",
            "your ip address has been blocked",
            "your ip address is banned",
            "your ip address is blocked",
            "ip address has been temporarily blocked",
            "has banned your ip",
            "has banned your access",
            "has banned you",
            "ip banned",
            "banned your ip",
            "you have been temporarily blocked",
            "blocked due to a network policy",
            "access has been blocked",
            "detected unusual activity from your",
            "automated requests from your",
            "automated traffic from your",
            "request has been blocked by",
        )
    ),
    *(
        Page("account", (words,), _ban("", "account"))
        for words in (
            "your account has been banned",
            "your account has been suspended",
            "your account has been disabled",
            "your account has been deactivated",
            "your account is banned",
            "your account is suspended",
            "your account was suspended",
            "your account was banned",
            "your account was disabled",
            "your account has been locked",
            "your account has been blocked",
            "your account has been terminated",
            "your account is disabled",
            "your account is locked",
            "your account is blocked",
            "account has been permanently",
            "account is permanently",
            "this account is temporarily locked",
            "account has been locked",
        )
    ),
)


_BOOK_SILENT: Final = Phrasebook((each.words, each) for each in _SILENT)
_BOOK_REFUSED: Final = Phrasebook((each.words, each) for each in _REFUSED)


def page(text: str, status: int) -> Page | None:
    """
    Find the block, challenge or country page that *text* is; None if it is none.

    Args:
        text: The body, or a message out of it; its first 4 KiB are read.
        status: The status beside it.
    """
    low = plain(text[:READ])
    has_markup = "<" in low
    if not has_markup and status not in _DOORS:
        return None
    words = words_of(low)
    found = _BOOK_SILENT.find(low, words, title_of(low)) if has_markup else None
    if found is None and status in _DOORS:
        found = _BOOK_REFUSED.find(low, words)
    return found


def title_of(low: str) -> str:
    """
    Return the title of a page in lower case, with its apostrophes as one character; empty if it has none.
    """
    _, begun, rest = low.partition("<title")
    if not begun:
        return ""
    title = rest[:512].partition(">")[2].partition("</title")[0].strip()
    return title.replace("&#39;", "'").replace("&#x27;", "'").replace("&apos;", "'")
