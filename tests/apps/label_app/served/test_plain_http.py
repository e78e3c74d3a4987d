"""The server by HTTP alone: ``requests``, and a body as ``curl -F`` writes it."""

from __future__ import annotations

import http.client
import io
import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
import SimpleITK as sitk
import tifffile
from PIL import Image

from monai_cellreg.benchmarks.label_client import LabelClient

pytest.importorskip("monailabel", reason="MONAI Label is not installed: make test-label")
requests = pytest.importorskip("requests", reason="requests is not installed: make test-label")

FRAMES = {"reference": "frame_0", "method": "affine"}
CELLS = {"reference": "cells_0", "method": "affine"}


def infer(server: Any, model: str, image: str, params: dict[str, Any], **query: str) -> requests.Response:
    return requests.post(
        f"{server.url}/infer/{model}",
        params={"image": image, **query},
        data={"params": json.dumps(params)},
        timeout=300,
    )


def test_as_curl_writes_it(server: Any) -> None:
    """``curl -F 'params={...};type=application/json' 'URL/infer/propagate_labels?image=frame_1'``"""
    boundary = "------------------------d74496d66958873e"
    body = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="params"\r\nContent-Type: application/json\r\n\r\n'
        f"{json.dumps(FRAMES)}\r\n--{boundary}--\r\n"
    ).encode()
    address = urlsplit(server.url)
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=300)
    headers = {
        "Host": address.netloc,
        "User-Agent": "curl/8.5.0",
        "Accept": "*/*",
        "Content-Length": str(len(body)),
        "Content-Type": f"multipart/form-data; boundary={boundary}",
    }
    connection.request("POST", "/infer/propagate_labels?image=frame_1", body, headers)
    answer = connection.getresponse()
    content = answer.read()
    assert answer.status == 200, content
    kind = answer.getheader("content-type")
    mark = b"--" + kind.partition("boundary=")[2].strip('"').encode()
    parts = content.split(mark)[1:-1]
    assert kind.startswith("multipart/form-data") and len(parts) == 2
    heads = [part.partition(b"\r\n\r\n")[0].decode().lower() for part in parts]
    assert 'name="params"' in heads[0] and "application/json" in heads[0]
    assert 'name="image"' in heads[1] and 'filename="' in heads[1]
    told = json.loads(parts[0].partition(b"\r\n\r\n")[2])
    assert {"label_names", "reference", "method", "metrics", "verdict", "account", "latencies"} <= set(told)


def test_output_chooses_the_part(server: Any) -> None:
    told = infer(server, "propagate_labels", "frame_1", FRAMES, output="json")
    assert told.headers["content-type"] == "application/json" and told.json()["reference"] == "frame_0"
    image = infer(server, "propagate_labels", "frame_1", FRAMES, output="image")
    assert image.headers["content-disposition"].startswith("attachment") and image.content[:4] == b"\x89PNG"


@pytest.mark.parametrize(("end", "dtype"), [(".png", "uint8"), (".tif", "uint16"), (".nrrd", "int16"), (".nii.gz", "")])
def test_files_are_of_the_format_that_was_asked_for(server: Any, tmp_path: Path, end: str, dtype: str) -> None:
    asked = {**FRAMES, "result_extension": end, **({"result_dtype": dtype} if dtype else {})}
    content = infer(server, "propagate_labels", "frame_2", asked, output="image").content
    path = tmp_path / f"label{end}"
    path.write_bytes(content)
    if end == ".tif":
        array = tifffile.imread(io.BytesIO(content))
    elif end == ".png":
        array = np.asarray(Image.open(io.BytesIO(content)))
    else:
        array = np.squeeze(sitk.GetArrayFromImage(sitk.ReadImage(str(path))))
    assert array.dtype == (dtype or "uint8")
    shown = np.asarray(Image.open(server.studies / "frame_2.png"))
    assert array.shape == shown.shape[:2]
    plain = infer(server, "propagate_labels", "frame_2", FRAMES, output="image").content
    np.testing.assert_array_equal(array, np.asarray(Image.open(io.BytesIO(plain))))


def test_ome_tiff_keeps_its_pixel_size(server: Any, tmp_path: Path) -> None:
    answer = infer(server, "register", "cells_1", {**CELLS, "result_extension": ".ome.tif"}, output="image")
    assert answer.status_code == 200, answer.text
    with (
        tifffile.TiffFile(io.BytesIO(answer.content)) as found,
        tifffile.TiffFile(server.studies / "cells_1.ome.tif") as wanted,
    ):
        assert found.series[0].shape == wanted.series[0].shape
        sizes = [
            [part for part in file.ome_metadata.split() if part.startswith("PhysicalSize")] for file in (found, wanted)
        ]
    assert sizes[0] == sizes[1]


def test_one_annotated_frame_is_carried_to_all_others_in_a_batch(server: Any) -> None:
    before = requests.get(f"{server.url}/datastore/", timeout=60).json()
    client = LabelClient(server.url, timeout_s=240)
    frames = ["frame_1", "frame_2", "frame_3"]
    client.batch("propagate_labels", frames, FRAMES)
    for frame in frames:
        content, info = client.label(frame)
        array = np.asarray(Image.open(io.BytesIO(content)))
        one_by_one = infer(server, "propagate_labels", frame, FRAMES, output="image").content
        np.testing.assert_array_equal(array, np.asarray(Image.open(io.BytesIO(one_by_one))))
        assert info["params"]["verdict"]["level"] and info["params"]["label_names"]
    after = requests.get(f"{server.url}/datastore/", timeout=60).json()
    assert after["completed"] == before["completed"]  # they are proposals, which no person has finished


def test_server_answers_while_it_registers(server: Any) -> None:
    """Two questions at once: the quick one does not wait for the long one."""
    with ThreadPoolExecutor(1) as pool:
        asked = {"reference": "heart_ed", "method": "auto"}
        long = pool.submit(infer, server, "propagate_labels", "heart_es", asked, output="json")
        time.sleep(0.2)
        start = time.monotonic()
        assert requests.get(f"{server.url}/info/", timeout=60).status_code == 200
        seconds = time.monotonic() - start
        done = long.done()
        answer = long.result()
    assert answer.status_code == 200 and answer.json()["method"] == "auto"
    assert seconds < 5 and not done
