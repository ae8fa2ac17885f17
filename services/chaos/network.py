"""Every link of a run: between whom it is, and the addresses that each party is given in place of the servers' own.

Postgres is reached by whatever URL one has. A Kafka client is told by the broker where to come back to, so each party
has a listener of its own, whose advertised port is its proxy's.
"""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

from orchestrator.local import ports
from orchestrator.local.paths import VarDir, cache_dir
from services.chaos.proxy import HOST, Link

PARTIES = ("orchestrator-1", "orchestrator-2", "relay-1", "relay-2", "services")
SHOPPERS = "shoppers"
POSTGRES, KAFKA, GATEWAY = "postgres", "kafka", "gateway"
EVERYBODY = "everybody"


def between(party: str, server: str) -> str:
    """The name of a link."""
    return f"{party} - {server}"


TO_POSTGRES = tuple(between(party, POSTGRES) for party in (*PARTIES, SHOPPERS))
TO_KAFKA = tuple(between(party, KAFKA) for party in PARTIES)
TO_GATEWAY = (between("payments", GATEWAY),)
LINKS = (*TO_POSTGRES, *TO_KAFKA, *TO_GATEWAY)
ALL_AT_ONCE = {between(EVERYBODY, POSTGRES): TO_POSTGRES, between(EVERYBODY, KAFKA): TO_KAFKA}


@dataclass(frozen=True, slots=True)
class Network:
    """The links by name. `listeners`: the broker's further ports, and the proxy's before each."""

    links: Mapping[str, Link]
    listeners: tuple[tuple[int, int], ...]

    @property
    def kafka_proxied(self) -> str:
        """What the broker is told of it: the variable KAFKA_PROXIED of compose.yaml."""
        return ",".join(f"{port}:{proxy_port}" for port, proxy_port in self.listeners)

    async def open(self) -> None:
        """Listen everywhere."""
        await asyncio.gather(*(link.open() for link in self.links.values()))

    async def close(self) -> None:
        """End all links."""
        await asyncio.gather(*(link.close() for link in self.links.values()))

    def named(self, target: str) -> list[Link]:
        """The links that a fault's target means."""
        return [self.links[name] for name in ALL_AT_ONCE.get(target, (target,))]

    def database_url(self, party: str, url: str) -> str:
        """The way of this party to a database."""
        port = self.links[between(party, POSTGRES)].port
        parts = urlsplit(url)
        user = f"{parts.username}@" if parts.username else ""
        return urlunsplit(parts._replace(netloc=f"{user}{HOST}:{port}"))

    def kafka(self, party: str) -> str:
        """The way of this party to Kafka."""
        return f"{HOST}:{self.links[between(party, KAFKA)].port}"

    @property
    def gateway_url(self) -> str:
        """The way of payments to the gateway."""
        return f"http://{HOST}:{self.links[TO_GATEWAY[0]].port}"

    def not_open(self) -> dict[str, str]:
        """Link -> what is wrong with it."""
        return {name: link.state for name, link in self.links.items() if link.state != "open"}


def lay(var: VarDir, seed: int) -> Network:
    """Take the ports and make the links; nothing listens yet."""
    listening = [f"{name}, broker" for name in TO_KAFKA]
    taken = ports.take([*LINKS, *listening, POSTGRES, GATEWAY], var, cache_dir())
    links = {name: Link(name, taken[name], taken[POSTGRES], seed=seed) for name in TO_POSTGRES}
    links |= {name: Link(name, taken[name], taken[f"{name}, broker"], seed=seed) for name in TO_KAFKA}
    # A gateway is told nothing after the delay that payments counts on (GATEWAY_DELAY_S), so what is swallowed is lost.
    links |= {name: Link(name, taken[name], taken[GATEWAY], forgets=True, seed=seed) for name in TO_GATEWAY}
    return Network(links, tuple((taken[f"{name}, broker"], taken[name]) for name in TO_KAFKA))


async def restore(links: Iterable[Link]) -> None:
    """Let all through again."""
    await asyncio.gather(*(link.restore() for link in links))
