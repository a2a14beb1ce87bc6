"""The README's session with files is what the commands say."""

import os
import re
import subprocess
from pathlib import Path

from client_sdk.command.answer import PROGRAM

TEXT = (Path(__file__).parents[3] / "client_sdk/README.md").read_text()
MARK = "--- the answer ends here ---"


def test_the_session_is_what_the_commands_answer(tmp_path: Path) -> None:
    (session,) = re.findall(r"^```console\n(.*?)^```", TEXT, re.S | re.M)
    steps = [step.partition("\n") for step in re.split(r"^\$ ", session, flags=re.M)[1:]]
    script = "".join(f"{command}\necho '{MARK}'\n" for command, _, _ in steps)
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=tmp_path,
        env={**os.environ, "PATH": f"{PROGRAM.parent}{os.pathsep}{os.environ['PATH']}", "COLUMNS": "100"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=True,
    )
    answers = done.stdout.split(f"{MARK}\n")[:-1]
    assert answers == [answer for _, _, answer in steps]


def test_what_the_page_links_to_is_there() -> None:
    for target in re.findall(r"\]\(([^)#:]+)", TEXT):
        assert (Path(__file__).parents[3] / "client_sdk" / target).exists(), target
