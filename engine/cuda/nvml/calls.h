// NVML without its header.
#include <stddef.h>
#include <stdint.h>

typedef uintptr_t handle;

// nvml_open opens and initialises the library. It returns an nvmlReturn and in
// text the file that was opened, or -1 and the error in text.
int nvml_open(const char *path, char *text, size_t size);

const char *nvml_error(int code);
int nvml_driver_version(char *text, unsigned size);
int nvml_card(const char *uuid, handle *card);

struct reading {
	unsigned busy, memory_busy, temperature, power, power_limit; // milliwatts
	unsigned long long total, used;
};

// nvml_read fails only if the card cannot be read at all. Values that the card does not
// support are 0.
int nvml_read(handle card, struct reading *r);
