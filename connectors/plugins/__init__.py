"""The protocols of the edge, each a plugin behind the port in `connectors.plugin`."""
