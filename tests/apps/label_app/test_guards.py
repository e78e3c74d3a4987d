"""What is refused of names, paths, senders and JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest

from monai_cellreg.apps.label_app.guards import (
    NAMES,
    Refused,
    check_header,
    check_name,
    check_path,
    check_sender,
    check_upload,
    parse_object,
)

PATHS = [
    "/etc/passwd",
    "../secret",
    "a/b",
    "a\\b",
    "..",
    ".",
    "C:secret",
    "C:\\secret",
    "a\0b",
    "a\nb",
    "\ud800",
    "x" * 201,
]


@pytest.mark.parametrize("name", ["frame_0", "Zelle 7 (1.2)", "köln", "a..b", ".hidden", "1:2", "x" * 200, "", None])
def test_plain_names_are_taken(name: str | None) -> None:
    check_name("image", name)


@pytest.mark.parametrize("name", [*PATHS, 7, {"a": 1}, ["fine", "a/b"], [["../x"]]], ids=ascii)
def test_paths_are_no_names(name: Any) -> None:
    with pytest.raises(Refused, match="^image is .*; ") as caught:
        check_name("image", name)
    assert caught.value.status == 422
    assert len(caught.value.reason) < 300


@pytest.mark.parametrize("path", ["/info/", "/session/a..b", "/infer/a:b"])
def test_addresses_are_taken(path: str) -> None:
    check_path(path)


@pytest.mark.parametrize("path", ["/session/..", "/../x", "/ohif/a\\b", "/model/a\0"])
def test_addresses_that_climb_are_refused(path: str) -> None:
    with pytest.raises(Refused, match="the address .* has '..'") as caught:
        check_path(path)
    assert caught.value.status == 400


@pytest.mark.parametrize("name", ["a.png", "/home/me/a.PNG", "C:\\Users\\me\\a.png", "a.b.ome.tif"])
def test_uploads_are_known_by_the_last_part_of_their_name(name: str) -> None:
    check_upload("file", name, [".png", ".ome.tif"])


@pytest.mark.parametrize(
    ("name", "status"),
    [
        *((name, 422) for name in ("", "a/", "../a.png", "a\\..\\a.png", "a\0.png", "x" * 197 + ".png", ".")),
        *((name, 415) for name in ("a.json", "a.png.exe", "png", "a.tif")),
    ],
    ids=ascii,
)
def test_other_uploads_are_refused(name: str, status: int) -> None:
    with pytest.raises(Refused, match="^file ") as caught:
        check_upload("file", name, [".png", ".ome.tif"])
    assert caught.value.status == status


def test_every_kind_of_file_is_taken_where_none_is_named() -> None:
    check_upload("file", "a.exe", [])


HOSTS = ("127.0.0.1", "[::1]")
ORIGINS = ("https://viewer.org",)


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("127.0.0.1:8000", ""),
        ("[::1]:8000", ""),
        ("[::1]", ""),
        ("127.0.0.1", "https://viewer.org"),
        ("127.0.0.1:8000", "http://127.0.0.1:8000"),
    ],
)
def test_senders_that_may(host: str, origin: str) -> None:
    check_sender(host, origin, hosts=HOSTS, origins=ORIGINS)


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("evil.org:8000", ""),
        ("evil.org:8000", "http://evil.org:8000"),
        ("127.0.0.1:8000", "http://127.0.0.1:8001"),
        ("127.0.0.1:8000", "null"),
        ("127.0.0.1:8000", "https://viewer.org.evil.org"),
        ("", ""),
    ],
)
def test_senders_that_may_not(host: str, origin: str) -> None:
    with pytest.raises(Refused, match="--origin") as caught:
        check_sender(host, origin, hosts=HOSTS, origins=ORIGINS)
    assert caught.value.status == 403


def test_any_name_of_the_server_will_do_where_none_is_given() -> None:
    check_sender("server.hospital.org", "http://server.hospital.org", hosts=(), origins=())


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"reference": "frame_0", "result_dtype": "uint8", "result_extension": ".nrrd", "images": ["a", "b"]},
        {"label_info": [{"name": "left/right", "label": "a/b"}], "note": "two\nlines", "share": "1/2", "n": 1e30},
        {"joint": {"image": "frame_0"}},
    ],
)
def test_objects_come_back_as_they_are(given: dict[str, Any]) -> None:
    assert parse_object("params", json.dumps(given)) == given
    assert parse_object("params", json.dumps(given).encode()) == given


def test_no_text_is_no_parameter() -> None:
    assert parse_object("params", "") == {}


@pytest.mark.parametrize(
    "text",
    ["{", "[1]", "7", "null", '"a"', '{"a": NaN}', '{"a": -Infinity}', "[" * 100000, "{'a': 1}", b"\xff\xfe\xfa"],
)
def test_what_is_no_object_is_refused(text: str) -> None:
    with pytest.raises(Refused, match="^params is .*expected an? .*object such as {}") as caught:
        parse_object("params", text)
    assert caught.value.status == 422
    assert len(caught.value.reason) < 300


@pytest.mark.parametrize("key", sorted(NAMES))
def test_names_are_checked_at_every_level_of_objects(key: str) -> None:
    for given in ({key: "a/b"}, {"joint": {key: "a/b"}}, {key: ["a", "a/b"]}):
        with pytest.raises(Refused, match=f"^{key} is 'a/b'"):
            parse_object("params", json.dumps(given))


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "../x", "a/../../x", "C:\\x", "c:/x", "\\\\host\\share", "a\0", "..\\x"]
)
def test_paths_are_refused_wherever_they_are(path: str) -> None:
    for given in ({"a": path}, {"a": [[{"b": path}]]}, {"a": {"b": {"c": path}}}):
        with pytest.raises(Refused, match="paths are not taken|control characters"):
            parse_object("params", json.dumps(given))


def test_folders_of_code_are_refused() -> None:
    with pytest.raises(Refused, match="^bundle_path is 'model', but paths"):
        parse_object("params", '{"bundle_path": "model"}')


def test_text_that_no_file_can_hold_is_refused() -> None:
    for text in ('{"a": "\\ud800"}', '{"\\ud800": 1}'):
        with pytest.raises(Refused, match="UTF-8"):
            parse_object("params", text)


def test_very_deep_objects_do_not_end_the_process() -> None:
    deep = '{"a":' * 900 + '"../x"' + "}" * 900
    with pytest.raises(Refused, match="paths are not taken|not JSON"):
        parse_object("params", deep)


MHA = "ObjectType = Image\nNDims = 2\nDimSize = 4 3\nElementType = MET_UCHAR\n"
NRRD = "NRRD0004\ntype: uint8\ndimension: 2\nsizes: 4 3\nencoding: raw\n"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.mha", MHA + "ElementDataFile = /etc/passwd\n"),
        ("a.MHA", MHA + "elementdatafile: ../b.raw\r\n"),
        ("a.mha", MHA + "ElementDataFile = /etc/passwd\nElementDataFile = LOCAL\n"),
        ("a.mha", MHA + "ElementDataFile = LIST\n/etc/passwd\n"),
        ("a.mha", MHA),
        ("a.nii.mha", "no header"),
        ("a.nrrd", NRRD + "data file: /etc/passwd\n"),
        ("a.nrrd", NRRD + "DataFile: LIST\n/etc/passwd\n"),
        ("a.seg.nrrd", NRRD + "datafile:passwd\n\nvoxels"),
        ("a.nrrd", "no header\n\n"),
        ("a.nrrd", NRRD),
    ],
)
def test_headers_that_name_other_files_are_refused(name: str, text: str) -> None:
    with pytest.raises(Refused, match="voxels are in it") as refusal:
        check_header("file", name, text.encode())
    assert refusal.value.status == 422


@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("a.mha", (MHA + "ElementDataFile = LOCAL\n").encode() + bytes(12)),
        ("a.mha", (MHA + "ElementDataFile: local\n").encode() + bytes(12)),
        ("a.nrrd", (NRRD + "\n").encode() + b"\ndata file: these are voxels"),
        ("a.nrrd", (NRRD + "\r\n").encode() + b"data file: voxels"),
        ("a.png", b"data file: /etc/passwd"),
    ],
)
def test_files_with_their_voxels_are_taken(name: str, start: bytes) -> None:
    check_header("file", name, start)
