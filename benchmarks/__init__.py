"""Measurements against what people would use instead: `python -m benchmarks NAME`. Part of no room, shipped to nobody."""
