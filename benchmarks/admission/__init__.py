"""`python -m benchmarks admission`: a simulation of who runs when, over random and adversarial arrivals."""
