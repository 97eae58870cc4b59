// What nvml.h would say. Each line has NVIDIA's name for it behind it, by which a
// test compares them.

enum {
	not_supported = 3, // NVML_ERROR_NOT_SUPPORTED

	temperature_gpu = 0, // NVML_TEMPERATURE_GPU
};

struct utilization { // nvmlUtilization_t
	unsigned gpu;    // gpu
	unsigned memory; // memory
};

struct memory { // nvmlMemory_t
	unsigned long long total; // total
	unsigned long long free;  // free
	unsigned long long used;  // used
};
