"""Rounds: who comes when, and what happens to one that fails."""

import traceback
from contextlib import contextmanager


def alternating(contestants, rounds):
    """(round, contestant), every round beginning with another one: the machine's mood, caches and
    the order itself favour nobody."""
    for number in range(rounds):
        shift = number % len(contestants)
        for contestant in contestants[shift:] + contestants[:shift]:
            yield number, contestant


class Failures:
    """Contestants that have failed in a scenario are left out of its further rounds.

        with failures.guard(contestant): …
    """

    def __init__(self, report, scenario):
        self.report = report
        self.scenario = scenario
        self._failed = set()

    def has(self, name):
        return name in self._failed

    @contextmanager
    def guard(self, name):
        try:
            yield
        except KeyboardInterrupt:
            raise
        except Exception as error:
            traceback.print_exc()
            self._failed.add(name)
            self.report.fail(self.scenario, name, f"{type(error).__name__}: {error}")
