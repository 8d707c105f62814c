"""A byte range of a file, such as one picture in a tar, read as if it were a file."""

from __future__ import annotations

import io


class Window(io.RawIOBase):
    """`length` bytes of the file at `path` from `offset` on; raises OSError when the file ends before."""

    def __init__(self, path: str, offset: int, length: int):
        self.file = open(path, "rb", buffering=0)
        self.offset, self.length, self.position = offset, length, 0
        if self.file.seek(0, io.SEEK_END) < offset + length:
            self.close()
            raise OSError(f"the file ends before byte {offset + length}")

    def close(self) -> None:
        """Close the file as well."""
        self.file.close()
        super().close()

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the position within the range."""
        return self.position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to a position within the range and return it."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self.position, io.SEEK_END: self.length}[whence]
        self.position = max(0, start + offset)
        return self.position

    def readinto(self, buffer) -> int:
        """Fill `buffer` as far as the range goes; return the number of bytes."""
        count = min(len(buffer), max(0, self.length - self.position))
        self.file.seek(self.offset + self.position)
        count = self.file.readinto(memoryview(buffer)[:count])
        self.position += count
        return count
