"""Settle the conflicts that `plait merge` left in a JSON file.

Without --choose every conflict is shown with what both sides made of it, and
asked for. What is not decided stays as yours has it, and stays open. When
everything is decided, FILE.conflict.json is removed. Where you gave the merge
up (git merge --abort), remove it yourself.

examples:
  plait resolve data.json                            ask one by one
  plait resolve data.json --choose theirs            theirs, everywhere
  plait resolve data.json --choose /title=yours --choose /tags=both
  plait resolve data.json --value /title='"Both of them"'
  plait resolve data.json --json                     what is open

exit code: 0 all is decided; 1 something is still open; 2 misuse, or a file
cannot be read.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from plait_client.command.conflict_file import ConflictFile
from plait_client.command.kinds import listed, place
from plait_client.command.resolution import SIDES, Decision, Resolution, offers
from plait_client.command.rules import to_policy
from plait_client.command.terminal import DONE, OPEN, Refusal, as_argument, put, talk
from plait_client.command.written import read, save
from plait_merge import Conflict, Conflicted


def add_options(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add("file", metavar="FILE", help="the file with the conflicts")
    add(
        "--choose",
        metavar="[POINTER=]SIDE",
        action="append",
        default=[],
        help="take theirs, yours, base or both; for one conflict, or for all that are open",
    )
    add(
        "--value",
        metavar="POINTER=JSON",
        action="append",
        default=[],
        help="take this value for one conflict",
    )
    add("--json", action="store_true", help="write what is open, and what was decided, as JSON")


def run(asked: Namespace) -> int:
    """Settle what was asked for, or ask."""
    resolution = _resolution(asked.file)
    if asked.choose or asked.value:
        decisions = _chosen(resolution.open, asked.choose) | _valued(resolution.open, asked.value)
    elif asked.json:
        decisions = {}
    else:
        from plait_client.command import asking

        decisions = asking.decisions(resolution)
    left = _settle(resolution, decisions) if decisions else resolution.open
    if asked.json:
        decided = {**resolution.conflict_file.decided, **{name: d.choice for name, d in decisions.items()}}
        put({"file": asked.file, "open": [conflict.as_json() for conflict in left], "decided": decided})
    talk(*_told(asked.file, left, len(decisions)))
    return OPEN if left else DONE


def _resolution(file: str) -> Resolution:
    path = ConflictFile.beside(file)
    if not path.exists():
        raise Refusal(f"{file} has no conflicts to settle: there is no {path}")
    conflict_file = ConflictFile.read(path)
    policy = to_policy(conflict_file.rules, str(path))
    return Resolution(conflict_file, conflict_file.versions.merge(policy), read(file))


def _chosen(open: list[Conflict], asked: list[str]) -> dict[str, Decision]:
    """Read --choose: a side for all, and sides for single conflicts, which count more."""
    decisions: dict[str, Decision] = {}
    for word in sorted(asked, key=lambda word: "=" in word):
        pointer, equals, named = word.rpartition("=")
        side = next((side for side in SIDES if side == named), None)
        if side is None:
            raise Refusal(f"--choose {word}: a side is one of {', '.join(SIDES)}")
        for conflict in _at(pointer, open) if equals else open:
            if side in offers(conflict):
                decisions[conflict.id] = Decision(side)
            elif equals:
                raise Refusal(f"{pointer}: {side} has no meaning there; {_offered(conflict)}")
    return decisions


def _valued(open: list[Conflict], asked: list[str]) -> dict[str, Decision]:
    """Read --value: a pointer may hold an equals sign, so it is looked for among the open ones."""
    decisions: dict[str, Decision] = {}
    for word in asked:
        fitting = [conflict.pointer for conflict in open if word.startswith(f"{conflict.pointer}=")]
        pointer = max(fitting, key=len, default=word.partition("=")[0])
        for conflict in _at(pointer, open):
            if "value" not in offers(conflict):
                raise Refusal(f"{pointer}: a value has no meaning there; {_offered(conflict)}")
            decisions[conflict.id] = Decision.to(word.removeprefix(f"{pointer}="))
    return decisions


def _at(pointer: str, open: list[Conflict]) -> list[Conflict]:
    found = [conflict for conflict in open if conflict.pointer == pointer]
    if not found:
        raise Refusal(f"no conflict is open at {pointer!r}; open is {listed(map(place, open)) or 'nothing'}")
    return found


def _offered(conflict: Conflict) -> str:
    return f"there is {', '.join(offers(conflict))}"


def _settle(resolution: Resolution, decisions: dict[str, Decision]) -> list[Conflict]:
    """Write the file, and what is left to decide; return that."""
    content = resolution.file.encoded(resolution.text(decisions))
    choices = {name: decision.choice for name, decision in decisions.items()}
    conflict_file = resolution.conflict_file.deciding(choices)
    save(Path(resolution.file.name), content)
    left = [conflict for conflict in resolution.open if conflict.id not in choices]
    if left and isinstance(resolution.outcome, Conflicted):
        conflict_file.write(resolution.outcome)
    else:
        conflict_file.remove()
    return left


def _told(file: str, left: list[Conflict], decided: int) -> list[str]:
    if left:
        return [f"plait: {file}: {decided} decided, {len(left)} open: {listed(map(place, left))}"]
    lines = [f"plait: {file}: all conflicts are settled"]
    return [*lines, f"  next: git add {as_argument(file)}"] if _is_in_git(Path(file)) else lines


def _is_in_git(file: Path) -> bool:
    return any((folder / ".git").exists() for folder in file.resolve().parents)
