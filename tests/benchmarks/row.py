"""A row of the result: a figure, what it is meant to be, and whether it is."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """One figure. `aim` is the most it may be; without one it is there for comparison."""

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


def table(measured: Mapping[str, Sequence[Row]]) -> str:
    """Write rows out for people, by benchmark."""
    header = ("benchmark", "figure", "measured", "aim", "verdict")
    cells = [header, *_cells(measured)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [_line(row, widths) for row in cells]
    return "\n".join([lines[0], _line(["-" * width for width in widths], widths), *lines[1:]])


def _cells(measured: Mapping[str, Sequence[Row]]) -> Iterator[tuple[str, ...]]:
    for name, rows in measured.items():
        for number, row in enumerate(rows):
            aim = "" if row.aim is None else f"<= {_short(row.aim)}"
            yield "" if number else name, row.figure, f"{_short(row.value)} {row.unit}", aim, row.verdict


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    name, figure, measured, *rest = (
        cell.rjust(width) if number == 2 else cell.ljust(width)
        for number, (cell, width) in enumerate(zip(cells, widths, strict=True))
    )
    return "  ".join((name, figure, measured, *rest)).rstrip()


def _short(value: float) -> str:
    if value == int(value) and abs(value) < 1_000_000:
        return f"{int(value):,}"
    return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:.3g}"
