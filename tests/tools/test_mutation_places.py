"""tools/mutation: the faults that are found in a text. An edit does not change the rest of the text."""

import pytest
from mutation.masking import masked_cpp, masked_cython
from mutation.native_places import cpp_places, cython_places
from mutation.python_places import python_places

PYTHON = [
    ("comparison", "a < b", "a <= b"),
    ("comparison", "a == b", "a != b"),
    ("comparison", "a not in b", "a in b"),
    ("comparison", "a is None", "a is not None"),
    ("off by one", "for i in range(n):\n    pass", "for i in range(n - 1):\n    pass"),
    ("off by one", "for i in range(2, n):\n    pass", "for i in range(2, n - 1):\n    pass"),
    ("off by one", "x = len(y)", "x = (len(y) - 1)"),
    ("off by one", "x = y[:stop]", "x = y[:stop + 1]"),
    ("off by one", "x = y + 1", "x = y"),
    ("swapped sign", "x = 'é' in (a + b)", "x = 'é' in (a - b)"),
    ("swapped sign", "x += 2", "x -= 2"),
    ("swapped sign", "x = -y", "x = +y"),
    ("dropped call", "if a:\n    f(\n        1\n    )", "if a:\n    pass"),
    ("dropped call", "async def f():\n    await g()", "async def f():\n    pass"),
    ("wrong constant", "x = 3", "x = 4"),
    ("wrong constant", "x = 0.5", "x = 1.0"),
    ("wrong constant", "x = True", "x = False"),
    ("dropped check", "if a:\n    raise B", "if False:\n    raise B"),
    ("neighbouring index", "x = y[0]", "x = y[0 + 1]"),
    ("neighbouring index", "x = y[-1]", "x = y[-1 - 1]"),
    ("neighbouring index", "def f(i: int):\n    return y[i]", "def f(i: int):\n    return y[i + 1]"),
]

CPP = [
    ("comparison", "x = a < b;", "x = a <= b;"),
    ("comparison", "x = a == b;", "x = a != b;"),
    ("off by one", "for (int i = 0; i < n; ++i) x;", "for (int i = 1; i < n; ++i) x;"),
    ("off by one", "for (int i = 0; i < n; ++i) x;", "for (int i = 0; i < n - 1; ++i) x;"),
    ("off by one", "x = y + 1;", "x = y;"),
    ("off by one", "x = y.size();", "x = y.size() - 1;"),
    ("swapped sign", "x = a + b;", "x = a - b;"),
    ("swapped sign", "x -= b;", "x += b;"),
    ("swapped sign", "x = f(-a);", "x = f(+a);"),
    ("dropped call", "x; f(a,\n  b);", "x; ;"),
    ("dropped call", "if (a) b->c<2>(d).e();", "if (a) ;"),
    ("wrong constant", "x = 7u;", "x = 8u;"),
    ("wrong constant", "x = 0x1fULL;", "x = 0x20ULL;"),
    ("wrong constant", "x = 0.5f;", "x = 1.0f;"),
    ("wrong constant", "x = 0x1p-24f;", "x = 0x1p-23f;"),
    ("wrong constant", "x = true;", "x = false;"),
    ("dropped check", "if (a && (b))\n  throw C();", "if (false)\n  throw C();"),
    ("neighbouring index", "x = y[i][j];", "x = y[i][j + 1];"),
]

CYTHON = [
    ("comparison", "    if a >= b:", "    if a > b:"),
    ("off by one", "    for i in range(0, n):", "    for i in range(0, n - 1):"),
    ("swapped sign", "    x = <double>a - b", "    x = <double>a + b"),
    ("dropped call", "    self.f(a,\n      b)\n", "    pass\n"),
    ("wrong constant", "    x = 3", "    x = 4"),
    ("dropped check", "    if a:\n        raise B", "    if False:\n        raise B"),
    ("neighbouring index", "    x = y[i]", "    x = y[i + 1]"),
]

NOTHING_PYTHON = [
    '"""a < b, 3"""',
    "# a < b",
    "x = f'{a + 1}'",
    "x: tuple[int, Literal[3]]",
    "x = 'a' + b",
    "x = y[name]",
    "if TYPE_CHECKING:\n    x = 3",
]

NOTHING_CPP = [
    "// a < b",
    "/* x = 3; */",
    'x = "a < 3";',
    "x = ' ';",
    "#include <a1>",
    "#define A \\\n  3",
    "static_assert(sizeof(A) == 3);",
    "template <class T> void f(T x);",
    "float a[k];",
    "const Rows (&w)[k];",
    "#if defined(__aarch64__)\nx = 3;\n#endif",
    "#if defined(__linux__)\n#else\nx = 3;\n#endif",
    "return f(a);",
]

NOTHING_CYTHON = ['"""a < b, 3"""', "# x = 3", "cdef float x[k]"]


@pytest.mark.parametrize(("operator", "before", "after"), PYTHON)
def test_python(edited, operator, before, after):
    assert (operator, after) in edited(python_places, before)


@pytest.mark.parametrize(("operator", "before", "after"), CPP)
def test_cpp(edited, operator, before, after):
    assert (operator, after) in edited(cpp_places, before)


@pytest.mark.parametrize(("operator", "before", "after"), CYTHON)
def test_cython(edited, operator, before, after):
    assert (operator, after) in edited(cython_places, before)


@pytest.mark.parametrize(
    ("places", "text"),
    [
        *((python_places, text) for text in NOTHING_PYTHON),
        *((cpp_places, text) for text in NOTHING_CPP),
        *((cython_places, text) for text in NOTHING_CYTHON),
    ],
)
def test_where_there_is_no_place(edited, places, text):
    assert edited(places, text) == []


def test_the_branch_of_this_machine_is_kept(edited):
    text = "#if defined(__aarch64__)\nx = 1;\n#elif defined(__x86_64__)\nx = 2;\n#else\nx = 3;\n#endif\nx = 4;"
    edits = [after for operator, after in edited(cpp_places, text) if operator == "wrong constant"]
    assert edits == [text.replace("2", "3"), text.replace("4;", "5;")]


def test_code_of_another_system_is_left_out(edited):
    text = "if sys.platform == 'darwin':\n    f(3)"
    assert [operator for operator, _ in edited(python_places, text)] == ["comparison"]


@pytest.mark.parametrize(
    ("masked", "text", "words"),
    [
        (masked_cpp, '#if A\nx /* \u00e9\n */ = "\\""; // 3\n#endif\nstatic_assert(a(b), "c");\ny', "x = ; ; y"),
        (masked_cython, 'x = \'\\\'\' # 3\n"""a\nb"""\ny', "x = y"),
    ],
)
def test_masking_moves_nothing(masked, text, words):
    left = masked(text)
    assert len(left) == len(text)
    assert [i for i, c in enumerate(left) if c == "\n"] == [i for i, c in enumerate(text) if c == "\n"]
    assert left.split() == words.split()
