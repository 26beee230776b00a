"""Asks a scripted Claude server through the official client, whichever version is installed.

Usage: anthropic_clients.py BASE_URL KEY. Prints one line for each thing that worked; ends with an error at the first
that did not. What the server replies to which prompt stands in tests/official_clients.rs.
"""

import asyncio
import sys

import anthropic

BASE_URL, KEY = sys.argv[1:]
MODEL = "claude-sonnet-5-5"


def ask(text, **more):
    return {"model": MODEL, "max_tokens": 64, "messages": [{"role": "user", "content": text}], **more}


def client(**more):
    return anthropic.Anthropic(base_url=BASE_URL, api_key=KEY, **{"max_retries": 0, **more})


def check(name, condition, seen):
    if not condition:
        raise SystemExit(f"{name}: {seen!r}")
    print(name)


def text_of(message):
    return "".join(block.text for block in message.content if block.type == "text")


def whole_answers():
    message = client().messages.create(**ask("think", system="be kind", stop_sequences=["END"]))
    check("a whole answer", text_of(message) == "four, I think", message)
    check("its thinking", [block.type for block in message.content] == ["thinking", "text"], message)
    check("its end", (message.stop_reason, message.role, message.model) == ("end_turn", "assistant", MODEL), message)
    usage = message.usage
    counted = (usage.input_tokens, usage.output_tokens, usage.cache_read_input_tokens, usage.cache_creation_input_tokens)
    check("its usage", counted == (11, 22, 33, 99), usage)
    check("its request id", message._request_id.startswith("req_"), message._request_id)

    message = client().messages.create(**ask("use a tool", tools=[{"name": "clock", "input_schema": {"type": "object"}}]))
    call = message.content[-1]
    check("a tool call", (message.stop_reason, call.name, call.input) == ("tool_use", "clock", {"zone": "UTC"}), message)

    message = client().messages.create(**ask("refuse"))
    check("a refusal", (message.stop_reason, message.stop_details.category) == ("refusal", "cyber"), message)


def streams():
    with client().messages.stream(**ask("think")) as stream:
        heard = list(stream.text_stream)
        message = stream.get_final_message()
    check("a stream of text", heard == ["four, ", "I ", "think"], heard)
    check("its last message", text_of(message) == "four, I think" and message.stop_reason == "end_turn", message)
    check("its thoughts", message.content[0].thinking == "two and two", message)
    check("its totals", (message.usage.input_tokens, message.usage.output_tokens) == (11, 22), message.usage)

    kinds = [event.type for event in client().messages.create(**ask("think", stream=True))]
    check("raw events", (kinds[0], kinds[-1]) == ("message_start", "message_stop"), kinds)
    check("no event unknown", kinds.count("content_block_start") == 2, kinds)

    with client().messages.stream(**ask("use a tool", tools=[{"name": "clock", "input_schema": {"type": "object"}}])) as stream:
        message = stream.get_final_message()
    check("a streamed tool call", message.content[-1].input == {"zone": "UTC"}, message)


async def asynchronously():
    async with anthropic.AsyncAnthropic(base_url=BASE_URL, api_key=KEY, max_retries=0) as ghost:
        message = await ghost.messages.create(**ask("think"))
        check("an answer to await", text_of(message) == "four, I think", message)
        async with ghost.messages.stream(**ask("think")) as stream:
            heard = [text async for text in stream.text_stream]
        check("a stream to await", "".join(heard) == "four, I think", heard)


def errors():
    for text, kind, status in [
        ("rate limit", anthropic.RateLimitError, 429),
        ("server error", anthropic.InternalServerError, 500),
        ("overload", anthropic.APIStatusError, 529),
        ("too long", anthropic.BadRequestError, 400),
        ("reset", anthropic.APIConnectionError, None),
    ]:
        try:
            seen = client().messages.create(**ask(text))
        except anthropic.APIError as error:
            seen = error
        check(f"an error: {text}", isinstance(seen, kind) and getattr(seen, "status_code", None) == status, seen)
    try:
        seen = anthropic.Anthropic(base_url=BASE_URL, api_key="nobody", max_retries=0).messages.create(**ask("think"))
    except anthropic.AuthenticationError as error:
        seen = error
    check("an error: a wrong key", getattr(seen, "status_code", None) == 401, seen)
    check("its body", seen.body["error"]["type"] == "authentication_error", seen.body)

    try:
        with client().messages.stream(**ask("trouble")) as stream:
            seen = list(stream.text_stream)
    except anthropic.APIStatusError as error:
        seen = error
    check("an error inside a stream", "overloaded_error" in str(seen), seen)

    message = client(max_retries=2).messages.create(**ask("once more"))
    check("another try after a hint", text_of(message) == "at last", message)


print("anthropic", anthropic.__version__)
whole_answers()
streams()
asyncio.run(asynchronously())
errors()
