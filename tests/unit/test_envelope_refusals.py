"""What is no bundle, or no file: refused at once, whatever it is; and every byte of one that is counts."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.errors import InputError
from harness.signing.envelope import MOST_BYTES, open_sealed, read_sealed, seal
from harness.signing.keys import PublicKey, Signer
from harness.signing.statement import EVIDENCE_PREDICATE, MODEL_PREDICATE, make_statement, subjects_of
from tests.support.keys import pair

STATEMENT = make_statement({"SHA256SUMS": "ab" * 32}, EVIDENCE_PREDICATE, {"result": "PASSED"})


@pytest.fixture(scope="module")
def signer(tmp_path_factory: pytest.TempPathFactory) -> Signer:
    return pair(tmp_path_factory.mktemp("keys"))[0]


@pytest.fixture
def public(signer: Signer) -> PublicKey:
    return signer.public


def opened_text(text: str | bytes, public: PublicKey, predicate_type: str = EVIDENCE_PREDICATE) -> dict[str, object]:
    content = text.encode() if isinstance(text, str) else text
    return open_sealed(content, [public], predicate_type, "x.sigstore.json").statement


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(
            lambda text: text.replace('"mediaType"', '"mediaType": "x", "mediaType"'), "twice", id="a key twice"
        ),
        pytest.param(
            lambda text: text.replace('"payload"', r'"payload": "", "payl\u006fad"'), "twice", id="twice, escaped once"
        ),
        pytest.param(lambda text: text.encode("utf-16"), "not UTF-8", id="UTF-16"),
        pytest.param(lambda text: b"\xef\xbb\xbf" + text.encode(), "not JSON", id="a byte order mark"),
        pytest.param(
            lambda text: text.replace('"keyid": ""', '"keyid": "\\ud800"'), "not UTF-8", id="half a character"
        ),
        pytest.param(lambda text: text[: len(text) // 2], "not JSON", id="cut short"),
        pytest.param(lambda text: "", "not JSON", id="empty"),
        pytest.param(lambda text: text + text, "not JSON|nested", id="two bundles"),
        pytest.param(lambda text: text + "\n# a comment", "not JSON", id="a comment"),
        pytest.param(lambda text: text.replace('""', "NaN"), "not JSON", id="NaN"),
        pytest.param(lambda text: text.replace('""', "1e999"), "not JSON", id="too large a number"),
        pytest.param(lambda text: text.replace('""', "9" * 5000), "not JSON", id="thousands of digits"),
        pytest.param(lambda text: "[" * 10_000 + "]" * 10_000, "nested too deep", id="10 000 levels"),
        pytest.param(lambda text: '{"a":' * 10_000 + "1" + "}" * 10_000, "nested too deep", id="10 000 objects"),
        pytest.param(lambda text: text.replace("[]", "[" + "{}," * 99 + "{}]"), "too many parts", id="a hundred parts"),
    ],
)
def test_what_is_no_bundle_is_refused(
    signer: Signer, public: PublicKey, change: Callable[[str], str | bytes], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        opened_text(change(seal(STATEMENT, signer)), public)


def test_every_byte_counts(signer: Signer, public: PublicKey) -> None:
    """Each byte of a bundle, changed: it is refused, or it was a space between two parts."""
    content = seal(STATEMENT, signer).encode()
    for place in range(len(content)):
        changed = bytearray(content)
        changed[place] ^= 1
        try:
            opened = opened_text(bytes(changed), public)
        except InputError:
            continue
        assert json.loads(bytes(changed)) == json.loads(content), f"byte {place} changed, and nobody saw it"
        assert opened == STATEMENT


def test_a_file_of_100_mb_is_refused_without_being_read(tmp_path: Path, public: PublicKey) -> None:
    path = tmp_path / "large.json"
    with path.open("wb") as file:
        file.truncate(100_000_000)
    began = time.process_time()
    with pytest.raises(InputError, match="too large"):
        read_sealed(path, [public], EVIDENCE_PREDICATE)
    assert time.process_time() - began < 0.5
    with pytest.raises(InputError, match="too large"):
        open_sealed(bytes(MOST_BYTES + 1), [public], EVIDENCE_PREDICATE, "here")


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"[" * 10_000_000, id="open"),
        pytest.param(b"[]" * 10_000_000, id="wide"),
        pytest.param(b'"' + b"\\" * 10_000_000, id="one text"),
        pytest.param(b"1" * 10_000_000, id="one number"),
    ],
)
def test_hostile_text_is_refused_at_once(public: PublicKey, content: bytes) -> None:
    began = time.process_time()
    with pytest.raises(InputError):
        open_sealed(content, [public], EVIDENCE_PREDICATE, "here")
    assert time.process_time() - began < 1


def test_fifty_thousand_files_fit(signer: Signer, public: PublicKey) -> None:
    subjects = {f"runtime/site-packages/{'x' * 80}/{index}": f"{index:064x}" for index in range(50_000)}
    text = seal(make_statement(subjects, MODEL_PREDICATE, {"resources": []}), signer)
    assert len(text) < MOST_BYTES / 2
    assert subjects_of(opened_text(text, public, MODEL_PREDICATE)) == subjects


def fifo(path: Path) -> None:
    os.mkfifo(path)


def link(path: Path) -> None:
    (path.parent / "target").write_text("{}")
    path.symlink_to("target")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        pytest.param(lambda path: None, "not there", id="nothing"),
        pytest.param(fifo, "no regular file", id="FIFO"),
        pytest.param(link, "is a link", id="link"),
        pytest.param(lambda path: path.mkdir(), "no regular file", id="folder"),
        pytest.param(lambda path: path.symlink_to("/dev/zero"), "is a link", id="device"),
    ],
)
def test_what_is_no_file_is_refused(
    tmp_path: Path, public: PublicKey, make: Callable[[Path], None], message: str
) -> None:
    path = tmp_path / "x.sigstore.json"
    make(path)
    with pytest.raises(InputError, match=message):
        read_sealed(path, [public], EVIDENCE_PREDICATE)
