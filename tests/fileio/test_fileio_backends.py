"""Which storage is used: by path, by name, by the user's own class."""

from __future__ import annotations

import copy
import io
import pickle
import shutil
import sys
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from drivetrain import fileio
from drivetrain.errors import (
    ArgumentError,
    ArgumentTypeError,
    MissingFileError,
    MissingPackageError,
    NotAFolderError,
    NotFoundError,
    NotSupportedError,
    UntrustedFileError,
)  # fmt: skip
from drivetrain.fileio import (
    BaseFileHandler,
    BaseStorageBackend,
    FileClient,
    FsspecBackend,
    HardDiskBackend,
    HTTPBackend,
    LmdbBackend,
    LocalBackend,
    get_file_backend,
    register_backend,
    register_handler,
)  # fmt: skip
from drivetrain.fileio._registry import backend_instances, backends, client_instances, prefix_to_backends


@pytest.fixture(autouse=True)
def tables_as_before() -> Iterator[None]:
    tables = (backends, prefix_to_backends, fileio.file_handlers)
    before = [dict(table) for table in tables]  # type: ignore[call-overload]
    yield
    for table, entries in zip(tables, before, strict=True):
        table.clear()
        table.update(entries)  # type: ignore[attr-defined]
    backend_instances.clear()
    client_instances.clear()


class Box(BaseStorageBackend):
    """The least that a backend needs: it can be read."""

    made = 0

    def __init__(self, label: str = "plain") -> None:
        self.label = label
        type(self).made += 1

    def get(self, filepath: str | Path) -> bytes:
        return self.get_text(filepath).encode()

    def get_text(self, filepath: str | Path) -> str:
        return f'{{"path": "{filepath}", "label": "{self.label}"}}'


def test_backend_of_the_user_is_used_by_prefix_and_by_name() -> None:
    register_backend("box", Box, prefixes="box")
    by_name = {"backend": "box", "label": "named"}
    assert fileio.load("box://a.json") == {"path": "box://a.json", "label": "plain"}
    assert fileio.load("a.json", backend_args=by_name)["label"] == "named"
    assert fileio.load("s3://a.json", backend_args=by_name) == {"path": "s3://a.json", "label": "named"}
    assert fileio.list_from_file("box://a", prefix="> ")[0].startswith('> {"path"')
    assert fileio.get("box://b").startswith(b'{"path": "box://b"')
    assert type(get_file_backend("box://b")) is Box and type(FileClient(prefix="box").client) is Box
    assert FileClient("box").get_text("a") == fileio.get_text("a", backend_args={"backend": "box"})
    assert fileio.load("a.json", backend_args=by_name) and by_name == {"backend": "box", "label": "named"}
    with fileio.get_local_path("box://d/b.txt") as path:
        assert Path(path).name == "b.txt" and "box://d/b.txt" in Path(path).read_text()
    assert not Path(path).exists()


def test_what_a_backend_cannot_do_is_named() -> None:
    register_backend("box", Box, prefixes="box")
    with pytest.raises(AttributeError, match=r"backend Box has no 'isdir', which drivetrain.fileio.isdir calls"):
        fileio.isdir("box://a")
    with pytest.raises(AttributeError, match=r"backend Box has no 'anything'\.$"):
        _ = Box().anything  # type: ignore[attr-defined]


def test_backend_is_made_once_for_its_options_in_the_functions() -> None:
    register_backend("box", Box, prefixes=["box", "crate"])
    Box.made = 0
    for _ in range(3):
        fileio.get("box://a")
        fileio.get("a", backend_args={"backend": "box", "label": "x"})
    assert Box.made == 2
    assert get_file_backend("box://a") is not get_file_backend("box://a")
    assert get_file_backend("box://a", enable_singleton=True) is get_file_backend("box://b", enable_singleton=True)


def test_registering_works_as_a_decorator_and_replaces_only_by_force() -> None:
    @register_backend("box", prefixes=("box",))
    class Own(Box): ...

    with pytest.raises(ArgumentError, match=r"the backend 'box' is already registered; force=True replaces it"):
        register_backend("box", Box)
    with pytest.raises(ArgumentError, match="the prefix 'box' is already registered"):
        register_backend("other", Box, prefixes="box")
    assert "other" not in backends and type(get_file_backend("box://a", enable_singleton=True)) is Own
    register_backend("box", Box, force=True, prefixes="box")
    assert type(get_file_backend("box://a", enable_singleton=True)) is Box


def test_local_disk_can_be_replaced() -> None:
    register_backend("local", Box, force=True, prefixes="")
    assert fileio.load("a.json") == {"path": "a.json", "label": "plain"}


@pytest.mark.parametrize(
    "arguments", [(1, Box), ("box", 3), ("box", int), ("box", Box, False, 3), ("box", Box, False, [1])]
)
def test_wrong_registration_is_refused(arguments: Any) -> None:
    with pytest.raises(ArgumentTypeError):
        register_backend(*arguments)
    assert "box" not in backends


def test_paths_and_names_choose_the_backend() -> None:
    assert type(get_file_backend("a/b")) is LocalBackend and type(get_file_backend("file:///a")) is LocalBackend
    assert type(get_file_backend("https://a/b")) is HTTPBackend
    assert type(get_file_backend("s3://a/b")) is FsspecBackend
    assert type(get_file_backend(backend_args={"backend": "local"})) is LocalBackend
    assert type(get_file_backend(backend_args={"backend": "disk"})) is LocalBackend
    assert type(get_file_backend("https://a", backend_args={"backend": "local"})) is LocalBackend
    assert type(get_file_backend(backend_args={"backend": "memory"})) is FsspecBackend
    assert (LocalBackend().name, LocalBackend().allow_symlink, HTTPBackend().allow_symlink) == (
        "LocalBackend", True, False
    )  # fmt: skip
    with pytest.raises(ArgumentError, match="needs a path"):
        get_file_backend(backend_args={"key": 1})
    with pytest.raises(NotFoundError, match=r"no storage backend is called 'locl'.*Did you mean 'local'"):
        get_file_backend("a", backend_args={"backend": "locl"})


@pytest.mark.parametrize("name", ["petrel", "ceph", "memcached"])
def test_dead_storages_name_what_to_use_instead(name: str) -> None:
    args = {"backend": name, "path_mapping": {"data/": "s3://data/"}}
    with pytest.raises(ArgumentError, match=rf"the storage '{name}' has no client any more.*s3://bucket"):
        fileio.get("data/a.jpg", backend_args=args)
    with pytest.raises(ArgumentError, match="has no client any more"):
        FileClient(**args)
    register_backend(name, Box)
    assert fileio.load("a.json", backend_args={"backend": name})["label"] == "plain"


def test_file_client_is_one_object_for_its_arguments(tmp_path: Path) -> None:
    disk = FileClient("disk")
    assert disk is FileClient() and disk is not FileClient("local") and type(disk.client) is HardDiskBackend
    assert FileClient("http") is FileClient(backend="http") is not FileClient(prefix="http")
    assert FileClient.infer_client(uri=tmp_path) is disk is FileClient.infer_client({"backend": "disk"})
    assert FileClient.infer_client(uri="file:///a").name == "LocalBackend"
    assert (disk.name, disk.allow_symlink) == ("HardDiskBackend", True)
    with pytest.raises(ArgumentError, match="needs file_client_args or uri"):
        FileClient.infer_client()


def test_file_client_survives_copying_and_pickling() -> None:
    register_backend("box", Box)
    box, disk = FileClient("box", label="x"), FileClient()
    assert copy.deepcopy({"client": box})["client"] is box and type(disk.client) is HardDiskBackend
    content = pickle.dumps([box, disk])
    client_instances.clear()
    box, disk = pickle.loads(content)
    assert (box.client.label, type(disk.client)) == ("x", HardDiskBackend) and FileClient("box", label="x") is box


def test_backends_go_to_worker_processes() -> None:
    for path, args in [("a", None), ("https://a", None), ("memory://a", {"skip_instance_cache": True})]:
        backend = get_file_backend(path, backend_args=args)
        assert type(pickle.loads(pickle.dumps(backend))) is type(backend) is type(copy.deepcopy(backend))


def test_file_client_reads_and_writes(tmp_path: Path) -> None:
    client, path = FileClient(), tmp_path / "d" / "a.txt"
    client.put(b"1", path)
    assert client.get(path) == b"1" and client.exists(path) and client.isfile(path) and client.isdir(tmp_path / "d")
    client.put_text("é", path)
    assert client.get_text(path) == "é" and client.get_text(path, "latin1") == "Ã©"
    assert client.join_path("a", "b") == "a/b"
    assert list(client.list_dir_or_file(tmp_path, list_dir=False, suffix=".txt", recursive=True)) == ["d/a.txt"]
    with client.get_local_path(path) as local:
        assert local == path
    client.remove(path)
    assert not client.exists(path)


def test_file_client_knows_prefixes_and_registers() -> None:
    uris = ["s3://a", "a", "/a/b", "cluster:s3://a", "C:/a", Path("a")]
    assert [FileClient.parse_uri_prefix(uri) for uri in uris] == ["s3", None, None, "s3", None, None]
    with pytest.raises(ArgumentTypeError, match="a str or a Path, got 1"):
        FileClient.parse_uri_prefix(1)  # type: ignore[arg-type]

    @FileClient.register_backend("box", prefixes="box")
    class Own(Box): ...

    assert type(FileClient("box", label="x").client) is Own and FileClient("box", label="x").client.label == "x"
    assert fileio.load("box://a.json")["label"] == "plain"
    FileClient.register_backend("box", Box, force=True)
    assert type(FileClient("box", label="x").client) is Box


def test_old_client_arguments_reach_the_backend_of_the_user() -> None:
    register_backend("box", Box)
    with pytest.warns(DeprecationWarning, match="old name of backend_args"):
        assert fileio.load("a.json", file_client_args={"backend": "box"})["label"] == "plain"


class Answers(SimpleHTTPRequestHandler):
    def log_message(self, *args: Any) -> None: ...


class Broken(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_error(500)

    def log_message(self, *args: Any) -> None: ...


@contextmanager
def serving(handler: Any) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[str]:
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "a.json").write_text('{"a": [1]}')
    (folder / "lines.txt").write_bytes("é\r\nb\n".encode())
    (folder / "plain.pkl").write_bytes(pickle.dumps({"a": 1}))
    with serving(partial(Answers, directory=str(folder))) as url:
        yield url


def test_web_servers_are_read_without_further_packages(
    site: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    assert fileio.load(f"{site}/a.json") == {"a": [1]} == fileio.load(f"{site}/a.json?version=2")
    assert fileio.list_from_file(f"{site}/lines.txt") == ["é", "b"]
    assert fileio.exists(f"{site}/a.json") and fileio.isfile(f"{site}/a.json") and not fileio.exists(f"{site}/none")
    with fileio.get_local_path(f"{site}/a.json?version=2") as path:
        assert Path(path).name == "a.json" and Path(path).read_text() == '{"a": [1]}'
    assert not Path(path).exists()
    assert fileio.copyfile(f"{site}/a.json", tmp_path) == str(tmp_path / "a.json")
    assert fileio.copyfile_to_local(f"{site}/a.json", tmp_path / "new" / "b.json") == tmp_path / "new" / "b.json"
    assert fileio.join_path(site, "d", "e.txt") == f"{site}/d/e.txt"
    with pytest.raises(MissingFileError, match=r"no such file: 'http://.*/none' \(the server answers 404\)"):
        fileio.get(f"{site}/none")
    with pytest.raises(NotSupportedError, match="read only"):
        fileio.put(b"", f"{site}/new")
    with pytest.raises(UntrustedFileError, match="comes from remote storage"):
        fileio.load(f"{site}/plain.pkl")
    assert fileio.load(f"{site}/plain.pkl", trusted=True) == {"a": 1}
    with pytest.raises(MissingPackageError, match='pip install "aiohttp"'):
        list(fileio.list_dir_or_file(site))


def test_failing_web_server_is_no_missing_file() -> None:
    with serving(Broken) as url, pytest.raises(OSError, match="500") as caught:
        fileio.get(f"{url}/a")
    assert not isinstance(caught.value, FileNotFoundError)


def test_http_backend_opens_nothing_else() -> None:
    with pytest.raises(ArgumentError, match="opens http:// and https:// URLs, got 's3://a/b'"):
        HTTPBackend().get("s3://a/b")
    with pytest.raises(ArgumentError, match=r"opens http:// and https:// URLs, got 'a\.json'"):
        fileio.get("a.json", backend_args={"backend": "http"})


def test_zip_archives_are_folders(tmp_path: Path) -> None:
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w") as content:
        content.writestr("d/x.json", '{"x": 1}')
        content.writestr("d/e/y.txt", "y")
        content.writestr("top.txt", "t")
    root = f"zip://::{archive}"
    inside = fileio.join_path(root, "d", "x.json")
    assert inside == f"zip://d/x.json::{archive}" and fileio.load(inside) == {"x": 1}
    assert list(fileio.list_dir_or_file(root, list_dir=False, recursive=True)) == ["d/e/y.txt", "d/x.json", "top.txt"]
    assert fileio.isdir(f"zip://d::{archive}") and fileio.isfile(inside) and not fileio.exists(f"zip://z::{archive}")
    with fileio.get_local_path(inside) as path:
        assert Path(path).name == "x.json"
    fileio.copytree(f"zip://d::{archive}", tmp_path / "out")
    assert (tmp_path / "out" / "e" / "y.txt").read_text() == "y"


def test_lmdb_needs_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lmdb", None)
    with pytest.raises(MissingPackageError, match='pip install "lmdb"'):
        get_file_backend("a", backend_args={"backend": "lmdb", "db_path": "x"})


class Database:
    """A stand-in for an environment of the package lmdb."""

    opened: list[tuple[str, dict[str, Any]]] = []
    values = {b"a.txt": "é".encode()}

    def __init__(self, path: str, **options: Any) -> None:
        self.opened.append((path, options))

    @contextmanager
    def begin(self, write: bool) -> Iterator[dict[bytes, bytes]]:
        yield self.values

    def close(self) -> None:
        self.opened.clear()


def test_lmdb_is_read_by_key(monkeypatch: pytest.MonkeyPatch) -> None:
    package = ModuleType("lmdb")
    package.open = Database  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "lmdb", package)
    args = {"backend": "lmdb", "db_path": Path("x.lmdb"), "map_size": 9}
    assert fileio.get("a.txt", backend_args=args) == "é".encode()
    assert fileio.get_text("a.txt", backend_args=args) == "é"
    assert Database.opened == [("x.lmdb", {"readonly": True, "lock": False, "readahead": False, "map_size": 9})]
    with pytest.raises(MissingFileError, match=r"the database 'x.lmdb' has no key 'b'"):
        fileio.get("b", backend_args=args)
    backend = LmdbBackend("y")
    assert backend.get_text("a.txt", "latin1") == "Ã©"
    assert pickle.loads(pickle.dumps(backend)).__dict__["_client"] is None
    del backend
    assert Database.opened == []


def test_lmdb_itself(tmp_path: Path) -> None:
    lmdb = pytest.importorskip("lmdb")
    with lmdb.open(str(tmp_path / "db")) as database, database.begin(write=True) as transaction:
        transaction.put(b"d/a.json", b'{"a": 1}')
    assert fileio.load("d/a.json", backend_args={"backend": "lmdb", "db_path": str(tmp_path / "db")}) == {"a": 1}


@pytest.fixture(params=["local", "memory"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    import fsspec

    memory = fsspec.filesystem("memory")
    memory.makedirs("/copies", exist_ok=True)
    yield str(tmp_path / "root") if request.param == "local" else "memory://copies"
    memory.rm("/copies", recursive=True)


def files(folder: str | Path) -> dict[str, bytes]:
    names = fileio.list_dir_or_file(folder, list_dir=False, recursive=True)
    return {name: fileio.get(fileio.join_path(folder, name)) for name in names}


def test_folders_are_copied_within_and_between_storages(root: str, tmp_path: Path) -> None:
    content = {"a.txt": b"1", "d/e/b.txt": b"2"}
    for name, value in content.items():
        fileio.put(value, fileio.join_path(root, "from", name))
    source, local = fileio.join_path(root, "from"), tmp_path / "local"
    assert fileio.copytree(source, fileio.join_path(root, "to")) == fileio.join_path(root, "to")
    assert fileio.copytree(source, local) == local
    assert fileio.copytree(local, "memory://copies/other") == "memory://copies/other"
    fileio.copytree_to_local(source, tmp_path / "second")
    fileio.copytree_from_local(local, fileio.join_path(root, "third"))
    fileio.copytree("memory://copies/other", fileio.join_path(root, "fourth"))
    for folder in (fileio.join_path(root, "to"), local, "memory://copies/other", tmp_path / "second"):
        assert files(folder) == content
    assert files(fileio.join_path(root, "third")) == files(fileio.join_path(root, "fourth")) == content
    with pytest.raises(FileExistsError):
        fileio.copytree(source, fileio.join_path(root, "to"))
    with pytest.raises(FileExistsError):
        fileio.copytree(source, local)
    with pytest.raises(FileNotFoundError):
        fileio.copytree(fileio.join_path(root, "none"), fileio.join_path(root, "fifth"))


def test_files_are_copied_from_and_to_the_disk(root: str, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"1")
    there = fileio.join_path(root, "new", "b.txt")
    assert fileio.copyfile_from_local(tmp_path / "a.txt", there) == there and fileio.get(there) == b"1"
    into = fileio.copyfile_from_local(tmp_path / "a.txt", fileio.join_path(root, "new"))
    assert into == fileio.join_path(root, "new", "a.txt") and fileio.exists(into)
    assert fileio.copyfile_to_local(there, tmp_path / "x" / "c.txt") == tmp_path / "x" / "c.txt"
    assert Path(fileio.copyfile_to_local(there, tmp_path / "x")).name == "b.txt"
    assert fileio.copyfile(there, fileio.join_path(root, "e.txt")) == fileio.join_path(root, "e.txt")
    with pytest.raises(MissingFileError):
        fileio.copyfile_to_local(fileio.join_path(root, "none"), tmp_path / "x")
    with pytest.raises(MissingFileError):
        fileio.copyfile_from_local(tmp_path / "none", there)
    assert fileio.get(there) == b"1"


def test_folder_is_deleted_with_its_content(root: str) -> None:
    fileio.put(b"", fileio.join_path(root, "d", "e", "f"))
    fileio.put(b"", fileio.join_path(root, "g"))
    fileio.rmtree(fileio.join_path(root, "d"))
    assert not fileio.exists(fileio.join_path(root, "d", "e", "f"))
    with pytest.raises(FileNotFoundError):
        fileio.rmtree(fileio.join_path(root, "d"))


def test_rmtree_refuses_a_file(tmp_path: Path) -> None:
    (tmp_path / "f").touch()
    with pytest.raises(NotAFolderError, match="remove deletes a file"):
        fileio.rmtree(tmp_path / "f")


def test_copy_keeps_permissions_and_refuses_itself(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"1")
    (tmp_path / "a").chmod(0o750)
    fileio.copyfile(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b").stat().st_mode & 0o777 == 0o750
    with pytest.raises(shutil.SameFileError):
        fileio.copyfile(tmp_path / "a", tmp_path / "." / "a")


def test_link_is_made_where_links_are_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "a").write_bytes(b"1")
    monkeypatch.chdir(tmp_path)
    assert fileio.copy_if_symlink_fails("d/a", "d/link") is True
    assert (tmp_path / "d" / "link").is_symlink() and (tmp_path / "d" / "link").read_bytes() == b"1"
    monkeypatch.setattr("os.symlink", partial(_raise, OSError("no links here")))
    assert fileio.copy_if_symlink_fails("d/a", "d/link") is False
    assert not (tmp_path / "d" / "link").is_symlink() and (tmp_path / "d" / "link").read_bytes() == b"1"
    assert fileio.copy_if_symlink_fails("d", "e") is False and (tmp_path / "e" / "a").exists()
    fileio.put(b"2", "memory://copies/a")
    assert fileio.copy_if_symlink_fails("memory://copies/a", "memory://copies/b") is False
    assert fileio.get("memory://copies/b") == b"2"


def _raise(error: Exception, *args: Any) -> None:
    raise error


def test_presigned_links_come_from_the_storage(monkeypatch: pytest.MonkeyPatch) -> None:
    from fsspec.implementations.memory import MemoryFileSystem

    def sign(self: Any, path: str, expiration: int, client_method: str = "get_object") -> str:
        return f"https://host{path}?{client_method}&{expiration}"

    with pytest.raises(NotSupportedError, match="makes no presigned links"):
        fileio.generate_presigned_url("memory://copies/a")
    monkeypatch.setattr(MemoryFileSystem, "sign", sign)
    assert fileio.generate_presigned_url("memory://copies/a") == "https://host/copies/a?get_object&3600"
    assert fileio.generate_presigned_url("memory://copies/a", "put_object", 9).endswith("?put_object&9")
    with pytest.raises(AttributeError, match=r"LocalBackend has no 'generate_presigned_url'"):
        fileio.generate_presigned_url("a")


def test_handler_of_the_user_is_used(tmp_path: Path) -> None:
    @register_handler(["csv", "tsv"], separator=";")
    class Rows(BaseFileHandler):
        def __init__(self, separator: str) -> None:
            self.separator = separator

        def load_from_fileobj(self, file: Any, **kwargs: Any) -> Any:
            return [line.rstrip("\n").split(self.separator) for line in file]

        def dump_to_fileobj(self, obj: Any, file: Any, **kwargs: Any) -> None:
            file.write(self.dump_to_str(obj))

        def dump_to_str(self, obj: Any, **kwargs: Any) -> str:
            return "".join(self.separator.join(row) + "\n" for row in obj)

    rows = [["a", "b"], ["c", "d"]]
    for path in (f"{tmp_path}/x.csv", "memory://copies/x.tsv"):
        fileio.dump(rows, path)
        assert fileio.load(path) == rows and fileio.get(path) == b"a;b\nc;d\n"
    handler = fileio.file_handlers["csv"]
    handler.dump_to_path(rows, tmp_path / "new" / "y.csv")
    assert handler.load_from_path(tmp_path / "new" / "y.csv") == rows
    with pytest.raises(MissingFileError):
        handler.load_from_path(tmp_path / "none.csv")


def test_wrong_handler_is_refused() -> None:
    with pytest.raises(ArgumentTypeError, match="derived from BaseFileHandler, got <class 'int'>"):
        register_handler("x")(int)  # type: ignore[type-var]
    with pytest.raises(ArgumentTypeError, match="a file ending or a list of them, got 1"):
        register_handler(1)  # type: ignore[arg-type]


def test_handlers_read_and_write_paths(tmp_path: Path) -> None:
    for ending in ("json", "yaml", "pkl"):
        handler = fileio.file_handlers[ending]
        handler.dump_to_path({"a": 1}, tmp_path / f"x.{ending}")
        assert handler.load_from_path(tmp_path / f"x.{ending}") == {"a": 1}


def test_stream_that_cannot_seek_is_read() -> None:
    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

    assert fileio.load(Pipe(pickle.dumps([1])), file_format="pkl") == [1]
