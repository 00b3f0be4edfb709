"""Roles with the rights that managed services give to their customers, as far as PostgreSQL itself can imitate them.

    provider = PROVIDERS["rds"]
    customer = Customer(provider, node)        # roles and rights; node.user and node.dbname are then the customer's
    customer.create(SCHEMA)                    # as the role that owns the tables
    customer.remove()

What is imitated, and from which documents (read in 2026; none of the services was tried):

rds       "Understanding the rds_superuser role" and "Event triggers for RDS for PostgreSQL" (Amazon RDS User Guide;
          the same in Aurora's): the main user is NOSUPERUSER CREATEDB CREATEROLE NOREPLICATION and a member of
          rds_superuser, which it may grant. That session_replication_role may be set by members of rds_superuser, and not by those of
          rds_replication: dotCMS issue 21065. pg_authid cannot be read: "Best practices for migrating PostgreSQL
          databases to Amazon RDS" (AWS Database Blog).
aurora    as rds; and there is no WAL of its own: unless rds.logical_replication is on, pg_current_wal_lsn() fails
          with 55000 (mackerel-agent-plugins pull request 804, pg_gather issue 9, DataDog integrations-core issue
          20356), of old versions with 0A000 (nagios-plugins issue 542). pg_control_system() is taken away here
          because nobody could be found who says that it works.
cloudsql  "About PostgreSQL users and roles" (Cloud SQL documentation): CREATEROLE CREATEDB LOGIN, not SUPERUSER or
          REPLICATION, a member of cloudsqlsuperuser. session_replication_role is refused (mikro-orm issue 190)
          unless the role has REPLICATION (pgdog pull request 1590), which its administrators may give.
azure     "Access management for Azure Database for PostgreSQL" and "Describe built-in server roles" (Microsoft Learn):
          the server admin is NOSUPERUSER CREATEDB CREATEROLE REPLICATION, a member of azure_pg_admin.
          session_replication_role is for administrators (Microsoft Q&A 1879117). Extensions must be in the server
          parameter azure.extensions ("Possible errors when managing extensions").
heroku    "Heroku Postgres Credentials" (Heroku Dev Center): one role owns the database and cannot create roles. It is
          a member of pg_monitor, pg_read_all_settings, pg_read_all_stats and pg_signal_backend; its name and that of
          the database are random, so they differ on the two sides. session_replication_role is refused
          (postgresql-audit issue 31). The schema _heroku with its event triggers belongs to heroku_admin: dumps of
          such databases in public repositories; its rights may be restricted (heroku/cli pull request 1648).
owner     no service: a role that owns the database and its tables, and nothing else.

Not imitated: what the services changed in PostgreSQL itself. Below version 15 nobody but a superuser can be allowed
to set session_replication_role, so there `replica` has no effect.
"""

from typing import NamedTuple

from .cluster import random_name


class Provider(NamedTuple):
    name: str
    groups: str = ""  # the roles that the service has, made by a superuser
    admin: str = "login"  # attributes of the role that the customer gets
    member_of: str = ""  # and the role it is a member of
    owns_database: str = ""  # a role of the service; "": the customer's own
    replica: str = ""  # who may set session_replication_role
    creates_roles: bool = True  # then the tables belong to a role of their own, of which the admin is a member
    random_names: bool = False  # of role and database
    extensions: str = ""  # the parameter that lists those that may be created
    database: str = ""  # what is in a new database, made by a superuser


# a function of another name: the server finds the code of its own ones by their oid, whatever the catalog says
AURORA_DATABASE = """
alter function pg_catalog.pg_current_wal_lsn() rename to pg_current_wal_lsn_elsewhere;
create function pg_catalog.pg_current_wal_lsn() returns pg_lsn language plpgsql as
    $$ begin raise exception 'wal_level must be set to ''logical''' using errcode = '55000'; end $$;
revoke execute on function pg_control_system() from public
"""

HEROKU_DATABASE = """
create schema _heroku authorization heroku_admin;
create function _heroku.create_ext() returns event_trigger language plpgsql security definer as
    $$ begin if tg_tag = 'CREATE EXTENSION' then raise debug 'created'; end if; end $$;
create function _heroku.extension_before_drop() returns event_trigger language plpgsql security definer as
    $$ begin if tg_tag = 'DROP EXTENSION' then raise debug 'dropped'; end if; end $$;
alter function _heroku.create_ext() owner to heroku_admin;
alter function _heroku.extension_before_drop() owner to heroku_admin;
-- of databases with a data connector
create table _heroku.connector (id int primary key, state text);
create materialized view _heroku.connected as select id from _heroku.connector;
create sequence _heroku.numbers;
alter table _heroku.connector owner to heroku_admin;
alter materialized view _heroku.connected owner to heroku_admin;
alter sequence _heroku.numbers owner to heroku_admin;
create event trigger extension_before_drop on ddl_command_start execute procedure _heroku.extension_before_drop();
create event trigger log_create_ext on ddl_command_end execute procedure _heroku.create_ext();
alter event trigger extension_before_drop owner to heroku_admin;
alter event trigger log_create_ext owner to heroku_admin;
revoke usage on schema public from public;
"""

# what the service may do there at any time
HEROKU_CHANGES = """
create table _heroku.more (id int primary key, connector int references _heroku.connector);
create function _heroku.more() returns int language sql set work_mem = '1MB' as 'select 1';
create type _heroku.state as enum ('on', 'off');
alter table _heroku.connector add more text;
comment on schema _heroku is 'of the service';
grant usage on schema _heroku to public;
alter default privileges for role heroku_admin in schema _heroku grant select on tables to public;
refresh materialized view _heroku.connected
"""

RDS_GROUPS = """
create role rds_password; create role rds_replication; create role rds_superuser;
grant pg_monitor, pg_signal_backend, rds_password, rds_replication to rds_superuser
"""

PROVIDERS = {
    provider.name: provider
    for provider in (
        Provider("owner", creates_roles=False),
        Provider(
            "rds",
            groups=RDS_GROUPS,
            admin="login createdb createrole",
            member_of="rds_superuser",
            replica="rds_superuser",
        ),
        Provider(
            "aurora",
            groups=RDS_GROUPS,
            admin="login createdb createrole",
            member_of="rds_superuser",
            replica="rds_superuser",
            database=AURORA_DATABASE,
        ),
        Provider(
            "cloudsql",
            groups="""create role cloudsqlsuperuser createdb createrole;
                      grant pg_monitor, pg_signal_backend to cloudsqlsuperuser""",
            admin="login createdb createrole",
            member_of="cloudsqlsuperuser",
            owns_database="cloudsqlsuperuser",
            database="alter schema public owner to cloudsqlsuperuser",
        ),
        Provider(
            "azure",
            groups="""create role azure_pg_admin createdb createrole;
                      grant pg_monitor, pg_signal_backend to azure_pg_admin""",
            admin="login createdb createrole replication",
            member_of="azure_pg_admin",
            owns_database="azure_pg_admin",
            replica="azure_pg_admin",
            extensions="azure.extensions",
        ),
        Provider(
            "heroku",
            groups="create role heroku_admin superuser",
            admin="login in role pg_monitor, pg_read_all_settings, pg_read_all_stats, pg_signal_backend",
            creates_roles=False,
            random_names=True,
            database=HEROKU_DATABASE + "alter schema public owner to {admin}",
        ),
    )
}


class Customer:
    """The two roles of a customer on one node: admin, as which pgtandem connects, and app, which owns the tables.

    `names` is what another node's customer has: roles and databases are called the same on both sides, except where
    the service invents their names.
    """

    def __init__(self, provider, node, names=None):
        self.provider = provider
        self.node = node
        self._old_dbname = node.dbname
        cluster = node.cluster
        if names is None or provider.random_names:
            names = random_name("u"), random_name("app")
        self.admin, self.app = names if provider.creates_roles else (names[0], names[0])
        for statement in filter(str.strip, provider.groups.split(";")):
            cluster.sql("postgres", statement)
        cluster.sql("postgres", f"create role {self.admin} {provider.admin}")
        if provider.member_of:
            cluster.sql("postgres", f"grant {provider.member_of} to {self.admin} with admin option")
        if provider.replica and node.number >= 150000:
            cluster.sql("postgres", f"grant set on parameter session_replication_role to {provider.replica}")
        if provider.random_names:
            node.dbname = random_name("d")
            cluster.sql("postgres", f"alter database {self._old_dbname} rename to {node.dbname}")
        cluster.sql("postgres", f"alter database {node.dbname} owner to {provider.owns_database or self.admin}")
        if provider.database:
            node.sql(provider.database.replace("{admin}", self.admin))
        self.allow_extensions("pgcrypto, hstore")
        if provider.creates_roles:
            # what the guide tells to do, as the admin may do it
            self.sql(f"create role {self.app} login; grant {self.app} to {self.admin};"
                     f"grant create, temporary on database {node.dbname} to {self.app}")  # fmt: skip
        node.user = self.admin

    @property
    def names(self):
        return self.admin, self.app

    @property
    def app_conninfo(self):
        return self.node.cluster.conninfo(self.node.dbname, self.app)

    def allow_extensions(self, names):
        """In the service's console."""
        if self.provider.extensions:
            self.node.sql(f"alter role {self.admin} set {self.provider.extensions} = '{names}'")

    def sql(self, statements):
        return self.node.sql(statements, user=self.admin)

    def create(self, schema):
        return self.node.cluster.sql(self.node.dbname, schema, user=self.app)

    def remove(self):
        cluster = self.node.cluster.ensure_running()
        cluster.drop_db(self.node.dbname)
        if self.provider.replica and self.node.number >= 150000:
            cluster.sql("postgres", f"revoke all on parameter session_replication_role from {self.provider.replica}")
        groups = [word for statement in self.provider.groups.split(";")
                  for word in statement.split("create role ")[1:]]  # fmt: skip
        for role in [self.app, self.admin, *(group.split()[0] for group in groups)]:
            cluster.drop_role(role)
