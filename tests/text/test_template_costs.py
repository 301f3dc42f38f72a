"""Operations of chat templates on values that are small in memory and huge when read: each is refused."""

from __future__ import annotations

import jinja2
import pytest
from small_tokenizer import CONFIG, small

from qwen3cpu.errors import MessageError
from qwen3cpu.text import template_limits
from qwen3cpu.text.chat_template import ChatTemplate
from qwen3cpu.text.template_costs import Meter, TemplateLimitError
from qwen3cpu.text.tokenizer import Tokenizer

DOUBLED = (
    "{% set ns = namespace(a=[1], b=[1], t=(1,), u=(1,), d={}, e={}, s='ab', l=[[1, 2]], n=[1, 2]) %}"
    "{% for i in range(60) %}{% set ns.a = [ns.a, ns.a] %}{% set ns.b = [ns.b, ns.b] %}{% set ns.t = (ns.t, ns.t) %}"
    "{% set ns.u = (ns.u, ns.u) %}{% set ns.d = {'x': ns.d, 'y': ns.d} %}{% set ns.e = {'x': ns.e, 'y': ns.e} %}"
    "{% endfor %}{% set a, b, t, u, d, e = ns.a, ns.b, ns.t, ns.u, ns.d, ns.e %}"
)
"""The pairs a and b, t and u, d and e are equal, with 2 to the power of 60 items each."""
LARGE = DOUBLED + "{% set s = 'a\n' * 200000 %}{% set many = [1] * 100000 %}{% set words = 'a b\t' * 100000 %}"


def table(text):
    """The expressions in a text, separated by ;; or line breaks."""
    return [expression.strip() for line in text.strip().splitlines() for expression in line.split(";;")]


READ_ALL = table(r"""
    a == b ;; a != b ;; a < b ;; a <= b ;; a > b ;; a >= b ;; t == u ;; t < u ;; d == e ;; d != e ;; a <= a <= b
    [1] == [1] != a == b ;; a in [b] ;; a not in [b] ;; t in (u,) ;; a in {'x': b}.values() ;; [a] in [[b]]
    d.items() == e.items() ;; d.values()|list == e.values()|list ;; a is eq b ;; a is equalto(b) ;; a is lt b
    a is in [b] ;; a is not in [b] ;; a is ge(b) ;; [b]|select('equalto', a)|list ;; [b]|reject('in', [a])|list
    [{'k': b}]|selectattr('k', 'eq', a)|list ;; [b].index(a) ;; [b].count(a) ;; (u,).count(t) ;; t in {} ;; t in d
    {t: 1} ;; d[t] ;; d.get(t) ;; {}.fromkeys([t]) ;; [t]|unique|list ;; {(1, t): 1} ;; a|string ;; a|tojson
    a|pprint ;; a|join ;; [a]|join(', ') ;; a|list|string ;; a|upper ;; a|trim ;; a|escape ;; a|forceescape
    a|urlencode ;; a|title ;; a|center ;; a|indent ;; a|wordcount ;; a|striptags ;; a|replace(1, 2)
    'x'|replace(a, 'b') ;; 'x'|replace('x', a) ;; 'x'|replace(old='x', new=a) ;; a|capitalize ;; a|format
    a|safe ;; [a, b]|sort|list ;; [[a], [b]]|sort(reverse=true) ;; [{'k': a}, {'k': b}]|sort(attribute='k')
    [a, b]|min ;; [a, b]|max ;; [{'k': a}, {'k': b}]|groupby('k') ;; {1: a, 2: b}|dictsort(by='value')
    {t: 1}|dictsort ;; [{'k': a}, {'k': b}]|max(attribute='k') ;; {'x': a}|xmlattr ;; [1, a]|map('string')|list
    [a]|map('tojson')|join ;; '%s' % a ;; '%s' % [a] ;; '%s' % (a,) ;; '%(x)s' % {'x': a} ;; '{}'.format(a)
    '{x}'.format(x=a) ;; '{!r}'|format(a) ;; '{x}'.format_map({'x': a}) ;; '%s'|format(a) ;; '' ~ a
    d.keys() ~ d ;; a is upper ;; a is lower ;; raise_exception(a) ;; [a]|sum(start=a)|string
    [1]|map('replace', 1, a)|list ;; ', '.join([a]) ;; '{0[0]}'.format(a) ;; [d]|map(attribute='x')|join
    d|items|list|string ;; cycler(a).next() ~ ''
""")

MADE = table(r"""
    s|indent(1000000) ;; s|indent('x' * 1000) ;; s|indent(width='x' * 1000) ;; words.expandtabs(1000000)
    s|wordwrap(1, wrapstring='x' * 1000) ;; ('http://example.com '|urlize(rel='x' * 100000)) * 1000
    s.translate({97: s}) ;; s.translate({'a': s, 10: s}) ;; ('www.a.com ' * 100000)|urlize(target='x' * 100000)
    many|tojson(indent=100000) ;; many|tojson(indent='x' * 1000) ;; many|tojson(separators=('x' * 1000, ':'))
    many|tojson(false, none, ('x' * 1000, ':')) ;; many|join('x' * 10000) ;; many|join(d='x' * 10000)
    s|replace('a', s) ;; s|replace(old='a', new=s) ;; s|replace('', s) ;; s.replace('a', s)
    s.encode().replace(s[0].encode(), s.encode()) ;; ('{0}' * 10000).format(s) ;; ('%(x)s' * 10000) % {'x': s}
    '{:{}}'.format(1, 10 ** 11) ;; ('{:*>9999999}' * 99).format(1) ;; (5).to_bytes(100000000, 'big')
    'a'.encode() * 10 ** 9 ;; 'a'|center(10 ** 9) ;; 'a'.ljust(10 ** 9) ;; 'a'.zfill(10 ** 9)
    []|slice(10000000)|list ;; [1]|batch(10000000, 0)|list ;; many * 1000 ;; 1000 * many ;; [many] * 10 ** 8
    ([[1] * 2000] * 2000)|sum(start=[])|length ;; 5|round(-9999999) ;; 5.0|round(9999999, 'ceil')
    3 ** 999999999 ;; strftime_now('%Y' * 1000000) ;; ('a' * 4000000)|list|length
    ('a' * 4000000).split('a')|length ;; range(99999)|list * 99
""")

IN_LOOPS = table(r"""
    [1] * 20000 ;; s[1:] ;; s[::2] ;; many[1:] ;; 'c' in s ;; s == s ~ '' ;; s|upper ;; s.strip('x') ;; 0 in many
    s in many ;; many == many * 1 ;; many|sort ;; many|list ;; many|sum ;; many|unique|list ;; many|reverse|list
    (many + [2]).index(2) ;; many.count(1) ;; 2 in many|map('int') ;; many|map('string')|join
    many|batch(2)|list ;; many|min ;; (3 ** 100000) // (7 ** 30000) ;; (3 ** 100000) % (7 ** 30000)
    (3 ** 100000) is divisibleby(7 ** 30000) ;; s.splitlines() ;; s.split() ;; s|wordcount ;; s|title ;; '%s' % s
    '{}'.format(s) ;; s ~ s ;; s + s ;; s|length|string * 9999 ;; s is upper ;; s|truncate(9) ;; s|striptags
    s.count('c') ;; s.find('c') ;; s.startswith(s) ;; {s ~ loop.index: 1} ;; loop.changed(many)
    dict(a=1, b=s ~ 'x') ;; namespace(x=many[1:]) ;; d.get(s ~ 'x') ;; many|slice(2)|list ;; s|int(0)
    s.encode() ;; s|e ;; s|forceescape ;; s|urlencode ;; many|tojson ;; 'a' if s ~ 'a' is eq s else 'b'
""")


SHALLOW = table(r"""
    a == [] ;; a == [1] ;; a == a ;; a != a ;; a is sameas a ;; a|length ;; a|first|length ;; a[0]|length
    a is none ;; a in [1, 'x', none] ;; 1 in a ;; [1, a]|first ;; a|default('x')|length
    {'x': a}.get('x')|length ;; 'y' in d ;; a|list|length ;; a is iterable and a is not mapping ;; d.x.y|length
    [a, b]|map('length')|join(',') ;; a == 'x' ;; {'x': a}|items|list|length ;; d.keys()|list|join ;; d == {}
    d == 1 ;; a and b and 1 ;; (a or 1)|length
""")
"""Expressions that do not read the items of a value."""

HONEST = table(r"""
    1 < 2 <= 2 < 3 ;; 1 < 2 > 5 ;; 3 > 2 > 1 == 1 ;; 'a' < 'b' in 'abc' ;; 1 == 1.0 != 2 ;; not 1 in [1]
    2 not in [1] ;; 'b' in 'abc' ;; 'x' in {'x': 1} ;; 1 in range(3) ;; 2.5 in range(3) ;; [1, [2]] == [1, [2]]
    (1, 2) < (1, 3) ;; {'a': [1]} == {'a': [1]} ;; {'a': 1} == {'a': 2} ;; {(1, 2): 3}[(1, 2)] ;; 1 is in [1]
    1 is eq 1 ;; 'A' is upper ;; 9 is divisibleby 3 ;; [3, 1, 2]|sort ;; [1, 1, 2]|unique|list ;; ['b', 'a']|min
    {'b': 1, 'a': 2}|dictsort ;; [{'k': 1}, {'k': 2}]|groupby('k')|length ;; [[1], [2]]|sum(start=[])
    'a-b'|replace('-', '+') ;; 7 // 2 ;; 7 / 2 ;; 2 ** 10 - 24 ;; 7 % 4 ;; -7 + 2 ;; '%s-%05.1f' % ('a', 2.5)
    '{:>5}|{:<{}}'.format('a', 'b', 4) ;; 2.567|round(1) ;; 'a\tb'.expandtabs(4) ;; 'ab'.translate({97: 'x'})
    'a b'|title ;; [1, 2, 3]|batch(2)|list ;; [1, 2, 3]|slice(2)|list ;; 'a b c'|wordwrap(3) ;; 'x'|center(5)
    'a\nb'|indent(2) ;; ['a', 'b']|join('-') ;; '-'.join(['a', 'b']) ;; missing is defined ;; missing == 1
    missing == missing ;; 1 in [1, 2]|map('int') ;; [1, 2]|select('gt', 1)|list ;; ['x']|select('in', 'xy')|list
    'x' if missing in [1] else 'y' ;; (5).to_bytes(2, 'big') ;; 'é'.encode().hex() ;; [1, 2].index(2)
    [1, 1].count(1)
""")
"""Expressions that templates use, with Jinja's results."""


TOKENIZER = Tokenizer(small(), CONFIG, source="some folder")


@pytest.fixture(autouse=True)
def _low_limit(monkeypatch):
    """Lowers the limit: the real one is reached after a second or two, and there are two hundred expressions."""
    monkeypatch.setattr(template_limits, "BASE", 500_000)


def render(template):
    return ChatTemplate(template, TOKENIZER, source="some folder").render([{"role": "user", "content": "hello"}])


def said(template):
    """The text of a template, or its error."""
    try:
        return render(template)
    except MessageError as error:
        return str(error)


def refusal():
    """The error of a template that does too much work."""
    return (
        "some folder: the chat template fails on the messages: TemplateLimitError: it does more than the allowed "
        f"{template_limits.BASE + 2000:,} units of work for these messages, so it probably loops or grows endlessly"
    )


def not_refused(before, expressions, after):
    """The expressions of a table that are not refused, each with its result."""
    found = {expression: said(f"{before}{expression}{after}") for expression in expressions}
    return {expression: words for expression, words in found.items() if words != refusal()}


def test_what_is_read_is_counted_as_often_as_it_appears():
    assert not_refused(DOUBLED + "{{ '' if (", READ_ALL, ") else '' }}") == {}


def test_what_is_shown_is_counted_as_often_as_it_appears():
    values = ["a", "d", "t", "d.items()", "[d.values()]", "a|list", "{1: a}", "{t: 1}.keys()"]
    assert not_refused(DOUBLED + "{{ ", values, " }}") == {}


def test_what_is_made_is_counted_before_it_is_made(monkeypatch):
    monkeypatch.setattr(template_limits, "BASE", 8_000_000)
    assert not_refused(LARGE + "{% set x = ", MADE, " %}") == {}


def test_what_takes_long_is_counted_each_time(monkeypatch):
    monkeypatch.setattr(template_limits, "BASE", 4_000_000)
    loops = LARGE + "{% for i in range(99999) %}{% for j in range(99) %}{% set x = "
    assert not_refused(loops, IN_LOOPS, " %}{% endfor %}{% endfor %}") == {}


def test_what_looks_at_the_surface_costs_little():
    found = {expression: said(DOUBLED + "{{ " + expression + " }}") for expression in SHALLOW}
    assert {expression: words for expression, words in found.items() if len(words) > 9} == {}
    assert "'<' not supported between instances of 'list' and 'str'" in said(DOUBLED + "{{ a < 'x' }}")


def test_what_is_counted_has_the_results_of_jinja():
    ours = {expression: said("{{ " + expression + " }}") for expression in HONEST}
    assert ours == {each: jinja2.Environment().from_string("{{ " + each + " }}").render() for each in HONEST}


def test_a_namespace_shows_nothing_of_what_it_holds():
    assert render(DOUBLED + "{{ ns }}{{ [ns] }}") == "<Namespace>[<Namespace>]"


def test_many_nodes_in_a_loop_count_each_time():
    assert said("{% for i in range(9999) %}" + "{% set x = 1 %}" * 1000 + "{% endfor %}") == refusal()


def test_what_is_deep_and_not_wide_is_refused_by_python(monkeypatch):
    monkeypatch.undo()
    deep = "{% set ns = namespace(a=[1], b=[1]) %}{% for i in range(5000) %}"
    deep += "{% set ns.a = [ns.a] %}{% set ns.b = [ns.b] %}{% endfor %}"
    for use in ("ns.a == ns.b", "ns.a|tojson", "ns.a|string", "ns.a|pprint"):
        assert "the chat template fails on the messages: RecursionError" in said(deep + "{{ " + use + " }}")


def test_a_meter_counts_what_is_read():
    meter = Meter(1000)
    shared = ["abc", 7]
    assert meter.deep("abc") == 3
    assert meter.deep([]) == 16
    assert meter.deep([shared, shared]) == (16 + 32) + 2 * ((16 + 32) + (16 + 3) + (16 + 3))
    with pytest.raises(TemplateLimitError, match="1,000 units"):
        meter.deep("x" * 1000)
