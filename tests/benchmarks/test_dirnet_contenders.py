"""Who takes part in the benchmarks of hearts and digits."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from monai_cellreg.baselines import Elastix
from monai_cellreg.benchmarks import dirnet_contenders
from monai_cellreg.benchmarks.contenders import Contender
from monai_cellreg.benchmarks.dirnet_contenders import PairedSettings, entrants, trained_entries
from monai_cellreg.benchmarks.dirnet_networks import HEARTS, NetworkEntry
from monai_cellreg.benchmarks.dirnet_training import DirnetRecipe, TrainedDirnet

RECIPE = DirnetRecipe("train_cardiac.json", {})


class Named(TrainedDirnet):
    """A network that needs no weights to take part."""

    def contender(self, name: str, *, refined: bool = False) -> Contender:
        return Contender(name, Elastix(), f"{name}-{self.seed}", f"{self.name} {refined}")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Names of the networks that are to be trained."""
    names: list[list[str]] = []

    def listen(
        entries: Mapping[str, NetworkEntry], folder: Path, recipe: DirnetRecipe, *, resume: bool, progress: bool
    ) -> list[TrainedDirnet]:
        names.append(list(entries))
        return [Named(name, seed, folder / "model.pt", [], {}, {}) for name in entries for seed in (0, 1)]

    monkeypatch.setattr(dirnet_contenders, "trained_dirnets", listen)
    return names


def settings(*methods: str) -> PairedSettings:
    return PairedSettings(methods, HEARTS, RECIPE, threads=3)


def test_a_refined_network_is_trained_once_under_its_own_name(asked: list[list[str]], tmp_path: Path) -> None:
    found = entrants(settings("DIRNet-best-refined", "affine", "elastix-paper", "DIRNet"), tmp_path, 16)
    assert asked == [["DIRNet", "DIRNet-best"]]
    assert [c.label for c in found.contenders] == [
        "DIRNet-best-refined-0", "DIRNet-best-refined-1", "affine", "elastix-paper", "DIRNet-0", "DIRNet-1",
    ]  # fmt: skip
    assert [c.weights for c in found.contenders][0::4] == ["DIRNet-best True", "DIRNet False"]
    elastix = found.contenders[3].method
    assert isinstance(elastix, Elastix) and elastix.threads == 3
    assert elastix.stages[0]["FinalGridSpacingInVoxels"] == ["16"]  # type: ignore[index,call-overload]
    assert [network.name for network in found.networks] == ["DIRNet"] * 2 + ["DIRNet-best"] * 2 and not found.notes
    assert list(trained_entries(settings("elastix-paper"))) == []


def test_nobody_who_can_run_is_told_before_training(
    asked: list[list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dirnet_contenders, "named_contenders", lambda names: ([], [f"{n} is left out" for n in names]))
    with pytest.raises(ValueError, match=r"methods is \['ants'\], of which none can run here: ants is left out"):
        entrants(settings("ants"), tmp_path, 16)
    assert asked == []
    assert entrants(settings("ants", "DIRNet"), tmp_path, 16).notes == ["ants is left out"]


def test_settings_are_checked() -> None:
    with pytest.raises(ValueError, match="method is 'DIRNet-D1', expected one of .*elastix-paper.*DIRNet-C2"):
        settings("DIRNet-D1")
    with pytest.raises(ValueError, match="threads is 0"):
        PairedSettings(["auto"], HEARTS, RECIPE, threads=0)
