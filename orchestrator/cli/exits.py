"""What the exit code of `amends` says. Scripts may rely on the numbers."""

from orchestrator.errors import (
    AmendsError,
    DefinitionError,
    DependencyError,
    LocalStackError,
    OperationError,
    PayloadError,
    RequestError,
    SagaIdTaken,
    SagaNotFound,
)

OK = 0
ERROR = 1  # an error that has no number of its own
USAGE = 2  # the command line was not understood (typer's own number)
NOT_FOUND = 3  # no saga has this id
REFUSED = 4  # the request can't be: the id is taken, the saga has ended, the value can't travel
DEPENDENCY = 5  # Postgres, Kafka, the schema registry or the local stack is missing or not as we need it
DEFINITION = 6  # the app's code is declared wrongly
SAGA_FAILED = 7  # `start --wait` and `watch`: the saga ended, and not by completing
UNHEALTHY = 8  # `doctor` found something that hurts
INTERRUPTED = 130  # Ctrl-C

MEANINGS: dict[str, str] = {
    "0": "done",
    "1": "an error without a number of its own",
    "2": "the command line was not understood",
    "3": "no saga has this id",
    "4": "the request can't be: id taken, saga ended, value can't travel",
    "5": "Postgres, Kafka, the schema registry or the local stack is missing or not as it must be",
    "6": "the app's code is declared wrongly",
    "7": "the saga ended, and not by completing (`start --wait`, `watch`)",
    "8": "`doctor` found something that hurts",
    "130": "Ctrl-C",
}


def code_of(error: BaseException) -> int:
    """The exit code of an error that reached the edge."""
    match error:
        case KeyboardInterrupt():
            return INTERRUPTED
        case SagaNotFound():
            return NOT_FOUND
        case SagaIdTaken() | RequestError() | PayloadError():
            return REFUSED
        case DependencyError() | LocalStackError():
            return DEPENDENCY
        case DefinitionError():
            return DEFINITION
        case OperationError():
            return SAGA_FAILED
        case AmendsError():
            return ERROR
    return ERROR
