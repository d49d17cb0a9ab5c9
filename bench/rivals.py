"""The programs that Regalia's gateway is measured beside, each installed on demand below build/bench.

All of them answer `POST …/chat/completions` from the same upstream: nginx with one fixed answer.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml
from bench.load import Target

from ports import free_port
from serving import ROOT, background

INSTALLED = ROOT / "build" / "bench"
LITELLM = "1.106.2"
PORTKEY = "1.15.2"

ANSWER = json.dumps(
    {
        "id": "chatcmpl-bench",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "fake",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "The capital of Kenya is Nairobi."},
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 27, "completion_tokens": 8, "total_tokens": 35},
    }
)

NGINX = """
worker_processes 1; daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 1024; }}
http {{
    access_log off; keepalive_requests 100000000; default_type application/json;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    {http}
}}
"""
UPSTREAM = """server {{ listen 127.0.0.1:{port}; location / {{ return 200 '{answer}'; }} }}"""
PROXY = """
    upstream engine {{ server 127.0.0.1:{upstream}; keepalive 128; keepalive_requests 100000000; }}
    server {{ listen 127.0.0.1:{port}; location / {{
        proxy_pass http://engine; proxy_http_version 1.1; proxy_set_header Connection ""; }} }}
"""


def _nginx(folder: Path, http: str) -> list[str]:
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "nginx.conf"
    config.write_text(NGINX.format(folder=folder, http=http))
    return ["nginx", "-p", str(folder), "-e", str(folder / "error.log"), "-c", str(config)]


def _environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin", **more}


@contextmanager
def upstream(folder: Path) -> Iterator[int]:
    """nginx with one fixed chat completion; gives its port."""
    port = free_port()
    command = _nginx(folder / "upstream", UPSTREAM.format(port=port, answer=ANSWER))
    with background(command, f"http://127.0.0.1:{port}/", env=_environment()):
        yield port


@contextmanager
def nginx_proxy(folder: Path, upstream_port: int) -> Iterator[Target]:
    """nginx as a reverse proxy: nothing but the way there and back."""
    port = free_port()
    command = _nginx(folder / "proxy", PROXY.format(port=port, upstream=upstream_port))
    with background(command, f"http://127.0.0.1:{port}/", env=_environment()):
        yield Target("nginx reverse proxy", f"http://127.0.0.1:{port}/v1/chat/completions")


@contextmanager
def litellm(folder: Path, upstream_port: int) -> Iterator[Target]:
    """LiteLLM's proxy: one worker, a master key, no database, no look-ups outside."""
    binary = INSTALLED / f"litellm-{LITELLM}" / "bin"
    if not (binary / "litellm").exists():
        print(f"==> installing litellm[proxy]=={LITELLM} below {INSTALLED.relative_to(ROOT)}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", binary.parent], check=True)
        pip = [str(binary / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, f"litellm[proxy]=={LITELLM}"], check=True, stderr=subprocess.DEVNULL)
    port = free_port()
    parameters = {
        "model": "openai/fake",
        "api_base": f"http://127.0.0.1:{upstream_port}/v1",
        "api_key": "none",
    }
    config = folder / "litellm.yaml"
    document = {
        "model_list": [{"model_name": "fake", "litellm_params": parameters}],
        "general_settings": {"master_key": "sk-bench"},
        "litellm_settings": {"telemetry": False},
    }
    config.write_text(yaml.safe_dump(document))
    command = [str(binary / "litellm"), "--config", str(config), "--host", "127.0.0.1", "--port", str(port)]
    command += ["--num_workers", "1", "--telemetry", "False"]
    url = f"http://127.0.0.1:{port}"
    quiet = _environment(LITELLM_LOCAL_MODEL_COST_MAP="True", LITELLM_LOG="ERROR", NO_PROXY="127.0.0.1")
    with (
        (folder / "litellm.log").open("wb") as log,
        background(
            command, f"http://127.0.0.1:{port}/health/liveliness", 120, env=quiet, stdout=log, stderr=log
        ),
    ):
        headers = {"Authorization": "Bearer sk-bench"}
        yield Target("LiteLLM proxy", f"{url}/v1/chat/completions", headers)


@contextmanager
def portkey(folder: Path, upstream_port: int) -> Iterator[Target]:
    """Portkey's gateway on Node.js."""
    home = INSTALLED / f"portkey-{PORTKEY}"
    package = home / "node_modules" / "@portkey-ai" / "gateway"
    if not package.exists():
        print(f"==> installing @portkey-ai/gateway@{PORTKEY} below {INSTALLED.relative_to(ROOT)}", flush=True)
        home.mkdir(parents=True, exist_ok=True)
        (home / "package.json").write_text('{"private": true}')
        npm = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts"]
        subprocess.run([*npm, f"@portkey-ai/gateway@{PORTKEY}"], check=True, cwd=home)
    port = free_port()
    command = ["node", str(package / "build" / "start-server.js"), f"--port={port}", "--headless"]
    quiet = _environment(NODE_ENV="production", TRUSTED_CUSTOM_HOSTS="127.0.0.1,localhost")
    with (
        (folder / "portkey.log").open("wb") as log,
        background(command, f"http://127.0.0.1:{port}/", 60, env=quiet, stdout=log, stderr=log),
    ):
        headers = {
            "Authorization": "Bearer none",
            "x-portkey-provider": "openai",
            "x-portkey-custom-host": f"http://127.0.0.1:{upstream_port}/v1",
        }
        yield Target("Portkey gateway", f"http://127.0.0.1:{port}/v1/chat/completions", headers)
