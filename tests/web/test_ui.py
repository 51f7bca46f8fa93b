"""The dashboard's files are served as they were built, and were built from what stands beside them."""

import gzip
import hashlib
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from gateway.web.ui import Dashboard

DASHBOARD = Path(__file__).parents[2] / "gateway" / "dashboard"
STATIC, SOURCES = DASHBOARD / "static", DASHBOARD / "ui"
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; worker-src 'self'; base-uri 'self'; form-action 'self'; "
    "frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types gw-worker"
)


@pytest.mark.parametrize(
    ("path", "base"),
    [("", "./"), ("calls?q=a/b", "./"), ("calls/call_01", "../"), ("no/such/page", "../../")],
)
async def test_every_page_is_the_index_with_its_own_base(gateway, path, base):
    async with gateway() as gw:
        answer = await gw.request("GET", f"/-/ui/{path}")

        assert answer.status == 200
        assert f'<base href="{base}">' in answer.body.decode()
        assert answer.header("Content-Type") == "text/html; charset=utf-8"
        assert answer.header("Cache-Control") == "no-store"
        assert answer.header("Content-Security-Policy") == CSP


async def test_a_file_may_be_kept_for_ever_and_comes_compressed(gateway):
    build = Dashboard.load().build
    async with gateway() as gw:
        plain = await gw.request("GET", f"/-/ui/a/{build}/app.js")
        packed = await gw.request(
            "GET", f"/-/ui/a/{build}/app.js", headers=[("Accept-Encoding", "br, gzip")]
        )

        assert plain.body == (STATIC / "app.js").read_bytes()
        assert plain.header("Content-Type") == "text/javascript; charset=utf-8"
        assert plain.header("Cache-Control") == "public, max-age=31536000, immutable"
        assert plain.header("Vary") == "Accept-Encoding"
        assert packed.header("Content-Encoding") == "gzip"
        assert gzip.decompress(packed.body) == plain.body


async def test_what_the_manifest_does_not_list_is_not_served(gateway):
    build = Dashboard.load().build
    async with gateway() as gw:
        for path in (
            f"a/{build}/manifest.json", f"a/{build}/index.html", f"a/{build}/..%2fui.py",
            "a/000000000000/app.js", f"a/{build}/", f"a/{build}", "a/",
        ):  # fmt: skip
            answer = await gw.request("GET", f"/-/ui/{path}")
            assert answer.status in (400, 404), path


async def test_the_address_without_its_slash_leads_to_the_dashboard(gateway):
    async with gateway() as gw:
        answer = await gw.request("GET", "/-/ui")

        assert (answer.status, answer.header("Location")) == (302, "ui/")


def test_the_manifest_lists_every_file_as_it_is():
    listed = json.loads((STATIC / "manifest.json").read_text())

    assert {each["file"] for each in listed} == {each.name for each in STATIC.iterdir()} - {
        "manifest.json"
    }
    for each in listed:
        body = (STATIC / each["file"]).read_bytes()
        assert each["bytes"] == len(body)
        assert each["sha256"] == hashlib.sha256(body).hexdigest()


def test_the_first_load_is_small():
    """Scripts at most 60 KB, styles 10 KB, as they travel."""
    needed, wanted = set(), ["theme.js", "app.js", "overview.js"]
    while wanted:
        name = wanted.pop()
        if name not in needed:
            needed.add(name)
            text = (STATIC / name).read_text()
            wanted += re.findall(r'(?:from|import)"\./([\w-]+\.js)"', text)
    assets = Dashboard.load().assets

    assert any(name.startswith("chunk-") for name in needed)
    assert sum(len(assets[name].gzipped) for name in needed) <= 60_000
    assert len(assets["style.css"].gzipped) <= 10_000


def test_nothing_turns_text_into_markup():
    forbidden = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function"
    for source in (SOURCES / "src").rglob("*.ts*"):
        assert not re.search(forbidden, source.read_text()), source


def test_the_lock_file_names_no_addresses():
    assert "http" not in (SOURCES / "package-lock.json").read_text().replace(
        "https://opencollective", ""
    ).replace("https://github.com/sponsors", "")


@pytest.mark.skipif(shutil.which("npm") is None, reason="npm is not installed")
def test_the_built_files_are_what_the_sources_build(tmp_path):
    ui = tmp_path / "ui"
    shutil.copytree(SOURCES, ui, ignore=shutil.ignore_patterns("node_modules"))
    if (SOURCES / "node_modules").exists():
        (ui / "node_modules").symlink_to(SOURCES / "node_modules")
    else:
        installed = _npm(ui, "ci", "--ignore-scripts")
        if installed.returncode:
            pytest.skip(f"npm could not install the build tools: {installed.stderr[-200:]}")
    built = tmp_path / "static"

    assert (checked := _npm(ui, "run", "check")).returncode == 0, checked.stdout
    assert (made := _npm(ui, "run", "build", DASHBOARD_OUT=str(built))).returncode == 0, made.stderr
    assert {each.name: each.read_bytes() for each in built.iterdir()} == {
        each.name: each.read_bytes() for each in STATIC.iterdir()
    }


def _npm(folder: Path, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["npm", *command], cwd=folder, env={**os.environ, **environment},
        capture_output=True, text=True, timeout=55, check=False,
    )  # fmt: skip
