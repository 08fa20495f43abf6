"""Table of faults of the database: what breaks, how it is mended, and how a run that meets it must end.

None may lead to an effect. `docs/faults.md` is written from here.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Fault:
    """One fault; its SQL runs above all rules, with {run} and {tenant} filled in."""

    name: str
    status: str
    """Status of the run: `queued` if it was put back for later."""
    reason: str | None
    breaks: str
    mends: str = ""
    heals: bool = True
    """Whether the run, resumed after the mending, has its one effect."""

    def __str__(self) -> str:
        return self.name


STOPPED = ("stopped", "record_refused")
PUT_BACK = ("queued", None)
STALE = ("stopped", "stale_policy")


def refuses(table: str, status: tuple[str, str | None] = STOPPED, *, check: str = "false", name: str = "") -> Fault:
    """A table that does not take a row."""
    breaks = f"alter table {table} add constraint broken check ({check}) not valid"
    return Fault(name or f"`{table}` refuses every row", *status, breaks, f"alter table {table} drop constraint broken")


def is_gone(table: str, status: tuple[str, str | None] = STOPPED) -> Fault:
    """A table that is not there."""
    schema, _, name = table.rpartition(".")
    away = f"{schema}.away" if schema else "away"
    return Fault(
        f"table `{table}` is gone",
        *status,
        f"alter table {table} rename to away",
        f"alter table {away} rename to {name}",
    )


def lacks(function: str, arguments: str = "jsonb", status: tuple[str, str | None] = STOPPED) -> Fault:
    """A function that is not there."""
    breaks = f"alter function {function}({arguments}) rename to away"
    schema, _, name = function.rpartition(".")
    away = f"{schema}.away" if schema else "away"
    return Fault(
        f"function `{function}` is gone", *status, breaks, f"alter function {away}({arguments}) rename to {name}"
    )


def may_not(right: str, thing: str, role: str, status: tuple[str, str | None] = STOPPED) -> Fault:
    """A right that was taken away."""
    name = f"`{role}` may no longer {right} `{thing.removeprefix('function ')}`"
    return Fault(name, *status, f"revoke {right} on {thing} from {role}", f"grant {right} on {thing} to {role}")


def entry_raises(kind: str, code: str, status: tuple[str, str | None]) -> Fault:
    """A trigger that refuses one kind of journal entry with an SQL state."""
    breaks = f"""
    create function broken() returns trigger language plpgsql as $$ begin
      if new.body::jsonb ->> 'kind' = '{kind}' then raise exception 'refused' using errcode = '{code}'; end if;
      return new;
    end $$;
    create trigger broken before insert on journal for each row execute function broken()
    """
    title = {"53100": "the disk is full at", "P0001": "a trigger refuses"}[code]
    return Fault(
        f"{title} the entry `{kind}`", *status, breaks, "drop trigger broken on journal; drop function broken()"
    )


BEFORE_THE_CALL = [
    Fault(
        "another policy is in force", *STALE, "update authority set policy = repeat('0', 64) where tenant = '{tenant}'"
    ),
    Fault("no policy is in force", *STALE, "delete from authority where tenant = '{tenant}'"),
    Fault(
        "the policy in force cannot be seen",
        *STALE,
        "alter policy tenant on authority using (false)",
        "alter policy tenant on authority using (tenant = current_tenant())",
    ),
    refuses("journal", PUT_BACK),
    is_gone("journal", PUT_BACK),
    may_not("insert", "journal", "cs_owner", PUT_BACK),
    entry_raises("proposed", "P0001", STOPPED),
    entry_raises("permitted", "P0001", STOPPED),
    entry_raises("proposed", "53100", ("database_full", None)),
    entry_raises("permitted", "53100", ("database_full", None)),
    lacks("claim"),
    lacks("authority_refusal"),
    lacks("is_killed", "text, text, text, text"),
    lacks("permits.issue", "text, text, boolean, jsonb"),
    lacks("authority_lock_shared", ""),
    lacks("journal_record", "runs, jsonb, jsonb, jsonb[]"),
    lacks("journal_write", "runs, jsonb, jsonb[]", PUT_BACK),
    lacks("unload", "text, integer, jsonb, bytea"),
    lacks("store_checkpoint", "jsonb, bytea"),
    lacks("adopt_plan", "text, integer, jsonb"),
    lacks("enter", "text, bytea", ("unavailable", None)),
    may_not("execute", "function claim(jsonb)", "cs_app"),
    may_not("insert", "effects", "cs_owner"),
    may_not("insert", "permits.permit", "cs_owner"),
    refuses("effects"),
    refuses("effects", check="sent is null", name="`effects` refuses the time of a send"),
    refuses("permits.permit"),
    is_gone("effects"),
    is_gone("permits.permit"),
    is_gone("authority"),
    is_gone("kills"),
    is_gone("knowledge"),
    refuses("checkpoints"),
    is_gone("checkpoints"),
    Fault(
        "rows of `effects` are for nobody",
        *STOPPED,
        "alter policy tenant on effects with check (false)",
        "alter policy tenant on effects with check (tenant = current_tenant())",
    ),
    Fault(
        "the key of entries is another",
        "unavailable",
        None,
        "create table away as select * from entry_key; update entry_key set inner_pad = outer_pad",
        "update entry_key k set inner_pad = a.inner_pad from away a; drop table away",
    ),
    *(
        Fault(
            f"the {unit} spent overflow what a number holds",
            "stopped",
            "budget_exceeded",
            f"update runs set spent_{unit} = 9223372036854775807 where id = '{{run}}'",
            heals=False,
        )
        for unit in ("tokens", "micros", "calls")
    ),
    Fault(
        "the run is cancelled",
        "cancelled",
        "cancelled",
        "update runs set cancel = 'enough' where id = '{run}'",
        heals=False,
    ),
    Fault(
        "somebody keeps the lock of all claims",
        *PUT_BACK,
        "alter function claim(jsonb) set lock_timeout = '5ms'",
        "alter function claim(jsonb) reset lock_timeout",
    ),
]
"""Met by a run whose step needs nobody's approval; the database breaks after the request was taken."""

AFTER_THE_CALL = [
    lacks("settle"),
    entry_raises("outcome", "P0001", STOPPED),
    entry_raises("outcome", "53100", ("stopped", "in_doubt")),
    refuses("effects", check="state <> 'done'", name="`effects` refuses that it was done"),
    entry_raises("audited", "P0001", STOPPED),
    entry_raises("ended", "P0001", PUT_BACK),
    lacks("finish_run", "text, integer, text, text, text, jsonb", PUT_BACK),
    lacks("end_run", "text, integer, jsonb, jsonb, vector[]", PUT_BACK),
]
"""Met when the service has acted: the one effect is not repeated, and recorded in the end."""

AFTER_THE_VOTES = [
    Fault(
        "the round has expired",
        "stopped",
        "approval_timeout",
        "update approvals set expires = now() where run = '{run}'",
    ),
    Fault("another policy is in force than the one asked under", "stopped", "stale_policy", BEFORE_THE_CALL[0].breaks),
    Fault("the digest of the item is another", "waiting", None, "update approval_items set digest = repeat('a', 64)"),
    Fault("the item is used up", "waiting", None, "update approval_items set consumed = now()"),
    Fault("the agreement is over", "waiting", None, "update approvals set valid_until = now() where run = '{run}'"),
    Fault("the voter has left the group", "waiting", None, "update principals set groups = '{{}}' where id = 'bob'"),
    Fault("the voter's limit was lowered", "waiting", None, "update principals set limit_alone = 0 where id = 'bob'"),
    Fault("the votes are gone", "waiting", None, "delete from votes"),
    Fault("the vote is a rejection in the table", "waiting", None, "update votes set decision = 'reject'"),
    Fault("the vote is somebody's outside the group", "waiting", None, "update votes set approver = 'dave'"),
    is_gone("votes"),
    is_gone("approvals", PUT_BACK),
    is_gone("approval_items"),
    is_gone("principals"),
    lacks("covering_approval"),
    refuses("approval_items", check="consumed is null", name="`approval_items` refuses to be used up"),
]
"""Met between the votes that were needed and the claim that rests on them."""
BEFORE_THE_VOTES = [
    Fault("approved in the table without votes", "waiting", None,
          "update approvals set status = 'approved', valid_until = now() + interval '1 hour' where run = '{run}'; "
          "update runs set status = 'queued', waits_for = null where id = '{run}'"),
    Fault("a vote is a row for somebody outside the group", "waiting", None,
          "insert into votes select tenant, id, 'dave', 'approve', '', 'x', nonce from approvals where run = '{run}'"),
    Fault("the round is gone", "waiting", None,
          "delete from approval_items where approval in (select id from approvals where run = '{run}')"),
]  # fmt: skip
"""Met while a round is open; nobody votes, and the run is woken all the same."""
