"""`python -m inference_worker` runs one worker until SIGTERM or SIGINT; `… perplexity` measures weight formats."""

from __future__ import annotations

import os
import sys

from backbone import service
from inference_worker.kinds import SERVICE
from inference_worker.worker import Worker

if __name__ == "__main__":
    if sys.argv[1:2] == ["perplexity"]:
        from inference_worker import perplexity

        sys.exit(perplexity.main(sys.argv[2:]))
    status = service.run(SERVICE, Worker)
    sys.stderr.flush()
    # All is closed: what would follow is PyTorch's own teardown, seconds in which a drain waits for nothing.
    os._exit(status)
