"""Errors with stable codes, as one family; every room raises these and nothing else of its own."""

from typing import Literal, get_args

Code = Literal[
    # admission and authority
    "agent_scope",
    "fact_missing",
    "forged_authority",
    "key_reused",
    "killed",
    "no_capability",
    "policy_denied",
    "policy_error",
    "role_scope",
    "stale_knowledge",
    "stale_policy",
    "unknown_tool",
    "invalid_arguments",
    "tainted",
    # approvals
    "approval_decided",
    "approval_expired",
    "approval_rejected",
    "approval_required",
    "approval_stale",
    "approval_timeout",
    "approval_void",
    "duplicate_vote",
    "needs_another_group",
    "over_limit",
    "requester_excluded",
    "author_excluded",
    "no_approver_left",
    "wrong_decision",
    "wrong_nonce",
    # runs and plans
    "audit_failed",
    "budget_exceeded",
    "busy",
    "cancelled",
    "contract_violation",
    "lease_lost",
    "no_progress",
    "not_found",
    "plan_invalid",
    "unclear",
    "step_failed",
    "tool_failed",
    "unverified",
    "in_doubt",
    # clients and operation
    "bad_request",
    "configuration",
    "conflict",
    "database_full",
    "database_read_only",
    "forbidden",
    "headers_too_large",
    "idempotency_mismatch",
    "journal_broken",
    "lock_timeout",
    "record_refused",
    "request_timeout",
    "too_large",
    "too_many_connections",
    "too_many_wrong_keys",
    "unauthenticated",
    "unavailable",
    "unsupported_media_type",
    "key_claimed",
    "internal",
]
"""The closed list of codes that clients may rely on; `docs/codes.md` explains each."""

CODES: frozenset[str] = frozenset(get_args(Code))


class ControlError(Exception):
    """A failure: `code` is for programs, the message is for people and names the next step."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code: Code = code


class Permanent(ControlError):
    """Trying again cannot help; `script`, a text of ours and of nobody else, is what to run as it stands."""

    def __init__(self, code: Code, message: str, *, script: str = "") -> None:
        super().__init__(code, message)
        self.script = script


class Temporary(ControlError):
    """Trying again after `delay` seconds may help."""

    def __init__(self, code: Code, message: str, *, delay: float = 0.1, is_unsent: bool = False) -> None:
        super().__init__(code, message)
        self.delay = delay
        self.is_unsent = is_unsent
        """True if the request never left this side; False if the other side may have acted all the same."""


class Halt(ControlError):
    """The run must stop before its next call; a person may resume it once the reason is gone."""


class LeaseLost(Permanent):
    """Another worker holds this run now; the only right thing is to stop touching it."""

    def __init__(self, run: str) -> None:
        super().__init__("lease_lost", f"run {run!r} is led by another worker now; this one stops")
