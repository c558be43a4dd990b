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
    python.exec(
        "import weakref\nlog = []\nkept = []\n"
        "class Foreign:\n    def __del__(self): log.append('gone')\n"
        "Foreign.__module__ = 'elsewhere'\n");
    auto name = PyRef::steal(PyUnicode_FromString("__main__"));
    REQUIRE(PyDict_SetItemString(dict_.get(), "__name__", name.get()) == 0);
    REQUIRE(PyDict_SetItemString(dict_.get(), "__builtins__", PyEval_GetBuiltins()) == 0);
    for (const char* shared : {"log", "kept", "weakref", "Foreign"}) {
      REQUIRE(PyDict_SetItemString(dict_.get(), shared, python.eval(shared).get()) == 0);
    }
    const auto ran = PyRef::steal(PyRun_String(code.c_str(), Py_file_input, dict_.get(), dict_.get()));
    REQUIRE_MESSAGE(ran, python.take_error());
  }

  LetGo let_go() { return erlang_python::let_go(std::move(dict_)); }
  LetGo let_go_after(const PyRef& preload) { return erlang_python::let_go(std::move(dict_), preload.get()); }
  PyRef dict() const { return dict_.copy(); }

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

constexpr const char* kWitness = "witness = Foreign()\n";

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
           "import contextlib\n@contextlib.contextmanager\ndef f(): yield witness\n",
           "import functools\ndef f(x): return witness\ng = functools.partial(f, 1)\nm = witness.__str__\n",
           "async def co(): return witness\nasync def gen(): yield witness\ng = gen\n",
           "large = [f] = [lambda: witness]\ndel f\n",
       }) {
    INFO(std::string(code));
    CHECK(let_go_with_witness(code) == LetGo::kGone);
    CHECK(log_of() == "gone");
  }
}

#if PY_VERSION_HEX < 0x030E0000
TEST_CASE("globals go with generators") {
  const NoCollector off;
  CHECK(let_go_with_witness("def f(): return witness\ng = (x for x in [f]); next(g)\n") == LetGo::kGone);
  CHECK(log_of() == "gone");
}
#else
TEST_CASE("a generator that others have, and whose stack borrows, stays whole") {
  const NoCollector off;
  CHECK(Globals("def gen(x):\n    log.append((x, (yield))[0][0]())\ndef f(): return 'called'\n"
                "g = gen([f]); next(g)\nkept.append(g)\n")
            .let_go() == LetGo::kHeld);
  TestPython::get().exec("try: kept[0].send(1)\nexcept StopIteration: pass");
  CHECK(log_of() == "called");
}
#endif

TEST_CASE("globals go, and what is in a cycle of its own is reported") {
  const NoCollector off;
  CHECK(let_go_with_witness("def f(): pass\ncycle = []; cycle.append((cycle, f))\n") == LetGo::kLeavesCycles);
  CHECK(log_of() == "gone");
  CHECK(let_go_with_witness("class Plain: pass\ndef f(): pass\n") == LetGo::kLeavesCycles);
  CHECK(log_of() == "gone");
  CHECK(let_go_with_witness("def f(): pass\ncycle = []; cycle.append(cycle); kept.append([cycle])\n") == LetGo::kGone);
  CHECK(log_of() == "gone");
}

TEST_CASE("what is reached by weak references is the collector's, with its globals") {
  const NoCollector off;
  for (const char* code : {
           "class C:\n    def m(self): return super()\nc = C(); c.itself = c\n",
           "import dataclasses\n@dataclasses.dataclass\nclass P:\n    x: int = 1\n    def m(self): return witness\np = "
           "P()\n",
           "import functools\n@functools.lru_cache\ndef f(): return witness\nkept.append(weakref.ref(f))\n",
           "def back(ref): log.append('callback')\nref = weakref.ref(witness, back)\n",
       }) {
    INFO(std::string(code));
    CHECK(let_go_with_witness(code) == LetGo::kHeld);
    CHECK(log_of().empty());
    TestPython::get().exec("import gc; gc.collect()");
    CHECK(log_of() == "gone");
  }
}

TEST_CASE("who has weak references finds things whole or not at all") {
  const NoCollector off;
  Globals globals(
      "class Node:\n    def word(self): return word()\n"
      "def word(): return 'whole'\n"
      "first, second = Node(), Node()\nfirst.other = second; second.other = first\n"
      "kept.append(weakref.ref(second))\n");
  TestPython::get().exec(
      "import gc, weakref\n"
      "def look(_):\n    found = kept[0]()\n"
      "    log.append('none' if found is None else found.word())\n");
  {
    REQUIRE(PyDict_SetItemString(globals.dict().get(), "look", TestPython::get().eval("look").get()) == 0);
    const auto dict = globals.dict();
    REQUIRE(PyRef::steal(
        PyRun_String("kept.append(weakref.ref(first, look))\ndel look\n", Py_file_input, dict.get(), dict.get())));
  }
  globals.let_go();
  TestPython::get().exec("if not log: look(None)\n");
  CHECK(log_of() == "whole");
  TestPython::get().exec("log.clear(); gc.collect()");
  CHECK((log_of().empty() || log_of() == "none"));
}

TEST_CASE("keys of the user's own classes are not asked") {
  const NoCollector off;
  CHECK(let_go_with_witness("class Key:\n    def __hash__(self): return hash('__name__')\n"
                            "    def __eq__(self, other): log.append('asked'); return False\n"
                            "globals()[Key()] = 1; del globals()['__name__']; globals()['__name__'] = '__main__'\n"
                            "log.clear()\n") == LetGo::kHeld);
  CHECK(log_of().empty());
  TestPython::get().exec("import gc; gc.collect()");
}

TEST_CASE("what the preload has made is not looked at") {
  const NoCollector off;
  const auto preload = TestPython::get().eval("{'many': [[[]] for _ in range(20_000)]}");
  Globals globals("witness = Foreign()\ndef f(): return witness\n");
  REQUIRE(PyDict_Update(globals.dict().get(), preload.get()) == 0);
  CHECK(globals.let_go_after(preload) == LetGo::kGone);
  CHECK(log_of() == "gone");
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
            .let_go() == LetGo::kHeld);
  TestPython::get().exec("import gc; gc.collect()");
  CHECK(log_of() == "del");
  Globals(
      "def gen():\n    try:\n        yield\n    finally:\n        note()\n"
      "def note(): log.append('finally')\ng = gen(); next(g)\n")
      .let_go();
  TestPython::get().exec("import gc; gc.collect()");
  CHECK(log_of() == "finally");
}

#if PY_VERSION_HEX < 0x030E0000
TEST_CASE("what a finalizer stores stays, with its globals") {
  const NoCollector off;
  CHECK(Globals("def gen():\n    try:\n        yield\n    finally:\n        kept.append(word)\n"
                "def word(): return helper()\ndef helper(): return 'alive'\ng = gen(); next(g)\n")
            .let_go() == LetGo::kHeld);
  CHECK(TestPython::get().equal(TestPython::get().eval("kept[0]()"), TestPython::get().eval("'alive'")));
}
#endif

TEST_CASE("globals with more than is looked at are left to the collector") {
  const NoCollector off;
  CHECK(let_go_with_witness("def f(): pass\nmany = [[[]] for _ in range(20_000)]\n") == LetGo::kTooLarge);
  CHECK(log_of().empty());
  TestPython::get().exec("import gc; gc.collect()");
  CHECK(log_of() == "gone");
}

TEST_CASE("an error that is set stays set") {
  Globals globals("def gen():\n    try:\n        yield\n    finally:\n        1 / 0\ng = gen(); next(g)\ndel gen\n");
  TestPython::get().exec("import sys; hook = sys.unraisablehook; sys.unraisablehook = lambda what: None");
  PyErr_SetString(PyExc_KeyError, "before");
  globals.let_go();
  CHECK(TestPython::get().take_error() == "KeyError: 'before'");
  TestPython::get().exec("sys.unraisablehook = hook");
}
