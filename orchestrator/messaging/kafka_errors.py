"""What Kafka's client reports, as errors that say what to do."""

from confluent_kafka import KafkaError, KafkaException

from orchestrator.errors import DependencyError

MISSING = (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION)
OUT_OF_RANGE = (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE)
REFUSED_COMMIT = (
    KafkaError.ILLEGAL_GENERATION,
    KafkaError.UNKNOWN_MEMBER_ID,
    KafkaError.REBALANCE_IN_PROGRESS,
    KafkaError.FENCED_INSTANCE_ID,
    KafkaError._STATE,
    KafkaError._ASSIGNMENT_LOST,
)
DENIED = (
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError._AUTHENTICATION,
    KafkaError.SASL_AUTHENTICATION_FAILED,
)


class OffsetOutOfRange(DependencyError):
    """The offset to read from is not in the log (any more): the topic was made again, or what was unread is deleted."""

    def __init__(self, topic: str, partition: int) -> None:
        super().__init__(
            f"{topic}[{partition}]: the offset to read on from is not in the log; the topic was made again, or its "
            "retention is shorter than our absence: what is open is sent again from Postgres"
        )
        self.topic = topic
        self.partition = partition


class TopicMissing(DependencyError):
    """A topic that was there, or should be, is not."""

    def __init__(self, topic: str) -> None:
        super().__init__(f"topic {topic} does not exist: type `amends migrate` to make it")
        self.topic = topic


class KafkaAway(DependencyError):
    """No broker answers: it is away, or KAFKA_BOOTSTRAP_SERVERS is wrong; nobody can tell which."""


class Denied(DependencyError):
    """The brokers know who we are, or should, and do not let us."""


class SessionTooShort(DependencyError):
    """The broker's group.min.session.timeout.ms is above ours."""


class NoAuthorizer(DependencyError):
    """The brokers have no authorizer: there are no ACLs, and everybody may do everything."""


class Mapped:
    """Raises what the client raises as a DependencyError."""

    def __init__(self, what: str, topic: str = "") -> None:
        self._what, self._topic = what, topic

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, KafkaException):
            raise dependency_error(reason_of(error), self._what, self._topic) from error


def reason_of(error: KafkaException) -> KafkaError:
    reason = error.args[0]
    assert isinstance(reason, KafkaError)
    return reason


def dependency_error(reason: KafkaError, what: str, topic: str = "") -> DependencyError:
    if reason.code() in MISSING and topic:
        return TopicMissing(topic)
    if reason.code() == KafkaError.SECURITY_DISABLED:
        return NoAuthorizer(f"{what}: {reason}")
    if reason.code() in DENIED:
        return Denied(f"{what}: {reason}: docs/operations/roles.md lists the ACLs of each role")
    if reason.code() in (KafkaError._TRANSPORT, KafkaError._TIMED_OUT, KafkaError._ALL_BROKERS_DOWN):
        return KafkaAway(f"{what}: no broker answers ({reason.name()}): is KAFKA_BOOTSTRAP_SERVERS right?")
    return DependencyError(f"{what}: {reason}")
