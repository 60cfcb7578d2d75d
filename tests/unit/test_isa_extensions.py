"""Which extension an instruction needs: words as GNU as assembles them, and Capstone's text for them."""

from __future__ import annotations

import numpy as np
import pytest

from harness.isa.decoding import decode
from harness.isa.extensions import EXTENSIONS, LSE, lacking, needed_by

CORTEX_A72 = ["fp", "asimd", "evtstrm", "crc32", "cpuid"]
CORTEX_A76 = [*CORTEX_A72, "aes", "pmull", "sha1", "sha2"]
CORTEX_A76 += ["atomics", "fphp", "asimdhp", "asimdrdm", "lrcpc", "dcpop", "asimddp"]

# Of each extension every form that its patterns tell apart; then ARMv8.0's own that look like them.
WORDS = [
    pytest.param(0xF8F60016, "LSE", id="ldaddal x22, x22, [x0]"),
    pytest.param(0xB8210062, "LSE", id="ldadd w1, w2, [x3]"),
    pytest.param(0xF821307F, "LSE", id="stset x1, [x3]"),
    pytest.param(0xF8217062, "LSE", id="ldumin x1, x2, [x3]"),
    pytest.param(0x38E08020, "LSE", id="swpalb w0, w0, [x1]"),
    pytest.param(0xC8E1FC14, "LSE", id="casal x1, x20, [x0]"),
    pytest.param(0x08A17C02, "LSE", id="casb w1, w2, [x0]"),
    pytest.param(0x4860FC82, "LSE", id="caspal x0, x1, x2, x3, [x4]"),
    pytest.param(0x6E828420, "RDM", id="sqrdmlah v0.4s, v1.4s, v2.4s"),
    pytest.param(0x6F72F020, "RDM", id="sqrdmlsh v0.8h, v1.8h, v2.h[3]"),
    pytest.param(0x7E828420, "RDM", id="sqrdmlah s0, s1, s2"),
    pytest.param(0x7F52F020, "RDM", id="sqrdmlsh h0, h1, v2.h[1]"),
    pytest.param(0xF8BFC020, "LRCPC", id="ldapr x0, [x1]"),
    pytest.param(0x38BFC020, "LRCPC", id="ldaprb w0, [x1]"),
    pytest.param(0x1EE22820, "FP16", id="fadd h0, h1, h2"),
    pytest.param(0x1FC20C20, "FP16", id="fmadd h0, h1, h2, h3"),
    pytest.param(0x1EE12000, "FP16", id="fcmp h0, h1"),
    pytest.param(0x1EE02008, "FP16", id="fcmp h0, #0.0"),
    pytest.param(0x1EE20C20, "FP16", id="fcsel h0, h1, h2, eq"),
    pytest.param(0x1EE10400, "FP16", id="fccmp h0, h1, #0, eq"),
    pytest.param(0x1EEE1000, "FP16", id="fmov h0, #1.0"),
    pytest.param(0x1EE1C020, "FP16", id="fsqrt h0, h1"),
    pytest.param(0x1EE20020, "FP16", id="scvtf h0, w1"),
    pytest.param(0x9EF80001, "FP16", id="fcvtzs x1, h0"),
    pytest.param(0x1EC3F420, "FP16", id="ucvtf h0, w1, #3"),
    pytest.param(0x4E421420, "FP16", id="fadd v0.8h, v1.8h, v2.8h"),
    pytest.param(0x0E420C20, "FP16", id="fmla v0.4h, v1.4h, v2.4h"),
    pytest.param(0x4F321020, "FP16", id="fmla v0.8h, v1.8h, v2.h[3]"),
    pytest.param(0x6F329020, "FP16", id="fmulx v0.8h, v1.8h, v2.h[3]"),
    pytest.param(0x5F321020, "FP16", id="fmla h0, h1, v2.h[3]"),
    pytest.param(0x7EC21420, "FP16", id="fabd h0, h1, h2"),
    pytest.param(0x4EF8F820, "FP16", id="fabs v0.8h, v1.8h"),
    pytest.param(0x5EF9D820, "FP16", id="frecpe h0, h1"),
    pytest.param(0x4E30F820, "FP16", id="fmaxv h0, v1.8h"),
    pytest.param(0x0EB0C820, "FP16", id="fminnmv h0, v1.4h"),
    pytest.param(0x4F03FE00, "FP16", id="fmov v0.8h, #1.0"),
    pytest.param(0x4E829420, "DotProd", id="sdot v0.4s, v1.16b, v2.16b"),
    pytest.param(0x2FA2E020, "DotProd", id="udot v0.2s, v1.8b, v2.4b[1]"),
    pytest.param(0x4E82A420, "I8MM", id="smmla v0.4s, v1.16b, v2.16b"),
    pytest.param(0x4E82AC20, "I8MM", id="usmmla v0.4s, v1.16b, v2.16b"),
    pytest.param(0x6E82A420, "I8MM", id="ummla v0.4s, v1.16b, v2.16b"),
    pytest.param(0x4E829C20, "I8MM", id="usdot v0.4s, v1.16b, v2.16b"),
    pytest.param(0x4FA2F020, "I8MM", id="usdot v0.4s, v1.16b, v2.4b[1]"),
    pytest.param(0x4F22F020, "I8MM", id="sudot v0.4s, v1.16b, v2.4b[1]"),
    pytest.param(0x6E42FC20, "BF16", id="bfdot v0.4s, v1.8h, v2.8h"),
    pytest.param(0x4F62F020, "BF16", id="bfdot v0.4s, v1.8h, v2.2h[1]"),
    pytest.param(0x2EC2FC20, "BF16", id="bfmlalb v0.4s, v1.8h, v2.8h"),
    pytest.param(0x4FD2F020, "BF16", id="bfmlalt v0.4s, v1.8h, v2.h[1]"),
    pytest.param(0x6E42EC20, "BF16", id="bfmmla v0.4s, v1.8h, v2.8h"),
    pytest.param(0x1E634020, "BF16", id="bfcvt h0, s1"),
    pytest.param(0x0EA16820, "BF16", id="bfcvtn v0.4h, v1.4s"),
    pytest.param(0x4E284820, "AES", id="aese v0.16b, v1.16b"),
    pytest.param(0x0EE2E020, "AES", id="pmull v0.1q, v1.1d, v2.1d"),
    pytest.param(0x5E024020, "SHA256", id="sha256h q0, q1, v2.4s"),
    pytest.param(0x5E282820, "SHA256", id="sha256su0 v0.4s, v1.4s"),
    pytest.param(0x25A11C00, "SVE", id="whilelo p0.s, x0, x1"),
    pytest.param(0xA540A000, "SVE", id="ld1w {z0.s}, p0/z, [x0]"),
    pytest.param(0x65A20020, "SVE", id="fmla z0.s, p0/m, z1.s, z2.s"),
    pytest.param(0x043F57FF, "SVE", id="addvl sp, sp, #-1"),
    pytest.param(0x1EE24020, "", id="fcvt s0, h1"),
    pytest.param(0x1EE2C020, "", id="fcvt d0, h1"),
    pytest.param(0x1E23C020, "", id="fcvt h0, s1"),
    pytest.param(0x0E217820, "", id="fcvtl v0.4s, v1.4h"),
    pytest.param(0x0E216820, "", id="fcvtn v0.4h, v1.4s"),
    pytest.param(0x1E222820, "", id="fadd s0, s1, s2"),
    pytest.param(0x4E22D420, "", id="fadd v0.4s, v1.4s, v2.4s"),
    pytest.param(0x4FA21020, "", id="fmla v0.4s, v1.4s, v2.s[1]"),
    pytest.param(0x4E629420, "", id="mla v0.8h, v1.8h, v2.8h"),
    pytest.param(0x0E22C020, "", id="smull v0.8h, v1.8b, v2.8b"),
    pytest.param(0x0E22E020, "", id="pmull v0.8h, v1.8b, v2.8b"),
    pytest.param(0xC85FFC20, "", id="ldaxr x0, [x1]"),
    pytest.param(0xC802FC20, "", id="stlxr w2, x0, [x1]"),
    pytest.param(0xC8DFFC20, "", id="ldar x0, [x1]"),
    pytest.param(0xF8627820, "", id="ldr x0, [x1, x2, lsl #3]"),
    pytest.param(0x3CE26820, "", id="ldr q0, [x1, x2]"),
    pytest.param(0x1AC24820, "", id="crc32w w0, w1, w2"),
    pytest.param(0x4F008420, "", id="movi v0.8h, #1"),
    pytest.param(0x5E0A0420, "", id="dup h0, v1.h[2]"),
    pytest.param(0x6EA2B420, "", id="sqrdmulh v0.4s, v1.4s, v2.4s"),
    pytest.param(0x8B020020, "", id="add x0, x1, x2"),
    pytest.param(0xD503201F, "", id="nop"),
    pytest.param(0xD65F03C0, "", id="ret"),
]


@pytest.mark.parametrize(("word", "extension"), WORDS)
def test_an_instruction_is_its_extensions_and_nobody_elses(
    word: int, extension: str, request: pytest.FixtureRequest
) -> None:
    found = needed_by(word)
    assert (found.name if found else "") == extension
    if found:
        one = np.array([word], dtype=np.uint32)
        assert [other.name for other in EXTENSIONS if other.find(one)[0]] == [extension]


@pytest.mark.parametrize(
    ("code", "arch", "text", "extension", "trap"),
    [
        pytest.param("1600f6f8df1240f1", "aarch64", "ldaddal x22, x22, [x0]", "LSE", False, id="LSE"),
        pytest.param("2094824e", "aarch64", "sdot v0.4s, v1.16b, v2.16b", "DotProd", False, id="dot-product"),
        pytest.param("00000000", "aarch64", "udf #0", "", True, id="arm's-trap"),
        pytest.param("1f2003d5", "aarch64", "nop", "", False, id="of-every-CPU"),
        pytest.param("62f1fd4858c0", "x86_64", "vaddpd zmm0, zmm0, zmm0", "AVX512", False, id="AVX-512"),
        pytest.param("0f0b", "x86_64", "ud2", "", True, id="x86's-trap"),
    ],
)
def test_an_instruction_is_decoded(code: str, arch: str, text: str, extension: str, trap: bool) -> None:
    found = decode(bytes.fromhex(code), arch)
    assert found is not None
    assert (found.text, found.extension, found.trap) == (text, extension, trap)


@pytest.mark.parametrize(
    ("code", "arch"),
    [
        pytest.param("", "aarch64", id="no-code"),
        pytest.param("ffffffff", "aarch64", id="no-instruction"),
        pytest.param("0f0b", "riscv64", id="another-architecture"),
    ],
)
def test_what_is_no_known_instruction_is_none(code: str, arch: str) -> None:
    assert decode(bytes.fromhex(code), arch) is None


@pytest.mark.parametrize(
    ("features", "lacks"),
    [
        pytest.param(CORTEX_A72, {one.name for one in EXTENSIONS}, id="cortex-a72"),
        pytest.param(CORTEX_A76, {"I8MM", "BF16", "SVE"}, id="cortex-a76"),
    ],
)
def test_a_cpu_lacks_what_its_kernel_does_not_list(features: list[str], lacks: set[str]) -> None:
    assert {one.name for one in lacking(features)} == lacks
    assert (LSE in lacking(features)) == (LSE.name in lacks)
