"""Packs: complete, the same every time, run by plain MONAI, and taken by all of MONAI's tools for bundles."""

from __future__ import annotations

import ast
import json
import logging
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import monai.bundle
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from monai.bundle import ConfigParser, run
from torch import Tensor

from monai_cellreg.data.synthetic_heart import simulated_cardiac
from monai_cellreg.data.synthetic_sequence import simulate_sequence
from monai_cellreg.engines import StrictConfigWorkflow, load_weights
from monai_cellreg.geometry import Pair
from monai_cellreg.methods import (
    bundle_dir,
    bundle_method,
    check_pack,
    load_method,
    pack_bundle,
    packing,
    packing_checks,
)

CHECKS = ["verify_metadata", "verify_net_in_out", "ckpt_export", "onnx_export", "load"]
MAIN = ["LICENSE", "configs/evaluate.json", "configs/inference.json", "configs/logging.conf", "configs/metadata.json"]
MAIN += ["configs/multi_gpu_train.json", "configs/train.json", "docs/README.md", "docs/data_license.txt"]
MAIN += ["docs/metadata_schema.json", "models/model.pt"]
MORE = {
    "joint": ["models/others/tps.pt"],
    "segreg": [],
    "dirnet": [
        *(f"configs/inference_{name}.json" for name in ("brain", "cardiac", "mnist")),
        *(f"configs/{name}.json" for name in ("paper", "train_brain", "train_cardiac", "train_mnist")),
        *(f"models/others/{name}.pt" for name in ("hippocampus", "mnist")),
    ],
}

pytestmark = pytest.mark.filterwarnings("ignore:parsing config_file", "ignore::torch.jit.TracerWarning")


@pytest.fixture(scope="session")
def pack_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Gives a function from the name of a bundle to its pack, which tests leave as it is."""
    out = tmp_path_factory.mktemp("packs")
    return lambda name: out / name if (out / name).exists() else pack_bundle(name, out)


@pytest.fixture
def pack(bundle: Any, pack_of: Callable[[str], Path]) -> Path:
    """The pack of every bundle."""
    return pack_of(bundle.name)


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A pack that a test may break."""
    return pack_bundle("segreg", tmp_path)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def real_pair(name: str) -> Tensor:
    """Two images of what a bundle is for, (1, 2, H, W)."""
    if name == "dirnet":
        heart = simulated_cardiac(1, slices=1, seed=3)[0]
        images = torch.stack([heart.images[heart.ed], heart.images[heart.es]])[None]
        return (images / images.max()).clamp(0, 1)
    film = simulate_sequence(2, seed=3)
    return torch.from_numpy(film.labels if name == "segreg" else film.images).movedim(1, 0)


# --- what is written ------------------------------------------------------------------------------------------------


def test_layout_is_that_of_the_model_zoo_with_the_very_weights(bundle: Any, pack: Path) -> None:
    files = contents(pack)
    assert sorted(files) == sorted(MAIN + MORE[bundle.name])
    assert {Path(name).name: data for name, data in files.items() if name.endswith(".pt")} == {
        path.name: path.read_bytes() for path in (bundle.folder / "models").glob("*.pt")
    }
    metadata = read(pack / "configs" / "metadata.json")
    assert metadata == bundle.content("metadata.json") and metadata["version"] in metadata["changelog"]
    assert [name for name, data in files.items() if b"bundle_dir(" in data or b"bundles/" in data] == []


def test_licence_says_what_is_share_alike(pack_of: Callable[[str], Path]) -> None:
    text = (pack_of("dirnet") / "docs" / "data_license.txt").read_text(encoding="utf-8")
    assert re.search(r"models/others/hippocampus\.pt: CC BY-SA 4\.0, https://\S+\n  Share-alike: ", text)
    for name in MORE:
        text = (pack_of(name) / "docs" / "data_license.txt").read_text(encoding="utf-8")
        named = set(re.findall(r"models/[\w/]+\.pt", text))
        assert named == {file for file in contents(pack_of(name)) if file.startswith("models/")}


def test_equal_bundles_give_equal_files(bundle: Any, pack: Path, tmp_path: Path) -> None:
    assert contents(pack_bundle(bundle.name, tmp_path)) == contents(pack)
    assert [path.name for path in tmp_path.iterdir()] == [bundle.name]


def test_commands_of_the_readme_fit_the_pack(
    bundle: Any, pack_of: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Typed in the pack's folder, each names files and keys that are there, or in a pack beside it."""
    folders = {name: pack_of(name) for name in MORE}
    pack = folders[bundle.name]
    monkeypatch.chdir(pack)
    text = (pack / "docs" / "README.md").read_text(encoding="utf-8")
    assert [link for link in re.findall(r"\]\((\.[^)]*)\)", text) if not (pack / "docs" / link).is_file()] == []
    lines = [line for line in text.splitlines() if "--" in line]
    commands = [shlex.split(line) for line in lines if line.startswith(("python -m monai.bundle", "torchrun"))]
    assert len(commands) == bundle.text("README.md").count("-m monai.bundle") >= 10
    for words in commands:
        step, *rest = words[words.index("monai.bundle") + 1 :]
        what = [] if rest[0].startswith("--") else [rest.pop(0)]
        given = {key.removeprefix("--"): value for key, value in zip(rest[::2], rest[1::2], strict=True)}
        config = given.pop("config_file", None)
        files = ast.literal_eval(config) if config and config.startswith("[") else [config] if config else []
        if step == "run":
            parser = StrictConfigWorkflow(files, overrides=given).parser
            assert (what or ["run"])[0] in parser
            continue
        assert callable(getattr(monai.bundle, step)) and what in ([], ["network_def"])
        assert [name for name in files if not Path(name).is_file()] == []
        assert all(Path(given[key]).is_file() for key in ("meta_file", "ckpt_file") if key in given)


# --- what MONAI's tools say -----------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning")
def test_pack_passes_every_check_of_monai(
    bundle: Any, pack: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """On real images the exports give what the bundle's own network gives; and nothing is left behind or printed."""
    image = real_pair(bundle.name)
    monkeypatch.setattr(packing_checks, "example_pair", lambda folder: image)
    monkeypatch.chdir(tmp_path)
    before = contents(pack)
    root = logging.getLogger()
    root.setLevel(logging.ERROR)
    checks = check_pack(pack)
    assert (root.level, root.manager.disable) == (logging.ERROR, logging.NOTSET)
    assert [(check.name, check.passed) for check in checks] == [(name, True) for name in CHECKS], checks
    assert contents(pack) == before and list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")
    own = StrictConfigWorkflow(str(bundle.folder / "train.json")).parser.get_parsed_content("network_def")
    own = load_weights(own, bundle.folder / "models" / "model.pt").eval()
    with torch.no_grad():
        expected = own(image[:, :1], image[:, 1:])["fixed_to_moving"]
        found = packing_checks.network_in_pack(pack)(image)
    assert expected.abs().max() > 0.5
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


@pytest.mark.parametrize("required", read(packing.SCHEMA)["required"])
def test_schema_asks_for_every_field(required: str, bundle: Any) -> None:
    metadata = bundle.content("metadata.json")
    jsonschema.validate(metadata, read(packing.SCHEMA))
    del metadata[required]
    with pytest.raises(jsonschema.ValidationError, match=f"'{required}' is a required property"):
        jsonschema.validate(metadata, read(packing.SCHEMA))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("num_channels", "2"),
        ("spatial_shape", 160),
        ("dtype", "real"),
        ("value_range", ["0", "1"]),
        ("is_patch_data", "false"),
        ("channel_def", {"first": "fixed"}),
        ("type", "picture"),
    ],
)
def test_schema_asks_for_the_form_of_tensors(key: str, value: object, joint: Any) -> None:
    metadata = joint.content("metadata.json")
    metadata["network_data_format"]["inputs"]["image"][key] = value
    with pytest.raises(jsonschema.ValidationError, match="Failed validating"):
        jsonschema.validate(metadata, read(packing.SCHEMA))


def broken(folder: Path, *path: str, value: Any) -> None:
    """Sets an entry of a pack's metadata."""
    file = folder / "configs" / "metadata.json"
    content = entry = read(file)
    for key in path[:-1]:
        entry = entry[key]
    entry[path[-1]] = value
    file.write_text(json.dumps(content), encoding="utf-8")


def outcomes(folder: Path, monkeypatch: pytest.MonkeyPatch, *names: str) -> dict[str, tuple[bool | None, str]]:
    """What some checks say."""
    monkeypatch.setattr(packing_checks, "CHECKS", {name: packing_checks.CHECKS[name] for name in names})
    return {check.name: (check.passed, check.detail) for check in check_pack(folder)}


def test_metadata_that_does_not_fit_fails(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("verify_metadata", "verify_net_in_out")
    broken(own, "network_data_format", "outputs", "pred", "spatial_shape", value=[160, 96])
    assert outcomes(own, monkeypatch, *names)["verify_net_in_out"] == (
        False,
        "pred has shape (1, 2, 160, 160), metadata.json says (1, 2, 160, 96); correct its spatial_shape",
    )
    broken(own, "network_data_format", "outputs", "pred", "num_channels", value=3)
    broken(own, "task", value=7)
    found = outcomes(own, monkeypatch, *names)
    assert found["verify_net_in_out"] == (False, "output channel number `2` doesn't match: `3`.")
    assert not found["verify_metadata"][0] and "7 is not of type 'string'" in found["verify_metadata"][1]


def test_export_that_gives_other_displacements_fails(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    true = packing_checks.network_in_pack(own)
    monkeypatch.setattr(packing_checks, "network_in_pack", lambda folder: lambda image: true(image) + 2e-4)
    passed, detail = outcomes(own, monkeypatch, "ckpt_export")["ckpt_export"]
    assert not passed and detail == "displacements differ by up to 0.0002 voxels; expected at most 0.0001"


def test_weights_that_lack_some_are_not_loaded(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = own / "models" / "model.pt"
    weights = torch.load(path)
    dropped = max(weights)
    torch.save({name: value for name, value in weights.items() if name != dropped}, path)
    found = outcomes(own, monkeypatch, "load", "verify_net_in_out")
    assert found["load"] == (False, f"models/model.pt lacks 1 weights of train.json: ['{dropped}']")
    assert not found["verify_net_in_out"][0] and "is not of this network" in found["verify_net_in_out"][1]


def test_check_whose_library_is_missing_is_not_run(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing_checks, "find_spec", lambda name: None if "onnx" in name else name)
    assert outcomes(own, monkeypatch, "verify_metadata", "onnx_export") == {
        "verify_metadata": (True, "metadata.json has all fields"),
        "onnx_export": (None, "needs onnx, onnxscript, onnxruntime: pip install onnx onnxscript onnxruntime"),
    }


def test_example_has_no_symmetry(pack: Path) -> None:
    image = packing_checks.example_pair(pack)
    assert image.min() == 0 and image.max() == 1
    others = [image.flip(axis) for axis in (1, 2, 3)] + [image.transpose(2, 3)]
    assert min(float((image - other).abs().mean()) for other in others) > 0.02
    torch.testing.assert_close(packing_checks.example_pair(pack), image, rtol=0, atol=0)


# --- what runs ------------------------------------------------------------------------------------------------------


def test_pack_trains_and_is_measured_from_anywhere(
    bundle: Any, pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    configs, tiny = pack / "configs", {**bundle.tiny, "bundle_root": str(pack)}
    run(run_id="training", config_file=str(configs / "train.json"), **tiny, output_dir="trained")
    assert (tmp_path / "trained" / "model.pt").is_file()
    shape = {key: value for key, value in bundle.tiny.items() if key in ("simulated", "batch_size", "validation_items")}
    files = [str(configs / name) for name in ("train.json", "evaluate.json")]
    run(run_id="evaluating", config_file=files, bundle_root=str(pack), output_dir="measured", **shape)
    assert (tmp_path / "measured" / "metrics.json").is_file()  # by the weights in the pack


def test_inference_stands_alone_in_plain_monai(
    pack_of: Callable[[str], Path], film_files: Path, environment: dict[str, str]
) -> None:
    """As typed in a folder of images: the map is that of the method ``joint``."""
    pack = pack_of("joint")
    words = ["run", "--config_file", str(pack / "configs" / "inference.json"), "--bundle_root", str(pack)]
    words += ["--fixed", "day0.tif", "--moving", "day1.tif", "--output_dir", "out"]
    command = [sys.executable, "-m", "monai.bundle", *words]
    subprocess.run(command, cwd=film_files, env=environment, check=True, capture_output=True)
    images = [
        torch.from_numpy(sitk.GetArrayFromImage(sitk.ReadImage(str(film_files / f"day{t}.tif"))))[None].float()
        for t in (0, 1)
    ]
    transform = bundle_method("joint").register(Pair.of(*images))
    written = sitk.ReadTransform(str(film_files / "out" / "transform.h5"))
    for row, column in ((20.0, 31.0), (40.0, 25.0)):
        expected = transform.points(np.array([[row, column]]))[0, ::-1]
        np.testing.assert_allclose(written.TransformPoint((column, row)), expected, atol=0.01)


@pytest.mark.parametrize("overlay", ["", "_mnist", "_cardiac", "_brain"])
def test_every_inference_of_dirnet_has_its_own_weights(overlay: str, pack_of: Callable[[str], Path]) -> None:
    pack = pack_of("dirnet")
    parser = ConfigParser()
    parser.read_config(str(pack / "configs" / f"inference{overlay}.json"))
    parser["bundle_root"] = str(pack)
    network = parser.get_parsed_content("method").network
    weights = torch.load(
        bundle_dir("dirnet") / "models" / f"{dict(_mnist='mnist', _brain='hippocampus').get(overlay, 'model')}.pt"
    )
    assert all(torch.equal(value, weights[name]) for name, value in network.state_dict().items())
    image = torch.rand(1, 2, *network.image_size)
    assert parser.get_parsed_content("network_def")(image).shape == (1, image.ndim - 2, *network.image_size)
    assert parser.get_parsed_content("pair_inferer").pixel_size == (1.4 if overlay == "_cardiac" else None)
    assert parser["preprocessing::transforms"][1]["spatial_dims"] == image.ndim - 2


def test_pack_is_a_bundle_of_ones_own(pack_of: Callable[[str], Path], tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    film = simulate_sequence(2, size=64, seed=0)
    pair = Pair.of(*torch.from_numpy(film.images))
    points = np.array([[20.0, 31.0], [40.0, 25.0]])
    expected = bundle_method("joint").register(pair).points(points)
    np.testing.assert_array_equal(bundle_method(pack_of("joint")).register(pair).points(points), expected)
    expected = load_method("dirnet-mnist").register(pair).points(points)
    found = bundle_method(pack_of("dirnet"), overlays=["train_mnist.json"]).register(pair).points(points)
    np.testing.assert_array_equal(found, expected)


# --- what is refused ------------------------------------------------------------------------------------------------


def test_folder_that_exists_is_kept_unless_it_is_a_pack_to_replace(own: Path) -> None:
    (own / "mine.txt").write_text("mine")
    with pytest.raises(FileExistsError, match=r"segreg exists; expected a free name\. .* \(--replace\)$"):
        pack_bundle("segreg", own.parent)
    assert (own / "mine.txt").exists()
    assert pack_bundle("segreg", own.parent, replace=True) == own
    assert sorted(contents(own)) == sorted(MAIN) and [path.name for path in own.parent.iterdir()] == ["segreg"]
    (own / "configs" / "metadata.json").unlink()
    with pytest.raises(FileExistsError, match="segreg exists and is no pack; expected a free name"):
        pack_bundle("segreg", own.parent, replace=True)
    assert (own / "models" / "model.pt").exists()


@pytest.mark.parametrize("replace", [False, True])
def test_pack_is_complete_or_not_there(replace: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if replace:
        pack_bundle("segreg", tmp_path)
    before = contents(tmp_path)

    def full(*given: Any) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(packing, "packed_inference", full)
    with pytest.raises(OSError, match="no space left"):
        pack_bundle("segreg", tmp_path, replace=replace)
    assert contents(tmp_path) == before
    assert [path.name for path in tmp_path.iterdir()] == (["segreg"] if replace else [])


def test_bundle_that_lacks_files_is_told_which(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="bundle is 'segregg', expected one of 'dirnet', 'joint', 'segreg'; did"):
        pack_bundle("segregg", tmp_path / "out")
    mine = tmp_path / "mine"
    (mine / "models").mkdir(parents=True)
    for path in bundle_dir("segreg").iterdir():
        if path.is_file():
            (mine / path.name).write_bytes(path.read_bytes())
    (mine / "LICENSE").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"mine' has no LICENSE, models/model\.pt in .*a training writes weights"
    ):
        pack_bundle(mine, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    (mine / "LICENSE").write_text("free")
    (mine / "models" / "model.pt").write_bytes((bundle_dir("segreg") / "models" / "model.pt").read_bytes())
    assert sorted(contents(pack_bundle(mine, tmp_path / "out"))) == sorted(MAIN)
