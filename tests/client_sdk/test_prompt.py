"""The prompt: what it shows, what it takes for an answer, and what it never does."""

import asyncio
import os
import pty
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from io import StringIO
from time import perf_counter
from typing import Any, TextIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from plait_client import Choice, Facet, Field, MergeConflict, Prompt, Saved, Value, add, by_pointer
from plait_client.prompt.wording import ago, place, printable
from plait_client.prompt.words import WORDS_MAX, word_changes
from plait_client.resolvers import decide
from plait_merge import ABSENT

NOW = 1_790_000_000.0  # 2026-09-21T14:13:20Z
SIDES = ("theirs", "yours", "base")
HOSTILE = "\x1b[2J\x1b]0;owned\x07\r\u202eevil\u200f\n[red]:smile:\ud800"


def field(pointer: str = "/title", *options: str, kind: str = "edit_edit", **sides: Any) -> Field:
    """Make a field whose sides are texts unless told otherwise."""
    theirs = sides.get("theirs", "a fast boat")
    return Field(
        f"id-{pointer}",
        kind,
        pointer,
        Facet(sides.get("base", "a boat")),
        theirs
        if isinstance(theirs, Facet)
        else Facet(theirs, 42, sides.get("author", "Dana"), "2026-09-21T14:12:20.000Z", "trim costs"),
        Facet(sides.get("yours", "a big boat")),
        options or SIDES,
    )


async def nothing_saved(conflict: MergeConflict, message: str | None) -> Saved:
    raise AssertionError("a prompt saves nothing")


def conflict_of(*fields: Field, clean: int = 0, document: str = "orders/7") -> MergeConflict:
    return MergeConflict("They overlap.", document, fields, nothing_saved, clean=clean)


class Terminal:
    """What is said, and who answers."""

    def __init__(self, *answers: str, width: int = 100) -> None:
        self.said = StringIO()
        console = Console(file=self.said, width=width, highlight=False)
        self.prompt = Prompt(console, StringIO("".join(f"{answer}\n" for answer in answers)), lambda: NOW)

    @property
    def text(self) -> str:
        return self.said.getvalue()


async def chosen(one: Field, *answers: str) -> tuple[Choice | None, str]:
    terminal = Terminal(*answers)
    return await terminal.prompt(one), terminal.text


async def test_a_conflict_reads_like_a_story_with_names() -> None:
    terminal = Terminal("1", "d")
    conflict = conflict_of(field("/title"), field("/items/3/n", base=1, yours=2, theirs=3), clean=5)
    assert await terminal.prompt.settle(conflict)
    assert conflict.choices() == {"id-/title": "yours", "id-/items/3/n": "theirs"}
    assert [line.rstrip() for line in terminal.text.splitlines()] == [
        "",
        "2 fields in orders/7 need your choice",
        "Dana saved revision 42 a minute ago ('trim costs'). Your other 5 changes are already combined.",
        "",
        "title  You and Dana changed it differently.",
        '   Before  "a boat"',
        '   Yours   "a {+big +}boat"',
        '   Dana\'s  "a {+fast +}boat"',
        "   1 Yours   2 Dana's   3 Edit   4 Later",
        "   Your choice: 1 of 2 decided",
        "",
        "items > 3 > n  You and Dana changed it differently.",
        "   Before  1",
        "   Yours   2",
        "   Dana's  3",
        "   1 Yours   2 Dana's   3 Edit   4 Later",
        "   Your choice: 2 of 2 decided",
    ]


@pytest.mark.parametrize(
    ("answer", "choice"),
    [
        ("1", "yours"),
        ("y", "yours"),
        ("YOURS", "yours"),
        ("2", "theirs"),
        ("Dana", "theirs"),
        ("3", "both"),
        ("b", "both"),
        ("5", None),
        ("later", None),
        ("  1  ", "yours"),
    ],
)
async def test_a_number_or_the_beginning_of_a_word_is_an_answer(answer: str, choice: Choice | None) -> None:
    found, _ = await chosen(field("/n", *SIDES, "both"), answer)
    assert found == choice


@pytest.mark.parametrize("answer", ["", "0", "6", "-1", "٢", "99999999999999999999", "x", "ours"])
async def test_anything_else_is_asked_again_and_nothing_is_chosen(answer: str) -> None:
    found, said = await chosen(field("/n", *SIDES, "both"), answer)
    assert found is None
    assert said.count("Your choice:") == 2


async def test_of_what_both_moved_the_places_are_shown() -> None:
    one = field("/title", kind="move_move")
    one.pointer_yours, one.pointer_theirs = "/old/title", "/new/title"
    _, said = await chosen(one, "1")
    rows = [line.split(maxsplit=1)[1].rstrip() for line in said.splitlines() if line.startswith("   ")]
    assert rows[:3] == ["title", "old > title", "new > title"]


async def test_only_what_a_field_offers_is_offered() -> None:
    _, said = await chosen(field("/n", "theirs", kind="guard"), "2")
    assert "1 Dana's   2 Later\n" in said
    _, said = await chosen(field("/n", *SIDES, kind="move_move"), "3")
    assert "1 Yours   2 Dana's   3 Later\n" in said


@pytest.mark.parametrize(
    ("sides", "typed", "value"),
    [
        ({}, "two boats", "two boats"),
        ({}, "12", "12"),
        ({}, '"in quotes"', "in quotes"),
        ({}, "null", "null"),
        ({"base": 1, "yours": 2, "theirs": 3}, "12", 12),
        (
            {"base": 1, "yours": 2, "theirs": 3},
            "123456789012345678901234567890",
            123456789012345678901234567890,
        ),
        ({"base": 1, "yours": 2, "theirs": 3}, '"twelve"', "twelve"),
        ({"base": None, "yours": "big", "theirs": 3}, "true", True),
        ({"base": None, "yours": "big", "theirs": 3}, "plain", "plain"),
        ({"base": [], "yours": [1], "theirs": [2]}, '{"a": [1, 2]}', {"a": [1, 2]}),
    ],
)
async def test_a_value_is_typed_as_json_and_a_text_as_text(
    sides: dict[str, Any], typed: str, value: Any
) -> None:
    found, _ = await chosen(field("/n", **sides), "edit", typed)
    assert found == Value(value)


async def test_what_is_no_json_is_typed_again_and_nothing_goes_back_to_the_choices() -> None:
    numbers = field("/n", base=1, yours=2, theirs=3)
    found, said = await chosen(numbers, "edit", "12O", "[" * 5_000, "1e999", "12")
    assert found == Value(12)
    assert said.count("That is no JSON.") == 3
    assert (await chosen(numbers, "edit", "", "yours"))[0] == "yours"


async def test_the_end_of_the_input_leaves_the_rest_and_keeps_what_was_decided() -> None:
    terminal = Terminal("yours")
    conflict = conflict_of(field("/a"), field("/b"), field("/c"))
    assert not await terminal.prompt.settle(conflict)
    assert conflict.choices() == {"id-/a": "yours"}
    assert "1 of 3 decided" in terminal.text
    assert "Nothing is lost." in terminal.text


async def test_as_a_resolver_it_tells_of_a_conflict_once_and_after_its_end_asks_no_more() -> None:
    terminal = Terminal("yours")
    conflict = conflict_of(field("/n", base=1, yours=2, theirs=3), field("/a"), field("/b"), field("/c"))
    assert not await decide(conflict, by_pointer({"/n": add, "**": terminal.prompt}))
    assert conflict.choices() == {"id-/n": {"value": 4}, "id-/a": "yours"}
    assert terminal.text.count("need your choice") == 1
    assert terminal.text.count("Your choice:") == 2
    assert "2 of 4 decided" in terminal.text


async def test_two_conflicts_at_once_wait_for_each_other() -> None:
    terminal = Terminal("yours", "dana", "yours", "dana")
    conflicts = [conflict_of(field("/a"), field("/b"), document=f"orders/{n}") for n in range(2)]
    assert await asyncio.gather(*[decide(each, terminal.prompt) for each in conflicts]) == [True, True]
    lines = [line for line in terminal.text.splitlines() if "need" in line or "Your choice" in line]
    assert ["need" in line for line in lines] == [True, False] * 4
    assert {each.choices()["id-/a"] for each in conflicts} <= {"yours", "theirs"}


def test_fields_of_anything_can_be_decided_without_a_loop() -> None:
    terminal = Terminal("2")
    one = field()
    assert terminal.prompt.decide([one], "data.json")
    assert one.choice == "theirs"
    assert "1 field in data.json needs your choice" in terminal.text


async def test_who_saved_what_is_told_once_the_newest_first_and_not_without_end() -> None:
    sides = [Facet(n, n, f"p{n}", "2026-09-21T14:12:20Z") for n in (3, 9, 5, 9, 7)]
    terminal = Terminal(width=200)
    await terminal.prompt.settle(conflict_of(*[field(f"/{n}", theirs=side) for n, side in enumerate(sides)]))
    assert "p9 saved revision 9 a minute ago. p7 saved" in terminal.text
    assert "p5 saved revision 5 a minute ago. And 1 more." in terminal.text
    assert "saved" not in (await chosen(field(theirs=Facet("x", author="Dana")), "later"))[1]


async def test_who_is_not_known_is_somebody() -> None:
    _, said = await chosen(field(author=None), "4")
    assert "You and somebody changed it differently." in said
    assert "2 Somebody's" in said


@pytest.mark.parametrize(
    ("kind", "yours", "theirs", "said"),
    [
        ("remove_edit", ABSENT, "new", "You removed it, Dana changed it."),
        ("move_remove", ABSENT, "new", "You removed it, Dana moved it."),
        ("add_add", "x", "y", "You and Dana added it differently."),
        ("of another time", "x", "y", "Your change and Dana's overlap."),
    ],
)
async def test_a_kind_is_told_in_words(kind: str, yours: Any, theirs: Any, said: str) -> None:
    assert said in (await chosen(field(kind=kind, yours=yours, theirs=theirs), "later"))[1]


async def test_never_the_words_that_mean_something_else_to_everybody() -> None:
    for kind in ("guard", "cycle", "move_move", "move_remove", "remove_edit", "replace_edit", "x"):
        terminal = Terminal("?", "edit", "", "later")
        await terminal.prompt.settle(conflict_of(field(kind=kind, author=None), clean=1))
        words = set(terminal.text.casefold().replace("'", " ").split())
        assert not words & {"ours", "theirs", "local", "remote", "base", "mine"}


async def test_hostile_content_reaches_no_terminal_as_it_is() -> None:
    pointer = "/" + HOSTILE
    for sides in ({"yours": HOSTILE}, {"base": {HOSTILE: HOSTILE}, "yours": {HOSTILE: [HOSTILE]}}):
        theirs = Facet(HOSTILE, 42, HOSTILE, HOSTILE, HOSTILE)
        terminal = Terminal("later")
        hostile = conflict_of(field(pointer, kind=HOSTILE, theirs=theirs, **sides), document=HOSTILE)
        await terminal.prompt.settle(hostile)
        assert terminal.text.replace("\n", "").isprintable()
        assert "\\u202e" in terminal.text


@pytest.mark.parametrize(
    "value",
    ["x" * 1_000_000, "a b " * 250_000, ["x"] * 100_000, {"k" * 500_000: "v" * 500_000}, 10**5_000],
    ids=["one word", "many words", "elements", "a name", "digits"],
)
async def test_huge_values_are_cut(value: Any) -> None:
    huge = field("/" + "p" * 100_000, base=value, yours=value, theirs=Facet("y" * 1_000_000, 1, "n" * 9_999))
    _, said = await chosen(huge, "later")
    assert len(said) < 6_000


async def test_a_value_without_a_bottom_is_said_to_be_one() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    assert "cannot be shown" in (await chosen(field(yours=deep), "later"))[1]


async def test_a_small_change_in_a_long_text_is_seen() -> None:
    words = "all work and no play " * 1_000
    _, said = await chosen(field(base=f"{words}dull {words}", yours=f"{words}bright {words}"), "later")
    assert "[-dull -]{+bright +}" in said


async def test_an_answer_that_is_too_long_or_no_text_is_asked_for_again() -> None:
    assert (await chosen(field(), "x" * 200_000, "yours"))[0] == "yours"
    assert (await chosen(field(), "\ud800", "yours"))[0] == "yours"


@given(st.lists(st.sampled_from(["a", "b ", ".", "\n", "\\n", "é"])), st.lists(st.sampled_from("ab .")))
def test_the_parts_of_a_change_are_both_texts(old: list[str], new: list[str]) -> None:
    before, after = "".join(old), "".join(new)
    parts = word_changes(before, after)
    assert "".join(text for kind, text in parts if kind != "added") == before
    assert "".join(text for kind, text in parts if kind != "removed") == after


def test_comparing_words_takes_no_time_whatever_they_are() -> None:
    """Repeated words are what makes comparing slow."""
    count = WORDS_MAX // 2 - 1
    before, after = "x " + "a b " * count + "y", "z " + "b a " * count + "w"
    started = perf_counter()
    word_changes(before, after)
    assert perf_counter() - started < 5


@pytest.mark.parametrize(
    ("at", "said"),
    [
        ("2026-09-21T14:13:00.000Z", " just now"),
        ("2027-09-21T14:13:00.000Z", " just now"),
        ("2026-09-21T14:12:20Z", " a minute ago"),
        ("2026-09-21T16:08:20+02:00", " 5 minutes ago"),
        ("2026-09-21T13:10:00Z", " an hour ago"),
        ("2026-09-20T15:00:00Z", " 23 hours ago"),
        ("2026-09-19T14:00:00Z", " 2 days ago"),
        ("2025-09-19T14:00:00", " on 2025-09-19"),
        ("yesterday", ""),
        (None, ""),
        ("0001-01-01T00:00:00+23:59", " on 0001-01-01"),
    ],
)
def test_a_moment_is_told_as_people_do(at: str | None, said: str) -> None:
    assert ago(at, NOW) == said


def test_a_pointer_is_told_as_a_way() -> None:
    assert place("/a~1b/0/~0") == "a/b > 0 > ~"
    assert place("") == "the whole document"
    assert place("/") == '""'
    assert place("no pointer") == "no pointer"


@given(st.text(), st.integers(1, 50))
def test_printable_is_printable_and_bounded(text: str, most: int) -> None:
    shown = printable(text, most)
    assert shown.isprintable()
    assert len(shown) <= 12 * most


class Said(StringIO):
    """What is said; tells when some of it was."""

    def __init__(self, awaited: str) -> None:
        super().__init__()
        self.await_(awaited)

    def await_(self, awaited: str) -> None:
        self.heard = threading.Event()
        self._awaited = awaited

    def write(self, text: str) -> int:
        written = super().write(text)
        if self._awaited in self.getvalue():
            self.heard.set()
        return written


@pytest.fixture
def keyboard() -> Iterator[tuple[int, TextIO]]:
    """A real terminal: what is written to the number is typed."""
    master, slave = pty.openpty()
    with os.fdopen(slave, encoding="utf-8") as answers:
        yield master, answers
    os.close(master)


async def test_the_loop_goes_on_while_a_person_thinks(keyboard: tuple[int, TextIO]) -> None:
    typing, answers = keyboard
    prompt = Prompt(Console(file=StringIO()), answers)
    asked = asyncio.ensure_future(prompt(field()))
    for _ in range(100):
        await asyncio.sleep(0)
    assert not asked.done()
    os.write(typing, b"yours\n")
    assert await asked == "yours"


async def test_ctrl_c_means_later_and_the_program_goes_on(keyboard: tuple[int, TextIO]) -> None:
    typing, answers = keyboard
    said = Said("Your choice")
    conflict = conflict_of(field("/a"), field("/b"))
    before = signal.getsignal(signal.SIGINT)
    asked = asyncio.ensure_future(decide(conflict, Prompt(Console(file=said), answers)))
    assert await asyncio.to_thread(said.heard.wait, 20)
    signal.raise_signal(signal.SIGINT)
    assert await asked is False
    assert said.getvalue().count("Your choice") == 1
    assert signal.getsignal(signal.SIGINT) is before
    os.write(typing, b"for somebody else\n")
    assert await asyncio.to_thread(answers.readline) == "for somebody else\n"


async def test_a_question_that_nobody_waits_for_leaves_the_terminal_alone(
    keyboard: tuple[int, TextIO],
) -> None:
    typing, answers = keyboard
    said = Said("Your choice")
    asked = asyncio.ensure_future(Prompt(Console(file=said), answers)(field()))
    assert await asyncio.to_thread(said.heard.wait, 20)
    said.await_("Later, then")
    asked.cancel()
    await asyncio.gather(asked, return_exceptions=True)
    assert await asyncio.to_thread(said.heard.wait, 20)
    os.write(typing, b"for somebody else\n")
    assert await asyncio.to_thread(answers.readline) == "for somebody else\n"


def test_ctrl_c_in_a_program_without_a_loop_means_later_too(keyboard: tuple[int, TextIO]) -> None:
    _, answers = keyboard
    before = signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        assert not Prompt(Console(file=StringIO()), answers).decide([field()], "data.json")
    finally:
        signal.signal(signal.SIGALRM, before)


async def test_a_closed_input_is_nobody() -> None:
    answers = StringIO()
    answers.close()
    assert await Prompt(Console(file=StringIO()), answers)(field()) is None


def test_to_import_the_client_is_not_to_import_what_draws() -> None:
    code = "import sys, plait_client; sys.exit(any(name.split('.')[0] == 'rich' for name in sys.modules))"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
