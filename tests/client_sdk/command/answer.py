"""What a command answered, and how to run one as people do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROGRAM = Path(sys.executable).with_name("plait")


@dataclass(frozen=True, slots=True)
class Answer:
    """An exit code, and what was said."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def program(folder: Path, *arguments: str, stdin: str = "", **environment: str) -> Answer:
    """Run the real program in a folder, to its end."""
    done = subprocess.run(
        [PROGRAM, *arguments],
        cwd=folder,
        input=stdin.encode(),
        env={**os.environ, "COLUMNS": "100", **environment},
        capture_output=True,
        timeout=60,
        check=False,
    )
    return Answer(done.returncode, done.stdout.decode(), done.stderr.decode())
