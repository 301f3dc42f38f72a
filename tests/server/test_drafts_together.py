"""Several drafted answers in the server's batch: the same tokens, within the same memory."""

import pytest
from drafters import Mixture, Oracle, TooMany, drafting

from qwen3cpu._native import KV_BLOCK

LEAST_BLOCKS = 500 // KV_BLOCK + 2
JOBS = [
    ([3, 4, 5], {"seed": 1, "max_new_tokens": 60, "logprobs": 2}),
    (range(300), {"seed": 2, "max_new_tokens": 20}),
    ([9] * 130, {"seed": 3, "max_new_tokens": 90, "n": 3, "ignore_eos": True}),
    ([7], {"temperature": 0.0, "max_new_tokens": 200, "ignore_eos": True, "seed": 0}),
    ([8, 8], {"seed": 6, "ignore_eos": True}),  # until the context is full
]


@pytest.mark.parametrize("blocks", [1000, LEAST_BLOCKS], ids=["plenty of memory", "one context"])
@pytest.mark.parametrize("kind", [Oracle, TooMany, Mixture])
def test_drafted_answers_are_the_same_alone_and_together(caller, random_model, blocks, kind):
    alone = []
    for prompt, options in JOBS:
        found = random_model.generate(list(prompt), **options)
        alone.append(found if isinstance(found, list) else [found])
    known = [[*prompt, *each.token_ids] for (prompt, _), found in zip(JOBS, alone, strict=True) for each in found]
    with drafting(random_model, kind(known)):
        together = caller(blocks=blocks)
    jobs = [together.submit(prompt, **options) for prompt, options in JOBS]
    found = [together.results(job) for job in jobs]
    for results, expected in zip(found, alone, strict=True):
        assert [(each.token_ids, each.text, each.logprobs) for each in results] == [
            (each.token_ids, each.text, each.logprobs) for each in expected
        ]
    assert together.most_blocks <= blocks
    assert (together.scheduler.stats.preemptions > 0) == (blocks == LEAST_BLOCKS)
    assert together.scheduler.stats.completion_tokens == sum(len(each.token_ids) for found in alone for each in found)
