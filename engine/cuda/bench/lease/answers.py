"""Checks the form of answers of the benchmark's programs."""

import math


class Unexpected(Exception):
    """An answer does not have the expected form."""


def check(kind, answer):
    """Raises Unexpected if an answer to a command of a kind ("ready" for the first line) is malformed."""
    if kind in CHECKS:
        CHECKS[kind](answer)


def ready(answer):
    remarks = of_type(answer, dict).get("remarks")
    for remark in of_type(remarks, list) if remarks is not None else []:
        of_type(remark, str)


def replay(answer):
    number(answer, "device_us")
    number(answer, "host_us")


def roof(answer):
    for key in ("copy", "product"):
        if not number(answer, key) > 0:
            raise Unexpected(f"{key} is {answer[key]}")


def profile(answer):
    if not of_type(answer, list):
        raise Unexpected("it has no operations")
    for kind in answer:
        for key in ("Name", "Kernel"):
            of_type(field(kind, key), str)
        of_type(field(kind, "Count"), int)
        for key in ("Microseconds", "Bytes", "FLOPs"):
            number(kind, key)


def choices(answer):
    if not of_type(answer, list):
        raise Unexpected("it has no products")
    for product in answer:
        of_type(field(product, "Product"), str)
        of_type(field(product, "Count"), int)
        times = field(product, "Microseconds")
        if times is None:  # an algorithm could not be timed
            continue
        for i in range(len(of_type(times, list))):
            number(times, i)
        if times and not 0 <= of_type(field(product, "Chosen"), int) < len(times):
            raise Unexpected(f"Chosen is {product['Chosen']} of {len(times)}")


CHECKS = {"ready": ready, "replay": replay, "roof": roof, "profile": profile, "choices": choices}


def of_type(value, kind):
    if not isinstance(value, kind) or isinstance(value, bool):
        raise Unexpected(f"want {NAMES[kind]}, not {str(value)[:60]!r}")
    return value


NAMES = {dict: "an object", list: "a list", str: "a string", int: "a whole number"}


def field(value, key):
    if key not in of_type(value, dict):
        raise Unexpected(f"it has no {key}")
    return value[key]


def number(value, key):
    """Returns the number at a key of an object or an index of a list. It must be finite and at least 0."""
    found = value[key] if isinstance(key, int) else field(value, key)
    if isinstance(found, bool) or not isinstance(found, (int, float)) or not math.isfinite(found) or found < 0:
        raise Unexpected(f"{key} is {str(found)[:60]}, which is no time or amount")
    return found
