"""``python -m smearsynth``."""

import sys

from smearsynth.cli import main

sys.exit(main())
