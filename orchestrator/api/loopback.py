"""Who is on this machine, and whose page asks: what stands in for a token where there is none.

A browser runs the pages of strangers on this machine, too. So it is not only the caller's address that counts: the Host
header must be loopback (a foreign name that was made to point here is refused), nothing may have come through a proxy,
and nothing is for a page of another site: browsers say of each request whose it is (Origin, and Fetch Metadata, W3C).
"""

import ipaddress
from collections.abc import Container
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import Scope

LOOKING = ("GET", "HEAD", "OPTIONS")
OUR_SITES = ("same-origin", "none")  # none: somebody typed the address
# Whoever comes through a proxy is not on this machine, whatever the address says.
FORWARDED = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via")


def is_loopback(host: str) -> bool:
    """Whether a name or an address is this machine and nobody else's."""
    if host == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)


def why_not_local(scope: Scope, headers: Headers) -> str | None:
    """Why a request is not of this machine, as a sentence; None: it is."""
    client: Any = scope.get("client")
    if client is not None and not is_loopback(client[0]):
        return f"It comes from {client[0]}."
    if through := [name for name in FORWARDED if name in headers]:
        return f"It comes through a proxy ({', '.join(through)})."
    host = _host_of(headers.get("host", ""))
    return None if is_loopback(host) else f"It is for the host {host[:100]!r}."


def is_of_another_page(scope: Scope, headers: Headers, origins: Container[str] = ()) -> bool:
    """Whether a page of another origin asks, and none of `origins`. A link from anywhere may open a page, though."""
    origin = headers.get("origin")
    if origin is not None and origin in origins:
        return False
    is_ours = headers.get("sec-fetch-site", "same-origin") in OUR_SITES
    if scope["method"] in LOOKING:
        return not is_ours and headers.get("sec-fetch-mode") != "navigate"
    own = f"{scope.get('scheme', 'http')}://{headers.get('host', '')}"
    return not is_ours or (origin is not None and origin != own)


def _host_of(header: str) -> str:
    try:
        return urlsplit(f"//{header}").hostname or ""
    except ValueError:
        return ""
