"""Planted bugs that tests without servers find. Each takes one thing away that a rule asks for."""

from tests.mutants.mutant import Mutant

_IDS = "orchestrator/core/ids.py"
_OUTCOMES = "orchestrator/core/outcomes.py"
_OPERATIONS = "orchestrator/core/operations.py"
_CALLS = "orchestrator/core/calls.py"
_STEPS = "orchestrator/core/steps.py"
_UNDO = "orchestrator/core/undo.py"
_ENDING = "orchestrator/core/ending.py"
_STATE = "orchestrator/core/state.py"
_TURN = "orchestrator/core/turn.py"
_LOOP = "orchestrator/core/loop.py"
_TASKS = "orchestrator/core/tasks.py"
_SAGA = "orchestrator/core/saga.py"
_INBOX = "orchestrator/participant/inbox_states.py"
_OUTSIDE = "orchestrator/participant/outside.py"
_PROCESSING = "orchestrator/engine/processing.py"
_TURNS = "orchestrator/engine/turns.py"
_MARKS = "orchestrator/engine/watermarks.py"

MUTANTS = (
    # ---- 1: keys
    Mutant(
        1,
        "key_of_the_authors_id",
        _IDS,
        "return operation_key(self.uid, self.run, seq)",
        "return operation_key(self.id, self.run, seq)",
    ),
    Mutant(
        1, "key_without_the_run", _IDS, "return operation_key(self.uid, self.run, seq)", 'return f"{self.uid}:0:{seq}"'
    ),
    Mutant(
        1,
        "a_definite_no_is_repeated_under_its_key",
        _OPERATIONS,
        "            self.seq = self.st.internal_seq()\n",
        "",
    ),
    Mutant(
        1,
        "conflict_is_a_no_like_others",
        _CALLS,
        '        if entry.outcome == "conflict":\n            raise',
        '        if entry.outcome == "no conflict":\n            raise',
    ),
    # ---- 2: attempts
    Mutant(
        2,
        "a_copy_of_an_old_retry_counts",
        _OUTCOMES,
        "return None if attempt == sent and in_flight else",
        "return None if in_flight else",
    ),
    Mutant(
        2,
        "success_of_an_earlier_attempt_is_late",
        _OUTCOMES,
        "    if attempt > sent:\n",
        "    if attempt != sent:\n",
    ),
    Mutant(
        2,
        "late_answers_are_journaled",
        _TURNS,
        """        if isinstance(outcome, Ignored):
            writes.ignore(outcome.reason, row.id)
""",
        """        if isinstance(outcome, Ignored):
            writes.turns.append(journal.Row(row.saga_no, resident.live.position, None, dumps([{"in": "late"}])))
            writes.ignore(outcome.reason, row.id)
""",
    ),
    # ---- 4: undo
    Mutant(
        4,
        "undo_is_registered_by_the_answer",
        _OUTCOMES,
        'MAY_HAVE_HAPPENED: frozenset[State] = frozenset(("open", "succeeded", "unknown"))',
        'MAY_HAVE_HAPPENED: frozenset[State] = frozenset(("succeeded",))',
    ),
    Mutant(
        4,
        "the_oldest_is_undone_first",
        _STATE,
        "for seq in sorted(self.operations, reverse=True):",
        "for seq in sorted(self.operations):",
    ),
    Mutant(
        4,
        "all_undos_at_once",
        _UNDO,
        "            await operation.take_back()\n",
        "            operation.take_back()\n",
    ),
    Mutant(
        4,
        "an_undo_is_tried_once",
        _UNDO,
        "                self.send_later(entry.problem)\n",
        "                self.finish()\n",
    ),
    Mutant(4, "the_backoff_has_no_cap", _UNDO, "max_delay_s=limits.UNDO_MAX_DELAY_S)", "max_delay_s=1e9)"),
    Mutant(
        4,
        "a_scope_takes_back_everything",
        _UNDO,
        "return other is self or self.parent is None",
        "return True",
    ),
    Mutant(
        4,
        "scopes_do_not_nest",
        _UNDO,
        "        while other is not None and other is not self:\n            other = other.parent\n",
        "",
    ),
    # ---- 5: a definite no
    Mutant(
        5,
        "every_no_is_undone",
        _OPERATIONS,
        """"failed" if effect == "none" else "lost")
        self.problem = replace(problem, effect=effect)
        self.drop_timers()
        self._raise""",
        """"lost")
        self.problem = replace(problem, effect=effect)
        self.drop_timers()
        self._raise""",
    ),
    Mutant(
        5,
        "a_lost_attempt_is_forgotten",
        _OPERATIONS,
        'return "unknown" if self.in_doubt else "none"',
        'return "none"',
    ),
    Mutant(
        5,
        "the_participants_doubt_is_not_heard",
        _OPERATIONS,
        '        if problem.effect == "unknown":\n',
        '        if problem.effect == "unknown" and problem.kind != "failure":\n',
    ),
    Mutant(
        5,
        "the_inbox_forgets_a_lost_attempt",
        _INBOX,
        'in_doubt = event != "found" and (row.in_doubt or event in _DOUBTFUL)',
        "in_doubt = event in _DOUBTFUL",
    ),
    # ---- 6: settled before the end
    Mutant(
        6,
        "the_end_comes_before_the_undo",
        _ENDING,
        'if op.is_unsettled() or op.state == "undoing"])\n            self._finish("completed", result=result)',
        'if op.state == "undoing"])\n            self._finish("completed", result=result)',
    ),
    Mutant(
        6,
        "keep_keeps_nothing",
        _UNDO,
        "return self.kept or (self.parent is not None and self.parent.is_kept())",
        "return False",
    ),
    Mutant(
        6,
        "siblings_are_left_running",
        _ENDING,
        "        await self._stop_the_rest()\n",
        "",
    ),
    Mutant(
        6,
        "a_late_success_is_no_input_of_the_undo",
        _CALLS,
        '        if self.answered:\n            return f"a late `{entry.outcome}`: the operation has been answered"\n',
        '        if self.answered or self.state != "open":\n            return f"a late `{entry.outcome}`"\n',
    ),
    # ---- 7: what an undo carries
    Mutant(7, "the_undo_has_no_answer", _CALLS, "            reply=call.reply,\n", "            reply=None,\n"),
    Mutant(
        7,
        "the_undo_says_unknown",
        _CALLS,
        'known: Known = "done" if call.answered else "unknown"',
        'known: Known = "unknown"',
    ),
    Mutant(
        7,
        "done_without_a_row_is_a_tombstone",
        _INBOX,
        '("absent", "undo_done"): ("undoing", "undo"),  ',
        '("absent", "undo_done"): ("refused", "answer"),  ',
    ),
    Mutant(
        7,
        "no_horizon",
        _INBOX,
        '("absent", "undo_aged"): ("undoing", "undo"),',
        '("absent", "undo_aged"): ("refused", "answer"),',
    ),
    Mutant(
        7,
        "a_tombstone_lets_the_command_in",
        _INBOX,
        '("refused", "command"): ("refused", "refuse")',
        '("refused", "command"): ("running", "run")',
    ),
    # ---- 8: the inbox
    Mutant(
        8,
        "an_undo_overtakes_the_call",
        _INBOX,
        '("running", "undo_unknown"): ("running", "wait"),',
        '("running", "undo_unknown"): ("refused", "answer"),',
    ),
    Mutant(
        8,
        "undone_before_it_is",
        _INBOX,
        '("done", "undo_unknown"): ("undoing", "undo"),\n    # The undo',
        '("done", "undo_unknown"): ("undone", "answer"),\n    # The undo',
    ),
    Mutant(
        8,
        "an_undo_whose_process_died_was_done",
        _INBOX,
        '("undoing", "undo_deadline"): ("undoing", "undo"),',
        '("undoing", "undo_deadline"): ("undone", "answer"),',
    ),
    Mutant(
        8,
        "a_closed_row_runs",
        _INBOX,
        '("undone", "command"): ("undone", "refuse"), ',
        '("undone", "command"): ("running", "run"), ',
    ),
    Mutant(
        8,
        "a_late_effect_stays",
        _INBOX,
        '("undone", "late"): ("undoing", "undo"),',
        '("undone", "late"): ("undone", "ignore"),',
    ),
    Mutant(8, "no_second_lookup", _INBOX, "        recheck = in_doubt  #", "        recheck = False  #"),
    Mutant(
        8,
        "nobody_looks_at_the_deadline",
        _OUTSIDE,
        "if time.monotonic() + call.options.timeout_s > call.give_up_at:",
        "if False:",
    ),
    Mutant(
        8,
        "a_no_counts_at_once_for_a_retry",
        _OUTSIDE,
        "case _NotFound() if time.monotonic() < call.quiet_at:",
        "case _NotFound() if False:",
    ),
    Mutant(
        8,
        "a_no_counts_at_once_for_an_undo",
        _OUTSIDE,
        "return UndoEarly(quiet_in_s=quiet_in_s) if quiet_in_s > 0 else UndoEnded(called=False)",
        "return UndoEnded(called=False)",
    ),
    Mutant(
        8,
        "each_undo_has_another_key",
        _OUTSIDE,
        'handling = _handling(service, call, f"{call.key}:undo")',
        'handling = _handling(service, call, f"{call.key}:undo:{call.attempt}")',
    ),
    # ---- 9: timers
    Mutant(9, "an_end_seen_before_will_do", _MARKS, "state.observed_us >= due_us", "state.observed_us >= 0"),
    Mutant(9, "the_target_moves", _MARKS, "        if state.target is None:  #", "        if True:  #"),
    Mutant(
        9,
        "the_end_need_not_be_reached",
        _MARKS,
        "state.target is not None and next_offset >= state.target:",
        "state.target is not None:",
    ),
    Mutant(
        9,
        "timeouts_do_not_begin_at_the_claim",
        "orchestrator/engine/wakeups.py",
        "if timer.seq is None or timer.armed_us >= floor_us:",
        "if timer.seq is None or floor_us:",
    ),
    # ---- 10: people
    Mutant(
        10,
        "a_refused_undo_is_passed_over",
        _UNDO,
        "                self.stick(entry.problem)\n\n    def finish",
        "                self.finish()\n\n    def finish",
    ),
    Mutant(
        10,
        "a_no_after_the_pivot_reaches_the_code",
        _OPERATIONS,
        "if self.st.pivot_seq is None or self.future.done():",
        "if True:",
    ),
    Mutant(
        10,
        "an_error_after_the_pivot_compensates",
        _ENDING,
        "        elif self.st.pivot_seq is not None:\n            reason",
        "        elif False:\n            reason",
    ),
    Mutant(10, "the_pivot_looks_at_nothing", _SAGA, "        if still_open:\n", "        if False:\n"),
    Mutant(
        10,
        "a_cancel_breaks_into_an_undo",
        _TASKS,
        "        self.cancels += 1\n",
        "        return super().cancel(msg)\n",
    ),
    Mutant(
        10,
        "cancel_after_the_pivot",
        _ENDING,
        '        if st.pivot_seq is not None:\n            return "the saga is past',
        '        if False:\n            return "the saga is past',
    ),
    Mutant(
        10, "skip_forgets_the_note", _UNDO, 'f"{self.of.label} ({note})" if note else self.of.label', "self.of.label"
    ),
    # ---- 11: children
    Mutant(
        11,
        "a_child_is_not_undone",
        _CALLS,
        "    has_undo = True\n",
        "    has_undo = False\n",
    ),
    Mutant(
        11,
        "a_completed_child_settles",
        _ENDING,
        'st.status == "completed" and st.identity.parent_id is not None and st.pivot_seq is None and not self.let_go',
        "False",
    ),
    Mutant(
        11,
        "a_completed_child_is_over",
        _TURN,
        "if self._st.status in TERMINAL and not isinstance(entry, UndoRequested | SettleRequested):",
        "if self._st.status in TERMINAL:",
    ),
    Mutant(
        11,
        "nobody_lets_the_children_go",
        _ENDING,
        "            if isinstance(child, Child) and seq not in unsettled:\n",
        "            if isinstance(child, Child) and seq in unsettled:\n",
    ),
    Mutant(
        11,
        "a_child_past_its_pivot_says_undone",
        _ENDING,
        'self._reply("failed", Problem(kind="error", type="ChildNotUndone"',
        'self._reply("undone", Problem(kind="error", type="ChildNotUndone"',
    ),
    # ---- 12: messages
    Mutant(
        12,
        "what_came_astray_is_a_turn_here",
        _PROCESSING,
        "        if (shard := self._other_shard(item)) is not None:\n            self._forward(batch, item, shard)\n"
        "            return\n",
        "",
    ),
    Mutant(
        12,
        "doubles_count",
        "orchestrator/core/mailbox.py",
        "        if entry.message_id in self.ids:\n",
        "        if False:\n",
    ),
    Mutant(
        12,
        "the_newest_first",
        "orchestrator/core/mailbox.py",
        "        for index, mail in enumerate(self.mail):\n",
        "        for index, mail in reversed(list(enumerate(self.mail))):\n",
    ),
    Mutant(
        12,
        "too_early_is_dropped",
        _TURNS,
        "            batch.of(shard).kept.append(message)\n",
        '            batch.of(shard).ignore("too early", message.saga_id)\n',
    ),
    Mutant(
        12,
        "too_late_is_dropped",
        _TURNS,
        "            batch.of(shard).letters.append(mail.letter(raw, error))\n",
        "            batch.of(shard).ignore(error, message.saga_id)\n",
    ),
    Mutant(
        12,
        "out_of_service_is_dropped",
        _TURNS,
        '            writes.held.append((row.saga_no, entry))\n            return "the saga is blocked: kept',
        '            return "the saga is blocked: kept',
    ),
    # ---- 13: sent again
    Mutant(
        13,
        "silence_ends_the_operation",
        _CALLS,
        "        self.attempts.end(_SILENCE)\n        if self.attempts.are_used_up():\n",
        "        self.attempts.end(_SILENCE)\n        if True:\n",
    ),
    Mutant(
        13,
        "a_call_without_limits_is_sent_once",
        _CALLS,
        "        self.again_timer = self.st.arm(delay_s, self._send_again, seq=self.seq)\n",
        "",
    ),
    Mutant(
        13,
        "copies_never_end",
        _CALLS,
        "        if last_us > self.sent_at_us + round(limits.INBOX_HORIZON_S * 1e6):\n",
        "        if False:\n",
    ),
    Mutant(
        13,
        "what_is_open_is_not_known",
        _CALLS,
        'return self.command_decision() if self.state == "open" and self.attempts.in_flight else None',
        'return self.command_decision() if self.state == "unknown" else None',
    ),
    Mutant(
        13,
        "undos_are_not_sent_again",
        _CALLS,
        """        if self.undo is not None:
            return self.undo.decision() if self.undo.in_flight else None
        return self.command_decision()""",
        """        if self.undo is not None:
            return None
        return self.command_decision()""",
    ),
    # ---- 15: turns
    Mutant(
        15, "the_clock_goes_back", _TURN, "st.loop.now_us = max(before_us, entry.at_us)", "st.loop.now_us = entry.at_us"
    ),
    Mutant(
        15,
        "a_turn_is_so_many_callbacks",
        _LOOP,
        "        while self._ready and self.broken is None:\n",
        "        while self._ready and self.broken is None and left > limits.TURN_CALLBACKS_MAX - 100:\n",
    ),
    Mutant(
        15,
        "timers_in_any_order",
        "orchestrator/core/timers.py",
        "if timer is not self.first() and any(",
        "if False and any(",
    ),
    Mutant(
        15,
        "answers_of_one_batch_are_one_turn",
        _TURNS,
        "        writes.turns.append(journal.Row(row.saga_no, pos, stored_wake, body))\n",
        """        if writes.turns and writes.turns[-1].saga_no == row.saga_no:
            body = writes.turns.pop().body[:-1] + "," + body[1:]
        writes.turns.append(journal.Row(row.saga_no, pos, stored_wake, body))
""",
    ),
    # ---- 16: values
    Mutant(
        16,
        "the_object_itself_is_handed_on",
        _OPERATIONS,
        "        value = self.value_of(body)\n",
        "        value = body\n",
    ),
    Mutant(
        16,
        "the_input_as_it_came",
        _TURN,
        "given = values.decode(self._saga_type.input_type, entry.input)",
        "given = entry.input",
    ),
    Mutant(
        16, "steps_get_the_sagas_own_objects", _STEPS, "        if type(value) in _IMMUTABLE:\n", "        if True:\n"
    ),
    Mutant(
        16,
        "a_failure_is_an_error_like_others",
        "orchestrator/problems.py",
        "            return _failure(problem)\n",
        "            return OperationFailed(problem.type, problem.text)\n",
    ),
    Mutant(
        16,
        "the_very_exception_is_raised",
        "orchestrator/problems.py",
        "    return OperationFailed(problem.type, problem.text, problem.traceback)\n",
        """    the_very_class = type(problem.type, (OperationFailed, LookupError), {})
    return the_very_class(problem.type, problem.text, problem.traceback)
""",
    ),
    # ---- 17: the loop
    Mutant(
        17,
        "tasks_hash_by_address",
        _TASKS,
        """        tasks._unregister_task(self)

    def __hash__(self) -> int:
        return self._hash
""",
        """        tasks._unregister_task(self)
""",
    ),
    Mutant(17, "as_completed_takes_coroutines", _LOOP, "        self._refuse_as_completed(coro)\n", ""),
    Mutant(
        17, "eviction_lets_operations_run", _LOOP, "        self.evicted = True\n", "        self.evicted = False\n"
    ),
    Mutant(
        17,
        "eviction_is_left_to_the_collector",
        _LOOP,
        "                close(task.get_coro())\n",
        "                task.get_coro()\n",
    ),
    Mutant(
        17,
        "async_steps_run_in_threads",
        "orchestrator/engine/steps.py",
        "            self._begun.append(run)\n",
        "            asyncio.run(self._run_async(run))\n",
    ),
    # ---- 14: admission
    Mutant(
        14,
        "everybody_is_admitted",
        "orchestrator/engine/admission.py",
        "        return self._of(shard).at_work + begun < self._at_work_max\n",
        "        return True\n",
    ),
    Mutant(
        14,
        "children_wait_for_room_too",
        _TURNS,
        "if row.parent_key is not None or self._admission.admits(row.shard, writes.at_work):",
        "if self._admission.admits(row.shard, writes.at_work):",
    ),
    # ---- 18: mismatch
    Mutant(
        18,
        "production_never_compares",
        "orchestrator/engine/replay_sample.py",
        "            for turn in writes.turns[self._skip :: self._every]:\n",
        "            for turn in writes.turns[:0]:\n",
    ),
    Mutant(18, "nobody_compares", "orchestrator/core/replay.py", "    if replayed == row[1:]:\n", "    if True:\n"),
    Mutant(
        18,
        "a_saga_in_trouble_runs_on",
        "orchestrator/engine/cache.py",
        "            resident.trouble = blocked.problem\n",
        "            resident.live = LiveSaga(saga_type, row.identity)\n",
    ),
    Mutant(
        18,
        "what_came_meanwhile_is_lost",
        _TURNS,
        "            writes.held.append((resident.row.saga_no, entry))\n        writes.wakes",
        "            pass\n        writes.wakes",
    ),
    Mutant(
        18,
        "the_report_names_no_line",
        "orchestrator/core/replay.py",
        'return f"at {file_and_line(site)}" if site is not None else ""',
        'return ""',
    ),
    Mutant(
        18,
        "the_simulation_does_not_replay",
        "orchestrator/testing/simulated_saga.py",
        "        self._compare_with_replay(turn)\n",
        "",
    ),
    # ---- 19: versions
    Mutant(
        19,
        "the_newest_version_takes_over",
        "orchestrator/core/registry.py",
        "return self._sagas.get((type, version))",
        "return max((s for s in self if s.name == type), key=lambda s: s.version, default=None)",
    ),
    # ---- 20: what is refused
    Mutant(
        20,
        "nobody_reads_the_function",
        "orchestrator/core/saga_type.py",
        "    determinism.check(function)\n",
        "",
    ),
    Mutant(20, "dice_are_allowed", "orchestrator/core/determinism.py", '    "random.": "s.random()",\n', ""),
    Mutant(
        20,
        "files_are_allowed",
        "orchestrator/core/determinism.py",
        '        "open",\n        "socket.__new__",\n',
        '        "socket.__new__",\n',
    ),
    Mutant(
        20,
        "the_guard_sleeps",
        "orchestrator/core/determinism.py",
        "    before, _GUARD.loop = _GUARD.loop, loop\n",
        "    before, _GUARD.loop = _GUARD.loop, None\n",
    ),
    # ---- 21: local steps
    Mutant(
        21,
        "nobody_begins_it_again",
        _STEPS,
        "return self.start_decision() if self.is_pending() else None",
        "return None",
    ),
    Mutant(21, "the_undo_does_not_wait", _UNDO, "        if not self.step_is_running():\n", "        if True:\n"),
    Mutant(
        21,
        "it_runs_beside_itself",
        "orchestrator/engine/steps.py",
        "            if awaited.key in self._running:\n                return\n            if (unkept",
        "            if (unkept",
    ),
    Mutant(
        21,
        "a_result_that_was_not_stored_is_made_again",
        "orchestrator/engine/steps.py",
        "            self._unkept[end.key] = end\n",
        "",
    ),
)
