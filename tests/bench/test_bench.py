"""The measuring tools measure: every call is answered and journalled. No figure is judged here."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

pytestmark = [pytest.mark.bench, pytest.mark.timeout(180)]


def test_a_quick_run_loses_no_call_and_journals_each_once(tmp_path):
    """The command of the README, as it stands there, on small numbers."""
    command = [sys.executable, "-m", "tests.bench.run", "all", "--quick", "--json"]
    done = subprocess.run(
        [*command, "--dir", str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert seen["faults"] == []
    loads = [sample for sample in seen["samples"] if "ok" in sample]
    assert all(sample["sent"] == sample["ok"] > 0 for sample in loads)
    gateways = [sample for sample in loads if sample["variant"] == "gateway"]
    assert all(sample["journal"] == {"succeeded": sample["calls"]} for sample in gateways)
    assert list(tmp_path.iterdir()) == []
