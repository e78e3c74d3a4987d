"""What the label server refuses before MONAI Label sees it: names that reach other files, and JSON that is none."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

__all__ = [
    "HEADER_BYTES",
    "NAMES",
    "Refused",
    "check_header",
    "check_name",
    "check_path",
    "check_sender",
    "check_upload",
    "parse_object",
]

NAMES = frozenset(
    "id image images reference label tag label_tag reference_tag model method strategy session_id".split()
)
"""Parameters, of the address and of JSON, of which MONAI Label or a task makes the name of a file or folder."""

PATHS = frozenset(["bundle_path"])
"""Parameters that MONAI Label takes for folders of code."""

LONGEST = 200
HEADER_BYTES = 2**20
"""How much of an uploaded file is looked at for a header."""

DATA_FILE = {
    ".mha": re.compile(rb"elementdatafile[ \t]*[=:][ \t]*([^\r\n]*)", re.IGNORECASE),
    ".nrrd": re.compile(rb"^data ?file[ \t]*:[ \t]*([^\r\n]*)", re.IGNORECASE | re.MULTILINE),
}
"""The line of a header that says where the voxels are; readers of ITK follow it to any file of the machine."""

DRIVE = re.compile(r"[A-Za-z]:")
CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class Refused(Exception):
    """A request that is answered with a reason instead of being carried out.

    Args:
        status: the HTTP status, 4xx or 503.
        reason: argument, value, what was expected and the next step.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


def check_name(argument: str, value: object) -> None:
    """Checks that a value is the plain name of something in the server's folder, or empty for none.

    Args:
        argument: the parameter's name.
        value: what was received: a name, or a list of names.

    Raises:
        Refused: 422 where it is a path, or holds characters that no name has.
    """
    if isinstance(value, list):
        for one in value:
            check_name(argument, one)
        return
    if value is None or value == "":
        return
    if not isinstance(value, str):
        raise Refused(422, f"{argument} is {_shown(value)}, expected a name, which is text; GET /datastore/ lists them")
    _check_text(argument, value)
    bad = value in (".", "..") or "/" in value or "\\" in value or DRIVE.match(value) or len(value) > LONGEST
    if bad:
        raise Refused(
            422,
            f"{argument} is {_shown(value)}, expected a plain name of at most {LONGEST} characters and not a path; "
            "give an image by its id, its file name without the extension, as GET /datastore/?output=all lists it",
        )


def check_path(path: str) -> None:
    """Checks the path of an address, in which no part may be ``..`` or hold a backslash or a control character.

    Raises:
        Refused: 400.
    """
    if ".." in path.split("/") or "\\" in path or CONTROL.search(path):
        raise Refused(400, f"the address {_shown(path)} has '..', a backslash or a control character; leave it out")


def check_upload(argument: str, filename: str, extensions: Iterable[str]) -> None:
    """Checks the name of an uploaded file, of which only the last part is used.

    Args:
        argument: the form's field.
        filename: what the client calls the file; clients send whole paths of their own.
        extensions: the extensions that are taken, such as ``.png``; all when there are none.

    Raises:
        Refused: 422 where it climbs out of folders or is no name; 415 for another kind of file.
    """
    parts = filename.replace("\\", "/").split("/")
    if ".." in parts or parts[-1] in ("", ".") or CONTROL.search(filename) or len(parts[-1]) > LONGEST:
        raise Refused(422, f"{argument} has the file name {_shown(filename)}, expected a plain one; rename the file")
    taken = tuple(extensions)
    if taken and not parts[-1].lower().endswith(taken):
        raise Refused(
            415, f"{argument} is the file {_shown(parts[-1])}, expected one of {', '.join(taken)}; convert it first"
        )


def check_header(argument: str, filename: str, start: bytes) -> None:
    """Checks that an uploaded image holds its voxels itself, and does not take another file for them.

    Args:
        argument: the form's field.
        filename: what the client calls the file.
        start: the first :data:`HEADER_BYTES` of it.

    Raises:
        Refused: 422.
    """
    kind = next((suffix for suffix in DATA_FILE if filename.lower().endswith(suffix)), "")
    if not kind:
        return
    header, *voxels = re.split(rb"\r?\n\r?\n", start, maxsplit=1) if kind == ".nrrd" else [start]
    named = [place.strip() for place in DATA_FILE[kind].findall(header)]
    is_whole = voxels and start.startswith(b"NRRD") or named and named[0].upper() == b"LOCAL"
    if not is_whole or any(place.upper() != b"LOCAL" for place in named):
        raise Refused(
            422,
            f"{argument} is the file {_shown(filename)}, whose header does not say that its voxels are in it; expected "
            "one file with header and voxels. Save it as one, such as .nii.gz",
        )


def check_sender(host: str, origin: str, *, hosts: Sequence[str], origins: Sequence[str]) -> None:
    """Checks that a request which a browser sends for a web page comes from a page that may send it.

    Args:
        host: the request's header ``Host``; a page can make its own name mean this machine, but must then send it.
        origin: its header ``Origin``, empty where it is no page's.
        hosts: the names, without ports, by which the server may be called; all when there are none.
        origins: the pages that may use the server besides its own.

    Raises:
        Refused: 403.
    """
    name = re.sub(r":\d*$", "", host)
    if hosts and name not in hosts:
        raise Refused(
            403, f"the server was called by the name {_shown(name)}, expected one of {', '.join(hosts)}; use one of "
            f"these, or start the server with --origin http://{name}"
        )  # fmt: skip
    if origin and origin not in origins and origin.partition("://")[2] != host:
        raise Refused(
            403, f"pages of {_shown(origin)} may not use this server; start it with --origin {origin} to let them"
        )


def parse_object(argument: str, text: str | bytes) -> dict[str, Any]:
    """The parameters that a JSON object holds, all of them checked.

    Args:
        argument: what the text is, as the client knows it.
        text: the JSON; empty text stands for no parameters.

    Returns:
        The object.

    Raises:
        Refused: 422 where it is no JSON object of finite numbers, names a path, or holds text that no file can.
    """
    try:
        given = json.loads(text, parse_constant=_no_number) if text else {}
    except (ValueError, RecursionError) as error:
        raise Refused(422, f"{argument} is not JSON ({error}); expected an object such as {{}}") from error
    if not isinstance(given, dict):
        raise Refused(422, f"{argument} is {_shown(given)}, expected a JSON object such as {{}}")
    waiting: list[tuple[str, Any, bool]] = [(argument, given, True)]  # not by recursion: depth is the client's choice
    while waiting:
        name, value, is_parameter = waiting.pop()
        if is_parameter and name in NAMES:
            check_name(name, value)
        if isinstance(value, dict):
            for key, inner in value.items():
                _check_text(f"a key of {argument}", key)
                waiting.append((key, inner, is_parameter))
        elif isinstance(value, list):
            waiting.extend((name, inner, False) for inner in value)
        elif isinstance(value, str):
            _check_value(name, value)
    return given


def _check_value(argument: str, value: str) -> None:
    """Checks text that need not be a name, but must not be the path of another place."""
    _check_text(argument, value, multiline=True)
    climbs = ".." in re.split(r"[/\\]", value)
    if climbs or value.startswith(("/", "\\")) or re.match(r"[A-Za-z]:[/\\]", value) or argument in PATHS:
        raise Refused(422, f"{argument} is {_shown(value)}, but paths are not taken; name things by their id")


def _check_text(argument: str, value: str, *, multiline: bool = False) -> None:
    """Checks that text has no control characters and can be written."""
    plain = re.sub(r"[\t\r\n]", "", value) if multiline else value
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise Refused(422, f"{argument} is {_shown(value)}, which is no text; send it in UTF-8") from error
    if CONTROL.search(plain):
        raise Refused(422, f"{argument} is {_shown(value)}, which has control characters; leave them out")


def _no_number(word: str) -> NoReturn:
    raise ValueError(f"{word} is no number of JSON")


def _shown(value: object) -> str:
    """The value as an error shows it: in plain characters, shortened."""
    text = ascii(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
