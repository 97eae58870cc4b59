// What the fake libraries share.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <thread>
#include <vector>

// enqueue puts work into a stream, or into the graph that it captures. work
// answers nullptr, or what went wrong; name is what HATCHERY_EMULATION_TIMES and
// _FAULT know it by. The result is a CUresult.
int enqueue(void *stream, std::string name, std::function<const char *()> work);

// device_range says whether n bytes from p lie within one allocation.
bool device_range(const void *p, size_t n);
