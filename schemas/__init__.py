"""What is said: tiers, topics, records and their wire format.

The `.avsc` and `.proto` files are the contract, for clients in any language; the Python beside them is a view of it.
Nothing here does I/O or imports another room.
"""
