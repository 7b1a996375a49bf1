"""Reading the web: fetched politely, then read in a process that can be killed."""
