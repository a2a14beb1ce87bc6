"""How long hypothesis looks.

By default at the same examples every time, so that a run tells of the change and not of the dice;
HYPOTHESIS_PROFILE=thorough looks twenty times as long, and somewhere else each time. A mutant is
looked at with a fifteenth of the examples, and what kills it is not made shorter.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, Phase, settings

QUICK_EXAMPLES = 150

settings.register_profile(
    "quick",
    max_examples=QUICK_EXAMPLES,
    derandomize=True,
    deadline=None,
    print_blob=True,
    report_multiple_bugs=False,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
settings.register_profile(
    "thorough", settings.get_profile("quick"), max_examples=20 * QUICK_EXAMPLES, derandomize=False
)
settings.register_profile(
    "mutation",
    settings.get_profile("quick"),
    max_examples=QUICK_EXAMPLES // 15,
    phases=[Phase.explicit, Phase.generate],
    database=None,
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))
