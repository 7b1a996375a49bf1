"""The edge: people and programs come in here, and leave with answers."""
