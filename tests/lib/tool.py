"""Runs pgtandem as a person would, and sees to it that nothing of it is left running.

    tool = Tool(source=old.conninfo(db), target=new.conninfo(db))
    done = tool.run("check")                 # done.rc, done.out, done.err
    tool.ok("upgrade", "--switchover")       # the same, and asserts exit code 0

    running = tool.start("upgrade")
    running.wait_for_output(r"in sync", timeout=60)
    running.sigint()                         # as Ctrl-C
    assert running.wait().rc == 130

Source and target travel in the environment. Passwords belong into a password file (passfile=
in a conninfo), never into arguments. The binary is PGTANDEM_BIN, else build/pgtandem.
"""

import atexit
import json
import os
import re
import signal
import subprocess
import threading
import time
from typing import NamedTuple

from . import servers

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

# Exit codes
DONE, FAILED, USAGE, REFUSED, ABORTED, DIFFERENT, INTERRUPTED = 0, 1, 2, 3, 4, 5, 130

SANITIZER = re.compile(r"(Address|Leak|UndefinedBehavior)Sanitizer|runtime error:")

_running = []


def default_binary():
    return os.environ.get("PGTANDEM_BIN") or os.path.join(ROOT, "build", "pgtandem")


class Result(NamedTuple):
    rc: int
    out: str
    err: str

    @property
    def text(self):
        return self.out + self.err

    @property
    def json(self):
        return json.loads(self.out)

    def __str__(self):
        return f"exit code {self.rc}\n--- out\n{self.out}\n--- err\n{self.err}"


class Tool:
    def __init__(self, binary=None, *, source=None, target=None, client_version=None, env=None):
        """`client_version`: its pg_dump must be able to read servers of this version."""
        self.binary = binary or default_binary()
        self.environment = {
            **os.environ,
            "LC_ALL": "C.UTF-8",
            "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "exitcode=99"),
            "UBSAN_OPTIONS": os.environ.get(
                "UBSAN_OPTIONS", "print_stacktrace=1:halt_on_error=1:exitcode=99"
            ),
            **(env or {}),
        }
        if source is not None:
            self.environment["PGTANDEM_SOURCE"] = source
        if target is not None:
            self.environment["PGTANDEM_TARGET"] = target
        bindir = servers.client_bindir(client_version or "15")
        if bindir:
            self.environment["PATH"] = bindir + ":" + self.environment.get("PATH", "/usr/bin:/bin")

    def start(self, *args, env=None, fault=None):
        """Starts it; `fault` is the name of a fault point to die at (PGTANDEM_FAULT)."""
        args = [str(arg) for arg in args]
        environment = {**self.environment, **(env or {})}
        if fault is not None:
            environment["PGTANDEM_FAULT"] = fault
        assert not any("password=" in arg for arg in args), "a password in arguments can be seen"
        return Running([self.binary, *args], environment)

    def run(self, *args, timeout=120, env=None, fault=None):
        return self.start(*args, env=env, fault=fault).wait(timeout)

    def ok(self, *args, **more):
        """run(), and it must end with 0."""
        done = self.run(*args, **more)
        assert done.rc == DONE, f"pgtandem {' '.join(map(str, args))}: {done}"
        return done


class Running:
    """A pgtandem that runs, in a process group of its own."""

    def __init__(self, command, environment):
        self.command = command
        self._text = {"out": [], "err": []}
        self._all = []
        self._changed = threading.Condition()
        self._seen = 0
        self.process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            # In a background job of a shell SIGINT is ignored, and children would inherit that.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        _running.append(self)
        self._readers = [
            threading.Thread(target=self._read, args=(name, stream), daemon=True)
            for name, stream in (("out", self.process.stdout), ("err", self.process.stderr))
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, name, stream):
        while True:
            data = os.read(stream.fileno(), 65536)
            with self._changed:
                if data:
                    text = data.decode("utf-8", "replace")
                    self._text[name].append(text)
                    self._all.append(text)
                self._changed.notify_all()
            if not data:
                stream.close()
                return

    @property
    def running(self):
        return self.process.poll() is None

    @property
    def text(self):
        """Everything it wrote till now, standard output and error as they came."""
        with self._changed:
            return "".join(self._all)

    def wait_for_output(self, pattern, timeout=60):
        """Waits until it writes something that matches, after what the last call matched.

        Returns the match. Fails at once when it ends without having written that.
        """
        deadline = time.monotonic() + timeout
        with self._changed:
            while True:
                text = "".join(self._all)
                match = re.compile(pattern, re.MULTILINE).search(text, self._seen)
                if match:
                    self._seen = match.end()
                    return match
                if not any(reader.is_alive() for reader in self._readers):
                    raise AssertionError(
                        f"pgtandem ended ({self.process.wait()}) without writing "
                        f"{pattern!r}:\n{text}"
                    )
                left = deadline - time.monotonic()
                if left <= 0:
                    raise TimeoutError(f"no {pattern!r} in {timeout} s:\n{text}")
                self._changed.wait(min(left, 0.2))

    def wait(self, timeout=120):
        """Waits for its end. Output of a sanitizer is an error here, whatever the exit code."""
        try:
            rc = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill9(tree=True)
            raise TimeoutError(
                f"{' '.join(self.command)} did not end in {timeout} s:\n{self.text}"
            ) from None
        # Its workers may outlive it for a moment and hold the pipes open.
        deadline = time.monotonic() + 10
        for reader in self._readers:
            reader.join(max(0.0, deadline - time.monotonic()))
        if self in _running:
            _running.remove(self)
        with self._changed:
            result = Result(rc, "".join(self._text["out"]), "".join(self._text["err"]))
        assert not SANITIZER.search(result.text), f"{' '.join(self.command)}: {result}"
        return result

    def sigint(self):
        """As Ctrl-C on a terminal: to it and all its children."""
        self._signal_group(signal.SIGINT)

    def sigterm(self):
        """As a service manager or kill does it: to itself only."""
        self.process.terminate()

    def kill9(self, tree=True):
        """The hard way; with tree=False its children are left to notice by themselves."""
        if tree:
            self._signal_group(signal.SIGKILL)
        else:
            self.process.kill()

    def _signal_group(self, number):
        try:
            os.killpg(self.process.pid, number)
        except ProcessLookupError:
            pass


def kill_leftovers():
    """Ends what a failed test left running."""
    for running in list(_running):
        running.kill9(tree=True)
        running.process.wait()
        _running.remove(running)


atexit.register(kill_leftovers)
