"""A journal, read as people read it: which operations there were, how each went, and what is open. Pure.

The journal's rows are all that is needed, so `describe`, `amends show`, `amends trace`, the console and the exported
spans tell the same story of a saga, also where its code is not at hand. One turn after the other:

    story = Story()
    for body in bodies:
        ended = advance(story, body)      # what came to its end with this turn

An answer names its operation, so most ends are plain. An end that no line names is inferred from what the saga did
next, and only where nothing else can have happened; otherwise the operation stays open until the journal proves that
it is over (it is undone, or the saga ends). Once said, an end is never said otherwise: exported spans are final.
"""

from orchestrator.story.desk import Desk, Preview, desk_of
from orchestrator.story.model import Attempt, Body, Ended, Mark, Operation, Story, TakenBack, Undo
from orchestrator.story.reading import advance, end_unseen, read_story
from orchestrator.story.waiting import waiting_for

__all__ = [
    "Attempt",
    "Body",
    "Desk",
    "Ended",
    "Mark",
    "Operation",
    "Preview",
    "Story",
    "TakenBack",
    "Undo",
    "advance",
    "desk_of",
    "end_unseen",
    "read_story",
    "waiting_for",
]
