"""Templates that loop or grow endlessly fail after a counted amount of work. Normal ones stay far below the limit."""

from __future__ import annotations

import tracemalloc

import pytest
from small_tokenizer import CONFIG, small

from qwen3cpu.errors import CheckpointError, MessageError
from qwen3cpu.text import template_limits
from qwen3cpu.text.chat_template import ChatTemplate
from qwen3cpu.text.tokenizer import Tokenizer

MESSAGES = [{"role": "user", "content": "hello"}]
NS = "{% set ns = namespace(s='ab', l=[1, 2]) %}"


def render(template, messages=MESSAGES):
    tokenizer = Tokenizer(small(), CONFIG, source="some folder")
    return ChatTemplate(template, tokenizer, source="some folder").render(messages)


def loop(body, rounds=60):
    return f"{NS}{{% for i in range({rounds}) %}}{body}{{% endfor %}}{{{{ ns.s|length }}}}"


ENDLESS = {
    "loops in loops": "{% for i in range(99999) %}{% for j in range(99999) %}{% for k in range(99999) %}{% endfor %}"
    "{% endfor %}{% endfor %}",
    "loops that pass nothing": "{% for i in range(99999) %}{% for j in range(99999) if j < 0 %}"
    "{% endfor %}{% endfor %}",
    "a macro that calls itself twice": "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}"
    "{{ f(40) }}",
    "a recursive loop": "{% for x in [[1] * 900] * 90 recursive %}{% if x is iterable %}{{ loop(x) * 9 }}{% else %}"
    + "{% for i in range(99999) %}{% endfor %}{% endif %}{% endfor %}",
    "~ doubles": loop("{% set ns.s = ns.s ~ ns.s %}"),
    "+ doubles": loop("{% set ns.s = ns.s + ns.s %}"),
    "* grows": loop("{% set ns.s = ns.s * 100 %}"),
    "a long product": "{{ 'ab' * 100000000000 }}",
    "the product turned round": "{{ 100000000000 * 'ab' }}",
    "a list doubles": loop("{% set ns.l = ns.l + ns.l %}"),
    "a list in lists, shown": loop("{% set ns.l = [ns.l, ns.l] %}") + "{{ ns.l }}",
    "a list in lists, as JSON": loop("{% set ns.l = [ns.l, ns.l] %}") + "{{ ns.l|tojson }}",
    "a list in lists, joined": loop("{% set ns.l = [ns.l, ns.l] %}") + "{{ 'x' ~ ns.l }}",
    "replace": loop("{% set ns.s = ns.s.replace('a', ns.s) %}"),
    "the filter replace": loop("{% set ns.s = ns.s|replace('a', ns.s) %}"),
    "join": loop("{% set ns.s = ns.s.join([ns.s, ns.s, ns.s]) %}"),
    "the filter join": loop("{% set ns.s = [ns.s, ns.s]|join(ns.s) %}"),
    "center": "{{ 'a'.center(100000000000) }}",
    "the filter center": "{{ 'a'|center(100000000000) }}",
    "ljust": "{{ 'a'.ljust(100000000000) }}",
    "zfill": "{{ 'a'.zfill(100000000000) }}",
    "indent": "{{ ('a\n' * 100000)|indent(100000) }}",
    "%": "{{ '%100000000000d' % 5 }}",
    "% with a star": "{{ '%*d' % (100000000000, 5) }}",
    "the filter format": "{{ '%100000000000d'|format(5) }}",
    "format": "{{ '{:100000000000}'.format(5) }}",
    "a nested format": "{{ '{:{}}'.format(5, 100000000000) }}",
    "power": "{{ 10 ** (10 ** 10) }}",
    "squares": "{% set ns = namespace(n=10) %}{% for i in range(99) %}{% set ns.n = ns.n * ns.n %}{% endfor %}",
    "comparisons": NS
    + "{% set ns.s = 'ab' * 4000000 %}{% for i in range(99999) %}{% if 'c' in ns.s %}{% endif %}{% endfor %}",
    "slices": NS + "{% set ns.s = 'ab' * 4000000 %}{% for i in range(99999) %}{% set t = ns.s[1:] %}{% endfor %}",
    "much text": "{% for i in range(99999) %}" + "x" * 100000 + "{% endfor %}",
    "text in a loop's own": loop("{{ ns.s }}{% set ns.s = ns.s ~ 'a' * 1000 %}", 99999),
}


@pytest.mark.parametrize("case", ENDLESS)
def test_endless_templates(case, monkeypatch):
    monkeypatch.setattr(template_limits, "BASE", 5_000_000)  # a tenth of the real limit
    with pytest.raises((MessageError, CheckpointError), match="units of work for these messages"):
        render(ENDLESS[case])


@pytest.mark.parametrize("case", [case for case in ENDLESS if "double" in case or "grow" in case or "join" in case])
def test_memory_is_refused_before_it_is_taken(case, monkeypatch):
    monkeypatch.setattr(template_limits, "BASE", 4_000_000)
    tracemalloc.start()
    try:
        with pytest.raises(MessageError, match="units of work for these messages"):
            render(ENDLESS[case])
        assert tracemalloc.get_traced_memory()[1] < 16_000_000  # a few copies of the largest text that may be made
    finally:
        tracemalloc.stop()


def test_a_template_may_use_what_it_needs():
    template = (
        "{% for m in messages %}{% for n in messages[:3] if n.role %}{{ loop.index ~ ': ' ~ n.role|upper }}{% endfor %}"
        "{{ '%s|%5d' % (m.role, 3) }}{{ '{:>4}'.format('a') }}{{ m|tojson(indent=2)|length > 0 }}"
        "{{ m.content.strip().replace('a', 'b')[1:3] + 'x' * 3 }}{{ [1, 2]|map('string')|join(', ') }}"
        "{{ 'u' in m.role }}{{ 2 ** 10 }}\n{% endfor %}"
    )
    assert render(template) == "1: USERuser|    3   aTrueelxxx1, 2True1024\n"
    many = [{"role": "user" if n % 2 == 0 else "assistant", "content": "some text " * 100} for n in range(2001)]
    assert render(template, many).count("\n") == len(many)


def test_the_work_grows_with_the_messages(monkeypatch):
    """Ten times the messages may take ten times the work, because the limit depends on characters, not on time."""
    monkeypatch.setattr(template_limits, "BASE", 20_000)
    template = "{% for m in messages %}{% for i in range(20) %}{{ m.content[:9] }}{% endfor %}"
    template += "{% if messages|length == loop.index %}{% endif %}{% endfor %}"
    for count in (11, 111, 1111):
        many = [{"role": "user" if n % 2 == 0 else "assistant", "content": "x" * 200} for n in range(count)]
        assert len(render(template, many)) == count * 180
    with pytest.raises(MessageError, match="units of work for these messages"):
        render("{% for i in range(1000) %}{% endfor %}")
