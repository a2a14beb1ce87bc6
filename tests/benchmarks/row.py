"""A row of the result: a figure, what it is meant to be, and whether it is."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """One figure. `aim` is the most it may be; without one it is there for comparison."""

    benchmark: str
    figure: str
    value: float
    unit: str
    aim: float | None = None

    @property
    def verdict(self) -> str:
        if self.aim is None:
            return ""
        return "met" if self.value <= self.aim else "MISSED"

    def as_json(self) -> dict[str, object]:
        return {**asdict(self), "verdict": self.verdict}


def table(rows: Iterable[Row]) -> str:
    """Write rows out for people, the figures of each benchmark under its name."""
    cells = [
        (row.benchmark, row.figure, f"{_short(row.value)} {row.unit}", _aim(row), row.verdict) for row in rows
    ]
    header = ("benchmark", "figure", "measured", "aim", "verdict")
    widths = [max(map(len, column)) for column in zip(header, *cells, strict=True)]
    lines = [_line(header, widths), _line(["-" * width for width in widths], widths)]
    previous = ""
    for name, *rest in cells:
        lines.append(_line(("" if name == previous else name, *rest), widths))
        previous = name
    return "\n".join(lines)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    name, figure, measured, *rest = (
        cell.rjust(width) if number == 2 else cell.ljust(width)
        for number, (cell, width) in enumerate(zip(cells, widths, strict=True))
    )
    return "  ".join((name, figure, measured, *rest)).rstrip()


def _aim(row: Row) -> str:
    return "" if row.aim is None else f"<= {_short(row.aim)}"


def _short(value: float) -> str:
    if value == int(value) and abs(value) < 1_000_000:
        return f"{int(value):,}"
    return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:.3g}"
