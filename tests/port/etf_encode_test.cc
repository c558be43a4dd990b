// Python values become the terms of docs/types.md, whatever classes they are of and whatever their code does meanwhile.
#include "etf_python.h"

using namespace erlang_python;

namespace {

constexpr EncodeOptions kStrict{.strict = true};
constexpr EncodeOptions kBuffer{.buffer = true};

std::string error_of(const char* expression, EncodeOptions options = {}) { return encode(expression, options).error; }

Buffer list_of(std::initializer_list<Buffer> items) {
  Buffer bytes = {108, 0, 0, 0, static_cast<std::uint8_t>(items.size())};
  for (const Buffer& item : items) bytes = std::move(bytes) + item;
  return bytes + Buffer{106};
}

}  // namespace

TEST_CASE("encode: built-in values arrive as they were") {
  for (const char* value : {"None",
                            "True",
                            "False",
                            "0",
                            "255",
                            "256",
                            "-1",
                            "2**31",
                            "-2**31-1",
                            "2**63-1",
                            "2**63",
                            "-2**63",
                            "-2**63-1",
                            "2**64",
                            "10**1000",
                            "-10**1000",
                            "0.1",
                            "5e-324",
                            "1.7e308",
                            "''",
                            "'abc'",
                            "'h\\xe9\\u20ac\\U0001f600'",
                            "b'\\xff'",
                            "[]",
                            "[1, [2.5, 'x'], None]",
                            "()",
                            "(1,)",
                            "tuple(range(300))",
                            "{}",
                            "{'a': 1, 2: (), 1.5: [], None: {}, (1, 2): b'\\xff'}",
                            "list(range(1000))",
                            "'x' * 100000"}) {
    check_arrives(value, value);
  }
}

TEST_CASE("encode: None is the atom that was asked for, and no other value is") {
  constexpr EncodeOptions kNil{.none = "nil"};
  CHECK(encode("None").bytes == atom_bytes("none"));
  CHECK(encode("None", kNil).bytes == atom_bytes("nil"));
  CHECK(encode("[None]", kNil).bytes == list_of({atom_bytes("nil")}));
  CHECK(encode("True", kNil).bytes == atom_bytes("true"));
  CHECK(error_of("{None: 1, erlang.Atom('nil'): 2}", kNil) != "");
  CHECK(error_of("{None: 1, erlang.Atom('none'): 2}", kNil) == "");
}

TEST_CASE("encode: floats keep every bit; what is not a number is an atom") {
  CHECK(encode("-0.0").bytes == Buffer{70, 0x80, 0, 0, 0, 0, 0, 0, 0});
  CHECK(encode("float('nan')").bytes == atom_bytes("nan"));
  CHECK(encode("float('inf')").bytes == atom_bytes("infinity"));
  const auto encoded = encode("float('-inf')");
  CHECK(encoded.bytes == atom_bytes("neg_infinity"));
  CHECK(encoded.atoms == std::vector<std::string>{"neg_infinity"});
}

TEST_CASE("encode: bytes, bytearray and memoryview are binaries, also when not contiguous") {
  const Buffer abc = {109, 0, 0, 0, 3, 'a', 'b', 'c'};
  CHECK(encode("b'abc'").bytes == abc);
  CHECK(encode("bytearray(b'abc')").bytes == abc);
  CHECK(encode("memoryview(b'abc')").bytes == abc);
  CHECK(encode("memoryview(b'a-b-c')[::2]").bytes == abc);
  CHECK(encode("memoryview(b'cba')[::-1]").bytes == abc);
  CHECK(encode("type('B', (bytes,), {})(b'abc')").bytes == abc);
}

TEST_CASE("encode: subclasses of built-in classes count as these") {
  TestPython::get().exec(
      "import collections, abc\n"
      "Point = collections.namedtuple('Point', 'x y')\n"
      "class Int(int):\n  def __abs__(self): raise RuntimeError('not asked')\n"
      "class Meta(dict, metaclass=abc.ABCMeta): pass\n");
  check_arrives("Point(1, 2)", "(1, 2)");
  check_arrives("collections.OrderedDict(a=1)", "{'a': 1}");
  check_arrives("collections.defaultdict(list, a=1)", "{'a': 1}");
  check_arrives("Meta(a=1)", "{'a': 1}");
  check_arrives("Int(7)", "7");
  check_arrives("Int(-2**70)", "-2**70");
  check_arrives("type('S', (str,), {})('h\\xe9')", "'h\\xe9'");
  check_arrives("type('F', (float,), {})(1.5)", "1.5");
  check_arrives("type('L', (list,), {})([1])", "[1]");
}

TEST_CASE("encode: sets are lists, sorted when their elements can be compared") {
  check_arrives("{3, 1, 2}", "[1, 2, 3]");
  check_arrives("frozenset('cab')", "['a', 'b', 'c']");
  CHECK(encode("{1, 'a'}").error.empty());
}

TEST_CASE("encode: the library's values") {
  TestPython::get().exec(
      "import array, dataclasses, datetime, decimal, enum, pathlib, uuid\n"
      "@dataclasses.dataclass\nclass Point:\n  x: int\n  y: object = None\n"
      "class Colour(enum.Enum):\n  RED = 'red'\n"
      "class Level(enum.IntEnum):\n  HIGH = 3\n"
      "class Labelled(str, enum.Enum):\n  A = 'a', 7\n"
      "  def __new__(cls, text, number):\n    self = str.__new__(cls, text)\n    self._value_ = number\n    return "
      "self\n");
  check_arrives("Point(1, [Point(2)])", "{'x': 1, 'y': [{'x': 2, 'y': None}]}");
  check_arrives("Colour.RED", "'red'");
  check_arrives("Level.HIGH", "3");
  check_arrives("Labelled.A", "7");
  check_arrives("datetime.datetime(2024, 2, 29, 12, 30, tzinfo=datetime.timezone.utc)", "'2024-02-29T12:30:00+00:00'");
  check_arrives("datetime.date(2024, 2, 29)", "'2024-02-29'");
  check_arrives("datetime.time(12, 30)", "'12:30:00'");
  check_arrives("datetime.timedelta(days=1, milliseconds=500)", "86400.5");
  check_arrives("decimal.Decimal('1.10')", "'1.10'");
  check_arrives("uuid.UUID(int=1)", "'00000000-0000-0000-0000-000000000001'");
  check_arrives("1+2j", "'(1+2j)'");
  check_arrives("pathlib.PurePosixPath('/tmp/x')", "'/tmp/x'");
  check_arrives("array.array('i', [1, 2])", "[1, 2]");
  check_arrives("range(3)", "'range(0, 3)'");
  check_arrives("Point", "str(Point)");
}

TEST_CASE("encode: buffer keeps the raw bytes of arrays, strict refuses text that nobody asked for") {
  TestPython::get().exec("import array, decimal\nclass Odd: pass\n");
  check_arrives("array.array('B', [255, 2])", "b'\\xff\\x02'", kBuffer);
  check_arrives("[1.5, 'a', array.array('B', [255])]", "[1.5, 'a', b'\\xff']", kBuffer);
  check_arrives("[decimal.Decimal('1'), 1j]", "['1', '1j']", kStrict);
  CHECK(error_of("Odd()", kStrict).ends_with("('type', '__main__.Odd')"));
  CHECK(error_of("[range(3)]", kStrict).ends_with("('type', 'range')"));
}

TEST_CASE("encode: anything with tolist, unless that leads nowhere") {
  TestPython::get().exec(
      "class Array:\n  def tolist(self): return [1, [2]]\n"
      "class Stuck:\n  def tolist(self): return self\n  def __str__(self): return 'stuck'\n"
      "class Endless:\n  def tolist(self): return type('Endless', (Endless,), {})()\n"
      "class Broken:\n  def tolist(self): raise OSError('broken')\n");
  check_arrives("Array()", "[1, [2]]");
  check_arrives("Stuck()", "'stuck'");
  CHECK(error_of("Endless()").ends_with("'depth'"));
  CHECK(error_of("Broken()") == "OSError: broken");
}

TEST_CASE("encode: registered encoders come first, the nearest base counts") {
  TestPython::get().exec(
      "class Base: pass\nclass Derived(Base): pass\nclass Late(str): pass\n"
      "erlang.register_encoder(Base, lambda value: ['base'])\n"
      "erlang.register_encoder(Late, lambda value: len(value))\n"
      "class Loop: pass\nerlang.register_encoder(Loop, lambda value: value)\n"
      "class Failing: pass\nerlang.register_encoder(Failing, lambda value: 1 / 0)\n");
  check_arrives("Derived()", "['base']");
  check_arrives("{'k': Late('four')}", "{'k': 4}");
  CHECK(error_of("Loop()").ends_with("'depth'"));
  CHECK(error_of("Failing()") == "ZeroDivisionError: division by zero");
  TestPython::get().exec("erlang._encoding.encoders.clear()");
}

TEST_CASE("encode: atoms are announced") {
  const auto encoded = encode("[erlang.Atom('new'), {erlang.Atom('h\\xe9'): 'text'}]");
  CHECK(encoded.atoms == std::vector<std::string>{"new", "h\xC3\xA9"});
  CHECK(encode("erlang.Atom('new')").bytes == atom_bytes("new"));
  CHECK(error_of("str.__new__(erlang.Atom, 'x' * 256)").starts_with("ValueError"));
  CHECK(encode("erlang.Atom('\\u20ac' * 255)").bytes.size() == 3 + 3 * 255);
}

TEST_CASE("encode: pids and terms must hold what they say, and announce the atoms in it") {
  const auto encoded = encode("erlang.Pid(b'X' + b'w\\x03n@h' + bytes(12))");
  CHECK(encoded.error.empty());
  CHECK(encoded.atoms == std::vector<std::string>{"n@h"});
  CHECK(error_of("erlang.Pid(b'')").starts_with("ValueError"));
  CHECK(error_of("erlang.Pid(b'a\\x01')").starts_with("ValueError"));
  CHECK(error_of("erlang.Ref(b'X' + b'w\\x03n@h' + bytes(12))").starts_with("ValueError"));
  CHECK(error_of("erlang.Term(b'a\\x01a\\x02')").starts_with("ValueError"));
  CHECK(error_of("erlang.Term(b'\\x83a\\x01')").starts_with("ValueError"));
}

TEST_CASE("encode: two keys that are one term are an error, since Erlang would refuse the whole message") {
  CHECK(error_of("{'a': 1, b'a': 2}").ends_with("('duplicate_key', \"b'a'\")"));
  CHECK(error_of("{True: 1, erlang.Atom('true'): 2}").ends_with("('duplicate_key', \"Atom('true')\")"));
  CHECK(error_of("{None: 1, 'x': 0, erlang.Atom('none'): 2}").ends_with("('duplicate_key', \"Atom('none')\")"));
  CHECK(error_of("{float('nan'): 1, float('nan'): 2}").ends_with("('duplicate_key', 'nan')"));
  CHECK(error_of("{(1, b'a'): 1, (1, 'a'): 2}").ends_with("('duplicate_key', \"(1, 'a')\")"));
  CHECK(error_of("[{'x': {'a': 1, b'a': 2}}]").ends_with("('duplicate_key', \"b'a'\")"));
  CHECK(error_of("{1: {b'a': 1}, 'a': {b'a': 1}, b'b': {}}").empty());
}

TEST_CASE("encode: a thousand levels are written, one more and cycles are the error depth") {
  TestPython::get().exec(
      "def nest(levels):\n  value = []\n  for _ in range(levels): value = [value]\n  return value\n"
      "cycle = []\ncycle.append(cycle)\n"
      "loop = {}\nloop['x'] = (loop,)\n");
  CHECK(encode("nest(1000)").bytes == nested_lists(1000));
  CHECK(error_of("nest(1001)").ends_with("'depth'"));
  CHECK(error_of("cycle").ends_with("'depth'"));
  CHECK(error_of("loop").ends_with("'depth'"));
}

TEST_CASE("encode: text with lone surrogates is Python's own error") {
  CHECK(error_of("'\\ud800'").starts_with("UnicodeEncodeError"));
  CHECK(error_of("{'\\ud800': 1}").starts_with("UnicodeEncodeError"));
  CHECK(error_of("erlang.Atom('\\ud800')").starts_with("UnicodeEncodeError"));
}

TEST_CASE("encode: containers that change meanwhile are an error or a value, never a crash") {
  TestPython::get().exec(
      "class Clear:\n"
      "  def __init__(self, target): self.target = target\n"
      "  def __str__(self):\n    self.target.clear()\n    return 'cleared'\n"
      "class Grow(Clear):\n"
      "  def __str__(self):\n    self.target.update((i, i) for i in range(1000))\n    return 'grown'\n"
      "class Swap(Clear):\n"
      "  def __str__(self):\n"
      "    n = len(self.target)\n    self.target.clear()\n    self.target.update((i, i) for i in range(n))\n"
      "    return 'swapped'\n"
      "def listed():\n  value = []\n  value.extend([Clear(value), 'x', 'y'])\n  return value\n"
      "def mapped(cls, n=3):\n  value = {}\n  value['first'] = cls(value)\n"
      "  value.update((str(i), object()) for i in range(n))\n  return value\n");
  CHECK(error_of("listed()").starts_with("RuntimeError: list changed size"));
  CHECK(error_of("mapped(Clear)").starts_with("RuntimeError: dict changed size"));
  CHECK(error_of("mapped(Grow)").starts_with("RuntimeError: dict changed size"));
  for (int i = 0; i < 100; ++i) static_cast<void>(encode("mapped(Swap, 20)"));
  CHECK(error_of("[1]").empty());
}

TEST_CASE("encode: a value past the limit stops early") {
  auto& python = TestPython::get();
  python.exec(
      "asked = 0\n"
      "class Counted:\n  def __str__(self):\n    global asked\n    asked += 1\n    return 'x' * 100\n"
      "doubled = 'x'\nfor _ in range(40): doubled = [doubled, doubled]\n");
  for (const char* expression : {"[Counted()] * 1000", "doubled", "10**100000", "b'x' * 100000"}) {
    TermWriter out(1000);
    AnnouncedAtoms atoms;
    auto value = python.eval(expression);
    CHECK(encode_term(value.get(), out, {}, python.types(), atoms));
    CHECK(out.overflowed());
    CHECK(out.size() <= 1000);
  }
  CHECK(python.equal(python.eval("asked < 20"), python.eval("True")));
}

TEST_CASE("encode: no reference is lost or kept") {
  auto& python = TestPython::get();
  python.exec("import sys\nclass Probe: pass\nprobe = Probe()\nwhole = [probe, (probe,), {'k': probe}, {probe}]\n");
  const auto before = python.eval("sys.getrefcount(probe)");
  for (int i = 0; i < 10; ++i) CHECK(encode("whole").error.empty());
  CHECK(python.equal(python.eval("sys.getrefcount(probe)"), before));
  CHECK(list_of({atom_bytes("true")}) == encode("[True]").bytes);
}
