"""Policy enforcement point of every action of every agent: `perform` admits, decides, claims, calls and settles.

The executor and the researcher call it, and the API for calls by people; nothing else holds the means to act. Any error
on the way is a denial; the journal has the intent before the call.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from memory.clock import Clock
from memory.embeddings.embedder import Embedder
from memory.embeddings.lexical import LEXICAL
from memory.errors import Halt, LeaseLost, Permanent
from memory.governance import authors
from memory.postgres.database import Database
from memory.runs import leases
from memory.runs.leases import Lease
from tools import answers, doubts, effects, judgement
from tools.action import Action, Decision, Json, Outcome
from tools.admission import AdmittedAction, admit, reversed_keys
from tools.approval_request import ApprovalRequest, compose, sum_of
from tools.calls import Calls
from tools.catalog import Catalog
from tools.confirmation import Confirmation
from tools.effects import Claim, StopCode
from tools.policy import PolicySet
from tools.tool import ServiceBinder

HALTING = frozenset(
    {"killed", "cancelled", "budget_exceeded", "no_progress", "stale_policy", "in_doubt", "no_approver_left"}
)
_IN_FLIGHT_SECONDS = 60.0
_IN_FLIGHT_POLL = 0.1


class Gateway:
    """Performs actions for runs that hold a lease."""

    def __init__(
        self,
        database: Database,
        catalog: Catalog,
        policy: PolicySet,
        services: ServiceBinder,
        clock: Clock,
        *,
        embedder: Embedder = LEXICAL,
    ) -> None:
        self._database = database
        self._catalog = catalog
        self._policy = policy
        self._services = services
        self._clock = clock
        self._calls = Calls(database, services, clock, embedder)

    async def perform(
        self, lease: Lease, action: Action, bundle: Sequence[Action] = (), view: Mapping[str, Json] | None = None
    ) -> Outcome:
        """Perform one action, or say why not.

        `bundle` lists the actions that people decide together with this one, `view` is shown to them beside it.
        Raises LeaseLost if another worker leads the run, and Halt if the run must stop before this call.
        """
        admission, decision = self._judge(lease, action)
        if admission is None or decision.verdict == "deny":
            return await self._refuse(lease, action, decision, admission)
        if action.compensates and not await self._takes_back(lease, admission):
            message = f"{action.tool!r} with these arguments does not take effect {action.compensates!r} back"
            refusal = Decision("deny", code="invalid_arguments", message=message)
            return await self._refuse(lease, action, refusal)
        if admission.tool.effect == "read":
            return await self._read(lease, admission, decision)
        return await self._effect(lease, admission, decision, bundle, view or {})

    async def look_again(self) -> list[str]:
        """Look at effects in doubt that are due; returns the runs that can go on now and wait to be woken."""
        return await doubts.look_again(self._database, self._catalog, self._services)

    def _judge(self, lease: Lease, action: Action) -> tuple[AdmittedAction | None, Decision]:
        """Admit and decide; nothing is returned to act on if the action is not this run's or not well-formed."""
        if (action.run, action.user) != (lease.run, lease.access.principal.id):
            message = f"step {action.step!r} speaks for another run or person than the one that is led here"
            return None, Decision("deny", code="forged_authority", message=message)
        try:
            admission = admit(action, self._catalog)
        except Permanent as error:
            return None, Decision("deny", code=error.code, message=str(error))
        return admission, self._policy.decide(action.role, action.tool, admission.facts)

    async def _read(self, lease: Lease, admission: AdmittedAction, decision: Decision) -> Outcome:
        key = f"read:{admission.action.plan_hash[:16]}:{admission.action.step}:{admission.args_hash[:16]}"
        body = {**effects.request(lease, admission, decision), "key": key}
        answer = await effects.begin_read(self._database, lease, body)
        if isinstance(answer, Outcome):
            return answer
        if answer != "go":
            return await self._stop(lease, admission, answer)
        performance = await self._calls.read(lease, admission)
        attempt = performance.attempt
        state = "done" if attempt.state == "done" else "failed"
        # Only a success gets a key and is replayed: a read that failed is tried again after a crash or a resume.
        entry: dict[str, Json] = {
            **({"key": key} if state == "done" else {}),
            **judgement.record(admission, decision),
            "step": admission.action.step,
            "call": admission.call_hash,
            "plan": admission.action.plan_hash,
            "state": state,
            "outcome": {"result": attempt.result, "message": answers.plain(attempt.message)},
            "cost": performance.cost.as_json(),
            "attempt": {"number": attempt.attempts},
            "checkpoint": admission.action.checkpoint,
        }
        return await effects.end_read(self._database, lease, entry)

    async def _effect(
        self,
        lease: Lease,
        admission: AdmittedAction,
        decision: Decision,
        bundle: Sequence[Action],
        view: Mapping[str, Json],
    ) -> Outcome:
        claim, confirmation = await self._claim_unless_so(lease, admission, decision)
        match claim.code:
            case "go" | "unfinished":
                return await self._act(lease, admission, claim, first_look=claim.code == "unfinished")
            case "recorded":
                return effects.outcome(claim.state, claim.outcome or {}, claim.effect)
            case "replay" | "forked":
                return await self._skip(lease, admission, claim, confirmation)
            case "approval_required":
                return await self._hold(lease, admission, decision, bundle, view)
            case "in_flight":
                return await self._stop(lease, admission, "in_doubt")
            case code:
                return await self._stop(lease, admission, code)

    async def _claim_unless_so(
        self, lease: Lease, admission: AdmittedAction, decision: Decision
    ) -> tuple[Claim, Confirmation]:
        """Claim; what was done before is looked at, and a state that is so no more is claimed anew."""
        body, confirmation = effects.request(lease, admission, decision), Confirmation("unchecked")
        body |= {"reverses": reversed_keys(admission, self._catalog), "compensates": admission.action.compensates}
        claim = await self._claim(lease, body)
        while claim.code in ("replay", "forked"):
            confirmation = await self._calls.look(lease, admission, claim)
            is_gone = confirmation.verdict == "contradicted" and admission.tool.sets_state
            # A fork is no licence: what the run before it has done, it does not do again by itself.
            if claim.code == "forked" or not is_gone:
                break
            claim = await self._claim(lease, {**body, "gone": claim.effect, "gone_check": confirmation.as_json()})
        return claim, confirmation

    async def _takes_back(self, lease: Lease, admission: AdmittedAction) -> bool:
        """Tell whether this is the declared reverse of the effect it names; only then may that effect happen anew."""
        try:
            original = await effects.show(self._database, lease.access, admission.action.compensates or "")
            reverse = self._catalog.get(original.tool).compensate
        except Permanent:
            return False
        return (original.run, reverse, original.args) == (lease.run, admission.tool.name, admission.args)

    async def _claim(self, lease: Lease, body: Mapping[str, Json]) -> Claim:
        """Claim; while another run or task is at the very same effect, wait for it, but not for ever."""
        seconds = 0.0
        claim = await effects.claim(self._database, lease, body)
        while claim.code == "in_flight" and seconds < _IN_FLIGHT_SECONDS:
            await self._clock.sleep(_IN_FLIGHT_POLL)
            seconds += _IN_FLIGHT_POLL
            claim = await effects.claim(self._database, lease, body)
        return claim

    async def _act(self, lease: Lease, admission: AdmittedAction, claim: Claim, *, first_look: bool) -> Outcome:
        action = admission.action
        performance = await self._calls.write(lease, admission, claim, first_look=first_look)
        settlement = await effects.settle(
            self._database,
            lease.access,
            claim,
            state=performance.state,
            outcome=performance.outcome,
            cost=performance.cost,
            attempt=performance.sends,
            checkpoint=action.checkpoint,
            extra=performance.check | ({"progress": action.progress} if action.progress else {}),
        )
        match settlement.code:
            case "superseded":
                raise LeaseLost(lease.run)
            case "killed":
                message = f"step {action.step!r} was stopped on its way; resuming looks first what came of it"
                raise Halt("killed", message)
            case "settled" | "already":
                outcome = effects.outcome(settlement.state, settlement.outcome, claim.effect)
        if outcome.state == "in_doubt":
            message = f"nobody knows whether effect {claim.effect!r} happened: `countersign effects resolve`"
            raise Halt("in_doubt", message)
        if performance.attempt.stopped_by == "cancelled" and outcome.state == "failed":
            raise Halt("cancelled", f"step {action.step!r} was cancelled before anything was sent")
        return replace(outcome, cost=performance.cost)

    async def _hold(
        self,
        lease: Lease,
        admission: AdmittedAction,
        decision: Decision,
        bundle: Sequence[Action],
        view: Mapping[str, Json],
    ) -> Outcome:
        requests = self._gather(lease, ApprovalRequest(admission, decision), bundle)
        if isinstance(requests, tuple):
            return await self._refuse(lease, *requests)
        question = compose(lease, requests, view, self._clock)
        code, approval = await effects.hold(self._database, lease, question)
        match code:
            case "held":
                return Outcome("held", approval=approval)
            case "approved":
                return await self._effect(lease, admission, decision, bundle, view)
            case "approval_rejected" | "approval_timeout":
                return Outcome("denied", code=code, approval=approval, message="people did not agree to this")
            case "no_approver_left":
                shortage = await authors.shortage(self._database, lease.access, question)
                return await self._stop(lease, admission, code, f"{shortage}; then resume the run")
            case refusal:
                return await self._stop(lease, admission, refusal)

    def _gather(
        self, lease: Lease, first: ApprovalRequest, bundle: Sequence[Action]
    ) -> list[ApprovalRequest] | tuple[Action, Decision, AdmittedAction | None]:
        """Return what people are asked together, or the action that forbids the question and its denial."""
        requests = [first]
        for action in bundle:
            other, verdict = self._judge(lease, action)
            if other is None or verdict.verdict == "deny":
                return action, verdict, other
            # Other people must be asked for what other groups decide; that question comes with its own step. What
            # anybody may decide, the people of this question may as well.
            if verdict.verdict == "hold" and verdict.groups in (first.decision.groups, frozenset()):
                requests.append(ApprovalRequest(other, verdict))
        try:
            sum_of(requests)
        except Permanent as error:
            return first.admission.action, Decision("deny", code=error.code, message=str(error)), None
        return requests

    async def _skip(self, lease: Lease, admission: AdmittedAction, claim: Claim, confirmation: Confirmation) -> Outcome:
        """Skip what was done before and is still so; what the world does not show is put before people."""
        action, effect = admission.action, claim.effect
        outcome = effects.outcome(claim.state, claim.outcome or {}, effect)
        is_skipped = confirmation.backs(admission.tool, is_done=claim.state == "done")
        body = {
            "kind": "skipped" if is_skipped else "contradicted",
            "key": f"skipped:{action.plan_hash[:16]}:{action.step}",
            "step": action.step,
            "tool": action.tool,
            "effect": effect,
            "reason": "already done under the same natural key",
            "checked": confirmation.is_checked,
            "check": confirmation.as_json(),
            "message": answers.plain(confirmation.message),
            "checkpoint": action.checkpoint,
        }
        await leases.record(self._database, lease, body)
        return confirmation.skip(outcome) if is_skipped else confirmation.contest(outcome)

    async def _stop(self, lease: Lease, admission: AdmittedAction, code: StopCode, why: str = "") -> Outcome:
        """Turn a refusal of the database into a halt or a denial."""
        if code == "lease_lost":
            raise LeaseLost(lease.run)
        refusal = Decision("deny", code=code, message=why or f"refused at the claim: {code}")
        outcome = await self._refuse(lease, admission.action, refusal)
        if code in HALTING:
            # Only of now: a predecessor of this attempt may have sent it, and its effect is still open.
            raise Halt(code, f"step {admission.action.step!r} was not sent now: {why or code}")
        return outcome

    async def _refuse(
        self, lease: Lease, action: Action, decision: Decision, admission: AdmittedAction | None = None
    ) -> Outcome:
        """Deny; with `admission` the decision is policy's, and the entry names what it rested on."""
        body = {
            "kind": "denied",
            "role": action.role,
            "step": action.step,
            "tool": answers.plain(action.tool),
            "user": action.user,
            "code": decision.code,
            "plan": action.plan_hash,
            "message": answers.plain(decision.message),
            "checkpoint": action.checkpoint,
            **(judgement.record(admission, decision) if admission else {}),
        }
        await leases.record(self._database, lease, body)
        return Outcome("denied", code=decision.code, message=decision.message)
