"""`python -m inference_worker` runs one worker until SIGTERM or SIGINT."""

from __future__ import annotations

import os
import sys

from backbone import service
from inference_worker.kinds import SERVICE
from inference_worker.worker import Worker

if __name__ == "__main__":
    status = service.run(SERVICE, Worker)
    sys.stderr.flush()
    # All is closed: what would follow is PyTorch's own teardown, seconds in which a drain waits for nothing.
    os._exit(status)
