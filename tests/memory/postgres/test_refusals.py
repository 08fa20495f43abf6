"""Refusals of the database: each state is told by its code, and only the server's own words mean wrong secrets."""

import psycopg
import pytest

from memory.postgres.refusals import is_login_refusal, is_secret_refusal, outage_of

SOCKET = 'connection to server on socket "/data/.s.PGSQL.5432" failed: '
SECRETS = (
    'FATAL:  password authentication failed for user "cs_app"',
    'FATAL:  role "cs_app" does not exist',
    'FATAL:  role "cs_app" is not permitted to log in',
    'FATAL:  no pg_hba.conf entry for host "10.0.0.1", user "cs_app", database "x", no encryption',
)
OUTAGES = (
    "Connection refused\n\tIs the server running locally and accepting connections on that socket?",
    "No such file or directory",
    "FATAL:  the database system is starting up",
    "FATAL:  the database system is in recovery mode",
    "FATAL:  terminating connection due to unexpected postmaster exit",
    "server closed the connection unexpectedly",
    'could not open file "base/5/1259": it does not exist',
)


@pytest.mark.parametrize("words", SECRETS)
def test_the_servers_own_refusal_means_wrong_secrets(words: str) -> None:
    assert is_secret_refusal(psycopg.OperationalError(SOCKET + words))


@pytest.mark.parametrize("words", OUTAGES)
def test_nothing_else_means_wrong_secrets(words: str) -> None:
    error = psycopg.OperationalError(SOCKET + words)
    outage = outage_of(error, "the database")
    assert (is_secret_refusal(error), is_login_refusal(error)) == (False, False)
    assert (outage and outage.code, "\n" in str(outage)) == ("unavailable", False)


def test_words_in_the_name_of_a_folder_are_not_the_servers() -> None:
    folder = '"/srv/password authentication failed/role x does not exist/.s.PGSQL.5432" failed: Connection refused'
    assert not is_login_refusal(psycopg.OperationalError(f"connection to server on socket {folder}"))


def test_a_database_that_is_not_there_is_no_matter_of_secrets() -> None:
    error = psycopg.OperationalError(f'{SOCKET}FATAL:  database "nowhere" does not exist')
    assert (is_login_refusal(error), is_secret_refusal(error)) == (True, False)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (
            psycopg.errors.ReadOnlySqlTransaction("cannot execute INSERT in a read-only transaction"),
            "database_read_only",
        ),
        (psycopg.errors.DiskFull("could not extend file: No space left on device"), "database_full"),
        (psycopg.errors.AdminShutdown("terminating connection due to administrator command"), "unavailable"),
        (psycopg.errors.UniqueViolation("duplicate key"), None),
    ],
)
def test_a_state_of_the_whole_database_has_its_code(error: psycopg.Error, code: str | None) -> None:
    outage = outage_of(error, "the database")
    assert (outage and outage.code) == code
