"""The words that a mail is labelled with, and the arrays that carry what is known of it."""

from __future__ import annotations

from typing import Any

import numpy as np

CATEGORIES = ("personal", "work", "newsletter", "notification", "invoice", "travel", "security", "support")
URGENCIES = ("low", "normal", "high")

Floats = np.ndarray[Any, np.dtype[np.float32]]
