"""What the edge counts."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

SUBMITS = Counter("barnabas_edge_submits", "Tasks handed in, by what became of that.", ["kind", "tier", "result"])
CONNECTIONS = Gauge("barnabas_edge_connections", "Open live connections.", ["protocol"])
DELIVERIES = Counter("barnabas_edge_deliveries", "Frames sent to clients.", ["protocol", "type"])
DROPPED = Counter("barnabas_edge_dropped", "Connections dropped because they read too slowly.", ["protocol"])
PROJECTED = Counter("barnabas_edge_projected", "Records folded into the projection.", ["topic"])
LAG = Gauge("barnabas_edge_projection_lag", "Records that the projection has yet to fold.")
