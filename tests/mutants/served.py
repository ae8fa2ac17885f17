"""Planted bugs in SQL, transactions and processes: the tests that find them have a real Postgres, some Kafka too."""

from functools import partial

from tests.mutants.mutant import Mutant

_Served = partial(Mutant, needs_servers=True)
_FENCE_SQL = "orchestrator/engine/sql/0001_engine.sql"
_PATIENCE = "orchestrator/engine/patience.py"
_INBOX_TABLE = "orchestrator/participant/inbox.py"
_RESULTS = "orchestrator/engine/step_results.py"

MUTANTS = (
    _Served(
        1,
        "the_inbox_does_not_compare_bodies",
        "orchestrator/participant/commands.py",
        "return (entry.type, bytes(entry.body_hash)) != (request.type, request.body_hash)",
        "return entry.type != request.type",
    ),
    _Served(
        3,
        "the_offset_is_committed_before_the_turn",
        "orchestrator/engine/batch.py",
        """    try:
        if all(statement in _JOINABLE for statement, _ in statements):
""",
        """    try:
        connection.execute(*statements.pop(0))
        if all(statement in _JOINABLE for statement, _ in statements):
""",
    ),
    _Served(
        3,
        "the_offset_is_left_to_later",
        _FENCE_SQL,
        "next_offset = m.next_offset",
        "next_offset = s.next_offset",
    ),
    _Served(
        3,
        "a_robbed_owner_writes",
        _FENCE_SQL,
        "    IF cardinality(held) <> cardinality(p_shards) THEN\n",
        "    IF false THEN\n",
    ),
    _Served(
        5,
        "the_answer_says_that_it_had_no_effect",
        "orchestrator/participant/local.py",
        'problem = replace(problem, effect="unknown" if after.row.in_doubt else "none")',
        'problem = replace(problem, effect="none")',
    ),
    _Served(
        7,
        "the_answer_that_came_along_is_not_used",
        "orchestrator/participant/commands.py",
        "asked = replace(asked, reply=request.reply, recorded=True)",
        "asked = replace(asked, recorded=True)",
    ),
    _Served(
        7,
        "the_inbox_believes_that_it_remembers_all",
        "orchestrator/participant/commands.py",
        "return request.sent_at < unit.now - timedelta(seconds=limits.INBOX_HORIZON_S - HORIZON_MARGIN_S)",
        "return False",
    ),
    _Served(
        7,
        "forgotten_before_it_has_expired",
        _INBOX_TABLE,
        "((settled AND expires_at < clock_timestamp())\n",
        "(settled\n",
    ),
    _Served(
        7,
        "forgotten_while_somebody_is_to_look_again",
        _INBOX_TABLE,
        "        WHERE due_at IS NULL\n          AND (",
        "        WHERE true\n          AND (",
    ),
    _Served(
        8,
        "a_deposed_run_ends_the_row",
        "orchestrator/participant/ends.py",
        "if entry.run != call.run or entry.state != _HELD_IN[call.kind]:",
        "if entry.state != _HELD_IN[call.kind]:",
    ),
    _Served(
        8,
        "out_without_a_deadline",
        "orchestrator/participant/external.py",
        "replace(entry, run=entry.run + 1, deadline=deadline, holder=holder, due_at=deadline)",
        "replace(entry, run=entry.run + 1)",
    ),
    _Served(
        8,
        "a_lost_session_is_a_death",
        "orchestrator/participant/external.py",
        "entry.traceparent, run=NO_RUN)",
        "entry.traceparent, run=entry.run)",
    ),
    _Served(
        9,
        "the_outbox_is_not_looked_into",
        _PATIENCE,
        "begins_us = now_us if key in unsent else max(",
        "begins_us = max(",
    ),
    _Served(
        9,
        "the_log_was_looked_at_for_another_time",
        _PATIENCE,
        "if found[0] > now_us or not self.watermarks.lets_in(wakeup.shard, found[0]):",
        "if found[0] > now_us:",
    ),
    _Served(
        9,
        "an_outbox_that_stands_still_is_healthy",
        _PATIENCE,
        "        self._unhealthy_us = now_us\n        return False\n",
        "        return True\n",
    ),
    _Served(
        9,
        "the_time_of_an_outage_counts",
        _PATIENCE,
        "shard: max(hold.claimed_us, self._unhealthy_us)",
        "shard: hold.claimed_us",
    ),
    _Served(
        9,
        "timers_do_not_wait_for_the_log",
        "orchestrator/engine/watermarks.py",
        "return state is not None and state.observed_us >= due_us",
        "return True",
    ),
    _Served(
        11,
        "the_stack_of_an_ended_child_is_not_loaded",
        "orchestrator/engine/processing.py",
        "self._cache.load(connection, ids, undone=undone)",
        "self._cache.load(connection, ids, undone=frozenset())",
    ),
    _Served(
        12,
        "the_mailbox_has_no_order",
        "orchestrator/engine/mail.py",
        "WHERE saga_id = ANY (%s) ORDER BY arrival\n",
        "WHERE saga_id = ANY (%s) ORDER BY message_id\n",
    ),
    _Served(
        12,
        "what_came_before_a_start_that_nobody_could_run_is_lost",
        "orchestrator/engine/processing.py",
        "            waiting = mail.waiting(connection, [row.id]).get(row.id, [])\n",
        "            pass\n",
    ),
    _Served(
        13,
        "what_has_not_begun_is_lost",
        "orchestrator/engine/recovery.py",
        "                rows.append(self._outbound.start_again(saga))\n",
        "                pass\n",
    ),
    _Served(
        13,
        "the_old_topic_is_not_told_apart",
        "outbox_relay/sent.py",
        "(s.topic_id < %(topic_id)s OR s.topic_id > %(topic_id)s",
        "(s.topic_id = %(topic_id)s",
    ),
    _Served(
        13,
        "it_is_done_again_and_not_said_again",
        "orchestrator/participant/inbox_states.py",
        '("done", "command"): ("done", "answer"),  ',
        '("done", "command"): ("running", "run"),  ',
    ),
    _Served(
        14,
        "verbs_wait_for_a_minute",
        "orchestrator/engine/verbs.py",
        "WHERE v.done_at IS NULL AND v.shard = ANY (%s)",
        "WHERE v.done_at IS NULL AND v.given_at < clock_timestamp() - interval '1 minute' AND v.shard = ANY (%s)",
    ),
    _Served(
        21,
        "steps_begin_before_the_commit",
        "orchestrator/engine/committer.py",
        "            try:\n                batches.commit(",
        "            self._committed(batch)\n            try:\n                batches.commit(",
    ),
    _Served(
        22,
        "the_key_is_no_fence",
        _RESULTS,
        "        with connection.transaction():\n            if connection.execute(_CLAIM, (key,)).rowcount == 0:\n",
        "        with connection.transaction():\n            if connection.execute(_CLAIM, (key,)).rowcount < 0:\n",
    ),
    _Served(
        22,
        "the_result_is_not_kept",
        _RESULTS,
        "            result = work(connection)\n            connection.execute(_STORE, (json.dumps(result), key))\n",
        "            result = work(connection)\n",
    ),
    _Served(
        22,
        "the_function_may_commit",
        _RESULTS,
        """step gets: commit, rollback and close are refused.\"""

    commit = rollback = close = _refuse
""",
        """step gets.\"""
""",
    ),
    _Served(
        22,
        "an_async_one_has_no_fence",
        _RESULTS,
        "            if (await connection.execute(_CLAIM, (key,))).rowcount == 0:\n",
        "            if (await connection.execute(_CLAIM, (key,))).rowcount < 0:\n",
    ),
)
