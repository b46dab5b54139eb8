"""A real server: llama.cpp's, with SmolLM2's GGUF, where both are at hand.

`LLAMA_SERVER` names the program where it is not on the PATH; docs/scaling.md says how
it is built. The server listens on this machine alone and ends with the tests.
"""

import os
import shutil
import socket
import subprocess
import time
from collections import Counter
from contextlib import suppress
from itertools import takewhile

import pytest
import urllib3

from gsmlib.method.decoding import Rules, encode_prompt, sample_completions
from gsmlib.method.models import load_language_model
from gsmlib.method.smollm2 import find_gguf
from serving import Server, stream_served

PROGRAM = os.environ.get("LLAMA_SERVER") or shutil.which("llama-server")
SLOTS, CONTEXT = 8, 512
STARTS_IN = 120  # seconds at most
# One worked problem, so that a model that was not finetuned writes annotations too.
SHOT = (
    "Question: Ann buys {a} bags of {b} pens and gives {c} pens away. How many pens "
    "are left?\nAnswer: She buys {a} * {b} = <<{a}*{b}={ab}>>{ab} pens. She has "
    "{ab} - {c} = <<{ab}-{c}={left}>>{left} pens left.\n#### {left}\n\n"
    "Question: Tom buys {d} boxes of {e} cups and breaks {f} cups. How many cups are "
    "left?\nAnswer:"
)
pytestmark = pytest.mark.skipif(not PROGRAM, reason="llama.cpp's server is not here")


def question(i):
    """The i-th question, with its worked example before it."""
    a, b, c, d, e, f = 2 + i % 7, 3 + i % 5, 1 + i % 4, 3 + i % 8, 4 + i % 9, 2 + i % 3
    numbers = dict(a=a, b=b, c=c, d=d, e=e, f=f, ab=a * b, left=a * b - c)
    return SHOT.format(**numbers)


class LlamaServer:
    """The program on a free port of this machine; `start` and `kill` at will."""

    def __init__(self, gguf):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        command = f"{PROGRAM} --host 127.0.0.1 --port {self.port} --no-webui -m {gguf}"
        command += f" -c {SLOTS * CONTEXT} -np {SLOTS} -t {max(1, os.cpu_count() // 2)}"
        self.command = command.split()
        self.start()

    def start(self):
        quiet = dict(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.process = subprocess.Popen(self.command, **quiet)
        limit = time.monotonic() + STARTS_IN
        while time.monotonic() < limit and self.process.poll() is None:
            with suppress(urllib3.exceptions.HTTPError):
                url = f"http://127.0.0.1:{self.port}/health"
                if urllib3.request("GET", url, retries=False).status == 200:
                    return
            time.sleep(0.2)
        pytest.fail("llama.cpp's server does not start.")

    def kill(self):
        self.process.kill()
        self.process.wait()

    @property
    def address(self):
        return Server(f"http://127.0.0.1:{self.port}/v1", "smollm2", in_flight=SLOTS)


@pytest.fixture(scope="module")
def smollm2():
    return load_language_model("smollm2-135m")


@pytest.fixture(scope="module")
def gguf(tmp_path_factory):
    try:
        return find_gguf(tmp_path_factory.mktemp("gguf"))
    except ValueError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def server(gguf):
    server = LlamaServer(gguf)
    yield server
    server.kill()


def shared_part(left, right):
    """What share of the longer text both begin with."""
    same = takewhile(lambda pair: pair[0] == pair[1], zip(left, right, strict=False))
    return sum(1 for _ in same) / max(len(left), len(right), 1)


def test_greedy_text_is_the_local_models(server, smollm2):
    questions = [question(i) for i in range(20)]
    longest = max(len(encode_prompt(smollm2.tokenizer, q)) for q in questions)
    rules = Rules(0.0, seed=0, max_length=longest + 60)
    served = sorted(
        stream_served(server.address, smollm2.tokenizer, questions, 1, rules)
    )
    local = [drawn[0] for drawn in sample_completions(smollm2, questions, 1, rules)]
    pairs = [
        (done.text, own.text) for (_, _, done), own in zip(served, local, strict=True)
    ]
    same = sum(left == right for left, right in pairs) / len(pairs)
    shared = sum(shared_part(*pair) for pair in pairs) / len(pairs)
    forced = sum(any(done.forced) for _, _, done in served)
    print(f"identical {same:.0%}, begin alike {shared:.0%}, calculator in {forced}")
    assert shared > 0.5 and forced >= 5


def test_a_server_that_dies_halfway_loses_nothing(server, smollm2):
    questions, n, done = [f"{i} * 3 = <<{i}*3=" for i in range(50)], 20, []
    rules = Rules(0.7, seed=0, max_length=24)
    for i, j, completion in stream_served(
        server.address, smollm2.tokenizer, questions, n, rules
    ):
        done.append((i, j))
        assert completion.tokens
        if len(done) == len(questions) * n // 2:
            server.kill()
            server.start()
    expected = {(i, j) for i in range(len(questions)) for j in range(n)}
    assert set(done) == expected and max(Counter(done).values()) == 1
