"""Write the golden file anew: `python -m tests.cli.mistakes`, and read what has changed in it."""

from __future__ import annotations

import tempfile

from tests.cli.mistakes.cases import CASES
from tests.cli.mistakes.golden import GOLDEN, written
from tests.cli.mistakes.surroundings import Surroundings

with tempfile.TemporaryDirectory() as root, Surroundings(root) as surroundings:
    GOLDEN.write_text(written([(case, surroundings.run(case)) for case in CASES]))
