"""Composition root: opens every connection, builds the system, closes it in reverse; called by each process."""

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial

from app import bootstrap
from app.addresses import Addresses, service_keys, signing_key, world_url
from app.api.brake import Brake
from app.api.dependencies import Services
from app.settings import Settings
from graphs.catalog import FlowCatalog
from graphs.deps import Deps, Planner
from graphs.nodes.planner import make_planner
from graphs.planning.drafting import Drafter, make_drafter
from memory.clock import Clock, SystemClock
from memory.embeddings.embedder import Embedder
from memory.embeddings.providers import embedder_of
from memory.evidence import log
from memory.evidence.signing_key import SigningKey
from memory.governance.feed import Feed
from memory.knowledge import versions
from memory.postgres.database import Database
from memory.runs.leases import Lease
from memory.runs.queue import Queue
from memory.store import context
from memory.store.context import MemoryExcerpt
from tools.catalog import Catalog
from tools.gateway import Gateway
from tools.model import Model, open_model
from tools.policy import PolicySet
from tools.services import ServiceClient
from tools.token_budget import TokenMeter


@dataclass(frozen=True, slots=True)
class System:
    """All connections and services of one process."""

    settings: Settings
    database: Database
    catalog: Catalog
    flows: FlowCatalog
    policy: PolicySet
    services: ServiceClient
    gateway: Gateway
    model: Model | None
    """The language model that drafts plans; None plans by runbooks alone."""
    queue: Queue
    feed: Feed
    clock: Clock
    embedder: Embedder
    signing_key: SigningKey | None
    """Signs the heads of logs; None leaves them unsigned."""

    @property
    def api_services(self) -> Services:
        """Return the services of the API."""
        return Services(
            self.database,
            self.catalog,
            self.queue,
            self.feed,
            self.clock,
            self.policy.version,
            self.settings.budget.model_dump(),
            self.embedder,
            self.flows.names,
            self.policy,
            Brake(self.settings.edge.wrong_keys),
            self.signing_key,
        )

    @property
    def deps(self) -> Deps:
        """Return the dependencies that flows are built from."""
        return Deps.of(self.database, self.catalog, self.gateway, self.planner, self.embedder)

    def planner(self, lease: Lease) -> Planner:
        """Return the planner of one run, which may read what its requester may."""
        find = partial(versions.find, self.database, lease.access, embedder=self.embedder)
        current = partial(versions.current, self.database, lease.access)
        recall = partial(self._recall, lease)
        accounting = self.settings.accounting_currency
        draft = self._drafter(lease)
        return make_planner(find, current, self.catalog.cards, draft=draft, recall=recall, accounting=accounting)

    async def _recall(self, lease: Lease, request: str, runbook: str) -> MemoryExcerpt:
        return await context.assemble(self.database, lease.access, request, subject=runbook, embedder=self.embedder)

    def _drafter(self, lease: Lease) -> Drafter | None:
        if self.model is None:
            return None
        return make_drafter(partial(self.model.ask, lease, "planner"), self.catalog.cards)


@asynccontextmanager
async def open_system(
    settings: Settings, addresses: Addresses, *, clock: Clock | None = None, worker: bool = True
) -> AsyncGenerator[System]:
    """Open every connection and check that the database is ready; everything is closed when the block ends.

    Without `worker` the process cannot lead runs: it never learns the address of the workers' role.
    Raises Permanent("configuration") for what people must mend, Temporary("unavailable") for what is away.
    """
    clock = clock or SystemClock()
    async with AsyncExitStack() as stack:
        catalog = Catalog.discover(settings.tools_dir)
        flows = FlowCatalog.discover(settings.flows_dir)
        policy = bootstrap.load_policies(settings, catalog.cards)
        embedder = embedder_of(settings.embeddings, settings.embeddings_base_url)
        # One connection for each lane, the others for duties and requests.
        worker_url = addresses.worker_url if worker else None
        database = await Database.open(addresses.app, size=settings.lanes + 4, worker_url=worker_url)
        stack.push_async_callback(database.close)
        await bootstrap.check(settings, database, policy.version)
        await bootstrap.keep_texts(settings, database, policy)
        services = await stack.enter_async_context(ServiceClient(world_url(settings), service_keys(settings)))
        model, signer = _model(settings, database), signing_key(settings, addresses)
        extend = partial(log.extend, database, key=signer)
        feed = await stack.enter_async_context(Feed.open(database, extend))
        gateway = Gateway(database, catalog, policy, services, clock, embedder=embedder)
        yield System(
            settings, database, catalog, flows, policy, services, gateway, model, Queue(), feed, clock, embedder, signer
        )


def _model(settings: Settings, database: Database) -> Model | None:
    if settings.model is None:
        return None
    return Model(open_model(settings.model, settings.model_base_url), TokenMeter(database))
