"""Catalogues of a database made by other numbered files and of one made by the files here, compared once by hand.

`python -m tests.memory.postgres.catalogues FOLDER`, where FOLDER holds numbered files that need no function files.
"""

import asyncio
import sys
import tempfile
from pathlib import Path

import psycopg

from app.bootstrap import FUNCTIONS
from memory.postgres.embedded import Embedded, attach
from memory.postgres.migrate import migrate
from memory.postgres.sql_files import migrations

_OURS = "nspname !~ '^pg_|information_schema'"
_ACL = "(select array_agg(x::text order by x::text) from unnest({}) x)::text"
QUERIES = {
    "schemas": f"select nspname, nspowner::regrole::text, {_ACL.format('nspacl')} from pg_namespace where {_OURS}",
    "relations": f"""
      select nspname, relname, relkind::text, relowner::regrole::text, relpersistence::text, relrowsecurity,
             relforcerowsecurity, reloptions::text, {_ACL.format("relacl")}, obj_description(c.oid, 'pg_class')
        from pg_class c join pg_namespace n on n.oid = relnamespace where {_OURS}
         and relkind in ('r', 'p', 'v', 'S')""",
    "columns": f"""
      select c.oid::regclass::text, row_number() over (partition by c.oid order by attnum), attname,
             format_type(atttypid, atttypmod), attnotnull, attidentity::text, attgenerated::text,
             pg_get_expr(adbin, adrelid), attstorage::text, attstattarget, {_ACL.format("attacl")},
             col_description(c.oid, attnum)
        from pg_attribute a join pg_class c on c.oid = attrelid join pg_namespace n on n.oid = relnamespace
        left join pg_attrdef on adrelid = c.oid and adnum = attnum
       where {_OURS} and relkind in ('r', 'p', 'v') and attnum > 0 and not attisdropped""",
    "constraints": f"""
      select conrelid::regclass::text, conname, contype::text, convalidated, condeferrable, pg_get_constraintdef(o.oid)
        from pg_constraint o join pg_namespace n on n.oid = connamespace where {_OURS} and conrelid <> 0""",
    "indexes": f"""
      select pg_get_indexdef(indexrelid), indisvalid from pg_index join pg_class c on c.oid = indrelid
        join pg_namespace n on n.oid = relnamespace where {_OURS}""",
    "policies": """
      select polrelid::regclass::text, polname, polcmd::text, polpermissive, polroles::regrole[]::text,
             pg_get_expr(polqual, polrelid), pg_get_expr(polwithcheck, polrelid) from pg_policy""",
    "triggers": "select tgenabled::text, pg_get_triggerdef(oid) from pg_trigger where not tgisinternal",
    "views": f"""
      select relname, pg_get_viewdef(c.oid) from pg_class c join pg_namespace n on n.oid = relnamespace
       where {_OURS} and relkind = 'v'""",
    "functions": f"""
      select nspname, proname, oidvectortypes(proargtypes), proowner::regrole::text, {_ACL.format("proacl")},
             pg_get_functiondef(p.oid), obj_description(p.oid, 'pg_proc')
        from pg_proc p join pg_namespace n on n.oid = pronamespace
       where {_OURS} and prokind <> 'a'
         and not exists (select 1 from pg_depend where objid = p.oid and deptype = 'e')""",
    "sequences": """
      select schemaname, sequencename, sequenceowner, data_type::text, start_value, min_value, max_value, increment_by,
             cycle, cache_size from pg_sequences""",
    "types": f"""
      select nspname, typname, (select array_agg(enumlabel order by enumsortorder) from pg_enum
                                 where enumtypid = t.oid)::text
        from pg_type t join pg_namespace n on n.oid = typnamespace where {_OURS} and typtype in ('e', 'd')""",
    "default privileges": "select defaclrole::regrole::text, defaclobjtype::text, defaclacl::text from pg_default_acl",
    "database": f"""
      select datdba::regrole::text, {_ACL.format("datacl")} from pg_database where datname = current_database()""",
    "rows of checkpoint_migrations": "select v from checkpoint_migrations",
}


def main(folder: Path) -> None:
    """Make both databases, each on a server of its own, and print what differs."""
    with tempfile.TemporaryDirectory(prefix="cs-") as root:
        Path(root).chmod(0o711)
        with attach(Path(root, "old")) as old, attach(Path(root, "new")) as new:
            _apply(old, folder)
            asyncio.run(migrate(new.urls.owner, FUNCTIONS))
            for what, query in QUERIES.items():
                before, after = _read(old, query), _read(new, query)
                print(f"{what}: {len(before)} before, {len(after)} after, {len(before & after)} equal")  # noqa: T201  # its output
                for sign, rows in (("-", before - after), ("+", after - before)):
                    for row in sorted(rows):
                        print(f"  {sign} {' | '.join(row)}")  # noqa: T201  # its output


def _apply(server: Embedded, folder: Path) -> None:
    with psycopg.connect(server.urls.owner) as connection:
        for file in migrations(folder):
            connection.execute("set local search_path = public, pg_temp")
            connection.execute("set local check_function_bodies = off")
            connection.execute(file.statements.encode())
            connection.commit()
        connection.execute("revoke temporary on database countersign from public")
        connection.execute("grant create on database countersign to cs_world")


def _read(server: Embedded, query: str) -> set[tuple[str, ...]]:
    with psycopg.connect(server.urls.superuser) as connection:
        return {tuple(map(str, row)) for row in connection.execute(query.encode()).fetchall()}


if __name__ == "__main__":
    main(Path(sys.argv[1]))
