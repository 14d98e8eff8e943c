"""Fetching from a server that breaks off, lies and is hostile; the server is a thread of this test."""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import dataset_files
import pytest

from lossbench.datasets import DataError, fetch, load
from lossbench.datasets.archives import contents_digest
from lossbench.datasets.fetch import Finding, list_data, verify
from lossbench.datasets.sources import SOURCES, Source, SourceFile
from lossbench.plugins import PluginError


@dataclass
class Server:
    """What the server does: `files` by name, and how it misbehaves."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    break_at: int | None = None  # bytes of a response after which it breaks off
    breaks: int = 10**9  # how often
    ranges: bool = True
    status: int | None = None
    announced: bool = True
    requests: list[tuple[str, str | None]] = field(default_factory=list)


@pytest.fixture
def server():
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def do_GET(self):
            name, wanted = self.path.rpartition("/")[2], self.headers["Range"]
            state.requests.append((name, wanted))
            if state.status or name not in state.files:
                self.send_error(state.status or 404)
                return
            content, start = state.files[name], 0
            if wanted and state.ranges:
                start = int(wanted.removeprefix("bytes=").removesuffix("-"))
                if start >= len(content):
                    self.send_error(416)
                    return
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            else:
                self.send_response(200)
            body = content[start:]
            if state.announced:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if state.break_at is not None and state.breaks > 0 and len(body) > state.break_at:
                state.breaks -= 1
                body = body[: state.break_at]
            self.wfile.write(body)

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    state.url = f"http://127.0.0.1:{http.server_port}/files"
    yield state
    http.shutdown()
    http.server_close()
    thread.join()


@pytest.fixture
def published(tmp_path, server, monkeypatch):
    """Small `mnist` and `omniglot` files on the server, and digests to match."""
    for name in ("mnist", "omniglot"):
        dataset_files.write(name, tmp_path / "published")
        files = []
        for file in SOURCES[name].files:
            path = tmp_path / "published" / name / file.name
            content = path.read_bytes()
            server.files[file.name] = content
            members = contents_digest(path, ".png") if file.suffix else ""
            digest = hashlib.md5(content).hexdigest()
            files.append(SourceFile(name=file.name, md5=digest, members_sha256=members, suffix=file.suffix))
        monkeypatch.setitem(SOURCES, name, Source(url=server.url, files=tuple(files)))
    return tmp_path / "published"


FIRST = "train-images-idx3-ubyte.gz"


def left_in(folder):
    return sorted(path.name for path in folder.iterdir())


def test_fetched_files_are_the_published_ones_and_can_be_loaded(data, server, published):
    seen = []
    paths = fetch.fetch("mnist", data, progress=lambda *step: seen.append(step))
    for path in paths:
        assert path.read_bytes() == server.files[path.name]
    assert len(load("mnist").images) == 280
    assert left_in(data / "mnist") == sorted([*(path.name for path in paths), "SHA256SUMS"])
    sums = (data / "mnist" / "SHA256SUMS").read_text()
    for path in paths:
        assert f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" in sums
    whole = len(server.files[FIRST])
    assert (FIRST, whole, whole) in seen


def test_nothing_is_fetched_twice(data, server, published):
    fetch.fetch("mnist", data)
    count = len(server.requests)
    (data / "mnist" / FIRST).write_bytes(b"damaged")
    fetch.fetch("mnist", data)
    assert server.requests[count:] == [(FIRST, None)]


def test_another_address(data, server, published, monkeypatch):
    monkeypatch.setitem(SOURCES, "mnist", Source(url="http://nowhere.invalid", files=SOURCES["mnist"].files))
    fetch.fetch("mnist", data, base_url=server.url + "/")
    with pytest.raises(DataError, match="is not an http or https address"):
        fetch.fetch("mnist", data, base_url="file:///etc")


@pytest.mark.parametrize("announced", [True])
def test_a_broken_connection_is_continued_where_it_broke(data, server, published, announced):
    server.break_at = 50_000
    fetch.fetch("mnist", data)
    ranges = [wanted for name, wanted in server.requests if name == FIRST]
    assert ranges[:3] == [None, "bytes=50000-", "bytes=100000-"]
    assert (data / "mnist" / FIRST).read_bytes() == server.files[FIRST]


def test_a_later_fetch_continues_too(data, server, published):
    server.break_at, server.status = 50_000, None
    (data / "mnist").mkdir()
    (data / "mnist" / f"{FIRST}.part").write_bytes(server.files[FIRST][:1234])
    fetch.fetch("mnist", data)
    assert server.requests[0] == (FIRST, "bytes=1234-")
    assert (data / "mnist" / FIRST).read_bytes() == server.files[FIRST]


def test_a_server_without_ranges_starts_over_and_gives_up_if_it_gets_no_further(data, server, published):
    server.ranges, server.break_at, server.breaks = False, 50_000, 1
    fetch.fetch("mnist", data)
    (data / "mnist" / FIRST).unlink()
    server.breaks = 10**9
    with pytest.raises(DataError, match=r"broke off at 50,000 of .*; 50,000 bytes are kept, fetch again to continue"):
        fetch.fetch("mnist", data)
    assert not (data / "mnist" / FIRST).exists()


@pytest.mark.parametrize("part", [b"x" * 100, b"x" * 10**6, None])
def test_a_beginning_of_another_file_is_thrown_away(data, server, published, part):
    (data / "mnist").mkdir()
    (data / "mnist" / f"{FIRST}.part").write_bytes(server.files[FIRST] if part is None else part)
    fetch.fetch("mnist", data)
    assert (data / "mnist" / FIRST).read_bytes() == server.files[FIRST]


def test_false_content_is_not_kept(data, server, published):
    server.files[FIRST] = server.files[FIRST][:-1] + b"!"
    with pytest.raises(DataError, match="is not the published file; not kept") as caught:
        fetch.fetch("mnist", data)
    assert "\n" not in str(caught.value)
    assert left_in(data / "mnist") == []


@pytest.mark.parametrize("member", ["../escaped.png", "/tmp/escaped.png"])
def test_a_hostile_archive_is_not_kept_and_nothing_is_extracted(data, tmp_path, server, published, member):
    hostile = tmp_path / "hostile.zip"
    dataset_files.write_zip(hostile, {member: b"x", "images_background/A/c/1.png": b"x"})
    server.files["images_background.zip"] = hostile.read_bytes()
    with pytest.raises(DataError, match="points outside the archive"):
        fetch.fetch("omniglot", data)
    assert left_in(data / "omniglot") == []
    assert list(tmp_path.rglob("escaped*")) == []


def test_an_archive_packed_anew_is_known_by_its_contents(data, tmp_path, server, published):
    import zipfile

    again = tmp_path / "again.zip"
    with zipfile.ZipFile(published / "omniglot" / "images_background.zip") as old:
        dataset_files.write_zip(again, {name: old.read(name) for name in reversed(old.namelist())})
    assert again.read_bytes() != server.files["images_background.zip"]
    server.files["images_background.zip"] = again.read_bytes()
    fetch.fetch("omniglot", data)
    findings = verify("omniglot", data)
    assert [finding.ok for finding in findings] == [True, True]
    assert "packed anew" in findings[0].message
    assert "the publisher's MD5" in findings[1].message


@pytest.mark.parametrize(("status", "answer"), [(404, "answers 404"), (403, "answers 403"), (503, "503")])
def test_a_server_that_says_no(data, server, published, status, answer):
    server.status = status
    with pytest.raises(DataError, match=f"mnist: put {FIRST} from http.* into .*{answer}"):
        fetch.fetch("mnist", data)
    assert left_in(data / "mnist") == []


def test_offline_says_in_one_line_what_to_put_where(data, server, published):
    with pytest.raises(DataError) as caught:
        fetch.fetch("mnist", data, base_url="http://127.0.0.1:1")
    message = str(caught.value)
    assert message.startswith(f"mnist: put {FIRST} from http://127.0.0.1:1 into {data / 'mnist'}; downloading failed")
    assert "\n" not in message


def test_a_server_that_never_ends(data, server, published, monkeypatch):
    monkeypatch.setattr(fetch, "MAX_FILE_BYTES", 1000)
    server.announced = False
    with pytest.raises(DataError, match="more than 1,000 bytes; not kept"):
        fetch.fetch("mnist", data)
    assert left_in(data / "mnist") == []


def test_what_has_nothing_to_fetch(data):
    with pytest.raises(DataError, match="digits: has nothing to fetch"):
        fetch.fetch("digits", data)
    with pytest.raises(PluginError, match="did you mean 'mnist'"):
        fetch.fetch("mnits", data)


def test_a_data_folder_that_cannot_be_made(tmp_path, published):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot write to"):
        fetch.fetch("mnist", tmp_path / "file")


# list, verify


def test_list_says_what_is_there(data, published):
    def state():
        return {row.name: row.state for row in list_data(data)}["mnist"]

    assert state() == "missing"
    fetch.fetch("mnist", data)
    assert state() == "present"
    (data / "mnist" / FIRST).unlink()
    assert state() == f"incomplete: {FIRST}"
    rows = {row.name: row for row in list_data(data)}
    assert rows["digits"].state == "built in"
    assert all(row.summary and row.source for row in rows.values())
    assert all(
        row.license and row.citation and row.protocols
        for row in rows.values()
        if row.name not in ("csv", "features", "folder")
    )


def test_verify_finds_what_is_missing_changed_or_false(data, server, published, monkeypatch):
    fetch.fetch("mnist", data)
    assert all(finding.ok for finding in verify("mnist", data))
    names = [file.name for file in SOURCES["mnist"].files]
    (data / "mnist" / names[0]).unlink()
    (data / "mnist" / names[1]).write_bytes(b"changed")
    found = {finding.file: finding for finding in verify("mnist", data)}
    assert [found[name].ok for name in names] == [False, False, True, True]
    assert "missing" in found[names[0]].message
    assert "has changed since it was fetched" in found[names[1]].message
    (data / "mnist" / "SHA256SUMS").unlink()
    assert "is not the published file's" in verify("mnist", data)[1].message


def test_verify_loads_what_has_no_published_files(data, tmp_path):
    (finding,) = verify("digits", data)
    assert finding.ok
    assert "1,797 images of 10 classes, checksum " in finding.message
    folder = tmp_path / "pictures"
    folder.mkdir()
    dataset_files.write_pictures(folder, classes=2, count=2)
    (folder / "class0" / "bad.png").write_bytes(b"")
    findings = verify(f"folder:{folder}", data)
    assert [finding.ok for finding in findings] == [True, False]
    assert findings[1].file.startswith("class0/bad.png")
    assert verify("folder:/nowhere", data) == [
        Finding(file="folder:/nowhere", ok=False, message="folder:/nowhere: is not a folder")
    ]


def test_known_digests_are_whole():
    for source in SOURCES.values():
        for file in source.files:
            assert file.sha256 or file.md5
            assert all(len(digest) == 64 for digest in (*file.sha256, file.members_sha256) if digest)
            assert len(file.md5) in (0, 32)
            assert bool(file.members_sha256) == bool(file.suffix)
