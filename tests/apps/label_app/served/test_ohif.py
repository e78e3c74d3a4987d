"""The requests of MONAI Label's extension for OHIF v3 (0.8.5), as a browser sends them, and what it needs of answers.

What the extension does is written down here from its source: it keeps the labels of models as a map from name to
value, asks for one uncompressed NRRD file of uint8, and takes the bytes of that file for the voxels of the image.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

pytest.importorskip("monailabel", reason="MONAI Label is not installed: make test-label")
requests = pytest.importorskip("requests", reason="requests is not installed: make test-label")

BOUNDARY = "----WebKitFormBoundary7MA4YWxkTrZu0gW"


class Page:
    """The panel in a page that the server itself has sent."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.headers = {"Origin": url, "Accept": "application/json,multipart/form-data", "User-Agent": "Mozilla/5.0"}

    def json(self, method: str, path: str, params: Any = None) -> requests.Response:
        return requests.request(method, f"{self.url}/{path}", json=params, headers=self.headers, timeout=300)

    def infer(self, model: str, image: str, params: dict[str, Any]) -> requests.Response:
        """The button "Run"; settings that nobody has touched are not sent."""
        told = params | {"result_extension": ".nrrd", "result_dtype": "uint8", "result_compress": False}
        told["restore_label_idx"] = False
        body = (
            f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="params"\r\n\r\n{json.dumps(told)}\r\n'
            f"--{BOUNDARY}--\r\n"
        )
        kind = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
        query = {"image": image, "output": "image"}
        address = f"{self.url}/infer/{model}"
        return requests.post(address, params=query, data=body, headers=self.headers | kind, timeout=300)

    def choose(self, model: str, **values: str) -> dict[str, Any]:
        """The dialog of options: only what is changed is kept, and the first choice cannot be changed to itself."""
        config = self.json("GET", "info/").json()["models"][model]["config"]
        assert all(value in config[key] for key, value in values.items())
        return {key: value for key, value in values.items() if config[key][0] != value}


def parsed(content: bytes) -> tuple[dict[str, str], bytes]:
    """Fields and data of a NRRD file, as the page's reader splits it."""
    head, _, data = content.partition(b"\n\n")
    lines = head.decode().replace("\r", "").split("\n")
    assert lines[0].startswith("NRRD000")
    return dict(line.split(": ", 1) for line in lines[1:] if line and line[0] != "#" and ": " in line), data


@pytest.fixture
def page(server: Any) -> Page:
    return Page(server.url)


def test_panel_opens(page: Page) -> None:
    """Labels are a list that the page appends to; those of a model are a list or a map, and never missing."""
    info = page.json("GET", "info/").json()
    assert isinstance(info["labels"], list)
    assert {"total", "completed"} <= set(info["datastore"])
    for model in info["models"].values():
        if model["type"] != "segmentation":
            continue
        labels = model["labels"]
        assert isinstance(labels, list | dict) and labels
        for k, label in enumerate(labels, 1):
            value = labels[label] if isinstance(labels, dict) else k
            assert isinstance(label, str) and isinstance(value, int) and 1 <= value <= 255
    for section in ("models", "trainers", "strategies", "scoring"):
        assert isinstance(info[section], dict)


def test_voxels_are_those_of_the_image(page: Page, server: Any) -> None:
    answer = page.infer(
        "propagate_labels", "heart_es", page.choose("propagate_labels", reference="heart_ed", method="affine")
    )
    assert answer.status_code == 200, answer.text
    fields, data = parsed(answer.content)
    image = sitk.ReadImage(str(server.studies / "heart_es.nii.gz"))
    assert fields["encoding"] == "raw" and fields["type"] in ("uint8", "unsigned char", "uchar")
    assert [int(n) for n in fields["sizes"].split()] == list(image.GetSize())
    voxels = np.frombuffer(data, np.uint8)
    assert len(voxels) == np.prod(image.GetSize())  # the page copies them one to one
    known = page.json("GET", "info/").json()["models"]["propagate_labels"]["labels"]
    assert set(np.unique(voxels)) - {0} == {1, 2, 3}
    assert {1, 2, 3} <= (set(known.values()) if isinstance(known, dict) else set(range(1, len(known) + 1)))
    # the same as SimpleITK reads out of it, x fastest
    path = server.work / "ohif.nrrd"
    path.write_bytes(answer.content)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(path))).ravel(), voxels)
    path.unlink()


def test_a_reason_comes_where_nothing_was_chosen_or_it_works(page: Page) -> None:
    """Settings that nobody has touched are not sent, so a request may name no reference."""
    answer = page.infer("propagate_labels", "heart_es", {"method": "affine"})
    assert answer.status_code == 200 or (400 <= answer.status_code < 500 and "reference" in answer.json()["detail"])


def test_next_sample_and_training(page: Page) -> None:
    info = page.json("GET", "info/").json()
    for strategy in info["strategies"]:
        sample = page.json("POST", f"activelearning/{strategy}", {})
        assert sample.status_code == 200 and sample.json()["id"]
    running = page.json("GET", "train/?check_if_running=true")
    assert running.status_code in (200, 404)
    stopped = page.json("DELETE", "train/")
    assert stopped.status_code == 200


def test_other_pages_may_not_use_the_server(page: Page) -> None:
    page.headers["Origin"] = "http://example.org"
    answer = page.json("GET", "info/")
    assert answer.status_code == 403 and "access-control-allow-origin" not in answer.headers
