"""The dirnet bundle: the paper's settings and variants, its data in 2D and 3D, evaluation, inference, overlays."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
import tifffile
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter, shift

from monai_cellreg.data import simulated_cardiac
from monai_cellreg.engines import StrictConfigWorkflow
from monai_cellreg.geometry import Pair
from monai_cellreg.methods import bundle_method, run_bundle
from monai_cellreg.methods.bundles import bundle_files
from monai_cellreg.networks import DIRNET_VARIANTS, DIRNet

Settings = dict[str, Any]
DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
SMALL = {"variant": "B", "levels": [2], "channels": 4}
SHORT = {"pairs_per_epoch": 8, "batch_size": 4, "max_epochs": 1, "validation_items": 4}

pytestmark = pytest.mark.filterwarnings("ignore:parsing config_file")  # MONAI's reminder that a bundle is code


def scene(shape: tuple[int, ...], seed: int) -> np.ndarray:
    """A smooth picture from 0 to 1 with a seed's own details."""
    texture = gaussian_filter(np.random.default_rng(seed).normal(size=shape), 2)
    return (texture - texture.min()) / np.ptp(texture)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Eight pictures of one scene, each moved a little."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for k in range(8):
        moved = shift(scene((36, 44), 0), (k % 3 - 1, k % 4 - 2), mode="nearest")
        Image.fromarray((255 * moved).astype(np.uint8)).save(folder / f"subject{k}.png")
    return folder


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    """Sixty "digits" of ten classes in idx files, of which the last twelve are the test section."""
    folder = tmp_path / "digits"
    folder.mkdir()
    images = np.stack([(255 * scene((28, 28), k)).astype(np.uint8) for k in range(60)])
    classes = np.arange(60, dtype=np.uint8) % 3
    for name, array in (("images-idx3-ubyte", images), ("labels-idx1-ubyte", classes)):
        header = bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
        (folder / f"{name}.gz").write_bytes(gzip.compress(header + array.tobytes()))
    return folder


@pytest.fixture
def volumes(tmp_path: Path) -> Path:
    """Six labelled volumes of 1.1 x 0.9 x 1.3 mm and different sizes."""
    folder = tmp_path / "volumes"
    for k in range(6):
        image = scene((19, 22 - k % 2, 17), k % 2)
        for part, values in (("images", 900 * image), ("labels", 1.0 * (image > 0.5) + (image > 0.7))):
            (folder / part).mkdir(parents=True, exist_ok=True)
            stored = nib.Nifti1Image(values.astype(np.float32), np.diag([1.1, 0.9, 1.3, 1]))
            stored.header.set_xyzt_units("mm")
            nib.save(stored, folder / part / f"brain{k}.nii.gz")
    return folder


def folder_of(pictures: Path) -> Settings:
    """Settings to train on pictures, of which subjects 6 and 7 are held out."""
    data = {"dataset_dir": str(pictures), "layout": "folder", "simulated": 0, "held_out": 2, "labels": []}
    return {**SMALL, **SHORT, **data, "image_size": [32, 40]}


def part(name: str, *overlays: str, **overrides: Any) -> Any:
    """A part of the configuration."""
    workflow = StrictConfigWorkflow(bundle_files("dirnet", overlays), overrides=overrides)
    return workflow.parser.get_parsed_content(name)


def table(folder: Path) -> tuple[Settings, list[dict[str, str]]]:
    """Means and rows of an evaluation."""
    assert {path.name for path in folder.iterdir()} == {"metrics.json", "pairs.csv", "pairs.png"}
    with (folder / "pairs.csv").open(newline="") as file:
        return json.loads((folder / "metrics.json").read_text()), list(csv.DictReader(file))


def correlation(one: Any, other: Any) -> float:
    return float(np.corrcoef(np.ravel(one), np.ravel(other))[0, 1])


def test_paper_settings() -> None:
    for overlay in ("train_mnist.json", "train_cardiac.json"):
        overlays = (overlay, "paper.json")
        objective, network = part("objective", *overlays), part("network_def", *overlays)
        weights = {name: term.weight for name, term in objective.terms.items()}
        assert weights.pop("ncc") == 1 and not any(weights.values())
        assert part("train::prepare_batch", *overlays).augmentation is None
        assert part("batch_size", *overlays) == 32
        widths = {layer.out_channels for layer in network.modules() if isinstance(layer, torch.nn.Conv2d)}
        assert widths == {16, 2} and network.variant == DIRNET_VARIANTS["B"] and len(network.registration.stages) == 1
        assert type(part("train::optimizer", *overlays)) is torch.optim.Adam


@pytest.mark.parametrize(
    ("overlay", "size", "grid"), [("train_mnist.json", (28, 28), (7, 7)), ("train_cardiac.json", (256, 256), (16, 16))]
)
def test_grids_of_the_paper(overlay: str, size: tuple[int, int], grid: tuple[int, int]) -> None:
    network = part("network_def", overlay, "paper.json").eval()
    assert network.image_size == size
    with torch.no_grad():
        (points,) = network.registration.parameters_of(torch.rand(1, 1, *size), torch.rand(1, 1, *size))
    assert points.shape == (1, 2, *grid)


@pytest.mark.parametrize("variant", DIRNET_VARIANTS)
def test_every_variant_of_the_paper_by_one_override(variant: str, pictures: Path, tmp_path: Path) -> None:
    run_bundle("dirnet", [], {**folder_of(pictures), "variant": variant, "output_dir": str(tmp_path / "run")})
    weights = torch.load(tmp_path / "run" / "last.pt")["network"]
    expected = DIRNet((32, 40), variant=variant, levels=[2], channels=4).state_dict()
    assert {name: value.shape for name, value in weights.items()} == {n: v.shape for n, v in expected.items()}
    moved = [name for name, value in weights.items() if name.endswith(".weight") and not value.any()]
    assert moved == []  # the last layer starts at zero


def test_affine_stage_and_bending_by_one_override_each(pictures: Path, tmp_path: Path) -> None:
    weights = {}
    for name, change in (("plain", {}), ("affine", {"affine": True}), ("bending", {"bending": 50.0})):
        run_bundle("dirnet", [], {**folder_of(pictures), "bending": 0.0, **change, "output_dir": str(tmp_path / name)})
        weights[name] = torch.load(tmp_path / name / "last.pt")["network"]
    stages = {name: {key.split(".")[2] for key in found} for name, found in weights.items()}
    assert stages == {"plain": {"0"}, "affine": {"0", "1"}, "bending": {"0"}}
    assert any(not torch.equal(weights["plain"][key], weights["bending"][key]) for key in weights["plain"])


def test_unknown_variant_and_key_are_refused(pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError) as caught:
        run_bundle("dirnet", [], {**folder_of(pictures), "variant": "C3", "output_dir": str(tmp_path / "run")})
    cause: BaseException | None = caught.value
    while cause is not None and "variant is 'C3', expected one of 'B', 'A1'" not in str(cause):
        cause = cause.__cause__
    assert cause is not None
    with pytest.raises(KeyError, match="override --variants names no key of the configuration: did you mean variant"):
        run_bundle("dirnet", ["train_mnist.json"], {"variants": "C1"})


def test_evaluation_measures_subjects_that_no_training_saw(dirnet: Any, pictures: Path, tmp_path: Path) -> None:
    settings = folder_of(pictures)
    run_bundle("dirnet", [], {**settings, "output_dir": str(tmp_path / "run")})
    told = {**settings, "checkpoint": str(tmp_path / "run" / "model.pt"), "output_dir": str(tmp_path / "evaluation")}
    dirnet.run_as_typed("run evaluating", told)
    means, rows = table(tmp_path / "evaluation")
    assert {row["subject"] for row in rows} == {"subject6", "subject7"} and len(rows) == 2
    images = [np.asarray(Image.open(pictures / f"subject{k}.png"), dtype=float)[2:34, 2:42] for k in (6, 7)]
    clipped = [np.clip(image, *np.percentile(image, [0.5, 99.5])) for image in images]
    assert means["unregistered_ncc"] == pytest.approx(correlation(*clipped), abs=0.01)
    assert means["registration_ncc"] == pytest.approx(np.mean([float(row["registration_ncc"]) for row in rows]))
    assert not [name for name in means if "dice" in name]


def test_simulated_hearts_of_the_evaluation_are_others(dirnet: Any, tmp_path: Path) -> None:
    told = {**dirnet.tiny, "checkpoint": str(dirnet.run_dir / "model.pt"), "output_dir": str(tmp_path)}
    dirnet.run_as_typed("run evaluating", told)
    means, rows = table(tmp_path)
    assert {row["subject"] for row in rows} == {"test_heart000"}
    assert 0 < means["unregistered_dice"] < 1 and means["registration_dice"] > 0


def test_digits_by_the_documented_commands(dirnet: Any, digits: Path, tmp_path: Path) -> None:
    told = {**SMALL, **SHORT, "dataset_dir": str(digits)}
    dirnet.run_as_typed("train_mnist.json", {**told, "output_dir": str(tmp_path / "run")})
    trained = {"checkpoint": str(tmp_path / "run" / "model.pt"), "output_dir": str(tmp_path / "evaluation")}
    dirnet.run_as_typed("train_mnist.json','bundles/dirnet/evaluate.json", {**told, **trained})
    means, rows = table(tmp_path / "evaluation")
    assert means["pairs"] == 4 and {row["group"] for row in rows} <= {"digit0", "digit1", "digit2"}
    assert all("test00000" <= row["subject"] <= "test00011" for row in rows)
    pair = Pair.of(*(torch.from_numpy(scene((28, 28), k)).float()[None] for k in (3, 6)))
    method = bundle_method("dirnet", {**SMALL, "checkpoint": trained["checkpoint"]}, overlays=["train_mnist.json"])
    network = DIRNet((28, 28), **SMALL)
    network.load_state_dict(torch.load(trained["checkpoint"]))
    limits = [image.quantile(torch.tensor([0.005, 0.995])) for image in (pair.fixed, pair.moving)]
    seen = [((x[None] - a) / (b - a)).clamp(0, 1) for x, (a, b) in zip((pair.fixed, pair.moving), limits, strict=True)]
    with torch.no_grad():
        field = network.eval()(*seen)["fixed_to_moving"][0].permute(1, 2, 0)
    world = pair.fixed_grid.world()
    torch.testing.assert_close((method.register(pair).points(world) - world).float(), field, atol=1e-3, rtol=0)
    assert field.abs().max() > 1e-3


def test_volumes_train_and_are_measured_and_registered(dirnet: Any, volumes: Path, tmp_path: Path) -> None:
    told = {**SMALL, **SHORT, "image_size": [16, 20, 16], "dataset_dir": str(volumes), "held_out": 2}
    dirnet.run_as_typed("train_brain.json", {**told, "output_dir": str(tmp_path / "run")})
    told["checkpoint"] = str(tmp_path / "run" / "model.pt")
    run_bundle("dirnet", ["train_brain.json", "evaluate.json"], {**told, "output_dir": str(tmp_path / "evaluation")})
    means, rows = table(tmp_path / "evaluation")
    assert {row["subject"] for row in rows} == {"brain4", "brain5"}
    assert 0 < means["unregistered_dice"] < 1 and 0 < means["registration_dice"] < 1
    files = {side: str(volumes / "images" / f"brain{k}.nii.gz") for side, k in (("fixed", 4), ("moving", 5))}
    network = {**SMALL, "image_size": told["image_size"], "checkpoint": told["checkpoint"]}
    mark = "train_brain.json','bundles/dirnet/inference.json"
    dirnet.run_as_typed(mark, {**network, **files, "output_dir": str(tmp_path / "registration")})
    warped = nib.load(tmp_path / "registration" / "warped.nii.gz")
    assert warped.shape == nib.load(files["fixed"]).shape
    np.testing.assert_allclose(warped.header.get_zooms(), (1.1, 0.9, 1.3), rtol=1e-5)
    assert sitk.ReadTransform(str(tmp_path / "registration" / "transform.h5")).GetDimension() == 3


@pytest.mark.parametrize(
    ("overlays", "weights"),
    [
        ([], "model"),
        (["train_cardiac.json"], "model"),
        (["train_mnist.json"], "mnist"),
        (["train_brain.json"], "hippo"),
    ],
)
def test_overlays_name_their_shipped_weights(overlays: list[str], weights: str) -> None:
    files = {part("checkpoint", *overlays, name) for name in ("inference.json", "evaluate.json")}
    assert len(files) == 1
    path = Path(files.pop())
    assert path.name.startswith(weights) and path.stat().st_size < 10_000_000  # small enough for git
    shipped, network = torch.load(path), bundle_method("dirnet", overlays=overlays).network
    assert all(torch.equal(shipped[name], value) for name, value in network.state_dict().items())


def test_inference_registers_two_files(dirnet: Any, tmp_path: Path) -> None:
    """End diastole and end systole of a simulated heart, by the shipped weights."""
    (cine,) = simulated_cardiac(1, slices=1, phases=10, size=(112, 120), seed=7)
    for name, time in (("fixed", cine.ed), ("moving", cine.es)):
        tifffile.imwrite(tmp_path / f"{name}.tif", cine.images[time].numpy().astype(np.uint16))
    files = {side: str(tmp_path / f"{side}.tif") for side in ("fixed", "moving")}
    dirnet.run_as_typed("inference.json", {**files, "output_dir": str(tmp_path / "out")})
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert written == {"warped.tif", "transform.h5", "metrics.json", "overlay.png", "report.html"}
    images = [tifffile.imread(path) for path in (*files.values(), tmp_path / "out" / "warped.tif")]
    assert correlation(images[0], images[2]) > correlation(images[0], images[1]) + 0.02


def test_shipped_weights_register_simulated_hearts(dirnet: Any, tmp_path: Path) -> None:
    dirnet.run_as_typed("run evaluating", {"simulated": 1, "validation_items": 12, "output_dir": str(tmp_path)})
    means, _ = table(tmp_path)
    assert means["registration_ncc"] > means["unregistered_ncc"] + 0.02
    assert means["registration_dice"] > means["unregistered_dice"] and means["folding_fraction"] < 1e-3


@pytest.mark.parametrize(
    ("overlay", "folder", "held_out"), [("train_mnist.json", "mnist", 0), ("train_brain.json", "hippocampus3d", 10)]
)
def test_shipped_weights_register_what_they_have_not_seen(
    overlay: str, folder: str, held_out: int, tmp_path: Path
) -> None:
    if not (DATA / folder).is_dir():
        pytest.skip(f"no data at {DATA / folder}")
    told = {"dataset_dir": str(DATA / folder), "held_out": held_out, "validation_items": 8, "output_dir": str(tmp_path)}
    run_bundle("dirnet", [overlay, "evaluate.json"], told)
    means, rows = table(tmp_path)
    assert len(rows) == 8 and means["registration_ncc"] > means["unregistered_ncc"] + 0.1
    assert means["folding_fraction"] < 5e-3
    if overlay == "train_brain.json":
        assert means["registration_dice"] > means["unregistered_dice"] + 0.02
