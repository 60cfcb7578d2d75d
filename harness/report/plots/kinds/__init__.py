"""The plots: one file each, found without a list.

A file has ``PLACE``, by which the plots of a section are ordered, and ``plot(data: SectionData) -> Plot | None``.
"""
