"""A server with authentication: tokens of a realm are taken, and nothing else."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qs

import pytest

pytest.importorskip("monailabel", reason="MONAI Label is not installed: make test-label")
import jwt
import requests
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from monai_cellreg.apps.label_app import authentication

ROLES = ("monailabel-admin", "monailabel-reviewer", "monailabel-annotator", "monailabel-user")
USER, ANNOTATOR = ROLES[3:], ROLES[2:]
DAY_SECONDS = 86400


def new_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@dataclass
class Realm:
    """A server that gives tokens, as Keycloak does.

    Args:
        key: signs its tokens.
        is_down: whether it fails.
    """

    key: rsa.RSAPrivateKey = field(default_factory=new_key)
    is_down: bool = True
    url: str = ""

    @property
    def public(self) -> bytes:
        """The public key in PEM form."""
        return self.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def claims(self, roles: tuple[str, ...] = ROLES, **other: Any) -> dict[str, Any]:
        """What a token says; ``None`` leaves a claim out."""
        end = int(time.time()) + DAY_SECONDS
        given = {"preferred_username": "ada", "exp": end, "realm_access": {"roles": list(roles)}, "aud": "account"}
        return {key: value for key, value in {**given, **other}.items() if value is not None}

    def token(self, roles: tuple[str, ...] = ROLES, **other: Any) -> str:
        """A token of the realm."""
        return jwt.encode(self.claims(roles, **other), self.key, algorithm="RS256")

    def answer(self, method: str, path: str, form: dict[str, list[str]]) -> tuple[int, dict[str, Any]]:
        """Status and body of an answer."""
        if self.is_down:
            return 500, {"error": "down"}
        if path == "/realms/lab":
            der = self.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
            return 200, {"realm": "lab", "public_key": base64.b64encode(der).decode()}
        if path == "/realms/lab/.well-known/openid-configuration":
            return 200, {"token_endpoint": f"{self.url}/token"}
        wanted = {"client_id": ["our-label"], "username": ["ada"], "password": ["se cret"], "grant_type": ["password"]}
        if method == "POST" and path == "/realms/lab/token" and form == wanted:
            return 200, {"access_token": self.token(), "token_type": "Bearer"}
        return 401, {"error": "invalid_grant"}


@pytest.fixture(scope="module")
def realm() -> Iterator[Realm]:
    """A realm that is down at first."""
    made = Realm()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            form = parse_qs(self.rfile.read(int(self.headers.get("content-length", 0))).decode())
            status, answer = made.answer(self.command, self.path, form)
            body = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET

        def log_message(self, format: str, *args: Any) -> None: ...

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.url = f"http://127.0.0.1:{listening.server_port}/realms/lab"
    thread = Thread(target=listening.serve_forever, daemon=True)
    thread.start()
    yield made
    listening.shutdown()
    listening.server_close()
    thread.join()


@dataclass(frozen=True)
class Secured:
    """A server with authentication, and its answers while the realm was down: to a token, and to a password."""

    server: Any
    while_down: tuple[requests.Response, requests.Response]


@pytest.fixture(scope="module")
def secured(serve: Callable[..., Any], realm: Realm) -> Secured:
    """The server, with the realm up."""
    server = serve("--realm", realm.url, "--client-id", "our-label", "--upload-limit", "0.5")
    answers = ask(server, "/info/", realm.token()), log_in(server, "se cret")
    realm.is_down = False
    return Secured(server, answers)


def ask(server: Any, path: str, token: str | None, method: str = "GET", **more: Any) -> requests.Response:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    return requests.request(method, server.url + path, headers=headers, timeout=60, **more)


def log_in(server: Any, password: str) -> requests.Response:
    """As 3D Slicer does it."""
    data = {"username": "ada", "password": password, "grant_type": "password"}
    return requests.post(f"{server.url}/auth/token", data=data, timeout=60)


def test_a_realm_that_fails_is_no_fault_of_who_asks(secured: Secured) -> None:
    for answer in secured.while_down:
        assert answer.status_code == 503
        assert "cannot be asked" in answer.json()["detail"]


def test_tokens_of_the_realm_are_taken(secured: Secured, realm: Realm) -> None:
    assert ask(secured.server, "/info/", realm.token()).status_code == 200
    user = ask(secured.server, "/auth/token/valid", realm.token(email="ada@lab.org")).json()
    assert user == {"username": "ada", "email": "ada@lab.org", "name": None, "roles": list(ROLES)}


def test_slicer_logs_in_with_user_name_and_password(secured: Secured, realm: Realm) -> None:
    told = requests.get(f"{secured.server.url}/auth/", timeout=60).json()
    assert told == {"enabled": True, "client_id": "our-label", "realm": realm.url}
    token = log_in(secured.server, "se cret").json()
    assert token["token_type"] == "Bearer"
    assert ask(secured.server, "/info/", token["access_token"]).status_code == 200


def test_a_wrong_password_is_refused(secured: Secured) -> None:
    answer = log_in(secured.server, "wrong")
    assert answer.status_code == 401
    assert "refuses user name or password" in answer.json()["detail"]


def signed_with_the_public_key(realm: Realm) -> str:
    """A token whose sender has taken the public key, which all know, for a shared secret."""
    parts = [json.dumps(part).encode() for part in ({"alg": "HS256", "typ": "JWT"}, realm.claims())]
    signed = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in parts)
    mark = hmac.new(realm.public.strip(), signed, hashlib.sha256).digest()
    return (signed + b"." + base64.urlsafe_b64encode(mark).rstrip(b"=")).decode()


FORGED: dict[str, Callable[[Realm], str | None]] = {
    "none": lambda realm: None,
    "empty": lambda realm: "",
    "no token": lambda realm: "a.b.c",
    "of another": lambda realm: jwt.encode(realm.claims(), new_key(), algorithm="RS256"),
    "ended": lambda realm: realm.token(exp=int(time.time()) - 1),
    "endless": lambda realm: realm.token(exp=None),
    "of nobody": lambda realm: realm.token(preferred_username=None),
    "unsigned": lambda realm: jwt.encode(realm.claims(), None, algorithm="none"),
    "public key as secret": signed_with_the_public_key,
    "another algorithm": lambda realm: jwt.encode(realm.claims(), realm.key, algorithm="RS512"),
    "changed": lambda realm: swapped(realm),
}


def swapped(realm: Realm) -> str:
    """The signature of one token under the claims of another."""
    mine, other = realm.token(USER).split("."), realm.token().split(".")
    return ".".join([other[0], other[1], mine[2]])


@pytest.mark.parametrize("kind", FORGED)
def test_no_other_token_is_taken(secured: Secured, realm: Realm, kind: str) -> None:
    for path in ("/info/", "/datastore/?output=all", "/logs/", "/nothing"):
        answer = ask(secured.server, path, FORGED[kind](realm))
        assert answer.status_code == 401, answer.text
        assert answer.headers["www-authenticate"] == "Bearer"
        assert answer.json()["detail"].startswith("the token is not valid")


def test_a_large_body_is_not_read_without_a_token(secured: Secured) -> None:
    files = {"file": ("a.png", b"x" * 2**20)}
    assert ask(secured.server, "/datastore/image", None, "PUT", files=files).status_code == 401


@pytest.mark.parametrize(
    ("roles", "statuses"),
    [((), (403, 403, 403)), (USER, (200, 403, 403)), (ANNOTATOR, (200, 404, 403)), (ROLES, (200, 404, 404))],
    ids=["none", "user", "annotator", "admin"],
)
def test_what_a_role_allows(secured: Secured, realm: Realm, roles: tuple[str, ...], statuses: tuple[int, ...]) -> None:
    token = realm.token(roles)
    label = {"label": ("a.png", b"no image")}
    before = secured.server.files()
    answers = (
        ask(secured.server, "/info/", token),
        ask(secured.server, "/datastore/label?image=nope", token, "PUT", files=label),
        ask(secured.server, "/datastore/image?id=nope", token, "DELETE"),
    )
    assert tuple(answer.status_code for answer in answers) == statuses
    assert secured.server.files() == before


@pytest.mark.parametrize("given", [{}, {"roles": "monailabel-admin"}, {"roles": None}, [], "x"], ids=str)
def test_roles_of_another_form_are_none(secured: Secured, realm: Realm, given: Any) -> None:
    assert ask(secured.server, "/info/", realm.token(realm_access=given)).status_code == 403


def test_pages_about_the_server_need_no_token(secured: Secured) -> None:
    for path in ("/", "/docs", "/openapi.json", "/auth/"):
        assert ask(secured.server, path, None).status_code == 200


def test_a_realm_may_change_its_key(realm: Realm, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = authentication.public_key.cache
    kept.clear()
    monkeypatch.setattr(realm, "is_down", False)
    first = realm.public.decode()
    assert spaceless(authentication.public_key(realm.url)) == spaceless(first)
    monkeypatch.setattr(realm, "key", new_key())
    assert spaceless(authentication.public_key(realm.url)) == spaceless(first)
    kept.expire(kept.timer() + 301)
    assert spaceless(authentication.public_key(realm.url)) == spaceless(realm.public.decode())
    kept.clear()


def spaceless(text: str) -> str:
    return "".join(text.split())


def test_answers_without_a_key_are_not_kept(realm: Realm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(realm, "is_down", False)
    with pytest.raises(requests.RequestException, match="has no public_key"):
        authentication.public_key(f"{realm.url}/.well-known/openid-configuration")
    with pytest.raises(requests.HTTPError, match="401"):
        authentication.configuration(f"{realm.url}/elsewhere")
    assert authentication.configuration(realm.url)["token_endpoint"] == f"{realm.url}/token"
