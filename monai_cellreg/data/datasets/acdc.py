"""ACDC: cine MRI of 150 patients with labels at end diastole (ED) and end systole (ES).

Layout as published: `patient001/Info.cfg` (`ED: 1`, `ES: 12`: numbers of frames, from 1), `patient001_frame01.nii.gz`
and its labels `patient001_frame01_gt.nii.gz`, the same of ES, and `patient001_4d.nii.gz`, the whole film; the patients'
folders lie in `training/` and `testing/`, or directly in the root. Layout in HDF5, also of its authors' readers: files
`patient001_frame01.h5` in one folder, with `image` (Z, H, W) and `label` (Z, H, W); ED is frame 1, or where there is
none the frame with more cavity. It stores no spacing. Labels: 1 right ventricle, 2 myocardium, 3 cavity of the left.
Reference: Bernard et al. 2018, IEEE Transactions on Medical Imaging 37:2514; CC BY-NC-SA 4.0.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..cine_slice import LABEL_NAMES, LV_CAVITY, CineSlice, pixel_grid
from ..formats import OpenOptions, open_image
from ..readers import ImageReadError, read_image, read_label, read_page

__all__ = ["is_acdc_hdf5", "is_acdc_nifti", "read_acdc_hdf5", "read_acdc_nifti"]

_PATIENT = re.compile(r"patient\d+")
_HDF5 = re.compile(r"(patient\d+)_frame(\d+)\.h5")
_PHASE = re.compile(r"^\s*(ED|ES)\s*:\s*(\d+)\s*$", re.MULTILINE)
_NIFTI = (".nii.gz", ".nii")
_TOLERANCE = 1e-3  # voxels, for the rounding of files


class _Volume(NamedTuple):
    """A stack (Z, H, W) of a file; `affine` (4, 4) leads from its i, j, k = x, y, z to the world in mm."""

    path: Path
    stack: Tensor
    affine: np.ndarray | None = None


def _patient_folders(root: Path) -> list[Path]:
    parents = [folder for folder in (root, root / "training", root / "testing") if folder.is_dir()]
    folders = (path for parent in parents for path in parent.iterdir() if path.is_dir())
    return sorted((path for path in folders if _PATIENT.fullmatch(path.name)), key=lambda path: path.name)


def is_acdc_nifti(root: Path) -> bool:
    """Says whether a folder holds patients as ACDC was published."""
    return any(path.name == "Info.cfg" or _is_nifti(path) for folder in _patient_folders(root) for path in _in(folder))


def is_acdc_hdf5(root: Path) -> bool:
    """Says whether a folder holds ACDC's frames as HDF5 files."""
    return any(_HDF5.fullmatch(path.name) for path in _in(root))


def _in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file())


def _is_nifti(path: Path) -> bool:
    return path.name.endswith(_NIFTI)


def read_acdc_nifti(root: Path) -> list[CineSlice]:
    """Reads ACDC as published: all time points where a patient has the film, else ED and ES.

    Args:
        root: Folder as the module describes it.

    Returns:
        The slices, sorted by patient, then as in the files. Rows are the files' second axis (y), columns the first.

    Raises:
        ImageReadError: If a file is missing or damaged, or disagrees with another about shape, place or order.
    """
    return [one for folder in _patient_folders(root) for one in _read_patient(folder)]


def _read_patient(folder: Path) -> list[CineSlice]:
    name, frames = folder.name, _labelled_frames(folder / "Info.cfg")
    volumes, labels = [], []
    for phase, frame in frames.items():
        stem = f"{name}_frame{frame:02d}"
        volumes.append(_read_volume(_existing(folder, stem, f"the image of {phase}")))
        labels.append(_read_volume(_existing(folder, f"{stem}_gt", f"the labels of {phase}"), as_label=True))
    for other in (labels[0], volumes[1], labels[1]):
        _check_same_place(other, volumes[0])
    film = next((path for end in _NIFTI if (path := folder / f"{name}_4d{end}").is_file()), None)
    if film is None:
        images, times = torch.stack([volume.stack for volume in volumes]), [0, 1]
    else:
        images, times = _read_film(film, volumes[0]), [frame - 1 for frame in frames.values()]
        if max(times) >= len(images):
            raise ImageReadError(
                f"path {str(film)!r} has {len(images)} time points but {str(folder / 'Info.cfg')!r} names frame "
                f"{max(times) + 1}; expected all frames in the film: copy it again"
            )
    _check_order(*volumes)
    affine = volumes[0].affine
    assert affine is not None  # of every NIfTI file
    spacing = (float(np.linalg.norm(affine[:3, 1])), float(np.linalg.norm(affine[:3, 0])))
    return _slices(name, images, dict(zip(times, labels, strict=True)), spacing)


def _labelled_frames(path: Path) -> dict[str, int]:
    """The numbers of the frames ED and ES, from 1."""
    if not path.is_file():
        raise ImageReadError(f"path {str(path)!r} does not exist; expected the numbers of the frames ED and ES in it")
    found = {phase: int(number) for phase, number in _PHASE.findall(path.read_text(errors="replace"))}
    if set(found) != {"ED", "ES"} or found["ED"] == found["ES"] or 0 in found.values():
        raise ImageReadError(
            f"path {str(path)!r} names the phases {found}; expected lines such as 'ED: 1' and 'ES: 12' with two "
            "numbers of frames, from 1: copy it again"
        )
    return {phase: found[phase] for phase in ("ED", "ES")}


def _existing(folder: Path, stem: str, what: str) -> Path:
    for end in _NIFTI:
        if (folder / f"{stem}{end}").is_file():
            return folder / f"{stem}{end}"
    raise ImageReadError(
        f"path {str(folder / stem) + _NIFTI[0]!r} does not exist; expected {what}, a frame that Info.cfg names: copy "
        "it there, or leave the patient out"
    )


def _read_volume(path: Path, *, as_label: bool = False) -> _Volume:
    image = read_label(path) if as_label else read_image(path)
    return _Volume(path, _as_stack(image.as_tensor(), path, as_label=as_label), np.asarray(image.affine))


def _as_stack(volume: Tensor, path: Path, *, as_label: bool = False) -> Tensor:
    """A volume (1, x, y, z) as (z, y, x); one slice may have lost its axis."""
    stack = (volume if volume.ndim == 4 else volume[..., None])[0].permute(2, 1, 0)
    return _checked_labels(stack, path) if as_label else stack


def _checked_labels(stack: Tensor, path: Path) -> Tensor:
    unknown = stack[(stack < 0) | (stack > max(LABEL_NAMES))].unique().tolist()
    if unknown:
        raise ImageReadError(
            f"path {str(path)!r} has the labels {unknown}; expected 0 and {list(LABEL_NAMES)}: give ACDC's own labels"
        )
    return stack.to(torch.uint8)


def _read_film(path: Path, frame: _Volume) -> Tensor:
    """The time points of a film, (T, Z, H, W)."""
    with open_image(path, OpenOptions()) as file:
        pages = [read_page(file, path, page) for page in range(file.pages)]
    stacks = [_as_stack(page.as_tensor(), path) for page in pages]
    _check_same_place(_Volume(path, stacks[0], np.asarray(pages[0].affine)), frame)
    return torch.stack(stacks)


def _check_same_place(volume: _Volume, other: _Volume) -> None:
    """Whether two files of a patient have the same voxels."""
    if volume.stack.shape != other.stack.shape:
        raise ImageReadError(
            f"path {str(volume.path)!r} has {_size(volume)} but {str(other.path)!r} {_size(other)}; expected all files "
            "of a patient alike: find the one that was cut or resampled"
        )
    if volume.affine is None or other.affine is None:
        return
    between = np.linalg.inv(other.affine) @ volume.affine
    if not np.allclose(between, np.eye(4), rtol=0, atol=_TOLERANCE):
        reverse = between[2, 2] < 0
        raise ImageReadError(
            f"path {str(volume.path)!r} lies elsewhere than {str(other.path)!r}"
            f"{', its slices in reverse order' if reverse else ''}: affine {volume.affine.round(4).tolist()} against "
            f"{other.affine.round(4).tolist()}; expected all files of a patient in one place: correct the header, or "
            "resample the file"
        )


def _size(volume: _Volume) -> str:
    depth, rows, columns = volume.stack.shape
    return f"{depth} slices of {rows} rows and {columns} columns"


def _check_order(ed: _Volume, es: _Volume) -> None:
    """Whether the slices of both phases run the same way, which no header need tell: by what they show."""
    fits, reverse = (_mean_correlation(ed.stack, stack) for stack in (es.stack, es.stack.flip(0)))
    if reverse > fits:
        raise ImageReadError(
            f"path {str(es.path)!r} has its slices in another order than {str(ed.path)!r}: their mean correlation is "
            f"{fits:.2f}, and {reverse:.2f} in reverse; expected both from base to apex, or both from apex to base: "
            "turn one over"
        )


def _mean_correlation(first: Tensor, second: Tensor) -> float:
    a, b = (stack.flatten(1).double() for stack in (first, second))
    a, b = (x - x.mean(dim=1, keepdim=True) for x in (a, b))
    spread = (a.norm(dim=1) * b.norm(dim=1)).clamp_min(torch.finfo(torch.float32).tiny)
    return float(((a * b).sum(dim=1) / spread).mean())


def _slices(
    patient: str, images: Tensor, labels: Mapping[int, _Volume], spacing_mm: tuple[float, float] | None
) -> list[CineSlice]:
    """The slices of images (T, Z, H, W); `labels` are those of ED, then ES."""
    ed, es = labels
    return [
        CineSlice(
            patient=patient,
            slice_number=k,
            images=images[:, k].contiguous(),
            labels={time: volume.stack[k].contiguous() for time, volume in labels.items()},
            ed=ed,
            es=es,
            grid=pixel_grid((images.shape[2], images.shape[3]), spacing_mm),
        )
        for k in range(images.shape[1])
    ]


def read_acdc_hdf5(root: Path) -> list[CineSlice]:
    """Reads ED and ES of ACDC in HDF5.

    Args:
        root: Folder as the module describes it.

    Returns:
        The slices, sorted by patient, then as in the files; T = 2, ED first; on a grid of index pixels.

    Raises:
        ImageReadError: If a patient has not two frames, or a file is damaged or disagrees with the other.
        ImportError: If h5py is not installed.
    """
    frames: dict[str, dict[int, Path]] = defaultdict(dict)
    for path in _in(root):
        match = _HDF5.fullmatch(path.name)
        if match:
            frames[match[1]][int(match[2])] = path
    found = []
    for patient, paths in sorted(frames.items()):
        if len(paths) != 2:
            raise ImageReadError(
                f"dataset_dir {str(root)!r} has {len(paths)} frames of {patient} "
                f"({', '.join(path.name for path in paths.values())}); expected two, ED and ES: add the missing phase, "
                "or leave the patient out"
            )
        (ed, ed_label), (es, es_label) = _phases(paths)
        for other in (ed_label, es, es_label):
            _check_same_place(other, ed)
        _check_order(ed, es)
        found += _slices(patient, torch.stack([ed.stack, es.stack]), {0: ed_label, 1: es_label}, None)
    return found


def _phases(paths: Mapping[int, Path]) -> list[tuple[_Volume, _Volume]]:
    """Image and labels of ED, then of ES."""
    read = {frame: _read_hdf5(path) for frame, path in paths.items()}
    cavity = {frame: int((label.stack == LV_CAVITY).sum()) for frame, (_, label) in read.items()}
    return [read[frame] for frame in sorted(read, key=lambda frame: (frame != 1, -cavity[frame]))]


def _read_hdf5(path: Path) -> tuple[_Volume, _Volume]:
    h5py = _h5py()
    try:
        with h5py.File(path) as file:
            arrays = {key: np.asarray(file[key]) for key in ("image", "label") if key in file}
            held = ", ".join(file)
    except (OSError, RuntimeError, TypeError) as error:
        raise ImageReadError(
            f"path {str(path)!r} cannot be read ({error}); expected a complete, undamaged HDF5 file: copy it again"
        ) from error
    if len(arrays) < 2 or any(array.ndim != 3 or array.dtype.kind not in "uif" for array in arrays.values()):
        shapes = ", ".join(f"{key} of {array.dtype} {array.shape}" for key, array in arrays.items()) or "neither"
        raise ImageReadError(
            f"path {str(path)!r} holds {held or 'nothing'} ({shapes}); expected numbers image (Z, H, W) and label "
            "(Z, H, W): give ACDC's frames"
        )
    image, label = arrays["image"].astype(np.float32), arrays["label"]
    if not np.isfinite(image).all() or not (label == np.rint(label)).all():
        raise ImageReadError(
            f"path {str(path)!r} has pixels that are not finite, or labels that are not whole; expected finite "
            "intensities and the labels 0 to 3: copy it again"
        )
    stack = _checked_labels(torch.from_numpy(label.astype(np.int64)), path)
    return _Volume(path, torch.from_numpy(image)), _Volume(path, stack)


def _h5py() -> Any:
    try:
        import h5py
    except ImportError as error:
        raise ImportError(
            "h5py is not installed; expected it for HDF5 files. Install it by pip install 'monai-cellreg[io]', or give "
            "ACDC as NIfTI"
        ) from error
    return h5py
