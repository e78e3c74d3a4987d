"""Films: what is read is compared with tifffile, imageio and ffprobe-like facts, what is written is read by them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import imageio.v3 as iio
import imageio_ffmpeg
import nibabel
import numpy as np
import pytest
import tifffile
import torch
from monai.data import MetaTensor
from PIL import Image

from monai_cellreg.data import ImageReadError, Movie, contrast_limits, read_image, write_mp4, write_ome_tiff
from monai_cellreg.data import movies as module

FILM = np.random.default_rng(0).integers(0, 4000, (12, 7, 11)).astype(np.uint16)


def check(movie: Movie, film: np.ndarray) -> None:
    assert len(movie) == len(film)
    for t in (7, 0, len(film) - 1, 3):
        np.testing.assert_array_equal(movie.frame(t)[0], film[t].astype(np.float32))
    np.testing.assert_array_equal(torch.stack(list(movie)).numpy()[:, 0], film.astype(np.float32))
    with pytest.raises(IndexError, match="frame is 12 but"):
        movie.frame(12)


@pytest.mark.parametrize("axes", ["TYX", "ZYX", "CYX", ""])
@pytest.mark.parametrize("kind", [{"ome": True}, {"imagej": True}, {}])
def test_tiff_whatever_it_calls_time(tmp_path: Path, axes: str, kind: dict[str, bool]) -> None:
    metadata = {"axes": axes} if axes else {}
    tifffile.imwrite(tmp_path / "a.tif", FILM, photometric="minisblack", metadata=metadata, **kind)
    with Movie(tmp_path / "a.tif") as movie:
        check(movie, FILM)
        assert movie.source_dtype == "uint16"


def test_ome_facts_channels_and_volumes(tmp_path: Path) -> None:
    known = {"PhysicalSizeX": 0.5, "PhysicalSizeY": 0.75, "TimeIncrement": 250.0, "TimeIncrementUnit": "ms"}
    film = FILM.reshape(3, 2, 2, 7, 11)
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(path, film[:, 0], photometric="minisblack", ome=True, metadata={"axes": "TCYX", **known})
    with pytest.raises(ImageReadError, match=r"axes 'TCYX' of the sizes \(3, 2, 7, 11\); .* choose a channel"):
        Movie(path)
    with Movie(path, channel=1) as movie:
        assert (len(movie), movie.spacing, movie.unit, movie.seconds_per_frame) == (3, (0.75, 0.5), "µm", 0.25)
        np.testing.assert_array_equal(movie.frame(2)[0], film[2, 0, 1].astype(np.float32))
    tifffile.imwrite(path, film[:, 0], photometric="minisblack", ome=True, metadata={"axes": "TZYX"})
    with Movie(path) as movie:
        np.testing.assert_array_equal(movie[-1][0], film[2, 0].astype(np.float32))


def test_other_containers(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", FILM)
    nibabel.save(
        nibabel.Nifti1Image(np.moveaxis(FILM, 0, -1)[:, :, None], np.diag([2.0, 3, 1, 1])), tmp_path / "a.nii.gz"
    )
    check(Movie(tmp_path / "a.npy"), FILM)
    check(Movie(tmp_path / "a.nii.gz"), FILM)
    assert Movie(tmp_path / "a.nii.gz").spacing == (2.0, 3.0)
    (tmp_path / "frames").mkdir()
    for t, frame in enumerate(FILM):
        Image.fromarray(frame).save(tmp_path / "frames" / f"t{t}.png")  # t10 after t9
    check(Movie(tmp_path / "frames"), FILM)


def test_what_is_no_film(tmp_path: Path) -> None:
    with pytest.raises(ImageReadError, match="does not exist"):
        Movie(tmp_path / "none.tif")
    with pytest.raises(ImageReadError, match="holds no images"):
        Movie(tmp_path)
    Image.fromarray(FILM[0]).save(tmp_path / "t0.png")
    Image.fromarray(FILM[0, :5]).save(tmp_path / "t1.png")
    with pytest.raises(ImageReadError, match=r"frame 1 of .* \(1, 5, 11\) but the first \(1, 7, 11\)"):
        Movie(tmp_path).frame(1)
    np.save(tmp_path / "t2.npy", FILM[0])
    with pytest.raises(ImageReadError, match=r"images of the kinds \.npy, \.png"):
        Movie(tmp_path)


def test_frames_may_be_constant(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", FILM * 0, photometric="minisblack")
    assert not Movie(tmp_path / "a.tif").frame(4).any()


# --- writing --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(7, 11), (3, 7, 11), (7, 11, 3)], ids=["plane", "volume", "colour"])
def test_ome_tiff_comes_back(tmp_path: Path, shape: tuple[int, ...]) -> None:
    film = np.random.default_rng(1).integers(0, 255, (5, *shape)).astype(np.uint8)
    colour = shape[-1] == 3
    frames = [np.moveaxis(frame, -1, 0) if colour else frame[None] for frame in film]
    spacing = [1.5, 0.75, 0.5][-2 if colour or len(shape) == 2 else -3 :]
    meta = {"space": "index", "unit": "µm", "source_dtype": "uint8"}
    tensors = (
        MetaTensor(
            torch.from_numpy(f).float() + 0.2, meta={**meta, "affine": torch.diag(torch.tensor([*spacing, 1.0]))}
        )
        for f in frames
    )
    write_ome_tiff(tmp_path / "a.ome.tif", tensors, count=5, seconds_per_frame=30)
    with tifffile.TiffFile(tmp_path / "a.ome.tif") as file:
        assert file.series[0].axes == {2: "TYX", 3: "TZYX"}[len(shape)] if not colour else "TYXS"
        np.testing.assert_array_equal(file.asarray(), film)
        pixels = tifffile.xml2dict(file.ome_metadata)["OME"]["Image"]["Pixels"]
    assert (pixels["PhysicalSizeX"], pixels["PhysicalSizeY"]) == (0.5, 0.75)
    assert (pixels["TimeIncrement"], pixels["TimeIncrementUnit"]) == (30, "s")
    with Movie(tmp_path / "a.ome.tif", color="keep") as movie:
        assert (movie.spacing, movie.seconds_per_frame) == (tuple(spacing), 30)
        np.testing.assert_array_equal(movie.frame(3), frames[3])


def test_one_frame_in_memory_at_a_time(tmp_path: Path) -> None:
    alive: list[int] = []

    class Counted(np.ndarray):
        def __del__(self) -> None:
            alive.append(-1)

    def frames() -> Iterator[np.ndarray]:
        for frame in FILM:
            alive.append(1)
            yield frame[None].copy().view(Counted)
            most.append(sum(alive))

    most: list[int] = []
    write_ome_tiff(tmp_path / "a.ome.tif", frames(), count=len(FILM))
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "a.ome.tif"), FILM)
    assert max(most) < 6


def test_a_film_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    (tmp_path / "a.ome.tif").write_text("before")
    frames = list(FILM[:, None])
    for bad, count, text in [
        (frames[:4], 5, "frames ended after 4 of 5"),
        (frames, 5, "frames has more than 5 entries"),
        ([*frames[:3], frames[3][:, :5]], None, r"frame 3 has the shape \(1, 5, 11\)"),
        (iter(frames), None, "count is None and frames has None entries"),
        ([], None, "count is None and frames has 0 entries"),
    ]:
        with pytest.raises(ValueError, match=text):
            write_ome_tiff(tmp_path / "a.ome.tif", bad, count=count)
        with pytest.raises(ValueError, match="shape|only once|empty|limits"):
            write_mp4(tmp_path / "a.mp4", bad if count is None else iter(bad))
    with pytest.raises(ValueError, match=r"extension '\.tif'; expected \.ome\.tif"):
        write_ome_tiff(tmp_path / "a.tif", frames)
    with pytest.raises(ValueError, match=r"extension '\.avi'; expected \.mp4"):
        write_mp4(tmp_path / "a.avi", frames)
    assert [path.name for path in tmp_path.iterdir()] == ["a.ome.tif"]
    assert (tmp_path / "a.ome.tif").read_text() == "before"


def smooth(colour: bool, shape: tuple[int, int] = (33, 47)) -> list[np.ndarray]:
    """Frames with structures that survive a lossy codec, on any scale."""
    row, column = np.indices(shape) / shape[0]
    frames = []
    for t in range(6):
        parts = [np.sin(4 * row + t / 2 + k) + np.cos(3 * column - k) for k in range(3 if colour else 1)]
        frames.append(((np.stack(parts) + 2) * 60).astype(np.uint8 if colour else np.float32))
    return frames


@pytest.mark.parametrize("colour", [False, True])
def test_mp4_plays(tmp_path: Path, colour: bool) -> None:
    frames = smooth(colour)
    write_mp4(tmp_path / "a.mp4", frames, frames_per_second=12)
    facts = next(imageio_ffmpeg.read_frames(str(tmp_path / "a.mp4")))
    assert (facts["codec"], facts["pix_fmt"].partition("(")[0], facts["size"], facts["fps"]) == (
        "h264",
        "yuv420p",
        (48, 34),
        12,
    )
    back = iio.imread(tmp_path / "a.mp4", plugin="FFMPEG")
    assert back.shape == (6, 34, 48, 3)
    low, high = (0, 255) if colour else contrast_limits(frames)
    for t, frame in enumerate(frames):
        shown = np.clip((np.moveaxis(np.broadcast_to(frame, (3, 33, 47)), 0, -1) - low) / (high - low) * 255, 0, 255)
        assert np.abs(back[t, :33, :47] - shown).mean() < 6
        assert np.abs(back[(t + 2) % 6, :33, :47] - shown).mean() > 12
    assert np.abs(back[:, 33].astype(float) - back[:, 32]).mean() < 3  # the added row is a copy
    content = (tmp_path / "a.mp4").read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")  # plays while it loads


def test_mp4_is_read_frame_by_frame(tmp_path: Path) -> None:
    frames = smooth(False)
    write_mp4(tmp_path / "a.mp4", frames, limits=(0, 255), frames_per_second=4)
    with Movie(tmp_path / "a.mp4") as movie:
        assert (len(movie), movie.seconds_per_frame, tuple(movie.frame(0).shape)) == (6, 0.25, (1, 34, 48))
        for t in (5, 1, 3, 0):
            assert np.abs(movie.frame(t)[0, :33, :47].numpy() - frames[t][0]).mean() < 4
    assert read_image(tmp_path / "a.mp4", page=2).shape == (1, 34, 48)


def test_limits_of_the_whole_film() -> None:
    frames = [np.full((1, 300, 400), value, np.float32) for value in range(101)]
    assert contrast_limits(frames, percentiles=(10, 90)) == pytest.approx((10, 90))
    assert contrast_limits(frames[:1]) == (0, 1)
    with pytest.raises(ValueError, match="frames is empty"):
        contrast_limits([])


def test_volumes_are_no_mp4(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="plane or a maximum projection"):
        write_mp4(tmp_path / "a.mp4", [FILM[None]])


def test_large_films_are_bigtiff(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LARGEST_CLASSIC_TIFF", 100)
    write_ome_tiff(tmp_path / "a.ome.tif", list(FILM[:, None]))
    with tifffile.TiffFile(tmp_path / "a.ome.tif") as file:
        assert file.is_bigtiff
        np.testing.assert_array_equal(file.asarray(), FILM)
