"""`python -m regalia.engines.llama_child`: llama.cpp's own server on a Unix socket, without a network.

Started by `regalia.engines.embedded`. Settings: see `LlamaFlags` there.
"""

import signal
from collections.abc import Callable
from importlib.metadata import version
from typing import Any, NoReturn

from regalia.engines import sandbox


def serve(settings: dict[str, Any], ready: Callable[[], None]) -> NoReturn:
    """Load the model and serve it until a signal ends the process."""
    import xllamacpp  # native code: only after the network is gone

    flags = settings["flags"]
    params = xllamacpp.CommonParams()
    params.model.path = settings["model"]
    params.model_alias = {settings["alias"]}
    params.hostnames = [settings["socket"]]
    params.n_threads_http = settings["http_threads"]
    params.verbosity = 2  # warnings and errors; no prompts
    params.ui = False
    params.endpoint_metrics = True
    params.endpoint_slots = True
    params.offline = True
    params.fit_params = False
    params.cache_ram_mib = 0  # the RAM prompt cache would take up to 8 GiB
    params.cache_idle_slots = False
    params.n_ctx = flags["context"] * flags["parallel"]
    params.n_parallel = flags["parallel"]
    params.n_batch = flags["batch"]
    params.n_ubatch = flags["batch"]
    params.cpuparams.n_threads = flags["threads"]
    params.cpuparams_batch.n_threads = flags["threads"]
    server = xllamacpp.Server(params)
    ready()
    while True:
        signal.pause()
        del server  # pragma: no cover - every signal that wakes this process ends it


if __name__ == "__main__":
    sandbox.run(serve, f"xllamacpp {version('xllamacpp')}")
