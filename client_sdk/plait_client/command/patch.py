"""Apply a JSON Patch (RFC 6902) or a merge patch (RFC 7396) to a file, and keep its layout.

What the patch does not touch stays as it is written, to the byte; what it
adds is laid out like its neighbours. All or nothing.

examples:
  plait patch data.json changes.json
  plait diff old.json new.json --patch | plait patch data.json -
  plait patch data.json changes.json --dry-run       show what would change
  plait patch data.json changes.json --undo undo.json
  plait patch data.json undo.json                    and back
  echo '{"version": "2.0"}' | plait patch package.json - --merge-patch

exit code: 0 applied; 1 the patch does not fit the file, which stays as it
is; 2 a file cannot be read, or is not JSON or no patch.
"""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser, Namespace
from itertools import combinations
from pathlib import Path
from typing import cast

from plait_client.command.rewriting import LIMITS, rewritten
from plait_client.command.terminal import DONE, OPEN, Ink, Refusal, put, shown, talk
from plait_client.command.written import STDIN, Written, read, save
from plait_merge import ABSENT, Inapplicable, Json, MalformedPatch, apply, diff, merge_patch


def add_options(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add("file", metavar="FILE", help="the file to change; - for standard input, to standard output")
    add("patch", metavar="PATCH", help="the patch; - for standard input")
    add("--merge-patch", action="store_true", help="PATCH is an RFC 7396 merge patch")
    add("-o", "--output", metavar="FILE", help="write the result there instead; - for standard output")
    add("--undo", metavar="FILE", help="write the patch that takes this one back there; - as above")
    add("--dry-run", action="store_true", help="write nothing; show what would change")
    add("--json", action="store_true", help="tell the outcome as JSON on standard output")


def run(asked: Namespace) -> int:
    """Apply a patch to a file."""
    output = asked.output or asked.file
    if asked.file == asked.patch == STDIN:
        raise Refusal("only one of the files can be standard input")
    if not asked.dry_run:
        _check_answers(output, asked)
    file, written = read(asked.file), read(asked.patch)
    try:
        patch = _patch(file, written, merges=asked.merge_patch)
        text = rewritten(file, patch, sources=[written])
    except MalformedPatch as malformed:
        raise Refusal(f"{written.name} is no patch: {malformed}") from malformed
    except Inapplicable as misfit:
        talk(f"plait: {file.name} stays as it is: {_misfit(misfit)}")
        if asked.json:
            put({"outcome": "inapplicable", "file": file.name, **_misfit_as_json(misfit)})
        return OPEN
    if asked.dry_run:
        _show(file, patch, as_json=asked.json)
        return DONE
    if asked.undo is not None:
        _write(asked.undo, _undo(file, patch))
    _write(output, file.encoded(text))
    if asked.json:
        put({"outcome": "applied", "file": output, "operations": len(patch)})
    return DONE


def _check_answers(output: str, asked: Namespace) -> None:
    """Refuse two answers in one place."""
    wanted = [("the result", output), ("--undo", asked.undo), ("--json", STDIN if asked.json else None)]
    for (one, place), (other, there) in combinations([want for want in wanted if want[1] is not None], 2):
        if place == STDIN == there:
            raise Refusal(f"{one} and {other} both want standard output")
        if STDIN not in (place, there) and os.path.realpath(place) == os.path.realpath(there):
            raise Refusal(f"{one} and {other} both want {there}")


def _write(file: str, content: bytes) -> None:
    if file == STDIN:
        sys.stdout.buffer.write(content)
    else:
        save(Path(file), content)


def _patch(file: Written, patch: Written, *, merges: bool) -> list[dict[str, Json]]:
    if patch.value is ABSENT:
        raise Refusal(f"{patch.name} is empty")
    if not merges:
        apply(file.value, patch.value, LIMITS)  # tells what is no patch, before anybody takes it for one
        return cast(list[dict[str, Json]], patch.value)
    return diff(file.value, merge_patch(file.value, patch.value), LIMITS)


def _undo(file: Written, patch: list[dict[str, Json]]) -> bytes:
    """Write the patch that leads back, values spelled as they were."""
    from plait_client.command.diff import patch_text
    from plait_merge import invert

    return (patch_text(invert(file.value, patch, LIMITS), file) + "\n").encode()


def _misfit(misfit: Inapplicable) -> str:
    """Say which operation does not fit and what there is instead."""
    place = misfit.pointer or "the whole document"
    found = _cut(shown(misfit.found))
    return f"operation {misfit.operation} of the patch, at {place}: {_REASONS[misfit.reason]}, found {found}"


_REASONS = {
    "missing": "there is no such member",
    "index": "there is no such place in the array",
    "no-container": "something on the way is neither object nor array",
    "test": "the value tested is another one",
    "into-itself": "something would move into itself",
    "unsupported": "the operation is not known here",
}


def _misfit_as_json(misfit: Inapplicable) -> dict[str, Json]:
    return {"operation": misfit.operation, "pointer": misfit.pointer, "reason": misfit.reason}


def _cut(text: str) -> str:
    return text if len(text) <= 60 else text[:59] + "…"


def _show(file: Written, patch: list[dict[str, Json]], *, as_json: bool) -> None:
    from plait_client.command.diff import lines
    from plait_client.command.difference import changes

    found = changes(file.value, apply(file.value, patch, LIMITS))
    if as_json:
        put([change.as_json() for change in found])
    else:
        print("\n".join(lines(found, Ink.asked("auto", sys.stdout)) if found else ["no difference"]))
