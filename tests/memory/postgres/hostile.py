"""Hostile statements by sort, made of every table, column and function that there is; run by test_hostile.py."""

from collections.abc import Sequence
from dataclasses import dataclass

Statements = dict[str, list[str]]

_OF_TABLES = {
    "plain": "select t.* from {t} t",
    "as json": "select to_jsonb(t) from {t} t",
    "aggregated": "select string_agg(t::text, ',') from {t} t",
    "always true": "select t.* from {t} t where true or t.ctid is not null",
    "joined with itself": "select a::text from {t} a full join {t} b on true limit 1000",
    "recursive": "with recursive r as (select t::text as x from {t} t union select x from r) select x from r",
    "grouped": "select max(t::text) from {t} t having count(*) > 0",
    "without row security": "set local row_security = off; select t.* from {t} t",
    "sampled": "select t.* from {t} t tablesample system (100)",
    "by a cursor": "declare c cursor for select t.* from {t} t; fetch all from c",
    "copied": "copy (select t.* from {t} t) to stdout",
    "explained": "explain (verbose) select t.* from {t} t",
    "deleted": "delete from {t} returning *",
    "locked": "select t.* from {t} t for update",
    "merged": "merge into {t} t using (select 1) s on true when matched then delete returning t.*",
    "as xml": "select table_to_xml('{t}', true, false, '')",
    "by a notice": "do $$ begin raise exception '%', (select string_agg(t::text, ',') from {t} t); end $$",
}
_OF_COLUMNS = {
    "by a cast that fails": "select cast({c}::text || 'x' as int) from {t}",
    "by a division that fails": "select 1 / (length({c}::text) - length({c}::text)) from {t}",
    "sampled values": "select most_common_vals, histogram_bounds from pg_stats where tablename='{t}' and attname='{c}'",
    "distinct": "select distinct {c} from {t}",
}
_OF_ENTRIES = (
    'select set_config(\'countersign.entry\', \'{{"tenant":"{tenant}","principal":"{person}"}}\', {local})',
    "select set_config('countersign.entry', gen_random_uuid() || '{{\"tenant\":\"{tenant}\"}}', {local})",
    'select enter(\'{{"tenant":"{tenant}","principal":"{person}","pid":1,"at":1}}\', \'\')',
    "select enter('{tenant}', '{person}', '{{}}', '{{}}')",
    'select take_entry(\'{{"tenant":"{tenant}","principal":"{person}"}}\')',
    "select setval('entry_seal_high', 1), setval('entry_seal_low', 1)",
)
_ROLES = ("cs_owner", "cs_system", "cs_worker", "cs_world", "postgres", "pg_read_all_data", "pg_monitor")
_VIEWS = (
    *(
        "pg_stat_activity",
        "pg_locks",
        "pg_prepared_statements",
        "pg_cursors",
        "pg_stats",
        "pg_stats_ext",
        "pg_settings",
    ),
    *("pg_stat_user_tables", "pg_statio_user_tables", "pg_roles", "pg_user", "pg_policies", "pg_tables", "pg_views"),
    *(
        "pg_indexes",
        "pg_sequences",
        "pg_largeobject_metadata",
        "pg_stat_progress_copy",
        "pg_stat_database",
        "pg_seclabels",
    ),
    *("pg_authid", "pg_shadow", "pg_statistic", "pg_statistic_ext_data", "pg_hba_file_rules", "pg_file_settings"),
    *("pg_largeobject", "pg_replication_slots", "pg_stat_replication", "pg_available_extensions", "pg_publication"),
    *("information_schema.columns", "information_schema.routines", "information_schema.table_privileges"),
)
_FILES = (
    "select pg_read_file('postgresql.conf')",
    "select pg_read_binary_file('PG_VERSION')",
    "select * from pg_ls_dir('.')",
    "select pg_stat_file('PG_VERSION')",
    "copy (select 1) to 'stolen'",
    "copy (select 1) to program 'true'",
    "select lo_import('PG_VERSION')",
    "select * from pg_ls_logdir()",
    "create extension dblink",
    "create function f() returns int language sql as 'select 1'",
    "create temporary table mine (n int)",
    "create schema mine",
    "alter system set log_statement = 'all'",
    "load 'x.so'",
)
_WORKERS = (
    "select args from queue.procrastinate_jobs",
    "delete from queue.procrastinate_jobs returning *",
    "update queue.procrastinate_jobs set args = '{{}}' returning *",
    "select * from queue.procrastinate_events",
    "select * from queue.procrastinate_workers",
    "select queue.procrastinate_fetch_job_v2(null, null)",
    "select * from lease_run('{run}', 1, array['governed'])",
    "select * from sweep_runs('-1 day')",
    "select * from take_runs(1, array['governed'], 10)",
    "select outlive_neighbour(1)",
    "select beat_runs(0)",
    "select * from expire_approvals()",
    "select * from crowded_scopes(0, 0, 1000)",
    "select * from foreign_scopes('x', 1000)",
    "select * from count_foreign('x', '{tenant}')",
    "select * from lagging_knowledge('x', 1000)",
    "select * from due_doubts('{{}}', 100)",
    'select * from heal_doubt(\'{{"effect":"{run}","looks":0}}\')',
    "select * from take_due_check()",
    "select * from check_standings()",
    "select * from tenants_with_news()",
    "select note_missed_news()",
    "select * from noted_duties()",
    "select note_duty('x', 'y')",
    "select sweep_memories(1000)",
    "select sweep_memory_archive(1000)",
    "select sweep_transcripts(1000)",
    "select * from due_transcripts('-1 day', 1000)",
    "select read_transcript('{run}')",
    "select index_phrases(1)",
    "select nextval('worker_numbers')",
)


@dataclass(frozen=True)
class Prey:
    """Somebody whose things are looked for: names of what exists, which a hostile statement may know."""

    tenant: str
    person: str
    run: str
    memory: str
    handle: str


def of_tables(tables: Sequence[str]) -> Statements:
    """Return a statement of each sort for each table."""
    return {sort: [text.format(t=table) for table in tables] for sort, text in _OF_TABLES.items()}


def of_columns(columns: Sequence[tuple[str, str]]) -> Statements:
    """Return a statement of each sort for each column."""
    return {sort: [text.format(t=table, c=column) for table, column in columns] for sort, text in _OF_COLUMNS.items()}


def of_everything_else(tables: Sequence[str], prey: Sequence[Prey]) -> Statements:
    """Return statements that forge entries, change roles, read the catalogue and files, and do what workers do."""
    forged = [
        f"{text.format(tenant=victim.tenant, person=victim.person, local=local)}; select t::text from {table} t"
        for victim in prey
        for text in _OF_ENTRIES
        for local in ("true", "false")
        for table in ("memories", "runs", "journal", "principals")
    ]
    return {
        "forged entries": forged,
        "other roles": [f"set role {role}; select t::text from {table} t" for role in _ROLES for table in tables[::9]],
        "catalogue": [f"select v::text from {view} v" for view in _VIEWS],
        "files and objects": list(_FILES),
        "as a worker": [text.format(tenant=x.tenant, run=x.run) for x in prey for text in _WORKERS],
    }
