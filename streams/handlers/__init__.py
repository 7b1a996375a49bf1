"""One file a kind of task, found through the entry-point group `barnabas.handlers`."""
