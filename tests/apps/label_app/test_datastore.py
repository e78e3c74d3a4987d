"""What may be stored: images that can be read, and labels that fit them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
import tifffile
from PIL import Image

pytest.importorskip("monailabel", reason="MONAI Label is not installed: make test-label")

from fastapi import HTTPException
from monailabel.interfaces.exception import ImageNotFoundException

if TYPE_CHECKING:
    from monai_cellreg.apps.label_app.app import RegistrationApp
    from monai_cellreg.apps.label_app.datastore import CheckedDatastore


@pytest.fixture
def store(app: RegistrationApp) -> CheckedDatastore:
    return app.datastore()


def files(folder: Path) -> dict[str, bytes]:
    """All that a folder holds, besides the list's times."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix not in (".json", ".lock")
    }


def drawn(path: Path, shape: tuple[int, ...] = (80, 96), value: int = 3) -> Path:
    """A label of one rectangle: NIfTI and NRRD as 3D Slicer stores the label of a picture, else pixel on pixel."""
    array = np.zeros(shape, np.uint8)
    array[..., 10:30, 20:60] = value
    if path.name.endswith((".nii.gz", ".nrrd")):
        sitk.WriteImage(sitk.GetImageFromArray(array if array.ndim > 2 else array[None]), str(path))
    elif array.ndim > 2:
        tifffile.imwrite(path, array, ome=True, metadata={"axes": "TYX"})
    else:
        Image.fromarray(array).save(path)
    return path


def assert_refused(status: int, reason: str, studies: Path, call: Any, *given: Any) -> None:
    """Checks that a call is refused for a reason that names no path, and that nothing has changed."""
    before, listed = files(studies), (studies / "datastore_v2.json").read_bytes()
    with pytest.raises(HTTPException, match=reason) as refusal:
        call(*given)
    assert refusal.value.status_code == status
    assert str(studies.parent) not in refusal.value.detail
    assert files(studies) == before and (studies / "datastore_v2.json").read_bytes() == listed


def test_image_is_stored_and_replaced(store: CheckedDatastore, studies: Path, tmp_path: Path) -> None:
    for value in (3, 4):
        sent = drawn(tmp_path / "tmpq.v1.png", (9, 12) if value == 3 else (40, 80), value)
        assert store.add_image("new", str(sent), {"client_id": "x"}) == "new"
        assert (studies / "new.png").read_bytes() == sent.read_bytes()
    assert store.get_image_info("new")["client_id"] == "x"
    assert store.add_image("", str(drawn(tmp_path / "named.png")), {}) == "named"


def test_empty_pictures_films_and_colour_are_images(store: CheckedDatastore, tmp_path: Path) -> None:
    Image.new("L", (12, 9)).save(tmp_path / "black.png")
    Image.new("RGB", (12, 9), "red").save(tmp_path / "red.png")
    drawn(tmp_path / "film.ome.tif", (3, 40, 70))
    nib.save(nib.Nifti1Image(np.ones((9, 8, 4, 2), np.int16), np.eye(4)), tmp_path / "beating.nii.gz")
    for name in ("black.png", "red.png", "film.ome.tif", "beating.nii.gz"):
        assert store.add_image("", str(tmp_path / name), {}) == name.partition(".")[0]


@pytest.mark.parametrize("name", ["frame_1.png", "heart_ed.nii.gz", "cells_0.ome.tif", "another.tif", "a.b.nrrd"])
def test_what_is_no_image_replaces_none(store: CheckedDatastore, studies: Path, tmp_path: Path, name: str) -> None:
    image, _, extension = name.partition(".")
    sent = tmp_path / f"tmpabc.{extension}"
    sent.write_bytes(b"hello")
    assert_refused(422, f"'{image}' cannot be read", studies, store.add_image, image, str(sent), {})
    assert image in store.list_images() or image in ("another", "a")


def test_cut_film_is_no_image(store: CheckedDatastore, studies: Path, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (6, 90, 110)).astype(np.uint8)
    tifffile.imwrite(
        tmp_path / "film.tif", noise, compression="zlib", metadata={"axes": "TYX"}, photometric="minisblack"
    )
    whole = (tmp_path / "film.tif").read_bytes()
    (tmp_path / "film.tif").write_bytes(whole[: len(whole) * 2 // 3])
    assert_refused(422, "'film' cannot be read", studies, store.add_image, "film", str(tmp_path / "film.tif"), {})


def test_image_has_one_extension(store: CheckedDatastore, studies: Path, tmp_path: Path) -> None:
    reason = r"image 'frame_1' is the file 'frame_1.png' already, but '.tif' was sent; .*another id, or DELETE"
    tifffile.imwrite(tmp_path / "frame_1.tif", np.eye(9, 12, dtype=np.uint8))
    assert_refused(409, reason, studies, store.add_image, "frame_1", str(tmp_path / "frame_1.tif"), {})
    assert_refused(409, reason, studies, store.add_image, "", str(tmp_path / "frame_1.tif"), {})
    store.remove_image("frame_1")
    assert store.add_image("frame_1", str(tmp_path / "frame_1.tif"), {}) == "frame_1"


@pytest.mark.parametrize("name", ["tmpq.png", "tmpq.v1.2.png", "tmpq.nii.gz", "tmpq.nrrd"])
def test_label_of_a_picture(store: CheckedDatastore, app: RegistrationApp, tmp_path: Path, name: str) -> None:
    info = {"label_info": [{"name": "nucleus", "idx": 3, "color": [1, 2, 3]}], "client_id": "x"}
    assert store.save_label("frame_1", str(drawn(tmp_path / name)), "final", info) == "frame_1"
    assert Path(store.get_label_uri("frame_1", "final")).read_bytes() == (tmp_path / name).read_bytes()
    assert app.info()["models"]["propagate_labels"]["labels"]["nucleus"] == 3


def test_label_of_a_volume_may_lie_elsewhere(store: CheckedDatastore, studies: Path, tmp_path: Path) -> None:
    heart = sitk.ReadImage(str(studies / "labels/final/heart_ed.nii.gz"))
    sitk.WriteImage(sitk.Crop(heart, [4, 3, 0], [2, 6, 1]), str(tmp_path / "part.nrrd"))
    assert store.save_label("heart_es", str(tmp_path / "part.nrrd"), "draft", {}) == "heart_es"


@pytest.mark.parametrize("name", ["label.ome.tif", "label.nii.gz"])
def test_label_of_a_film(store: CheckedDatastore, studies: Path, tmp_path: Path, name: str) -> None:
    store.add_image("film", str(drawn(tmp_path / "film.ome.tif", (3, 40, 70))), {})
    assert store.save_label("film", str(drawn(tmp_path / name, (3, 40, 70))), "final", {}) == "film"
    wrong = str(drawn(tmp_path / name, (4, 40, 70)))
    assert_refused(
        422, "label of film' has shape 4x40x70 but.*3x40x70", studies, store.save_label, "film", wrong, "final", {}
    )


def test_labels_that_do_not_fit_are_refused(store: CheckedDatastore, studies: Path, tmp_path: Path) -> None:
    sizes = "label of frame_0' has shape 96x80 but its image has 80x96"
    turned = str(drawn(tmp_path / "tmpq.png", (96, 80)))
    assert_refused(422, sizes, studies, store.save_label, "frame_0", turned, "final", {})
    (tmp_path / "no.png").write_bytes(b"hello")
    unread = "'label of frame_0' cannot be read"
    assert_refused(422, unread, studies, store.save_label, "frame_0", str(tmp_path / "no.png"), "final", {})
    picture = str(drawn(tmp_path / "heart.png"))
    assert_refused(422, "label of heart_ed' has shape", studies, store.save_label, "heart_ed", picture, "final", {})
    sitk.WriteImage(sitk.GetImageFromArray(np.full((1, 80, 96), 0.5, np.float32)), str(tmp_path / "half.nii.gz"))
    assert_refused(
        422, "whole numbers", studies, store.save_label, "frame_0", str(tmp_path / "half.nii.gz"), "final", {}
    )
    with pytest.raises(ImageNotFoundException):
        store.save_label("nope", picture, "final", {})


def test_damaged_image_gets_no_label(store: CheckedDatastore, studies: Path, tmp_path: Path) -> None:
    (studies / "frame_0.png").write_bytes(b"hello")
    label = str(drawn(tmp_path / "tmpq.png"))
    assert_refused(422, "'frame_0' cannot be read", studies, store.save_label, "frame_0", label, "final", {})


def test_label_of_another_extension_is_replaced(store: CheckedDatastore, studies: Path, tmp_path: Path) -> None:
    folder = studies / "labels" / "final"
    (folder / "frame_0.tif").write_bytes(b"left over")
    drawn(folder / "frame_01.nrrd")
    store.save_label("frame_0", str(drawn(tmp_path / "draft.png")), "draft", {})
    store.save_label("frame_0", str(drawn(tmp_path / "tmpq.nii.gz")), "final", {})
    assert {path.name for path in folder.iterdir()} == {"frame_0.nii.gz", "frame_01.nrrd", "heart_ed.nii.gz"}
    store.remove_label("frame_0", "final")
    assert store.get_labels_by_image_id("frame_0") == {"draft": "frame_0"}


@pytest.mark.parametrize(
    "names",
    ["nucleus", {"nucleus": 1}, ["nucleus"], [{"idx": 1}], [{"name": "", "idx": 1}]]
    + [[{"name": "a", "idx": value}] for value in (-1, 1.0, True, "1", None, [1])]
    + [[{"name": 3, "idx": 1}], [{"name": "a", "idx": 1}, None]],
)
def test_names_are_checked(store: CheckedDatastore, studies: Path, tmp_path: Path, names: Any) -> None:
    given = {"label_info": names}
    label = str(drawn(tmp_path / "tmpq.png"))
    assert_refused(
        422, "label_info holds .*a name and a whole", studies, store.save_label, "frame_0", label, "final", given
    )
    assert_refused(422, "label_info holds", studies, store.update_label_info, "frame_0", "final", given)


@pytest.mark.parametrize("names", [None, [], [{"name": "a", "idx": 0}], [{"name": "a", "id": 2}], [{"name": "a"}]])
def test_names_may_be_few(store: CheckedDatastore, tmp_path: Path, names: Any) -> None:
    label = str(drawn(tmp_path / "tmpq.png"))
    assert store.save_label("frame_0", label, "final", {"label_info": names}) == "frame_0"
    store.update_label_info("frame_0", "final", {"label_info": names, "by": "ada"})
    assert store.get_label_info("frame_0", "final")["by"] == "ada"
