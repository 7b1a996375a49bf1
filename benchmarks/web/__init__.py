"""`web.scrape` beside the bare libraries: what reading, the worker's process and the guarded connector cost."""
