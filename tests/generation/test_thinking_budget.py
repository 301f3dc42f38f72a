"""A spent thinking budget: the text that is fed in, the answer after it, and the report."""

from scripted_models import token

from qwen3cpu.generation.thinking import BUDGET_SPENT


def greedy(model, prompt, **options):
    return model.generate(prompt, temperature=0, **options)


def test_a_spent_budget_closes_the_thinking_and_an_answer_follows(spoken):
    result = greedy(spoken, "Q", raw=True, thinking_budget=2)
    assert result.reasoning == "ab" + BUDGET_SPENT.removesuffix("\n</think>\n\n")
    assert result.text == "XY-Z!"
    assert result.thinking_budget_spent
    closing = spoken.tokenizer.encode(BUDGET_SPENT, control_tokens=True)
    assert list(result.token_ids[3 : 3 + len(closing)]) == closing
    assert result.usage.completion_tokens == len(result.token_ids)
    # <think>, "a", "b", the sentence with </think>, but not the two newlines after it
    assert result.usage.reasoning_tokens == 3 + len(closing) - 2


def test_an_answer_after_a_spent_budget_goes_on_as_if_the_text_had_been_the_prompt(random_model):
    start = [token("<think>")]
    result = random_model.generate(start, thinking_budget=3, seed=1, temperature=0, max_new_tokens=180)
    assert result.thinking_budget_spent
    closing = random_model.tokenizer.encode(BUDGET_SPENT, control_tokens=True)
    at = result.token_ids.index(closing[0]) if closing[0] in result.token_ids else -1
    known = 3 + len(closing)
    assert at >= 0
    assert list(result.token_ids[3:known]) == closing
    rest = random_model.generate([*start, *result.token_ids[:known]], temperature=0, max_new_tokens=180 - known)
    assert result.token_ids[known:] == rest.token_ids


def test_a_budget_that_is_not_reached_changes_nothing(spoken):
    free, limited = greedy(spoken, "Q", raw=True), greedy(spoken, "Q", raw=True, thinking_budget=4)
    assert limited.thinking_budget_spent
    wide = greedy(spoken, "Q", raw=True, thinking_budget=5)
    assert not wide.thinking_budget_spent
    assert wide.token_ids == free.token_ids


def test_a_budget_of_zero_is_an_empty_block(spoken):
    result = greedy(spoken, "Q", raw=True, thinking_budget=0)
    assert (result.reasoning, result.text) == ("", "XY-Z!")
    assert spoken.tokenizer.decode(result.token_ids).startswith("<think>\n\n</think>\n\nXY")
    opened = greedy(spoken, "<think>\n", raw=True, thinking_budget=0)
    assert (opened.reasoning, opened.text) == ("", "XY-Z!")
    message = [{"role": "user", "content": "Q"}]
    asked = greedy(spoken, message, thinking_budget=0)
    assert asked.usage.prompt_tokens == greedy(spoken, message, thinking=False).usage.prompt_tokens


def test_a_budget_that_leaves_no_room_for_an_answer_is_cut_by_the_limit(spoken):
    result = greedy(spoken, "Q", raw=True, thinking_budget=2, max_new_tokens=4)
    assert (result.reasoning, result.text, result.stopped_by) == ("abc", "", "max_new_tokens")
    assert len(result.token_ids) == 4


def test_forced_tokens_have_no_logprob(spoken):
    result = greedy(spoken, "Q", raw=True, thinking_budget=2, logprobs=0)
    closing = len(spoken.tokenizer.encode(BUDGET_SPENT, control_tokens=True))
    assert [entry.token_id for entry in result.logprobs] == list(result.token_ids)
    missing = [i for i, entry in enumerate(result.logprobs) if entry.logprob is None]
    assert missing == list(range(3, 3 + closing))
