// The driver's calls that gorgonia.org/cu lacks, or has in a form that costs
// time at every launch. Handles are passed as integers: they are addresses in
// the driver, and none of Go's business.
#include <cuda.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

// hatchery_load opens a driver library, fills the table and initialises the
// driver. It returns cuInit's result and the file that was opened, or -1 and why
// the library was not opened.
int hatchery_load(const char *path, char *text, size_t size);

// Prototypes of our own, with plain types, so that they do not depend on the
// version of cuda.h.
typedef uintptr_t handle;
extern int cuDeviceGetPCIBusId_(char *, int, int) __asm__("cuDeviceGetPCIBusId");
extern int cuDeviceGetUuid_(char *, int) __asm__("cuDeviceGetUuid_v2");
extern int cuDeviceGetUuidOld_(char *, int) __asm__("cuDeviceGetUuid");
extern int cuFuncGetAttribute_(int *, int, handle) __asm__("cuFuncGetAttribute");
extern int cuFuncSetAttribute_(handle, int, int) __asm__("cuFuncSetAttribute");
extern int cuGetErrorName_(int, const char **) __asm__("cuGetErrorName");
extern int cuGetErrorString_(int, const char **) __asm__("cuGetErrorString");
extern int cuGraphDestroy_(handle) __asm__("cuGraphDestroy");
extern int cuGraphExecDestroy_(handle) __asm__("cuGraphExecDestroy");
extern int cuGraphGetNodes_(handle, void *, size_t *) __asm__("cuGraphGetNodes");
extern int cuGraphInstantiate_(handle *, handle, unsigned long long) __asm__("cuGraphInstantiateWithFlags");
extern int cuGraphLaunch_(handle, handle) __asm__("cuGraphLaunch");
extern int cuGraphUpload_(handle, handle) __asm__("cuGraphUpload");
extern int cuLaunchKernel_(handle, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, handle, void **,
                           void **) __asm__("cuLaunchKernel");
extern int cuMemFreeHost_(void *) __asm__("cuMemFreeHost");
extern int cuMemHostAlloc_(void **, size_t, unsigned) __asm__("cuMemHostAlloc");
extern int cuModuleGetFunction_(handle *, handle, const char *) __asm__("cuModuleGetFunction");
extern int cuModuleLoadDataEx_(handle *, const void *, unsigned, int *, void **) __asm__("cuModuleLoadDataEx");
extern int cuModuleUnload_(handle) __asm__("cuModuleUnload");
extern int cuOccupancy_(int *, handle, int, size_t) __asm__("cuOccupancyMaxActiveBlocksPerMultiprocessor");
extern int cuStreamBeginCapture_(handle, int) __asm__("cuStreamBeginCapture_v2");
extern int cuStreamEndCapture_(handle, handle *) __asm__("cuStreamEndCapture");
extern int cuStreamIsCapturing_(handle, int *) __asm__("cuStreamIsCapturing");

enum { max_arguments = 64 };

// launch starts a kernel whose arguments lie in slots of 8 bytes.
static inline int launch(handle function, const uint32_t *grid, const uint32_t *block, uint32_t shared, handle stream,
                         const uint64_t *slots, int n) {
	void *arguments[max_arguments];
	for (int i = 0; i < n; i++) arguments[i] = (void *)(slots + i);
	return cuLaunchKernel_(function, grid[0], grid[1], grid[2], block[0], block[1], block[2], shared, stream, arguments, 0);
}

// load_module compiles PTX, which ends in a zero byte. log receives what the
// compiler says of an error.
static inline int load_module(handle *module, const char *ptx, char *log, size_t size) {
	int options[] = {CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES};
	void *values[] = {log, (void *)size};
	return cuModuleLoadDataEx_(module, ptx, 2, options, values);
}
