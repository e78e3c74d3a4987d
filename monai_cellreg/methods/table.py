"""The one table of method names."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial

from ..utils import check_choice
from .bundles import bundle_method
from .method import Method


def method_names() -> list[str]:
    """The names that ``method`` takes in Python and on the command line."""
    return sorted(_METHODS)


@cache
def load_method(name: str) -> Method:
    """The method of a name, loaded once.

    Raises:
        ValueError: for an unknown name; the message lists the known ones.
    """
    check_choice("method", name, method_names())
    return _METHODS[name]()


_METHODS: dict[str, Callable[[], Method]] = {"joint": partial(bundle_method, "joint")}
