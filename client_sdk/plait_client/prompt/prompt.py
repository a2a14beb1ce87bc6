"""Settling conflicts on a terminal: one field after the other, what was there and what both made of it.

    async with doc.edit(on_conflict=by_pointer({"/counters/**": add, "**": ask})) as draft: ...

or, with a conflict at hand: `if await settle(conflict): await conflict.save()`.

Nothing is chosen for anybody: an empty answer asks again. "Later", Ctrl-C and the end of the input leave the
rest undecided, and nothing is lost: what was decided stays so, and the edit stays what it is. Questions go to
standard error, answers come from standard input, in a thread: the event loop goes on.
"""

from __future__ import annotations

import asyncio
import select
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Final, Literal, TextIO
from weakref import WeakKeyDictionary, WeakSet, ref

import msgspec

from plait_client.conflict import Choice, Facet, Field, MergeConflict, Side, Value
from plait_client.prompt import wording
from plait_client.prompt.words import Part, word_changes
from plait_merge import Json

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console
    from rich.text import Text

LINE_CHARACTERS_MAX: Final = 65_536
VALUE_CHARACTERS_MAX: Final = 600
SAME_CHARACTERS_MAX: Final = 120
"""What both have is cut to this around what differs."""
WAKE_S: Final = 0.1
"""How long after it was interrupted a question ends."""


class Prompt:
    """Asks on a terminal. An instance is a resolver; `console` and `answers` are standard error and input by
    default, `now` is the wall clock in seconds."""

    def __init__(
        self,
        console: Console | None = None,
        answers: TextIO | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._stated_console = console
        self._stated_answers = answers
        self._now = now
        self._turns: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()
        self._put_off: WeakSet[MergeConflict] = WeakSet()
        self._introduced: Callable[[], MergeConflict | None] = lambda: None

    async def __call__(self, field: Field) -> Choice | None:
        """Ask about one field; None means later. After Ctrl-C or the end of the input no other field of the
        same conflict is asked about."""
        async with self._turn() as over:
            conflict = field._conflict
            if conflict is not None and conflict in self._put_off:
                return None
            try:
                choice = await asyncio.to_thread(self._one, field, over)
            except _PutOff:
                if conflict is not None:
                    self._put_off.add(conflict)
                return None
            return choice

    async def settle(self, conflict: MergeConflict) -> bool:
        """Ask about every undecided field of a conflict; tell whether all are decided. Saves nothing."""
        async with self._turn() as over:
            return await asyncio.to_thread(
                self._all, conflict.fields, conflict.document, conflict.clean, over
            )

    def decide(self, fields: Sequence[Field], document: str, *, clean: int = 0) -> bool:
        """Ask about the undecided of some fields, wherever they are from, and tell whether all are decided.

        Blocks. `document` is what they are fields of, `clean` how many other changes overlap nothing.
        """
        return self._all(fields, document, clean, threading.Event())

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[threading.Event]:
        """Wait for the terminal; the event it gives, once set, ends the question that stands."""
        turn = self._turns.setdefault(asyncio.get_running_loop(), asyncio.Lock())
        over = threading.Event()
        async with turn:
            try:
                with _interruptible(over) if _can_be_left(self._answers) else nullcontext():
                    yield over
            finally:
                over.set()

    # What is said, in a thread

    def _all(self, fields: Sequence[Field], document: str, clean: int, over: threading.Event) -> bool:
        undecided = [field for field in fields if not field.decided]
        self._introduce(undecided, document, clean)
        try:
            for field in undecided:
                choice = self._question(field, over)
                if isinstance(choice, Value):
                    field.choose(value=choice.value)
                elif choice is not None:
                    field.choose(choice)
                self._progress(sum(each.decided for each in fields), len(fields))
        except (_PutOff, KeyboardInterrupt):
            self._leave()
        return all(field.decided for field in fields)

    def _one(self, field: Field, over: threading.Event) -> Choice | None:
        conflict = field._conflict
        if conflict is not None and conflict is not self._introduced():
            self._introduce(conflict.undecided, conflict.document, conflict.clean)
            self._introduced = ref(conflict)
        try:
            choice = self._question(field, over)
        except _PutOff:
            self._leave()
            raise
        if conflict is not None:
            self._progress(len(conflict) - len(conflict.undecided) + (choice is not None), len(conflict))
        return choice

    def _introduce(self, fields: Sequence[Field], document: str, clean: int) -> None:
        self._say("")
        self._say(wording.need(len(fields), document), "bold")
        told = " ".join(filter(None, (wording.saves(fields, self._now()), wording.combined(clean))))
        if told:
            self._say(told)

    def _progress(self, decided: int, fields: int) -> None:
        self._say(f"{decided:,} of {fields:,} decided", "dim")

    def _leave(self) -> None:
        self._say("\nLater, then. Nothing is lost.")

    def _question(self, field: Field, over: threading.Event) -> Choice | None:
        """Show a field and ask until there is an answer."""
        self._show(field)
        offers = _offers(field)
        self._say("   " + "   ".join(f"{number} {label}" for number, label in enumerate(offers, 1)))
        while True:
            label = _meant(self._answer("   Your choice: ", over), list(offers))
            if label is None:
                self._say("   Please type one of the numbers, or the beginning of a word.")
                continue
            choice = offers[label]
            if choice != "edit":
                return None if choice == "later" else choice
            value = self._value(field, over)
            if value is not None:
                return value

    def _value(self, field: Field, over: threading.Event) -> Value | None:
        """Ask for a value; None for second thoughts."""
        kinds = {type(facet.value) for facet in (field.base, field.theirs, field.yours) if facet.present}
        asked = (
            "Your text" if kinds == {str} else "Your text, or JSON" if str in kinds else "Your value, as JSON"
        )
        while line := self._answer(f"   {asked} (nothing: go back): ", over):
            try:
                return Value(_read(line, kinds))
            except _Unreadable as error:
                self._say(f"   {error}")
        return None

    def _answer(self, question: str, over: threading.Event) -> str:
        """Ask for a line, without the space around it. Raises _PutOff at the end of the input."""
        while True:
            self._say(question, end="")
            try:
                return _line(self._answers, over).strip()
            except _Unreadable as error:
                self._say(f"   {error}")

    def _show(self, field: Field) -> None:
        from rich.padding import Padding
        from rich.table import Table
        from rich.text import Text

        sides = Table.grid(padding=(0, 2))
        sides.add_column(no_wrap=True, style="dim")
        sides.add_column(overflow="fold")
        before, yours, theirs = _sides(field)
        sides.add_row("Before", _marked(before))
        sides.add_row("Yours", _marked(yours))
        sides.add_row(Text(_others(field)), _marked(theirs))
        self._say("")
        self._say(wording.place(field.pointer), "bold", end="  ")
        self._say(wording.what_happened(field))
        self._console.print(Padding(sides, (0, 0, 0, 3), expand=False))

    def _say(self, text: str, style: str = "", end: str = "\n") -> None:
        from rich.text import Text

        self._console.print(Text(text, style), end=end)

    @property
    def _console(self) -> Console:
        if self._stated_console is None:
            from rich.console import Console

            self._stated_console = Console(stderr=True, highlight=False)
        return self._stated_console

    @property
    def _answers(self) -> TextIO | None:
        return self._stated_answers if self._stated_answers is not None else sys.stdin


ask: Final = Prompt()
"""A resolver that asks on the terminal."""
settle: Final = ask.settle
"""Ask about a whole conflict on the terminal."""


class _PutOff(Exception):
    """There is nobody to answer now."""


class _Unreadable(Exception):
    """What was typed is no answer; the message says why."""


def _offers(field: Field) -> dict[str, Choice | Literal["edit", "later"]]:
    """Give what may be chosen, by what it is called."""
    sides: dict[str, Side] = {"Yours": "yours", _others(field): "theirs", "Both": "both"}
    offers: dict[str, Choice | Literal["edit", "later"]] = {
        label: side for label, side in sides.items() if side in field.options
    }
    if field.options - {"theirs"} and field.kind not in _WITHOUT_VALUE:
        offers["Edit"] = "edit"
    return {**offers, "Later": "later"}


_WITHOUT_VALUE: Final = ("guard", "move_move", "cycle")
"""It is about a place, or about nothing that can be written."""


def _others(field: Field) -> str:
    return f"{wording.name(field.author, 'Somebody')}'s"


def _meant(answer: str, labels: Sequence[str]) -> str | None:
    """Find the one label that is meant by its number or its beginning."""
    if answer.isascii() and answer.isdigit():
        return labels[int(answer) - 1] if len(answer) < 3 and 0 < int(answer) <= len(labels) else None
    said = answer.casefold()
    exact = [label for label in labels if label.casefold() == said]
    fitting = exact or [label for label in labels if said and label.casefold().startswith(said)]
    return fitting[0] if len(fitting) == 1 else None


def _read(line: str, kinds: Collection[type]) -> Json:
    """Read a typed value: JSON. Where texts are at stake plain text will do, and where nothing else is, what
    is no text in quotes is plain text. Raises _Unreadable."""
    try:
        value: Json = msgspec.json.decode(line)
    except (msgspec.DecodeError, RecursionError) as error:
        if str in kinds:
            return line
        raise _Unreadable('That is no JSON. A text goes in quotes, as in "hello".') from error
    return line if set(kinds) == {str} and type(value) is not str else value


def _sides(field: Field) -> tuple[list[Part], list[Part], list[Part]]:
    """Give what was there and what both made of it; of what both moved, where they put it."""
    places = (field.pointer, field.pointer_yours, field.pointer_theirs)
    if field.kind == "move_move" and None not in places:
        before, yours, theirs = (wording.place(pointer or "") for pointer in places)
        return [("same", before)], [("same", yours)], [("same", theirs)]
    base = field.base
    return [("same", _written(base))], _changes(base, field.yours), _changes(base, field.theirs)


def _written(facet: Facet) -> str:
    if facet.truncated:
        return "(too long to be told)"
    return wording.written(facet.value) or "(nothing)"


def _changes(before: Facet, after: Facet) -> list[Part]:
    """Give the words that a side has, and those it had, where both are of one kind that has words."""
    comparable = type(before.value) is type(after.value) and type(after.value) in (str, list, dict)
    if comparable:
        return word_changes(_written(before), _written(after))
    return [("same", _written(after))]


def _marked(parts: Sequence[Part]) -> Text:
    """Write words with signs for what was removed and added, cut around it, and not without end."""
    from rich.text import Text

    text = Text()
    for number, (kind, words) in enumerate(parts):
        is_first, is_last = number == 0, number == len(parts) - 1
        if kind == "same" and len(parts) > 1:
            words = _around(words, is_first=is_first, is_last=is_last)
        opening, closing, style = _SIGNS[kind]
        left = VALUE_CHARACTERS_MAX - len(text)
        if left <= 0:
            return text.append(" …")
        text.append(f"{opening}{wording.printable(words, left)}{closing}", style)
    return text


_SIGNS: Final = {"same": ("", "", ""), "removed": ("[-", "-]", "red"), "added": ("{+", "+}", "green")}


def _around(words: str, *, is_first: bool, is_last: bool) -> str:
    """Cut what is the same to what stands next to something that is not."""
    if len(words) <= SAME_CHARACTERS_MAX:
        return words
    near = SAME_CHARACTERS_MAX // 2
    return ("" if is_first else words[:near]) + " … " + ("" if is_last else words[-near:])


def _can_be_left(stream: TextIO | None) -> bool:
    """Tell whether a line can be waited for without being read: at a terminal, outside Windows."""
    try:
        return sys.platform != "win32" and stream is not None and stream.isatty()
    except ValueError:  # it is closed
        return False


@contextmanager
def _interruptible(over: threading.Event) -> Iterator[None]:
    """Let Ctrl-C put the question off instead of ending the program, on the thread that Ctrl-C comes to."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, lambda *_: over.set())
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before or signal.SIG_DFL)


def _line(stream: TextIO | None, over: threading.Event) -> str:
    """Read a line. Raises _PutOff at the end of the input and when it is over, _Unreadable for no text.

    A terminal is read only when there is something to read, so that nobody is left waiting in the read for
    an answer that never comes. A file or a pipe is waited for.
    """
    try:
        while stream is not None and not over.is_set():
            if _can_be_left(stream) and not select.select([stream], [], [], WAKE_S)[0]:
                continue
            line = stream.readline(LINE_CHARACTERS_MAX)
            if len(line) == LINE_CHARACTERS_MAX:
                while not line.endswith("\n") and (line := stream.readline(LINE_CHARACTERS_MAX)):
                    pass
                raise _Unreadable("That is longer than an answer can be.")
            line.encode()
            if line:
                return line
            break
    except UnicodeError as error:
        raise _Unreadable("That is no text.") from error
    except (OSError, ValueError):  # it is closed
        pass
    raise _PutOff
