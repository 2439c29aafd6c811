"""Work on images goes to other machines and comes back whole: each image once, all on record, and never the key."""

from __future__ import annotations

import importlib
import importlib.util
import io
import json
import random
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Executor, Future
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as Pillow

from seedream_jobs.errors import UnfinishedError, UsageError
from seedream_jobs.ledger.codec import decode
from seedream_jobs.ledger.state import Completed, Entry, Image, State
from seedream_jobs.plans.load import Target
from seedream_jobs.records import find_record, read_ledger
from seedream_jobs.results import engines, fetch_shards
from seedream_jobs.results.engines import Engine, EngineChoice, parse_engine, shared_folder, work_shard
from seedream_jobs.results.export.rows import ExportRows
from seedream_jobs.run.fetch import temporary
from tests import stores
from tests.authority import Authority
from tests.campaign import NOW, Folder, history, record, requests_of
from tests.canary import CANARY, gives_away
from tests.engines.cluster import Cluster, Relay, credentials
from tests.engines.machines import Machine, ended
from tests.lanes import examples

Machines = Callable[[str], Machine]


class Host:
    """Serves a small JPEG of its own under each path; ``hold`` keeps answers back from one request on."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.hold_from, self.held, self.go_on = 1 << 30, threading.Event(), threading.Event()
        out = io.BytesIO()
        noise = random.Random(1).randbytes(48 * 48 * 3)
        Pillow.frombytes("RGB", (48, 48), noise).save(out, "JPEG", quality=60)
        body, host = out.getvalue(), self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                host.asked.append(self.path)
                assert "authorization" not in self.headers
                if len(host.asked) >= host.hold_from:
                    host.held.set()
                    host.go_on.wait(60)
                name = self.path.encode()
                own = body[:2] + b"\xff\xfe" + (len(name) + 2).to_bytes(2, "big") + name + body[2:]
                self.send_response(200)
                self.send_header("Content-Length", str(len(own)))
                self.end_headers()
                self.wfile.write(own)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.handle_error = lambda *_: None  # type: ignore[method-assign]
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()


@pytest.fixture
def host() -> Iterator[Host]:
    served = Host()
    yield served
    served.go_on.set()
    served.server.shutdown()
    served.server.server_close()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    if importlib.util.find_spec("distributed") is None:
        pytest.skip("distributed is not installed (it comes with the dev dependencies)")
    made = Cluster(tmp_path_factory.mktemp("cluster"))
    yield made
    made.close()


def ready(folder: Path, host: Host, count: int) -> Machine:
    """A campaign whose tasks are done; the links lead to ``host``, which is the service, too."""
    text = f'version: 1\nrequest: {{prompt: "heron {{{{ number }}}}"}}\nmatrix: {{number: {{range: [1, {count}]}}}}\n'
    job = Folder(folder).load(text, name="garden.yaml")
    for number, request in enumerate(requests_of(job)):
        intended, accepted, _ = history(request, State.COMPLETED)
        image = Image(url=f"{host.url}/{number}.jpeg", expires_at=4_000_000_000)
        record(job, [intended, accepted, Completed(key=request.key, at=NOW, images=(image,))], origin=host.url)
    return Machine(folder, host.url)


def entries(machine: Machine) -> list[dict[str, Any]]:
    return [raw for line in machine.manifest.read_bytes().splitlines() if "state" in (raw := json.loads(line))]


def everything(machine: Machine) -> list[str]:
    """What lies in the folder of images, hidden files too."""
    return sorted(
        file.name for file in (machine.folder / "out").rglob("*") if file.is_file() and "gallery" not in file.parts
    )


# -- a cluster ---------------------------------------------------------------------------------------------------------


def test_a_worker_is_killed_in_its_shard(cluster: Cluster, host: Host, tmp_path: Path) -> None:
    """500 images (in the long lane): each is there once, all are on record, nothing else is; the key was never sent."""
    count = examples(500, 150)
    machine = ready(tmp_path, host, count)
    cluster.fill()
    relay = Relay(cluster.address)
    host.hold_from = 60
    process = machine.start(
        "fetch",
        "garden.yaml",
        "--executor",
        f"dask:{relay.address}",
        "--no-gallery",
        DASK_DISTRIBUTED__COMM__COMPRESSION="False",
    )
    assert host.held.wait(60)
    cluster.kill_one()
    host.go_on.set()
    assert f"{count} images fetched" in ended(process)
    assert {one["state"] for one in entries(machine)} == {"stored"}
    names = [Path(image["file"]).stem for one in entries(machine) for image in one["images"]]
    assert len(set(names)) == count
    assert everything(machine) == sorted([f"{name}.jpeg" for name in names] + [f"{name}.json" for name in names])
    assert len(host.asked) > count  # some were asked for again
    assert b"heron 149" in relay.sent
    assert gives_away(bytes(relay.sent)) is None
    assert gives_away(bytes(relay.sent) + CANARY.encode()) is not None
    the_same_export_though_a_worker_is_killed(cluster, relay, machine)
    relay.close()


def the_same_export_though_a_worker_is_killed(cluster: Cluster, relay: Relay, machine: Machine) -> None:
    """Both workers have a shard when one of them is killed: it is handed out again, and every byte is as here."""
    distributed = importlib.import_module("distributed")
    cluster.fill()
    with distributed.Client(cluster.address, set_as_default=False) as client:
        client.wait_for_workers(2)
        for worker in cluster.workers:
            worker.send_signal(signal.SIGSTOP)
        words = ("export", "garden.yaml", "--format", "imagefolder")
        process = machine.start(
            *words,
            "-o",
            "by-cluster",
            "--executor",
            f"dask:{relay.address}",
            DASK_DISTRIBUTED__COMM__COMPRESSION="False",
        )
        while process.poll() is None and sum(map(bool, client.processing().values())) < 2:
            time.sleep(0.05)
        cluster.kill_one()
        for worker in cluster.workers:
            worker.send_signal(signal.SIGCONT)
        assert " images as imagefolder in by-cluster" in ended(process)
    machine.run(*words, "-o", "here")
    assert tree(machine.folder / "by-cluster") == tree(machine.folder / "here")
    assert relay.sent.count(b'"work":"export"') == 3  # two shards, one of them twice
    assert gives_away(bytes(relay.sent)) is None


def tree(folder: Path) -> dict[str, bytes]:
    """Every file, hidden ones too."""
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_workers_put_into_the_store(cluster: Cluster, host: Host, tmp_path: Path) -> None:
    """As the policy of the coordinator says; the record names the objects, and each is there."""
    stores.need("obstore")
    cluster.fill()
    machine, store = ready(tmp_path / "campaign", host, 8), tmp_path / "store"
    store.mkdir()
    (machine.folder / "policy.yaml").write_text(f'version: 1\nshared: {{images: "file://{store}"}}\n')
    machine.run("fetch", "garden.yaml", "--executor", f"dask:{cluster.address.partition('://')[2]}", "--no-gallery")
    images = [image for one in entries(machine) for image in one["images"]]
    assert sorted(image["object"] for image in images) == sorted(
        str(file.relative_to(store)) for file in store.rglob("*.jpeg")
    )
    assert all((store / one["object"]).read_bytes() == (machine.folder / one["file"]).read_bytes() for one in images)


def test_images_that_are_in_the_store_alone(cluster: Cluster, host: Host, tmp_path: Path) -> None:
    """Workers leave none on disk with --no-local, and export them from the store: the same bytes as this machine."""
    stores.need("obstore")
    cluster.fill()
    machine, store = ready(tmp_path / "campaign", host, 8), tmp_path / "store"
    store.mkdir()
    (machine.folder / "policy.yaml").write_text(f'version: 1\nshared: {{images: "file://{store}"}}\n')
    by_cluster = ("--executor", f"dask:{cluster.address}")
    machine.run("fetch", "garden.yaml", "--no-gallery", "--no-local", *by_cluster)
    objects = {file.name: file.read_bytes() for file in store.rglob("*.jpeg")}
    assert len(objects) == len({image["object"] for one in entries(machine) for image in one["images"]}) == 8
    assert {one["state"] for one in entries(machine)} == {"stored"}
    assert [name for name in tree(machine.folder) if name.startswith("out/")] == []
    for form in ("imagefolder", "webdataset"):
        words = ("export", "garden.yaml", "--format", form)
        machine.run(*words, "-o", f"{form}-here")
        machine.run(*words, "-o", f"{form}-there", *by_cluster)
        assert tree(machine.folder / f"{form}-there") == tree(machine.folder / f"{form}-here")
    made = tree(machine.folder / "imagefolder-there")
    assert sorted(made[name] for name in made if name.endswith(".jpeg")) == sorted(objects.values())
    assert not list((machine.folder / ".seedream").glob("export-*"))


def test_a_cluster_with_certificates(authority: Authority, host: Host, tmp_path: Path) -> None:
    """TLS as Dask's own variables say: a fetch over it; whoever shows no certificate, or a stranger's, is refused."""
    if importlib.util.find_spec("distributed") is None:
        pytest.skip("distributed is not installed (it comes with the dev dependencies)")
    machine = ready(tmp_path / "campaign", host, 4)
    made = Cluster(tmp_path, authority.folder)
    try:
        assert made.address.startswith("tls://127.0.0.1:")
        words = ("fetch", "garden.yaml", "--no-gallery", "--executor", f"dask:{made.address}")
        for refused in ({}, credentials(authority.folder, "CLIENT", "stranger")):
            said = machine.run(*words, code=8, **refused)
            assert "can't be reached" in said
            assert "DASK_DISTRIBUTED__COMM__TLS__" in said
        assert {one["state"] for one in entries(machine)} == {"completed"}
        assert "4 images fetched" in machine.run(*words, **credentials(authority.folder, "CLIENT"))
        assert {one["state"] for one in entries(machine)} == {"stored"}
    finally:
        made.close()


def test_thumbnails_are_made_by_the_cluster(cluster: Cluster, machine: Machines) -> None:
    """The same ones that fetch makes; of a file that was changed none."""
    home = machine("home")
    home.run("fetch", "garden.yaml", "--no-gallery")
    cache = home.folder / ".seedream" / "thumbnails"
    made = {file.name: file.read_bytes() for file in cache.rglob("*.webp")}
    assert len(made) == 24
    images = sorted((home.folder / "out").rglob("*.jpeg"))
    images[0].write_bytes(images[1].read_bytes())
    shutil.rmtree(cache)
    cluster.fill()
    said = home.run("gallery", "garden.yaml", "--executor", f"dask:{cluster.address}")
    assert f"no thumbnail of {images[0].relative_to(home.folder)}: it is not the image on record" in said
    found = {file.name: file.read_bytes() for file in cache.rglob("*.webp")}
    assert len(found) == 23
    assert found.items() <= made.items()
    shutil.rmtree(cache)
    home.run("gallery", "garden.yaml", "--executor", "local:1")
    assert {file.name: file.read_bytes() for file in cache.rglob("*.webp")} == found


# -- which executor ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "choice"),
    [
        ("local", EngineChoice()),
        ("local:3", EngineChoice(workers=3)),
        ("dask:127.0.0.1:8786", EngineChoice(address="tcp://127.0.0.1:8786")),
        ("dask:tcp://localhost:8786", EngineChoice(address="tcp://localhost:8786")),
        ("dask:[::1]:8786", EngineChoice(address="tcp://[::1]:8786")),
        ("dask:tls://cluster.example:8786", EngineChoice(address="tls://cluster.example:8786")),
    ],
)
def test_an_executor_is_named(text: str, choice: EngineChoice) -> None:
    assert parse_engine(text) == choice


@pytest.mark.parametrize(
    "address",
    ["10.0.0.5:8786", "tcp://cluster.example:8786", "0.0.0.0:8786", "tcp://127.0.0.1.evil.example:8786", "[fe80::1]:1"],
)
def test_a_scheduler_that_anybody_reaches_is_refused(address: str) -> None:
    """It listens on all interfaces and runs anybody's code; the refusal says so, and what to do."""
    with pytest.raises(UsageError, match="runs the code of whoever reaches it") as caught:
        parse_engine(f"dask:{address}")
    assert "tls://" in (caught.value.hint or "")


@pytest.mark.parametrize(
    "text", ["", "local:0", "local:x", "ray:x", "dask:", "dask:host", "dask:ws://127.0.0.1:1", "dask:tls://h"]
)
def test_what_is_no_executor_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_engine(text)


def test_the_refusal_reaches_the_screen(machine: Machines) -> None:
    """Before the key is read; and a scheduler that is not there is exit 8."""
    home = machine("home")
    assert "is refused" in home.run("fetch", "garden.yaml", "--executor", "dask:10.0.0.5:8786", code=2)


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(UsageError, match="needs distributed") as caught, Engine(parse_engine("dask:127.0.0.1:1")):
        pass
    assert caught.value.hint == 'pip install "seedream-jobs[cluster]"'


# -- shards ------------------------------------------------------------------------------------------------------------


class Bad(Executor):
    """An executor as bad as they come: ``do`` says what becomes of each shard, by its number."""

    def __init__(self, do: Callable[[int, bytes], bytes]) -> None:
        self.do, self.shards = do, list[bytes]()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        assert fn is work_shard
        self.shards.append(args[0])
        future = Future[Any]()
        try:
            future.set_result(self.do(len(self.shards), args[0]))
        except BaseException as error:
            future.set_exception(error)
        return future


@pytest.fixture
def through(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Bad], None]]:
    """Lets the engine of the next command use an executor of the test."""

    def use(executor: Bad) -> None:
        def enter(engine: Engine) -> Engine:
            engine._executor = executor
            return engine

        monkeypatch.setattr(Engine, "__enter__", enter)

    yield use
    engines.use_decoders(None)


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Callable[[Machine], int]:
    """``fetch`` in this process, by what claims to be a cluster."""

    def run(machine: Machine, *options: str) -> int:
        from seedream_jobs.cli.main import run_command

        with monkeypatch.context() as patch:
            patch.chdir(machine.folder)
            for name, value in machine.environment().items():
                patch.setenv(name, value)
            return run_command(["fetch", "garden.yaml", "--executor", "dask:127.0.0.1:1", "--no-gallery", *options])

    return run


def lost_at_first(number: int, shard: bytes) -> bytes:
    """Each shard is lost once: half of them before anything was done, half of them after everything was."""
    if number in (1, 3):
        if number == 3:
            work_shard(shard)
        raise CancelledError
    return work_shard(shard)


def twice(number: int, shard: bytes) -> bytes:
    work_shard(shard)
    return work_shard(shard)


@pytest.mark.parametrize("do", [lost_at_first, twice])
def test_an_executor_that_loses_shards_or_does_them_twice(
    do: Callable[[int, bytes], bytes],
    host: Host,
    tmp_path: Path,
    through: Any,
    here: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each image once, all on record, no rest of a lost try; what is handed out again has a name of its own."""
    machine, bad = ready(tmp_path, host, 24), Bad(do)
    monkeypatch.setattr(fetch_shards, "SHARD", 12)
    through(bad)
    assert here(machine) == 0
    assert {one["state"] for one in entries(machine)} == {"stored"}
    names = {Path(image["file"]).stem for one in entries(machine) for image in one["images"]}
    assert everything(machine) == sorted([f"{name}.jpeg" for name in names] + [f"{name}.json" for name in names])
    assert len(names) == 24
    tokens = [json.loads(shard)["token"] for shard in bad.shards]
    assert len(set(tokens)) == len(tokens) == (4 if do is lost_at_first else 2)
    assert not list((machine.folder / ".seedream").glob("shared-*"))
    for shard in bad.shards:
        assert gives_away(shard) is None
        assert len(json.loads(shard)["entries"]) == 12


def test_a_lost_try_leaves_nothing(host: Host, tmp_path: Path) -> None:
    """A seeded rest of it is swept away; that of another try stays."""
    ready(tmp_path, host, 1)
    shard = shard_of(tmp_path, host)
    entry = decode(Entry, dict(shard["entries"][0]))
    stem = tmp_path / entry.output
    stem.parent.mkdir(parents=True)
    own, other = (temporary(stem, entry, 0, token) for token in ("aa", "bb"))
    own.write_bytes(b"half")
    other.write_bytes(b"half")
    fetch_shards.sweep(shard, "aa")
    assert (own.exists(), other.exists()) == (False, True)


def shard_of(folder: Path, host: Host) -> dict[str, Any]:
    (entry,) = entries(Machine(folder, host.url))
    entry.pop("crc")
    return {
        "work": "fetch",
        "root": str(folder),
        "folder": str(folder),
        "base": host.url,
        "model": "doubao-seedream-5-0-lite",
        "embed": False,
        "provenance": {},
        "local": True,
        "entries": [entry],
    }


def forge(answer: dict[str, Any], key: str) -> Iterator[dict[str, Any]]:
    """What somebody who reaches the cluster may answer in a worker's place."""
    (event,) = [one for one in answer["events"] if one["key"] == key]
    image = event["images"][0]
    yield {**event, "images": [{**image, "file": "../../etc/passwd"}]}
    yield {**event, "images": [{**image, "file": "out/garden/not-there.jpeg"}]}
    yield {**event, "images": [{**image, "bytes": 1}]}
    yield {**event, "images": []}
    yield {**event, "event": "failed", "error": {"message": "x"}, "images": None}
    yield {**event, "event": "resolved", "resolution": "not_charged", "reason": "x"}
    yield {"event": "stored"}


@pytest.mark.parametrize("number", range(7))
def test_what_a_worker_says_is_read_as_strictly_as_a_record(
    number: int, host: Host, tmp_path: Path, through: Any, here: Any
) -> None:
    """A request of which it says what can't be is fetched here; a key that was not asked for counts for nothing."""
    machine = ready(tmp_path, host, 3)

    def answer(_: int, shard: bytes) -> bytes:
        said = json.loads(work_shard(shard))
        key = said["events"][0]["key"]
        lie = list(forge(said, key))[number]
        stranger = {**said["events"][1], "key": "v1:" + "0" * 64}
        return json.dumps({"events": [lie, stranger, *said["events"][1:]]}).encode()

    through(Bad(answer))
    assert here(machine) == 0
    found = entries(machine)
    assert [one["state"] for one in found] == ["stored"] * 3
    assert all((machine.folder / image["file"]).exists() for one in found for image in one["images"])


def test_dead_links_come_back(host: Host, tmp_path: Path, through: Any, here: Any) -> None:
    """A worker has no key and asks no service: what it can't fetch is told as ever, and stays to be fetched."""
    machine = ready(tmp_path, host, 2)
    host.server.shutdown()
    host.server.server_close()
    through(Bad(lambda _, shard: work_shard(shard)))
    assert here(machine, "--deadline", "1s") == 8
    assert [one["state"] for one in entries(machine)] == ["completed"] * 2


def exported(folder: Path, host: Host) -> tuple[ExportRows, Path]:
    """The rows of a campaign whose images are on disk, and the folder of the export."""
    machine = ready(folder, host, 4)
    machine.run("fetch", "garden.yaml", "--no-gallery")
    found = find_record(folder / "garden.yaml", target=Target(origin=host.url, emulator=False))
    entries = read_ledger(found, command="t").entries
    return ExportRows(job="garden", entries=entries, root=folder, folder=folder, expansion=None), folder / "data"


@pytest.mark.parametrize("do", [lost_at_first, twice])
def test_an_export_whose_shards_are_lost_or_done_twice(
    do: Callable[[int, bytes], bytes], host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each image once, and no rest of a lost try."""
    rows, folder = exported(tmp_path, host)
    monkeypatch.setattr("seedream_jobs.results.export.rows.SHARD", 2)
    rows.engine = Engine(EngineChoice())
    rows.engine._executor = bad = Bad(do)
    rows.campaign = {"shared": None}
    seeded = folder / "images" / "out" / f".x.jpeg.{'0' * 8}.part"
    seeded.parent.mkdir(parents=True)
    monkeypatch.setattr(engines, "token_hex", lambda _: "0" * 8)
    if do is lost_at_first:
        seeded.write_bytes(b"half")
    names = [row.name for row in rows.intact(folder)]
    assert sorted(tree(folder)) == sorted(f"images/{name}" for name in names)
    assert (len(names), rows.images) == (4, 4)
    assert len(bad.shards) == (4 if do is lost_at_first else 2)
    assert all(gives_away(shard) is None for shard in bad.shards)


@pytest.mark.parametrize("answer", [{}, {"problems": [None]}, {"problems": [None] * 4}])
def test_what_a_worker_says_of_an_export_is_checked(answer: dict[str, Any], host: Host, tmp_path: Path) -> None:
    """It answers for each image, and what it has put somewhere is there."""
    rows, folder = exported(tmp_path, host)
    rows.engine = Engine(EngineChoice())
    rows.engine._executor = Bad(lambda _, __: json.dumps(answer).encode())
    with pytest.raises(UnfinishedError, match="a worker"):
        list(rows.intact(folder))


def test_a_worker_that_does_not_share_the_folder_says_so(host: Host, tmp_path: Path) -> None:
    """Or has another version: nothing is written, and the next step is said."""
    ready(tmp_path, host, 1)
    shard = {**shard_of(tmp_path, host), "token": "aa", "version": engines.__version__}
    with shared_folder(tmp_path) as shared:
        path, _ = shared
        for told, wrong in (
            ({"shared": [path, "another"]}, "does not have"),
            ({"shared": [str(tmp_path / "elsewhere"), "x"]}, "does not have"),
            ({"shared": shared, "version": "0.0.1"}, "has seedream-jobs"),
        ):
            answer = json.loads(work_shard(json.dumps({**shard, **told}).encode()))
            assert wrong in answer["refusal"]
            assert answer["hint"]
    assert not (tmp_path / "out").exists()
    assert not Path(path).exists()


def test_what_a_worker_can_not_do_ends_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker without the package, one that refuses, and a cluster that loses a shard each time."""
    for do, said in (
        (ModuleNotFoundError("No module named 'seedream_jobs'"), "a worker failed: ModuleNotFoundError"),
        (b'{"refusal": "no room", "hint": "make some"}', "no room"),
        (CancelledError(), f"lost a shard {engines.TRIES} times"),
    ):

        def act(_: int, __: bytes, do: Any = do) -> bytes:
            if isinstance(do, BaseException):
                raise do
            return bytes(do)

        engine = Engine(EngineChoice())
        engine._executor = Bad(act)
        with pytest.raises(UnfinishedError, match=said) as caught:
            engine.work({"work": "fetch"})
        assert caught.value.hint
