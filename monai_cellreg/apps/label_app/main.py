"""What MONAI Label loads from the folder of an app: the class that it looks for."""

from monai_cellreg.apps.label_app.app import RegistrationApp

__all__ = ["RegistrationApp"]
