"""A schedule: what everybody does, and which faults come when. A seed gives one, always the same.

Each step brings its own numbers, so that the others mean the same when it is taken out.
"""

from dataclasses import dataclass
from random import Random

PEOPLE = 3
STEPS = 28
WORLD = -1
"""Who brings the faults."""
PAUSES_S = (0.0, 0.0, 0.0, 0.0, 0.001, 0.003, 0.01, 0.05, 0.4, 2.0)

ACTS = {
    "edit": 30,
    "tally": 12,
    "batch": 5,
    "queue": 5,
    "type": 14,
    "chain": 4,
    "put": 4,
    "merge_patch": 3,
    "delete": 2,
    "create": 2,
    "revert": 3,
    "restore": 2,
    "settle": 4,
    "again": 4,
    "ask_for": 3,
    "read": 6,
    "look_back": 3,
    "follow": 8,
    "leave": 1,
    "lease": 5,
    "label": 3,
    "feed": 5,
    "cut": 5,
    "lose_request": 3,
    "lose_answer": 4,
    "double": 5,
    "settings": 3,
}
FAULTS = {
    "refused": 3,
    "unknown": 4,
    "unknown, lost": 3,
    "slow": 3,
    "dies before": 3,
    "dies after": 4,
    "dies": 2,
    "restarts": 2,
    "clock": 3,
}
FAULTS_PERCENT = 14


@dataclass(frozen=True, slots=True)
class Step:
    """After a pause somebody does something; `roll` decides the rest."""

    number: int
    pause_s: float
    who: int
    act: str
    roll: int

    def __str__(self) -> str:
        who = "the disk" if self.who == WORLD else name_of(self.who)
        return f"{who}: {self.act}" + (f", after {self.pause_s:g} s" if self.pause_s else "")


@dataclass(frozen=True, slots=True)
class Schedule:
    """Everything that is drawn beforehand; `seed` also gives the pace, unless that is even."""

    seed: int
    steps: tuple[Step, ...]
    is_even: bool = False


def schedule_of(seed: int) -> Schedule:
    """Write the schedule of a seed."""
    random = Random(seed)
    acts, weights = [*ACTS], [*ACTS.values()]
    faults, fault_weights = [*FAULTS], [*FAULTS.values()]
    people = random.randint(1, PEOPLE)
    share = random.choice((0, FAULTS_PERCENT, FAULTS_PERCENT, 2 * FAULTS_PERCENT))
    steps = []
    for number in range(random.randint(STEPS // 2, STEPS * 2)):
        pause_s, roll = random.choice(PAUSES_S), random.getrandbits(32)
        if random.randrange(100) < share:
            (act,) = random.choices(faults, fault_weights)
            steps.append(Step(number, pause_s, WORLD, act, roll))
        else:
            (act,) = random.choices(acts, weights)
            steps.append(Step(number, pause_s, random.randrange(people), act, roll))
    return Schedule(seed, tuple(steps))


def name_of(who: int) -> str:
    """Name a person."""
    return ("ann", "bob", "cid")[who]
