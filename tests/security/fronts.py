"""nginx and HAProxy as they may stand in front of the gateway, on a loopback port of their own.

Both keep connections to the gateway and use them for all clients: that is where a request that two
programs read in two ways would reach another client. On each request that they pass on they set
`X-Front` to a value that no client knows.
"""

import asyncio
import shutil
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.client import PATIENCE_S, Client

NGINX = """
daemon off;
master_process off;
pid {directory}/nginx.pid;
error_log {directory}/error.log;
events {{}}
http {{
  access_log off;
  client_body_temp_path {directory}/body;
  proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/fastcgi;
  uwsgi_temp_path {directory}/uwsgi;
  scgi_temp_path {directory}/scgi;
  upstream gateway {{
    server 127.0.0.1:{gateway};
    keepalive 1;
  }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://gateway;
      proxy_http_version 1.1;
      proxy_set_header Host $http_host;
      proxy_set_header Connection "";
      proxy_set_header X-Front {secret};
      proxy_buffering off;
      proxy_request_buffering off;
      proxy_next_upstream off;
    }}
  }}
}}
"""
HAPROXY = """
global
  nbthread 1
defaults
  mode http
  timeout connect 5s
  timeout client 5s
  timeout server 5s
  http-reuse always
frontend clients
  bind 127.0.0.1:{port}
  http-request set-header X-Front {secret}
  default_backend gateway
backend gateway
  server one 127.0.0.1:{gateway}
"""
_COMMANDS = {
    "nginx": ("-e", "{directory}/error.log", "-c", "{config}"),
    "haproxy": ("-db", "-f", "{config}"),
}
_CONFIGS = {"nginx": NGINX, "haproxy": HAPROXY}


def program(name: str) -> str | None:
    """Return where the program is; some distributions keep it from the PATH of users."""
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")


@asynccontextmanager
async def open_front(
    name: str, directory: Path, *, gateway: int, secret: str
) -> AsyncIterator[Client]:
    """Run it in front of the gateway at that port, and yield a client of it."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    config = directory / f"{name}.conf"
    text = _CONFIGS[name].format(directory=directory, port=port, gateway=gateway, secret=secret)
    config.write_text(text)
    arguments = [each.format(directory=directory, config=config) for each in _COMMANDS[name]]
    path = program(name)
    assert path is not None
    process = await asyncio.create_subprocess_exec(
        path, *arguments, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        await _wait_listening(port, process)
        client = Client("127.0.0.1", port)
        yield client
        client.close()
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _wait_listening(port: int, process: asyncio.subprocess.Process) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            assert process.returncode is None, "it ended at once; try its config by hand"
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.01)
            else:
                writer.close()
                return
