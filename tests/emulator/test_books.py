"""The books: what was charged, what is left, and that it is on record before anyone hears of it."""

from __future__ import annotations

import json
import os
import threading
from dataclasses import replace
from decimal import Decimal

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from seedream_jobs.emulator.service import Books, Charge, read_charges
from seedream_jobs.errors import UsageError
from tests.lanes import examples

CHARGE = Charge(
    id="task_0",
    created=1000.0,
    done=1010.0,
    expires=2000.0,
    model="m",
    prompt="p",
    size="1:1",
    resolution="2K",
    width=1,
    height=1,
    format="jpeg",
    watermark=False,
    references=0,
    requested=2,
    delivered=1,
    reserved=Decimal("0.0456"),
    cost=Decimal("0.0228"),
    fate=None,
    reply=None,
    key=None,
    body_sha256="0" * 64,
)


@pytest.fixture
def books(tmp_path):
    opened = Books(tmp_path, balance=Decimal(1))
    yield opened
    opened.close()


def test_an_advance_charge_is_settled_when_the_task_ends(books):
    """Until then the asked-for images count, afterwards the delivered ones."""
    books.charge(CHARGE)
    assert books.used(now=1009.9) == Decimal("0.0456")
    assert books.remaining(now=1010.0) == Decimal("0.9772")


def test_a_second_process_on_the_folder_sees_each_charge(books, tmp_path):
    """Two open books on one folder agree after either has entered something."""
    other = Books(tmp_path, balance=Decimal(1))
    books.charge(CHARGE)
    other.charge(replace(CHARGE, id="task_1", key="k"))
    assert other.find("task_0") == books.find("task_0") == CHARGE
    assert books.find_key("k", now=1001) == other.find("task_1")
    assert books.remaining(now=0) == other.remaining(now=0)
    other.close()


def test_a_key_is_kept_for_24_hours(books):
    """A repeat a day later is a new request."""
    books.charge(replace(CHARGE, key="k"))
    assert books.find_key("k", now=1000 + 86399) is not None
    assert books.find_key("k", now=1000 + 86400) is None


@settings(max_examples=examples(40), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.integers(min_value=1, max_value=300))
def test_a_torn_last_line_is_cut_off(tmp_path_factory, cut):
    """Wherever an emulator died in a write, the whole lines before it stand and the next charge is readable."""
    folder = tmp_path_factory.mktemp("books")
    for number in range(2):
        opened = Books(folder, balance=Decimal(1))
        opened.charge(replace(CHARGE, id=f"task_{number}"))
        opened.close()
    path = folder / "books.jsonl"
    path.write_bytes(path.read_bytes()[:-cut])
    opened = Books(folder, balance=Decimal(1))
    opened.charge(replace(CHARGE, id="task_2"))
    opened.close()
    assert [charge.id for charge in read_charges(folder)] == ["task_0", "task_2"]


@settings(max_examples=examples(60), deadline=None)
@given(
    data=st.lists(st.tuples(st.floats(0, 100), st.decimals(0, 5, places=4), st.decimals(0, 5, places=4)), max_size=12),
    now=st.floats(0, 100),
)
def test_what_is_used_is_the_sum_over_the_tasks(tmp_path_factory, data, now):
    """The running total equals adding up every task's own charge at that time."""
    opened = Books(tmp_path_factory.mktemp("books"), balance=Decimal(0))
    for number, (done, reserved, cost) in enumerate(data):
        opened.charge(replace(CHARGE, id=str(number), done=done, reserved=reserved, cost=cost))
    expected = sum((cost if done <= now else reserved for done, reserved, cost in data), Decimal(0))
    assert opened.used(now=now) == expected
    opened.close()


def test_books_that_cannot_be_used_are_told(tmp_path):
    """A damaged line, and a folder that is none, are refusals with a next step."""
    (tmp_path / "books.jsonl").write_text('{"id": "task_0"}\n')
    for folder in (tmp_path, tmp_path / "books.jsonl" / "below"):
        with pytest.raises(UsageError) as refused:
            Books(folder, balance=Decimal(1))
        assert refused.value.hint


def test_a_charge_that_could_not_be_written_leaves_no_trace(books, monkeypatch):
    """A full disk takes half a line: it is taken back, and the next charge is whole."""
    write = os.write
    monkeypatch.setattr(os, "write", lambda file, data: write(file, data[:50]))
    with pytest.raises(OSError, match="only 50 of"):
        books.charge(CHARGE)
    monkeypatch.undo()
    assert books.find("task_0") is None
    books.charge(replace(CHARGE, id="task_1"))
    assert [charge.id for charge in read_charges(books.path.parent)] == ["task_1"]


def test_a_later_emulator_knows_the_same_tasks(start):
    """Status and images of a task work against another emulator on the same folder, at the same address."""
    first = start()
    task = first.submit(prompt="a heron", n=2)
    links = first.links(task)
    first.server.__exit__(None, None, None)
    second = start()
    assert second.server.url == first.server.url
    assert second.links(task) == links
    assert second.download(links[1]).status_code == 200
    assert len(second.books()["charges"]) == 1
    first.server.__enter__()  # the fixture ends it once more


def test_the_balance_is_used_up_by_402(start):
    """What is left pays for two images and no more; nothing is charged for the third."""
    peer = start(balance=Decimal("0.05"), price=Decimal("0.025"))
    assert peer.post(n=3).status_code == 402
    assert [peer.post().status_code for _ in range(3)] == [200, 200, 402]
    balance = peer.get("/v1/balance").json()
    assert (balance["success"], balance["remain_balance"], balance["used_balance"]) == (True, 0.0, 0.05)
    assert peer.get("/v1/user/balance").json() == balance


def test_balance_failures_are_http_200(start):
    """A wrong key, or a fault, is success: false."""
    peer = start("balance-fails:first=1")
    assert peer.get("/v1/balance").json()["success"] is False
    assert peer.get("/v1/balance").json()["success"] is True
    wrong = peer.get("/v1/balance", headers={"Authorization": "Bearer invalid"})
    assert (wrong.status_code, wrong.json()["success"]) == (200, False)


@pytest.mark.parametrize(
    ("deliver", "fields", "images"),
    [
        ("n", {"n": 3}, 3),
        ("fewer", {"n": 3}, 2),
        ("fewer", {}, 1),
        ("max", {"n": 3}, 3),
        ("max", {"sequential_image_generation": "auto"}, 15),
        ("n", {"sequential_image_generation": "auto"}, 1),
        ("n", {"sequential_image_generation": "auto", "sequential_image_generation_options": {"max_images": 4}}, 4),
    ],
)
def test_delivered_images_are_billed(start, deliver, fields, images):
    """Cost is the price by delivered images, credits are ten times as many."""
    peer = start(deliver=deliver, price=Decimal("0.02"))
    data = peer.ended(peer.submit(**fields))
    assert len(data["result"]["images"]) == images
    assert data["cost"] == float(images * Decimal("0.02"))
    assert data["credits_cost"] == float(images * Decimal("0.2"))
    assert peer.books()["used"] == str(images * Decimal("0.02"))


def test_a_task_takes_its_time(start):
    """It is pending with the estimate first, and its GETs are counted."""
    peer = start(delay=3600)
    task = peer.submit()
    data = peer.task(task)
    assert (data["status"], data["progress"], data["estimated_time"]) == ("pending", 0, 60)
    assert "result" not in data
    assert peer.books()["gets"] == {task: 1}


def test_an_unknown_task_is_400(start):
    """As the service says of one that has expired."""
    reply = start().get("/v1/tasks/task_01K8SGYNNNVBQTXNR4MM964S7K")
    assert reply.status_code == 400
    assert "does not exist or has expired" in reply.json()["error"]["message"]


def test_the_charge_is_on_record_before_the_reply(start):
    """While the reply is held back, the books on disk already have the charge."""
    peer = start("hang-after-accept")
    with pytest.raises(httpx.ReadTimeout):
        peer.http.post(
            f"{peer.server.url}/v1/images/generations",
            content=json.dumps({"model": "doubao-seedream-5-0-lite", "prompt": "a"}),
            timeout=0.3,
        )
    (charge,) = read_charges(peer.state)
    assert charge.reply == "hang-after-accept"


def test_the_models_and_their_schema(start):
    """The list holds ids and aliases; the schema names idempotency only where keys are honoured."""
    peer = start()
    assert "doubao-seedream-5-0-lite" in {model["id"] for model in peer.get("/v1/models").json()["data"]}
    query = "/v1/model-schema?model=doubao-seedream-5-0-lite&operation=image_generation"
    assert "idempotency" not in peer.get(query).json()
    assert start(idempotency="honours").get(query).json()["idempotency"]["header"] == "Idempotency-Key"
    assert peer.get("/v1/model-schema?model=nothing").status_code == 404


def test_what_is_taken_back_is_no_other_emulators_charge(books, monkeypatch):
    """Another one on this folder writes at the moment when half a line of ours has been written."""
    write, other = os.write, Books(books.path.parent, balance=Decimal(1))
    late = threading.Thread(target=other.charge, args=(replace(CHARGE, id="task_1"),))

    def half(file, data):
        if threading.current_thread() is late:
            return write(file, data)
        written = write(file, data[:50])
        late.start()
        late.join(0.3)  # it waits for its turn, or has written
        return written

    monkeypatch.setattr(os, "write", half)
    with pytest.raises(OSError, match="only 50 of"):
        books.charge(CHARGE)
    late.join()
    other.close()
    assert [charge.id for charge in read_charges(books.path.parent)] == ["task_1"]


def test_a_group_with_a_task_for_each_image_costs_what_its_images_cost(start):
    """Also where the number is ``max_images``, of which one is charged in advance."""
    peer = start("task-per-image", price=Decimal("0.02"))
    options = {"sequential_image_generation": "auto", "sequential_image_generation_options": {"max_images": 4}}
    assert peer.post(n=1, **options).status_code == 200
    assert [Decimal(charge["cost"]) for charge in peer.books()["charges"]] == [Decimal("0.02")] * 4


@pytest.mark.parametrize("remembered", ["65536", "99999999999999999999", "-1", "x", ""])
def test_a_remembered_port_that_is_none_is_not_taken(start, tmp_path, remembered):
    (tmp_path / "state").mkdir()
    (tmp_path / "state/port").write_text(remembered)
    assert start().post().status_code == 200
