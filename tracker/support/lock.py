"""Locks on open files.  The system releases them when their process ends, in any way.

Process numbers cannot replace them: in another container or machine, the same number is another process.
"""

import errno
import os
import sys

NO_LOCKS = frozenset({errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL})
"""Errors of file systems without locks: Lustre mounted without them, some FUSE and NFS."""

FAR_BYTE = 1 << 40
"""The locked byte.  It is never written: Windows and SMB shares refuse access to locked bytes."""


def try_lock(file: int) -> bool | None:
    """Lock the open file with this descriptor until it is closed.

    False if another open file holds the lock, None if the file system has no locks.
    """
    try:
        _lock(file)
    except (BlockingIOError, PermissionError):
        return False
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        return None
    return True


if sys.platform == "win32":
    import msvcrt

    def _lock(file: int) -> None:
        os.lseek(file, FAR_BYTE, os.SEEK_SET)
        try:
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        finally:
            os.lseek(file, 0, os.SEEK_SET)

elif sys.platform == "linux":
    import fcntl
    import struct

    def _lock(file: int) -> None:
        # Unlike flock this locks one byte, so that the file can still be written on an SMB share.
        region = struct.pack("hhqqi", fcntl.F_WRLCK, os.SEEK_SET, FAR_BYTE, 1, 0)
        fcntl.fcntl(file, fcntl.F_OFD_SETLK, region)

else:
    import fcntl

    def _lock(file: int) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
