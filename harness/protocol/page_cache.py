"""What the program on a device answers that drops pages from its page cache: see harness.agent.cold.page_cache."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from .fields import Answer, Bytes, Count, Few, Path, Pid, Reason, Text, Truth

PageBytes = Annotated[int, Field(ge=1 << 10, le=1 << 21, description="bytes of a page, from 2¹⁰ to 2²¹")]


class Seen(Answer):
    """Whether it is shown what the process that runs the model has mapped; and what that has had read from disks."""

    seen: Truth
    read_bytes: Bytes | None = Field(description="bytes, a whole number from 0 to 2⁶³ - 1, or null")


class DropRefusal(Answer):
    """The pages of no file could be dropped, or none counted."""

    error: Reason


class KeptFile(Answer):
    """A file of which pages stayed."""

    path: Path
    pages: Count


class Holder(Answer):
    """A process that has such a file mapped."""

    pid: Pid
    name: Text


class Dropped(Answer):
    """The report; see drop there."""

    page_bytes: PageBytes
    files: Count
    unreadable: Count
    pages: Count
    before: Count
    after: Count
    untold: Count
    kept: Few[KeptFile] = Field(description="a list of files, each with a path and pages")
    holders: Few[Holder] = Field(description="a list of processes, each with a pid and a name")
    hidden: Count
