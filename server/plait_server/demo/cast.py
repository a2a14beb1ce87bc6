"""The documents of the demo, and what people do with them: from what somebody sees to a patch.

A habit is a function of a random source and the value seen; it gives what to say about the edit and the
patch, or None where there is nothing for it to do. All of it is pure.
"""

from collections.abc import Callable, Mapping
from random import Random
from typing import Any, Final, NamedTuple

from plait_server.demo.client import Patch

NAMES: Final = ("ada", "bob", "cyn", "dev", "eva", "finn", "gus", "hana", "ines", "jon", "kim", "lea")

DOCUMENTS: Final[Mapping[str, Any]] = {
    "orders/2027-114": {
        "customer": {"name": "Harbour School", "city": "Ostend"},
        "status": "open",
        "items": [
            {"sku": "usb-c", "name": "USB-C cable", "n": 20, "price": 7.5},
            {"sku": "hdmi", "name": "HDMI cable", "n": 6, "price": 11},
            {"sku": "dock", "name": "Docking station", "n": 4, "price": 129},
            {"sku": "hub", "name": "USB hub", "n": 10, "price": 24.9},
        ],
        "notes": ["Deliver to the back door."],
    },
    "plans/launch": {
        "goal": "Open the new reading room in May",
        "milestones": [
            {
                "name": "Rooms",
                "done": False,
                "tasks": ["Measure the windows", "Order the shelves", "Paint the hall"],
            },
            {"name": "Books", "done": False, "tasks": ["List what is missing", "Ask the other libraries"]},
            {"name": "Opening", "done": False, "tasks": ["Write the invitation"]},
        ],
    },
    "notebooks/tides": {
        "title": "Tides at the harbour",
        "cells": [
            {"name": "intro", "kind": "text", "source": "Heights of 2026, by the hour.", "outputs": []},
            {
                "name": "load",
                "kind": "code",
                "source": "levels = read('levels.csv')",
                "outputs": [{"kind": "lines", "lines": ["8760 rows"]}],
            },
            {
                "name": "spring",
                "kind": "code",
                "source": "spring = levels.top(0.05)",
                "outputs": [{"kind": "lines", "lines": ["438 rows", "highest: 5.31 m"]}],
            },
            {"name": "plot", "kind": "code", "source": "draw(levels, mark=spring)", "outputs": []},
        ],
        "metadata": {"language": "python", "tags": ["harbour"]},
    },
}


class Intent(NamedTuple):
    """What somebody wants: in words, and as a patch on what they see."""

    says: str
    patch: Patch


Habit = Callable[[Random, Any], Intent | None]


def intent(random: Random, document: str, value: Any) -> Intent:
    """Choose something that can be done with what is seen."""
    elements, habits = HABITS[document.partition("/")[0]]
    possible = [habit for needed, habit in habits if len(value[elements]) >= needed]
    while True:
        wanted = random.choice(possible)(random, value)
        if wanted is not None:
            return wanted


def _count(random: Random, order: Any) -> Intent | None:
    at = _near_the_top(random, order["items"])
    n = random.randint(1, 40)
    return Intent(f"sets {order['items'][at]['sku']} to {n}", [_replace(f"/items/{at}/n", n)])


def _count_if_unchanged(random: Random, order: Any) -> Intent | None:
    at = _near_the_top(random, order["items"])
    seen, n = order["items"][at]["n"], random.randint(1, 40)
    says = f"sets {order['items'][at]['sku']} to {n}, if it is still {seen}"
    test = {"op": "test", "path": f"/items/{at}/n", "value": seen}
    return Intent(says, [test, _replace(f"/items/{at}/n", n)])


def _order_more(random: Random, order: Any) -> Intent | None:
    sku, name, price = random.choice(
        [
            ("vga", "VGA adapter", 5),
            ("mouse", "Mouse", 12.5),
            ("lamp", "Desk lamp", 31),
            ("pad", "Writing pad", 3.2),
        ]
    )
    at = random.randint(0, len(order["items"]))
    item = {"sku": sku, "name": name, "n": random.randint(1, 9), "price": price}
    return Intent(f"orders {item['n']} {sku}", [_add(f"/items/{at}", item)])


def _order_less(random: Random, order: Any) -> Intent | None:
    at = _near_the_top(random, order["items"])
    return Intent(f"strikes {order['items'][at]['sku']} out", [_remove(f"/items/{at}")])


def _first_things_first(random: Random, order: Any) -> Intent | None:
    at = random.randint(1, len(order["items"]) - 1)
    return Intent(f"moves {order['items'][at]['sku']} to the top", [_move(f"/items/{at}", "/items/0")])


def _remark(random: Random, order: Any) -> Intent | None:
    note = random.choice(["Call before noon.", "Invoice to the town.", "Two boxes.", "No plastic."])
    return Intent(f"notes: {note}", [_add("/notes/-", note)])


def _status(random: Random, order: Any) -> Intent | None:
    status = random.choice([word for word in ("open", "packed", "sent") if word != order["status"]])
    return Intent(f"calls the order {status}", [_replace("/status", status)])


def _tick(random: Random, plan: Any) -> Intent | None:
    at = _near_the_top(random, plan["milestones"])
    milestone = plan["milestones"][at]
    says = f"{'reopens' if milestone['done'] else 'ticks'} {milestone['name']}"
    return Intent(says, [_replace(f"/milestones/{at}/done", not milestone["done"])])


def _new_task(random: Random, plan: Any) -> Intent | None:
    at = _near_the_top(random, plan["milestones"])
    task = random.choice(
        ["Find a plumber", "Ask for a permit", "Borrow chairs", "Print signs", "Test lights"]
    )
    says = f"adds a task to {plan['milestones'][at]['name']}: {task}"
    return Intent(says, [_add(f"/milestones/{at}/tasks/-", task)])


def _hand_over(random: Random, plan: Any) -> Intent | None:
    here, there = random.sample(range(len(plan["milestones"])), 2)
    tasks = plan["milestones"][here]["tasks"]
    if not tasks:
        return None
    at = random.randrange(len(tasks))
    says = f"moves '{tasks[at]}' to {plan['milestones'][there]['name']}"
    return Intent(says, [_move(f"/milestones/{here}/tasks/{at}", f"/milestones/{there}/tasks/0")])


def _reword(random: Random, plan: Any) -> Intent | None:
    goal = f"Open the new reading room in {random.choice(['April', 'May', 'June', 'July'])}"
    return None if goal == plan["goal"] else Intent(f"rewords the goal: {goal}", [_replace("/goal", goal)])


def _drop_milestone(random: Random, plan: Any) -> Intent | None:
    at = random.randrange(len(plan["milestones"]))
    return Intent(f"drops {plan['milestones'][at]['name']}", [_remove(f"/milestones/{at}")])


def _new_milestone(random: Random, plan: Any) -> Intent | None:
    if len(plan["milestones"]) > 4:
        return None
    name = random.choice(["Money", "Press", "Garden", "Wifi", "Staff"])
    says = f"puts {name} first"
    return Intent(says, [_add("/milestones/0", {"name": name, "done": False, "tasks": []})])


def _rewrite(random: Random, notebook: Any) -> Intent | None:
    at = _near_the_top(random, notebook["cells"])
    source = f"{notebook['cells'][at]['source'].partition('  #')[0]}  # checked {random.randint(1, 9)}"
    says = f"rewrites the cell {notebook['cells'][at]['name']}"
    return Intent(says, [_replace(f"/cells/{at}/source", source)])


def _new_cell(random: Random, notebook: Any) -> Intent | None:
    at = random.randint(0, len(notebook["cells"]))
    name = random.choice(["means", "neap", "errors", "table", "export"])
    cell = {"name": name, "kind": "code", "source": f"{name}(levels)", "outputs": []}
    return Intent(f"inserts the cell {name}", [_add(f"/cells/{at}", cell)])


def _run(random: Random, notebook: Any) -> Intent | None:
    at = _near_the_top(random, notebook["cells"])
    outputs = [{"kind": "lines", "lines": [f"{random.randint(1, 999)} rows"]}]
    return Intent(
        f"runs the cell {notebook['cells'][at]['name']}", [_add(f"/cells/{at}/outputs/-", outputs[0])]
    )


def _move_cell(random: Random, notebook: Any) -> Intent | None:
    here, there = random.sample(range(len(notebook["cells"])), 2)
    says = f"moves the cell {notebook['cells'][here]['name']}"
    return Intent(says, [_move(f"/cells/{here}", f"/cells/{there}")])


def _copy_cell(random: Random, notebook: Any) -> Intent | None:
    if len(notebook["cells"]) > 8:
        return None
    at = random.randrange(len(notebook["cells"]))
    copied = {"op": "copy", "from": f"/cells/{at}", "path": f"/cells/{at + 1}"}
    return Intent(f"copies the cell {notebook['cells'][at]['name']}", [copied])


def _drop_cell(random: Random, notebook: Any) -> Intent | None:
    at = _near_the_top(random, notebook["cells"])
    return Intent(f"deletes the cell {notebook['cells'][at]['name']}", [_remove(f"/cells/{at}")])


# Where the elements are that habits are about, and how many there must be for a habit to make sense:
# others may have removed any number of them.
HABITS: Final[Mapping[str, tuple[str, tuple[tuple[int, Habit], ...]]]] = {
    "orders": (
        "items",
        (
            (1, _count),
            (1, _count),
            (1, _count_if_unchanged),
            (0, _order_more),
            (4, _order_less),
            (2, _first_things_first),
            (0, _remark),
            (0, _status),
        ),
    ),
    "plans": (
        "milestones",
        (
            (1, _tick),
            (1, _new_task),
            (1, _new_task),
            (2, _hand_over),
            (0, _reword),
            (3, _drop_milestone),
            (0, _new_milestone),
        ),
    ),
    "notebooks": (
        "cells",
        (
            (1, _rewrite),
            (1, _rewrite),
            (0, _new_cell),
            (1, _run),
            (2, _move_cell),
            (1, _copy_cell),
            (4, _drop_cell),
        ),
    ),
}


def _near_the_top(random: Random, values: list[Any]) -> int:
    """Choose an index that others choose too: overlap is what the demo is about."""
    return min(random.randrange(len(values)), random.randrange(len(values)))


def _add(path: str, value: Any) -> dict[str, Any]:
    return {"op": "add", "path": path, "value": value}


def _replace(path: str, value: Any) -> dict[str, Any]:
    return {"op": "replace", "path": path, "value": value}


def _remove(path: str) -> dict[str, Any]:
    return {"op": "remove", "path": path}


def _move(source: str, path: str) -> dict[str, Any]:
    return {"op": "move", "from": source, "path": path}
