"""Rounds: who comes when, and what happens to one that fails."""

import traceback
from collections import Counter
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

    `chances`: how often one may fail before; every failure is reported.
    """

    def __init__(self, report, scenario, chances=1):
        self.report = report
        self.scenario = scenario
        self._chances = chances
        self._failed = Counter()

    def has(self, name):
        return self._failed[name] >= self._chances

    @contextmanager
    def guard(self, name):
        try:
            yield
        except Exception as error:
            traceback.print_exc()
            self._failed[name] += 1
            self.report.fail(self.scenario, name, f"{type(error).__name__}: {error}")
