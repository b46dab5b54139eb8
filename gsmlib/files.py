"""Files written whole or not at all, their checksums, and their errors in words."""

import errno
import hashlib
import os
import uuid
from contextlib import suppress
from pathlib import Path

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)
REMEDIES = {
    **dict.fromkeys(FULL, "free some space there"),
    **dict.fromkeys(READ_ONLY, "see that you may read and write there"),
    errno.ENOENT: "see that it is there and its disk is mounted",
    errno.ENOTDIR: "move the file that stands where a folder has to be",
    errno.EEXIST: "move the file that stands where a folder has to be",
    errno.EISDIR: "move the folder that stands where a file has to be",
    errno.ENAMETOOLONG: "choose a shorter name",
}


def file_sha256(path: Path) -> str:
    """Return a file's sha256 in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def in_words(
    error: OSError, path: Path | None = None, setting: str = "", use: str = "used"
) -> str:
    """Return an error of the file system as a sentence: where, why, the remedy.

    path: where it was, if the error does not say; setting: the variable that says where
    such files go; use: what cannot be done there.
    """
    where = error.filename2 or error.filename or path  # of a copy, its target
    if error.strerror is None or error.errno not in REMEDIES or where is None:
        return str(error)  # a sentence already, or not of the file system
    remedy = REMEDIES[error.errno]
    remedy += f", or set {setting} to another folder" if setting else ""
    return f"{where} cannot be {use} ({error.strerror}); {remedy}."


def check_folder(folder: Path, setting: str) -> None:
    """Raise OSError, in a sentence, where a folder cannot be made or written to."""
    there = next(path for path in (folder, *folder.parents) if path.exists())
    number = 0 if there.is_dir() else errno.ENOTDIR
    if not number and not os.access(there, os.W_OK | os.X_OK):
        number = errno.EACCES
    if number:
        error = OSError(number, os.strerror(number), str(there))
        raise OSError(in_words(error, setting=setting, use="written"))


def write_file(path: Path, data: str | bytes, setting: str = "") -> None:
    """Write under a temporary name, then rename: a reader never sees half a file.

    Makes the folder. Raises OSError in one sentence, as `in_words`, and with the number
    of its cause.
    """
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(data.encode() if isinstance(data, str) else data)
        part.replace(path)
    except OSError as error:
        about = OSError(error.errno, error.strerror, str(path))  # not the part's name
        refused = OSError(in_words(about, setting=setting, use="written"))
        refused.errno = error.errno  # the store tells full from read-only by it
        raise refused from None
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)
