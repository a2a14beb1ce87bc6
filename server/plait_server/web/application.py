"""The web application: every resource, the guard around each, the life of the service."""

import logging
from collections.abc import AsyncIterator, Callable
from typing import Final

from aiohttp import web
from aiohttp.web_protocol import RequestPayloadError

from plait_merge.values import Limits
from plait_server.config import Settings
from plait_server.errors import PlaitServerError
from plait_server.service import LiveLimits, Rates, Service, ServiceLimits
from plait_server.web.asyncapi import AsyncDescription
from plait_server.web.batch import Batches
from plait_server.web.changes import Changes
from plait_server.web.collections import Collections
from plait_server.web.conditions import BadHeader
from plait_server.web.conflicts import Conflicts
from plait_server.web.documents import Documents
from plait_server.web.door import BODIES, Bodies
from plait_server.web.events import Events
from plait_server.web.health import Health
from plait_server.web.history import History
from plait_server.web.labels import Labels
from plait_server.web.live import Live
from plait_server.web.locks import Locks
from plait_server.web.openapi import Description
from plait_server.web.operations import Operations
from plait_server.web.problems import Problem, problem_of_refusal, problem_response
from plait_server.web.quotas import Meter
from plait_server.web.requests import request_id_of
from plait_server.web.reverts import Reverts
from plait_server.web.routes import Handler, Route, register
from plait_server.web.short_road import SHORT_ROAD, ShortRoad
from plait_server.web.tickets import Tickets
from plait_server.web.written import WrittenAtOnce

SERVICE: Final = web.AppKey("service", Service)
SETTINGS: Final = web.AppKey("settings", Settings)
ROUTES: Final = web.AppKey("routes", tuple[Route, ...])

_log = logging.getLogger("plait.web")


def create_app(service: Service, settings: Settings) -> web.Application:
    """Build the application over an open service, which it closes at the end.

    Serve it with `plait_server.web.connections.Runner`, which guards the connections and answers what
    reaches no handler.
    """
    application = web.Application()
    application[SERVICE] = service
    application[SETTINGS] = settings
    application[BODIES] = Bodies(settings.bodies_bytes_max)
    tickets = Tickets(service.hub.clock)
    documents = Documents(service, settings)
    routes = (
        *documents.routes(),
        *History(service, settings).routes(),
        *Reverts(service, settings).routes(),
        *Labels(service, settings).routes(),
        *Conflicts(service, settings).routes(),
        *Operations(service, settings).routes(),
        *Locks(service, settings).routes(),
        *Batches(service, settings).routes(),
        *Collections(service, settings).routes(),
        *Live(service, settings, tickets).routes(),
        *Events(service, settings).routes(),
        *Changes(service, settings).routes(),
        *tickets.routes(),
        *Health(service, settings).routes(),
        *AsyncDescription().routes(),
    )
    if service.quotas is not None:
        meter = Meter(service.quotas)
        routes = meter.counted(routes)
        application.on_response_prepare.append(meter.announce)
    else:
        application[SHORT_ROAD] = ShortRoad(service, documents.begin_patch)
    description = Description(routes, settings)
    application[ROUTES] = (*routes, description.route())
    register(application, application[ROUTES], _guarding(settings.problem_base))
    application.on_shutdown.append(_send_away)
    application.cleanup_ctx.append(_closed_at_the_end)
    return application


def service_limits(settings: Settings) -> ServiceLimits:
    """Hand the service its part of the settings."""
    return ServiceLimits(
        values=Limits(
            depth_max=settings.depth_max,
            operations_max=settings.operations_max,
            pointer_bytes_max=settings.pointer_bytes_max,
            integer_digits_max=settings.integer_digits_max,
            copied_bytes_max=settings.copied_bytes_max,
        ),
        document_bytes_max=settings.document_bytes_max,
        idempotency_ttl_s=settings.idempotency_ttl_s,
        conflict_ttl_s=settings.conflict_ttl_s,
        conflict_value_bytes_max=settings.conflict_value_bytes_max,
        conflicts_shown_max=settings.conflicts_shown_max,
        missed_revisions_max=settings.missed_revisions_max,
        missed_bytes_max=settings.missed_bytes_max,
        open_documents_max=settings.open_documents_max,
        open_bytes_max=settings.open_bytes_max,
        open_idle_s=settings.open_idle_s,
        recent_revisions_max=settings.recent_revisions_max,
        recent_bytes_max=settings.recent_bytes_max,
        snapshot_revisions_max=settings.snapshot_revisions_max,
        blame_bytes_max=settings.blame_bytes_max,
        edits_waiting_max=settings.edits_waiting_max,
        queue_document_edits_max=settings.queue_document_edits_max,
        queue_tenant_edits_max=settings.queue_tenant_edits_max,
        queue_edits_max=settings.queue_edits_max,
        queue_bytes_max=settings.queue_bytes_max,
        operation_wait_max_s=settings.operation_wait_max_s,
        operation_ttl_s=settings.operation_ttl_s,
        document_edits_waiting_max=settings.document_edits_waiting_max,
        batch_operations_max=settings.batch_operations_max,
        collections_max=settings.collections_max,
        labels_max=settings.labels_max,
        compaction_interval_s=settings.compaction_interval_s,
        schema_bytes_max=settings.schema_bytes_max,
        lock_ttl_s=settings.lock_ttl_s,
        lock_ttl_max_s=settings.lock_ttl_max_s,
        document_locks_max=settings.document_locks_max,
        caller_locks_max=settings.caller_locks_max,
        locks_max=settings.locks_max,
        page_items_max=settings.page_items_max,
        page_bytes_max=settings.page_bytes_max,
        rates=Rates(
            caller=settings.rate_limit_caller,
            caller_writes=settings.rate_limit_caller_writes,
            tenant=settings.rate_limit_tenant,
            tenant_writes=settings.rate_limit_tenant_writes,
            storage=settings.rate_limit_storage,
            counters_max=settings.rate_limit_counters_max,
        ),
        live=_live_limits(settings),
    )


def _live_limits(settings: Settings) -> LiveLimits:
    soonest_s = min(settings.live_hello_timeout_s, settings.live_slow_timeout_s, settings.live_heartbeat_s)
    return LiveLimits(
        hello_timeout_s=settings.live_hello_timeout_s,
        frame_bytes_max=settings.live_frame_bytes_max,
        queue_frames_max=settings.live_queue_frames_max,
        queue_bytes_max=settings.live_queue_bytes_max,
        slow_timeout_s=settings.live_slow_timeout_s,
        heartbeat_s=settings.live_heartbeat_s,
        subscriptions_max=settings.live_subscriptions_max,
        depth_max=settings.depth_max,
        integer_digits_max=settings.integer_digits_max,
        tick_s=min(1.0, soonest_s / 4),
    )


async def _send_away(application: web.Application) -> None:
    application[SERVICE].queue.release()
    await application[SERVICE].hub.go_away()


async def _closed_at_the_end(application: web.Application) -> AsyncIterator[None]:
    yield
    await application[SERVICE].close()


def _guarding(problem_base: str) -> Callable[[Handler], Handler]:
    """Make the wrapper of every handler: an id for the request, a problem document for what goes wrong.

    Not a middleware, which would cost as much again as finding the route; what the router itself
    refuses is answered by the connection.
    """

    def guard(handler: Handler) -> Handler:
        async def answer(request: web.Request) -> web.StreamResponse:
            try:
                response = await handler(request)
            except Exception as error:
                request_id = request_id_of(request)
                return problem_response(_problem(error, request, request_id), request_id, problem_base)
            if not isinstance(response, WrittenAtOnce):
                response.headers["X-Request-Id"] = request_id_of(request)
                response.headers["Server"] = "plait"
            return response

        return answer

    return guard


def _problem(error: Exception, request: web.Request, request_id: str) -> Problem:
    match error:
        case Problem():
            return error
        case PlaitServerError():
            return problem_of_refusal(error, request.match_info)
        case BadHeader():
            return Problem("bad-header", str(error), {"header": error.name})
        case RequestPayloadError():
            return Problem("bad-request", "The body is not framed as its headers say.")
        case ConnectionError():
            raise error
        case _:
            _log.error("request %s failed", request_id, exc_info=error)
            return Problem("internal", "The server could not answer; the request id finds it in the log.")
