"""A throw-away PostgreSQL server of any version from 9.3 to 18.

    cluster = Cluster(servers.get("13"))
    cluster.start()
    db = cluster.create_db()
    cluster.sql(db, "select 1")
    cluster.stop()

Each has its own data and socket directory and listens on no port (unless tcp=True), so any
number of them can run side by side and nothing has to be negotiated. initdb runs once per
version and role; after that its result is copied. The superuser is "postgres"; everybody is let in
without a password, or with one from a password file when auth="scram".
"""

import atexit
import os
import random
import re
import shutil
import signal
import socket
import string
import subprocess

import psycopg2
import psycopg2.extensions

from . import place
from .wait import poll_until

SUPERUSER = "postgres"

# Valid from 9.3 to 18. fsync=off: these servers survive kill(), not a power cut.
SETTINGS = {
    "listen_addresses": "",
    "fsync": "off",
    "full_page_writes": "off",
    "max_connections": "60",
    "shared_buffers": "32MB",
    "max_prepared_transactions": "10",
    "max_locks_per_transaction": "128",
    "checkpoint_timeout": "30min",
    "timezone": "UTC",
    "lc_messages": "C",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] %q%a %u@%d ",
    "log_checkpoints": "off",
    "log_lock_waits": "on",
}

_templates = {}
_running = []


def random_name(prefix):
    return prefix + "_" + "".join(random.choices(string.ascii_lowercase + string.digits, k=8))


def _quote(identifier):
    return '"' + identifier.replace('"', '""') + '"'


def make_conninfo(**parts):
    """A libpq connection string; parts that are None are left out."""

    def quoted(value):
        if re.fullmatch(r"[\w./:-]+", value):
            return value
        return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"

    return " ".join(f"{k}={quoted(str(v))}" for k, v in parts.items() if v is not None)


def _free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _template(server, name):
    """A data directory fresh from initdb, made once per run for every version and name.

    Two servers of one version that face each other must not come from the same initdb: they would
    have one system identifier, as a server and its physical copy have.
    """
    if (server.bindir, name) not in _templates:
        directory = place.new_dir("t" + server.version.replace(".", ""))
        data = os.path.join(directory, "data")
        done = subprocess.run(
            place.as_server_user(
                [
                    server.program("initdb"),
                    f"--pgdata={data}",
                    f"--username={SUPERUSER}",
                    "--auth=trust",
                    "--encoding=UTF8",
                    "--locale=C",
                    "--nosync",
                ]
            ),
            env=place.server_environment(),
            cwd="/",
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if done.returncode != 0:
            raise RuntimeError(f"initdb {server.version} failed:\n{done.stdout}")
        _templates[server.bindir, name] = data
    return _templates[server.bindir, name]


class Cluster:
    def __init__(self, server, *, auth="trust", tcp=False, settings=None, name="c"):
        """`settings` come on top of SETTINGS; `name` is seen in the directory's name only."""
        assert auth in ("trust", "scram")
        self.server = server
        self.version = server.version
        self.number = server.number
        self.auth = auth
        self.directory = place.new_dir(name)
        self.data = os.path.join(self.directory, "data")
        self.log_file = os.path.join(self.directory, "log")
        self.port = _free_port() if tcp else 5432
        self.tcp = tcp
        self.passfile = None
        self._process = None
        self._secured = auth == "trust"
        self._has_scram = self.number >= 100000
        self._log_mark = 0

        subprocess.run(["cp", "-a", "--reflink=auto", _template(server, name), self.data], check=True)
        self.configure(
            **{
                **SETTINGS,
                "unix_socket_directories": self.directory,
                "port": str(self.port),
                **({"listen_addresses": "127.0.0.1"} if tcp else {}),
                **({"password_encryption": "scram-sha-256"} if self._has_scram else {}),
                **(settings or {}),
            }
        )

    def __repr__(self):
        return f"<Cluster {self.version} in {self.directory}>"

    # Life of the server

    def configure(self, **settings):
        """Adds settings to postgresql.conf; they take effect at reload() or restart()."""
        with open(os.path.join(self.data, "postgresql.conf"), "a", encoding="utf-8") as file:
            for name, value in settings.items():
                file.write("{} = '{}'\n".format(name, str(value).replace("'", "''")))

    @property
    def running(self):
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self):
        """The server's first process."""
        return self._process.pid

    def start(self, timeout=60):
        assert not self.running
        with open(self.log_file, "ab") as log:
            self._process = subprocess.Popen(
                place.as_server_user([self.server.program("postgres"), "-D", self.data]),
                env=place.server_environment(),
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # a Ctrl-C is meant for us
            )
        _running.append(self)
        poll_until(self._answers, timeout, lambda: f"start of {self!r}\n{self.log_tail()}")
        if not self._secured:
            self._require_passwords()
        return self

    def _answers(self):
        if not self.running:
            raise RuntimeError(f"{self!r} ended at once:\n{self.log_tail()}")
        try:
            self.connect().close()
            return True
        except psycopg2.OperationalError:
            return False

    def _stop_with(self, number, timeout):
        if self.running:
            self._process.send_signal(number)
            try:
                self._process.wait(timeout)
            except subprocess.TimeoutExpired:
                self._process.send_signal(signal.SIGQUIT)
                self._process.wait(30)
        if self in _running:
            _running.remove(self)

    def stop(self, timeout=60):
        """Orderly and at once: transactions that are open are rolled back."""
        self._stop_with(signal.SIGINT, timeout)

    def kill(self):
        """As in a crash: no checkpoint, the next start goes through recovery."""
        self._stop_with(signal.SIGQUIT, 30)

    def restart(self, crash=False):
        if crash:
            self.kill()
        else:
            self.stop()
        return self.start()

    def ensure_running(self):
        """For servers shared by several tests, one of which may have stopped it."""
        if not self.running:
            self.start()
        return self

    def reload(self):
        self.sql("postgres", "select pg_reload_conf()")

    def remove(self):
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    # The data directory, kept for later; only while the server is stopped

    def save_data(self, label):
        """Copies the data directory; returns what restore_data() needs."""
        assert not self.running
        place_of_copy = os.path.join(self.directory, "saved-" + label)
        subprocess.run(["cp", "-a", "--reflink=auto", self.data, place_of_copy], check=True)
        return place_of_copy

    def restore_data(self, place_of_copy):
        assert not self.running
        shutil.rmtree(self.data)
        subprocess.run(["cp", "-a", "--reflink=auto", place_of_copy, self.data], check=True)

    def forget_data(self, place_of_copy):
        shutil.rmtree(place_of_copy)

    # Connecting

    def conninfo(self, dbname="postgres", user=SUPERUSER, **more):
        """What libpq needs to get in; never holds a password."""
        host = "127.0.0.1" if self.tcp and more.pop("tcp", False) else self.directory
        return make_conninfo(
            host=host, port=self.port, dbname=dbname, user=user, passfile=self.passfile, **more
        )

    def connect(self, dbname="postgres", user=SUPERUSER, autocommit=True, **more):
        connection = psycopg2.connect(self.conninfo(dbname, user, **more))
        connection.autocommit = autocommit
        return connection

    def sql(self, dbname, query, parameters=None, user=SUPERUSER):
        """Runs it in a connection of its own; returns the rows, or None if there are none."""
        connection = self.connect(dbname, user)
        try:
            with connection.cursor() as cursor:
                cursor.execute(query, parameters)
                return cursor.fetchall() if cursor.description else None
        finally:
            connection.close()

    def value(self, dbname, query, parameters=None, user=SUPERUSER):
        """The first column of the first row."""
        return self.sql(dbname, query, parameters, user)[0][0]

    def psql(self, dbname, script, user=SUPERUSER):
        """Runs a script through psql, for what only psql can do (\\copy, \\gexec)."""
        done = subprocess.run(
            ["psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-d", self.conninfo(dbname, user)],
            input=script,
            capture_output=True,
            text=True,
        )
        if done.returncode != 0:
            raise RuntimeError(f"psql failed:\n{done.stderr}")
        return done.stdout

    # Databases and roles

    def create_db(self, name=None, **options):
        """Creates a database (of a random name, unless given); options as in CREATE DATABASE,
        e.g. owner="app", template="template0". Returns its name."""
        name = name or random_name("db")
        clauses = "".join(f" {key} {_quote(str(value))}" for key, value in options.items())
        self.sql("postgres", f"create database {_quote(name)}{clauses}")
        return name

    def drop_db(self, name):
        """Drops it whatever is connected to it or prepared in it."""
        connection = self.connect()
        with connection, connection.cursor() as cursor:
            cursor.execute("select gid from pg_prepared_xacts where database = %s", (name,))
            prepared = [row[0] for row in cursor.fetchall()]
        if prepared:
            inside = self.connect(name)
            for gid in prepared:
                with inside.cursor() as cursor:
                    cursor.execute("rollback prepared %s", (gid,))
            inside.close()
        with connection.cursor() as cursor:
            cursor.execute("update pg_database set datallowconn = false where datname = %s", (name,))

            def dropped():
                cursor.execute(
                    "select pg_terminate_backend(pid) from pg_stat_activity where datname = %s",
                    (name,),
                )
                try:
                    cursor.execute(f"drop database if exists {_quote(name)}")
                    return True
                except psycopg2.errors.ObjectInUse:
                    return False

            poll_until(dropped, 20, f"drop of database {name}")
        connection.close()

    def create_role(self, name=None, options="login"):
        """Creates a role; with auth="scram" it gets a password, kept in the password file."""
        name = name or random_name("role")
        password = self._new_password(name) if self.auth == "scram" else None
        clause = f" password '{password}'" if password else ""
        self.sql("postgres", f"create role {_quote(name)} {options}{clause}")
        return name

    def drop_role(self, name):
        self.sql("postgres", f"drop role if exists {_quote(name)}")

    def db_size(self, name):
        return self.value("postgres", "select pg_database_size(%s)", (name,))

    def terminate(self, where="true"):
        """Ends other sessions, e.g. where="application_name like 'pgtandem%'"; returns how many."""
        return len(
            self.sql(
                "postgres",
                "select pg_terminate_backend(pid) from pg_stat_activity"
                f" where pid <> pg_backend_pid() and datname is not null and ({where})",
            )
        )

    def _new_password(self, role):
        password = random_name("secret")
        with open(self.passfile, "a", encoding="utf-8") as file:
            file.write(f"*:*:*:{role}:{password}\n")
        return password

    def _require_passwords(self):
        method = "scram-sha-256" if self._has_scram else "md5"
        self.passfile = os.path.join(place.base(), os.path.basename(self.directory) + ".pgpass")
        open(self.passfile, "w", encoding="utf-8").close()
        os.chmod(self.passfile, 0o600)
        password = self._new_password(SUPERUSER)
        self.sql("postgres", f"alter role {SUPERUSER} password '{password}'")
        with open(os.path.join(self.data, "pg_hba.conf"), "w", encoding="utf-8") as file:
            file.write(f"local all all {method}\nhost all all 127.0.0.1/32 {method}\n")
        self._secured = True
        self.reload()

    # The server's log

    def log_text(self, everything=False):
        """What it logged since log_mark() (or from the beginning)."""
        try:
            with open(self.log_file, "rb") as file:
                file.seek(0 if everything else self._log_mark)
                return file.read().decode("utf-8", "replace")
        except FileNotFoundError:
            return ""

    def log_mark(self):
        self._log_mark = os.path.getsize(self.log_file) if os.path.exists(self.log_file) else 0

    def log_contains(self, pattern):
        return re.search(pattern, self.log_text()) is not None

    def log_tail(self, lines=30):
        return "\n".join(self.log_text().splitlines()[-lines:])


def stop_all():
    """Stops every server of this process; also done at its end."""
    for cluster in list(_running):
        try:
            cluster.kill()
        except Exception:  # the watcher of place.py gets what we do not
            pass


atexit.register(stop_all)
