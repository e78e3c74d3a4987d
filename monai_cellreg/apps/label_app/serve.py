"""The launcher: MONAI Label's settings, a work folder, and the application behind one address."""

from __future__ import annotations

import contextlib
import errno
import importlib.util
import io
import ipaddress
import json
import logging
import logging.config
import os
import socket
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from monai_cellreg.utils import atomic_path, ensure_writable_dir

__all__ = ["ServerOptions", "serve"]

logger = logging.getLogger(__name__)

LOCAL = ("127.0.0.1", "localhost", "[::1]")
MAIN = '''"""What MONAI Label loads from the folder of an app: the class that it looks for."""

from monai_cellreg.apps.label_app.app import RegistrationApp

__all__ = ["RegistrationApp"]
'''
MIB = 2**20


@dataclass(frozen=True)
class ServerOptions:
    """How the server is started.

    Args:
        studies: folder of images.
        work: folder of the server's own files.
        host: address that it listens at.
        port: port that it listens at, 0 for any free one.
        origins: pages of other addresses that may use it, such as ``https://viewer.example.org``.
        workers: inferences at a time.
        json_mib: most MiB of the JSON of one request.
        upload_mib: most MiB of one upload.
        realm: address of the OpenID realm whose tokens are wanted, none for no authentication.
        client_id: the server's name in the realm.
        verbose: whether the log is shown.
    """

    studies: Path
    work: Path
    host: str = "127.0.0.1"
    port: int = 8000
    origins: tuple[str, ...] = ()
    workers: int = 2
    json_mib: float = 1.0
    upload_mib: float = 2048.0
    realm: str = ""
    client_id: str = "monailabel-app"
    verbose: bool = False


def serve(options: ServerOptions) -> None:
    """Serves a folder of images until the process is asked to end, and then ends it.

    Args:
        options: how.

    Raises:
        ImportError: if MONAI Label is not installed.
        ValueError: if another server has the work folder.
        FileNotFoundError: if there is no such folder of images.
        OSError: if the address cannot be listened at, or a folder not be written.
    """
    if importlib.util.find_spec("monailabel") is None:
        raise ImportError(
            "MONAI Label is not installed in this environment; run 'make label-server STUDIES=folder', which builds "
            "one that has it"
        )
    if not options.studies.is_dir():
        raise FileNotFoundError(f"STUDIES is {options.studies}, expected an existing folder of images; check the path")
    ensure_writable_dir(options.studies)
    work = _work_folder(options.work)
    with _alone(work), _listening(options.host, options.port) as listener, _temporary_folder():
        port = listener.getsockname()[1]
        os.environ.update(_settings(options, port))
        logging.config.dictConfig(_log_config(work / "logs" / "app.log", verbose=options.verbose))
        _run(options, listener, f"http://{_in_address(options.host)}:{port}")
    logging.shutdown()
    sys.stdout.flush()
    os._exit(0)  # work under way on a thread cannot be stopped, and is not waited for


def _run(options: ServerOptions, listener: socket.socket, address: str) -> None:
    """Runs the server; everything that MONAI Label prints goes to the log."""
    console = sys.stdout
    with contextlib.redirect_stdout(_Logged()):
        import uvicorn
        from monailabel.interfaces.utils.app import app_instance

        from .web import Limits, served_app

        # MONAI Label's tasks run in processes that print all settings as JSON, which addresses are not
        os.environ.pop("MONAI_LABEL_CORS_ORIGINS", None)
        images = app_instance().datastore().list_images()
        names = tuple(dict.fromkeys([*LOCAL, *(_host_of(origin) for origin in options.origins)]))
        limits = Limits(
            workers=options.workers,
            json_bytes=int(options.json_mib * MIB),
            upload_bytes=int(options.upload_mib * MIB),
            hosts=names if _is_local(options.host) else (),
        )

        class Announced(uvicorn.Server):
            """Says where it listens once it does."""

            async def startup(self, sockets: list[socket.socket] | None = None) -> None:
                await super().startup(sockets)
                if self.started:
                    print(f"{len(images)} images of {options.studies} served at {address}", file=console, flush=True)

        _warn(options, images)
        config = uvicorn.Config(served_app(limits), log_config=None, access_log=False, timeout_graceful_shutdown=3)
        with contextlib.suppress(KeyboardInterrupt):
            Announced(config).run(sockets=[listener])
        _stop_tasks()


def _warn(options: ServerOptions, images: list[str]) -> None:
    """Logs what is probably not meant."""
    if not _is_local(options.host) and not options.realm:
        logger.warning(
            "the server listens at %s, where others reach it, without authentication: anyone there can read and change "
            "%s; use --realm, or --host 127.0.0.1",
            options.host,
            options.studies,
        )
    if not images:
        from .app import EXTENSIONS

        logger.warning("no image in %s, expected files such as %s", options.studies, ", ".join(EXTENSIONS))


def _settings(options: ServerOptions, port: int) -> dict[str, str]:
    """MONAI Label's settings, as environment variables: it runs training and scoring in processes of their own."""
    own = [f"http://{name}:{port}" for name in dict.fromkeys([*LOCAL, _in_address(options.host)])]
    work = str(options.work.resolve())
    values: Mapping[str, object] = {
        "API_STR": "",
        "APP_DIR": work,
        "STUDIES": str(options.studies.resolve()),
        "SESSION_PATH": f"{work}/sessions",
        "SERVER_PORT": port,
        "CORS_ORIGINS": json.dumps([*own, *options.origins]),
        "TRACKING_ENABLED": False,
        "AUTO_UPDATE_SCORING": False,  # scores register all images; they are made when asked for
        "AUTH_ENABLE": bool(options.realm),
        "AUTH_REALM_URI": options.realm.rstrip("/"),
        "AUTH_CLIENT_ID": options.client_id,
    }
    path = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH", ""), work]))
    return {**{f"MONAI_LABEL_{key}": str(value) for key, value in values.items()}, "PYTHONPATH": path}


def _work_folder(folder: Path) -> Path:
    """The server's own folder with what MONAI Label looks for in it."""
    for name in ("model", "logs", "sessions"):
        ensure_writable_dir(folder / name)
    main = folder / "main.py"
    if not main.exists():
        with atomic_path(main) as temporary:
            temporary.write_text(MAIN, encoding="utf-8")
    return folder


@contextlib.contextmanager
def _alone(work: Path) -> Iterator[None]:
    """Keeps other servers from the work folder: their trainings and logs would mix with those of this one."""
    from filelock import FileLock, Timeout

    lock = FileLock(work / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise ValueError(
            f"--work is {work}, which another server has now; stop it, or choose another folder"
        ) from error
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def _temporary_folder() -> Iterator[None]:
    """A folder for uploads and results, which MONAI Label does not always remove; it goes with the server."""
    with tempfile.TemporaryDirectory(prefix="monai-cellreg-label-", ignore_cleanup_errors=True) as folder:
        os.environ["TMPDIR"] = tempfile.tempdir = folder
        yield


def _listening(host: str, port: int) -> socket.socket:
    """A socket bound to the address."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.socket(family)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except socket.gaierror as error:
        raise OSError(f"--host is {host}, which is no address of this machine; use 127.0.0.1 or 0.0.0.0") from error
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise OSError(f"--port {port} is in use at {host}; choose another, or 0 for any free one") from error
        raise OSError(
            f"--host {host} and --port {port} cannot be listened at ({error.strerror}); choose others"
        ) from error
    listener.set_inheritable(True)
    return listener


def _log_config(file: Path, *, verbose: bool) -> dict[str, object]:
    """Logging into a file, which ``GET /logs/`` shows, and onto stderr from warnings on."""
    shown = "INFO" if verbose else "WARNING"
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "long": {"format": "[%(asctime)s] [%(threadName)s] [%(levelname)s] (%(name)s) %(message)s"},
            "short": {"format": "%(levelname)s: %(message)s"},
        },
        "handlers": {
            "file": {
                "class": "logging.handlers.RotatingFileHandler",
                "filename": str(file),
                "maxBytes": 10 * MIB,
                "backupCount": 3,
                "encoding": "utf-8",
                "formatter": "long",
            },
            "console": {"class": "logging.StreamHandler", "formatter": "short", "level": shown},
        },
        "root": {"level": "INFO", "handlers": ["file", "console"]},
    }


def _stop_tasks() -> None:
    """Ends the processes in which MONAI Label trains and scores."""
    from monailabel.utils.async_tasks.utils import background_processes, stop_background_task

    for method in list(background_processes):
        stop_background_task(method)


def _is_local(host: str) -> bool:
    """Whether only this machine reaches the address."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _in_address(host: str) -> str:
    """The host as an address has it."""
    return f"[{host}]" if ":" in host else host


def _host_of(origin: str) -> str:
    """The name in ``https://name:port``."""
    return origin.partition("://")[2].partition("/")[0].rsplit(":", 1)[0]


class _Logged(io.TextIOBase):
    """A stream whose lines go to the log."""

    def write(self, text: str) -> int:
        for line in filter(None, text.splitlines()):
            logger.info(line)
        return len(text)
