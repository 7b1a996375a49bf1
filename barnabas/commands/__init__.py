"""The commands, by what they are about: `work` (tasks), `state` (doctor, topics) and `run` (the first minutes)."""
