"""A served model: the calculator by stop strings, many requests, a server that dies."""

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import urllib3

import serving
from gsmlib.method import decoding
from gsmlib.method.decoding import Rules, decode, sample_completions
from serving import Server, read_reply, stream_served

WRONG = "Ann has 4*3=<<4*3=13>>12 apples.\nThey are <<(2+=5>><<12+3=14>>15.\n#### 15"
RIGHT = WRONG.replace("13>>", "12>>").replace("=14", "=15")


class Script:
    """What a fake server says: of each question one solution, and how it fails."""

    def __init__(self, solution=WRONG, words="vllm", fail_every=0):
        self.solution, self.words, self.fail_every = solution, words, fail_every
        self.asked, self.now, self.most = [], 0, 0
        self.lock = threading.Lock()

    def reply(self, body):
        """The script goes on from what it has said, whatever was changed of it."""
        question, _, said = body["prompt"].partition("\n")
        rest = self.solution[len(said) :] if len(said) < len(self.solution) else ""
        found = [rest.index(s) for s in body["stop"] if s in rest]
        text, stop = rest, None
        if found:
            text = rest[: min(found)]
            stop = next(s for s in body["stop"] if rest[min(found) :].startswith(s))
        if len(text) > body["max_tokens"]:  # a token is a byte
            choice = {"text": text[: body["max_tokens"]], "finish_reason": "length"}
            return {"choices": [choice | {"stop_reason": None}]}
        choice = {"text": text, "finish_reason": "stop"}
        if self.words == "vllm":
            return {"choices": [choice | {"stop_reason": stop}]}
        verbose = {"__verbose": {"stopping_word": stop or ""}}
        return {"choices": [choice]} | (verbose if self.words == "llama.cpp" else {})


def handler_of(script):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with script.lock:
                script.asked.append(body)
                script.now += 1
                script.most = max(script.most, script.now)
                busy = script.fail_every and len(script.asked) % script.fail_every == 0
            answer = b"busy" if busy else json.dumps(script.reply(body)).encode()
            with script.lock:
                script.now -= 1
            self.send_response(503 if busy else 200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_):
            """Say nothing."""

    return Handler


@contextmanager
def serve(script, port=0):
    """A server of the script, and its address."""
    with ThreadingHTTPServer(("127.0.0.1", port), handler_of(script)) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield Server(f"http://127.0.0.1:{server.server_port}/v1", "it", in_flight=4)
        server.shutdown()


def complete(server, tokenizer, questions=("Q?",), n=1, **settings):
    """Sorted completions; of the settings, problem_ids and skip are no rules."""
    places = {k: settings.pop(k) for k in ("problem_ids", "skip") if k in settings}
    rules = Rules(**(dict(temperature=0.7, seed=1) | settings))
    return sorted(stream_served(server, tokenizer, list(questions), n, rules, **places))


@pytest.mark.parametrize("words", ["vllm", "llama.cpp"])
def test_the_calculator_puts_in_its_values(byte_tokenizer, words):
    with serve(Script(words=words)) as server:
        [(_, _, done)] = complete(server, byte_tokenizer)
    # the script goes on by length, so each value must be as long as the wrong one
    assert done.text == RIGHT and done.finished
    assert done.tokens[-1] == byte_tokenizer.eos_token_id
    assert decode(byte_tokenizer, done.tokens) == RIGHT
    pairs = zip(done.tokens, done.forced, strict=True)
    marked = [token for token, forced in pairs if forced]
    assert decode(byte_tokenizer, marked) == "12>>15>>"


def test_without_the_calculator_the_text_is_the_models(byte_tokenizer):
    script = Script()
    with serve(script) as server:
        [(_, _, done)] = complete(server, byte_tokenizer, calculator=False)
    assert done.text == WRONG and not any(done.forced) and len(script.asked) == 1


def test_the_length_limit_cuts(byte_tokenizer):
    with serve(Script()) as server:
        [(_, _, done)] = complete(server, byte_tokenizer, max_length=40)
    assert len(done.tokens) == 37 and not done.finished  # three are the question's
    assert RIGHT.startswith(done.text) and done.tokens[-1] != 0


def test_sampling_may_stop_behind_the_answer(byte_tokenizer):
    script = Script(RIGHT + "\nAnd so on, for ever.")
    with serve(script) as server:
        [(_, _, done)] = complete(server, byte_tokenizer, stop_after_answer=True)
    assert done.text == RIGHT + "\n" and done.finished
    assert done.tokens[-1] != byte_tokenizer.eos_token_id


def test_every_completion_comes_once_with_its_own_seeds(byte_tokenizer):
    script = Script()
    with serve(script) as server:
        done = complete(server, byte_tokenizer, ["A?", "B?"], 30, skip={(1, 3)})
    assert [row[:2] for row in done] == [
        (i, j) for i in range(2) for j in range(30) if (i, j) != (1, 3)
    ]
    first = [body["seed"] for body in script.asked if body["prompt"][2:] == "\n"]
    assert len(set(first)) == len(done) and max(first) < 2**31
    assert script.most <= server.in_flight
    with serve(again := Script()) as server:
        complete(server, byte_tokenizer, ["B?"], 1, problem_ids=[1])
    assert again.asked[0]["seed"] in first


def test_a_server_that_is_busy_or_dies_loses_nothing(byte_tokenizer, monkeypatch):
    monkeypatch.setattr(urllib3.Retry, "DEFAULT_BACKOFF_MAX", 0.1)
    expected = [(0, j) for j in range(200)]
    rows, script = [], Script(fail_every=7)
    first = serve(script)
    server = first.__enter__()
    port = int(server.url.rpartition(":")[2].removesuffix("/v1"))
    stream = stream_served(server, byte_tokenizer, ["Q?"], 200, Rules(0.7, seed=1))
    rows += [next(stream)[:2] for _ in range(100)]
    first.__exit__(None, None, None)
    with serve(script, port):
        rows += [row[:2] for row in stream]
    assert sorted(rows) == expected


def test_a_server_that_stays_away_or_refuses_is_named(byte_tokenizer):
    with serve(Script()) as server:
        pass
    with pytest.raises(ConnectionError, match="does not answer"):
        complete(server._replace(retries=0), byte_tokenizer)
    with pytest.raises(ValueError, match="does not say which stop string"):
        read_reply({"choices": [{"text": "a", "finish_reason": "stop"}]})


class Model(Script):
    """Says what a model says."""

    def __init__(self, lm):
        super().__init__()
        self.lm = lm

    def reply(self, body):
        size = len(body["prompt"]) + body["max_tokens"]  # a token is a byte
        rules = Rules(body["temperature"], 0, size, calculator=False)
        [[done]] = sample_completions(self.lm, [body["prompt"]], 1, rules)
        self.solution = done.text
        return super().reply(body | {"prompt": ""})


def test_a_served_model_says_what_it_says_here(tiny_gpt2, monkeypatch):
    questions = ["Tom has 3 apples. How many?", "Ann has 4*3. How many?"]
    local = sample_completions(tiny_gpt2, questions, 1, Rules(0.0, seed=0))
    with monkeypatch.context() as patch, serve(Model(tiny_gpt2)) as server:
        # the server is given prompts that end as they are
        patch.setattr(decoding, "encode_prompt", lambda t, text: t.encode(text))
        server = server._replace(in_flight=1)
        served = complete(server, tiny_gpt2.tokenizer, questions, temperature=0.0)
    assert [done.text for _, _, done in served] == [done.text for [done] in local]


def test_plain_sampling_is_asked_for(byte_tokenizer):
    script = Script()
    with serve(script) as server:
        complete(server, byte_tokenizer, temperature=0.3)
    body = script.asked[0]
    assert body["temperature"] == 0.3 and body["top_p"] == 1 and body["top_k"] == -1
    assert body["model"] == "it" and serving.PLAIN.items() <= body.items()
