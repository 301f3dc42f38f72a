"""Lines of jobs for the embedded language model."""

STORIES = ["You are a helpful assistant. " * 12, "You answer in one word. " * 10, ""]


def chat_line(custom_id, text, **body):
    """A line of OpenAI's form for a chat."""
    body = {"messages": [{"role": "user", "content": text}], "max_tokens": 8, **body}
    return {"custom_id": custom_id, "method": "POST", "url": "/v1/chat/completions", "body": body}


def mixed_lines(count):
    """`count` lines of all forms, some of them wrong, with three beginnings in turn."""
    lines = []
    for number in range(count):
        system = {"role": "system", "content": STORIES[number % 3]}
        messages = [*([system] if system["content"] else []), {"role": "user", "content": f"What is {number} + 1?"}]
        tokens = 4 + number % 13
        if number % 50 == 49:
            lines.append(chat_line(f"wrong-{number}", "x", temperature="hot"))
        elif number % 4 == 0:
            lines.append(chat_line(f"chat-{number}", "", messages=messages, max_tokens=tokens, logprobs=True))
        elif number % 4 == 1:
            lines.append({"messages": messages, "max_new_tokens": tokens})
        elif number % 4 == 2:
            body = {"prompt": [f"{number} and", f"{number} or"], "max_tokens": tokens, "n": 2}
            lines.append({"custom_id": f"text-{number}", "method": "POST", "url": "/v1/completions", "body": body})
        else:
            body = {"input": messages, "max_output_tokens": tokens}
            lines.append({"custom_id": f"reply-{number}", "method": "POST", "url": "/v1/responses", "body": body})
    return lines
