"""``python -m monai_cellreg`` is the command ``monai-cellreg``."""

import sys

from monai_cellreg.apps.cli import main

if __name__ == "__main__":
    sys.exit(main())
