"""How many drafted tokens each answer of a batch feeds: as many as make the batch fastest."""

from __future__ import annotations

from collections.abc import Sequence

from qwen3cpu.engine.pass_times import PassTimes


def share_out_drafts(tokens: int, chances: Sequence[Sequence[float]], times: PassTimes) -> list[int]:
    """Return the number of drafted tokens to feed for each answer.

    A pass over n tokens brings each answer one token, and one more for each drafted token that turns out right. The
    likeliest drafted tokens are taken first, as many as give the most expected tokens per second.

    Args:
        tokens: that the answers feed besides their drafts; at least one for each.
        chances: for each answer's drafted tokens, the chances that they are right if those before them are.
        times: of passes.
    """
    counts = [0] * len(chances)
    ahead: list[tuple[float, int]] = []
    for place, each in enumerate(chances):
        all_right = 1.0
        for chance in each:
            all_right *= chance
            ahead.append((-all_right, place))
    ahead.sort(key=lambda entry: entry[0])
    expected, best = float(len(chances)), len(chances) / times[tokens]
    taken: list[int] = []
    most = 0
    for count, (likely, place) in enumerate(ahead, 1):
        expected -= likely
        taken.append(place)
        speed = expected / times[tokens + count]
        if speed > best:
            best, most = speed, count
    for place in taken[:most]:
        counts[place] += 1
    return counts
