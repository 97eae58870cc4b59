// A stand-in for libcuda.so.1: device memory is host memory, and kernels come from
// libraries that g++ compiled from the same sources.
//
// A stream is a queue. Its work does not run until the program waits for it, and
// then no more runs than necessary: a program that forgets to wait reads old data.
// A captured graph records dependencies and replays its nodes in the order of
// capture, or with HATCHERY_EMULATION_ORDER=backward in the most different order
// that the dependencies allow. Calls that are not allowed during a capture fail as
// on a device and end the capture.
//
// Times are fixed, so that a program that decides by timing always decides the same:
// work takes 1 us, or the time in HATCHERY_EMULATION_TIMES, a list such as
// "gelu_*=30,product/sum_a/*=900". The first pattern that matches the name counts:
// that of a kernel, "copy", "clear", or that of a product (see blas.cc).
// Work whose name matches HATCHERY_EMULATION_FAULT fails like a kernel with a wrong
// address.
#include "fake.h"

#include <dlfcn.h>
#include <fnmatch.h>
#include <link.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>

#include "emulated.h"
#undef threadIdx
#undef blockIdx
#undef blockDim
#undef gridDim

// The values of CUresult that occur here.
enum {
	success = 0,
	invalid_value = 1,
	out_of_memory = 2,
	not_initialized = 3,
	invalid_device = 101,
	invalid_image = 200,
	invalid_context = 201,
	invalid_ptx = 218,
	invalid_handle = 400,
	not_found = 500,
	not_ready = 600,
	launch_out_of_resources = 701,
	context_active = 708,
	launch_failed = 719,
	capture_unsupported = 900,
	capture_invalidated = 901,
	capture_unmatched = 903,
	capture_unjoined = 904,
	capture_isolation = 905,
	captured_event = 907,
	capture_wrong_thread = 908,
};

static const struct { int code; const char *name, *text; } errors[] = {
    {success, "CUDA_SUCCESS", "no error"},
    {invalid_value, "CUDA_ERROR_INVALID_VALUE", "invalid argument"},
    {out_of_memory, "CUDA_ERROR_OUT_OF_MEMORY", "out of memory"},
    {not_initialized, "CUDA_ERROR_NOT_INITIALIZED", "initialization error"},
    {100, "CUDA_ERROR_NO_DEVICE", "no CUDA-capable device is detected"},
    {invalid_device, "CUDA_ERROR_INVALID_DEVICE", "invalid device ordinal"},
    {invalid_image, "CUDA_ERROR_INVALID_IMAGE", "device kernel image is invalid"},
    {invalid_context, "CUDA_ERROR_INVALID_CONTEXT", "invalid device context"},
    {invalid_ptx, "CUDA_ERROR_INVALID_PTX", "a PTX JIT compilation failed"},
    {invalid_handle, "CUDA_ERROR_INVALID_HANDLE", "invalid resource handle"},
    {not_found, "CUDA_ERROR_NOT_FOUND", "named symbol not found"},
    {not_ready, "CUDA_ERROR_NOT_READY", "device not ready"},
    {launch_out_of_resources, "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES", "too many resources requested for launch"},
    {context_active, "CUDA_ERROR_PRIMARY_CONTEXT_ACTIVE", "primary context for this device has been initialized"},
    {launch_failed, "CUDA_ERROR_LAUNCH_FAILED", "unspecified launch failure"},
    {capture_unsupported, "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED", "operation not permitted when stream is capturing"},
    {capture_invalidated, "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED", "operation failed due to a previous error during capture"},
    {capture_unmatched, "CUDA_ERROR_STREAM_CAPTURE_UNMATCHED", "capture was not initiated in this stream"},
    {capture_unjoined, "CUDA_ERROR_STREAM_CAPTURE_UNJOINED", "capturing stream has unjoined work"},
    {capture_isolation, "CUDA_ERROR_STREAM_CAPTURE_ISOLATION", "dependency created on uncaptured work in another stream"},
    {captured_event, "CUDA_ERROR_CAPTURED_EVENT", "operation not permitted on an event last recorded in a capturing stream"},
    {capture_wrong_thread, "CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD", "attempt to terminate a thread-local capture sequence from another thread"},
};

typedef unsigned long long Pointer;

// Work is one piece of a stream's work. It has a name if it takes time.
struct Work {
	std::string name;
	std::function<const char *()> run; // answers nullptr, or what went wrong
	const char *operator()() const;
};

// A node of a captured graph.
struct Node {
	Work work;
	std::vector<int> after;
};

struct Graph {
	std::vector<Node> nodes;
};

struct Stream;

struct Capture {
	Stream *origin;
	Graph *graph;
	std::thread::id thread;
	std::set<Stream *> streams;
	bool broken;
};

struct Event {
	Stream *stream = nullptr; // where it was recorded last; nullptr: never, or done
	uint64_t position = 0;    // in that stream, after which it has happened
	Capture *capture = nullptr;
	std::vector<int> nodes; // of the capture, on which it depends
	bool polled = false;    // neither timed nor made for a host that sleeps (CU_EVENT_BLOCKING_SYNC)
	// When it happened, in us; shared with the stream, which may outlive the event.
	std::shared_ptr<double> when;
};

struct Stream {
	std::vector<Work> queue; // not run yet
	size_t next = 0;         // of queue
	uint64_t ran = 0;        // how many have run since the stream was made
	Capture *capture = nullptr;
	std::vector<int> tail; // nodes that what comes next depends on
};

struct Function {
	const emulation::Kernel *kernel;
	std::string name;
	int max_threads, max_shared;
};

struct Module {
	std::string text;
	std::map<std::string, std::unique_ptr<Function>> functions;
};

static std::recursive_mutex lock;
#define LOCKED std::lock_guard<std::recursive_mutex> guard(lock)
#define READY                                                                                                  \
	LOCKED;                                                                                                    \
	if (!current) return invalid_context;                                                                      \
	if (sticky) return sticky

static std::map<Pointer, size_t> device_memory, pinned_memory;
static size_t in_use;
static std::set<Stream *> streams;
static std::set<Capture *> captures;
static int sticky; // after a failed launch every call fails, as on a device
static thread_local void *current; // context of this thread
static Stream null_stream;

static bool backward() {
	const char *order = getenv("HATCHERY_EMULATION_ORDER");
	return order && !strcmp(order, "backward");
}

static size_t capacity() {
	const char *bytes = getenv("HATCHERY_EMULATION_MEMORY");
	return bytes && *bytes ? strtoull(bytes, nullptr, 10) : 8ull << 30;
}

static int count() {
	const char *n = getenv("HATCHERY_EMULATION_DEVICES");
	return n && *n ? atoi(n) : 1;
}

static double now; // us, of made-up time

// cost returns the time of work with a name, in us.
static double cost(const std::string &name) {
	const char *list = getenv("HATCHERY_EMULATION_TIMES");
	std::string times = list ? list : "";
	while (!times.empty()) {
		std::string one = times.substr(0, times.find(','));
		times.erase(0, one.size() + 1);
		size_t equals = one.find('=');
		if (equals == std::string::npos) {
			fprintf(stderr, "emulation: HATCHERY_EMULATION_TIMES: %s is not NAME=MICROSECONDS\n", one.c_str());
			continue;
		}
		if (!fnmatch(one.substr(0, equals).c_str(), name.c_str(), 0)) return atof(one.c_str() + equals + 1);
	}
	return 1;
}

const char *Work::operator()() const {
	if (!name.empty()) {
		now += cost(name);
		const char *fault = getenv("HATCHERY_EMULATION_FAULT");
		if (fault && *fault && !fnmatch(fault, name.c_str(), 0)) return "an illegal memory access, as the test asked for";
	}
	return run();
}

// inside returns whether [p, p+n) lies in one allocation.
static bool inside(const std::map<Pointer, size_t> &memory, Pointer p, size_t n) {
	auto i = memory.upper_bound(p);
	if (i == memory.begin()) return false;
	--i;
	return p - i->first <= i->second && n <= i->second - (p - i->first);
}

static int failed(const char *why) {
	fprintf(stderr, "emulation: %s\n", why);
	return sticky = launch_failed;
}

// run runs a stream's work up to a position.
static int drain(Stream *s, uint64_t position) {
	while (s->ran < position && s->next < s->queue.size()) {
		Work w = std::move(s->queue[s->next++]);
		s->ran++;
		if (const char *why = w()) return failed(why);
	}
	if (s->next == s->queue.size()) s->queue.clear(), s->next = 0;
	return sticky;
}
static uint64_t end(Stream *s) { return s->ran + (s->queue.size() - s->next); }
static int drain(Stream *s) { return drain(s, end(s)); }
static int drain_all() {
	for (Stream *s : streams)
		if (int rc = drain(s)) return rc;
	return sticky;
}

static Stream *stream(void *handle) { return handle ? (Stream *)handle : &null_stream; }

// unsafe ends the captures of this thread with an error, if there are any. It is for
// calls that are not allowed during a capture.
static bool unsafe() {
	bool any = false;
	for (Capture *c : captures)
		if (c->thread == std::this_thread::get_id()) c->broken = any = true;
	return any;
}

// broke does the same for one stream.
static bool broke(Stream *s) {
	if (s->capture) s->capture->broken = true;
	return s->capture != nullptr;
}

static int enqueue(void *handle, Work work) {
	READY;
	Stream *s = stream(handle);
	if (!s->capture) {
		s->queue.push_back(std::move(work));
		return success;
	}
	if (s->capture->broken) return capture_invalidated;
	Graph *g = s->capture->graph;
	g->nodes.push_back({std::move(work), s->tail});
	s->tail = {(int)g->nodes.size() - 1};
	return success;
}

int enqueue(void *handle, std::string name, std::function<const char *()> work) {
	return enqueue(handle, Work{std::move(name), std::move(work)});
}

bool device_range(const void *p, size_t n) {
	LOCKED;
	return inside(device_memory, (Pointer)p, n);
}

#define API extern "C" __attribute__((visibility("default"))) int

API cuInit(unsigned) {
	const char *code = getenv("HATCHERY_EMULATION_INIT"); // an error to answer
	return code ? atoi(code) : 0;
}
API cuDriverGetVersion(int *v) {
	const char *version = getenv("HATCHERY_EMULATION_VERSION");
	return *v = version ? atoi(version) : 13000, success;
}
API cuGetErrorName(int code, const char **s) {
	for (auto &e : errors)
		if (e.code == code) return *s = e.name, success;
	return *s = nullptr, invalid_value;
}
API cuGetErrorString(int code, const char **s) {
	for (auto &e : errors)
		if (e.code == code) return *s = e.text, success;
	return *s = nullptr, invalid_value;
}

API cuDeviceGetCount(int *n) { return *n = count(), success; }
API cuDeviceGet(int *d, int ordinal) { return *d = ordinal, ordinal >= 0 && ordinal < count() ? success : invalid_device; }
API cuDeviceGetName(char *s, int n, int) { return snprintf(s, n, "Emulated device"), success; }
API cuDeviceGetUuid(char *u, int d) { return memset(u, 0, 16), u[0] = 'h', u[15] = (char)d, success; }
API cuDeviceGetPCIBusId(char *s, int n, int d) { return snprintf(s, n, "0000:%02X:00.0", d + 1), success; }
API cuDeviceTotalMem_v2(size_t *n, int) { return *n = capacity(), success; }
API cuDeviceGetAttribute(int *v, int attribute, int) {
	switch (attribute) {
	case 1: *v = 1024; break;      // threads of a block
	case 8: *v = 48 << 10; break;  // shared memory of a block
	case 10: *v = 32; break;       // lanes of a warp
	case 13: *v = 1980000; break;  // clock, kHz
	case 16: *v = 132; break;      // multiprocessors
	case 36: *v = 2619000; break;  // memory clock, kHz
	case 37: *v = 5120; break;     // memory bus, bits
	case 38: *v = 1 << 20; break;  // L2, small so that emptying it is quick
	case 75: *v = 9; break;        // compute capability
	case 76: *v = 0; break;
	case 97: *v = 227 << 10; break; // shared memory of a block, opted in
	default: *v = 0;
	}
	return success;
}

// A device's primary context lives while it is retained; its flags are those that
// were set before. A failed launch breaks the context. The next context works, and
// does not run work that was left in queues.
static struct Primary {
	int retained;
	unsigned flags;
} primary[64];
API cuDevicePrimaryCtxSetFlags_v2(int d, unsigned flags) {
	LOCKED;
	if (flags > 0xff) return invalid_value;
	if (primary[d].retained && primary[d].flags != flags) return context_active;
	return primary[d].flags = flags, success;
}
API cuDevicePrimaryCtxGetState(int d, unsigned *flags, int *active) {
	LOCKED;
	return *flags = primary[d].flags, *active = primary[d].retained > 0, success;
}
API cuDevicePrimaryCtxRetain(void **c, int d) {
	LOCKED;
	primary[d].retained++;
	return *c = (void *)(uintptr_t)(d + 1), success;
}
API cuDevicePrimaryCtxRelease_v2(int d) {
	LOCKED;
	if (!primary[d].retained) return invalid_context;
	if (--primary[d].retained > 0 || !sticky) return success;
	sticky = success;
	for (Stream *s : streams) s->queue.clear(), s->next = 0;
	return success;
}
API cuCtxSetCurrent(void *c) { return current = c, success; }
API cuCtxSynchronize() {
	READY;
	if (unsafe()) return capture_unsupported;
	return drain_all();
}

API cuMemGetInfo_v2(size_t *f, size_t *t) {
	READY;
	return *t = capacity(), *f = *t - std::min(*t, in_use), success;
}
API cuMemAlloc_v2(Pointer *p, size_t n) {
	READY;
	if (unsafe()) return capture_unsupported;
	if (n == 0) return invalid_value;
	if (n > capacity() - std::min(capacity(), in_use)) return out_of_memory;
	// On its own allocation, and no rounding, so that ASan sees what is beyond.
	void *m;
	if (posix_memalign(&m, 512, n)) return out_of_memory;
	memset(m, 0xff, n); // NaN, as float and as bf16
	device_memory[*p = (Pointer)m] = n;
	in_use += n;
	return success;
}
API cuMemFree_v2(Pointer p) {
	READY;
	if (unsafe()) return capture_unsupported;
	auto i = device_memory.find(p);
	if (i == device_memory.end()) return invalid_value;
	int rc = drain_all();
	in_use -= i->second;
	device_memory.erase(i);
	free((void *)p);
	return rc;
}
API cuMemHostAlloc(void **p, size_t n, unsigned) {
	READY;
	if (unsafe()) return capture_unsupported;
	if (n == 0) return invalid_value;
	if (posix_memalign(p, 4096, n)) return out_of_memory;
	memset(*p, 0xff, n);
	pinned_memory[(Pointer)*p] = n;
	return success;
}
API cuMemFreeHost(void *p) {
	READY;
	if (unsafe()) return capture_unsupported;
	if (!pinned_memory.count((Pointer)p)) return invalid_value;
	int rc = drain_all();
	pinned_memory.erase((Pointer)p);
	free(p);
	return rc;
}

static Work copy(void *d, const void *s, size_t n) {
	return {"copy", [=]() -> const char * { return memmove(d, s, n), nullptr; }};
}
API cuMemcpyHtoDAsync_v2(Pointer d, const void *s, size_t n, void *st) {
	READY;
	if (n == 0) return success;
	if (!inside(device_memory, d, n)) return invalid_value;
	if (inside(pinned_memory, (Pointer)s, n)) return enqueue(st, copy((void *)d, s, n));
	if (broke(stream(st))) return capture_unsupported; // would keep the address
	std::string staged((const char *)s, n);
	return enqueue(st, "copy", [=]() -> const char * { return memcpy((void *)d, staged.data(), n), nullptr; });
}
API cuMemcpyDtoHAsync_v2(void *d, Pointer s, size_t n, void *st) {
	READY;
	if (n == 0) return success;
	if (!inside(device_memory, s, n)) return invalid_value;
	if (inside(pinned_memory, (Pointer)d, n)) return enqueue(st, copy(d, (void *)s, n));
	if (broke(stream(st))) return capture_unsupported;
	if (int rc = drain(stream(st))) return rc;
	return memcpy(d, (void *)s, n), success;
}
API cuMemcpyDtoDAsync_v2(Pointer d, Pointer s, size_t n, void *st) {
	READY;
	if (n == 0) return success;
	if (!inside(device_memory, d, n) || !inside(device_memory, s, n)) return invalid_value;
	return enqueue(st, copy((void *)d, (void *)s, n));
}
API cuMemsetD8Async(Pointer d, unsigned char c, size_t n, void *st) {
	READY;
	if (n == 0) return success;
	if (!inside(device_memory, d, n)) return invalid_value;
	return enqueue(st, "clear", [=]() -> const char * { return memset((void *)d, c, n), nullptr; });
}

API cuStreamCreate(void **s, unsigned) {
	READY;
	Stream *made = new Stream();
	streams.insert(made);
	return *s = made, success;
}
API cuStreamCreateWithPriority(void **s, unsigned flags, int) { return cuStreamCreate(s, flags); }
API cuCtxGetStreamPriorityRange(int *least, int *greatest) { return *least = 0, *greatest = -5, success; }
API cuStreamDestroy_v2(void *h) {
	READY;
	Stream *s = (Stream *)h;
	if (!streams.count(s)) return invalid_handle;
	if (broke(s)) return capture_unsupported;
	int rc = drain(s);
	streams.erase(s);
	delete s;
	return rc;
}
API cuStreamSynchronize(void *h) {
	READY;
	if (broke(stream(h))) return capture_unsupported;
	return drain(stream(h));
}
API cuStreamQuery(void *h) {
	READY;
	if (broke(stream(h))) return capture_unsupported;
	if (stream(h)->queue.empty()) return success;
	int rc = drain(stream(h)); // the next query finds it done
	return rc ? rc : not_ready;
}

API cuEventCreate(void **e, unsigned flags) {
	if (flags > 7) return invalid_value;
	Event *made = new Event();
	made->polled = flags == 2;
	return *e = made, success;
}
API cuEventDestroy_v2(void *e) { return delete (Event *)e, success; }
API cuEventRecord(void *handle, void *h) {
	READY;
	Event *e = (Event *)handle;
	Stream *s = stream(h);
	if (s->capture) {
		if (s->capture->broken) return capture_invalidated;
		e->capture = s->capture;
		e->nodes = s->tail;
		return success;
	}
	e->capture = nullptr;
	auto when = std::make_shared<double>();
	int rc = enqueue(h, "", [=]() -> const char * { return *when = now, nullptr; });
	e->when = when;
	e->stream = s;
	e->position = end(s);
	return rc;
}
// happen runs the work that an event waits for.
static int happen(Event *e) { return e->stream && streams.count(e->stream) ? drain(e->stream, e->position) : success; }
API cuEventSynchronize(void *e) {
	READY;
	if (((Event *)e)->capture) return captured_event;
	// A device would do it, with a core that polls; nothing here is meant to.
	if (((Event *)e)->polled) return fprintf(stderr, "emulation: the host waits for an event made for streams\n"), invalid_value;
	return happen((Event *)e);
}
API cuEventQuery(void *handle) {
	READY;
	Event *e = (Event *)handle;
	if (e->capture) return captured_event;
	if (!e->stream || !streams.count(e->stream) || e->stream->ran >= e->position) return success;
	int rc = happen(e);
	return rc ? rc : not_ready;
}
API cuEventElapsedTime(float *ms, void *a, void *b) {
	READY;
	Event *x = (Event *)a, *y = (Event *)b;
	if (!x->stream || !y->stream) return invalid_handle;
	if (x->stream->ran < x->position || y->stream->ran < y->position) return not_ready;
	return *ms = (float)((*y->when - *x->when) / 1000), success;
}
API cuStreamWaitEvent(void *h, void *handle, unsigned) {
	READY;
	Stream *s = stream(h);
	Event *e = (Event *)handle;
	if (e->capture) {
		if (s->capture && s->capture != e->capture) return s->capture->broken = e->capture->broken = true, capture_isolation;
		if (e->capture->broken) return capture_invalidated;
		// A stream joins a capture by waiting for one of its events.
		if (!s->capture) s->tail.clear();
		s->capture = e->capture;
		s->capture->streams.insert(s);
		for (int n : e->nodes)
			if (std::find(s->tail.begin(), s->tail.end(), n) == s->tail.end()) s->tail.push_back(n);
		return success;
	}
	if (s->capture) return s->capture->broken = true, e->stream ? capture_isolation : success;
	if (!e->stream || e->stream == s) return success;
	Stream *of = e->stream;
	uint64_t position = e->position; // as recorded now: a later record does not count
	return enqueue(h, "", [=]() -> const char * { return streams.count(of) && drain(of, position) ? "what a stream waits for failed" : nullptr; });
}

API cuStreamBeginCapture_v2(void *h, unsigned) {
	READY;
	Stream *s = (Stream *)h;
	if (!s) return capture_unsupported; // the legacy stream
	if (s->capture) return invalid_value;
	s->capture = new Capture{s, new Graph(), std::this_thread::get_id(), {s}, false};
	s->tail.clear();
	captures.insert(s->capture);
	return success;
}
API cuStreamEndCapture(void *h, void **graph) {
	READY;
	Stream *s = (Stream *)h;
	Capture *c = s->capture;
	*graph = nullptr;
	if (!c) return invalid_value;
	if (c->origin != s) return c->broken = true, capture_unmatched;
	if (c->thread != std::this_thread::get_id()) return capture_wrong_thread;
	// Everything must have come back to the stream where it began.
	std::vector<bool> joined(c->graph->nodes.size());
	std::vector<int> todo = s->tail;
	while (!todo.empty()) {
		int n = todo.back();
		todo.pop_back();
		if (joined[n]) continue;
		joined[n] = true;
		for (int a : c->graph->nodes[n].after) todo.push_back(a);
	}
	int rc = c->broken ? capture_invalidated : success;
	for (bool j : joined)
		if (!j && !rc) rc = capture_unjoined;
	for (Stream *m : c->streams) m->capture = nullptr, m->tail.clear();
	captures.erase(c);
	if (rc) delete c->graph;
	else *graph = c->graph;
	// Events may still name the capture: it stays, empty.
	c->graph = nullptr;
	c->broken = true;
	return rc;
}
API cuStreamIsCapturing(void *h, int *status) {
	READY;
	Capture *c = stream(h)->capture;
	return *status = c ? c->broken ? 2 : 1 : 0, success;
}
API cuGraphGetNodes(void *g, void *, size_t *n) { return *n = ((Graph *)g)->nodes.size(), success; }
API cuGraphDestroy(void *g) { return delete (Graph *)g, success; }
API cuGraphExecDestroy(void *e) {
	READY;
	int rc = drain_all();
	delete (Graph *)e;
	return rc;
}
API cuGraphInstantiateWithFlags(void **exec, void *graph, unsigned long long) {
	READY;
	if (unsafe()) return capture_unsupported;
	return *exec = new Graph(*(Graph *)graph), success;
}
API cuGraphUpload(void *, void *) { return success; }

// replay runs a graph in an order that its dependencies allow.
static const char *replay(Graph *g) {
	int n = g->nodes.size();
	if (!backward()) {
		for (Node &node : g->nodes)
			if (const char *why = node.work()) return why;
		return nullptr;
	}
	// Of those that are ready, the one captured last.
	std::vector<int> missing(n);
	std::vector<std::vector<int>> before(n);
	std::set<int, std::greater<int>> ready;
	for (int i = 0; i < n; i++) {
		missing[i] = g->nodes[i].after.size();
		for (int a : g->nodes[i].after) before[a].push_back(i);
		if (!missing[i]) ready.insert(i);
	}
	while (!ready.empty()) {
		int i = *ready.begin();
		ready.erase(ready.begin());
		if (const char *why = g->nodes[i].work()) return why;
		for (int b : before[i])
			if (--missing[b] == 0) ready.insert(b);
	}
	return nullptr;
}
API cuGraphLaunch(void *exec, void *h) {
	READY;
	Graph *g = (Graph *)exec;
	return enqueue(h, "", [=] { return replay(g); });
}

// entry returns the text of a kernel in PTX from its name to its body.
static std::string entry(const std::string &ptx, const std::string &name) {
	for (size_t at = 0; (at = ptx.find(".entry " + name, at)) != std::string::npos; at++) {
		char next = ptx[at + 7 + name.size()];
		if (next == '(' || next == '\n' || next == ' ') return ptx.substr(at, ptx.find('{', at) - at);
	}
	return "";
}

// The kernels of all libraries that HATCHERY_EMULATED_KERNELS names, a
// colon-separated list.
static void *kernel(const std::string &name) {
	const char *list = getenv("HATCHERY_EMULATED_KERNELS");
	std::string libraries = list ? list : "";
	while (!libraries.empty()) {
		size_t colon = std::min(libraries.find(':'), libraries.size());
		void *library = dlopen(libraries.substr(0, colon).c_str(), RTLD_NOW | RTLD_LOCAL);
		if (!library) fprintf(stderr, "emulation: %s\n", dlerror());
		void *found = library ? dlsym(library, ("emulated_" + name).c_str()) : nullptr;
		if (found) return found;
		libraries.erase(0, colon + 1);
	}
	return nullptr;
}

API cuModuleLoadData(void **m, const void *image) {
	READY;
	if (unsafe()) return capture_unsupported;
	std::string text = (const char *)image;
	bool ptx = text.find(".version") != std::string::npos && text.find(".target") != std::string::npos;
	if (!ptx && text != "emulation") return invalid_image;
	Module *module = new Module();
	if (ptx) module->text = text;
	return *m = module, success;
}
API cuModuleLoadDataEx(void **m, const void *image, unsigned, int *, void **) { return cuModuleLoadData(m, image); }
API cuModuleUnload(void *m) { return delete (Module *)m, success; }
API cuModuleGetFunction(void **f, void *m, const char *name) {
	READY;
	Module *module = (Module *)m;
	auto &slot = module->functions[name];
	if (slot) return *f = slot.get(), success;
	auto describe = (const emulation::Kernel *(*)())kernel(name);
	if (!describe) {
		fprintf(stderr, "emulation: no EMULATED(%s) in %s\n", name, getenv("HATCHERY_EMULATED_KERNELS"));
		return not_found;
	}
	const emulation::Kernel *k = describe();
	int threads = 1024;
	if (!module->text.empty()) {
		// The PTX must be of the same sources, as far as can be seen.
		std::string head = entry(module->text, name);
		int parameters = 0;
		for (size_t at = 0; (at = head.find(".param", at)) != std::string::npos; at++) parameters++;
		if (head.empty() || parameters != k->parameters) {
			fprintf(stderr, "emulation: the PTX is not of these sources: %s has %d parameters in it, %d in the sources\n", name,
			        head.empty() ? -1 : parameters, k->parameters);
			return not_found;
		}
		size_t bound = head.find(".maxntid");
		int x = 1, y = 1, z = 1;
		if (bound != std::string::npos && sscanf(head.c_str() + bound, ".maxntid %d, %d, %d", &x, &y, &z) >= 1) threads = x * y * z;
	}
	slot.reset(new Function{k, name, threads, 48 << 10});
	return *f = slot.get(), success;
}
API cuFuncSetAttribute(void *f, int attribute, int v) {
	READY;
	if (attribute != 8) return success; // MAX_DYNAMIC_SHARED_SIZE_BYTES
	if (v < 0 || v > 227 << 10) return invalid_value;
	return ((Function *)f)->max_shared = v, success;
}
API cuFuncGetAttribute(int *v, int attribute, void *f) {
	Function *fn = (Function *)f;
	return *v = attribute == 0 ? fn->max_threads : attribute == 8 ? fn->max_shared : 0, success;
}
API cuLaunchKernel(void *handle, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned shared, void *h,
                   void **args, void **) {
	READY;
	Function *f = (Function *)handle;
	if (!f) return invalid_handle;
	uint64_t threads = (uint64_t)bx * by * bz;
	if (!gx || !gy || !gz || gx > 0x7fffffff || gy > 65535 || gz > 65535 || !threads || threads > 1024 || bz > 64) return invalid_value;
	if ((int64_t)threads > f->max_threads) return launch_out_of_resources;
	if (shared > (unsigned)f->max_shared) return invalid_value;
	// Parameters are copied now, as by a real driver.
	std::vector<uint64_t> values(f->kernel->parameters);
	for (int i = 0; i < f->kernel->parameters; i++) memcpy(&values[i], args[i], f->kernel->sizes[i]);
	return enqueue(h, f->name, [=]() mutable -> const char * {
		std::vector<void *> p;
		for (auto &v : values) p.push_back(&v);
		unsigned grid[3] = {gx, gy, gz}, block[3] = {bx, by, bz};
		const char *why = f->kernel->run(grid, block, shared, p.data());
		if (!why) return nullptr;
		static char text[768];
		return snprintf(text, sizeof text, "%s: %s", f->name.c_str(), why), text;
	});
}
API cuOccupancyMaxActiveBlocksPerMultiprocessor(int *n, void *, int threads, size_t) { return *n = std::max(1, 2048 / std::max(threads, 1)), success; }
