"""A range of a file reads as a file of its own would."""

import io

import numpy as np
import pytest

from nsfast.images.window import Window


@pytest.fixture
def whole(tmp_path):
    content = np.random.default_rng(0).bytes(1000)
    (tmp_path / "a").write_bytes(content)
    return str(tmp_path / "a"), content


def test_any_reads_and_seeks_give_what_a_copy_of_the_range_gives(whole):
    path, content = whole
    random = np.random.default_rng(1)
    with io.BufferedReader(Window(path, 123, 456), 16) as window, io.BytesIO(content[123:579]) as copy:
        for _ in range(300):
            if random.random() < 0.5:
                place, whence = (int(random.integers(0, 600)), 0) if random.random() < 0.7 else (-9, 2)
                assert window.seek(place, whence) == copy.seek(place, whence)
            count = int(random.integers(0, 80))
            assert window.read(count) == copy.read(count) and window.tell() == copy.tell()


def test_a_file_that_ends_early_is_an_error_and_stays_closed(whole):
    with pytest.raises(OSError, match="the file ends before byte 1001"):
        Window(whole[0], 1, 1000)
    with Window(whole[0], 0, 1000) as window:
        assert window.readall() == whole[1]
    assert window.closed and window.file.closed
