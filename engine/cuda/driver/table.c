//go:build gpu

// Local definitions of the driver's entry points, so that a binary starts on a
// machine without libcuda.so.1. Each is a jump through a slot that hatchery_load
// fills. gorgonia.org/cu calls cuInit when its package is initialised and ends
// the process if that fails; the cuInit here succeeds, and hatchery_load calls
// the real one.
#define _GNU_SOURCE
#include "calls.h"

#include <dlfcn.h>
#include <stdio.h>

// What a slot answers before the driver is loaded, and if the driver is too
// old to have the call.
static CUresult not_loaded(void) { return CUDA_ERROR_NOT_INITIALIZED; }
static CUresult too_old(void) { return CUDA_ERROR_CALL_REQUIRES_NEWER_DRIVER; }

#define HIDDEN __attribute__((visibility("hidden")))

#define X(name) HIDDEN void *slot_##name = (void *)not_loaded;
#include "symbols.h"
#undef X

#if defined(__x86_64__)
#define TYPE "@function"
#define JUMP(name) "\tjmp *slot_" #name "(%rip)\n"
#elif defined(__aarch64__)
#define TYPE "%function"
#define JUMP(name) "\tadrp x16, slot_" #name "\n\tldr x16, [x16, :lo12:slot_" #name "]\n\tbr x16\n"
#else
#error "CUDA has no driver for this processor"
#endif
#define X(name)                                                                                                \
	__asm__(".text\n.globl " #name "\n.hidden " #name "\n.type " #name "," TYPE "\n" #name ":\n" JUMP(name)     \
	        ".size " #name ", .-" #name "\n");
#include "symbols.h"
#undef X

HIDDEN CUresult cuInit(unsigned flags) {
	(void)flags;
	return CUDA_SUCCESS;
}

static const struct {
	const char *name;
	void **slot;
} table[] = {
#define X(name) {#name, &slot_##name},
#include "symbols.h"
#undef X
};

int hatchery_load(const char *path, char *text, size_t size) {
	void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (!library) {
		snprintf(text, size, "%s", dlerror());
		return -1;
	}
	int (*init)(unsigned);
	*(void **)&init = dlsym(library, "cuInit");
	if (!init) {
		snprintf(text, size, "%s has no cuInit: it is not NVIDIA's driver", path);
		return -1;
	}
	for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
		void *p = dlsym(library, table[i].name);
		*table[i].slot = p ? p : (void *)too_old;
	}
	Dl_info file;
	snprintf(text, size, "%s", dladdr(*(void **)&init, &file) && file.dli_fname ? file.dli_fname : path);
	return init(0);
}
