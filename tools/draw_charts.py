"""Draws the charts of the documentation from the results in bench/measured: speed, quality, memory, the roofline.

    python tools/draw_charts.py

After a new measurement has changed a file of results, run this program again. tests/house/test_pictures.py compares.
"""

from __future__ import annotations

import json
import math
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vector_pictures import bar, line, svg, text

ROOT = Path(__file__).resolve().parents[1]
PICTURES = ROOT / "docs" / "pictures"
WIDTH = 760
NARROW = 520  # width of charts that fit on a phone
SHOWN_CASES = (
    ("q4 decode", "writing, 4 bits"),
    ("q4 prompt of 512", "reading a prompt of 512 tokens"),
    ("q4 decode after 4,096 tokens", "writing after 4,096 tokens"),
    ("q4, 8 sequences decoded together", "eight answers at once"),
    ("q8 decode", "writing, 8 bits"),
)
"""Cases of bench/compare.py, and their names for newcomers."""
SHOWN_TYPES = ("Q2_K", "Q3_K_M", "IQ4_XS", "IQ4_NL", "Q4_0", "Q4_1", "Q4_K_S", "Q4_K_M", "Q5_K_M", "Q6_K", "Q8_0")
LABELS = {"IQ4_XS": (-8, 4), "Q4_K_S": (-8, 4), "Q4_K_M": (-8, 12), "Q8_0": (-8, 14), "q8": (-8, -6), "Q4_0": (8, -6)}
"""Places of labels, in pixels from their points, where the usual place is taken."""
PROMPT_LABELS = {
    **dict.fromkeys(("q4 --calibrate", "Q6_K", "Q4_K_M"), (-8, 4)),
    **{"Q5_K_M": (8, -8), "Q4_K_S": (8, 14), "IQ4_XS": (8, -14), "IQ4_NL": (8, 14)},
}
"""The same for the chart of prompts."""


def measured(name: str) -> Any:
    """A file of results."""
    return json.loads((ROOT / "bench" / "measured" / name).read_text("utf-8"))


def number(value: float) -> str:
    """Three digits."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def legend(x: float, kind: str, words: str) -> list[str]:
    """The legend of a kind of bars, above a chart."""
    return [bar(x, 38, 12, 12, kind), text(x + 18, 49, words)]


def draw_speed() -> str:
    """Pairs of bars, each pair scaled to the faster engine, because the cases differ by a factor of twenty."""
    results = measured("compare.json")
    cases = {each["case"]: each for each in results["cases"]}
    left, full, row = 204, 190, 56
    parts = [
        text(16, 26, "Tokens a second beside llama.cpp", bold=True),
        *legend(left, "ours", "qwen3cpu"),
        *legend(left + 110, "theirs", "llama.cpp"),
    ]
    for place, (name, words) in enumerate(SHOWN_CASES):
        case, y = cases[name], 66 + place * row
        parts.append(text(left - 12, y + 23, words, anchor="end"))
        for offset, engine, kind in ((0, "qwen3cpu", "ours"), (19, "llama.cpp", "theirs")):
            length = full * case[engine] / max(case["qwen3cpu"], case["llama.cpp"])
            parts.append(bar(left, y + offset, length, 17, kind))
            parts.append(text(left + length + 8, y + offset + 13, number(case[engine])))
        parts.append(text(NARROW - 16, y + 23, f"{case['ratio']:.2f} times", bold=True, anchor="end"))
    y = 66 + len(SHOWN_CASES) * row + 10
    about = ("model", "machine", "peer", "command", "date")
    lines = textwrap.wrap("; ".join(results[each] for each in about) + ".", 76)
    parts += [text(16, y + 17 * place, each, kind="faint") for place, each in enumerate(lines)]
    return svg(NARROW, y + 17 * len(lines) - 2, "Speed beside llama.cpp", parts)


def draw_memory() -> str:
    """Memory of each model in q4: weights, and the additional memory of a full context."""
    plans = measured("memory.json")["plans"]
    names = list(dict.fromkeys(each["model"] for each in plans))
    gigabytes = {(each["model"], each["context"]): each["total_bytes"] / 1e9 for each in plans}
    left, row, scale = 84, 34, 10.5
    parts = [
        text(16, 26, "Memory of each model in q4, GB", bold=True),
        *legend(left, "ours", "with a context of 4,096 tokens"),
        *legend(left + 240, "soft", "with 32,768 tokens"),
    ]
    bottom = 66 + len(names) * row
    for limit in (8, 16, 32):
        parts.append(line(left + limit * scale, 60, left + limit * scale, bottom))
        parts.append(text(left + limit * scale, bottom + 16, f"{limit} GB", anchor="middle", kind="faint"))
    for place, name in enumerate(names):
        short, long = gigabytes[name, 4096], gigabytes[name, 32768]
        y = 66 + place * row
        parts.append(text(left - 12, y + 16, name, anchor="end"))
        parts.append(bar(left, y, long * scale, 22, "soft"))
        parts.append(bar(left, y, short * scale, 22, "ours"))
        parts.append(text(left + long * scale + 8, y + 16, f"{short:.1f} to {long:.1f}"))
    parts.append(text(16, bottom + 40, "The system and other programs need some gigabytes in addition.", kind="faint"))
    return svg(NARROW, bottom + 54, "Which model fits into which memory", parts)


def axes(
    x_ticks: tuple[float, ...], y_ticks: tuple[float, ...], x_words: str, y_words: str, *, log_x: bool
) -> tuple[list[str], Callable[[float], float], Callable[[float], float]]:
    """A frame of 640 by 330 pixels with a logarithmic y axis: its lines, and functions from a value to its x and y."""
    left, right, top, bottom = 76.0, 716.0, 50.0, 380.0

    def x(value: float) -> float:
        low, high = x_ticks[0], x_ticks[-1]
        share = math.log(value / low) / math.log(high / low) if log_x else (value - low) / (high - low)
        return left + (right - left) * share

    def y(value: float) -> float:
        return bottom - (bottom - top) * math.log(value / y_ticks[0]) / math.log(y_ticks[-1] / y_ticks[0])

    parts = [line(x(each), top, x(each), bottom) for each in x_ticks]
    parts += [line(left, y(each), right, y(each)) for each in y_ticks]
    parts += [text(x(each), bottom + 18, f"{each:g}", anchor="middle", kind="faint") for each in x_ticks]
    parts += [text(left - 8, y(each) + 4, f"{each:g}", anchor="end", kind="faint") for each in y_ticks]
    parts.append(text((left + right) / 2, bottom + 42, x_words, anchor="middle"))
    parts.append(text(16, 40, y_words))
    return parts, x, y


def point(x: float, y: float, kind: str, label: str = "", offset: tuple[int, int] = (8, 4)) -> list[str]:
    """A point with its label."""
    anchor = "end" if offset[0] < 0 else "start"
    dot = f'<circle cx="{x:.4g}" cy="{y:.4g}" r="4.5" class="{kind}"/>'
    return [dot, *([text(x + offset[0], y + offset[1], label, anchor=anchor)] if label else [])]


def draw_quality() -> str:
    """Divergence from the unrounded weights over the bytes of the same model, llama.cpp's types and ours.

    llama.cpp's types were measured on the model padded to blocks of 256 columns. Their MiB leave the padding out.
    """
    types = measured("gguf_types.json")["types"]
    words = "mean KL divergence from bf16, nats: lower is better"
    parts, x, y = axes((50, 75, 100, 125, 150), (0.001, 0.01, 0.1, 1, 10), "MiB of weights", words, log_x=False)
    for name in SHOWN_TYPES:
        found = types[name]
        place = (x(found["unpadded_mib"]), y(found["llama"]["mean_kl"]))
        parts += point(*place, "theirs", name, LABELS.get(name, (8, 4)))
    for each in measured("kl_ours.json"):
        name = each["name"]
        offset = LABELS.get(name, (8, 4) if name == "q4" else (-8, 14))
        parts += point(x(each["mib"]), y(each["kl"]), "ours", name, offset)
    parts += [text(16, 20, "What each weight format costs", bold=True)]
    parts += [*point(560, 66, "ours", "qwen3cpu"), *point(560, 86, "theirs", "llama.cpp")]
    return svg(WIDTH, 440, "Quality over size", parts)


def draw_prompts() -> str:
    """Speed of a prompt over the divergence of the same format, llama.cpp's types and ours.

    All speeds are those of the model padded to blocks of 256 columns.
    """
    results = measured("prompt_speed.json")
    divergences = {("qwen3cpu", each["name"]): each["kl"] for each in measured("kl_ours.json")}
    for name, found in measured("gguf_types.json")["types"].items():
        divergences["llama.cpp", name] = found["llama"]["mean_kl"]
    words = f"tokens a second, a prompt of {results['n_prompt']}: higher is better"
    x_words = "mean KL divergence from bf16, nats: lower is better"
    parts, x, y = axes((0.001, 0.01, 0.1, 1, 10), (250, 500, 1000, 2000, 4000), x_words, words, log_x=True)
    for each in results["speeds"]:
        engine, name = each["engine"], each["name"]
        if engine == "llama.cpp" and name not in SHOWN_TYPES:
            continue
        kind = "ours" if engine == "qwen3cpu" else "theirs"
        place = (x(divergences[engine, name]), y(each["tokens_per_second"]))
        parts += point(*place, kind, name, PROMPT_LABELS.get(name, (8, 4)))
    parts += [text(16, 20, "How fast each weight format reads a prompt", bold=True)]
    parts += [*point(560, 66, "ours", "qwen3cpu"), *point(560, 86, "theirs", "llama.cpp")]
    about = (
        f"smolqwen3, padded; {results['cpu']}, {results['threads']} threads; llama-cpp-python {results['llama_cpp']}."
    )
    parts.append(text(16, 440, about, kind="faint"))
    return svg(WIDTH, 454, "Speed of prompts over quality", parts)


def draw_roofline() -> str:
    """The speed of each kernel below the limits of memory and multipliers, with one thread."""
    results = measured("kernels.json")
    ticks = results["ticks_per_second"] / 1e9
    reading = sum(results["read_gb_s"]) / 2
    parts, x, y = axes(
        (0.25, 1, 4, 16, 64, 256, 1024),
        (1, 10, 100, 1000, 10000),
        "multiply-adds for a byte of weights",
        "10⁹ multiply-adds a second, one thread",
        log_x=True,
    )
    for isa, peak in results["peak_mac_per_tick"].items():
        top = peak * ticks
        corner = top / reading
        parts += [line(x(0.25), y(reading / 4), x(corner), y(top), "arrow")]
        parts += [line(x(corner), y(top), x(1024), y(top), "arrow")]
        parts.append(text(x(1024) - 4, y(top) - 5, f"peak of {isa}", anchor="end", kind="faint"))
    for each in results["kernels"]:
        quant, isa = each["kernel"].split()
        size = results["bytes_per_weight"][quant]
        kind = "ours" if quant == "q4" else "theirs"
        if each["gb_s_one_token"] is not None:
            parts += point(x(1 / size), y(each["gb_s_one_token"] / size), kind)
        for tokens in (8, 64):
            if (rate := each["mac_per_tick"][str(tokens)]) is not None:
                parts += point(x(tokens / size), y(rate * ticks), kind, isa if quant == "q4" and tokens == 64 else "")
    parts += [text(16, 20, "The roofline: memory binds one token, multipliers bind many", bold=True)]
    parts += [*point(96, 66, "ours", "q4: 1, 8 and 64 tokens"), *point(96, 86, "theirs", "q8: the same")]
    parts.append(text(16, 440, f"{results['machine']}. One token from memory, others in cache.", kind="faint"))
    return svg(WIDTH, 454, "The roofline", parts)


def pictures() -> dict[str, str]:
    """File name -> picture."""
    return {
        "speed.svg": draw_speed(),
        "memory.svg": draw_memory(),
        "kl_over_bytes.svg": draw_quality(),
        "prompt_over_kl.svg": draw_prompts(),
        "roofline.svg": draw_roofline(),
    }


if __name__ == "__main__":
    for name, picture in pictures().items():
        (PICTURES / name).write_text(picture, encoding="utf-8")
