// A stand-in for libnvidia-ml.so.1, with two cards whose readings are constant.
#include <cstdio>
#include <cstring>

#define API extern "C" __attribute__((visibility("default"))) int

enum { success = 0, invalid_argument = 2, not_supported = 3, not_found = 6 };

API nvmlInit_v2() { return success; }
API nvmlShutdown() { return success; }
extern "C" __attribute__((visibility("default"))) const char *nvmlErrorString(int code) {
	return code == not_found ? "Not Found" : code == not_supported ? "Not Supported" : code == success ? "Success" : "Unknown Error";
}
API nvmlSystemGetDriverVersion(char *s, unsigned n) { return snprintf(s, n, "580.00.00"), success; }
API nvmlDeviceGetHandleByIndex_v2(unsigned i, void **d) { return *d = (void *)(1 + (size_t)i), i < 2 ? success : invalid_argument; }
API nvmlDeviceGetHandleByUUID(const char *uuid, void **d) {
	for (size_t i = 0; i < 2; i++) {
		char known[64];
		snprintf(known, sizeof known, "GPU-68000000-0000-0000-0000-0000000000%02zu", i);
		if (!strcmp(uuid, known)) return *d = (void *)(1 + i), success;
	}
	return not_found;
}
API nvmlDeviceGetUtilizationRates(void *, unsigned *v) { return v[0] = 97, v[1] = 61, success; }
API nvmlDeviceGetMemoryInfo(void *, unsigned long long *v) { return v[0] = 8ull << 30, v[1] = 5ull << 30, v[2] = 3ull << 30, success; }
API nvmlDeviceGetTemperature(void *, int, unsigned *v) { return *v = 54, success; }
API nvmlDeviceGetPowerUsage(void *, unsigned *v) { return *v = 412500, success; }
API nvmlDeviceGetEnforcedPowerLimit(void *, unsigned *) { return not_supported; }
