"""``python -m smearsynth``."""

import sys

from smearsynth.cli.app import main

sys.exit(main())
