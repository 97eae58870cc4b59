// The common part of the fake libraries.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <thread>
#include <vector>

// enqueue puts work into a stream, or into the graph that it captures. work
// returns nullptr or an error; name is its name in HATCHERY_EMULATION_TIMES and
// _FAULT. The result is a CUresult.
int enqueue(void *stream, std::string name, std::function<const char *()> work);

// device_range returns whether n bytes from p lie within one allocation.
bool device_range(const void *p, size_t n);
