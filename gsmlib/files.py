"""Files written whole or not at all, and their checksums."""

import hashlib
import uuid
from contextlib import suppress
from pathlib import Path


def file_sha256(path: Path) -> str:
    """Return a file's sha256 in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_file(
    path: Path, data: str | bytes, remedy: str = "free some space there"
) -> None:
    """Write under a temporary name, then rename: a reader never sees half a file.

    Makes the folder. Raises OSError in one sentence, which ends with `remedy`, and with
    the number of its cause.
    """
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(data.encode() if isinstance(data, str) else data)
        part.replace(path)
    except OSError as error:
        refused = OSError(f"{path} cannot be written ({error.strerror}); {remedy}.")
        refused.errno = error.errno  # the store tells full from read-only by it
        raise refused from None
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)
