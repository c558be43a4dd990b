// A dict of globals that is let go leaves nothing behind that only it reached, and takes nothing that others reach.
#include "python/unreachable.h"

#include <string>

#include "etf_python.h"

using namespace erlang_python;

namespace {

/// Runs code in a dict of globals of its own, under the names `log` and `weakref`, and lets that go.
class Globals {
 public:
  explicit Globals(const std::string& code) : dict_(PyRef::steal(PyDict_New())) {
    TestPython& python = TestPython::get();
    python.exec("import weakref\nlog = []\nkept = []\n");
    auto name = PyRef::steal(PyUnicode_FromString("__main__"));
    REQUIRE(PyDict_SetItemString(dict_.get(), "__name__", name.get()) == 0);
    REQUIRE(PyDict_SetItemString(dict_.get(), "__builtins__", PyEval_GetBuiltins()) == 0);
    for (const char* shared : {"log", "kept", "weakref"}) {
      REQUIRE(PyDict_SetItemString(dict_.get(), shared, python.eval(shared).get()) == 0);
    }
    const auto ran = PyRef::steal(PyRun_String(code.c_str(), Py_file_input, dict_.get(), dict_.get()));
    REQUIRE_MESSAGE(ran, python.take_error());
  }

  LetGo let_go() { return erlang_python::let_go(std::move(dict_)); }

 private:
  PyRef dict_;
};

/// Without Python's own collector, which would hide what is left.
struct NoCollector {
  NoCollector() {
    TestPython::get();
    PyGC_Disable();
  }
  ~NoCollector() { PyGC_Enable(); }
};

std::string log_of() {
  const auto text = PyRef::steal(PyObject_Str(TestPython::get().eval("' '.join(log)").get()));
  return PyUnicode_AsUTF8(text.get());
}

constexpr const char* kWitness =
    "class Witness:\n"
    "    pass\n"
    "witness = Witness()\n"
    "weakref.finalize(witness, log.append, 'gone')\n";

LetGo let_go_with_witness(const std::string& code) { return Globals(kWitness + code).let_go(); }

}  // namespace

TEST_CASE("globals without containers go") {
  const NoCollector off;
  CHECK(Globals("a = 1\n").let_go() == LetGo::kGone);
}

TEST_CASE("globals go with what refers to them") {
  const NoCollector off;
  for (const char* code : {
           "def f(): return witness\n",
           "def outer():\n    def inner(): return witness\n    return inner\ninner = outer()\n",
           "class C:\n    def m(self): return witness\n    @property\n    def p(self): return 1\nc = C()\n",
           "class B: pass\nclass C(B):\n    def m(self): return super()\nc = C(); c.itself = c\n",
           "cycle = []; cycle.append((cycle, witness))\n",
           "import contextlib\n@contextlib.contextmanager\ndef f(): yield witness\nheld = f()\n",
           "import functools\n@functools.lru_cache\ndef f(): return witness\nf()\n",
           "import functools\ndef f(x): return witness\ng = functools.partial(f, 1)\nm = witness.__init__\n",
           "import dataclasses\n@dataclasses.dataclass\nclass P:\n    x: int = 1\np = P()\n",
           "import enum, collections\nclass E(enum.Enum): A = 1\nN = collections.namedtuple('N', 'x')\nn = N(E.A)\n",
           "from json import dumps, JSONEncoder as J\nclass X(J):\n    def default(self, o): return witness\nx = X()\n",
           "def f(): return witness\ng = (x for x in [f]); next(g)\n",
           "async def co(): return witness\nasync def gen(): yield witness\ng = gen()\n",
           "def back(ref): log.append('callback')\nref = weakref.ref(witness, back)\n",
       }) {
    INFO(std::string(code));
    CHECK(let_go_with_witness(code) == LetGo::kGone);
    CHECK(log_of() == "gone");
  }
}

TEST_CASE("what others reach stays, with its globals") {
  const NoCollector off;
  for (const char* code : {
           "def f(): return helper()\ndef helper(): return witness\nkept.append(f)\n",
           "class C:\n    def __call__(self): return helper()\ndef helper(): return witness\nkept.append(C())\n",
           "def helper(): return witness\nkept.append(lambda: [helper() for _ in range(2)])\n",
       }) {
    INFO(std::string(code));
    CHECK(let_go_with_witness(code) == LetGo::kHeld);
    CHECK(log_of().empty());
    TestPython::get().eval("kept[0]()");
    TestPython::get().exec("kept.clear(); import gc; gc.collect()");
    CHECK(log_of() == "gone");
  }
}

TEST_CASE("finalizers find their globals") {
  const NoCollector off;
  CHECK(Globals("class C:\n    def __del__(self): note()\ndef note(): log.append(word)\nword = 'del'\nc = C()\n")
            .let_go() == LetGo::kGone);
  CHECK(log_of() == "del");
  CHECK(Globals("def gen():\n    try:\n        yield\n    finally:\n        note()\n"
                "def note(): log.append('finally')\ng = gen(); next(g)\n")
            .let_go() == LetGo::kGone);
  CHECK(log_of() == "finally");
}

TEST_CASE("what a finalizer stores stays, with its globals") {
  const NoCollector off;
  CHECK(Globals("class C:\n    def __del__(self): kept.append(self)\n    def word(self): return word()\n"
                "def word(): return 'alive'\nc = C()\n")
            .let_go() == LetGo::kHeld);
  CHECK(TestPython::get().equal(TestPython::get().eval("kept[0].word()"), TestPython::get().eval("'alive'")));
}

TEST_CASE("globals with more than is looked at are left to the collector") {
  const NoCollector off;
  CHECK(let_go_with_witness("def f(): pass\nmany = [[[]] for _ in range(20_000)]\n") == LetGo::kTooLarge);
  CHECK(log_of().empty());
  TestPython::get().exec("import gc; gc.collect()");
  CHECK(log_of() == "gone");
}

TEST_CASE("an error that is set stays set") {
  Globals globals("def f(): 1 / 0\nclass C:\n    def __del__(self): f()\nc = C()\n");
  TestPython::get().exec("import sys; hook = sys.unraisablehook; sys.unraisablehook = lambda what: None");
  PyErr_SetString(PyExc_KeyError, "before");
  CHECK(globals.let_go() == LetGo::kGone);
  CHECK(TestPython::get().take_error() == "KeyError: 'before'");
  TestPython::get().exec("sys.unraisablehook = hook");
}
