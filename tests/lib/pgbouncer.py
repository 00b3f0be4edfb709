"""A real PgBouncer in front of a Cluster, with transaction pooling.

    bouncer = PgBouncer({"app": (cluster, db)}).start()
    psycopg2.connect(bouncer.conninfo("app"))
    bouncer.admin("show pools")
    bouncer.stop()

It listens on a unix socket in its own directory. The file `ini` is in the form that people write
(one line per database), so pgtandem can be told to edit it: --pgbouncer-ini.
"""

import atexit
import os
import shutil
import signal
import subprocess

import psycopg2
import psycopg2.extras

from . import place
from .cluster import SUPERUSER, make_conninfo
from .wait import poll_until

PROGRAM = "/usr/sbin/pgbouncer"
PORT = 6432

_running = []


def entries(databases):
    """The section for a configuration file."""
    return "[databases]\n" + "".join(
        f"{name} = host={cluster.directory} port={cluster.port}"
        + ("\n" if dbname is None else f" dbname={dbname}\n")
        for name, (cluster, dbname) in databases.items()
    )


class PgBouncer:
    def __init__(self, databases, *, users=(SUPERUSER,), pool_mode="transaction", settings=None):
        """
        `databases`: {name that clients use: (cluster, database)}, or a file that has them, for several
        PgBouncers; `users` may log in.
        """
        self.directory = place.new_dir("b")
        self.ini = os.path.join(self.directory, "pgbouncer.ini")
        self.log_file = os.path.join(self.directory, "log")
        self._userlist = os.path.join(self.directory, "userlist.txt")
        self._process = None
        self._settings = {
            "listen_addr": "",
            "listen_port": PORT,
            "unix_socket_dir": self.directory,
            "auth_type": "trust",
            "auth_file": self._userlist,
            "admin_users": SUPERUSER,
            "pool_mode": pool_mode,
            "max_client_conn": 200,
            "default_pool_size": 20,
            "ignore_startup_parameters": "extra_float_digits,options",
            **(settings or {}),
        }
        with open(self._userlist, "w", encoding="utf-8") as file:
            for user in users:
                file.write(f'"{user}" ""\n')
        self.write_ini(databases)

    def write_ini(self, databases):
        with open(self.ini, "w", encoding="utf-8") as file:
            if isinstance(databases, str):
                file.write(f"%include {databases}\n")
            else:
                file.write(entries(databases))
            file.write("\n[pgbouncer]\n")
            for name, value in self._settings.items():
                file.write(f"{name} = {value}\n")
        place.hand_over(self.ini)

    def point_to(self, databases):
        """What an administrator does: edit the file, RELOAD."""
        self.write_ini(databases)
        self.admin("reload")

    @property
    def running(self):
        return self._process is not None and self._process.poll() is None

    def start(self, timeout=10):
        assert not self.running
        with open(self.log_file, "ab") as log:
            self._process = subprocess.Popen(
                place.as_server_user([PROGRAM, self.ini]),
                env=place.server_environment(),
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        _running.append(self)
        poll_until(self._answers, timeout, lambda: "start of PgBouncer\n" + self.log_text())
        return self

    def _answers(self):
        if not self.running:
            raise RuntimeError("PgBouncer ended at once:\n" + self.log_text())
        try:
            self.admin("show version")
            return True
        except psycopg2.OperationalError:
            return False

    def stop(self):
        if self.running:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if self in _running:
            _running.remove(self)

    def kill(self):
        if self.running:
            self._process.kill()
        self.stop()

    def remove(self):
        self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    def conninfo(self, dbname, user=SUPERUSER, **more):
        return make_conninfo(host=self.directory, port=PORT, dbname=dbname, user=user, **more)

    @property
    def admin_conninfo(self):
        """For --pgbouncer."""
        return self.conninfo("pgbouncer")

    def admin(self, command):
        """Runs a console command; returns its rows as dictionaries, or None."""
        connection = psycopg2.connect(self.admin_conninfo)
        try:
            connection.autocommit = True  # the console knows no BEGIN
            with connection.cursor(cursor_factory=psycopg2.extras.RealDictCursor) as cursor:
                cursor.execute(command)
                return [dict(row) for row in cursor.fetchall()] if cursor.description else None
        finally:
            connection.close()

    def log_text(self):
        try:
            with open(self.log_file, encoding="utf-8", errors="replace") as file:
                return file.read()
        except FileNotFoundError:
            return ""


def stop_all():
    for bouncer in list(_running):
        bouncer.kill()


atexit.register(stop_all)
