"""Models on disk: where they come from, how they are converted once, and how their files are verified."""
