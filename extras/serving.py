"""Sampling from a model that another program serves, with the calculator.

The server speaks OpenAI's completions protocol and says what ended a reply, as vLLM and
llama.cpp's server do. It stops at `=`; where the text then ends in `<<48/2=`, the value
is appended and the request goes on from there: cheap where prefixes are cached. Seeds
are addressed as in `decoding`, but what a server makes of a seed is its own: the same
completions come from the same server only, and only where it honours seeds.
"""

from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from itertools import groupby, islice
from typing import Any, NamedTuple

from transformers import PreTrainedTokenizerBase
from urllib3 import PoolManager, Retry
from urllib3.exceptions import HTTPError

from gsmlib.method import calculator as arithmetic
from gsmlib.method.decoding import (
    ANSWER_LINE,
    Completion,
    Done,
    Rules,
    encode_after,
    encode_prompt,
    hash_address,
)

BUSY = (429, 500, 502, 503, 504)  # worth asking again
ANSWER_SECONDS = 600  # for one reply
MARK = "####"  # begins the line of the final answer
# Plain sampling, which is not every server's default: nothing cut off, nothing added.
PLAIN = dict(top_p=1.0, top_k=-1, min_p=0.0, add_special_tokens=False)


class Server(NamedTuple):
    """Where a model is served: `url` ends in /v1.

    At most `in_flight` requests wait for their answers. One that is refused as too
    much, or gets none because the server is away, is repeated up to `retries` times,
    after 1, 2, 4, ... seconds, at most 60.
    """

    url: str
    model: str
    in_flight: int = 32
    retries: int = 10


class Reply(NamedTuple):
    """A piece of text and what ended it: a stop string, the end token, the length."""

    text: str
    stop: str  # not in the text; empty where none ended it
    ended: bool  # by the end token


def stream_served(
    server: Server,
    tokenizer: PreTrainedTokenizerBase,
    questions: Sequence[str],
    n: int,
    rules: Rules,
    *,
    problem_ids: Sequence[int] | None = None,
    skip: Collection[tuple[int, int]] = (),
) -> Iterator[Done]:
    """Yield what `decoding.stream_completions` yields, from a served model.

    Lengths are counted by `tokenizer`, whose tokens spell the server's text and need
    not be those that it sampled; `logprob` is nan. Raises ConnectionError where the
    server stays away or refuses, ValueError where it does not say what ended a reply.
    """
    client = _Client(server, tokenizer, rules)
    problem_ids = range(len(questions)) if problem_ids is None else problem_ids
    pairs = ((i, j) for i in range(len(questions)) for j in range(n))
    wanted = (pair for pair in pairs if pair not in skip)

    def complete(i: int, j: int) -> Done:
        return i, j, client.complete(questions[i], problem_ids[i], j)

    with ThreadPoolExecutor(server.in_flight) as pool:
        first = islice(wanted, server.in_flight)
        running = {pool.submit(complete, *pair) for pair in first}
        try:
            while running:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                more = islice(wanted, len(done))
                running |= {pool.submit(complete, *pair) for pair in more}
                for future in done:
                    yield future.result()
        finally:
            pool.shutdown(cancel_futures=True)


class _Client:
    """Makes whole completions out of a server's replies; serves many threads."""

    def __init__(
        self, server: Server, tokenizer: PreTrainedTokenizerBase, rules: Rules
    ):
        self.server, self.tokenizer, self.rules = server, tokenizer, rules
        retry = Retry(
            server.retries,
            allowed_methods=None,  # a completion may be asked for twice
            status_forcelist=BUSY,
            backoff_factor=0.5,
            backoff_max=60,
        )
        size = server.in_flight
        self.pool = PoolManager(maxsize=size, retries=retry, timeout=ANSWER_SECONDS)

    def complete(self, question: str, problem: int, number: int) -> Completion:
        """The completion of this number of a question, the problem's id given."""
        rules, eos = self.rules, self.tokenizer.eos_token_id
        room = rules.max_length - len(encode_prompt(self.tokenizer, question))
        text, pieces, tokens, forced, finished = "", [], [], [], False
        while not finished and len(tokens) < room:
            address = hash_address(rules.seed, problem, number, len(tokens))
            seed = int(address) % 2**31
            reply = self._ask(f"{question}\n", text, room - len(tokens), seed)
            pieces.append((reply.text + reply.stop, False))
            text += pieces[-1][0]
            value = arithmetic.completion(text) if reply.stop == "=" else None
            if value is not None:
                pieces.append((value, True))
                text += value
            tokens, forced = self._spell(pieces)
            answered = rules.stop_after_answer and ANSWER_LINE.search(text)
            finished = reply.ended or bool(answered)
            if reply.ended:
                tokens, forced = [*tokens, eos], [*forced, False]
            elif not reply.stop:
                break
        return Completion(text, tokens[:room], forced[:room], float("nan"), finished)

    def _spell(self, pieces: list[tuple[str, bool]]) -> tuple[list[int], list[bool]]:
        """Tokens for pieces of text, and which of them are the calculator's."""
        tokens: list[int] = []
        forced: list[bool] = []
        for calculated, same in groupby(pieces, key=lambda piece: piece[1]):
            text = "".join(piece for piece, _ in same)
            if calculated:
                tokens += encode_after(self.tokenizer, tokens, text)
            else:
                tokens += self.tokenizer.encode(text, add_special_tokens=False)
            forced += [calculated] * (len(tokens) - len(forced))
        return tokens, forced

    def _ask(self, prompt: str, text: str, room: int, seed: int) -> Reply:
        """Ask for what follows prompt and text, up to a stop string."""
        stops = ["="] if self.rules.calculator else []
        if self.rules.stop_after_answer:
            stops.append("\n" if MARK in text else MARK)
        body = dict(PLAIN, model=self.server.model, prompt=prompt + text, seed=seed)
        body |= dict(temperature=self.rules.temperature, max_tokens=room, stop=stops)
        url = f"{self.server.url}/completions"
        try:
            # verbose: llama.cpp says what stopped it
            answer = self.pool.request("POST", url, json=body | {"verbose": True})
        except HTTPError as error:
            raise ConnectionError(f"{url} does not answer: {error}.") from error
        if answer.status != 200:
            said = answer.data[:200].decode(errors="replace")
            raise ConnectionError(f"{url} refused a request ({answer.status}): {said}")
        return read_reply(answer.json())


def read_reply(answer: dict[str, Any]) -> Reply:
    """Read a completions response; ValueError where it does not say what ended it."""
    choice = answer["choices"][0]
    if choice["finish_reason"] != "stop":
        return Reply(choice["text"], "", False)
    if "stop_reason" in choice:  # vLLM: null for the end token
        stop = choice["stop_reason"]
    elif "__verbose" in answer:  # llama.cpp: empty for the end token
        stop = answer["__verbose"]["stopping_word"]
    else:
        raise ValueError(
            "The server does not say which stop string ended a reply, as vLLM and "
            "llama.cpp's server do."
        )
    stop = stop if isinstance(stop, str) else ""
    return Reply(choice["text"], stop, not stop)
