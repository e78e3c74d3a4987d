"""Spelling of parameters, and switches."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("monailabel", reason="MONAI Label is not installed: make test-label")

from fastapi import HTTPException

from monai_cellreg.apps.label_app.parameters import PARAMETERS, check_spelling, is_on

OF_CLIENTS = (
    "_id _image_id annotations background background_ijk bundle_path cache_image client_id client_version dataset "
    "dataset_limit deepgrow description device dicom_seg foreground gpus highlight id image_size label label_info "
    "labels largest_cc location logging max_region max_samples max_slices min_poly_area multi_gpu name network "
    "num_samples operation output patch_size points pos_points pylab reset_state restore_label_idx roi sam_points "
    "selected_label_name session session_id simulation_size size slice slices spatial_size strategy tag tile_size "
    "timeout type user val_split wsi_tiles"
).split()


def test_what_clients_send_is_taken() -> None:
    check_spelling([*OF_CLIENTS, *PARAMETERS, "nucleus", "left ventricle", "label 1", ""])


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("methd", "method"),
        ("Method", "method"),
        ("REFERENCE", "reference"),
        ("refrence", "reference"),
        ("reference_tags", "reference_tag"),
        ("savelabel", "save_label"),
        ("result_type", "result_dtype"),
        ("result_extention", "result_extension"),
        ("image_", "image"),
        ("max_batchsize", "max_batch_size"),
    ],
)
def test_what_is_nearly_ours_is_refused(name: str, meant: str) -> None:
    with pytest.raises(HTTPException, match=f"parameter '{name}' is not known.*'{meant}': did you mean") as refusal:
        check_spelling(["device", name])
    assert refusal.value.status_code == 422


@pytest.mark.parametrize(
    ("given", "expected"),
    [({}, False), *[({"save_label": on}, True) for on in (True, "true", "True")]]
    + [({"save_label": off}, False) for off in (False, "false", "False")],
)
def test_switch(given: dict[str, Any], expected: bool) -> None:
    assert is_on(given, "save_label") is expected


@pytest.mark.parametrize("value", ["yes", "", "0", 1, 0, None, [True], {}])
def test_what_is_no_switch_is_refused(value: Any) -> None:
    with pytest.raises(HTTPException, match="save_label is .*; expected true or false") as refusal:
        is_on({"save_label": value}, "save_label")
    assert refusal.value.status_code == 422
