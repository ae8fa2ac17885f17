"""A span for each request that a service makes, and the header that lets the other side continue it.

What `opentelemetry-instrumentation-httpx` would do, in the few lines that are needed here; a service of yours uses it.
"""

import httpx
from opentelemetry import propagate, trace
from opentelemetry.trace import SpanKind, Status, StatusCode

TRACER = trace.get_tracer("services.http")
ERRORS_FROM = 400


class TracedTransport(httpx.AsyncHTTPTransport):
    """httpx's transport; a request's span hangs below the current one, the handling's."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        attributes: dict[str, str | int] = {
            "http.request.method": request.method,
            "url.full": str(request.url.copy_with(query=None)),
            "server.address": request.url.host,
        }
        if request.url.port is not None:
            attributes["server.port"] = request.url.port
        with TRACER.start_as_current_span(
            f"{request.method} {request.url.path}", kind=SpanKind.CLIENT, attributes=attributes, record_exception=False
        ) as span:
            propagate.inject(request.headers)
            try:
                response = await super().handle_async_request(request)
            except BaseException as error:
                span.set_attribute("error.type", type(error).__qualname__)
                raise
            span.set_attribute("http.response.status_code", response.status_code)
            if response.status_code >= ERRORS_FROM:
                span.set_attribute("error.type", str(response.status_code))
                span.set_status(Status(StatusCode.ERROR))
            return response
