package limits

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// system is the root file system of a machine.
type system struct{ fs.FS }

// read returns the text of the file at an absolute path, "" if it cannot be read.
func (s system) read(name string) string {
	data, err := fs.ReadFile(s, strings.TrimPrefix(path.Clean(name), "/"))
	if err != nil {
		return ""
	}
	return string(data)
}

// cgroups holds the folders of this process's cgroup for one controller and of the
// visible cgroups above it, the process's own first.
type cgroups struct {
	dirs    []string
	version int // 1 or 2
}

// find finds the cgroups of a controller, "memory" or "cpu". If a system has
// hierarchies of both versions, the controller is in one of them.
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
		// In a container with a cgroup namespace of its own, the hierarchy may be
		// mounted from outside. Then the mounted folder is the nearest one visible.
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

// cgroupOf finds the path of a controller's cgroup in the text of /proc/self/cgroup.
// Its lines are "4:cpu,cpuacct:/path" for a hierarchy of version 1 and "0::/path"
// for version 2.
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
	// The suffix marks a cgroup that was deleted while the process was in it.
	return strings.TrimSuffix(own, " (deleted)"), version, version != 0
}

// mount is where a part of a hierarchy of cgroups is mounted.
type mount struct{ root, point string }

// mountOf finds in the text of /proc/self/mountinfo where a controller's hierarchy is
// mounted: preferably a mount that shows the given cgroup. The lines are
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

// beneath returns the path of a cgroup relative to a root, and false if the cgroup is
// not below the root.
func beneath(own, root string) (string, bool) {
	if strings.HasPrefix(own, "/..") { // outside the process's cgroup namespace
		return "", false
	}
	if root == "/" {
		return own, true
	}
	below, ok := strings.CutPrefix(own, root)
	return below, ok && (below == "" || below[0] == '/')
}

// unescape decodes octal escapes such as \040 in a path of /proc/self/mountinfo.
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

// unlimited is the smallest limit that means none. For no limit, version 1 has the
// largest int64, rounded down to whole pages.
const unlimited = 1 << 62

// memory returns the memory limits of this process's cgroups. held is what the
// process uses already, in bytes. A cgroup counts cached files as used, but the
// kernel evicts those when memory is needed, so they are subtracted.
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
			continue // it does not count the memory of the cgroups below it
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
			// This includes limits of cgroups above it that cannot be seen. How much
			// of those is used is not known.
			bound(limit, used, "hierarchical_memory_limit", dir)
		}
	}
	return all
}

// quota returns the tightest limit on processor time of this process's cgroups.
func (s system) quota() (tightest Processors, ok bool) {
	c, found := s.find("cpu")
	if !found {
		return tightest, false
	}
	for _, dir := range c.dirs {
		file := "cpu.max"
		var quota, period string
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

// number parses the text of a file that holds one number. "max" is not a number.
func number(text string) (int64, bool) {
	n, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
	return n, err == nil
}

// field returns the number after a name, in lines of the form "name number", 0 if the
// name is missing.
func field(text, name string) int64 {
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			n, _ := number(value)
			return max(0, n)
		}
	}
	return 0
}

// kibibytes returns the number of bytes in a line such as "Name:   12 kB" of a file in
// /proc, 0 if the name is missing.
func kibibytes(text, name string) int64 {
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			n, _ := number(strings.TrimSuffix(strings.TrimSpace(value), "kB"))
			return n << 10
		}
	}
	return 0
}
