"""Everything a batch can be told."""

from dataclasses import dataclass
from pathlib import Path

from tracker.options import BATCH, Options, option


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Everything a batch depends on."""

    sources: tuple[Path, ...]
    """Films, pictures, folders, and patterns with wildcards."""
    each: Options
    """For every film; `out` and `keypoints` are folders, or names in which `{}` stands for the film's."""
    jobs: int | None = option(
        None, "Track N films at the same time.", BATCH, metavar="N", least=1, usual="one per two processors"
    )
    ray: str | None = option(
        None,
        "Run on the Ray cluster at HOST:PORT or ray://HOST:PORT; auto: this machine's cluster.",
        BATCH,
        metavar="ADDRESS",
    )
