//go:build gpu

#define _GNU_SOURCE
#include "calls.h"
#include "declared.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

static struct {
	int (*init)(void);
	const char *(*error)(int);
	int (*driver_version)(char *, unsigned);
	int (*by_uuid)(const char *, handle *);
	int (*utilization)(handle, struct utilization *);
	int (*memory)(handle, struct memory *);
	int (*temperature)(handle, int, unsigned *);
	int (*power)(handle, unsigned *);
	int (*power_limit)(handle, unsigned *);
} f;

int nvml_open(const char *path, char *text, size_t size) {
	void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (!library) {
		snprintf(text, size, "%s", dlerror());
		return -1;
	}
	struct {
		const char *name;
		void *slot;
	} wanted[] = {
	    {"nvmlInit_v2", &f.init},
	    {"nvmlErrorString", &f.error},
	    {"nvmlSystemGetDriverVersion", &f.driver_version},
	    {"nvmlDeviceGetHandleByUUID", &f.by_uuid},
	    {"nvmlDeviceGetUtilizationRates", &f.utilization},
	    {"nvmlDeviceGetMemoryInfo", &f.memory},
	    {"nvmlDeviceGetTemperature", &f.temperature},
	    {"nvmlDeviceGetPowerUsage", &f.power},
	    {"nvmlDeviceGetEnforcedPowerLimit", &f.power_limit},
	};
	for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
		void *p = dlsym(library, wanted[i].name);
		if (!p) {
			snprintf(text, size, "%s lacks %s", path, wanted[i].name);
			dlclose(library);
			return -1;
		}
		memcpy(wanted[i].slot, &p, sizeof p);
	}
	Dl_info file;
	snprintf(text, size, "%s", dladdr(*(void **)&f.init, &file) && file.dli_fname ? file.dli_fname : path);
	return f.init();
}

const char *nvml_error(int code) { return f.error(code); }
int nvml_driver_version(char *text, unsigned size) { return f.driver_version(text, size); }
int nvml_card(const char *uuid, handle *card) { return f.by_uuid(uuid, card); }

int nvml_read(handle card, struct reading *r) {
	int rc;
	struct utilization rates = {0};
	struct memory memory = {0};
	memset(r, 0, sizeof *r);
	if ((rc = f.memory(card, &memory)) && rc != not_supported) return rc;
	if ((rc = f.utilization(card, &rates)) && rc != not_supported) return rc;
	if ((rc = f.temperature(card, temperature_gpu, &r->temperature)) && rc != not_supported) return rc;
	if ((rc = f.power(card, &r->power)) && rc != not_supported) return rc;
	if ((rc = f.power_limit(card, &r->power_limit)) && rc != not_supported) return rc;
	r->busy = rates.gpu;
	r->memory_busy = rates.memory;
	r->total = memory.total;
	r->used = memory.used;
	return 0;
}
