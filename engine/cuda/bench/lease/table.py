"""Formats results as tables: as text for a terminal, as Markdown for RESULTS.md."""

import networks
import results
from networks import EAGER, HATCHERY, HATCHERY_FLAGS, PYTORCH_FLAGS

BY_NAME = {n.name: n for n in networks.ALL}
OPERATIONS = 12  # lines of a profile


def rows(found):
    """Returns the results of programs as {(network, program): {what: [values]}}, in the
    order of their first measurement. If a program was measured in two leases, the later
    times count."""
    all_rows = {}
    for r in found:
        if not all(isinstance(r.get(key), str) for key in ("network", "program")):
            continue
        if r["what"] == "step_ms" and not is_number(r["value"]):
            continue  # otherwise the rows of other programs would fail too
        row = all_rows.setdefault((r["network"], r["program"]), {"batch": batch(r)})
        if r["what"] == "ready":
            row.clear()
            row["batch"] = batch(r)
        row.setdefault(r["what"], []).append(r["value"])
    return all_rows


def batch(result):
    return result["batch"] if is_number(result.get("batch")) else 0


def median(values):
    values = sorted(values)
    return (values[(len(values) - 1) // 2] + values[len(values) // 2]) / 2


def fastest(all_rows, network):
    """Returns (milliseconds, program) of the fastest of PyTorch's programs, or None."""
    times = [(median(r["step_ms"]), p) for (n, p), r in all_rows.items() if n == network and p in PYTORCH_FLAGS and "step_ms" in r]
    return min(times, default=None)


def stands_in(row):
    return any(isinstance(x, dict) and x.get("standin") for x in row.get("ready", []))


def text(found):
    """Returns all results for a terminal. If a section fails, a line gives the reason and
    the others are not affected."""
    lines = []

    def section(title, make, *arguments):
        try:
            lines.extend(make(*arguments))
        except Exception as e:  # results of any shape, from any file
            lines.append(f"{title}: cannot be shown: {type(e).__name__}: {results.short(str(e), 100)}")

    all_rows = rows(found)
    timed = {k: r for k, r in all_rows.items() if k[1] in HATCHERY_FLAGS or k[1] in PYTORCH_FLAGS}
    roofs = [r["value"] for r in found if r["what"] == "roof"]
    section("start", starts, found)
    section("card", lambda: [str(r["value"]) for r in found if r["what"] == "card"])
    section("roof", lambda: [f"copy {r['copy'] / 1e12:.2f} TB/s, product {r['product'] / 1e12:.0f} TFLOP/s" for r in roofs[-1:]])
    if timed:
        columns = f"{'ms':>9}{'expected':>9}{'img/s':>8}{'spread':>8}{'device':>9}{'idle':>8}{'launch':>8}"
        lines.append(f"\n{'network':8}{'program':27}{columns}  beside PyTorch")
    for (network, program), row in timed.items():
        section(f"{network}/{program}", lambda n, p, r: [line(all_rows, n, p, r)], network, program, row)
    for (network, program), row in all_rows.items():
        section(f"{network}/{program}", remarks, f"{network}/{program}", row)
    for what, make in (("profile", lambda *a: profile(*a, roofs[-1] if roofs else None)), ("choices", choices)):
        for (network, program), row in all_rows.items():
            if what in row:
                section(f"{network}/{program}: {what}", make, f"{network}/{program}", row[what][-1])
    for r in found:
        if r["what"] == "training":
            section(str(r["part"]), training, r["part"], r["value"])
    return "\n".join(lines) + "\n"


def starts(found):
    if any(r["what"] == "start" and r["value"].get("emulation") for r in found):
        return ["EMULATION: a rehearsal on a processor; no time here means anything, and a stand-in may answer for PyTorch"]
    return []


def remarks(title, row):
    said = [x for ready in row.get("ready", []) for x in ready.get("remarks") or []]
    return [f"{title}: {'; '.join(said)}"] if said else []


def line(all_rows, network, program, row):
    label = program + (" STAND-IN" if stands_in(row) else "")
    head = f"{network:8}{label:27}"
    if "step_ms" not in row:
        why = row.get("failed", ["no times"])[-1]
        return head + f"  failed: {results.short(why, 110)}"
    ms = median(row["step_ms"])
    known = BY_NAME.get(network)
    expected = known.expected.get(program) if known and known.batch == row["batch"] else None  # not of a rehearsal's
    spread = 100 * (max(row["step_ms"]) - min(row["step_ms"])) / ms
    text = head + f"{ms:9.2f}{expected or '':>9}{1e3 * row['batch'] / ms:8.0f}{spread:6.1f} %"
    if "replay" in row:
        device = row["replay"][-1]["device_us"] / 1e3
        text += f"{device:9.2f}{100 * max(0, 1 - device / ms):6.1f} %{row['replay'][-1]['host_us']:5.0f} us"
    else:
        text += " " * 25
    peer = fastest(all_rows, network)
    if program in HATCHERY_FLAGS and peer:
        text += f"  {peer[0] / ms:.2f} x {peer[1]}"
        if stands_in(all_rows[network, peer[1]]):
            text += " (STAND-IN)"
    if "failed" in row:
        text += f"  then failed: {results.short(row['failed'][-1], 80)}"
    return text.rstrip()


def profile(title, kinds, roof):
    """Lists the time of each operation in a step, and the time of its bytes and products at the roof."""
    total = sum(k["Microseconds"] for k in kinds)
    head = f"\n{title}: {total:.0f} us of operations one after another"
    at_roof = {}
    if roof:
        at_roof = {id(k): 1e6 * max(k["Bytes"] / roof["copy"], k["FLOPs"] / roof["product"]) for k in kinds}
        least = sum(at_roof.values())
        head += f", {least:.0f} us at the roof: {100 * least / max(total, 1e-9):.0f} %"
    lines = [head, f"{'operation':34}{'kernel':44}{'times':>5}{'us':>9}{'share':>7}{'of roof':>9}"]
    for k in sorted(kinds, key=lambda k: -k["Microseconds"])[:OPERATIONS]:
        took = max(k["Microseconds"], 1e-9)
        of_roof = f"{100 * at_roof[id(k)] / took:7.0f} %" if roof else ""
        lines.append(f"{k['Name'][:33]:34}{k['Kernel'][:43]:44}{k['Count']:5}{took:9.0f}{100 * took / max(total, 1e-9):5.0f} %{of_roof}")
    if len(kinds) > OPERATIONS:
        lines.append(f"... and {len(kinds) - OPERATIONS} more in results.jsonl")
    return lines


def choices(title, products):
    """Compares the times of a step's products: with the chosen algorithms, cublasLt's first, and the fastest."""
    timed = [{**p, "Chosen": p.get("Chosen", 0)} for p in products or [] if p["Microseconds"]]
    total = lambda which: sum(p["Count"] * which(p) for p in timed)
    chosen, first, least = (lambda p: p["Microseconds"][p["Chosen"]]), (lambda p: p["Microseconds"][0]), (lambda p: min(p["Microseconds"]))
    lines = [
        f"\n{title}: products take {total(chosen):.0f} us as chosen, {total(first):.0f} us with their first algorithms, "
        f"{total(least):.0f} us with the fastest"
    ]
    for p in sorted(timed, key=lambda p: p["Count"] * (least(p) - first(p)))[:6]:
        number = p["Microseconds"].index(least(p)) + 1
        lines.append(
            f"{p['Product'][:52]:54}x {p['Count']:3}  chosen {chosen(p):7.1f}  first {first(p):7.1f}  fastest {least(p):7.1f}, "
            f"number {number} of {len(p['Microseconds'])}"
        )
    return lines


def training(title, run):
    """Lists accuracies and times of a run of hatchery."""
    lines = [f"\n{title}: {run['data']}" + (", EMULATION" if run["emulation"] else "")]
    for method, v in run["methods"].items():
        assembled = f"assembled {percent(v['assembled'])}, " if "assembled" in v else ""
        seconds = f"{v['train_seconds']:.1f} s" if is_number(v.get("train_seconds")) else "not reported"
        lines.append(f"{method:12}{assembled}top-1 {percent(v.get('top1'))}, best {percent(v.get('best'))}, training {seconds}")
    if run.get("unread"):
        lines.append(f"events of the run that could not be read: {run['unread']}")
    if not run["stages"]:
        return [*lines, "no stage was over"]
    lines.append("stages: " + ", ".join(f"{s} {percent(v['top1'])}" for s, v in run["stages"].items() if v["top1"] is not None))
    lines.append("seconds of an epoch: " + ", ".join(f"{k} {v:.2f}" for k, v in run["rates"].items()))
    return lines


def is_number(x):
    return isinstance(x, (int, float)) and not isinstance(x, bool)


def percent(x):
    return f"{x:.2f} %" if is_number(x) else "not reported"


def markdown(found):
    """Returns the table of RESULTS.md with expected and measured times."""
    all_rows = rows(found)
    head = "network,batch,GB a step,TFLOP,operations,roof ms,program,expected ms,measured ms,measured images/s,measured ratio,bar".split(",")
    lines = [head, ["---"] * len(head)]
    for n in networks.ALL:
        counts = [n.title, n.batch, n.gigabytes, n.teraflops, n.operations, n.roof]
        others = [p for name, p in all_rows if name == n.name and p not in n.expected and "step_ms" in all_rows[name, p]]
        for program in [*n.expected, *others]:
            try:
                cells = measured(all_rows, n.name, program)
            except Exception as e:  # as in text
                cells = [f"cannot be shown: {type(e).__name__}", "", ""]
            lines.append([*counts, program, n.expected.get(program, ""), *cells, bar(n, program)])
            counts = [""] * len(counts)
    return "".join("|" + "".join(f" {c} |" if c != "" else " |" for c in cells) + "\n" for cells in lines)


def measured(all_rows, network, program):
    """Returns milliseconds, images per second, and the ratio to hatchery's milliseconds."""
    row = all_rows.get((network, program), {})
    if "step_ms" not in row:
        return ["not yet"] * 3
    ms = median(row["step_ms"])
    ours = all_rows.get((network, HATCHERY), {}).get("step_ms")
    ratio = f"{ms / median(ours):.2f}" if ours and program in PYTORCH_FLAGS else ""
    return [f"{ms:.2f}", f"{1e3 * row['batch'] / ms:.0f}", ratio]


def bar(network, program):
    if program in HATCHERY_FLAGS:
        return ""
    kind = "eager" if program == EAGER else "compiled"
    return str(network.bars.get(kind, ""))
