"""MONAI's bundle workflow that refuses misspelt overrides."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from monai.bundle import ConfigParser, ConfigWorkflow


class StrictConfigWorkflow(ConfigWorkflow):
    """:class:`monai.bundle.ConfigWorkflow` in which an override must name a key that the configuration has.

    MONAI adds unknown keys silently, so that ``--max_epoch 5`` trains for the default number of epochs.

    Args:
        config_file: one configuration or several, merged in order.
        workflow_type: see MONAI.
        overrides: key to value; ``::`` reaches inside.

    Raises:
        KeyError: for an override whose key does not exist; the message gives the closest ones.
    """

    def __init__(
        self,
        config_file: str | Sequence[str],
        *,
        workflow_type: str = "train",
        overrides: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(config_file=config_file, workflow_type=workflow_type)
        override(self.parser, overrides or {})


def override(parser: ConfigParser, overrides: Mapping[str, Any]) -> None:
    """Replaces values of a configuration.

    Args:
        parser: the configuration.
        overrides: key to value; ``::`` (or ``#``) reaches inside.

    Raises:
        KeyError: for a key that does not exist; the message gives the closest ones.
    """
    for key, value in overrides.items():
        name = key.replace("#", "::")
        if name not in parser:
            known = _keys(parser)
            close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
            close += [k for k in known if k.endswith(f"::{name}") and k not in close]
            top = [k for k in parser.get() if k != parser.meta_key]
            hint = f"did you mean {', '.join(close)}?" if close else f"expected one of {', '.join(top)}"
            raise KeyError(f"override --{key} names no key of the configuration: {hint}")
        parser[name] = value


def root_cause(error: BaseException) -> BaseException:
    """What went wrong inside a configuration: MONAI raises it as the cause of one RuntimeError or several."""
    while isinstance(error, RuntimeError) and error.__cause__ is not None:
        error = error.__cause__
    return error


def _keys(parser: ConfigParser) -> list[str]:
    """Every key of a configuration, nested ones joined by ``::``."""

    def walk(node: Any, prefix: str) -> list[str]:
        if not isinstance(node, dict):
            return []
        return [k for key, value in node.items() for k in (f"{prefix}{key}", *walk(value, f"{prefix}{key}::"))]

    return walk(parser.get(), "")
