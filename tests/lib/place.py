"""One directory per run for everything the harness makes, and its certain removal.

The directory has a short name, because the path of a unix socket may have at most 107 bytes. It is
in memory where there is plenty: each test makes databases, which are hundreds of files each. A small helper process watches us through a pipe: when we end, in whatever way (even
by SIGKILL), it ends the servers that still run there and removes the directory. keep() makes it
leave the files for a look at them.

PostgreSQL and PgBouncer refuse to run as root. When we are root they run as the user that
run_as() names; hand_over() gives that user a directory.
"""

import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time

ROOMY = 8 << 30  # bytes: four tests at a time with their servers and copies of data directories

_place = None
_watcher = None
_count = 0


def _free_memory():
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            found = [int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")]
    except OSError:
        return 0
    return found[0] << 10 if found else 0


def _parent():
    try:
        shm = os.statvfs("/dev/shm")
    except OSError:
        return "/tmp"
    roomy = shm.f_bavail * shm.f_frsize >= ROOMY and _free_memory() >= 2 * ROOMY
    return "/dev/shm" if roomy and os.access("/dev/shm", os.W_OK | os.X_OK) else "/tmp"


def base():
    """The directory of this run."""
    global _place, _watcher
    if _place is None:
        _place = tempfile.mkdtemp(prefix="pgt", dir=_parent())
        os.chmod(_place, 0o755)
        _watcher = subprocess.Popen(
            [sys.executable, os.path.abspath(__file__), _place],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
    return _place


def new_dir(label):
    """A new directory in it, owned by the user that servers run as."""
    global _count
    _count += 1
    path = os.path.join(base(), f"{label}{_count}")
    os.mkdir(path, 0o755)
    hand_over(path)
    return path


def keep():
    """Leave the files there after the end. Returns where they are."""
    open(os.path.join(base(), "keep"), "w").close()
    return base()


def run_as():
    """The user that servers run as, or None when that is ourselves."""
    if os.getuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise RuntimeError("there is neither a user postgres nor nobody to run servers as")


def hand_over(path):
    user = run_as()
    if user:
        os.chown(path, user.pw_uid, user.pw_gid)


def as_server_user(command):
    """The command, made to run as the user that servers run as."""
    user = run_as()
    if not user:
        return list(command)
    return [
        "setpriv",
        f"--reuid={user.pw_uid}",
        f"--regid={user.pw_gid}",
        "--clear-groups",
        "--",
        *command,
    ]


def server_environment():
    """A plain environment: nothing of ours should change how a server behaves."""
    return {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/",
        "LC_ALL": "C",
        "TZ": "UTC",
    }


# What follows runs in the helper process.


def processes_of(path):
    """Process ids of servers started with that directory in their command line."""
    found = []
    wanted = (path + "/").encode()
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) == os.getpid():
            continue
        try:
            with open(f"/proc/{entry}/cmdline", "rb") as file:
                command = file.read().split(b"\0")
        except OSError:
            continue
        program = os.path.basename(command[0])
        if program in (b"postgres", b"pgbouncer"):
            ours = any(argument.startswith(wanted) for argument in command[1:])
        else:
            # The daemon of script/bench; it writes its state where its command line was.
            ours = command[0].startswith(b"Bucardo ") and _works_in(entry, path)
        if ours:
            found.append(int(entry))
    return found


def _works_in(pid, path):
    try:
        return os.readlink(f"/proc/{pid}/cwd").startswith(path + "/")
    except OSError:
        return False


def _signal_all(path, number):
    for pid in processes_of(path):
        try:
            os.kill(pid, number)
        except OSError:
            pass


def _watch(path):
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sys.stdin.buffer.read()  # returns when the process that we watch has ended
    _signal_all(path, signal.SIGQUIT)
    deadline = time.monotonic() + 10
    while processes_of(path) and time.monotonic() < deadline:
        time.sleep(0.05)
    _signal_all(path, signal.SIGKILL)
    if not os.path.exists(os.path.join(path, "keep")):
        shutil.rmtree(path, ignore_errors=True)


if __name__ == "__main__":
    _watch(sys.argv[1])
