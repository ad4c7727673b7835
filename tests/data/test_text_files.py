"""Text files: labels and texts by line; encodings and broken lines named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from thalweg import data
from thalweg.errors import DataError


def test_lines_with_labels(tmp_path: Path) -> None:
    file = tmp_path / "mail.tsv"
    file.write_bytes("ham\tHello, you\r\n\r\nspam\tWIN now\t\t\r\nham\tGrüße\r\n".encode())
    mail = data.TextLines(file, separator="\t")
    texts, labels = mail.fetch(np.array([0, 1, 2]))
    assert texts.tolist() == ["Hello, you", "WIN now", "Grüße"]
    assert labels.tolist() == [0, 1, 0]
    assert mail.describe(1).endswith("mail.tsv: line 3")
    assert mail.lengths is not None
    assert mail.lengths.tolist() == [10, 7, 5]


def test_lines_alone_and_label_last(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("one, two\nthree, four\n")
    assert data.TextLines(file).fetch(np.array([1]))[0].tolist() == ["three, four"]
    last = data.TextLines(file, separator=",", label_last=True)
    assert last.classes == ("four", "two")


def test_bad_files_are_named(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_bytes("eins\nzwölf\n".encode("cp1252"))
    with pytest.raises(DataError, match=r"line 2 holds the byte 0xf6.*encoding='cp1252'"):
        data.TextLines(file)
    assert data.TextLines(file, encoding="cp1252").texts[1] == "zwölf"
    with pytest.raises(DataError, match="encoding 'utf9' is unknown"):
        data.TextLines(file, encoding="utf9")
    file.write_bytes("a\nb".encode("utf-16"))
    with pytest.raises(DataError, match="encoding='utf-16'"):
        data.TextLines(file)
    file.write_bytes(b"")
    with pytest.raises(DataError, match="is empty"):
        data.TextLines(file)
    file.write_text("\n \n")
    with pytest.raises(DataError, match="holds no lines of text"):
        data.TextLines(file)
    file.write_text("ham\tok\nno label here\n")
    with pytest.raises(DataError, match="line 2: no label and text"):
        data.TextLines(file, separator="\t")
    with pytest.raises(DataError, match="cannot be read"):
        data.TextLines(tmp_path / "gone.txt")
