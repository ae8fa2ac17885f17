"""The services' own tables: SQLAlchemy models, each service's on a base of its own, since each has its own database."""

from datetime import datetime
from typing import Annotated

from sqlalchemy import DateTime, MetaData, create_engine, func, make_url
from sqlalchemy.orm import mapped_column

# clock_timestamp, not now(): many handlings share one transaction, and the auditor wants to know when each wrote.
Now = Annotated[datetime, mapped_column(DateTime(timezone=True), server_default=func.clock_timestamp())]
Later = Annotated[datetime | None, mapped_column(DateTime(timezone=True))]
now = func.clock_timestamp


def create_tables(metadata: MetaData, database_url: str) -> None:
    """Create what is missing of a service's tables; `database_url` as psycopg takes it."""
    engine = create_engine(make_url(database_url).set(drivername="postgresql+psycopg"))
    try:
        metadata.create_all(engine)
    finally:
        engine.dispose()
