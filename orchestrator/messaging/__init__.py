"""Contracts on the wire: Avro, envelopes, topics, the Kafka client (`kafka` is the only module that imports it)."""
