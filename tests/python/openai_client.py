"""Asks the server of the local model through OpenAI's official client.

Usage: openai_client.py SCRIPTED_URL TINY_URL. Prints one line for each thing that worked; ends with an error at the first
that did not. What the scripted model says to which prompt stands in tests/slm_server.rs; the other is the real tiny one.
"""

import asyncio
import json
import math
import sys

import openai
from pydantic import BaseModel

SCRIPTED, TINY = sys.argv[1:]


def ask(text, model="phi", **more):
    return {"model": model, "messages": [{"role": "user", "content": text}], **more}


def client(url=SCRIPTED, **more):
    return openai.OpenAI(base_url=url, api_key="none", **{"max_retries": 0, **more})


def check(name, condition, seen):
    if not condition:
        raise SystemExit(f"{name}: {seen!r}")
    print(name)


def whole_answers():
    answer = client(max_retries=2).chat.completions.create(**ask("think", logprobs=True, seed=1, stop=["END"]))
    check("another try after a hint", answer.choices[0].message.content == "four, I think", answer)
    check("its end", (answer.choices[0].finish_reason, answer.model, answer.object) == ("stop", "phi", "chat.completion"), answer)
    check("its usage", (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (1, 3, 4), answer)
    check("its confidence", abs(math.exp(answer.choices[0].logprobs.content[0].logprob) - 0.5) < 1e-6, answer)
    check("its request id", answer._request_id == answer.id, answer._request_id)


def streams():
    chunks = list(client().chat.completions.create(**ask("think", stream=True, stream_options={"include_usage": True})))
    check("a stream of text", "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == "four, I think", chunks)
    check("its end too", [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop", chunks)
    check("its usage at last", chunks[-1].usage.completion_tokens == 3, chunks[-1])
    with client().chat.completions.stream(**ask("think")) as stream:
        final = [event for event in stream][-1]
    check("events", final.type == "content.done" and final.content == "four, I think", final)


async def asynchronously():
    async with openai.AsyncOpenAI(base_url=SCRIPTED, api_key="none", max_retries=0) as ghost:
        answer = await ghost.chat.completions.create(**ask("think"))
        check("an answer to await", answer.choices[0].message.content == "four, I think", answer)
        stream = await ghost.chat.completions.create(**ask("think", stream=True))
        heard = [chunk.choices[0].delta.content async for chunk in stream]
        check("a stream to await", "".join(text or "" for text in heard) == "four, I think", heard)
        models = [model.id async for model in ghost.models.list()]
        check("models", models == ["phi"], models)


def errors():
    for text, more, kind, status, param in [
        ("busy", {}, openai.RateLimitError, 429, None),
        ("broken", {}, openai.InternalServerError, 500, None),
        ("think", {"temperature": 3}, openai.BadRequestError, 400, "temperature"),
        ("think", {"n": 2}, openai.BadRequestError, 400, "n"),
        ("think", {"extra_body": {"telepathy": True}}, openai.BadRequestError, 400, "telepathy"),
        ("think", {"model": "gpt"}, openai.NotFoundError, 404, "model"),
    ]:
        try:
            seen = client().chat.completions.create(**{**ask(text), **more})
        except openai.APIStatusError as error:
            seen = error
        right = isinstance(seen, kind) and seen.status_code == status and seen.param == param and seen.code and seen.type
        check(f"an error: {text} {more}", right, getattr(seen, "body", seen))
    try:
        seen = list(client().chat.completions.create(**ask("breaks off", stream=True)))
    except openai.APIError as error:
        seen = error
    check("an error inside a stream", "out of luck" in str(seen), seen)


class Page(BaseModel):
    page: int
    sort: str


def shapes():
    """The tiny model says nothing sensible here; what it says has the form that was asked for."""
    ghost = client(TINY)
    text = "Parse the query string into JSON: page=3&sort=price"
    tiny = {"model": "ghost-tiny", "max_tokens": 200, "temperature": 0}
    try:
        page = ghost.chat.completions.parse(**ask(text, response_format=Page, **tiny)).choices[0].message.parsed
    except openai.LengthFinishReasonError as cut_off:
        page = cut_off
    check("a schema", isinstance(page, (Page, openai.LengthFinishReasonError)), page)
    answer = ghost.chat.completions.create(**ask(text, extra_body={"shape": {"type": "span", "source": text}}, logprobs=True, **tiny))
    choice = answer.choices[0]
    check("a span", choice.message.content in text, answer)
    tokens = [token.token for token in choice.logprobs.content]
    check("its tokens", "".join(tokens) == choice.message.content, tokens)
    answer = ghost.chat.completions.create(**ask(text, extra_body={"grammar": 'root ::= "yes" | "no"'}, **tiny))
    check("a grammar", answer.choices[0].message.content in ("yes", "no"), answer)
    answer = ghost.chat.completions.create(**ask(text, extra_body={"shape": {"type": "choice", "choices": ["b", "c"]}}, **tiny))
    check("a choice", answer.choices[0].message.content in ("b", "c"), answer)
    pairs = {"type": "json_of_spans", "schema": {"type": "object", "additionalProperties": {"type": "string"}}, "source": text}
    answer = ghost.chat.completions.create(**ask(text, extra_body={"shape": pairs}, **tiny))
    check("JSON of spans", json.loads(answer.choices[0].message.content) == {"page": "3", "sort": "price"}, answer)
    check("the last of them", True, None)


print("openai", openai.__version__)
whole_answers()
streams()
asyncio.run(asynchronously())
errors()
shapes()
