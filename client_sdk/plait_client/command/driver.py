"""Plait as git's merge driver for JSON: setting it up, and what it leaves to git."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from plait_client.command.terminal import OPEN, WRONG, Refusal
from plait_client.command.written import save

PATTERNS: Final = ("*.json", "*.ipynb")


def install(*, for_all: bool, notebook: bool = False) -> list[str]:
    """Write git's configuration and attributes, for this repository or for all; say what was done.

    With `notebook`, outputs of notebooks are taken from theirs. May be done again. Raises Refusal where there
    is no git or no repository.
    """
    scope = "--global" if for_all else "--local"
    attributes = (
        _attributes_of_all() if for_all else Path(_git("rev-parse", "--show-toplevel")) / ".gitattributes"
    )
    program = f"{_program()} merge{' --notebook' if notebook else ''}"
    for name, value in _SETTINGS.items():
        _git("config", scope, f"merge.plait.{name}", value.replace("PLAIT", program))
    added = _attribute(attributes)
    return [
        f"git merges {' and '.join(PATTERNS)} with plait from now on"
        + (", in all your repositories." if for_all else ", in this repository."),
        f"  {attributes}: {'added' if added else 'were there:'} {', '.join(added or PATTERNS)}",
        *([] if for_all else ["  Commit .gitattributes; everybody else runs plait merge --install once."]),
    ]


# `recursive`: where git first merges two common ancestors, to have one, conflicts are nobody's to settle and
# must not break the file. Its binary driver takes what both came from, which is JSON.
# A shell says 126 or 127 where the program is gone, and more where it was killed. git would take that for a
# conflict in a file that holds only yours, so that theirs is lost on whoever adds it, or give up the whole
# merge: git's own merge of the file it is then.
_SETTINGS: Final = {
    "name": "plait, a merge for JSON",
    "driver": "PLAIT %O %B %A --path=%P --marker-size=%L || "
    "{ code=$?; test $code -lt 126 && exit $code; "
    "git merge-file --marker-size=%L -L yours -L base -L theirs %A %O %B; }",
    "recursive": "binary",
}


def _program() -> str:
    """Give what git is to run: the name alone where that finds us, so that it outlives a new place.

    A name that stands for our own virtual environment is found as long as that is active, so then it is the
    whole path.
    """
    found = shutil.which("plait")
    has_environment = sys.prefix != sys.base_prefix
    if found and not (has_environment and Path(found).parent == Path(sys.executable).parent):
        return "plait"
    return shlex.quote(os.path.abspath(found or sys.argv[0]).replace("%", "%%"))


def _attributes_of_all() -> Path:
    """Give the file git reads for all repositories of this user."""
    set_up = _git("config", "--global", "--type=path", "--get", "core.attributesFile", may_fail=True)
    if set_up:
        return Path(set_up)
    home = os.environ.get("XDG_CONFIG_HOME")
    return (Path(home) if home else Path.home() / ".config") / "git" / "attributes"


def _attribute(attributes: Path) -> list[str]:
    """Add the lines that are not there; return which."""
    content = attributes.read_bytes() if attributes.exists() else b""
    lines = [f"{pattern} merge=plait" for pattern in PATTERNS]
    missing = [line for line in lines if line.encode() not in content.splitlines()]
    if missing:
        attributes.parent.mkdir(parents=True, exist_ok=True)
        start = content if not content or content.endswith(b"\n") else content + b"\n"
        save(attributes, start + "".join(f"{line}\n" for line in missing).encode())
    return missing


def merge_lines(base: str, theirs: str, yours: str, marker_size: int) -> int:
    """Merge what is not JSON into yours as git would have without us; return the exit code for git.

    To git a driver that exits with 1 to 128 has left a conflict in the file; with more, it has crashed and
    the whole merge is given up. Nothing that is wrong with one file is worth that: where not even this works
    (something binary), yours stays as it is, in conflict.
    """
    names = [part for side in ("yours", "base", "theirs") for part in ("-L", side)]
    command = ["git", "merge-file", f"--marker-size={marker_size}", *names, "--", yours, base, theirs]
    try:
        conflicts = subprocess.run(command, check=False).returncode
    except OSError:
        return WRONG
    return OPEN if 0 < conflicts < 128 else WRONG if conflicts else conflicts


def _git(*arguments: str, may_fail: bool = False) -> str:
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
    except OSError as error:
        raise Refusal(f"git cannot be run: {error.strerror}") from error
    if done.returncode and not may_fail:
        raise Refusal(f"git {arguments[0]}: {done.stderr.strip() or 'failed'}")
    return done.stdout.strip()
