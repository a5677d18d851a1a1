from __future__ import annotations

import io
import zipfile

import numpy as np
import pytest
from tests.io.formats.answers import answered, blobs, read, write

from segcli.core.errors import ItemError


def test_numpy_alone_reads_everything(tmp_path):
    (path,) = write("npz", [answered(labels=("cat", None, "dög"), scores=(0.5, 0.1, 1.0), ids=(5, 6, 9))], tmp_path)
    z = np.load(path, allow_pickle=False)
    masks = np.unpackbits(z["masks"], axis=2, count=z["size"][1]).view(bool)  # as the module's docstring says
    assert (masks == np.stack(blobs())).all()
    assert z["ids"].tolist() == [5, 6, 9]
    assert z["scores"].tolist() == [0.5, 0.1, 1.0]
    assert z["labels"].tolist() == ["cat", "", "dög"]
    assert z["labelled"].tolist() == [True, False, True]


def test_the_file_has_no_date(tmp_path):
    (path,) = write("npz", [answered()], tmp_path)
    assert {info.date_time for info in zipfile.ZipFile(path).infolist()} == {(1980, 1, 1, 0, 0, 0)}


@pytest.mark.parametrize("change", ["masks", "ids", "size"])
def test_arrays_that_do_not_fit_together_are_refused(tmp_path, change):
    (path,) = write("npz", [answered()], tmp_path)
    arrays = dict(np.load(path))
    arrays[change] = arrays[change][:-1] if change != "size" else np.array([10**6, 10**6])
    file = io.BytesIO()
    np.savez(file, **arrays)
    path.write_bytes(file.getvalue())
    with pytest.raises(ItemError, match="not an NPZ file of seg"):
        read("npz", path)


def test_pickles_are_never_opened(tmp_path):
    (path,) = write("npz", [answered()], tmp_path)
    arrays = dict(np.load(path))
    arrays["labels"] = np.array([{}, {}, {}], dtype=object)
    np.savez(path.open("wb"), **arrays)
    with pytest.raises(ItemError, match="allow_pickle"):
        read("npz", path)
