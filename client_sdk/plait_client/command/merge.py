"""Merge three versions of a JSON file by what each side did to its members and elements.

The result is written to YOURS. What did not change stays as it is written
there, to the byte: indentation, order of members, 1.50 and 1e5. Notebooks
(.ipynb) are JSON files too. An empty BASE means that both added the file.

Where both sides changed one thing, YOURS keeps its value, everything else is
merged, and YOURS.conflict.json holds the conflicts as data. `plait resolve
YOURS` settles them and removes it; it is not for committing.

examples:
  plait merge base.json theirs.json yours.json
  plait merge base.json theirs.json yours.json -o merged.json
  plait merge base.json theirs.json yours.json --key sku
  plait merge base.ipynb theirs.ipynb yours.ipynb --notebook
  plait merge --install            in a repository: git merge, rebase and
                                   cherry-pick use it for *.json and *.ipynb
  plait merge --install --global   in all of yours

In notebooks sources are merged as texts, counters take the higher number, and of
two runs that differ in nothing but version numbers the newer one counts. With
--notebook (also beside --install) outputs, counters and the like come from theirs
where both sides ran a cell again; sources that touch conflict as ever. Outputs may
then be older than what is above them: run it once more.

In a rebase git swaps the sides: yours is the branch you rebase onto. What
is not JSON, or not for us, git merges by lines as ever. To take --install
back: git config --remove-section merge.plait (--global), and remove the lines
with merge=plait from .gitattributes.

exit code: 0 merged; 1 conflicts; 2 a file cannot be read or is not JSON,
and nothing was written.
"""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from plait_client.command.conflict_file import ConflictFile
from plait_client.command.kinds import listed, place, what_happened
from plait_client.command.rules import read_rules, to_policy, with_key
from plait_client.command.terminal import DONE, OPEN, Refusal, as_argument, in_words, put, talk
from plait_client.command.versions import Versions, settled
from plait_client.command.written import STDIN, has_content, read, save
from plait_merge import NOTEBOOK, NOTEBOOK_DEFAULT, Conflicted, Json, Merged, is_notebook


def add_options(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add("base", metavar="BASE", nargs="?", help="what both sides started from")
    add("theirs", metavar="THEIRS", nargs="?", help="what the others made of it")
    add("yours", metavar="YOURS", nargs="?", help="what you made of it; takes the result")
    add("-o", "--output", metavar="FILE", help="write the result there instead; - for standard output")
    add("--policy", metavar="FILE", help="a merge policy: what to do where, as JSON")
    add("--key", metavar="FIELD[,FIELD]", help="members that tell the elements of arrays apart")
    add("--notebook", action="store_true", help="where both sides ran a cell of a notebook, take theirs' run")
    add("--json", action="store_true", help="tell the outcome as JSON on standard output")
    add("--install", action="store_true", help="let git merge JSON files and notebooks with this")
    add("--global", action="store_true", dest="for_all", help="with --install: in all repositories of yours")
    add("--path", metavar="PATH", help="from git: the name of the file (%%P)")
    add("--marker-size", metavar="N", type=int, help="from git: what is not JSON is merged by lines (%%L)")


def run(asked: Namespace) -> int:
    """Merge, or set git up to."""
    _check(asked)
    if asked.install:
        from plait_client.command import driver

        talk(*driver.install(for_all=asked.for_all, notebook=asked.notebook))
        return DONE
    rules = read_rules(asked.policy, asked.key)
    try:
        return _merge(_versions(asked), rules, asked)
    except Exception as trouble:
        if asked.marker_size is None:
            raise
        from plait_client.command.driver import merge_lines

        # Whatever it was, also a mistake of ours: to git a file that stays as it is has lost theirs.
        told = in_words(trouble) if isinstance(trouble, OSError) else str(trouble) or type(trouble).__name__
        talk(f"plait: {told}; so {asked.path or asked.yours} is merged by lines")
        return merge_lines(asked.base, asked.theirs, asked.yours, asked.marker_size)


def _check(asked: Namespace) -> None:
    if asked.install:
        if asked.base is not None:
            raise Refusal("--install takes no files")
        return
    if asked.for_all:
        raise Refusal("--global goes with --install")
    if asked.yours is None:
        raise Refusal("merge takes three files, BASE THEIRS YOURS; plait merge --help tells more")
    if [asked.base, asked.theirs, asked.yours].count(STDIN) > 1:
        raise Refusal("only one of the files can be standard input")
    if asked.notebook and asked.policy is not None:
        raise Refusal("--notebook is a policy of its own: it does not go with --policy")
    if asked.output is None:
        asked.output = asked.yours
    if asked.json and asked.output == STDIN:
        raise Refusal("the result and --json both want standard output")


def _versions(asked: Namespace) -> Versions:
    """Read the files; what git passes are copies without names, so that messages name the real one."""
    files = {side: getattr(asked, side) for side in ("base", "theirs", "yours")}
    names = {side: f"{asked.path} ({side})" if asked.path else None for side in files}
    return Versions(*(read(file, names[side]) for side, file in files.items()))


def _merge(versions: Versions, rules: Json, asked: Namespace) -> int:
    """Merge and write: first the conflicts, so that there is never a file without them."""
    if asked.policy is None and (asked.notebook or asked.key) and is_notebook(versions.yours.value):
        rules = with_key((NOTEBOOK if asked.notebook else NOTEBOOK_DEFAULT).as_json(), asked.key)
    outcome = versions.merge(to_policy(rules, "the policy"))
    content = versions.yours.encoded(versions.text(settled(versions, outcome, {})))
    name = asked.path or asked.output
    settles = asked.output != STDIN and has_content(Path(asked.output))
    if settles:
        if asked.path:  # git makes the folder only after the merge
            Path(name).parent.mkdir(parents=True, exist_ok=True)
        conflict_file = ConflictFile(ConflictFile.beside(name), versions, rules)
        if isinstance(outcome, Conflicted):
            conflict_file.write(outcome)
        else:
            conflict_file.remove()
    if asked.output == STDIN:
        sys.stdout.buffer.write(content)
    else:
        save(Path(asked.output), content)
    if asked.json:
        put(_as_json(outcome, name))
    if isinstance(outcome, Conflicted):
        talk(*_told(outcome, name, settles=settles))
        return OPEN
    return DONE


def _as_json(outcome: Merged | Conflicted, name: str) -> dict[str, Any]:
    if isinstance(outcome, Merged):
        return {"outcome": "merged", "file": name, "notes": [note.as_json() for note in outcome.notes]}
    conflicts = [conflict.as_json() for conflict in outcome.conflicts]
    return {"outcome": "conflict", "file": name, "conflicts": conflicts}


def _told(outcome: Conflicted, name: str, *, settles: bool) -> list[str]:
    """Say in three lines what is open and what to do."""
    count = len(outcome.conflicts)
    told = [
        f"plait: {name}: {count} conflict{'s' * (count > 1)}; yours is kept there, the rest is merged",
        "  " + listed(f"{place(conflict)} ({what_happened(conflict)})" for conflict in outcome.conflicts),
    ]
    return [*told, f"  settle with: plait resolve {as_argument(_from_here(name))}"] if settles else told


def _from_here(name: str) -> str:
    """Say where a file is for whoever typed the command: git runs us at the top, and says where that was."""
    folder = os.environ.get("GIT_PREFIX")
    return os.path.relpath(name, folder) if folder else name
