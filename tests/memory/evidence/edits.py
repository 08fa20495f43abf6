"""Edits by whoever owns the tables: each with the place at which the check must name it.

`{name}` stands for the ids of the office in which they are made (`test_check.Office`).
"""

from collections.abc import Mapping


def _put(old: str, new: str, kind: str) -> str:
    """Return an edit of the entry of a kind."""
    return f"update journal set body = replace(body, '{old}', '{new}') where run = '{{run}}' and kind = '{kind}'"


_OF_RUN = "where run = '{run}'"
JOURNAL: Mapping[str, tuple[str, int]] = {
    "a fact edited": (_put("alice", "mallo", "requested"), 1),
    "a person edited": (_put('"by": "bob"', '"by": "eve"', "vote"), 0),
    "a verdict edited": (_put('"policy": "', '"policy": "0', "permitted"), 0),
    "a need edited": (_put('"need": 1', '"need": 0', "held"), 0),
    "a digest edited": (_put('"digest": "', '"digest": "0', "permitted"), 0),
    "an outcome edited": (_put('"done"', '"failed"', "outcome"), 0),
    "a time edited": (
        f'update journal set body = replace(body, \'"at": "20\', \'"at": "19\') {_OF_RUN} and seq = 3',
        3,
    ),
    "a space added": (f"update journal set body = body || ' ' {_OF_RUN} and seq = 2", 2),
    "words edited": (
        f"update journal set words = replace(words, 'looks right', 'unread') {_OF_RUN} and kind = 'vote'",
        0,
    ),
    "words gone": (f"update journal set words = null, salt = null {_OF_RUN} and kind = 'vote'", 0),
    "a salt changed": (f"update journal set salt = gen_random_uuid() {_OF_RUN} and kind = 'vote'", 0),
    "a hash changed": (f"update journal set hash = sha256(hash) {_OF_RUN} and seq = 2", 2),
    "two entries swapped": (
        f"update journal set seq = seq + 100 {_OF_RUN} and seq in (2, 3); "
        f"update journal set seq = case seq when 102 then 3 else 2 end {_OF_RUN} and seq > 100",
        2,
    ),
    "one in the middle deleted": (f"delete from journal {_OF_RUN} and seq = 3", 3),
    "the last deleted": (f"delete from journal {_OF_RUN} and kind = 'ended'", 0),
    "all deleted": (f"delete from journal {_OF_RUN}", 1),
    "one inserted at the end": (
        "insert into journal (tenant, run, seq, prev, hash, body, words, salt) "
        "select l.tenant, l.run, l.seq + 1, l.hash, sha256(l.hash || convert_to(l.run, 'UTF8') || int4send(l.seq + 1) "
        "|| convert_to(v.body, 'UTF8')), v.body, v.words, v.salt "
        "from journal l join journal v on v.run = l.run and v.kind = 'vote' where l.run = '{run}' and l.kind = 'ended'",
        0,
    ),
    "one moved to another run": (f"update journal set run = '{{other}}', seq = 999 {_OF_RUN} and kind = 'vote'", 0),
    "one moved to another tenant": (f"reset role; update journal set tenant = 'x' {_OF_RUN} and seq = 4", 4),
    "the head turned back": ("update runs set seq = seq - 1 where id = '{run}'", 0),
    "the chain turned back": (
        "update runs r set seq = 3, head = j.hash from journal j where r.id = '{run}' and j.run = r.id and j.seq = 3; "
        f"delete from journal {_OF_RUN} and seq > 3",
        0,
    ),
    "its end written anew, and its head": (
        "update journal set body = replace(body, 'done', 'fail') where run = '{run}' and kind = 'ended'; "
        "update journal set hash = sha256(prev || convert_to(run, 'UTF8') || int4send(seq) || "
        "convert_to(body, 'UTF8')) where run = '{run}' and kind = 'ended'; "
        "update runs r set head = j.hash from journal j where r.id = '{run}' and j.run = r.id and j.kind = 'ended'",
        0,
    ),
    "the heads of two runs swapped": (
        "update runs r set head = o.head, seq = o.seq from runs o "
        "where r.id in ('{run}', '{other}') and o.id in ('{run}', '{other}') and o.id <> r.id",
        0,
    ),
    "a run removed whole, with all its rows": (
        "delete from journal where run = '{run}'; delete from votes; delete from approval_items; "
        "delete from approvals; delete from effects where run = '{run}'; delete from runs where id = '{run}'",
        1,
    ),
    "an act of administration edited": (
        """update journal set body = replace(body, '"scope": "tool"', '"scope": "all"') where kind = 'kill'""",
        0,
    ),
}
"""Entries: the statements, and the number of the first wrong entry, 0 for whichever it is."""

ROWS: Mapping[str, tuple[str, str]] = {
    "votes: another approver": (
        "update votes set approver = 'eve' where approval = '{approval}'",
        "votes {approval}/eve",
    ),
    "votes: another decision": (
        "update votes set decision = 'reject' where approval = '{approval}'",
        "votes {approval}/bob",
    ),
    "votes: another reason": (
        "update votes set reason = 'unread' where approval = '{approval}'",
        "votes {approval}/bob",
    ),
    "votes: another key": ("update votes set key = 'k' where approval = '{approval}'", "votes {approval}/bob"),
    "votes: another time": ("update votes set at = at - interval '1 day'", "votes {approval}/bob"),
    "votes: one deleted": ("delete from votes where approval = '{approval}'", "votes {approval}/bob"),
    "votes: one added": (
        "insert into votes (tenant, approval, approver, decision, reason, channel, nonce) "
        "values ('{tenant}', '{approval}', 'carol', 'approve', '', 'api', 'n')",
        "votes {approval}/carol",
    ),
    "approvals: another need": ("update approvals set need = 2 where id = '{approval}'", "approvals {approval}"),
    "approvals: another requester": ("update approvals set requester = 'bob'", "approvals {approval}"),
    "approvals: another exposure": ("update approvals set exposure = 1", "approvals {approval}"),
    "approvals: another question": (
        "update approvals set shown = shown || '{{\"amount\": 1}}'",
        "approvals {approval}",
    ),
    "approvals: other groups": ("update approvals set groups = '{{}}'", "approvals {approval}"),
    "approvals: another status": ("update approvals set status = 'rejected'", "approvals {approval}"),
    "approvals: another decider": ("update approvals set decided_by = 'dave'", "approvals {approval}"),
    "approvals: a longer life": (
        "update approvals set valid_until = valid_until + interval '9 days'",
        "approvals {approval}",
    ),
    "approvals: one deleted": (
        "delete from approvals where id = '{approval}'; delete from approval_items; delete from votes",
        "approvals {approval}",
    ),
    "approval_items: another amount": ("update approval_items set amount = 1", "approval_items {approval}/{digest}"),
    "approval_items: unused again": (
        "update approval_items set consumed = null, effect = null",
        "approval_items {approval}/{digest}",
    ),
    "approval_items: another digest": (
        "update approval_items set digest = repeat('a', 64)",
        "approval_items {approval}/" + "a" * 64,
    ),
    "effects: another key": ("update effects set key = 'shop:z' where id = '{effect}'", "effects {effect}"),
    "effects: another state": ("update effects set state = 'failed' where id = '{effect}'", "effects {effect}"),
    "effects: other arguments": ("update effects set args = '{{}}' where id = '{effect}'", "effects {effect}"),
    "effects: another amount": ("update effects set amount = 1 where id = '{effect}'", "effects {effect}"),
    "effects: another person": ("update effects set user_id = 'bob' where id = '{effect}'", "effects {effect}"),
    "effects: another response": ("update effects set outcome = '{{}}' where id = '{effect}'", "effects {effect}"),
    "effects: another time": ("update effects set claimed = claimed - interval '1 h'", "effects {effect}"),
    "effects: another run": ("update effects set run = '{other}' where id = '{effect}'", "effects {effect}"),
    "effects: one deleted": ("delete from effects where id = '{effect}'", "effects {effect}"),
    "effects: one copied": (
        'insert into effects select (jsonb_populate_record(e, \'{{"id": "copy", "key": "shop:y"}}\')).* '
        "from effects e where id = '{effect}'",
        "effects copy",
    ),
    "effects: as it was before": (
        "update effects set state = 'claimed', outcome = null, settled = null where id = '{effect}'",
        "effects {effect}",
    ),
    "runs: another requester": ("update runs set requester = 'bob' where id = '{run}'", "runs {run}"),
    "runs: another request": ("update runs set input = '{{\"request\": \"x\"}}' where id = '{run}'", "runs {run}"),
    "runs: another plan": ("update runs set plan = '{{}}' where id = '{run}'", "runs {run}"),
    "runs: another plan's hash": ("update runs set plan_hash = 'x' where id = '{run}'", "runs {run}"),
    "runs: another ending": (
        "update runs set status = 'failed', reason = 'step_failed' where id = '{run}'",
        "runs {run}",
    ),
    "runs: another answer": ("update runs set message = 'all is well' where id = '{run}'", "runs {run}"),
    "runs: a higher limit": ("update runs set limit_calls = limit_calls + 1 where id = '{run}'", "runs {run}"),
    "runs: another thread": ("update runs set thread = 'elsewhere' where id = '{run}'", "runs {run}"),
    "runs: one added": (
        'insert into runs select (jsonb_populate_record(r, \'{{"id": "copy", "thread": "copy", "seq": 0}}\')).* '
        "from runs r where id = '{run}'",
        "runs copy",
    ),
    "principals: a group": ("update principals set groups = '{{finance,admin}}' where id = 'dave'", "principals dave"),
    "principals: a limit": ("update principals set limit_alone = 10 ^ 9 where id = 'dave'", "principals dave"),
    "principals: one added": ("insert into principals (tenant, id) values ('{tenant}', 'eve')", "principals eve"),
    "principals: one deleted": ("delete from principals where id = 'dave'", "principals dave"),
    "keys: not revoked": ("update keys set revoked = null", "keys {key}"),
    "keys: another person's": ("update keys set principal = 'bob'", "keys {key}"),
    "keys: another secret": ("update keys set hash = sha256('mine')", "keys {key}"),
    "keys: one deleted": ("delete from keys", "keys {key}"),
    "kills: another reach": ("update kills set name = 'other'", "kills tool/other"),
    "kills: released": ("delete from kills", "kills tool/shop.peek"),
    "kills: another reason": ("update kills set reason = ''", "kills tool/shop.peek"),
    "authority: another policy": ("update authority set policy = 'x'", "authority policy"),
    "knowledge: another text": (
        "update knowledge set body = 'x', digest = encode(sha256('x'), 'hex')",
        "knowledge fact.shop/1",
    ),
    "knowledge: another publisher": ("update knowledge set published_by = 'carol'", "knowledge fact.shop/1"),
    "knowledge: one deleted": ("delete from knowledge_approvals; delete from knowledge", "knowledge fact.shop/1"),
    "knowledge_approvals: another person": (
        "update knowledge_approvals set approver = 'root'",
        "knowledge_approvals fact.shop/1/root",
    ),
    "results: another digest": ("update results set digest = repeat('0', 64)", "results {handle}"),
    "results: another count": ("update results set count = 1", "results {handle}"),
    "results: one deleted": ("delete from results", "results {handle}"),
    "result_rows: one edited": (
        "update result_rows set row = replace(row, '100', '101') where ord = 0",
        "results {handle}",
    ),
    "result_rows: one deleted": ("delete from result_rows where ord = 0", "results {handle}"),
    "result_rows: one added": (
        "insert into result_rows (tenant, principal, handle, ord, amount, row) "
        "select tenant, principal, handle, 9, 1, '{{}}' from results where handle = '{handle}'",
        "results {handle}",
    ),
    "result_rows: another amount": ("update result_rows set amount = 1 where ord = 0", "results {handle}"),
    "result_rows: another currency": (
        "update result_rows set currency = 'USD' where ord = 0",
        "results {handle}",
    ),
    "result_rows: no currency": ("update result_rows set currency = null where ord = 0", "results {handle}"),
    "result_rows: no JSON": ("update result_rows set row = 'x', amount = 0, currency = null", "results {handle}"),
}
"""Rows: the statements, and table and key of a row that must be named."""
