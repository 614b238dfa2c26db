"""`python -m detinv` is the same as `detinv`."""

import sys

from detinv.cli import main

sys.exit(main())
