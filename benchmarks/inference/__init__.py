"""How fast tokens come, Barnabas beside the llama.cpp server: one model, one client, the same cores, in one run."""
