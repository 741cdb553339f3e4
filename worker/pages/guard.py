"""Who may come in, and whether a form was sent from our own page.

Every request, also those for dramatiq-dashboard, passes here first:

- With a password set it must carry it (HTTP Basic). Without one only this host's own names are answered to: a page elsewhere
  whose name has been pointed at 127.0.0.1 (DNS rebinding) comes with its own name.
- What changes something must come from our own address (Origin) and, on our own pages, carry a token that only they know.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from worker.desk.session import operator
from worker.pages.http import Response, cookie
from worker.setting_faults import is_loopback
from worker.settings import Settings

#: Of our pages' forms. Its value is nothing by itself: the token is made from it with a key that is this process's own.
COOKIE = "desk"

#: The name of the form's field.
TOKEN = "token"

#: Nothing from elsewhere, no inline scripts, no frames.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)

#: On every answer, dramatiq-dashboard's too.
HEADERS = (("X-Frame-Options", "DENY"), ("X-Content-Type-Options", "nosniff"), ("Referrer-Policy", "same-origin"))

#: On our own.
OWN_HEADERS = (("Content-Security-Policy", POLICY), ("Cache-Control", "no-store"))

_SAFE = ("GET", "HEAD")
_OWN_NAMES = ("localhost",)


class Refused(Exception):
    """The request is not answered; ``response`` is what is said instead."""

    def __init__(self, response: Response) -> None:
        super().__init__(response.status)
        self.response = response


@dataclass(frozen=True)
class Guard:
    """The guard of one dashboard.

    Parameters:
      user, password: What must be given; empty: nothing, on loopback.
      host: Where it listens.
    """

    user: str
    password: str = field(repr=False)
    host: str = "127.0.0.1"
    _key: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)

    @classmethod
    def of(cls, settings: Settings) -> Guard:
        return cls(settings.dashboard_user, settings.dashboard_password, settings.dashboard_host)

    def admit(self, environ: Mapping[str, Any]) -> str:
        """Who it is; raises `Refused`."""
        who = self._logged_in(environ) if self.password else self._local(environ)
        host, origin = environ.get("HTTP_HOST", ""), environ.get("HTTP_ORIGIN")
        if environ.get("REQUEST_METHOD") not in _SAFE and origin is not None and urlsplit(origin).netloc != host:
            raise _refused(403, "This form was sent from another site.")
        if environ.get("HTTP_SEC_FETCH_SITE") == "cross-site" and environ.get("HTTP_SEC_FETCH_MODE") != "navigate":
            raise _refused(403, "This was asked for by another site.")
        return who

    def session(self, environ: Mapping[str, Any]) -> tuple[str, str | None]:
        """The token of this browser's forms, and the cookie to set if it has none yet."""
        value = cookie(environ, COOKIE)
        if value:
            return self._token(value), None
        value = secrets.token_urlsafe(18)
        return self._token(value), f"{COOKIE}={value}; Path=/; HttpOnly; SameSite=Strict"

    def check(self, environ: Mapping[str, Any], token: str) -> None:
        """Raise `Refused` unless the form carries this browser's token."""
        value = cookie(environ, COOKIE)
        if not value or not _same(token, self._token(value)):
            raise _refused(
                403, "This form is not from this page, or is from before a restart. Go back and load it anew."
            )

    def _token(self, value: str) -> str:
        return hmac.new(self._key, value.encode(), hashlib.sha256).hexdigest()

    def _local(self, environ: Mapping[str, Any]) -> str:
        """Without a password: only requests for a name of this host."""
        name = urlsplit(f"//{environ.get('HTTP_HOST', '')}").hostname or ""
        if not (is_loopback(name) or name in (*_OWN_NAMES, self.host)):
            text = "Only this host's own names are answered to. For others set DASHBOARD_USER and DASHBOARD_PASSWORD."
            raise _refused(403, text)
        return operator()

    def _logged_in(self, environ: Mapping[str, Any]) -> str:
        scheme, _, given = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
        try:
            decoded = base64.b64decode(given.strip(), validate=True) if scheme.lower() == "basic" else b""
        except (binascii.Error, ValueError):
            decoded = b""
        user, _, password = decoded.partition(b":")
        # Both are compared whatever the first says: how long it takes tells nothing.
        is_user, is_password = _same(user, self.user), _same(password, self.password)
        if not (is_user and is_password):
            raise _refused(
                401, "A user and a password, please.", ("WWW-Authenticate", 'Basic realm="outbox", charset="UTF-8"')
            )
        return self.user


def _same(given: str | bytes, expected: str) -> bool:
    given = given.encode("utf-8", "surrogateescape") if isinstance(given, str) else given
    return hmac.compare_digest(hashlib.sha256(given).digest(), hashlib.sha256(expected.encode()).digest())


def _refused(status: int, text: str, *headers: tuple[str, str]) -> Refused:
    return Refused(Response(f"{text}\n".encode(), status, "text/plain; charset=utf-8", headers))
