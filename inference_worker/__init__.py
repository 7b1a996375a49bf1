"""Models: requests come in by Kafka, tokens go out by Kafka, as records."""
