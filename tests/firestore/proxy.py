"""A gRPC proxy of bytes in front of the Firestore emulator: counts calls and injects faults.

It reads requests and answers only to count what Google bills; it changes nothing in them.
Synchronous, in threads of its own, so that it has no part in any event loop.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.cloud.firestore_v1.types import firestore as pb

SERVICE = "/google.firestore.v1.Firestore/"
STREAMS_OUT = frozenset({"BatchGetDocuments", "RunQuery", "RunAggregationQuery"})
OPTIONS = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.so_reuseport", 0),
]

ABORTED, UNAVAILABLE, DEADLINE, LOST, SLOW = "aborted", "unavailable", "deadline", "lost", "slow"
CODES = {
    ABORTED: grpc.StatusCode.ABORTED,
    UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
    DEADLINE: grpc.StatusCode.DEADLINE_EXCEEDED,
    LOST: grpc.StatusCode.UNAVAILABLE,
}

Fault = Callable[[str], str | None]
"""Called with each method; answers what goes wrong with this call, or None."""


@dataclass(slots=True)
class Counts:
    """What went over the wire."""

    calls: Counter[str] = field(default_factory=Counter)
    reads: int = 0
    """Documents billed as read: requested, or found by a query (one for a query without any)."""
    writes: int = 0
    """Documents billed as written, deletes among them."""
    faults: Counter[str] = field(default_factory=Counter)


class Proxy:
    """Listens on ``host``; ``counts`` may be replaced to begin again, ``fault`` to inject faults."""

    def __init__(self, target: str) -> None:
        self.counts = Counts()
        self.fault: Fault | None = None
        self.slow_seconds = 0.3
        self._lock = threading.Lock()
        self._channel = grpc.insecure_channel(target, options=OPTIONS)
        self._server = grpc.server(ThreadPoolExecutor(64), options=OPTIONS)
        self._server.add_generic_rpc_handlers((_Handler(self),))
        self.host = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def stop(self) -> None:
        self._server.stop(0).wait()
        self._channel.close()

    def take(self) -> Counts:
        """What was counted since the last take."""
        with self._lock:
            taken, self.counts = self.counts, Counts()
        return taken

    def one_way(self, method: str, request: bytes, context: Any) -> bytes:
        wrong = self._begin(method, request)
        if wrong in (ABORTED, UNAVAILABLE, DEADLINE):
            context.abort(CODES[wrong], f"injected: {wrong}")
        if wrong == SLOW:
            time.sleep(self.slow_seconds)
        call = self._channel.unary_unary(SERVICE + method)
        try:
            answer: bytes = call(request, metadata=_metadata(context), timeout=30)
        except grpc.RpcError as error:
            context.abort(error.code(), error.details())
        if wrong == LOST:
            context.abort(CODES[wrong], "injected: the answer was lost")
        return answer

    def stream_out(self, method: str, request: bytes, context: Any) -> Iterator[bytes]:
        wrong = self._begin(method, request)
        if wrong in CODES:
            context.abort(CODES[wrong], f"injected: {wrong}")
        if wrong == SLOW:
            time.sleep(self.slow_seconds)
        call = self._channel.unary_stream(SERVICE + method)
        found = 0
        try:
            for answer in call(request, metadata=_metadata(context), timeout=30):
                if method == "RunQuery":
                    found += pb.RunQueryResponse.deserialize(answer)._pb.HasField("document")
                yield answer
        except grpc.RpcError as error:
            context.abort(error.code(), error.details())
        if method == "RunQuery":
            with self._lock:
                self.counts.reads += max(1, found)

    def _begin(self, method: str, request: bytes) -> str | None:
        wrong = self.fault(method) if self.fault is not None else None
        with self._lock:
            counts = self.counts
            counts.calls[method] += 1
            if wrong is not None:
                counts.faults[f"{method} {wrong}"] += 1
            if method == "BatchGetDocuments":
                counts.reads += len(pb.BatchGetDocumentsRequest.deserialize(request).documents)
            elif method == "Commit":
                counts.writes += len(pb.CommitRequest.deserialize(request).writes)
        return wrong


class _Handler(grpc.GenericRpcHandler):  # type: ignore[misc]
    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy

    def service(self, details: Any) -> Any:
        method = details.method.rpartition("/")[2]
        if method in STREAMS_OUT:
            return grpc.unary_stream_rpc_method_handler(
                lambda request, context: self._proxy.stream_out(method, request, context)
            )
        return grpc.unary_unary_rpc_method_handler(
            lambda request, context: self._proxy.one_way(method, request, context)
        )


def _metadata(context: Any) -> list[tuple[str, Any]]:
    kept = ("authorization", "google-cloud-resource-prefix", "x-goog-request-params")
    return [(k, v) for k, v in context.invocation_metadata() if k in kept]
