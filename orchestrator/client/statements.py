"""The SQL of a client. Parameters are named and CAST, so that every Postgres driver below SQLAlchemy can run it too."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, LiteralString


@dataclass(frozen=True, slots=True)
class Query:
    """One statement for the connection that runs the request. `lasting`: its answer stays what it is."""

    sql: LiteralString
    params: Mapping[str, Any] = field(default_factory=dict)
    lasting: bool = False


# False in a database of yours that has an outbox of ours, but no sagas.
HAS_SAGAS: LiteralString = "SELECT to_regclass('amends.sagas') IS NOT NULL"

INSTALLATION: LiteralString = "SELECT shards, topic FROM amends.installation"

START: LiteralString = """
    SELECT created, matches FROM amends.start_saga(
        CAST(%(id)s AS text), CAST(%(uid)s AS uuid), CAST(%(type)s AS text), CAST(%(version)s AS int),
        CAST(%(input)s AS text), CAST(%(input_hash)s AS bytea), CAST(%(shard)s AS int), CAST(%(topic)s AS text),
        CAST(%(payload)s AS bytea), CAST(%(traceparent)s AS text))
"""

SELECT_TYPE: LiteralString = "SELECT type FROM amends.sagas WHERE id = CAST(%(id)s AS text)"

SELECT_SHARD: LiteralString = "SELECT shard FROM amends.sagas WHERE id = CAST(%(id)s AS text)"

# From the newest saga back, so that a type in use is found at once.
LATEST_VERSION: LiteralString = """
    SELECT version FROM amends.sagas WHERE type = CAST(%(type)s AS text) ORDER BY saga_no DESC LIMIT 1
"""

SELECT_END: LiteralString = """
    SELECT type, status, result, problem, left_undone FROM amends.sagas WHERE id = CAST(%(id)s AS text)
"""

SELECT_VALUE: LiteralString = """
    SELECT v.value
    FROM amends.sagas s
    LEFT JOIN amends.saga_values v ON v.saga_no = s.saga_no AND v.key = CAST(%(key)s AS text)
    WHERE s.id = CAST(%(id)s AS text)
    ORDER BY v.pos DESC, v.n DESC
    LIMIT 1
"""

SELECT_SAGA: LiteralString = """
    SELECT saga_no, id, type, version, status, shard, started_at, ended_at, problem,
        CAST(uid AS text), parent_id, input, result, left_undone, traceparent
    FROM amends.sagas
    WHERE id = CAST(%(id)s AS text)
"""

SELECT_ROWS: LiteralString = """
    SELECT saga_no, id, type, version, status, shard, started_at, ended_at, problem
    FROM amends.sagas
    WHERE saga_no = ANY (CAST(%(saga_nos)s AS bigint[]))
    ORDER BY saga_no
"""

# A page of the list, in one statement and so of one moment: `next_no` is the first saga that was not looked at.
# Each source looks at `looked_at_max` sagas at most, the newest first from `upto` on, and the page takes what fits of
# them. Postgres reads no further than the page needs.
_PAGE_HEAD: LiteralString = "SELECT ended.next_no, page.* FROM (SELECT (SELECT saga_no"
_PAGE_FOUND: LiteralString = """
    OFFSET CAST(%(looked_at_max)s AS int) LIMIT 1) AS next_no) AS ended
    LEFT JOIN LATERAL (
        SELECT saga_no, id, type, version, status, shard, started_at, ended_at, problem
        FROM (SELECT saga_no, id, type, version, status, shard, started_at, ended_at, problem
"""
_PAGE_FILTERED: LiteralString = """
            LIMIT CAST(%(looked_at_max)s AS int)) AS looked_at
        WHERE (CAST(%(statuses)s AS text[]) IS NULL OR status = ANY (CAST(%(statuses)s AS text[])))
            AND (CAST(%(type)s AS text) IS NULL OR type = CAST(%(type)s AS text))
            AND strpos(id, CAST(%(contains)s AS text)) > 0
            AND (CAST(%(older_than_s)s AS float8) IS NULL
                OR started_at <= clock_timestamp() - make_interval(secs => CAST(%(older_than_s)s AS float8)))
        ORDER BY saga_no DESC
        LIMIT CAST(%(rows_max)s AS int)
    ) AS page ON true
    ORDER BY page.saga_no DESC
"""
_OF_ALL: LiteralString = """
            FROM amends.sagas
            WHERE saga_no <= CAST(%(upto)s AS bigint)
            ORDER BY saga_no DESC
"""
# The index sagas_parked has exactly these: those that wait for a person.
_OF_PARKED: LiteralString = """
            FROM amends.sagas
            WHERE parked_at IS NOT NULL AND saga_no <= CAST(%(upto)s AS bigint)
            ORDER BY saga_no DESC
"""
# The index sagas_open has them by shard: the look begins at the newest that has not ended, however many have since.
# BETWEEN, for with `=` the planner may walk the primary key instead, past all that have ended.
_OF_OPEN: LiteralString = """
            FROM amends.sagas
            WHERE saga_no <= (
                SELECT max(newest.saga_no)
                FROM amends.installation i
                CROSS JOIN LATERAL generate_series(0, i.shards - 1) AS n(shard)
                CROSS JOIN LATERAL (
                    SELECT saga_no
                    FROM amends.sagas
                    WHERE shard BETWEEN n.shard AND n.shard AND ended_at IS NULL
                        AND saga_no <= CAST(%(upto)s AS bigint)
                    ORDER BY shard DESC, saga_no DESC
                    LIMIT 1
                ) AS newest)
            ORDER BY saga_no DESC
"""

SELECT_PAGE: LiteralString = _PAGE_HEAD + _OF_ALL + _PAGE_FOUND + _OF_ALL + _PAGE_FILTERED

SELECT_PAGE_OF_PARKED: LiteralString = _PAGE_HEAD + _OF_PARKED + _PAGE_FOUND + _OF_PARKED + _PAGE_FILTERED

SELECT_PAGE_OF_OPEN: LiteralString = _PAGE_HEAD + _OF_OPEN + _PAGE_FOUND + _OF_OPEN + _PAGE_FILTERED

# The index sagas_parked has exactly these: those that wait for a person.
SELECT_PARKED: LiteralString = """
    SELECT saga_no, id, type, version, status, shard, started_at, ended_at, problem
    FROM amends.sagas
    WHERE parked_at IS NOT NULL
    ORDER BY saga_no
    LIMIT CAST(%(rows_max)s AS int)
"""

COUNT_BY_STATUS: LiteralString = "SELECT status, count(*) FROM amends.sagas GROUP BY status ORDER BY status"

SELECT_CHILDREN: LiteralString = """
    SELECT id FROM amends.sagas WHERE id = ANY(CAST(%(ids)s AS text[])) AND parent_id = CAST(%(id)s AS text)
    ORDER BY saga_no
"""

SELECT_VALUES: LiteralString = """
    SELECT DISTINCT ON (key) key, value
    FROM amends.saga_values
    WHERE saga_no = CAST(%(saga_no)s AS bigint)
    ORDER BY key, pos DESC, n DESC
"""

SELECT_JOURNAL: LiteralString = """
    SELECT pos, wake_us, body
    FROM amends.journal
    WHERE saga_no = CAST(%(saga_no)s AS bigint) AND pos >= CAST(%(from_pos)s AS int)
    ORDER BY pos
"""

ANSWERS: LiteralString = "SELECT 1"

HAS_TURN: LiteralString = """
    SELECT EXISTS (
        SELECT FROM amends.journal
        WHERE saga_no = CAST(%(saga_no)s AS bigint) AND pos >= CAST(%(from_pos)s AS int))
"""

# Some turns, and no more bytes than an answer should have: one at least.
SELECT_JOURNAL_PAGE: LiteralString = """
    SELECT pos, wake_us, body
    FROM (
        SELECT pos, wake_us, body, sum(octet_length(body)) OVER (ORDER BY pos) - octet_length(body) AS bytes_before
        FROM (
            SELECT pos, wake_us, body
            FROM amends.journal
            WHERE saga_no = CAST(%(saga_no)s AS bigint) AND pos >= CAST(%(from_pos)s AS int)
            ORDER BY pos
            LIMIT CAST(%(rows_max)s AS int)
        ) AS turns
    ) AS measured
    WHERE bytes_before < CAST(%(bytes_max)s AS bigint)
    ORDER BY pos
"""

SELECT_VERBS: LiteralString = """
    SELECT verb_no, saga_id, verb, note, given_by, given_at, done_at, outcome
    FROM amends.verbs
    WHERE saga_id = CAST(%(id)s AS text)
    ORDER BY verb_no
"""

SELECT_VERB: LiteralString = """
    SELECT verb_no, saga_id, verb, note, given_by, given_at, done_at, outcome
    FROM amends.verbs
    WHERE verb_no = CAST(%(verb_no)s AS bigint)
"""

SELECT_VERBS_GIVEN: LiteralString = """
    SELECT verb_no, saga_id, verb, note, given_by, given_at, done_at, outcome
    FROM amends.verbs
    WHERE verb_no < CAST(%(before)s AS bigint)
    ORDER BY verb_no DESC
    LIMIT CAST(%(rows_max)s AS int)
"""

# The first claim of an empty installation is no takeover of this saga; one after its end is none either.
SELECT_TAKEOVERS: LiteralString = """
    SELECT CAST(extract(epoch FROM t.at) * 1000000 AS bigint), t.epoch, t.name
    FROM amends.takeovers t
    JOIN amends.sagas s ON s.shard = t.shard
    WHERE s.id = CAST(%(id)s AS text) AND t.at > s.started_at AND (s.ended_at IS NULL OR t.at <= s.ended_at)
    ORDER BY t.epoch
"""

# Given only to a saga that is there and has not ended: the old state is the guard.
INSERT_VERB: LiteralString = """
    INSERT INTO amends.verbs (saga_id, shard, verb, note)
    SELECT id, shard, CAST(%(verb)s AS text), CAST(%(note)s AS text)
    FROM amends.sagas
    WHERE id = CAST(%(id)s AS text) AND status NOT IN ('completed', 'failed', 'cancelled', 'terminated')
    RETURNING verb_no
"""

# The same, by somebody who has a token of the HTTP API: only this function may write more than who logged in.
GIVE_VERB: LiteralString = """
    SELECT amends.give_verb(
        CAST(%(id)s AS text), CAST(%(verb)s AS text), CAST(%(note)s AS text), CAST(%(token)s AS text))
"""

SELECT_STATUS: LiteralString = "SELECT status FROM amends.sagas WHERE id = CAST(%(id)s AS text)"
