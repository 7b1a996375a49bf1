"""The embedded local stack: Kafka, Valkey and every service, as processes under one supervisor."""
