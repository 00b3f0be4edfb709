"""Extensions of our own, of SQL only, with tables that they mark as configuration (pg_extension_config_dump).

    extension = Extension([old.cluster.server, new.cluster.server], {"1": script, "2": script}, default="2")
    old.sql(f"create extension {extension.name} version '1'")
    ...
    extension.remove()

Files go into the servers' own directories of extensions, under a random name, and are removed again. Servers whose
directory may not be written make the test skip.
"""

import os
import subprocess

import pytest

from .cluster import random_name


def directory(server):
    """Where a server looks for extensions."""
    program = server.program("pg_config")
    if os.access(program, os.X_OK):
        share = subprocess.run([program, "--sharedir"], capture_output=True, text=True, check=True).stdout.strip()
        return os.path.join(share, "extension")
    return os.path.join(os.path.dirname(server.bindir), "share", "postgresql", "extension")


class Extension:
    def __init__(self, on, versions, *, default, control="superuser = false"):
        """on: servers; versions: {version: script}."""
        self.name = random_name("pgtandem_test_ext")
        self._files = []
        directories = {directory(server) for server in on}
        for at in directories:
            if not os.access(at, os.W_OK):
                pytest.skip(f"no extension of our own can be put into {at}")
        for at in directories:
            self._write(at, f"{self.name}.control", f"comment = 'a test'\ndefault_version = '{default}'\n{control}\n")
            for version, script in versions.items():
                self._write(at, f"{self.name}--{version}.sql", script)

    def _write(self, at, name, text):
        path = os.path.join(at, name)
        self._files.append(path)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(path, 0o644)

    def remove(self):
        for path in self._files:
            if os.path.exists(path):
                os.remove(path)
