"""The page's own files: which of them there are, packed once, read anew when they change."""

import gzip
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ws_relay.static import ROOT, TYPES, Files, gzipped

SCRIPT = b"export const x = 1;\n" * 100


@pytest.fixture
def root(tmp_path: Path) -> Path:
    page = tmp_path / "page"
    (page / "js").mkdir(parents=True)
    (page / "index.html").write_bytes(b"<!doctype html>" + b" " * 500)
    (page / "js" / "a-b_c.min.js").write_bytes(SCRIPT)
    (page / ".hidden.js").write_bytes(b"x")
    (page / "notes.py").write_bytes(b"x")
    (page / "tiny.css").write_bytes(b"a{}")
    (page / "dot.png").write_bytes(b"\x89PNG" + b"\0" * 500)
    (tmp_path / "secret.js").write_bytes(b"secret")
    return page


def test_the_root_is_the_index(root: Path) -> None:
    files = Files(str(root))
    assert files.find("/") is files.find("/index.html") is not None


def test_a_file_is_packed_where_that_is_smaller(root: Path) -> None:
    files = Files(str(root))
    script, tiny, picture = (files.find(path) for path in ("/js/a-b_c.min.js", "/tiny.css", "/dot.png"))
    assert script and tiny and picture
    assert script.body == SCRIPT == gzip.decompress(script.packed)
    assert len(script.packed) < len(SCRIPT) / 10
    assert tiny.packed == picture.packed == b""
    assert (script.content_type, picture.content_type) == ("text/javascript; charset=utf-8", "image/png")


def test_it_is_read_once_and_again_when_it_changed(root: Path) -> None:
    files = Files(str(root))
    before = files.find("/tiny.css")
    assert before is files.find("/tiny.css")
    (root / "tiny.css").write_bytes(b"b{}")
    os.utime(root / "tiny.css", ns=(1, 1))
    after = files.find("/tiny.css")
    assert before and after and after.body == b"b{}" and after.etag != before.etag
    (root / "tiny.css").unlink()
    assert files.find("/tiny.css") is None


@pytest.mark.parametrize(
    "path",
    ["", "/js", "/js/", "/../secret.js", "/js/../../secret.js", "/.hidden.js", "/notes.py", "//index.html", "/js//a.js",
     "/js/%2e%2e/tiny.css", "/tiny.css\n", "tiny.css", "/tiny.css/", "/\0.css", "/x" * 5000 + ".css"],
)  # fmt: skip
def test_there_is_nothing_else(root: Path, path: str) -> None:
    assert Files(str(root)).find(path) is None


@given(st.text(st.sampled_from("/.ab%\\\0e"), max_size=12), st.sampled_from(sorted(TYPES)))
def test_no_path_leads_out_of_the_directory(path: str, ending: str) -> None:
    assert Files(os.path.join(ROOT, "js")).find(f"{path}/../secret{ending}") is None


@given(st.binary(max_size=2000), st.integers(1, 9))
def test_what_is_packed_can_be_unpacked_and_says_nothing_of_the_time(body: bytes, level: int) -> None:
    assert gzip.decompress(gzipped(body, level)) == body
    assert gzipped(body, level) == gzipped(body, level)
    assert gzipped(body, level)[4:8] == b"\0\0\0\0"
