"""Tables of tracks as programs write them."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import tifffile

from monai_cellreg.methods.sequence_frames import MovieFrames
from monai_cellreg.methods.track_files import TrackTable, read_tracks, write_tracks

SHAPE, COUNT = (30, 44), 5
PIXELS_UM, SECONDS = np.array([0.5, 0.25]), 20.0  # row, column
POINTS = np.array([[3.0, 40.25], [4.5, 41.0], [20.0, 7.0]])  # row, column in pixels
WHEN, TRACKS = [0, 3, 3], ["4", "4", "9"]


@pytest.fixture(scope="module")
def movie(tmp_path_factory: pytest.TempPathFactory) -> MovieFrames:
    path = tmp_path_factory.mktemp("movie") / "film.ome.tif"
    sizes = {"PhysicalSizeY": PIXELS_UM[0], "PhysicalSizeX": PIXELS_UM[1], "TimeIncrement": SECONDS}
    frames = np.random.default_rng(0).integers(0, 255, (COUNT, *SHAPE)).astype(np.uint8)
    tifffile.imwrite(path, frames, ome=True, metadata={"axes": "TYX", **sizes}, photometric="minisblack")
    return MovieFrames(str(path))


def saved(folder: Path, header: str, rows: list[list[object]], extra: str = "") -> Path:
    lines = [header, *extra.splitlines(), *(",".join(map(str, row)) for row in rows)]
    (folder / "spots.csv").write_text("\n".join(lines) + "\n")
    return folder / "spots.csv"


def rows(scale: np.ndarray | float = 1.0, offset: float = 0.0, time: float = 1.0) -> list[list[object]]:
    """Track, frame, row, column."""
    return [[track, t * time, *(point * scale + offset)] for track, t, point in zip(TRACKS, WHEN, POINTS, strict=True)]


TRACKMATE = """Label,Track ID,T,Y,X,Z,Frame
Label,Track ID,T,Y,X,Z,Frame
,,(sec),(micron),(micron),(micron),"""


@pytest.mark.parametrize("header", ["track_id,frame,y,x", "particle,Frame,row,col", "track,t,axis-0,axis-1"])
def test_usual_headers_in_pixels(tmp_path: Path, movie: MovieFrames, header: str) -> None:
    check(read_tracks(saved(tmp_path, header, rows()), movie))


def test_napari(tmp_path: Path, movie: MovieFrames) -> None:
    check(read_tracks(saved(tmp_path, "ID,axis-0,axis-1,axis-2", rows()), movie))


def test_corner_and_world(tmp_path: Path, movie: MovieFrames) -> None:
    check(read_tracks(saved(tmp_path, "id,t,y,x", rows(offset=0.5)), movie, coordinates="corner"))
    check(read_tracks(saved(tmp_path, "id,t,y,x", rows(PIXELS_UM)), movie, coordinates="world"))


@pytest.mark.parametrize("with_frame", [True, False])
def test_trackmate_has_units_of_length_and_four_lines_of_headings(
    tmp_path: Path, movie: MovieFrames, with_frame: bool
) -> None:
    header = "LABEL,TRACK_ID,POSITION_T,POSITION_Y,POSITION_X,POSITION_Z" + (",FRAME" if with_frame else "")
    spots = [
        ["s", *row, 0, *([t] if with_frame else [])] for row, t in zip(rows(PIXELS_UM, time=SECONDS), WHEN, strict=True)
    ]
    spots.append(["s", "None", 0, 1, 1, 0, *([0] if with_frame else [])])
    found = read_tracks(saved(tmp_path, header, spots, TRACKMATE), movie)
    assert found.skipped == 3 and found.tracks[-1] == ""
    check(found, slice(3))


def check(found: TrackTable, part: slice = slice(None)) -> None:
    np.testing.assert_allclose(found.points[part], POINTS * PIXELS_UM, rtol=0, atol=1e-12)
    assert found.frames[part].tolist() == WHEN and found.tracks[part].tolist() == TRACKS


def test_volumes_over_time(tmp_path: Path) -> None:
    frames = MovieFrames(np.random.default_rng(0).random((3, 6, 20, 30)))
    text = "particle;frame;z;y;x\n1;2;5;19;29\n"
    (tmp_path / "spots.csv").write_text(text)
    assert read_tracks(tmp_path / "spots.csv", frames).points.tolist() == [[5, 19, 29]]


@pytest.mark.parametrize(
    ("header", "body", "tracks"),
    [
        ("frame,x,y", "0,1,1\n1,1,1\n4,2,2", ["1", "1", "1"]),
        ("frame,x,y", "0,1,1\n0,3,3\n4,2,2", ["", "", ""]),
        ("id,frame,x,y", "7,0,1,1\n8,1,1,1\n9,4,2,2", ["1", "1", "1"]),
        ("id,frame,x,y", "7,0,1,1\n7,1,1,1\n9,4,2,2", ["7", "7", "9"]),
        ("id,track_id,frame,x,y", "7,a,0,1,1\n8,b,1,1,1\n9,,4,2,2", ["a", "b", ""]),
    ],
)
def test_the_track_may_be_missing(
    tmp_path: Path, movie: MovieFrames, header: str, body: str, tracks: list[str]
) -> None:
    (tmp_path / "a.csv").write_text(f"{header}\n{body}\n")
    assert read_tracks(tmp_path / "a.csv", movie).tracks.tolist() == tracks


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("x,y\n1,2\n", r"no column of the frame in the header \['x', 'y'\]; expected one of frame, t, position_t"),
        ("frame,frame,x,y\n1,1,1,2\n", "several columns of the frame"),
        ("frame,x\n1,2\n", "names no coordinates for a 2D transform"),
        ("frame,x,y,row,col\n1,2,1,1,1\n", "names several sets of coordinates"),
        ("frame,x,y\n", "hold no points; expected a header and a row"),
        ("frame,x,y\n0,1,1\n5,2,2\n", "row 3, column 'frame' names frame 5 but the movie has 5; expected 0 to 4"),
        ("frame,x,y\n-1,2,2\n", "row 2, column 'frame' names frame -1"),
        ("frame,x,y\n1.5,2,2\n", "row 2, column 'frame' holds '1.5'; expected the whole number of a frame$"),
        ("POSITION_T,POSITION_X,POSITION_Y\n30,2,2\n", "column 'POSITION_T' holds '30'; .* multiple of the 20 s"),
        ("frame,X,y\n1,2,2\n\n1,NaN,2\n", "row 4, column 'X' holds 'NaN'; expected a finite number"),
        ("frame,x,y\n1,2,\n", "row 2, column 'y' holds ''; expected a finite number"),
        ("frame,x,y\none,2,2\n", "row 2, column 'frame' holds 'one'; expected a finite number"),
        ("frame,x,y\n1,43.4,29.4\n1,43.6,2\n", "row 3, column 'x' holds '43.6', which is pixel 43.6 along axis 1"),
        ("frame,x,y\n1,-0.4,-0.6\n", "row 2, column 'y' holds '-0.6', .* expected -0.5 to 29.5"),
        ("frame,id,x,y\n1,7,2,2\n2,7,1,1\n1,7,3,3\n", "rows 2 and 4: track '7' has two points in frame 1"),
    ],
)
def test_what_cannot_be_used_is_refused(tmp_path: Path, movie: MovieFrames, text: str, problem: str) -> None:
    (tmp_path / "spots.csv").write_text(text)
    with pytest.raises(ValueError, match=f"tracks '.*spots.csv'.*{problem}"):
        read_tracks(tmp_path / "spots.csv", movie)


def test_missing_file(tmp_path: Path, movie: MovieFrames) -> None:
    with pytest.raises(FileNotFoundError, match="tracks '.*none.csv' do not exist"):
        read_tracks(tmp_path / "none.csv", movie)


def test_the_same_table_is_written_with_new_places(tmp_path: Path, movie: MovieFrames) -> None:
    spots = [["n", *row] for row in rows()]
    found = read_tracks(saved(tmp_path, "note,track,frame,y,x", spots), movie)
    moved = np.array([[0, 0], [1.0, -2.0], [np.nan, np.nan]])  # micrometres
    for name in ("a.csv", "b.csv"):
        write_tracks(tmp_path / name, found, found.points + [1.5, -1.0], moved, ["reference", "", "", "constant", ""])
    with (tmp_path / "a.csv").open() as file:
        written = list(csv.DictReader(file))
    assert list(written[0]) == [
        *("note", "track", "frame", "y", "x", "displacement_y", "displacement_x", "displacement", "frame_flag")
    ]
    placed = np.array([[float(row["y"]), float(row["x"])] for row in written])
    np.testing.assert_allclose(placed, POINTS + [3, -4], rtol=0, atol=1e-9)
    assert [written[1][name] for name in ("displacement_y", "displacement_x")] == ["2", "-8"]
    assert float(written[1]["displacement"]) == pytest.approx(5**0.5)
    assert [row["displacement"] for row in written][::2] == ["0", ""]
    assert [row["frame_flag"] for row in written] == ["reference", "constant", "constant"]
    again = read_tracks(tmp_path / "a.csv", movie)
    write_tracks(tmp_path / "c.csv", again, again.points, moved, ["x"] * COUNT)
    assert (tmp_path / "c.csv").read_text().splitlines()[0] == (tmp_path / "a.csv").read_text().splitlines()[0]
