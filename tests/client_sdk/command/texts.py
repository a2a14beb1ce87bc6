"""JSON texts for hypothesis: one value, written in any way JSON allows."""

import json
from typing import Any

from hypothesis import strategies as st

from plait_client.command.written import Written, parse

GAPS = ["", "", "", " ", "\n", "\n  ", "\r\n\t", "  "]
SPELLINGS = {"1.0": ["1.0", "1.00", "1e0", "10E-1"], "-0.0": ["-0.0", "-0e5"], '"é"': ['"é"', '"\\u00e9"']}


@st.composite
def texts(draw: st.DrawFn, value: Any) -> str:
    """A text of this value; evenly indented, or with white space thrown in anywhere."""
    if draw(st.booleans()):
        indent = draw(st.sampled_from([None, 0, 1, 2, 4, "\t"]))
        text = json.dumps(value, indent=indent, ensure_ascii=draw(st.booleans()))
        return text + draw(st.sampled_from(["", "\n"]))
    return _scattered(draw, value)


def _scattered(draw: st.DrawFn, value: Any) -> str:
    def gap() -> str:
        return draw(st.sampled_from(GAPS))

    if isinstance(value, dict):
        parts = [
            f"{gap()}{_scalar(draw, name)}{gap()}:{_scattered(draw, part)}" for name, part in value.items()
        ]
        return gap() + "{" + (",".join(parts) or gap()) + "}" + gap()
    if isinstance(value, list):
        return gap() + "[" + (",".join(_scattered(draw, part) for part in value) or gap()) + "]" + gap()
    return gap() + _scalar(draw, value) + gap()


def _scalar(draw: st.DrawFn, value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return draw(st.sampled_from(SPELLINGS.get(text, [text])))


def written(text: str) -> Written:
    return parse("file.json", text.encode())
