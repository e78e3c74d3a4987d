"""Image registration for MONAI; parts are imported when they are first used."""

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=[
        "apps",
        "baselines",
        "benchmarks",
        "data",
        "engines",
        "geometry",
        "inferers",
        "losses",
        "methods",
        "metrics",
        "networks",
        "report",
        "transforms",
        "utils",
    ],
    submod_attrs={"methods": ["apply_transform", "register", "register_sequence"]},
)
