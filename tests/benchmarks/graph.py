"""A graph of figures over time, as SVG, with nothing but strings."""

from collections.abc import Mapping, Sequence

WIDTH, HEIGHT, LEFT, GAP = 900, 120, 110, 34


def graph(along: str, samples: Sequence[Mapping[str, float]], figures: Mapping[str, str]) -> str:
    """Draw figures one below the other, each from zero; `figures` names what to draw, and how to call it."""
    end = max((sample[along] for sample in samples), default=1) or 1
    panels = [
        _panel(number, title, [(sample[along] / end, sample[figure]) for sample in samples])
        for number, (figure, title) in enumerate(figures.items())
    ]
    height = len(panels) * (HEIGHT + GAP) + GAP
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH + LEFT + GAP}" height="{height}" '
        f'font-family="sans-serif" font-size="12">\n<rect width="100%" height="100%" fill="white"/>\n'
        + "".join(panels)
        + f'<text x="{LEFT + WIDTH}" y="{height - 10}" text-anchor="end">{end:.0f} s</text>\n</svg>\n'
    )


def _panel(number: int, title: str, points: Sequence[tuple[float, float]]) -> str:
    top, largest = GAP / 2 + number * (HEIGHT + GAP), max((value for _, value in points), default=1) or 1
    line = " ".join(
        f"{LEFT + at * WIDTH:.1f},{top + HEIGHT - value / largest * HEIGHT:.1f}" for at, value in points
    )
    return (
        f'<rect x="{LEFT}" y="{top}" width="{WIDTH}" height="{HEIGHT}" fill="none" stroke="#ccc"/>\n'
        f'<text x="{LEFT - 8}" y="{top + 12}" text-anchor="end">{largest:,.4g}</text>\n'
        f'<text x="{LEFT - 8}" y="{top + HEIGHT}" text-anchor="end">0</text>\n'
        f'<text x="{LEFT - 8}" y="{top + HEIGHT / 2}" text-anchor="end">{title}</text>\n'
        f'<polyline points="{line}" fill="none" stroke="#26a" stroke-width="1.5"/>\n'
    )
