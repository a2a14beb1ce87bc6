"""What the server says about itself: its contract, that it lives, that it can write."""

from functools import cached_property
from importlib.metadata import version

from aiohttp import web

from plait_server import wire
from plait_server.config import Settings
from plait_server.service import Service
from plait_server.web.documents import PATCH_TYPES
from plait_server.web.models import answers
from plait_server.web.pages import PRIVATE, only_query
from plait_server.web.problems import Problem
from plait_server.web.routes import FRONT, Route

FEATURES = (
    "batch",
    "blame",
    "changes",
    "collections",
    "conditional-requests",
    "conflicts",
    "diff",
    "dry-run",
    "events",
    "history",
    "idempotency",
    "inc",
    "labels",
    "live",
    "locks",
    "merge-modes",
    "prefer",
    "presence",
    "respond-async",
    "retention",
    "revert",
    "tickets",
    "time-travel",
    "views-by-pointer",
)
"""What a client may rely on; a client detects, it never guesses from a version."""

PUBLISHED_LIMITS = (
    "document_bytes_max",
    "patch_bytes_max",
    "depth_max",
    "operations_max",
    "pointer_bytes_max",
    "integer_digits_max",
    "copied_bytes_max",
    "message_bytes_max",
    "page_items_max",
    "page_bytes_max",
    "missed_revisions_max",
    "missed_bytes_max",
    "conflict_value_bytes_max",
    "conflicts_shown_max",
    "batch_edits_max",
    "batch_bytes_max",
    "batch_operations_max",
    "collections_max",
    "schema_bytes_max",
    "labels_max",
    "idempotency_ttl_s",
    "conflict_ttl_s",
    "lock_ttl_s",
    "lock_ttl_max_s",
    "document_locks_max",
    "caller_locks_max",
    "live_frame_bytes_max",
    "live_subscriptions_max",
    "changes_wait_max_s",
    "queue_document_edits_max",
    "operation_wait_max_s",
    "operation_ttl_s",
    "edits_waiting_max",
    "document_edits_waiting_max",
)


class Health:
    """The contract's front page, liveness and readiness."""

    def __init__(self, service: Service, settings: Settings) -> None:
        self._service = service
        self._settings = settings

    def routes(self) -> tuple[Route, ...]:
        return (
            Route(
                "GET",
                FRONT,
                self.features,
                "Versions, limits and features: detect, never guess",
                {200: answers.Features},
                ("bad-query",),
            ),
            Route("GET", "/healthz", self.alive, "Tell that the process answers", {200: answers.Alive}),
            Route(
                "GET",
                "/readyz",
                self.ready,
                "Tell whether writes are taken",
                {200: answers.Ready},
                ("store-unavailable",),
            ),
        )

    async def features(self, request: web.Request) -> web.Response:
        only_query(request)
        return web.Response(body=self._features, content_type="application/json", headers=PRIVATE)

    @cached_property
    def _features(self) -> bytes:
        return wire.encode(
            {
                "name": "plait",
                "version": version("plait"),
                "versions": ["v1"],
                "epoch": self._service.epoch,
                "features": FEATURES,
                "patch_types": list(PATCH_TYPES),
                "limits": {name: getattr(self._settings, name) for name in PUBLISHED_LIMITS},
                "rate_limits": self._service.quotas.policies if self._service.quotas else (),
            }
        )

    async def alive(self, request: web.Request) -> web.Response:
        return web.Response(body=b'{"status":"ok"}', content_type="application/json", headers=PRIVATE)

    async def ready(self, request: web.Request) -> web.Response:
        readiness = self._service.ready()
        if not readiness.ready:
            raise Problem("store-unavailable", readiness.reason or "Writes are not taken now.")
        body = {"status": "ready", "store": readiness.store, "durability": readiness.durability}
        return web.Response(body=wire.encode(body), content_type="application/json", headers=PRIVATE)
