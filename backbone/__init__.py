"""How it is carried: settings, Kafka, Redis, leases, outcomes, security and telemetry, shared by the services."""
