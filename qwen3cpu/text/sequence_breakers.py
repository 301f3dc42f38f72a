"""Finds the sequence breakers of DRY: strings after which a repetition counts from zero again."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Protocol


class TokenTexts(Protocol):
    """The part of a tokenizer that is needed here. `Tokenizer` is one."""

    size: int
    control_tokens: dict[str, int]

    def token_bytes(self, id_: int) -> bytes:
        """The bytes that a token stands for."""
        ...


class SequenceBreakers:
    """Follows the tokens of one text and finds those that complete a breaker.

    A breaker may be inside one token or span several; the token that completes it breaks. So does every control token,
    whatever its spelling. A breaker does not continue across a control token.

    All breakers are searched at once (Aho and Corasick), so the time does not depend on their number.

    Args:
        breakers: strings, none of them empty.
        tokens: the tokenizer. Ids that it does not have count as empty texts.
    """

    def __init__(self, breakers: Sequence[str], tokens: TokenTexts) -> None:
        self._automaton = _Automaton([breaker.encode() for breaker in breakers])
        self._control = frozenset(tokens.control_tokens.values())
        self._tokens = tokens
        self._state = 0
        self._known: dict[tuple[int, int], tuple[int, bool]] = {}

    def push(self, token: int) -> bool:
        """Record the next token of the text. Return whether it breaks."""
        self._state, broken = self._after(token)
        return broken

    def breaks(self, token: int) -> bool:
        """Whether this token would break if it came next."""
        return self._after(token)[1]

    def _after(self, token: int) -> tuple[int, bool]:
        """The state after a token that comes next, and whether it breaks."""
        place = (self._state, token)
        found = self._known.get(place)
        if found is None:
            found = self._known[place] = self._step(token)
        return found

    def _step(self, token: int) -> tuple[int, bool]:
        if token in self._control:
            return 0, True
        return self._automaton.read(self._state, self._tokens.token_bytes(token) if token < self._tokens.size else b"")


class _Automaton:
    """Finds the ends of words in a text. A state is the longest end of the text so far with which some word begins."""

    def __init__(self, words: Sequence[bytes]) -> None:
        self._next: list[dict[int, int]] = [{}]
        self._ends = [False]
        for word in words:
            state = 0
            for byte in word:
                if byte not in self._next[state]:
                    self._next[state][byte] = len(self._next)
                    self._next.append({})
                    self._ends.append(False)
                state = self._next[state][byte]
            self._ends[state] = True
        # For each state, that of the longest shorter end. States come by length, so the shorter ones are known.
        self._shorter = [0] * len(self._next)
        waiting = deque(self._next[0].values())
        while waiting:
            state = waiting.popleft()
            self._ends[state] |= self._ends[self._shorter[state]]
            for byte, longer in self._next[state].items():
                self._shorter[longer] = self._follow(self._shorter[state], byte)
                waiting.append(longer)

    def read(self, state: int, text: bytes) -> tuple[int, bool]:
        """The state after a text, and whether a word ends in it."""
        found = False
        for byte in text:
            state = self._follow(state, byte)
            found |= self._ends[state]
        return state, found

    def _follow(self, state: int, byte: int) -> int:
        while state and byte not in self._next[state]:
            state = self._shorter[state]
        return self._next[state].get(byte, 0)
