"""Who may use the server: the tokens of an OpenID realm, read as MONAI Label means to.

MONAI Label 0.8.5 reads tokens without naming the algorithms that it takes, which PyJWT refuses, so that every token is
refused; it keeps the realm's first answer for ever, even a wrong one; and it fails without a reason where the realm
cannot be reached. These three functions of it are replaced here, and nothing else of its authentication.
"""

from __future__ import annotations

import threading
from typing import Any

import jwt
import requests
from cachetools import TTLCache, cached
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from monailabel.config import settings
from monailabel.endpoints.user import auth

__all__ = ["ALGORITHM", "is_enabled", "mend", "user_of"]

ALGORITHM = "RS256"
"""The only one taken: signed with a key that the realm alone has."""

KEPT_SECONDS = 300
NO_TOKEN = "the token is not valid"


def is_enabled() -> bool:
    """Whether requests need a token."""
    return settings.MONAI_LABEL_AUTH_ENABLE


def mend(app: FastAPI) -> None:
    """Replaces what is wrong in MONAI Label's authentication, and gives its failures a status and a reason."""
    auth.from_token = user_of
    auth.get_public_key = public_key
    auth.open_id_configuration = configuration
    app.add_exception_handler(requests.RequestException, _realm_failed)


def user_of(token: str) -> auth.User:
    """The user whom a token names, or MONAI Label's user with all roles where authentication is off.

    Args:
        token: a JSON web token, as the realm gives it.

    Raises:
        jwt.InvalidTokenError: if it is not the realm's, has no end or is past it, or names no user; answered with 401.
        requests.RequestException: if the realm cannot be asked; answered with 503.
    """
    if not is_enabled():
        return auth.DEFAULT_USER
    key = public_key(settings.MONAI_LABEL_AUTH_REALM_URI)
    options = {"require": ["exp"], "verify_aud": False}
    try:
        claims = jwt.decode(token, key, algorithms=[ALGORITHM], options=options)
    except jwt.InvalidKeyError as error:
        raise requests.RequestException("its public key is none") from error
    name = claims.get(settings.MONAI_LABEL_AUTH_TOKEN_USERNAME)
    if not isinstance(name, str) or not name:
        raise jwt.InvalidTokenError(f"{NO_TOKEN}: it names no user")
    texts = {
        "email": claims.get(settings.MONAI_LABEL_AUTH_TOKEN_EMAIL),
        "name": claims.get(settings.MONAI_LABEL_AUTH_TOKEN_NAME),
    }
    known = {key: value for key, value in texts.items() if isinstance(value, str)}
    return auth.User.model_validate({"username": name, "roles": _roles(claims), **known})


@cached(TTLCache(maxsize=8, ttl=KEPT_SECONDS), lock=threading.Lock())
def public_key(realm: str) -> str:
    """The realm's public key in PEM form, asked for anew every few minutes, since realms change their keys."""
    return f"-----BEGIN PUBLIC KEY-----\n{_asked(realm)['public_key']}\n-----END PUBLIC KEY-----"


@cached(TTLCache(maxsize=8, ttl=KEPT_SECONDS), lock=threading.Lock())
def configuration(realm: str) -> dict[str, Any]:
    """What the realm says of itself, such as where tokens are had (``token_endpoint``)."""
    return _asked(f"{realm}/.well-known/openid-configuration", wanted="token_endpoint")


def _asked(address: str, *, wanted: str = "public_key") -> dict[str, Any]:
    """The realm's answer, which must have an entry."""
    response = requests.get(address, timeout=settings.MONAI_LABEL_AUTH_TIMEOUT)
    response.raise_for_status()
    answer = response.json()
    if not isinstance(answer, dict) or not isinstance(answer.get(wanted), str):
        raise requests.RequestException(f"its answer has no {wanted}")
    return answer


def _roles(claims: dict[str, Any]) -> list[str]:
    """The roles that a token gives, none where they are not a list; ``#`` parts the keys of nested objects."""
    found: Any = claims
    for key in settings.MONAI_LABEL_AUTH_TOKEN_ROLES.split("#"):
        found = found.get(key) if isinstance(found, dict) else None
    return [role for role in found if isinstance(role, str)] if isinstance(found, list) else []


async def _realm_failed(request: Request, error: Exception) -> JSONResponse:
    """Answers a request for which the realm could not be asked, or refused a password."""
    status, reason = realm_failure(error)
    return JSONResponse({"detail": reason}, status)


def realm_failure(error: Exception) -> tuple[int, str]:
    """Status and reason where the realm was asked in vain: 401 where it refused a password, else 503."""
    realm = settings.MONAI_LABEL_AUTH_REALM_URI
    response = getattr(error, "response", None)
    if response is not None and response.request.method == "POST" and response.status_code in (400, 401):
        return 401, f"the realm {realm} refuses user name or password; check both"
    return 503, f"the realm {realm} cannot be asked ({type(error).__name__}); see that it runs, then try again"
