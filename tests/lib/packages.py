"""Database schemas that others wrote, from Debian packages that are fetched when a test needs them.

    scripts = packages.sql("pdns-backend-pgsql")      # [text], in the order in which they are to be run
    packages.SCHEMAS                                  # the packages that are known here

The packages are unpacked into the cache, not installed, and nothing in them is run but their SQL. NotToBeHad tells
why there are none: without a network, say, or where there is no apt.
"""

import gzip
import os
import shutil
import subprocess
import tempfile

from . import servers

# package: its SQL, as they are to be run
SCHEMAS = {
    "bacula-director-pgsql": ["usr/share/dbconfig-common/data/bacula-director-pgsql/install/pgsql"],
    "ejabberd": ["usr/share/ejabberd/sql/pg.new.sql"],
    "freeradius-config": [
        f"etc/freeradius/3.0/mods-config/sql/{name}.sql"
        for name in ("main/postgresql/schema", "cui/postgresql/schema", "ippool/postgresql/schema",
                     "ippool/postgresql/procedure", "dhcp/postgresql/schema", "ippool-dhcp/postgresql/schema",
                     "ippool-dhcp/postgresql/procedure")
    ],
    "icinga2-ido-pgsql": ["usr/share/icinga2-ido-pgsql/schema/pgsql.sql"],
    "kea-admin": ["usr/share/kea/scripts/pgsql/dhcpdb_create.pgsql"],
    "pdns-backend-pgsql": ["usr/share/pdns-backend-pgsql/schema/schema.pgsql.sql"],
    "request-tracker5": ["usr/share/request-tracker5/etc/schema.Pg"],
    "roundcube-core": ["usr/share/roundcube/SQL/postgres.initial.sql"],
    "zabbix-server-pgsql": ["usr/share/zabbix-server-pgsql/schema.sql.gz"],
}  # fmt: skip

# the oldest server that understands it
SINCE = {"zabbix-server-pgsql": 110000}
# what a session sets before it writes
SESSION = {"kea-admin": "set kea.disable_audit = 'true'"}


class NotToBeHad(Exception):
    """The package could not be fetched."""


def sql(package):
    place = _unpacked(package)
    return [_text(os.path.join(place, path)) for path in SCHEMAS[package]]


def _text(path):
    opened = gzip.open if path.endswith(".gz") else open
    with opened(path, "rt", encoding="utf-8") as file:
        return file.read()


def _unpacked(package):
    for cache in servers.cache_dirs():
        place = os.path.join(cache, "packages", package)
        if os.path.isdir(place):
            return place
    cache = os.path.join(servers.cache_dirs()[0], "packages")
    try:
        os.makedirs(cache, exist_ok=True)
        work = tempfile.mkdtemp(prefix=f".new-{package}.", dir=cache)
    except OSError as error:
        raise NotToBeHad(f"{cache}: {error}") from None
    try:
        _run(["dpkg", "-x", _fetch(package, work), os.path.join(work, "ready")])
        place = os.path.join(cache, package)
        try:
            os.rename(os.path.join(work, "ready"), place)
        except OSError:
            if not os.path.isdir(place):  # else another test was faster
                raise
        return place
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _fetch(package, work):
    """apt's lists may be missing or old: then lists of our own are fetched, so that nobody has to be root."""
    apt = ["apt-get", "-q", "-o", "Acquire::Retries=1", "-o", "Acquire::http::Timeout=10", "-o", "APT::Sandbox::User="]
    try:
        _run([*apt, "download", package], cwd=work)
    except NotToBeHad:
        for folder in ("lists/partial", "cache/archives/partial"):
            os.makedirs(os.path.join(work, folder))
        apt += ["-o", f"Dir::State::lists={work}/lists", "-o", f"Dir::Cache={work}/cache"]
        _run([*apt, "update"])
        _run([*apt, "download", package], cwd=work)
    return next(os.path.join(work, name) for name in os.listdir(work) if name.endswith(".deb"))


def _run(command, **options):
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, **options)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotToBeHad(str(error)) from None
    if done.returncode != 0:
        raise NotToBeHad(f"{' '.join(command)}: {done.stderr.strip()[-300:]}")
