#pragma once

#include <memory>

#include "context/ticket.h"

namespace erlang_python {

/// Adds the class `Ticket` and the context variable `scope` to the module `_erlang`. False with a Python error set.
bool add_ticket_type(PyObject* module);

/// A Python object for a ticket; null with a Python error set.
PyRef make_ticket_object(std::shared_ptr<Ticket> ticket);

/// The ticket that such an object is for.
std::shared_ptr<Ticket> ticket_of_object(PyObject* object);

/// The ticket of the code that runs in this contextvars.Context (null: in none). With a GIL.
std::shared_ptr<Ticket> ticket_in(PyObject* module, PyObject* context);

/// The ticket whose code the calling thread runs, by the context variable `scope`; null for none.
Ticket* current_ticket(PyObject* module);

}  // namespace erlang_python
