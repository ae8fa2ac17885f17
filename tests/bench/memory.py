"""What 100,000 waiting sagas take of an orchestrator's memory: `tests.memory` measures it, by its own starts."""

from tests import servers
from tests.bench.installation import Installation
from tests.integration.engine import kit
from tests.memory.parked import measure

SAGAS = 100_000


def parked(place: Installation) -> dict[str, float]:
    """Resident size of the process at its largest, some of them woken."""
    kafka, prefix = place.settings.kafka_bootstrap_servers, f"{place.settings.topic_prefix}parked."
    url = servers.create_database(place.url)
    with kit.system(url, kafka, prefix) as system:
        figures = measure(system, SAGAS)
    print(f"   {figures}", flush=True)
    servers.delete_topics(kafka, prefix)
    servers.drop_databases(place.url, servers.database_name(url))
    return {"parked_100000_rss_mb": figures.peak_mb}
