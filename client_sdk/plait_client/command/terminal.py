"""Words for people: on stderr, in one voice, and never a control character out of somebody's file."""

from __future__ import annotations

import json
import os
import shlex
import sys
import traceback
from argparse import Namespace
from collections.abc import Callable
from typing import Final, TextIO

from plait_client.command.style import escape
from plait_client.command.written import BadFile
from plait_merge import ABSENT, Absent, Json, LimitExceeded

DONE: Final = 0
OPEN: Final = 1
"""Conflicts are open, files differ, a patch does not fit: the answer is no, and nothing is wrong."""
WRONG: Final = 2
"""Misuse, or a file that cannot be read."""
INTERRUPTED: Final = 130
"""As shells have it for Ctrl-C."""


class Refusal(Exception):
    """The command cannot do what it was asked; the message is one sentence for a person."""


def refusals(command: Callable[[Namespace], int], asked: Namespace) -> int:
    """Run a command and give its exit code; tell why it refused in one line.

    A mistake of ours is told with its traceback; it must not end as 1, which means something.
    """
    try:
        code = command(asked)
        sys.stdout.flush()
    except (Refusal, BadFile) as refusal:
        talk(f"plait: {refusal}")
        return WRONG
    except LimitExceeded as exceeded:
        talk(f"plait: more than can be merged: {exceeded}")
        return WRONG
    except OSError as error:
        if isinstance(error, BrokenPipeError):  # whoever read the output has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return DONE
        talk(f"plait: {in_words(error)}")
        return WRONG
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception:
        traceback.print_exc()
        return WRONG
    return code


def in_words(error: OSError) -> str:
    """Say what the system refused, and of which file where it is about one."""
    reason = error.strerror or str(error)
    return reason if error.filename is None else f"{error.filename}: {reason}"


def talk(*lines: str) -> None:
    """Say something to the person; data goes to stdout."""
    for line in lines:
        print(printable(line), file=sys.stderr)


def put(value: Json) -> None:
    """Write a value as the answer of a command."""
    put_json(json.dumps(value, ensure_ascii=False, indent=2))


def put_json(text: str) -> None:
    """Write JSON as the answer of a command; on a terminal with escapes for what would act there."""
    if sys.stdout.isatty():
        text = "\n".join(map(printable, text.split("\n")))
    print(text)


def shown(value: Json | Absent) -> str:
    """Write a value on one line for a person."""
    return "nothing" if value is ABSENT else printable(json.dumps(value, ensure_ascii=False))


def printable(text: str) -> str:
    """Write out what would move a cursor, hide or turn text around, as JSON does it."""
    if text.isprintable():
        return text
    return "".join([c if c.isprintable() else escape(c) for c in text])


def as_argument(file: str) -> str:
    """Write a file's name so that it can be typed into a shell, behind a command."""
    return shlex.quote(f"./{file}" if file.startswith("-") else file)


class Ink:
    """Colours, or none. What they say is said by signs and words too."""

    def __init__(self, *, on: bool) -> None:
        self._on = on

    @staticmethod
    def asked(when: str, stream: TextIO) -> Ink:
        """Give colours "always", "never", or ("auto") where the stream is a terminal that wants them."""
        wanted = stream.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"
        return Ink(on=wanted if when == "auto" else when == "always")

    def red(self, text: str) -> str:
        return self._painted("31", text)

    def green(self, text: str) -> str:
        return self._painted("32", text)

    def yellow(self, text: str) -> str:
        return self._painted("33", text)

    def cyan(self, text: str) -> str:
        return self._painted("36", text)

    def bold(self, text: str) -> str:
        return self._painted("1", text)

    def _painted(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self._on and text else text
