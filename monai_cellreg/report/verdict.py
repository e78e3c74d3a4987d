"""What is to be thought of a registration, in plain words."""

from __future__ import annotations

from dataclasses import dataclass

from ..utils import check_choice

__all__ = ["LEVELS", "Verdict"]

LEVELS = {"good": "Looks good", "check": "Look closely before you use it", "failed": "Do not use this result"}


@dataclass(frozen=True)
class Verdict:
    """A level and the sentences that it rests on.

    Args:
        level: ``"good"``, ``"check"`` or ``"failed"``.
        reasons: plain sentences with their numbers.

    Raises:
        ValueError: for another level.

    Example:
        >>> Verdict("good", ("The correlation rose from 0.62 to 0.91.",)).headline
        'Looks good'
    """

    level: str
    reasons: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_choice("level", self.level, LEVELS)

    @property
    def headline(self) -> str:
        """The level as the page's first words."""
        return LEVELS[self.level]
