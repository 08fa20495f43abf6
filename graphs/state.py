"""State of a run: ids, positions and summaries that go from node to node; large results stay behind their handles.

Every flow's nodes read it, and return only the keys that they change. A key that nobody wrote is absent.
"""

from typing import Literal, NotRequired, TypedDict

from tools.action import Json

EndStatus = Literal["done", "failed", "denied", "stopped"]


class CandidateState(TypedDict):
    """A runbook in question, between two rounds of planning."""

    id: str
    version: int
    score: int
    """Similarity in thousandths; state holds no floats."""
    equal: bool
    probe: str


class Clarify(TypedDict):
    """A question to the requester, answered by their next message."""

    question: str
    candidates: list[dict[str, Json]]
    """Runbooks to choose from, by number or id."""
    runbook: NotRequired[str]
    """Runbook that lacks a detail."""
    missing: NotRequired[list[str]]
    """Types of the details that it lacks."""
    again: NotRequired[list[str]]
    """Runbooks whose probes are made again if the answer says yes."""


class Obstacle(TypedDict, total=False):
    """Why the current step did not simply go through; absent or None while all is well."""

    state: str
    """State of the outcome: held, denied, failed, unverified or in_doubt."""
    code: str | None
    message: str
    approval: str | None


class Contest(TypedDict):
    """What the audit found wrong, while people decide about it."""

    problems: list[str]
    action: str
    """The action whose outcome is in question; empty if it is not about one."""
    effect: str
    """Its effect; empty if it has none."""
    result: dict[str, Json]
    """What was reported for it."""


class Question(TypedDict):
    """What a question to people is about in all, and the lease under which it was put together."""

    minor: int
    currency: str | None
    """None if it is not about money."""
    fence: int


class Override(TypedDict):
    """Arguments that a person put in place of the planned ones, for one action."""

    step: str
    args: dict[str, Json]


class End(TypedDict):
    """How the run ends, as the auditor sees it."""

    status: EndStatus
    reason: str | None
    message: str
    body: dict[str, Json]


class State(TypedDict, total=False):
    """The state of one run; the first block is the planner's, the second belongs to those who act and check."""

    request: str
    """The requester's words, with the answers to questions appended."""
    amount_answer: str
    """The answer to the last question for an amount: it stands, whatever was unclear before."""
    inputs: dict[str, Json]
    """Inputs that the client gave."""
    runbook: str | None
    """Id of the runbook that the client asked for by name."""
    plan: dict[str, Json] | None
    """The plan that the run follows, as JSON; `graphs.execution.plans` gives it as a typed value."""
    round: int
    """How many plans the planner has made."""
    results: dict[str, dict[str, Json]]
    """Summary by step id, written once per finished step; `{"skipped": true}` for one that was not due."""
    candidates: list[CandidateState]
    """Runbooks in question."""
    note: str
    """What people should know about the plan."""
    clarify: Clarify | None
    verdict: str | None
    """Set if there is nothing to do: `nothing_wrong`."""
    stale: bool
    """True if the plan rests on knowledge that has a newer version."""

    plan_hash: str
    """Content address of the plan."""
    cursor: int
    """Index of the current step; the number of steps when all are finished."""
    item: int
    """Index of the current batch of the step."""
    tally: dict[str, Json]
    """Sums over the step's finished batches."""
    outcome: Obstacle | None
    questions: dict[str, Question]
    """By step: the question that covers it."""
    override: Override | None
    answers: int
    """How many of the requester's answers were used."""
    answered: bool
    """True if the open question has an answer that the planner has not seen."""
    failure: Obstacle | None
    """Why a step failed for good, while what was done is taken back."""
    contest: Contest | None
    accepted: list[str]
    """Outcomes, by `contested_name`, and problems that people accepted as they are."""
    audit: bool
    """True if the auditor must look before the next step."""
    undo: list[str]
    """Steps still to be compensated, in this order; present once a step failed for good."""
    undone: list[str]
    """Steps that were compensated."""
    manual: list[str]
    """Steps that people must take back."""
    end: End | None


Update = State
"""What a node returns: the keys that it changes."""
