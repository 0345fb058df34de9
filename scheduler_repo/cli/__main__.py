"""``python -m scheduler_repo.cli`` is the command ``scheduler-repo``."""

import sys

from scheduler_repo.cli.main import main

sys.exit(main())
