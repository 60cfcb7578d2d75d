"""Bounded types of what a device answers: no number over 64 bits, no text, list or table of unlimited length.

They are strict: a text is no number, a bool is no whole number, NaN and infinity are no numbers at all. A type's
description is what an error says was wanted.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

T = TypeVar("T")

INT64 = (1 << 63) - 1
UP_TO = "from 0 to 2⁶³ - 1"

Nanoseconds = Annotated[int, Field(ge=0, le=INT64, description=f"nanoseconds, a whole number {UP_TO}")]
Count = Annotated[int, Field(ge=0, le=INT64, description=f"a whole number {UP_TO}")]
Bytes = Annotated[int, Field(ge=0, le=INT64, description=f"bytes, a whole number {UP_TO}")]
# Negative numbers are allowed: whether a measurement is possible is checked by harness.deploy, not by its type.
Whole = Annotated[int, Field(ge=-INT64 - 1, le=INT64, description="a whole number of at most 64 bits")]
Kib = Annotated[int, Field(ge=-INT64 - 1, le=INT64, description="KiB, a whole number of at most 64 bits")]
Mib = Annotated[int, Field(ge=0, le=1 << 40, description="MiB, a whole number from 0 to 2⁴⁰")]
# Linux has no more than 2²² of them (PID_MAX_LIMIT); other kernels number with 31 bits.
Pid = Annotated[int, Field(ge=1, le=(1 << 31) - 1, description="a process id")]
Number = Annotated[float, Field(ge=0, le=1e30, allow_inf_nan=False, description="a number from 0 to 10³⁰")]
Truth = Annotated[bool, Field(description="true or false")]

# Python represents bytes of a file name that are not UTF-8 as lone surrogates, which no terminal or file takes.
_SURROGATES = re.compile("[\ud800-\udfff]")


def _well_formed(value: Any) -> Any:
    return _SURROGATES.sub("\ufffd", value) if isinstance(value, str) and not value.isascii() else value


def _text(most: int) -> Any:
    return Field(max_length=most, description=f"a text of at most {most} characters")


def _start_of(most: int) -> Any:
    return AfterValidator(lambda text: text if len(text) <= most else f"{text[:most]} … ({len(text)} characters)")


Word = Annotated[str, _text(64)]
Name = Annotated[str, _text(1000)]
Text = Annotated[str, BeforeValidator(_well_formed), _text(4096)]
# Why something went wrong, in words: of any length, and cut.
Reason = Annotated[str, BeforeValidator(_well_formed), _start_of(16_384), Field(description="a text")]
Story = Annotated[str, BeforeValidator(_well_formed), _start_of(65_536), Field(description="a text")]
# A path becomes part of commands and messages, and so has no control character and no line end of any kind.
_PATH = re.compile("^[^\x00-\x1f\x7f-\x9f\u2028\u2029]{1,4096}\\Z")
Path = Annotated[str, Field(pattern=_PATH, description="a path of at most 4096 characters, none of them a control")]
_TOKEN = re.compile(r"^[0-9A-Za-z.!+~_-]{1,64}\Z")
Token = Annotated[str, Field(pattern=_TOKEN, description="1 to 64 letters, digits and signs of . ! + ~ _ -")]
# All versions up to one are enumerated to tell which wheels fit: their numbers have few digits.
_PYTHON = re.compile(r"^[0-9]{1,2}(\.[0-9]{1,4}){1,2}([A-Za-z+~_-][0-9A-Za-z.+~_-]{0,31})?\Z")
PythonVersion = Annotated[str, Field(pattern=_PYTHON, description='a version of Python, such as "3.11.2"')]
_LIBC = re.compile(r"^([A-Za-z]{1,16}(-[0-9]{1,3}(\.[0-9]{1,4}){0,3})?)?\Z")
Libc = Annotated[str, Field(pattern=_LIBC, description='a C library and its version, such as "glibc-2.36", or ""')]
_PACKAGE = re.compile(r"^[0-9a-z]([0-9a-z-]*[0-9a-z])?\Z")
Package = Annotated[str, Field(pattern=_PACKAGE, max_length=128, description="a package's name")]
_SHA256 = re.compile(r"^[0-9a-f]{64}\Z")
Sha256 = Annotated[str, Field(pattern=_SHA256, description="a SHA-256 in hexadecimal digits")]
_ENTRY = re.compile(r"^(artifacts|runtimes|bundles)/[0-9A-Za-z_][0-9A-Za-z._-]{0,127}\Z")
Entry = Annotated[str, Field(pattern=_ENTRY, description="the name of a store's entry")]
_HEX = re.compile(r"^([0-9a-f]{2}){0,32}\Z")
Hex = Annotated[str, Field(pattern=_HEX, description="at most 32 bytes in hexadecimal digits")]


def _no_more_than(most: int) -> BeforeValidator:
    """Refuse a list or table that is too long before its items are checked: an error for each takes memory, too."""

    def check(value: Any) -> Any:
        if isinstance(value, (list, dict)) and len(value) > most:
            raise PydanticCustomError("too_long", "it has {count} items", {"count": len(value)})
        return value

    return BeforeValidator(check)


def _items(most: int) -> Any:
    return Field(strict=False, fail_fast=True, description=f"a list of at most {most}")


# Not strict, so that JSON's lists become tuples; their items stay strict.
FEW, MANY = 4096, 1 << 16
Few = Annotated[tuple[T, ...], _items(FEW), _no_more_than(FEW)]
Many = Annotated[tuple[T, ...], _items(MANY), _no_more_than(MANY)]
Names = Few[Name]


def bounded_table(most: int) -> tuple[Any, ...]:
    """Make the metadata for an Annotated dict of at most ``most`` items."""
    return Field(description=f"a table of at most {most}, from names to values"), _no_more_than(most)


Table = Annotated[dict[Name, T], *bounded_table(FEW)]


class Answer(BaseModel):
    """An answer, or a part of one. Keys beyond its fields are ignored."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)
