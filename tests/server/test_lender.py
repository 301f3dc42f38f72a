"""Lending models when memory is short: order, fairness, time limits of models, and the end."""

import asyncio
import random
from collections import Counter

import pytest
from library import Library, Offered, settle

from qwen3cpu.errors import CheckpointError
from qwen3cpu.server.models import lender as lending
from qwen3cpu.server.models.errors import ModelInUseError, ModelTooLargeError
from qwen3cpu.server.models.loans import Loans
from qwen3cpu.server.scheduling.jobs import QueueFullError, ShuttingDownError


@pytest.fixture
def library(monkeypatch):
    """Runs a coroutine with a lender of models of 10 bytes each, and a given memory."""

    def run(scenario, names="AB", memory=15, **settings):
        async def main():
            lender = Library([Offered(name) for name in names], monkeypatch, memory=memory, **settings)
            await scenario(lender)
            for request in lender.requests:
                request.task.cancel()
                request.loans.end()
            await settle()
            assert lender.waiting == 0
            assert all(held.users == 0 for held in lender.known())

        asyncio.run(main())

    return run


def test_models_take_turns(library):
    """B waits for A's users. All later requests for A wait behind B."""

    async def scenario(lender):
        first, second = lender.ask("A", 1), lender.ask("A", 2)
        await settle()
        assert lender.told() == ["load A", "A1", "A2"]
        other = lender.ask("B", 1)
        late = [lender.ask("A", number) for number in (3, 4)]
        first.loans.end()
        await settle()
        assert (lender.told(), lender.waiting) == ([], 3)
        second.loans.end()
        await settle()
        assert lender.told() == ["unload A", "load B", "B1"]
        other.loans.end()
        await settle()
        assert lender.told() == ["unload B", "load A", "A3", "A4"]
        assert not any(request.task.cancelled() for request in late)

    library(scenario)


def test_a_load_serves_all_who_wait_for_the_model(library):
    async def scenario(lender):
        held = lender.ask("A")
        await settle()
        for name, number in (("B", 1), ("A", 1), ("B", 2), ("A", 2), ("B", 3)):
            lender.ask(name, number)
        await settle()
        held.loans.end()
        await settle()
        assert lender.told() == ["load A", "A", "unload A", "load B", "B1", "B2", "B3"]

    library(scenario)


def test_models_that_fit_together_stay(library):
    async def scenario(lender):
        for name in "ABAB":
            lender.ask(name).loans.end()
            await settle()
        held = [lender.ask(name) for name in "AB"]
        await settle()
        assert Counter(lender.told())["load A"] == 1
        assert lender.bytes == 20
        assert len(held) == 2

    library(scenario, memory=20)


def test_what_was_used_longest_ago_goes_first_and_what_is_idle_before_what_is_in_use(library):
    async def scenario(lender):
        in_use = lender.ask("A")
        await settle()
        for name in "BC":
            lender.now += 1
            request = lender.ask(name)
            await settle()
            request.loans.end()
        assert lender.told() == ["load A", "A", "load B", "B", "load C", "C"]
        lender.now += 1
        lender.ask("D")
        await settle()
        assert lender.told() == ["unload B", "load D", "D"]
        # Two are in use. The third is idle, and no request waits for it.
        lender.ask("B")
        await settle()
        assert lender.told() == ["unload C", "load B", "B"]
        # All are in use. The one that was lent longest ago must leave memory, and the others are lent to later
        # requests.
        lender.ask("C")
        lender.ask("D", 2)
        lender.ask("A", 2)
        await settle()
        assert lender.told() == ["D2"]
        in_use.loans.end()
        await settle()
        assert lender.told() == ["unload A", "load C", "C"]

    library(scenario, "ABCD", memory=30)


def test_a_client_that_leaves_while_it_waits_is_forgotten(library):
    async def scenario(lender):
        in_use = lender.ask("A")
        await settle()
        gone, behind = lender.ask("B"), lender.ask("A", 2)
        await settle()
        assert lender.waiting == 2
        gone.task.cancel()
        await settle()
        assert lender.told() == ["load A", "A", "A2"]
        in_use.loans.end()
        behind.loans.end()
        await settle()
        assert lender.told() == []

    library(scenario)


def test_a_request_that_is_over_gets_nothing(library):
    """It may also end at the moment when its model is loaded."""

    async def scenario(lender):
        request = lender.ask("A")
        request.loans.end()
        await settle()
        (held,) = lender.known()
        assert (held.users, lender.told()) == (0, ["load A"])
        request.task.cancel()

    library(scenario)


@pytest.mark.parametrize("keep", [None, 60.0, -1.0])
def test_a_model_that_nobody_uses_leaves_after_its_time(library, keep):
    seconds = {None: lending.KEEP_SECONDS, -1.0: 1e9}.get(keep, keep)

    async def scenario(lender):
        request = lender.ask("A")
        await settle()
        lender.now += 10 * seconds
        lender.tick()
        await settle()
        assert lender.told() == ["load A", "A"], "it is in use"
        request.loans.end()
        lender.now += seconds - 1
        lender.tick()
        await settle()
        assert lender.told() == []
        lender.now += 1
        lender.tick()
        await settle()
        assert lender.told() == ([] if keep == -1 else ["unload A"])

    library(scenario, memory=None, model_keep_alive=keep)


def test_a_single_model_stays(library):
    async def scenario(lender):
        lender.ask("A").loans.end()
        await settle()
        lender.now += 1e9
        lender.tick()
        assert (lender.told(), lender.keeps) == (["load A"], True)

    library(scenario, "A")


def test_a_request_may_say_how_long_its_model_stays(library):
    async def scenario(lender):
        offer = lender.offers["A"]
        request = lender.ask("A")
        await settle()
        lender.keep(offer, 5)
        (held,) = lender.known()
        assert lender.seconds_left(held) == 5
        request.loans.end()
        lender.now += 4
        assert lender.seconds_left(held) == 1
        lender.keep(offer, -1)
        lender.now += 1e9
        lender.tick()
        assert (lender.told(), lender.seconds_left(held)) == (["load A", "A"], None)
        lender.keep(offer, 0)
        await settle()
        assert lender.told() == ["unload A"]
        # The next load has the server's keep-alive again.
        lender.ask("A")
        await settle()
        assert held.keep == lending.KEEP_SECONDS

    library(scenario)


def test_a_model_that_cannot_be_loaded_fails_those_who_wait_for_it(library):
    async def scenario(lender):
        lender.offers["B"].problem = CheckpointError("damaged")
        held = lender.ask("A")
        await settle()
        failing = [lender.ask("B"), lender.ask("B")]
        lender.ask("A", 2)
        await settle()
        held.loans.end()
        await settle()
        assert lender.told() == ["load A", "A", "unload A", "load A", "A2"]
        assert [str(request.task.exception()) for request in failing] == ["damaged"] * 2
        lender.offers["B"].problem = None
        lender.requests[-1].loans.end()
        lender.ask("B")
        await settle()
        assert lender.told() == ["unload A", "load B", "B"]

    library(scenario)


def test_a_model_whose_thread_has_failed_is_loaded_anew(library):
    async def scenario(lender):
        request = lender.ask("A")
        await settle()
        request.loans.end()
        lender.loaded()[0].service.scheduler.alive = False
        lender.ask("A", 2)
        await settle()
        assert lender.told() == ["load A", "A", "unload A", "load A", "A2"]

    library(scenario)


def test_a_model_that_never_fits(library):
    async def scenario(lender):
        request = lender.ask("A")
        await settle()
        with pytest.raises(ModelTooLargeError, match=r"'A' needs 10 bytes for weights and KV cache.* may use 9;"):
            await request.task

    library(scenario, memory=9)


def test_the_end(library):
    async def scenario(lender):
        lender.ask("A")
        await settle()
        waiting = lender.ask("B")
        await settle()
        lender.stop(grace=5)
        await settle()
        with pytest.raises(ShuttingDownError):
            await waiting.task
        with pytest.raises(ShuttingDownError):
            await lender.borrow(lender.offers["A"], Loans())
        with pytest.raises(ShuttingDownError):
            lender.place()

    library(scenario)


def test_so_many_requests_may_wait_for_models(library):
    async def scenario(lender):
        places = [lender.place() for _ in range(5)]
        for place in places:
            place.__enter__()
        with pytest.raises(QueueFullError, match="5 requests are waiting"), lender.place():
            pass
        assert lender.preparing == 5
        for place in places:
            place.__exit__(None, None, None)
        assert lender.preparing == 0

    library(scenario, queue=3, parallel=2)


def test_a_model_in_use_cannot_be_given_up(library):
    async def scenario(lender):
        offer = lender.offers["A"]
        request = lender.ask("A")
        await asyncio.sleep(0)
        with pytest.raises(ModelInUseError):
            lender.check_unused(offer)  # a request waits for it
        await settle()
        with pytest.raises(ModelInUseError, match="'A' is in use"):
            lender.check_unused(offer)
        request.loans.end()
        lender.check_unused(offer)
        await lender.give_up(offer)
        assert (lender.told(), lender.known()) == (["load A", "A", "unload A"], [])
        await lender.give_up(offer)

    library(scenario)


@pytest.mark.parametrize("seed", range(20))
def test_nobody_starves(library, seed):
    """Requests start and end at random. Each gets its model, and waits for a limited number of loads."""
    rng = random.Random(seed)

    async def scenario(lender):
        waiting, having, loads_before = [], [], {}
        for number in range(300):
            if rng.random() < 0.5:
                request = lender.ask(rng.choice("AABC"), f" {number}")
                loads_before[id(request)] = sum(line.startswith("load") for line in lender.log)
                waiting.append(request)
            elif having:
                having.pop(rng.randrange(len(having))).loans.end()
            for _ in range(rng.randrange(4)):
                await asyncio.sleep(0)
            for request in [request for request in waiting if request.task.done()]:
                waiting.remove(request)
                having.append(request)
                loads = sum(line.startswith("load") for line in lender.log) - loads_before[id(request)]
                # Two loads may have been running. Earlier requests want three models, each of which is loaded once for
                # them.
                assert loads <= 5, "later requests were served before"
        while waiting or having:
            for request in having:
                request.loans.end()
            having = []
            await settle()
            having = [request for request in waiting if request.task.done()]
            waiting = [request for request in waiting if not request.task.done()]
        assert sum(not line.startswith(("load", "unload")) for line in lender.log) == len(lender.requests)

    library(scenario, "ABC", memory=25)
