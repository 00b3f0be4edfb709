"""Memory and CPU time of processes, from /proc."""

import os
import threading

TICKS = os.sysconf("SC_CLK_TCK")


def children(pid):
    """All processes below that one, and itself."""
    found = [pid]
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/children", encoding="ascii") as file:
                for child in file.read().split():
                    found += children(int(child))
    except OSError:
        pass
    return found


def command(pid):
    """The words of its command line; empty if it is gone."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return []
    return text.strip("\0").split("\0")


def memory_kb(pid, field="VmHWM"):
    """VmHWM: the most it ever had resident. RssAnon: what it has for itself alone now; for a
    server process, whose resident size counts the shared buffers that it has touched."""
    try:
        with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as file:
            for line in file:
                if line.startswith(field + ":"):
                    return int(line.split()[1])
    except OSError:
        pass
    return 0


def cpu_seconds(pid, with_ended_children=False):
    """CPU time of one process with one thread; that of children that have ended is known in
    ticks of 10 ms only."""
    try:
        with open(f"/proc/{pid}/schedstat", encoding="ascii") as file:
            seconds = int(file.read().split()[0]) / 1e9
        if with_ended_children:
            with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
                fields = file.read().rpartition(")")[2].split()
            seconds += (int(fields[13]) + int(fields[14])) / TICKS
        return seconds
    except (OSError, IndexError):
        return 0.0


def tree_cpu_seconds(pid):
    """CPU time of a process and all it has started, those that have ended included."""
    return sum(cpu_seconds(each, with_ended_children=True) for each in children(pid))


class Sampler:
    """Watches the memory of a contestant's processes while something runs.

        with Sampler(contestant.processes) as sampler: …
        sampler.peaks                     {kind: [most kB of one, most kB of all of it together]}

    `find` returns {kind: [process id]}; kinds that begin with "server" are counted by RssAnon.
    """

    def __init__(self, find, interval=0.1):
        self._find = find
        self._interval = interval
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._highest = {}  # (kind, pid): kB
        self.most_together = {}  # kind: kB at one time

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._ended.set()
        self._thread.join()

    def _run(self):
        while not self._ended.wait(self._interval):
            try:
                found = self._find()
            except Exception:  # a server that is being restarted; the next look will do
                continue
            for kind, pids in found.items():
                field = "RssAnon" if kind.startswith("server") else "VmHWM"
                now = 0
                for pid in pids:
                    size = memory_kb(pid, field)
                    now += size
                    key = (kind, pid)
                    self._highest[key] = max(self._highest.get(key, 0), size)
                self.most_together[kind] = max(self.most_together.get(kind, 0), now)

    @property
    def peaks(self):
        result = {}
        for (kind, _), size in self._highest.items():
            result[kind] = max(result.get(kind, 0), size)
        return {kind: [size, self.most_together[kind]] for kind, size in result.items() if size}
