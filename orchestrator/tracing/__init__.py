"""Traces as functions of the journal: which spans a saga has, their ids, and the tree that people read. Pure.

Nothing here knows a clock, a database or OpenTelemetry's SDK. `engine.spans` exports what `spans` derives, and
`amends trace` draws what `tree` makes of the same story.
"""
