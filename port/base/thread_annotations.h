#pragma once

// Which lock protects what, for clang's thread safety analysis (-Wthread-safety; `tools/check locks`). Other compilers
// see nothing. https://clang.llvm.org/docs/ThreadSafetyAnalysis.html

#if defined(__clang__)
#define ERLANG_PYTHON_THREAD_ANNOTATION(x) __attribute__((x))
#else
#define ERLANG_PYTHON_THREAD_ANNOTATION(x)
#endif

/// A class whose objects are locks.
#define CAPABILITY(name) ERLANG_PYTHON_THREAD_ANNOTATION(capability(name))
/// A class whose objects hold a lock as long as they live.
#define SCOPED_CAPABILITY ERLANG_PYTHON_THREAD_ANNOTATION(scoped_lockable)
/// A member that is touched with this lock held only.
#define GUARDED_BY(lock) ERLANG_PYTHON_THREAD_ANNOTATION(guarded_by(lock))
/// A function that is called with these locks held, or without.
#define REQUIRES(...) ERLANG_PYTHON_THREAD_ANNOTATION(requires_capability(__VA_ARGS__))
#define EXCLUDES(...) ERLANG_PYTHON_THREAD_ANNOTATION(locks_excluded(__VA_ARGS__))
/// A function that takes or gives back these locks; its own when there are none.
#define ACQUIRE(...) ERLANG_PYTHON_THREAD_ANNOTATION(acquire_capability(__VA_ARGS__))
#define TRY_ACQUIRE(...) ERLANG_PYTHON_THREAD_ANNOTATION(try_acquire_capability(__VA_ARGS__))
#define RELEASE(...) ERLANG_PYTHON_THREAD_ANNOTATION(release_capability(__VA_ARGS__))
/// A function in whose body nothing is checked; a sentence beside it says why it is right.
#define NO_THREAD_SAFETY_ANALYSIS ERLANG_PYTHON_THREAD_ANNOTATION(no_thread_safety_analysis)
