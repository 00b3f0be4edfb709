"""A stretch of network between the program and a server, which can fail.

    proxy = Proxy(cluster)
    tool = Tool(source=proxy.conninfo(db), …)
    proxy.cut()       every connection is reset, new ones are refused
    proxy.freeze()    nothing gets through any more, but nobody is told
    proxy.restore()   as if nothing had been (held back bytes arrive)
    proxy.delay = 0.01    10 ms per direction

It listens on a unix socket in its own directory, or on a loopback port with tcp=True (where
keepalives and tcp_user_timeout mean something).
"""

import os
import shutil
import socket
import struct
import threading
import time

from . import place
from .cluster import SUPERUSER, make_conninfo

_CHUNK = 65536


class Proxy:
    def __init__(self, cluster, *, tcp=False):
        self.cluster = cluster
        self.delay = 0.0
        self.directory = place.new_dir("p")
        self._pairs = set()
        self._lock = threading.Lock()
        self._flowing = threading.Event()
        self._flowing.set()
        self._accepting = True
        self._closed = False
        if tcp:
            self._listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._listener.bind(("127.0.0.1", 0))
            self.host, self.port = "127.0.0.1", self._listener.getsockname()[1]
        else:
            self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.host, self.port = self.directory, 5432
            path = os.path.join(self.directory, f".s.PGSQL.{self.port}")
            self._listener.bind(path)
            os.chmod(path, 0o777)
        self._listener.listen(64)
        threading.Thread(target=self._accept, daemon=True).start()

    def conninfo(self, dbname="postgres", user=SUPERUSER, **more):
        return make_conninfo(
            host=self.host,
            port=self.port,
            dbname=dbname,
            user=user,
            passfile=self.cluster.passfile,
            **more,
        )

    @property
    def connections(self):
        """How many go through it now."""
        with self._lock:
            return len(self._pairs)

    # What can happen to a network

    def cut(self):
        """Resets all connections and refuses new ones, until restore()."""
        self._accepting = False
        self.reset()

    def reset(self):
        """Resets all connections once; new ones are let through."""
        with self._lock:
            pairs = list(self._pairs)
        for pair in pairs:
            self._end(pair, reset=True)

    def freeze(self):
        """Bytes are held back and connections stay open, until restore()."""
        self._flowing.clear()

    def restore(self):
        self._accepting = True
        self._flowing.set()

    def close(self):
        self._closed = True
        try:
            self._listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._listener.close()
        self.cut()
        self._flowing.set()
        shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    # How it is done: two threads per connection, one per direction

    def _accept(self):
        while not self._closed:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if not self._accepting:
                _close(client, reset=True)
                continue
            threading.Thread(target=self._connect, args=(client,), daemon=True).start()

    def _connect(self, client):
        self._flowing.wait()
        server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        path = os.path.join(self.cluster.directory, f".s.PGSQL.{self.cluster.port}")
        try:
            server.connect(path)
        except OSError:
            _close(client)
            return
        pair = (client, server)
        with self._lock:
            self._pairs.add(pair)
        if not self._accepting:  # cut in this very moment
            self._end(pair, reset=True)
            return
        for source, sink in (pair, pair[::-1]):
            threading.Thread(target=self._carry, args=(source, sink, pair), daemon=True).start()

    def _carry(self, source, sink, pair):
        try:
            while True:
                data = source.recv(_CHUNK)
                if not data:
                    break
                if self.delay:
                    time.sleep(self.delay)
                self._flowing.wait()
                sink.sendall(data)
        except OSError:
            pass
        self._flowing.wait()  # the end of a connection does not get through either
        self._end(pair)

    def _end(self, pair, reset=False):
        with self._lock:
            if pair not in self._pairs:
                return
            self._pairs.remove(pair)
        for one in pair:
            _close(one, reset)


def _close(one, reset=False):
    try:
        if reset and one.family == socket.AF_INET:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        else:
            one.shutdown(socket.SHUT_RDWR)  # wakes the thread that reads from it
    except OSError:
        pass
    one.close()
