"""``monai-cellreg label-server``: a folder of images for MONAI Label's clients."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from .options import DONE, Commands, add_command

EXAMPLES = """
monai-cellreg label-server my_images
monai-cellreg label-server my_images --port 8001 --work runs/label_hearts
monai-cellreg label-server my_images --origin https://viewer.example.org
monai-cellreg label-server my_images --host 0.0.0.0 --realm https://login.example.org/realms/hospital
"""


def add(commands: Commands) -> None:
    """Adds the command."""
    parser = add_command(
        commands,
        "label-server",
        _run,
        what="serve a folder of images to MONAI Label clients such as 3D Slicer, to carry labels from image to image",
        examples=EXAMPLES,
    )
    parser.add_argument("studies", type=Path, metavar="STUDIES", help="folder of images; labels are kept in it")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at (default: %(default)s, this machine)")
    parser.add_argument("--port", type=_port, default=8000, help="port; 0 takes any free one (default: %(default)s)")
    parser.add_argument(
        "--work",
        type=Path,
        help="the server's own folder, for one server at a time (default: runs/label_server/ and the name of STUDIES)",
    )
    parser.add_argument(
        "--origin",
        action="append",
        default=[],
        type=_origin,
        metavar="URL",
        help="pages of this address, such as a viewer's, may use the server as well; can be repeated",
    )
    parser.add_argument("--workers", type=_count, default=2, metavar="N", help="registrations at a time (default: 2)")
    parser.add_argument(
        "--json-limit", type=_size, default=1, metavar="MIB", help="most JSON in one request (default: %(default)s MiB)"
    )
    parser.add_argument(
        "--upload-limit", type=_size, default=2048, metavar="MIB", help="largest upload (default: %(default)s MiB)"
    )
    parser.add_argument(
        "--realm", type=_origin, metavar="URL", help="ask for the tokens of this OpenID realm (Keycloak)"
    )
    parser.add_argument(
        "--client-id", default="monailabel-app", metavar="NAME", help="the server's name there (default: %(default)s)"
    )
    parser.add_argument("--verbose", action="store_true", help="show the log, which is kept in WORK/logs as well")


def _run(options: argparse.Namespace) -> int:
    from monai_cellreg.apps.label_app.serve import ServerOptions, serve

    serve(
        ServerOptions(
            studies=options.studies,
            work=options.work or Path("runs", "label_server", options.studies.resolve().name),
            host=options.host,
            port=options.port,
            origins=tuple(options.origin),
            workers=options.workers,
            json_mib=options.json_limit,
            upload_mib=options.upload_limit,
            realm=options.realm or "",
            client_id=options.client_id,
            verbose=options.verbose,
        )
    )
    return DONE


def _origin(text: str) -> str:
    """An address, without the slash at its end."""
    if not re.fullmatch(r"https?://[^/\s]+(/\S*)?", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no address, expected one such as https://viewer.example.org")
    return text.rstrip("/")


def _port(text: str) -> int:
    """A port."""
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port, expected a number from 0 to 65535")
    return int(text)


def _count(text: str) -> int:
    """A number of threads."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of at least 1")
    return int(text)


def _size(text: str) -> float:
    """A size above 0."""
    try:
        size = float(text)
    except ValueError:
        size = 0.0
    if not 0 < size < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no size in MiB above 0")
    return size
