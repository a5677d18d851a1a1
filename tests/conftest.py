"""What all tests share."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec

import pytest
from filelock import FileLock
from hypothesis import settings

# A busy machine must not fail a property: what a test takes is measured in benchmarks/, not here.
settings.register_profile("seg", deadline=None)
settings.load_profile("seg")

_RAY = """
import logging, tempfile, ray
with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp", ignore_cleanup_errors=True) as home:
    ray.init(
        address="local", num_cpus=1, include_dashboard=False, _temp_dir=home,
        log_to_driver=False, logging_level=logging.CRITICAL,
    )
    assert ray.get(ray.remote(lambda: 6).remote()) == 6
    ray.shutdown()
"""


@pytest.fixture(scope="session")
def ray_works(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Skip where Ray can't run: not installed, or this machine does not let it start. Tried once, whoever asks first.

    Ray is tried as its own documents start it, so that a mistake of seg's is not taken for the machine's.
    """
    if find_spec("ray") is None:
        pytest.skip("Ray is not installed")
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    found = shared / "ray.json"
    with FileLock(shared / "ray.lock"):
        if not found.exists():
            quiet = {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}
            try:
                done = subprocess.run(
                    [sys.executable, "-c", _RAY],
                    env={**os.environ, **quiet},
                    capture_output=True,
                    text=True,
                    timeout=90,
                    check=False,
                )
                reason = done.stderr.strip()[-300:] if done.returncode else ""
            except subprocess.TimeoutExpired:
                reason = "it took longer than 90 s to start"
            found.write_text(json.dumps(reason))
    if reason := json.loads(found.read_text()):
        pytest.skip(f"Ray does not run on this machine: {reason}")
