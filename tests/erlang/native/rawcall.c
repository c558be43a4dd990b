/* Hostile native code for the sandbox suites: makes system calls without asking anybody, so without audit events. */
#define _GNU_SOURCE
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <errno.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define CALL(name) \
  { #name, SYS_##name }
static const struct {
  const char* name;
  long number;
} calls[] = {
#ifdef SYS_open
    CALL(open),
    CALL(creat),
    CALL(unlink),
    CALL(rename),
    CALL(mkdir),
    CALL(link),
    CALL(symlink),
    CALL(chmod),
    CALL(mknod),
    CALL(fork),
    CALL(vfork),
    CALL(utime),
#endif
    CALL(openat),
    CALL(unlinkat),
    CALL(renameat2),
    CALL(mkdirat),
    CALL(linkat),
    CALL(symlinkat),
    CALL(truncate),
    CALL(fchmod),
    CALL(fchmodat),
    CALL(fchown),
    CALL(utimensat),
    CALL(mknodat),
    CALL(setxattr),
    CALL(fsetxattr),
    CALL(clone),
    CALL(clone3),
    CALL(execve),
    CALL(execveat),
    CALL(kill),
    CALL(tkill),
    CALL(tgkill),
    CALL(rt_sigqueueinfo),
    CALL(pidfd_send_signal),
    CALL(pidfd_open),
    CALL(ptrace),
    CALL(process_vm_writev),
    CALL(socket),
    CALL(socketpair),
    CALL(connect),
    CALL(bind),
    CALL(listen),
    CALL(sendto),
    CALL(sendmsg),
    CALL(mount),
    CALL(unshare),
    CALL(setns),
    CALL(chroot),
    CALL(bpf),
    CALL(perf_event_open),
    CALL(userfaultfd),
    CALL(keyctl),
    CALL(io_uring_setup),
    CALL(init_module),
    CALL(reboot),
    CALL(kexec_load),
    CALL(prlimit64),
    CALL(setpriority),
    CALL(sched_setaffinity),
    CALL(ioprio_set),
    CALL(setuid),
    CALL(setgroups),
    CALL(capset),
    CALL(clock_settime),
    CALL(sethostname),
    CALL(shmget),
    CALL(mq_unlink),
    CALL(setpgid),
    CALL(setsid),
    CALL(ioctl),
    CALL(fcntl),
    CALL(personality),
    CALL(open_by_handle_at),
    CALL(getpid),
    /* Newer than the headers here. */
    {"openat2", 437},
    {"fchmodat2", 452},
    {"setxattrat", 463},
    {"file_setattr", 469},
    {"from_the_future", 590},
#ifdef __x86_64__
    {"x32_execve", 0x40000000 + 520},
#endif
};

/* raw(name, *arguments): int, bytes (its address) or None (0). Raises the OSError of errno. */
static PyObject* raw(PyObject* self, PyObject* args) {
  (void)self;
  long values[6] = {0};
  const char* name = PyUnicode_AsUTF8(PyTuple_GetItem(args, 0));
  if (name == NULL) return NULL;
  for (Py_ssize_t i = 1; i < PyTuple_Size(args) && i <= 6; ++i) {
    PyObject* item = PyTuple_GetItem(args, i);
    if (PyBytes_Check(item))
      values[i - 1] = (long)PyBytes_AsString(item);
    else if (PyLong_Check(item))
      values[i - 1] = (long)PyLong_AsUnsignedLongMask(item);
  }
  for (size_t i = 0; i < sizeof calls / sizeof calls[0]; ++i) {
    if (strcmp(calls[i].name, name) != 0) continue;
    errno = 0;
    const long result = syscall(calls[i].number, values[0], values[1], values[2], values[3], values[4], values[5]);
    if (result == -1) return PyErr_SetFromErrno(PyExc_OSError);
    return PyLong_FromLong(result);
  }
  return PyErr_Format(PyExc_NotImplementedError, "%s is not a call of this architecture", name);
}

/* The way into the kernel that 32-bit programs take, where the numbers are others. 20 is getpid. */
static PyObject* compat_getpid(PyObject* self, PyObject* unused) {
  (void)self;
  (void)unused;
#ifdef __x86_64__
  long result = 20;
  __asm__ volatile("int $0x80" : "+a"(result) : : "memory", "r8", "r9", "r10", "r11");
  if ((int)result < 0) {
    errno = -(int)result;
    return PyErr_SetFromErrno(PyExc_OSError);
  }
  return PyLong_FromLong(result);
#else
  return PyErr_Format(PyExc_NotImplementedError, "not on this architecture");
#endif
}

static PyMethodDef methods[] = {
    {"raw", raw, METH_VARARGS, NULL}, {"compat_getpid", compat_getpid, METH_NOARGS, NULL}, {NULL, NULL, 0, NULL}};
static PyModuleDef_Slot slots[] = {
#if PY_VERSION_HEX >= 0x030C0000
    {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
#endif
    {0, NULL}};
static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "rawcall", NULL, 0, methods, slots, NULL, NULL, NULL};
PyMODINIT_FUNC PyInit_rawcall(void);
PyMODINIT_FUNC PyInit_rawcall(void) { return PyModuleDef_Init(&definition); }
