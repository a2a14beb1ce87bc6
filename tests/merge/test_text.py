"""Merging two edits of one text."""

from __future__ import annotations

from collections import Counter
from time import process_time

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from plait_merge.text import DIFFERENCES_MAX, Allowance, Unit, merge_lines, merge_text

UNITS: tuple[Unit, ...] = ("lines", "words", "characters")
units = st.sampled_from(UNITS)
texts = st.text("ab \n", max_size=24)
any_texts = st.one_of(texts, st.text(max_size=8))


def merged(base: str, theirs: str, yours: str, unit: Unit) -> str | None:
    return merge_text(base, theirs, yours, unit)


def test_edits_of_different_places_merge() -> None:
    base = "one two three"
    assert merged(base, "ONE two three", "one two THREE", "words") == "ONE two THREE"
    assert merged("a\nb\nc\n", "A\nb\nc\n", "a\nb\nC", "lines") == "A\nb\nC"
    assert merged("colour", "colours", "Colour", "characters") == "Colours"


def test_edits_of_one_place_do_not() -> None:
    """The classic: bar and buh in one place must not become barbuh."""
    for unit in UNITS:
        assert merged("foo", "foobar", "foobuh", unit) is None
        assert merged("x foo", "x bar", "x buh", unit) is None
        assert merged("x foo", "x bar", "x ", unit) is None


@given(texts, texts, texts)
def test_lines_of_a_text_merge_as_the_text_does(base: str, theirs: str, yours: str) -> None:
    parts, here, there = (text.splitlines(keepends=True) for text in (base, theirs, yours))
    lines = merge_lines(parts, here, there)
    whole = merged(base, theirs, yours, "lines")
    assert (None if lines is None else "".join(lines)) == whole


def test_a_change_both_made_counts_once() -> None:
    assert merged("a b c d e", "A b c d e", "A b c d E", "words") == "A b c d E"
    assert merged("a b c d e", "A b c d E", "A b C d E", "words") == "A b C d E"


@pytest.mark.parametrize(
    ("theirs", "yours", "result"),
    [
        ("X-b-c", "a-b-Y", "X-b-Y"),
        ("X-b-c", "a-Y-c", "X-Y-c"),  # neighbours, with a part unchanged in between
        ("Xb-c", "a-Y-c", None),  # touching: nothing unchanged in between
        ("b-c", "a-Y-c", None),
        ("a-X-c", "a-b-c!", "a-X-c!"),
        ("a-X!-c", "a-Y-c", None),
        ("a-b-c!", "a-b-c?", None),  # two insertions at one place
        ("!a-b-c", "a-b-c?", "!a-b-c?"),
    ],
)
def test_neighbours_merge_unless_they_touch(theirs: str, yours: str, result: str | None) -> None:
    assert merged("a-b-c", theirs, yours, "words") == result
    assert merged("a-b-c", yours, theirs, "words") == result


def test_what_is_equal_by_chance_does_not_part_an_edit() -> None:
    """`hot` and `photograph` share letters, which must not let the two edits meet inside a word."""
    assert merged("a hot dog", "a photograph dog", "a cold dog", "characters") is None
    assert merged("red cat", "green dog", "red, cat", "words") is None


def test_words_are_words_in_any_script() -> None:
    assert merged("naïve Straße", "naïve Allee", "schöne Straße", "words") == "schöne Allee"
    assert merged("Привет мир", "Привет всем", "Здравствуй мир", "words") == "Здравствуй всем"


def test_a_character_is_what_a_reader_takes_for_one() -> None:
    """An accent stays with its letter, a joined emoji is one, and so are its skin and a flag."""
    family, thumb, flag = "\U0001f468\u200d\U0001f469", "\U0001f44d\U0001f3fd", "\U0001f1e9\U0001f1ea"
    assert merged("e", "e\u0301", "f", "characters") is None
    assert merged(family, "\U0001f468\u200d\U0001f467", "\U0001f466\u200d\U0001f469", "characters") is None
    assert merged(thumb, "\U0001f44d", "\U0001f44e\U0001f3fd", "characters") is None
    assert merged(flag, "\U0001f1e9\U0001f1f0", "\U0001f1eb\U0001f1ea", "characters") is None
    assert merged(f"a-{flag}", f"b-{flag}", f"a-{thumb}", "characters") == f"b-{thumb}"


@given(any_texts, any_texts, units)
def test_an_untouched_side_yields_and_equal_sides_agree(base: str, side: str, unit: Unit) -> None:
    assert merged(base, base, side, unit) == side
    assert merged(base, side, base, unit) == side
    assert merged(base, side, side, unit) == side


@given(any_texts, any_texts, any_texts, units)
def test_swapping_the_sides_changes_nothing(base: str, theirs: str, yours: str, unit: Unit) -> None:
    assert merged(base, theirs, yours, unit) == merged(base, yours, theirs, unit)


@given(texts, texts, texts, units)
def test_no_character_is_invented(base: str, theirs: str, yours: str, unit: Unit) -> None:
    """None is in the result more often than in both sides together."""
    result = merged(base, theirs, yours, unit)
    if result is not None:
        assert Counter(result) <= Counter(theirs) + Counter(yours)


@st.composite
def marked_edits(draw: st.DrawFn) -> tuple[list[str], list[str], list[str]]:
    """A base of words that occur once, and two sides that remove some and put in others of their own."""
    base = [f"b{number}" for number in range(draw(st.integers(0, 12)))]

    def edited(side: str) -> list[str]:
        words = list(base)
        for number in range(draw(st.integers(1, 4))):
            at = draw(st.integers(0, len(words)))
            words[at : at + draw(st.integers(0, 2))] = [f"{side}{number}"] * draw(st.integers(0, 1))
        return words

    return base, edited("t"), edited("y")


@given(marked_edits(), st.sampled_from([("words", " "), ("lines", "\n")]))
def test_no_word_is_lost_doubled_or_brought_back(
    edits: tuple[list[str], list[str], list[str]], cut: tuple[Unit, str]
) -> None:
    unit, space = cut
    base, theirs, yours = edits
    texts = [space.join([*words, ""]) for words in edits]
    result = merged(texts[0], texts[1], texts[2], unit)
    if result is None:
        return
    words = result.split()
    assert len(set(words)) == len(words)
    assert set(words) == set(theirs) & set(yours) | set(theirs) - set(base) | set(yours) - set(base)
    for side in edits:
        assert [w for w in words if w in side] == [w for w in side if w in words]


@given(st.lists(st.sampled_from("tyb"), min_size=1, max_size=12), units)
def test_edits_with_something_unchanged_in_between_always_merge(owners: list[str], unit: Unit) -> None:
    """Each part is changed by one side or none, and parts are held apart by long ones nobody changed."""
    apart = "\n=== nobody touches this ===\n" if unit != "characters" else "0123456789"

    def text(side: str) -> str:
        changed = [("X" if owner in side else "o") + chr(0x4E00 + i) for i, owner in enumerate(owners)]
        return apart.join(changed)

    assert merged(text(""), text("t"), text("y"), unit) == text("ty")


def test_too_many_differences_are_one_edit_between_the_equal_ends() -> None:
    lines = ["head", "neck", *map(str, range(3 * DIFFERENCES_MAX)), "foot"]
    base = "\n".join(lines)
    theirs = base.replace("1", "x")
    inside, outside = base.replace("\n2000\n", "\nhalf\n"), base.replace("head", "HEAD")
    assert merged(base, theirs, inside, "lines") is None
    assert merged(base, theirs, outside, "lines") == theirs.replace("head", "HEAD")


@pytest.mark.parametrize("unit", UNITS)
def test_a_hostile_text_takes_bounded_time(unit: Unit) -> None:
    base, theirs, yours = "ab" * 100_000, "ba" * 90_000 + "c", "a" * 200_000 + "b " * 50_000
    started = process_time()
    merged(base, theirs, yours, unit)
    merged("a\n" * 50_000, "b\n" + "a\n" * 50_001 + "b\n", "a\n" * 25_000 + "c\n" + "a\n" * 25_000, unit)
    assert process_time() - started < 10


@given(texts, texts, units)
def test_a_merge_with_an_edit_at_the_very_end_keeps_both(base: str, theirs: str, unit: Unit) -> None:
    assume(theirs != base)
    apart = "0123456789 0123456789\n0123456789 0123456789\n"
    assert merged(base + apart, theirs + apart, base + apart + "end", unit) == theirs + apart + "end"


@pytest.mark.parametrize(
    ("first", "second", "other"),
    [
        ("e", "\u0301", "a"),
        ("\U0001f468\u200d", "\U0001f469", "\U0001f466\u200d"),
        ("\U0001f44d", "\U0001f3fb", "\U0001f44e"),
        ("\U0001f44d", "\U0001f3ff", "\U0001f44e"),
        ("\U0001f1e6", "\U0001f1ff", "\U0001f1e9"),
        ("\U0001f1ff", "\U0001f1e6", "\U0001f1e9"),
    ],
)
def test_what_follows_a_character_touches_its_first_part(first: str, second: str, other: str) -> None:
    """As it does not where there are two: then the second one, unchanged, is in between."""
    assert merged(first + second, other + second, first + second + "!", "characters") is None
    two = first + "é" + second
    assert merged(two, other + "é" + second, two + "!", "characters") == other + "é" + second + "!"


def test_letters_and_flags_are_characters_of_their_own() -> None:
    flags = "\U0001f1e9\U0001f1ea", "\U0001f1eb\U0001f1f7", "\U0001f1ea\U0001f1f8"
    for first, second, other in (flags, ("é", "é", "á"), ("\U0001f44d", "\U0001f44e", "\U0001f44f")):
        assert merged(first + second, other + second, first + second + "!", "characters") == (
            other + second + "!"
        )


def test_equal_ends_are_equal_and_do_not_overlap() -> None:
    assert merged("aa-", "aaa-", "aa-!", "characters") == "aaa-!"
    assert merged("b123qd", "b123bd", "b1!23qd", "characters") == "b1!23bd"
    assert merged("b123bd", "b123qd", "b1!23bd", "characters") == "b1!23qd"


@pytest.mark.parametrize(
    ("unit", "base", "theirs", "yours", "result"),
    [
        ("words", "aaa b ccc", "xxx b yyy", "aaa B ccc", None),
        ("words", "aa b cc", "xx b yy", "aa B cc", "xx B yy"),
        ("words", "k 012345 aaa b ccc", "K 012345 xxx b yyy", "k 543210 aaa b ccc", "K 543210 xxx b yyy"),
        ("lines", "aaa\n\nb\n\nccc", "xxx\n\nb\n\nyyy", "aaa\n\nB\n\nccc", "xxx\n\nB\n\nyyy"),
    ],
)
def test_words_no_longer_than_the_changes_around_them_are_part_of_these(
    unit: Unit, base: str, theirs: str, yours: str, result: str | None
) -> None:
    """Lines are not: they are equal by no chance."""
    assert merged(base, theirs, yours, unit) == result


def test_what_is_spent_on_one_text_is_not_left_for_another() -> None:
    """Then all that differs between the equal ends is one edit."""
    base, theirs, yours = "0a1b2c3", "0A1b2C3", "0a1B2c3"
    allowance = Allowance(30)
    assert merge_lines([*base], [*theirs], [*yours], allowance) == [*"0A1B2C3"]
    assert merge_lines([*base], [*theirs], [*yours], allowance) is None
    assert merge_text(base, theirs, yours, "characters", allowance) is None
    assert merge_text(base, theirs, yours, "characters") == "0A1B2C3"
