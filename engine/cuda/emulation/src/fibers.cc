// The fibers that run the threads of a block. They are in a separate library, which
// those of emulated kernels need.
#include "emulated.h"
#undef threadIdx
#undef blockIdx
#undef blockDim
#undef gridDim

#include <sys/mman.h>
#include <unistd.h>
#if !defined(__x86_64__)
#include <ucontext.h>
#endif
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace emulation {

Block block;
Fiber *fiber;
bool late;

#if defined(__SANITIZE_ADDRESS__)
static const size_t stack_bytes = 512 << 10; // frames grow by their red zones
#else
static const size_t stack_bytes = 128 << 10;
#endif

static const std::function<void()> *body;
static std::vector<char *> stacks;
static void *scheduler; // where it goes on when a fiber yields

// Tells ASan about a change of stacks; does nothing without ASan.
#if defined(__SANITIZE_ADDRESS__)
static const void *scheduler_bottom;
static size_t scheduler_size;
static void *scheduler_fake;
static thread_local void *fiber_fake;
static void leaving_to_fiber(char *stack) { __sanitizer_start_switch_fiber(&scheduler_fake, stack, stack_bytes); }
static void back_in_scheduler() { __sanitizer_finish_switch_fiber(scheduler_fake, nullptr, nullptr); }
static void leaving_to_scheduler(void **fake) { __sanitizer_start_switch_fiber(fake, scheduler_bottom, scheduler_size); }
static void back_in_fiber(void *fake) { __sanitizer_finish_switch_fiber(fake, &scheduler_bottom, &scheduler_size); }
static void fresh(char *stack) { __asan_unpoison_memory_region(stack, stack_bytes); }
#else
static void leaving_to_fiber(char *) {}
static void back_in_scheduler() {}
static void leaving_to_scheduler(void **) {}
static void back_in_fiber(void *) {}
static void fresh(char *) {}
#endif

static void entry();

#if defined(__x86_64__)
// emulation_switch saves the registers that a callee must keep and the stack
// pointer at *save, and continues at the stack pointer to.
extern "C" void emulation_switch(void **save, void *to);
__asm__(".text\n.globl emulation_switch\n.hidden emulation_switch\n.type emulation_switch,@function\nemulation_switch:\n"
        "\tpush %rbp\n\tpush %rbx\n\tpush %r12\n\tpush %r13\n\tpush %r14\n\tpush %r15\n"
        "\tmov %rsp,(%rdi)\n\tmov %rsi,%rsp\n"
        "\tpop %r15\n\tpop %r14\n\tpop %r13\n\tpop %r12\n\tpop %rbx\n\tpop %rbp\n\tret\n"
        ".size emulation_switch, .-emulation_switch\n");

static void *begin(char *stack) {
	void **sp = (void **)(stack + stack_bytes - 16);
	*--sp = nullptr; // as if entry had been called: the stack is aligned that way
	*--sp = (void *)entry;
	for (int i = 0; i < 6; i++) *--sp = nullptr;
	return sp;
}
static void enter(Fiber &f) { emulation_switch(&scheduler, f.sp); }
static void leave(Fiber &f) { emulation_switch(&f.sp, scheduler); }
#else
static std::vector<ucontext_t *> contexts;
static ucontext_t home;
static void *begin(char *stack) {
	ucontext_t *c = new ucontext_t;
	getcontext(c);
	c->uc_stack.ss_sp = stack;
	c->uc_stack.ss_size = stack_bytes;
	c->uc_link = nullptr;
	makecontext(c, entry, 0);
	contexts.push_back(c);
	return c;
}
static void enter(Fiber &f) { swapcontext(&home, (ucontext_t *)f.sp); }
static void leave(Fiber &f) { swapcontext((ucontext_t *)f.sp, &home); }
#endif

void yield() {
	void *fake = nullptr;
	leaving_to_scheduler(&fake);
	leave(*fiber);
	back_in_fiber(fake);
}

// fail ends the launch; it does not return.
void fail(const char *why) {
	block.failure = why;
	for (;;) yield();
}

// release resumes the threads that wait at a barrier, if none is missing.
static void release() {
	if (block.live == 0 || block.arrived < block.live) return;
	block.arrived = 0;
	block.result = block.votes;
	block.votes = 0;
	block.generation++;
	block.progress = true;
}

int vote(int predicate) {
	unsigned now = block.generation;
	block.arrived++;
	block.votes += predicate;
	release();
	fiber->waits = "__syncthreads";
	while (block.generation == now) yield();
	fiber->waits = nullptr;
	return block.result;
}

void barrier(const char *) { vote(0); }

Rendezvous *meet(unsigned mask, const char *what) {
	Warp &w = block.warps[fiber->warp];
	if (!(mask >> fiber->lane & 1)) fail("a lane calls a warp-collective function with a mask that does not name it");
	Rendezvous *r = nullptr;
	for (Rendezvous *m : w.meetings)
		if (m->mask == mask) r = m;
	if (!r) {
		r = new Rendezvous();
		r->mask = mask;
		w.meetings.push_back(r);
	}
	if (r->arrived == 0) r->what = what;
	else if (r->what != what && strcmp(r->what, what)) fail("lanes of a warp are at different warp-collective calls");
	return r;
}

// settle begins the next generation of a meeting when no lane is missing. A
// thread that has returned does not count.
static void settle(Warp &w, Rendezvous *r) {
	if (r->arrived == 0 || (r->arrived | ~r->mask | ~w.exists | w.exited) != 0xffffffffu) return;
	r->arrived = 0;
	r->generation++;
	block.progress = true;
}

void await(Rendezvous *r, unsigned visit) {
	r->arrived |= 1u << fiber->lane;
	settle(block.warps[fiber->warp], r);
	fiber->waits = r->what;
	while (r->generation == visit) yield();
	fiber->waits = nullptr;
}

static void perform(const Copy &c) {
	memcpy(c.dst, c.src, c.bytes);
	memset((char *)c.dst + c.bytes, 0, c.zeros);
}

void copy_async(void *dst, const void *src, int bytes, int zeros) {
	int all = bytes + zeros;
	if (((uintptr_t)dst | (bytes ? (uintptr_t)src : 0)) & (all - 1)) fail("cp.async of an address that is not aligned to its size");
	Copy c = {dst, src, bytes, zeros, fiber->group};
	if (late) fiber->copies.push_back(c);
	else perform(c);
}

void copy_commit() { fiber->group++; }

void copy_wait(int groups) {
	auto &q = fiber->copies;
	size_t n = 0;
	while (n < q.size() && q[n].group < fiber->group - groups) perform(q[n++]);
	q.erase(q.begin(), q.begin() + n);
}

static void entry() {
	back_in_fiber(nullptr);
	(*body)();
	Fiber *f = fiber;
	f->done = true;
	block.live--;
	block.progress = true;
	release();
	Warp &w = block.warps[f->warp];
	w.exited |= 1u << f->lane;
	for (Rendezvous *r : w.meetings) settle(w, r);
	for (;;) yield();
}

// run_warp runs each thread of a warp until it has to wait, and returns whether any
// made progress.
static bool run_warp(int first, int threads, bool backward) {
	block.progress = false;
	for (int i = 0; i < threads && !block.failure; i++) {
		int k = first + (backward ? threads - 1 - i : i);
		fiber = &block.fibers[k];
		if (fiber->done) continue;
		leaving_to_fiber(stacks[k]);
		enter(*fiber);
		back_in_scheduler();
	}
	return block.progress && !block.failure;
}

// run_block runs each warp as far as possible before the next one. So if a barrier
// between two warps is missing, one runs too early in one of the orders.
static void run_block(int threads, bool backward) {
	block.live = threads;
	block.arrived = block.votes = 0;
	block.generation = 0;
	for (Warp &w : block.warps) {
		w.exited = 0;
		for (Rendezvous *r : w.meetings) {
			r->arrived = r->generation = 0;
			memset(r->visits, 0, sizeof r->visits);
		}
	}
	for (int i = 0; i < threads; i++) {
		Fiber &f = block.fibers[i];
		f.done = false;
		f.waits = nullptr;
		f.copies.clear();
		f.group = 0;
		fresh(stacks[i]);
		f.sp = begin(stacks[i]);
	}
	while (block.live && !block.failure) {
		bool progress = false;
		for (int first = backward ? (threads - 1) / 32 * 32 : 0; first >= 0 && first < threads; first += backward ? -32 : 32)
			while (run_warp(first, std::min(32, threads - first), backward)) progress = true;
		if (!progress && block.live && !block.failure) block.failure = "deadlock: a barrier that not all threads reach";
	}
}

// report prints where a launch went wrong.
static const char *report() {
	static char text[512];
	int n = snprintf(text, sizeof text, "%s, in block (%u,%u,%u)", block.failure, block.index.x, block.index.y, block.index.z);
	for (Fiber &f : block.fibers)
		if (!f.done && f.waits && n < (int)sizeof text)
			return snprintf(text + n, sizeof text - n, "; thread (%u,%u,%u) waits at %s", f.tid.x, f.tid.y, f.tid.z, f.waits), text;
	return text;
}

const char *launch(dim3 grid, dim3 size, size_t shared, const std::function<void()> &kernel, void (*poison)()) {
	const char *order = getenv("HATCHERY_EMULATION_ORDER");
	bool backward = order && !strcmp(order, "backward");
	late = !backward;
	int threads = size.x * size.y * size.z;
	long page = sysconf(_SC_PAGESIZE);
	while ((int)stacks.size() < threads) {
		char *s = (char *)mmap(nullptr, stack_bytes + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (s == MAP_FAILED) return "no memory for the stacks of threads";
		mprotect(s, page, PROT_NONE); // an overflow is a fault, not a surprise
		stacks.push_back(s + page);
	}
	body = &kernel;
	block.size = size;
	block.grid = grid;
	block.failure = nullptr;
	block.fibers.resize(threads);
	for (Warp &w : block.warps)
		for (Rendezvous *r : w.meetings) delete r;
	block.warps.assign((threads + 31) / 32, Warp());
	for (int i = 0; i < threads; i++) {
		Fiber &f = block.fibers[i];
		f.tid = dim3(i % size.x, i / size.x % size.y, i / (size.x * size.y));
		f.warp = i / 32;
		f.lane = i % 32;
		block.warps[f.warp].exists |= 1u << f.lane;
	}
	// Of exactly the size that was asked for, so that ASan sees what is beyond.
	unsigned char *dynamic = (unsigned char *)aligned_alloc(128, (shared + 127) / 128 * 128 + 128);
	block.dynamic = dynamic;
#if defined(__SANITIZE_ADDRESS__)
	__asan_poison_memory_region(dynamic + shared, (shared + 127) / 128 * 128 + 128 - shared);
#endif
	for (unsigned z = 0; z < grid.z && !block.failure; z++)
		for (unsigned y = 0; y < grid.y && !block.failure; y++)
			for (unsigned x = 0; x < grid.x && !block.failure; x++) {
				block.index = dim3(x, y, z);
				memset(dynamic, 0xff, shared); // NaN, as float and as bf16
				if (backward) poison();
				run_block(threads, backward);
			}
#if defined(__SANITIZE_ADDRESS__)
	__asan_unpoison_memory_region(dynamic, (shared + 127) / 128 * 128 + 128);
#endif
	free(dynamic);
#if !defined(__x86_64__)
	for (ucontext_t *c : contexts) delete c;
	contexts.clear();
#endif
	return block.failure ? report() : nullptr;
}

} // namespace emulation
