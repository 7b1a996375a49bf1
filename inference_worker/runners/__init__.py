"""What runs a model's arithmetic: one port, a file a framework."""
