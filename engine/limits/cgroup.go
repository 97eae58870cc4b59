package limits

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// system is the file system of a machine, from its root.
type system struct{ fs.FS }

// read returns the text of a file by its absolute path, "" if it cannot be read.
func (s system) read(name string) string {
	data, err := fs.ReadFile(s, strings.TrimPrefix(path.Clean(name), "/"))
	if err != nil {
		return ""
	}
	return string(data)
}

// cgroups are the folders of the cgroup that this process is in for a
// controller, and of those above it as far as they can be seen, the process's own
// first.
type cgroups struct {
	dirs    []string
	version int // 1 or 2
}

// find finds the cgroups of a controller, "memory" or "cpu". A system that has
// hierarchies of both versions has the controller in one of them.
func (s system) find(controller string) (cgroups, bool) {
	own, version, ok := cgroupOf(s.read("/proc/self/cgroup"), controller)
	if !ok {
		return cgroups{}, false
	}
	m, ok := mountOf(s.read("/proc/self/mountinfo"), controller, version, own)
	if !ok {
		return cgroups{}, false
	}
	below, ok := beneath(own, m.root)
	if !ok {
		// A container with a view of its own of the hierarchy, mounted from
		// outside of it: what is mounted is the nearest that can be seen.
		below = ""
	}
	c := cgroups{version: version}
	for at := path.Join(m.point, below); ; at = path.Dir(at) {
		c.dirs = append(c.dirs, at)
		if at == m.point || len(at) <= len(m.point) {
			return c, true
		}
	}
}

// cgroupOf finds the path of a controller's cgroup in /proc/self/cgroup, whose
// lines are "4:cpu,cpuacct:/path" for a hierarchy of version 1 and "0::/path" for
// that of version 2.
func cgroupOf(text, controller string) (own string, version int, ok bool) {
	for line := range strings.Lines(text) {
		fields := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(fields) != 3 {
			continue
		}
		switch names := strings.Split(fields[1], ","); {
		case fields[0] == "0" && fields[1] == "":
			if version == 0 {
				own, version = fields[2], 2
			}
		default:
			if slices.Contains(names, controller) {
				own, version = fields[2], 1
			}
		}
	}
	// Of a cgroup that was deleted under the process.
	return strings.TrimSuffix(own, " (deleted)"), version, version != 0
}

// mount is where a part of a hierarchy of cgroups is mounted.
type mount struct{ root, point string }

// mountOf finds in /proc/self/mountinfo where a controller's hierarchy is
// mounted: the mount that shows the given cgroup, or else any. The lines are
//
//	36 35 0:30 /root /mount/point rw,relatime shared:1 - cgroup cgroup rw,memory
//
// with any number of fields before the hyphen.
func mountOf(text, controller string, version int, own string) (best mount, ok bool) {
	for line := range strings.Lines(text) {
		before, after, found := strings.Cut(strings.TrimSuffix(line, "\n"), " - ")
		where, what := strings.Fields(before), strings.Fields(after)
		if !found || len(where) < 6 || len(what) < 3 {
			continue
		}
		switch what[0] {
		case "cgroup2":
			if version != 2 {
				continue
			}
		case "cgroup":
			if version != 1 || !slices.Contains(strings.Split(what[2], ","), controller) {
				continue
			}
		default:
			continue
		}
		m := mount{root: unescape(where[3]), point: unescape(where[4])}
		if _, shows := beneath(own, m.root); shows {
			return m, true
		}
		if !ok {
			best, ok = m, true
		}
	}
	return best, ok
}

// beneath is the path of a cgroup below a root; false if it is not below it.
func beneath(own, root string) (string, bool) {
	if strings.HasPrefix(own, "/..") { // outside of what this process's namespace shows
		return "", false
	}
	if root == "/" {
		return own, true
	}
	below, ok := strings.CutPrefix(own, root)
	return below, ok && (below == "" || below[0] == '/')
}

// unescape turns \040 and its like in a path of /proc/self/mountinfo into what
// they stand for.
func unescape(s string) string {
	var b strings.Builder
	for {
		before, after, found := strings.Cut(s, `\`)
		b.WriteString(before)
		if !found {
			return b.String()
		}
		if len(after) >= 3 {
			if c, err := strconv.ParseUint(after[:3], 8, 8); err == nil {
				b.WriteByte(byte(c))
				s = after[3:]
				continue
			}
		}
		b.WriteByte('\\')
		s = after
	}
}

// unlimited is what version 1 has where there is no limit, or more: the largest
// int64, rounded down to whole pages of any size.
const unlimited = 1 << 62

// memory are the limits of the cgroups of this process, which has held so many
// bytes already. Cached files count as used in a cgroup, but give way.
func (s system) memory(held int64) []Memory {
	c, ok := s.find("memory")
	if !ok {
		return nil
	}
	var all []Memory
	bound := func(limit, used int64, file, dir string) {
		all = append(all, Memory{
			Bytes: min(limit, max(0, limit-used)+held),
			From:  fmt.Sprintf("%s = %d of %s, a cgroup v%d", file, limit, dir, c.version),
			Raise: "give the container or job more memory (docker --memory, Slurm --mem, systemd MemoryMax)",
		})
	}
	for i, dir := range c.dirs {
		usage, cached, limits := "memory.current", "inactive_file", []string{"memory.max", "memory.high"}
		if c.version == 1 {
			usage, cached, limits = "memory.usage_in_bytes", "total_inactive_file", []string{"memory.limit_in_bytes"}
		}
		if c.version == 1 && i > 0 && strings.TrimSpace(s.read(path.Join(dir, "memory.use_hierarchy"))) == "0" {
			continue // it does not count what is below it
		}
		stat := s.read(path.Join(dir, "memory.stat"))
		used, _ := number(s.read(path.Join(dir, usage)))
		used = max(0, used-field(stat, cached))
		for _, file := range limits {
			if limit, ok := number(s.read(path.Join(dir, file))); ok && limit >= 0 && limit < unlimited {
				bound(limit, used, file, dir)
			}
		}
		if limit := field(stat, "hierarchical_memory_limit"); c.version == 1 && i == 0 && limit > 0 && limit < unlimited {
			// Also that of cgroups above it that cannot be seen, whose use is not known.
			bound(limit, used, "hierarchical_memory_limit", dir)
		}
	}
	return all
}

// quota is the tightest of the limits of processor time of the cgroups of this
// process.
func (s system) quota() (tightest Processors, ok bool) {
	c, found := s.find("cpu")
	if !found {
		return tightest, false
	}
	for _, dir := range c.dirs {
		file, quota, period := "cpu.max", "", ""
		if c.version == 1 {
			file = "cpu.cfs_quota_us"
			quota, period = s.read(path.Join(dir, file)), s.read(path.Join(dir, "cpu.cfs_period_us"))
		} else {
			quota, period, _ = strings.Cut(s.read(path.Join(dir, file)), " ")
		}
		q, limited := number(quota)
		p, known := number(period)
		if !limited || !known || q <= 0 || p <= 0 {
			continue
		}
		if cores := float64(q) / float64(p); !ok || cores < tightest.Cores {
			tightest, ok = Processors{cores, fmt.Sprintf("%s of %s, a cgroup v%d", file, dir, c.version)}, true
		}
	}
	return tightest, ok
}

// number reads a file of one number; "max", which is none, is not one.
func number(text string) (int64, bool) {
	n, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
	return n, err == nil
}

// field is the number beside a name in lines of a name and a number each, 0 if it
// is not there.
func field(text, name string) int64 {
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			n, _ := number(value)
			return max(0, n)
		}
	}
	return 0
}

// kibibytes is the number of bytes of a line "Name:   12 kB" of a file of /proc,
// 0 if it is not there.
func kibibytes(text, name string) int64 {
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			n, _ := number(strings.TrimSuffix(strings.TrimSpace(value), "kB"))
			return n << 10
		}
	}
	return 0
}
