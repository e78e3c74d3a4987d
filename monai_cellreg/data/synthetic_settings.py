"""How varied the simulated nuclei and films are."""

from __future__ import annotations

from dataclasses import dataclass, field, fields

from ..utils import check_not_negative, check_positive

Range = tuple[float, float]
REFERENCE_SIZE = 160  # lengths "in pixels" of the settings hold at this frame size and grow with the frame


@dataclass(frozen=True)
class NucleusSettings:
    """Ranges (lowest, highest) from which every nucleus draws its own properties; equal ends fix a property.

    Attributes:
        diameter: greatest extent of the nucleus, as a fraction of the frame.
        jitter: greatest shift of the centre along an axis, as a fraction of the frame.
        aspect: short axis over long axis before lobes and bending.
        lobes: strength of the irregular outline; 0 gives an ellipse.
        bend: greatest curvature of the long axis, in units of the curvature that makes an ellipse hollow on one side.
        nucleoplasm: brightness of the dimmest nucleoplasm relative to dense chromatin, above 0; 1 gives a
            uniform nucleus.
        grain: size of the chromatin domains as a fraction of the diameter, above 0.
        sharpness: how abruptly chromatin domains end, above 0.
        sparseness: how few domains are dense, in standard deviations of the texture.
        plateau: how equal dense domains are; 0 lets each have its own brightness, 1 gives all the same.
        tilt: how much brighter one side of the nucleus is than the other.
        doming: how much the brightness follows the thickness of a flattened ball; 0 is a flat disc.
        nucleoli: number of dark holes.
        psf_px: standard deviation of the optical blur, in pixels of a 160-pixel frame.
        haze: share of the light that is scattered over a wide halo.
        background: level of the background relative to dense chromatin.
        gradient: unevenness of the background relative to dense chromatin.
        shot_noise: relative standard deviation of the photon noise at dense chromatin.
        read_noise: standard deviation of the camera noise relative to dense chromatin.
        camera_px: size of a camera pixel, in pixels of a 160-pixel frame (the picture of a small nucleus is enlarged).
        neighbours: mean number of other nuclei around the one in the middle; they are not part of the label.
        debris: mean number of bright specks outside of the nucleus.

    Raises:
        ValueError: if a range runs backwards, or starts at 0 where it has to be above 0.
    """

    diameter: Range = (0.35, 0.75)
    jitter: float = 0.08
    aspect: Range = (0.5, 1.0)
    lobes: Range = (0.0, 0.22)
    bend: Range = (0.0, 2.0)
    nucleoplasm: Range = (0.06, 1.0)
    grain: Range = (0.06, 0.35)
    sharpness: Range = (0.8, 4.0)
    sparseness: Range = (-0.8, 1.5)
    plateau: Range = (0.0, 1.0)
    tilt: Range = (0.0, 0.45)
    doming: Range = (0.0, 0.85)
    nucleoli: tuple[int, int] = (0, 3)
    psf_px: Range = (0.5, 3.0)
    haze: Range = (0.0, 0.35)
    background: Range = (0.02, 0.4)
    gradient: Range = (0.0, 0.12)
    shot_noise: Range = (0.01, 0.12)
    read_noise: Range = (0.002, 0.04)
    camera_px: Range = (1.0, 3.0)
    neighbours: float = 0.5
    debris: float = 0.4

    def __post_init__(self) -> None:
        _check_ranges(self)
        for name in ("diameter", "aspect", "nucleoplasm", "grain", "sharpness", "camera_px"):
            check_positive(name, getattr(self, name))


@dataclass(frozen=True)
class SpotSettings:
    """Bright spots inside the nucleus, such as telomeres or replication foci, that move with it and diffuse in it.

    Attributes:
        count: number of spots.
        step_px: standard deviation of a spot's step relative to the nucleus from one frame to the next, along each
            axis, in pixels of a 160-pixel frame.
        width_px: standard deviation of a spot's Gaussian profile before the optical blur, in pixels of a 160-pixel
            frame, above 0.
        brightness: height of that profile relative to dense chromatin.

    Raises:
        ValueError: if a range runs backwards or starts at 0 where it has to be above 0, or a number is negative.
    """

    count: int = 0
    step_px: float = 1.0
    width_px: Range = (1.0, 2.0)
    brightness: Range = (2.0, 5.0)

    def __post_init__(self) -> None:
        _check_ranges(self)
        for name in ("count", "step_px", "brightness"):
            check_not_negative(name, getattr(self, name))
        check_positive("width_px", self.width_px)


@dataclass(frozen=True)
class SequenceSettings:
    """What changes between the first and the last frame of a film.

    Attributes:
        nucleus: ranges of the nucleus and its microscope.
        rotation_deg: greatest rotation in degrees.
        shift: greatest shift along an axis, as a fraction of the frame.
        wavelength: length of the waves that deform the nucleus, as a fraction of the frame.
        overlap: intersection over union of the later labels with the first one, as a mean over the frames; motion and
            deformation are scaled to it, to about 0.003.
        bleaching: share of the light that is lost by the last frame.
        drift: greatest random change of the light from its bleaching curve.
        renewal: share of a complete renewal that the chromatin texture has undergone by the last frame.
        spots: structures inside the nucleus; none unless asked for.
    """

    nucleus: NucleusSettings = field(default_factory=NucleusSettings)
    rotation_deg: float = 10.0
    shift: float = 0.03
    wavelength: Range = (0.6, 1.2)
    overlap: Range = (0.865, 0.875)
    bleaching: Range = (0.0, 0.4)
    drift: float = 0.1
    renewal: Range = (0.1, 0.5)
    spots: SpotSettings = field(default_factory=SpotSettings)


def _check_ranges(settings: NucleusSettings | SpotSettings) -> None:
    for entry in fields(settings):
        value = getattr(settings, entry.name)
        if isinstance(value, tuple) and value[0] > value[1]:
            raise ValueError(f"{entry.name} is {value}, expected (lowest, highest); swap the two")
