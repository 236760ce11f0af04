"""Model files that ship with the package, verified before they are used."""

import hashlib
from pathlib import Path

from tracker.errors import WeightsError, reason_of


def read_model(path: Path, sha256: str) -> bytes:
    """The bytes of a model file that ships with the package.  Raises WeightsError when it is missing or altered."""
    try:
        model = path.read_bytes()
    except OSError as error:
        raise WeightsError(
            f"cannot read the face detector {path}: {reason_of(error)}; "
            "restore it with: pip install --force-reinstall fkp"
        ) from error
    seen = hashlib.sha256(model).hexdigest()
    if seen != sha256:
        raise WeightsError(
            f"the face detector {path} was altered: sha256 is {seen[:12]}..., expected {sha256[:12]}...; "
            "restore it with: pip install --force-reinstall fkp"
        )
    return model
