#include "callback/asking.h"

#include "callback/guest_waiter.h"
#include "conversion/decode.h"

namespace erlang_python {
namespace {

// Room for the header of the frame, and for a list whose elements fit.
constexpr std::size_t kHeaderBytes = 4096;

/// Of a str; nullopt with UnicodeEncodeError set for one that is no UTF-8.
std::optional<std::string_view> text_of(PyObject* name) {
  Py_ssize_t size = 0;
  const char* text = PyUnicode_AsUTF8AndSize(name, &size);
  if (text == nullptr) return std::nullopt;
  return std::string_view(text, static_cast<std::size_t>(size));
}

void set_unknown(const PythonTypes& types, PyObject* function) {
  auto error = PyRef::steal(PyObject_CallOneArg(types.unknown_function.get(), function));
  if (error) PyErr_SetObject(types.unknown_function.get(), error.get());
}

void set_ending(const PythonTypes& types) {
  PyErr_SetString(types.erlang_error.get(),
                  "Erlang cannot be called any more: the pool is being stopped, and Python is at its end "
                  "(pool option shutdown_grace)");
}

/// False with a Python error set when there is no such function.
bool check_function(const Asker& asker, const Callee& callee) {
  if (asker.link.callbacks.closed()) {
    set_ending(asker.types);
    return false;
  }
  if (callee.system) return true;
  const auto name = text_of(callee.name);
  if (!name) return false;
  if (asker.link.callbacks.is_registered(*name)) return true;
  set_unknown(asker.types, callee.name);
  return false;
}

bool write_call(const Asker& asker, std::uint64_t chain, const Callee& callee, PyObject* const* arguments,
                std::size_t count, CallbackFrame& frame) {
  TermWriter& out = frame.out;
  const RequestScope* scope = asker.scope;
  const bool caller = scope != nullptr && !scope->caller.empty();
  begin_notice(out, Notice::kCallback, 6);
  out.integer(scope != nullptr ? scope->context : asker.context);
  out.integer(static_cast<std::int64_t>(frame.id));
  out.integer(static_cast<std::int64_t>(chain));
  // What it asks for in the shared namespace is done in that of its process, as any other.
  out.integer(static_cast<std::int64_t>(scope != nullptr && scope->env != kSharedEnv ? scope->env : kNoEnv));
  if (caller) {
    out.raw(scope->caller);
  } else {
    out.atom("none");
  }
  if (callee.system) {
    out.integer(static_cast<std::int64_t>(*callee.system));
  } else {
    const auto name = text_of(callee.name);
    if (!name) return false;
    out.binary(*name);
  }
  frame.payload_start = out.size();
  if (!callee.system || *callee.system > SystemFunction::kLastInline) out.put_large_into(asker.link.segments);
  out.version();
  out.list_header(count);
  const EncodeOptions encoding{.none = asker.link.config.none_as};
  for (std::size_t i = 0; i < count; ++i) {
    if (!encode_term(arguments[i], out, encoding, asker.types, asker.link.atoms)) return false;
  }
  if (count > 0) out.nil();
  if (!out.overflowed()) return true;
  const Excess excess = out.excess(frame.payload_start, kHeaderBytes);
  PyErr_Format(
      PyExc_ValueError,
      "the arguments of the Erlang function %R take %zu bytes, more than %zu (max_frame_bytes, max_term_bytes)",
      callee.name, excess.bytes, excess.max_bytes);
  return false;
}

void send_call(const Asker& asker, const Callee& callee, CallbackFrame frame) {
  asker.link.calls.send(std::move(frame), asker.scope != nullptr ? asker.scope->nesting : 0, callee.system.has_value());
}

/// {error, Class, Reason, Text, Stack}, the arity and the first element read already.
void set_erlang_error(TermReader& body, const PythonTypes& types, PyObject* function) {
  const auto error_class = body.read_atom();
  const auto before_reason = body.position();
  auto reason = decode_term(body, types);
  if (!reason) {
    // Python cannot hold it: the text says what it was.
    PyErr_Clear();
    body.rewind(before_reason);
    static_cast<void>(body.skip_deep());
    reason = PyRef::borrow(Py_None);
  }
  auto text = decode_term(body, types);
  auto stack = text ? decode_term(body, types) : PyRef();
  if (!error_class || !stack) {
    if (PyErr_Occurred() == nullptr) PyErr_SetString(PyExc_SystemError, "a malformed answer from Erlang");
    return;
  }
  auto error = PyRef::steal(PyObject_CallFunction(types.erlang_error.get(), "Os#OOO", function, error_class->data(),
                                                  static_cast<Py_ssize_t>(error_class->size()), reason.get(),
                                                  text.get(), stack.get()));
  if (error) PyErr_SetObject(types.erlang_error.get(), error.get());
}

/// A list of which nothing may be missing: an element that Python cannot hold is an erlang.Term, which is itself again
/// in Erlang.
PyRef decode_elements(TermReader& body, const PythonTypes& types) {
  const auto count = body.read_list_header();
  auto list = count ? PyRef::steal(PyList_New(0)) : PyRef();
  for (std::size_t i = 0; list && i < *count; ++i) {
    const auto before = body.position();
    auto element = decode_term(body, types);
    if (!element && PyErr_ExceptionMatches(types.conversion_error.get()) != 0) {
      body.rewind(before);
      const auto etf = body.skip();
      if (!etf) return {};  // too deep for a Term as well
      PyErr_Clear();
      element = PyRef::steal(PyObject_CallFunction(types.term.get(), "y#", reinterpret_cast<const char*>(etf->data()),
                                                   static_cast<Py_ssize_t>(etf->size())));
    }
    if (!element || PyList_Append(list.get(), element.get()) != 0) return {};
  }
  return list;
}

PyRef decode_value(TermReader& body, const PythonTypes& types, const Callee& callee) {
  const auto before = body.position();
  auto value = decode_term(body, types);
  if (value || callee.system != SystemFunction::kStateKeys ||
      PyErr_ExceptionMatches(types.conversion_error.get()) == 0) {
    return value;
  }
  PyErr_Clear();
  body.rewind(before);
  return decode_elements(body, types);
}

/// While it lives, the calling thread has a scope: of a chain of its own, for no Erlang process.
class ScopeOfThread {
 public:
  ScopeOfThread(const Asker& asker, GuestWaiter& waiter)
      : scope_{asker.context, 0, asker.link.callbacks.new_chain(), {}, &waiter} {
    set_current_scope(&scope_);
  }
  RequestScope* get() { return &scope_; }
  ~ScopeOfThread() { set_current_scope(nullptr); }
  ScopeOfThread(const ScopeOfThread&) = delete;
  ScopeOfThread& operator=(const ScopeOfThread&) = delete;

 private:
  RequestScope scope_;
};

PyRef ask_in_scope(const Asker& asker, const Callee& callee, PyObject* const* arguments, std::size_t count) {
  RequestScope& scope = *asker.scope;
  CallbackWaiter& waiter = *scope.waiter;
  const std::uint64_t chain = waiter.chain_of(scope, true);
  const std::uint64_t id = waiter.new_id(scope);
  CallbackFrame frame{id, TermWriter(asker.link.config.term_limits(kHeaderBytes)), 0};
  if (!write_call(asker, chain, callee, arguments, count, frame)) {
    waiter.drop_id(id);
    return {};
  }
  send_call(asker, callee, std::move(frame));
  const auto answer = waiter.await_result(id, chain);
  if (answer) return read_answer(*answer, asker.types, callee);
  asker.link.calls.abandon(id);
  return {};
}

}  // namespace

std::optional<Callee> registered_function(PyObject* name) {
  if (PyUnicode_Check(name) != 0) return Callee{name, std::nullopt};
  PyErr_Format(PyExc_TypeError, "an Erlang function is named by a str, not by %s", Py_TYPE(name)->tp_name);
  return std::nullopt;
}

PyRef ask(const Asker& asker, const Callee& callee, PyObject* const* arguments, std::size_t count) {
  if (!check_function(asker, callee)) return {};
  if (asker.scope != nullptr) return ask_in_scope(asker, callee, arguments, count);
  GuestWaiter waiter(asker);
  ScopeOfThread scope(asker, waiter);
  return ask_in_scope({asker.link, asker.types, asker.context, scope.get()}, callee, arguments, count);
}

Asked ask_later(const Asker& asker, const Callee& callee, PyObject* const* arguments, std::size_t count,
                std::shared_ptr<Inbox> inbox) {
  Callbacks& callbacks = asker.link.callbacks;
  if (!check_function(asker, callee)) return {};
  RequestScope* const scope = asker.scope;
  const std::uint64_t chain = scope != nullptr ? scope->waiter->chain_of(*scope, false) : callbacks.new_chain();
  const bool in_context = scope != nullptr && scope->waiter->in_context();
  const std::uint64_t id = in_context ? callbacks.begin_in(std::move(inbox))
                                      : callbacks.begin_in_thread(std::move(inbox), chain, asker.context);
  CallbackFrame frame{id, TermWriter(asker.link.config.term_limits(kHeaderBytes)), 0};
  if (!write_call(asker, chain, callee, arguments, count, frame)) {
    callbacks.forget(id);
    return {};
  }
  send_call(asker, callee, std::move(frame));
  return {id, chain};
}

PyRef read_answer(const Answer& answer, const PythonTypes& types, const Callee& callee) {
  if (answer.frame.size() == 0) {
    set_ending(types);
    return {};
  }
  TermReader body(answer.frame.bytes(), answer.frame.segments());
  body.rewind(answer.body);
  const auto arity = body.read_tuple_header();
  const auto kind = body.read_atom();
  if (arity == std::size_t{2} && kind == "ok") return decode_value(body, types, callee);
  if (arity == std::size_t{5} && kind == "error") {
    set_erlang_error(body, types, callee.name);
  } else if (!arity && kind == "unregistered") {
    set_unknown(types, callee.name);
  } else {
    PyErr_SetString(PyExc_SystemError, "a malformed answer from Erlang");
  }
  return {};
}

}  // namespace erlang_python
