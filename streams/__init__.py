"""Tasks: one Faust app a tier, the handlers that do the work, and the timer service. No torch here."""
