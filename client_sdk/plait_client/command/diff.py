"""Show what changed between two JSON files: members and elements, not lines.

  ~ changed   + added   - removed   > moved
Pointers of what was removed are places in A, all others places in B. Layout
and the order of members are no difference, and 1.0 is 1.

examples:
  plait diff old.json new.json
  plait diff --words old.json new.json      what changed inside texts
  plait diff --patch old.json new.json      as an RFC 6902 JSON Patch
  git show HEAD:data.json | plait diff - data.json

exit code: 0 no difference; 1 some; 2 a file cannot be read or is not JSON.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections import Counter
from collections.abc import Iterator
from shutil import get_terminal_size

from plait_client.command.difference import Change, changes
from plait_client.command.rewriting import LIMITS
from plait_client.command.spelling import Spelling
from plait_client.command.terminal import DONE, OPEN, Ink, Refusal, printable, put, put_json, shown
from plait_client.command.written import STDIN, Written, read
from plait_client.prompt.words import word_changes
from plait_merge import Json, format_pointer
from plait_merge import diff as patch_between


def add_options(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add("a", metavar="A", help="the older file; - for standard input")
    add("b", metavar="B", help="the newer file; - for standard input")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--patch", action="store_true", help="write an RFC 6902 patch from A to B")
    how.add_argument("--stat", action="store_true", help="only count, by the members of the document")
    how.add_argument("--json", action="store_true", help="write the changes as JSON")
    add("--words", action="store_true", help="mark changed words inside texts: [-removed-]{+added+}")
    add("--color", choices=("auto", "always", "never"), default="auto", help="default: on a terminal")


def run(asked: Namespace) -> int:
    """Compare two files and write the difference."""
    if asked.a == asked.b == STDIN:
        raise Refusal("only one of the files can be standard input")
    a, b = read(asked.a), read(asked.b)
    if asked.patch:
        patch = patch_between(a.value, b.value, LIMITS)
        put_json(patch_text(patch, b))
        return OPEN if patch else DONE
    found = changes(a.value, b.value)
    if asked.json:
        put([change.as_json() for change in found])
    else:
        ink = Ink.asked(asked.color, sys.stdout)
        for line in _counted(found, ink) if asked.stat else lines(found, ink, words=asked.words):
            print(line)
    return OPEN if found else DONE


def patch_text(patch: Json, *sources: Written) -> str:
    """Write a patch, an operation to a line, with values as they are spelled in the files they are from."""
    spelling = Spelling(sources)
    operations = [
        "{" + ", ".join(f'"{name}": {spelling.bare(value)}' for name, value in operation.items()) + "}"
        for operation in patch
    ]
    return "[\n  " + ",\n  ".join(operations) + "\n]" if operations else "[]"


def lines(found: list[Change], ink: Ink, *, words: bool = False) -> Iterator[str]:
    """Write changes for people, one to a line where it fits."""
    for change in found:
        yield from _lines(change, ink, words=words)


def _lines(change: Change, ink: Ink, *, words: bool) -> Iterator[str]:
    pointer = printable(change.side.pointer) or "(the whole document)"
    if change.kind == "added":
        yield f"{ink.green('+')} {ink.bold(pointer)}  {ink.green(_short(change.side.value))}"
    elif change.kind == "removed":
        yield f"{ink.red('-')} {ink.bold(pointer)}  {ink.red(_short(change.side.value))}"
    elif change.kind == "moved":
        assert change.before is not None
        yield f"{ink.cyan('>')} {ink.bold(printable(change.before.pointer))} -> {ink.bold(pointer)}"
    else:
        assert change.before is not None
        yield from _changed(pointer, change.before.value, change.side.value, ink, words=words)


def _changed(pointer: str, before: Json, after: Json, ink: Ink, *, words: bool) -> Iterator[str]:
    head = f"{ink.yellow('~')} {ink.bold(pointer)}"
    if words and type(before) is str and type(after) is str:
        yield f"{head}  {marked(before, after, ink)}"
        return
    old, new = _short(before), _short(after)
    if len(pointer) + len(old) + len(new) + 8 <= _columns():
        yield f"{head}  {ink.red(old)} -> {ink.green(new)}"
    else:
        yield from (head, f"    - {ink.red(old)}", f"    + {ink.green(new)}")


def marked(before: str, after: str, ink: Ink) -> str:
    """Write what changed inside a text on one line, with the marks git uses; quotes left away."""
    return "".join(_marked(kind, shown(text)[1:-1], ink) for kind, text in word_changes(before, after))


def _marked(kind: str, text: str, ink: Ink) -> str:
    if kind == "removed":
        return ink.red(f"[-{text}-]")
    return ink.green(f"{{+{text}+}}") if kind == "added" else text


def _short(value: Json) -> str:
    """Write a value on one line; on a terminal no more than three lines of it."""
    text = shown(value)
    width = 3 * _columns()
    return text if len(text) <= width or not sys.stdout.isatty() else text[: width - 1] + "…"


def _columns() -> int:
    return get_terminal_size().columns


def _counted(found: list[Change], ink: Ink) -> Iterator[str]:
    """Count the changes by the outermost member they are in, and all together."""
    places: dict[str, Counter[str]] = {}
    for change in found:
        place = format_pointer(change.side.tokens[:1]) or "(the whole document)"
        places.setdefault(place, Counter())[change.kind] += 1
    if len(places) > _PLACES_MAX:
        places = {f"({len(places)} places)": Counter(change.kind for change in found)}
    width = max(map(len, places), default=0)
    for place, counts in places.items():
        yield f" {ink.bold(printable(place.ljust(width)))}  {_counts(counts)}"
    yield " " + (_counts(Counter(change.kind for change in found)) or "no difference")


_PLACES_MAX = 100


def _counts(counts: Counter[str]) -> str:
    kinds = ("changed", "added", "removed", "moved")
    return ", ".join(f"{counts[kind]} {kind}" for kind in kinds if counts[kind])
