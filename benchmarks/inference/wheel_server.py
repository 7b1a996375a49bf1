"""`python -m benchmarks.inference.wheel_server MODEL PORT STREAMS`: llama.cpp's server as the wheel `xllamacpp` has it."""

from __future__ import annotations

import signal
import sys

import xllamacpp  # type: ignore[import-untyped]  # it has no types

from benchmarks.inference.peers import CONTEXT, THREADS


def main(model: str, port: int, streams: int) -> None:
    """Serve until a signal comes."""
    params = xllamacpp.CommonParams()
    params.model.path = model
    params.hostnames, params.port = ["127.0.0.1"], port
    params.n_parallel, params.n_ctx = streams, streams * CONTEXT
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = THREADS
    params.cache_prompt, params.cache_ram_mib = False, 0
    server = xllamacpp.Server(params)
    print(server.listening_address, flush=True)
    signal.pause()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
