"""Asking a person about conflicts, one after the other, on a terminal."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import tempfile
from pathlib import Path
from typing import Final, TextIO

from rich.console import Console
from rich.prompt import InvalidResponse, PromptBase
from rich.text import Text, TextType

from plait_client.command.kinds import in_words
from plait_client.command.resolution import SIDES, Decision, offers
from plait_client.command.terminal import printable
from plait_client.command.words import word_changes
from plait_client.command.written import BadFile
from plait_merge import Conflict, Facet


def ask(
    conflicts: list[Conflict], file: str, console: Console | None = None, answers: TextIO | None = None
) -> dict[str, Decision]:
    """Ask for a decision on each conflict and give those that were made, by conflict id.

    Speaks on stderr; the end of the input, or Ctrl-C, means "later" for the rest.
    """
    console = console or Console(stderr=True, highlight=False)
    count = len(conflicts)
    console.print(
        Text(f"{count} place{'s' * (count > 1)} in {printable(file)} need{'s' * (count == 1)} your choice.")
    )
    decisions: dict[str, Decision] = {}
    for number, conflict in enumerate(conflicts, 1):
        _show(conflict, f"{number} of {count}", console)
        try:
            decision = _decision(conflict, console, answers)
        except (EOFError, KeyboardInterrupt):
            console.print()
            break
        if decision is not None:
            decisions[conflict.id] = decision
    return decisions


def _show(conflict: Conflict, number: str, console: Console) -> None:
    """Show a conflict: what was there before, and what each side made of it."""
    place = printable(conflict.pointer) or "the whole document"
    console.print()
    console.print(Text.assemble(f"{number}  ", (place, "bold"), f"  {in_words(conflict)}"))
    console.print(Text.assemble(("  before  ", "dim"), _value(conflict.base)))
    for side, facet in (("theirs", conflict.theirs), ("yours", conflict.yours)):
        console.print(Text.assemble((f"  {side:8}", "dim"), _changed(conflict.base, facet)))


def _changed(before: Facet, after: Facet) -> Text:
    """Write what a side has, the words it changed marked with signs as well as colours."""
    if not (type(before.value) is type(after.value) is str):
        return _value(after)
    styles = {"same": "", "removed": "red", "added": "green"}
    signs = {"same": ("", ""), "removed": ("[-", "-]"), "added": ("{+", "+}")}
    text = Text('"')
    for kind, part in word_changes(before.value, after.value):
        opening, closing = signs[kind]
        text.append(opening + _inner(part) + closing, styles[kind])
    return text.append('"')


def _value(facet: Facet) -> Text:
    """Write a value, over some lines if it needs them, and not endlessly."""
    if not facet.present:
        return Text("not there", "dim italic")
    lines = json.dumps(facet.value, ensure_ascii=False).splitlines()
    if len(lines[0]) > _LINE_MAX and type(facet.value) in (dict, list):
        lines = json.dumps(facet.value, ensure_ascii=False, indent=2).splitlines()
    more = [f"… {len(lines) - _LINES_MAX} more lines"] if len(lines) > _LINES_MAX else []
    return Text("\n          ".join([*map(printable, lines[:_LINES_MAX]), *more]))


_LINE_MAX: Final = 80
_LINES_MAX: Final = 20


def _inner(text: str) -> str:
    return printable(json.dumps(text, ensure_ascii=False)[1:-1])


def _decision(conflict: Conflict, console: Console, answers: TextIO | None) -> Decision | None:
    """Ask until there is an answer; None means later."""
    words = [_SHOWN.get(choice, choice) for choice in offers(conflict)]
    word = _Choice("  take", console=console, choices=[*words, "later"], case_sensitive=False)(stream=answers)
    if word == "later":
        return None
    if word == "edit":
        return _edited(conflict, console, answers)
    return Decision(next(side for side in SIDES if _SHOWN.get(side, side) == word))


_SHOWN: Final = {"base": "before", "value": "edit"}


class _Choice(PromptBase[str]):
    """A question with words for answers, of which the first letters do."""

    response_type = str
    illegal_choice_message = "[prompt.invalid.choice]Please type one of these words, or its first letters."

    @classmethod
    def get_input(
        cls, console: Console, prompt: TextType, password: bool, stream: TextIO | None = None
    ) -> str:
        return _line(console, prompt, stream)

    def process_response(self, value: str) -> str:
        assert self.choices is not None
        fitting = [word for word in self.choices if value.strip() and word.startswith(value.strip().lower())]
        if len(fitting) != 1:
            raise InvalidResponse(self.illegal_choice_message)
        return fitting[0]


def _line(console: Console, prompt: TextType, answers: TextIO | None) -> str:
    """Read a line. Raises EOFError at the end; given a stream, rich itself takes that for an empty line."""
    line = console.input(prompt, stream=answers)
    if answers is not None and not line:
        raise EOFError
    return line


def _edited(conflict: Conflict, console: Console, answers: TextIO | None) -> Decision:
    """Let a person write a value, until it is JSON."""
    facet = next((side for side in (conflict.yours, conflict.theirs, conflict.base) if side.present), None)
    text = json.dumps(None if facet is None else facet.value, ensure_ascii=False, indent=2)
    while True:
        text = _typed(text, console, answers)
        try:
            return Decision.to(text)
        except BadFile as bad:
            console.print(Text(f"  {bad}. A value is JSON, so a text stands in quotes.", "red"))


def _typed(text: str, console: Console, answers: TextIO | None) -> str:
    """Take a value from the editor of the person's choice, or on one line."""
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR")
    if not editor or answers is not None:
        return _line(console, Text("  value, as JSON: "), answers)
    with tempfile.TemporaryDirectory() as folder:
        draft = Path(folder) / "value.json"
        draft.write_text(text + "\n", encoding="utf-8")
        subprocess.run([*shlex.split(editor), str(draft)], check=False)
        return draft.read_text(encoding="utf-8")
