"""Harness of the integration tests: real servers, a real load, and the means to break things.

    servers    which PostgreSQL servers this machine has
    cluster    a throw-away server with its own data and socket directory
    ledger     writers that remember what was committed, and a check that nothing was lost
    pgbouncer  a real PgBouncer
    proxy      a connection that can be cut, frozen or slowed down
    tool       runs pgtandem
    compare    contents of two databases; fingerprint of a database's catalogs
    wait       poll_until()
    place      the directory for it all, and the certainty that nothing is left behind
"""
