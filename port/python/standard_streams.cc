#include "python/standard_streams.h"

#include <utility>

namespace erlang_python {

bool StandardStreams::keep() {
  if (kept()) return true;
  auto found = std::make_shared<Kept>();
  const auto sys = PyRef::steal(PyImport_ImportModule("sys"));
  found->variables = PyRef::borrow(sys ? PyModule_GetDict(sys.get()) : nullptr);
  if (!found->variables) return false;
  const std::array names{"stdin", "stdout", "stderr"};
  for (std::size_t i = 0; i < names.size(); ++i) {
    found->names.at(i) = PyRef::steal(PyUnicode_InternFromString(names.at(i)));
    if (!found->names.at(i)) return false;
    found->files.at(i) = PyRef::borrow(PyDict_GetItemWithError(found->variables.get(), found->names.at(i).get()));
    if (!found->files.at(i)) return PyErr_Occurred() == nullptr;  // Python runs without it
  }
  // Another context of the interpreter may have been faster: importing runs Python code.
  const MutexLock lock(mu_);
  if (!kept_) kept_ = std::move(found);
  return true;
}

void StandardStreams::forget() {
  std::shared_ptr<const Kept> forgotten;  // goes without the lock: the end of a file runs Python code
  const MutexLock lock(mu_);
  forgotten = std::exchange(kept_, nullptr);
}

void StandardStreams::renew() {
  if (const auto kept = this->kept()) put(*kept, kept->files);
}

StandardStreams::Files StandardStreams::files_in(const Kept& kept) {
  Files files;
  for (std::size_t i = 0; i < files.size(); ++i) {
    files.at(i) = PyRef::borrow(PyDict_GetItemWithError(kept.variables.get(), kept.names.at(i).get()));
    if (!files.at(i)) PyErr_Clear();
  }
  return files;
}

bool StandardStreams::are_there(const Kept& kept, const Files& files) {
  for (std::size_t i = 0; i < files.size(); ++i) {
    PyObject* const file = PyDict_GetItemWithError(kept.variables.get(), kept.names.at(i).get());
    if (file == nullptr) PyErr_Clear();
    if (file != files.at(i).get()) return false;
  }
  return true;
}

void StandardStreams::put(const Kept& kept, const Files& files) {
  if (are_there(kept, files)) return;
  for (std::size_t i = 0; i < files.size(); ++i) {
    PyObject* const name = kept.names.at(i).get();
    // What was there may run Python code when it goes.
    const int done = files.at(i) ? PyDict_SetItem(kept.variables.get(), name, files.at(i).get())
                                 : PyDict_DelItem(kept.variables.get(), name);
    if (done != 0) PyErr_Clear();
  }
}

void StandardStreams::Steps::begin(StandardStreams& streams, bool in_request) {
  if (depth_++ > 0) return;
  in_request_ = in_request;
  alone_ = streams.users_.fetch_add(1) == (in_request ? 1 : 0);
  const auto kept = streams.kept();
  if (!kept) return;
  if (own_) {
    before_ = files_in(*kept);
    put(*kept, *own_);
  } else if (alone_ && !in_request) {
    put(*kept, kept->files);
  }
}

void StandardStreams::Steps::end(StandardStreams& streams, bool goes_on) {
  if (--depth_ > 0) return;
  const bool last = streams.users_.fetch_sub(1) == (in_request_ ? 2 : 1);
  const auto kept = streams.kept();
  if (!kept) return;
  // Beside others nobody knows whose it is.
  const bool knows = alone_ || own_;
  const auto before = std::exchange(before_, std::nullopt);
  const auto was_own = std::exchange(own_, std::nullopt);
  if (knows && goes_on && !are_there(*kept, kept->files)) own_ = files_in(*kept);
  if (last) {
    put(*kept, kept->files);
  } else if (before) {
    put(*kept, *before);
  }
}

bool StandardStreams::Steps::redirects(StandardStreams& streams) const {
  if (depth_ == 0 || !(alone_ || own_)) return false;
  const auto kept = streams.kept();
  return kept && !are_there(*kept, kept->files);
}

}  // namespace erlang_python
