"""A named weighted sum of losses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn


class Term(nn.Module):
    """One loss of an :class:`Objective`.

    Args:
        loss: called with the values named by ``of``; any loss of MONAI or PyTorch serves as well.
        of: names of the predictions and targets that the loss takes, in its order, such as ``["warped", "fixed"]``, or
            with a weight ``["warped", "fixed", "mask"]``; a list of names gives it a tuple.
        weight: factor of the loss in the sum; zero leaves it out.
    """

    def __init__(self, loss: nn.Module, of: Sequence[str | Sequence[str]], weight: float = 1.0) -> None:
        super().__init__()
        self.loss, self.of, self.weight = loss, list(of), float(weight)

    def forward(self, values: Mapping[str, Tensor]) -> Tensor:
        """The unweighted loss of the named values."""
        return self.loss(*(_pick(values, name) for name in self.of))


class Objective(nn.Module):
    """The weighted sum of named losses, returned with every term.

    Args:
        terms: name of each term to its loss.

    Raises:
        ValueError: when no term is left, or one is named ``loss``; when called with values that lack a name.

    Example:
        >>> import torch
        >>> objective = Objective({"mse": Term(nn.MSELoss(), ["fixed", "warped"], weight=2.0)})
        >>> objective({"warped": torch.ones(2)}, {"fixed": torch.zeros(2)})
        {'mse': tensor(1.), 'loss': tensor(2.)}
    """

    def __init__(self, terms: Mapping[str, Term]) -> None:
        super().__init__()
        if "loss" in terms or not any(term.weight for term in terms.values()):
            weights = {name: term.weight for name, term in terms.items()}
            raise ValueError(
                f"terms have the weights {weights}; expected at least one above 0, and none named 'loss' (the sum)"
            )
        self.terms = nn.ModuleDict(terms)

    def forward(self, prediction: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Every term by name, unweighted, and their weighted sum as ``loss``.

        Args:
            prediction: what the network gave, by name.
            target: what is known, by name; a name may be in one of the two only, unless the term says which
                (``"target.fixed_to_moving"``).
        """
        values = {**target, **prediction, **{f"target.{name}": value for name, value in target.items()}}
        terms = {name: term(values) for name, term in self.terms.items() if term.weight != 0}
        total = sum(self.terms[name].weight * value for name, value in terms.items())
        return {**terms, "loss": total}


def _pick(values: Mapping[str, Tensor], name: str | Sequence[str]) -> Tensor | tuple[Tensor, ...]:
    return _one(values, name) if isinstance(name, str) else tuple(_one(values, n) for n in name)


def _one(values: Mapping[str, Tensor], name: str) -> Tensor:
    if name not in values:
        raise ValueError(
            f"a loss takes {name!r}, which is neither predicted nor a target; expected one of {sorted(values)}"
        )
    return values[name]
