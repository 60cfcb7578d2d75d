"""Wheels of which a part is sent: only to a client of another computer, and the manifest says so."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import botocore

from harness.bundle import AGENT
from harness.bundle.planning import _python_runtime
from harness.bundle.trimming import LEFT_OUT
from harness.bundle.wheels import Wheel
from harness.evidence.schema import BundleFacts
from harness.host.cache import file_sha256
from tests.support.wheels import write_wheel

FILES = {"botocore/__init__.py": "VERSION = 1\n", "botocore/data/s3/service.json": "{}" * 5000, "botocore/auth.py": ""}


def wheel(folder: Path, name: str = "botocore") -> Wheel:
    path = write_wheel(folder / f"{name}-1.0-py3-none-any.whl", FILES)
    size = path.stat().st_size
    return Wheel(name=name, version="1.0", path=path, sha256=file_sha256(path), bytes=size, unpacked_bytes=10_000)


def test_of_botocore_only_what_signs_is_sent(tmp_path: Path) -> None:
    whole = wheel(tmp_path)
    runtime = _python_runtime([whole], "3.0", (), is_trimmed=True)
    (sent,) = runtime.archives
    with zipfile.ZipFile(sent.source) as archive:
        names = archive.namelist()
        assert archive.read("botocore/__init__.py") == b"VERSION = 1\n"
    assert "botocore/data/s3/service.json" not in names
    assert "botocore-1.0.dist-info/METADATA" in names
    assert sent.unpacked_bytes < whole.unpacked_bytes
    facts = BundleFacts.model_validate({"sha256": "0" * 64, **runtime.described})
    assert facts.wheels is not None
    assert facts.trimmed is not None
    assert (facts.wheels[0].sha256, facts.trimmed[0].sha256) == (whole.sha256, sent.sha256)
    assert facts.trimmed[0].left_out == ["botocore/data/"]


def test_a_backend_on_the_device_gets_the_whole_wheel(tmp_path: Path) -> None:
    whole = wheel(tmp_path)
    for runtime in (
        _python_runtime([whole], "3.0", ()),
        _python_runtime([wheel(tmp_path, "other")], "3.0", (), is_trimmed=True),
    ):
        assert "trimmed" not in runtime.described
        assert runtime.archives[0].source.suffix == ".whl"


def test_the_client_works_with_what_is_sent(tmp_path: Path) -> None:
    """As on a board: only what was shipped is imported."""
    packages = Path(botocore.__file__).parents[1]
    (left_out,) = LEFT_OUT["botocore"]
    ignored = shutil.ignore_patterns(Path(left_out).name, "__pycache__")
    shutil.copytree(packages / "botocore", tmp_path / "botocore", ignore=ignored)
    for name in ("urllib3", "dateutil", "six.py", "numpy", "numpy.libs"):
        if (packages / name).exists():
            (tmp_path / name).symlink_to(packages / name)
    shutil.copytree(AGENT, tmp_path / "agent", ignore=shutil.ignore_patterns("__pycache__"))
    program = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from agent.remote import event_stream, sagemaker, signing\n"
        "from agent.remote.credentials import Credentials, Wallet\n"
        "from agent.remote.url import parse_url\n"
        "wallet = Wallet(); wallet.put(Credentials('A', 'B', 'C'))\n"
        "signer = signing.Signer(parse_url('https://h'), 'eu-west-1', wallet)\n"
        "print([line.partition(':')[0] for line in signer.sign('/p', {}, [b'x'])])"
    )
    done = subprocess.run([sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("['X-Amz-Date', 'X-Amz-Security-Token', 'Authorization']\n", "")
