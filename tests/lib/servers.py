"""Finds the PostgreSQL servers of this machine by major version.

Looked at, in this order, the first one of a version wins:

    PGTANDEM_TEST_BINDIRS     bin directories of your own builds, separated by colons (9.3 …)
    /usr/lib/postgresql/*/bin Debian's
    $PGTANDEM_CACHE/servers/* put there by script/servers (see cache_dirs)

A version is the text that people use for it: "9.6", "10", "18".

Run as a program it tells script/test which servers the wanted version pairs need:

    /usr/bin/python3 -m lib.servers needed [--all-pairs]
"""

import glob
import os
import re
import subprocess
import sys
from functools import lru_cache
from typing import NamedTuple

DEFAULT_PAIRS = "10-18,13-17,15-18,15-15"
DEFAULT_ONE_PAIR = "15-18"
BEFORE_13 = "12"  # owners may not switch off triggers that partitions inherit


class Server(NamedTuple):
    version: str  # "9.6", "15"
    number: int  # 90600, 150000: comparable with server_version_num
    bindir: str

    def program(self, name):
        return os.path.join(self.bindir, name)


SYSTEM_CACHE = "/var/cache/pgtandem"


def cache_dirs():
    """Where script/servers puts things: the same places as in script/lib/common.sh."""
    if os.environ.get("PGTANDEM_CACHE"):
        return [os.environ["PGTANDEM_CACHE"]]
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    own = os.path.join(base, "pgtandem")
    return [SYSTEM_CACHE] if os.getuid() == 0 else [own, SYSTEM_CACHE]


def version_number(version):
    """"9.6" -> 90600, "15" -> 150000."""
    parts = [int(part) for part in version.split(".")]
    if parts[0] >= 10:
        return parts[0] * 10000
    return parts[0] * 10000 + parts[1] * 100


def _by_number(path):
    numbers = re.findall(r"\d+", path)
    return [int(number) for number in numbers]


def _candidates():
    for path in os.environ.get("PGTANDEM_TEST_BINDIRS", "").split(":"):
        if path:
            yield path
    yield from sorted(glob.glob("/usr/lib/postgresql/*/bin"), key=_by_number)
    for cache in cache_dirs():
        yield from sorted(glob.glob(os.path.join(cache, "servers", "*", "bin")), key=_by_number)


@lru_cache(maxsize=None)
def discover():
    """Returns {version: Server}, oldest first."""
    found = {}
    for bindir in _candidates():
        program = os.path.join(bindir, "postgres")
        if not os.access(program, os.X_OK):
            continue
        try:
            text = subprocess.run(
                [program, "--version"], capture_output=True, text=True, timeout=20, check=True
            ).stdout
        except (OSError, subprocess.SubprocessError):
            continue
        match = re.search(r"\(PostgreSQL\) (9\.\d+|\d+)", text)
        if match and match.group(1) not in found:
            version = match.group(1)
            found[version] = Server(version, version_number(version), bindir)
    return dict(sorted(found.items(), key=lambda item: item[1].number))


def get(version):
    """The server of that version; LookupError says how to get it."""
    try:
        return discover()[str(version)]
    except KeyError:
        raise LookupError(
            f"no PostgreSQL {version} here: try script/servers {version}, or name the bin "
            "directory of your own build in PGTANDEM_TEST_BINDIRS"
        ) from None


def client_bindir(version):
    """Directory with a pg_dump that reads a server of that version.

    The oldest one that is new enough, because a dump of a newer pg_dump need not load into an
    older target. None when there is none (script/servers --clients 18 brings one).
    """
    found = []
    patterns = [os.path.join(cache, "clients", "*", "bin") for cache in cache_dirs()]
    for pattern in ["/usr/lib/postgresql/*/bin", *patterns]:
        for bindir in glob.glob(pattern):
            if os.access(os.path.join(bindir, "pg_dump"), os.X_OK):
                major = os.path.basename(os.path.dirname(bindir))
                found.append((version_number(major), bindir))
    for number, bindir in sorted(found):
        if number >= version_number(str(version)):
            return bindir
    return None


def parse_pair(text):
    old, _, new = text.strip().partition("-")
    if not re.fullmatch(r"\d+(\.\d+)?", old) or not re.fullmatch(r"\d+(\.\d+)?", new):
        raise ValueError(f"a version pair looks like 13-18, not {text!r}")
    return old, new


def wanted_pairs():
    """Version pairs to test with: PGTANDEM_TEST_PAIRS or the default."""
    text = os.environ.get("PGTANDEM_TEST_PAIRS") or DEFAULT_PAIRS
    return [parse_pair(part) for part in text.split(",") if part.strip()]


def wanted_one_pair():
    """The pair of the tests that do not depend on the version: PGTANDEM_TEST_ONE_PAIR."""
    return parse_pair(os.environ.get("PGTANDEM_TEST_ONE_PAIR") or DEFAULT_ONE_PAIR)


def all_pairs():
    """Every (old, new) of the servers that are here."""
    versions = list(discover())
    return [(old, new) for i, old in enumerate(versions) for new in versions[i:]]


def clean_environment():
    """Removes the PG* variables a person may have set, so that they do not lead us astray."""
    for name in list(os.environ):
        if name.startswith("PG") and not name.startswith("PGTANDEM_"):
            del os.environ[name]


def _main(arguments):
    if arguments[:1] != ["needed"]:
        sys.exit(__doc__)
    if "--all-pairs" in arguments:
        needed = {str(major) for major in range(10, 19)}
    else:
        needed = {version for pair in wanted_pairs() + [wanted_one_pair()] for version in pair} | {BEFORE_13}
    print(*sorted(needed, key=version_number))


if __name__ == "__main__":
    _main(sys.argv[1:])
